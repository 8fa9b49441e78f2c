/** What several wires refuse, in the same words. */
import { parseAddress } from '../address.js'
import { TalkwireError } from '../error.js'

const LESS = 'send less at a time or raise limits.message'

/** PEER_NOT_FOUND. */
export const nobodyListens = (address: string, cause?: unknown): TalkwireError =>
  new TalkwireError(
    'PEER_NOT_FOUND',
    `nobody listens on ${address}; start the service, or pass { wait: milliseconds }`,
    cause === undefined ? {} : { cause },
  )

/** CONNECTION_CLOSED: by a side that meant it. */
export const connectionClosed = (): TalkwireError =>
  new TalkwireError('CONNECTION_CLOSED', 'this connection is closed; connect() makes a new one')

/** MESSAGE_TOO_LARGE, before it leaves. */
export const tooLargeToSend = (bytes: number, limit: number): TalkwireError =>
  new TalkwireError('MESSAGE_TOO_LARGE', `a message of ${bytes} bytes, the limit is ${limit}; ${LESS}`)

/** MESSAGE_TOO_LARGE, of the peer's. It may be told so: the advice is for both. */
export const tooLargeArrived = (bytes: number, limit: number, advice = LESS): TalkwireError =>
  new TalkwireError('MESSAGE_TOO_LARGE', `a message of ${bytes} bytes arrived, the limit is ${limit}; ${advice}`)

/** The file that the address names. Throws INVALID_ADDRESS unless it is an absolute path. */
export function filePathOf(address: string): string {
  const { scheme, rest } = parseAddress(address)
  if (/^\/.*[^/]$/s.test(rest)) return rest
  throw new TalkwireError(
    'INVALID_ADDRESS',
    `${JSON.stringify(address.slice(0, 80))} has no absolute path of a file; write for example ${scheme}:/run/user/1000/bank`,
  )
}
