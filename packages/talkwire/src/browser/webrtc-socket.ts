/** An open data channel as what a page's session sends on. */
import { TalkwireError } from '../error.js'
import { doubt, goneBy, lost, part, type Doubt } from '../transports/webrtc-end.js'
import type { Met } from '../transports/webrtc-meeting.js'
import { Pieces } from '../transports/webrtc-pieces.js'
import { encode, receive, type Socket, type SocketSink } from './socket.js'

/** `ends`: whose task it is to end the channel. */
export function channelSocket({ channel, alone, leave }: Met, sink: SocketSink, maxMessage: number, ends: boolean): Socket {
  let over = false
  let closing = false
  let peerEnded = false
  let delivered = false
  let doubting: Doubt | undefined
  const end = (cause?: TalkwireError): void => {
    if (over) return
    over = true
    doubting?.stop()
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
    part(channel, ends)
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
      doubting?.heard()
      try {
        if (!over) pieces.received(frame)
      } catch (cause) {
        abort(lost(`the peer broke the protocol: ${String(cause)}`))
      }
    },
    low: () => pieces.flush(),
    closed() {
      end(goneBy(closing && peerEnded))
      channel.close()
    },
  })
  void alone.then(() => {
    if (!over) doubting = doubt(channel, setTimeout, abort)
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
