/** An open data channel as what a page's session sends on. */
import { TalkwireError } from '../error.js'
import type { Met } from '../transports/webrtc-meeting.js'
import { Pieces } from '../transports/webrtc-pieces.js'
import { encode, receive, type Socket, type SocketSink } from './socket.js'

/** Milliseconds for the other side to end a channel of which both have said that they are done. */
const FAREWELL = 2_000
/** Milliseconds for an answer, once signalling has ended. */
const DOUBT = 3_000

/** `ends`: whose task it is to end the channel. */
export function channelSocket({ channel, alone, leave }: Met, sink: SocketSink, maxMessage: number, ends: boolean): Socket {
  let over = false
  let closing = false
  let peerEnded = false
  let delivered = false
  let doubted = false
  let doubting: ReturnType<typeof setTimeout> | undefined
  const end = (cause?: TalkwireError): void => {
    if (over) return
    over = true
    clearTimeout(doubting)
    leave()
    sink.closed(cause)
  }
  const abort = (cause: TalkwireError): void => {
    end(cause)
    channel.close()
  }
  const finish = (): void => {
    if (over || !closing || !peerEnded || !delivered) return
    end()
    if (ends) channel.close()
    else setTimeout(() => channel.close(), FAREWELL)
  }
  const close = (): void => {
    if (closing) return
    closing = true
    pieces.end()
    finish()
  }
  const pieces = new Pieces(
    channel,
    {
      message(bytes) {
        const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice()
        if (!over) receive(own.buffer as ArrayBuffer, sink)
      },
      drained() {},
      ended() {
        peerEnded = true
        close()
        finish()
      },
      delivered() {
        delivered = true
        finish()
      },
      broken: abort,
    },
    maxMessage,
  )
  channel.attach({
    frame(frame) {
      doubted = false
      try {
        if (!over) pieces.received(frame)
      } catch (cause) {
        abort(lost(`the peer broke the protocol: ${String(cause)}`))
      }
    },
    low: () => pieces.flush(),
    closed() {
      end(closing && peerEnded ? undefined : lost('the peer is gone, and did not say so'))
      channel.close()
    },
  })
  void alone.then(() => {
    if (over) return
    doubted = true
    channel.send('ping')
    const judge = (): void => {
      if (doubted) abort(lost(`signalling ended, and the peer did not answer within ${DOUBT} ms`))
    }
    // If it was this page that stood still, the answer is here and only not yet read.
    doubting = setTimeout(() => setTimeout(judge), DOUBT)
  })
  return {
    get buffered() {
      return pieces.buffered
    },
    send(text, attachments) {
      if (over || closing) throw new TalkwireError('CONNECTION_CLOSED', 'the connection was closed')
      const bytes = encode(text, attachments)
      pieces.send(bytes)
      return bytes.length
    },
    close,
    abort,
  }
}

const lost = (text: string): TalkwireError => new TalkwireError('CONNECTION_LOST', text, { outcome: 'maybe-ran' })
