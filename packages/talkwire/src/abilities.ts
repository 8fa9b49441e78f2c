/** What a wire cannot carry is refused when it is bound to it, with the reason. */
import { isStream, type Contract, type Rpc } from './contract/contract.js'
import { TalkwireError } from './error.js'
import type { Transport } from './transports/transport.js'

/** What is to be bound. */
export interface Wanted {
  readonly contract: Contract | undefined
  /** Of a service without a contract: its functions that stream. */
  readonly streams?: readonly string[]
  readonly authkey: unknown
  /** Both sides serve. */
  readonly bothWays: boolean
}

/** Throws UNSUPPORTED. */
export function checkAbilities({ carries }: Transport<any>, address: string, wanted: Wanted): void {
  const reason = carries === 'calls' ? beyondCalls(wanted) : undefined
  if (reason !== undefined)
    throw new TalkwireError(
      'UNSUPPORTED',
      `${address} carries calls with one answer each: ${reason}; take unix: or another connection for that`,
    )
}

function beyondCalls({ contract, streams = [], authkey, bothWays }: Wanted): string | undefined {
  if (authkey !== undefined) return 'nothing is agreed on before them, so there is no place for an authkey'
  if (bothWays) return 'who calls cannot be called'
  if (streams.length > 0) return `"${streams[0]}" streams`
  for (const [name, member] of Object.entries(contract?.members ?? {})) {
    if (member.kind === 'event') return `"${name}" of ${contract!.id} is an event`
    const why = whyNot(member)
    if (why) return `"${name}" of ${contract!.id} ${why}`
  }
  return undefined
}

function whyNot({ input, output, oneway }: Rpc): string | undefined {
  if (isStream(input) || isStream(output)) return 'streams'
  return oneway ? 'is one-way' : undefined
}
