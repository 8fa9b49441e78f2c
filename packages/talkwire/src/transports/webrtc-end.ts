/** How a connection over a data channel ends, in Node and in pages. Nothing of Node's. */
import { TalkwireError } from '../error.js'
import type { RtcChannel } from './webrtc-meeting.js'

/** Milliseconds for the other side to end a channel of which both have said that they are done. */
const FAREWELL = 2_000
/** Milliseconds for an answer, once signalling has ended. */
const DOUBT = 3_000

export const lost = (text: string): TalkwireError => new TalkwireError('CONNECTION_LOST', text, { outcome: 'maybe-ran' })

/** The channel is gone, whoever ended it. `orderly`: both had said that they send no more. */
export const goneBy = (orderly: boolean): TalkwireError | undefined => (orderly ? undefined : lost('the peer is gone, and did not say so'))

/** `ends`: whose task it is to end the channel: else each end might cut off the other's last word. */
export function part(channel: RtcChannel, ends: boolean): void {
  if (ends) channel.close()
  else setTimeout(() => channel.close(), FAREWELL)
}

export interface Doubt {
  heard(): void
  stop(): void
}

/**
 * Signalling has ended: with the process at the other end, or alone. What no network tells for half a minute is asked now.
 * `later`: when what has arrived by now is read. If it was this side that stood still, the answer is here and only not yet read.
 */
export function doubt(channel: RtcChannel, later: (judge: () => void) => void, abort: (cause: TalkwireError) => void): Doubt {
  let silent = true
  channel.send('ping')
  const judge = (): void => {
    if (silent) abort(lost(`signalling ended, and the peer did not answer within ${DOUBT} ms`))
  }
  const timer = setTimeout(() => later(judge), DOUBT)
  return {
    heard() {
      silent = false
    },
    stop: () => clearTimeout(timer),
  }
}
