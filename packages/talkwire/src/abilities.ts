/** What a wire cannot carry is refused when it is bound to it, with the reason. */
import { isStream, type Contract, type Rpc } from './contract/contract.js'
import { TalkwireError } from './error.js'
import type { Dialect, DialectTraits } from './protocols/dialect.js'
import type { Service } from './session/service.js'
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

/** A method as far as its shape matters. */
interface Shape {
  readonly name: string
  readonly inputStream: boolean
  readonly outputStream: boolean
  readonly oneway: boolean
}

const shapesOf = ({ members }: Contract): Shape[] =>
  Object.entries(members).flatMap(([name, member]) =>
    member.kind === 'rpc'
      ? [{ name, inputStream: isStream(member.input), outputStream: isStream(member.output), oneway: member.oneway }]
      : [],
  )

const eventsOf = ({ members }: Contract): string[] => Object.keys(members).filter((name) => members[name]!.kind === 'event')

/** What a service has and the protocol cannot say. Throws UNSUPPORTED. */
export function checkDialectServes({ traits, scheme }: Dialect, { contract, name, methods }: Service): void {
  if (!contract && !traits.untyped)
    throw new TalkwireError('UNSUPPORTED', `${scheme}: serves contracts only, and "${name}" is plain functions; give serve a contract`)
  checkShapes(scheme, traits, contract?.id ?? name, [...methods.values()], contract ? eventsOf(contract) : [])
}

/** The same for a client. */
export const checkDialectCalls = ({ traits, scheme }: Dialect, contract: Contract): void =>
  checkShapes(scheme, traits, contract.id, shapesOf(contract), eventsOf(contract))

function checkShapes(scheme: string, traits: DialectTraits, of: string, methods: readonly Shape[], events: readonly string[]): void {
  const beyond = (what: string): never => {
    throw new TalkwireError('UNSUPPORTED', `${scheme}: cannot carry ${what} of ${of}; take another address for it, such as unix:`)
  }
  for (const { name, inputStream, outputStream, oneway } of methods) {
    if (inputStream && outputStream && !traits.duplex) beyond(`the streams both ways of "${name}"`)
    if (inputStream && !traits.inputStream) beyond(`the input stream of "${name}"`)
    if (outputStream && !traits.outputStream) beyond(`the output stream of "${name}"`)
    if (oneway && !traits.oneway) beyond(`the one-way "${name}"`)
  }
  if (events.length > 0 && !traits.events) beyond(`the event "${events[0]}"`)
}
