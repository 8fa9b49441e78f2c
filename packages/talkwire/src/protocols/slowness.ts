/** How slowly a message may come: who sends half of one holds its memory. */
import { TalkwireError } from '../error.js'

/** Bytes a millisecond that a message must have on average, once it has had the handshake's time. */
const SLOWEST = 16

/** Milliseconds for a message of which so many bytes are here. */
export const timeFor = (bytes: number, handshake: number): number => handshake + bytes / SLOWEST

/** `what`: 'a message', 'the body'. */
export const tooSlow = (what: string, handshake: number): TalkwireError =>
  new TalkwireError(
    'DEADLINE_EXCEEDED',
    `${what} came too slowly; it has ${handshake} ms and a millisecond for each ${SLOWEST} bytes (limits.handshake)`,
  )
