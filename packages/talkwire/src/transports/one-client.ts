/** Wires that serve one client at a time: who is the one. */
import { claim, type Claim } from '../discovery/names.js'
import { TalkwireError } from '../error.js'

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
