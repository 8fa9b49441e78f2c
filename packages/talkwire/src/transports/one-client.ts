/** Wires that serve one client at a time: who is the one, and when. */
import { claim, type Claim } from '../discovery/names.js'
import { TalkwireError } from '../error.js'
import { HANDSHAKE, type TransportOptions } from './transport.js'

/** Milliseconds between looks at a server that is busy with the client before. */
const RETRY = 10

/** Takes the place of the client of whoever has claimed `name`. Throws ADDRESS_IN_USE, which names who has it. */
export function claimClient(name: string, address: string): Claim {
  try {
    return claim(`${name}.client`)
  } catch (reason) {
    const pid = reason instanceof TalkwireError && (reason.details as { pid?: number } | undefined)?.pid
    throw pid
      ? new TalkwireError(
          'ADDRESS_IN_USE',
          `${address} serves one client at a time, and process ${pid} is connected; take unix: for more`,
          { cause: reason },
        )
      : reason
  }
}

/**
 * What `look` finds, once the server is done with the client before. `look` returns why it is too early, and throws what waiting
 * does not cure. Rejects with what it said last when `handshake` is over, or with the signal's reason.
 */
export async function onceFree<T>(look: () => T | TalkwireError, { signal, handshake = HANDSHAKE }: TransportOptions): Promise<T> {
  // Who gives up in the turn in which it asked has got nothing yet.
  await Promise.resolve()
  for (const start = performance.now(); ; await new Promise((resolve) => setTimeout(resolve, RETRY))) {
    signal?.throwIfAborted()
    const found = look()
    if (!(found instanceof TalkwireError)) return found
    if (performance.now() - start > handshake) throw found
  }
}
