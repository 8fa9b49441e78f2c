/** A connection over an open data channel: between Talkwires in pieces, with a stranger a message a frame. */
import { isUtf8 } from 'node:buffer'
import { TalkwireError } from '../error.js'
import type { MessagePipe } from './message-connection.js'
import { connectionClosed, tooLargeArrived } from './refusals.js'
import type { Peer, Sink } from './transport.js'
import { doubt, goneBy, part, type Doubt } from './webrtc-end.js'
import type { Met, RtcChannel } from './webrtc-meeting.js'
import { LOW, Pieces, SUBPROTOCOL, type Hearer } from './webrtc-pieces.js'

/** What both ways have in common. */
type Framing = Pick<Pieces, 'unsent' | 'buffered' | 'send' | 'end' | 'flush' | 'received' | 'pause' | 'resume'>

export class DataPipe implements MessagePipe {
  readonly binary = true
  readonly maxMessage: number
  private readonly channel: RtcChannel
  private readonly framing: Framing
  private readonly plain: boolean
  private cause: TalkwireError | undefined
  /** This side sends no more; the other one does not; it has everything. */
  private closing = false
  private peerEnded = false
  private isDelivered = false
  private over = false
  private doubting: Doubt | undefined
  private sink!: Sink
  private readonly whenOver: Promise<void>
  private resolveOver!: () => void

  constructor(
    private readonly met: Met,
    readonly peer: Peer,
    maxMessage: number,
    /** Whose task it is to end the channel. */
    private readonly ends: boolean,
  ) {
    this.channel = met.channel
    this.plain = met.channel.protocol !== SUBPROTOCOL
    this.maxMessage = this.plain ? Math.min(maxMessage, met.channel.maxMessage) : maxMessage
    const hearer: Hearer = {
      message: (bytes) => this.onMessage(bytes),
      drained: () => this.over || this.sink.drained(),
      ended: () => this.onEnd(),
      delivered: () => {
        this.isDelivered = true
        this.finish()
      },
      broken: (error) => this.onBroken(error),
    }
    this.framing = this.plain ? plain(this.channel, hearer, maxMessage) : new Pieces(this.channel, hearer, maxMessage)
    this.whenOver = new Promise((resolve) => {
      this.resolveOver = resolve
    })
  }

  open(sink: Sink): void {
    this.sink = sink
    // It may have been aborted while it was accepted.
    if (this.over) return queueMicrotask(() => sink.closed(this.cause))
    this.channel.attach({
      frame: (frame) => this.guarded(() => this.onFrame(frame)),
      low: () => this.guarded(() => this.framing.flush()),
      closed: () => this.onGone(),
    })
    void this.met.alone.then(() => this.doubt())
  }

  /** What the sink throws costs its own connection. */
  private guarded(action: () => void): void {
    if (this.over) return
    try {
      action()
    } catch (reason) {
      this.abort(TalkwireError.from(reason))
    }
  }

  private onFrame(frame: string | Uint8Array): void {
    this.doubting?.heard()
    this.framing.received(frame)
  }

  private onMessage(bytes: Uint8Array): void {
    if (this.over) return
    this.sink.message(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.byteLength, true)
  }

  private onBroken(error: TalkwireError): void {
    if (this.sink.broken && !this.closing) this.sink.broken(error)
    else this.abort(error)
  }

  private onEnd(): void {
    if (this.over) return
    this.peerEnded = true
    if (this.closing) this.finish()
    else if (this.sink.ended) this.sink.ended()
    else void this.close()
  }

  /** The channel is gone, whoever ended it. */
  private onGone(): void {
    this.end(goneBy(this.plain || (this.closing && this.peerEnded)))
    this.channel.close()
  }

  private doubt(): void {
    if (this.over || this.plain) return
    const later = (judge: () => void): void => void setImmediate(() => setImmediate(judge))
    this.doubting = doubt(this.channel, later, (cause) => this.abort(cause))
  }

  send(bytes: Buffer): boolean {
    return this.framing.send(bytes)
  }

  ended(): TalkwireError | undefined {
    return this.over || this.closing ? (this.cause ?? connectionClosed()) : undefined
  }

  buffered(): number {
    return this.over ? 0 : this.framing.buffered
  }

  unsent(): number {
    return this.framing.unsent
  }

  pause(): void {
    this.framing.pause()
  }

  resume(): void {
    this.guarded(() => this.framing.resume())
  }

  async close(): Promise<void> {
    if (!this.closing && !this.over) {
      this.closing = true
      this.framing.end()
      // Also who does not read any more wants to know when the other side ends.
      this.resume()
      this.finish()
    }
    return this.whenOver
  }

  /** Both have said that they send no more, and ours has arrived. */
  private finish(): void {
    if (this.over || !this.closing || !this.isDelivered || !(this.peerEnded || this.plain)) return
    this.end(undefined)
    part(this.channel, this.ends)
  }

  abort(cause: TalkwireError): void {
    if (this.over) return
    this.end(cause)
    this.channel.close()
  }

  private end(cause: TalkwireError | undefined): void {
    if (this.over) return
    this.over = true
    this.cause ??= cause
    this.doubting?.stop()
    this.met.leave()
    this.sink?.closed(this.cause)
    this.resolveOver()
  }

  /** Its callbacks are thread-safe functions of Node-API, which hold the event loop; only its C++ could let them go. */
  ref(): void {}
  unref(): void {}
}

const BRACKET = 0x5b
const BRACE = 0x7b
/** Bytes that wait for a reader that stopped, beside one message: a stranger cannot be told to wait. */
const MOST_WAITING = 1024 * 1024
/** Bytes in the channel at which a send says false. */
const HIGH = 256 * 1024

/** A stranger's channel. JSON goes as text. */
function plain(channel: RtcChannel, hearer: Hearer, maxMessage: number): Framing {
  const inbox: Uint8Array[] = []
  let size = 0
  let paused = false
  let deaf = false
  let congested = false
  let ending = false
  const broken = (error: TalkwireError): void => {
    deaf = true
    hearer.broken(error)
  }
  const isText = (bytes: Uint8Array): boolean => (bytes[0] === BRACE || bytes[0] === BRACKET) && isUtf8(bytes)
  return {
    unsent: 0,
    get buffered() {
      return channel.buffered
    },
    send(bytes) {
      channel.send(isText(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString() : bytes)
      congested = channel.buffered > HIGH
      return !congested
    },
    end() {
      ending = true
      this.flush()
    },
    flush() {
      if (channel.buffered > LOW) return
      if (congested) hearer.drained()
      congested = false
      if (ending && channel.buffered === 0) hearer.delivered()
    },
    received(frame) {
      const bytes = typeof frame === 'string' ? Buffer.from(frame) : frame
      if (deaf) return
      if (bytes.length > maxMessage) return broken(tooLargeArrived(bytes.length, maxMessage))
      if (!paused && inbox.length === 0) return hearer.message(bytes)
      inbox.push(bytes)
      size += bytes.length + 64
      if (size > maxMessage + MOST_WAITING) broken(new TalkwireError('LIMIT_EXCEEDED', 'more arrived than is read; wait for answers'))
    },
    pause() {
      paused = true
    },
    resume() {
      paused = false
      while (!paused && !deaf && inbox.length > 0) {
        const bytes = inbox.shift()!
        size -= bytes.length + 64
        hearer.message(bytes)
      }
    },
  }
}
