/**
 * Messages on a data channel between two Talkwires, sub-protocol `talkwire.v1`: binary frames are messages, or pieces of one that a text
 * frame announced; other text frames grant credit and say ends. spec/wire.md § 2. Nothing of Node's: pages use it, too.
 */
import { TalkwireError } from '../error.js'
import { tooLargeArrived } from './refusals.js'

export const SUBPROTOCOL = 'talkwire.v1'

/** A data channel as far as pieces need it. */
export interface Frames {
  /** Bytes that it has not yet sent. */
  readonly buffered: number
  /** Bytes of the largest frame that the other side takes. */
  readonly maxMessage: number
  send(frame: string | Uint8Array): void
}

/** What is told of what arrives. What `message` throws comes out of `received` and `resume`. */
export interface Hearer {
  message(bytes: Uint8Array): void
  drained(): void
  /** The peer sends no more. */
  ended(): void
  /** The peer has everything that was sent before `end`. */
  delivered(): void
  /** What arrives is no messages any more; nothing else will, but for the peer's end. */
  broken(error: TalkwireError): void
}

/** Bytes of a piece. Larger ones keep others waiting; smaller ones cost a frame each. */
const LARGEST_PIECE = 64 * 1024
/** Of many tiny pieces each would cost more than its bytes. */
const SMALLEST_PIECE = 1024
/** Bytes that may be on the way or wait at a reader that reads nothing. */
const WINDOW = 1024 * 1024
const GRANT_AT = WINDOW / 4
/** What a frame counts besides its bytes, so that empty ones end, too. */
const OVERHEAD = 64
/** Bytes in the channel at which we keep the rest here, and at which it says that it takes more. */
const HIGH = 256 * 1024
export const LOW = 64 * 1024

export class Pieces {
  private readonly outbox: Uint8Array[] = []
  /** Bytes of the first of them that have left; -1: nothing of it has. */
  private position = -1
  private waiting = 0
  private credit = WINDOW
  private congested = false
  private ending: 'no' | 'asked' | 'said' = 'no'

  private readonly inbox: (string | Uint8Array)[] = []
  private paused = false
  /** What the peer may still send, and what was read since it was told so. */
  private room = WINDOW
  private read = 0
  private deaf = false
  private ended = false
  /** A message of which pieces are missing. */
  private parts: Uint8Array[] = []
  private missing = 0
  private readonly piece: number

  constructor(
    private readonly frames: Frames,
    private readonly hearer: Hearer,
    private readonly maxMessage: number,
  ) {
    this.piece = Math.min(LARGEST_PIECE, frames.maxMessage)
  }

  /** Messages of which at least the last piece is here. */
  get unsent(): number {
    return this.outbox.length
  }

  /** Bytes that are here or in the channel. */
  get buffered(): number {
    return this.waiting + this.frames.buffered
  }

  /** The bytes are ours. False: wait for `drained`. */
  send(bytes: Uint8Array): boolean {
    this.outbox.push(bytes)
    this.waiting += bytes.length
    this.flush()
    return !(this.congested = this.isFull)
  }

  private get isFull(): boolean {
    return this.outbox.length > 0 || this.frames.buffered > HIGH
  }

  /** Says that nothing follows, after everything that was sent. */
  end(): void {
    if (this.ending === 'no') this.ending = 'asked'
    this.flush()
  }

  /** As much as there is credit and room for. Also when the channel has room again. */
  flush(): void {
    while (this.outbox.length > 0 && this.frames.buffered <= HIGH && this.next());
    if (this.ending === 'asked' && this.outbox.length === 0) {
      this.ending = 'said'
      this.frames.send('end')
    }
    if (this.congested && this.outbox.length === 0 && this.frames.buffered <= LOW) {
      this.congested = false
      this.hearer.drained()
    }
  }

  /** Sends one frame. False: there is no credit for it. */
  private next(): boolean {
    const message = this.outbox[0]!
    if (this.position < 0 && (message.length > this.piece || message.length === 0)) {
      if (!this.pay(0)) return false
      this.frames.send(`message ${message.length}`)
      if (message.length === 0) this.outbox.shift()
      else this.position = 0
      return true
    }
    const from = Math.max(0, this.position)
    const part = message.subarray(from, from + this.piece)
    if (!this.pay(part.length)) return false
    this.frames.send(part)
    this.waiting -= part.length
    this.position = from + part.length
    if (this.position < message.length) return true
    this.outbox.shift()
    this.position = -1
    return true
  }

  private pay(bytes: number): boolean {
    if (this.credit < bytes + OVERHEAD) return false
    this.credit -= bytes + OVERHEAD
    return true
  }

  // ── receiving ────────────────────────────────────────────────────────────────────────────────────

  received(frame: string | Uint8Array): void {
    if (typeof frame === 'string' && this.control(frame)) return
    const bytes = sizeOf(frame)
    this.room -= bytes
    if (this.room < 0) return this.fail('more than it had credit for')
    if (this.paused || this.inbox.length > 0) this.inbox.push(frame)
    else this.take(frame)
  }

  /** What does not wait for the reader. */
  private control(frame: string): boolean {
    // Who asks faster than he listens is not answered each time.
    if (frame === 'ping') {
      if (this.frames.buffered <= HIGH) this.frames.send('pong')
    } else if (frame === 'delivered') this.hearer.delivered()
    else if (frame.startsWith('credit ')) {
      this.credit = Math.min(WINDOW, this.credit + numberIn(frame))
      this.flush()
    } else return frame === 'pong'
    return true
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    while (!this.paused && this.inbox.length > 0) this.take(this.inbox.shift()!)
  }

  private take(frame: string | Uint8Array): void {
    this.grant(sizeOf(frame))
    if (frame === 'end') {
      if (this.ended) return
      this.ended = true
      this.frames.send('delivered')
      this.hearer.ended()
    } else if (this.deaf) return
    else if (typeof frame === 'string') this.announced(frame)
    else this.piecesOf(frame)
  }

  private grant(bytes: number): void {
    this.read += bytes
    if (this.read < GRANT_AT) return
    this.room += this.read
    this.frames.send(`credit ${this.read}`)
    this.read = 0
  }

  private announced(frame: string): void {
    const bytes = frame.startsWith('message ') ? numberIn(frame) : -1
    if (bytes < 0 || this.missing > 0) return this.fail('a frame that means nothing')
    if (bytes > this.maxMessage) return this.tooLarge(bytes)
    if (bytes === 0) this.hearer.message(new Uint8Array(0))
    else this.missing = bytes
  }

  private piecesOf(frame: Uint8Array): void {
    if (this.missing === 0) return frame.length > this.maxMessage ? this.tooLarge(frame.length) : this.hearer.message(frame)
    if (frame.length > this.missing || frame.length < Math.min(this.missing, SMALLEST_PIECE))
      return this.fail('a piece that does not fit its message')
    this.parts.push(frame)
    this.missing -= frame.length
    if (this.missing > 0) return
    const { parts } = this
    this.parts = []
    this.hearer.message(joined(parts))
  }

  private tooLarge(bytes: number): void {
    this.deaf = true
    this.hearer.broken(tooLargeArrived(bytes, this.maxMessage))
  }

  private fail(what: string): void {
    this.deaf = true
    this.hearer.broken(new TalkwireError('INVALID_MESSAGE', `the peer broke the protocol of its data channel: ${what}`))
  }
}

/** What a frame takes of the credit. The end is free: else it could not be said without any. */
const sizeOf = (frame: string | Uint8Array): number => (frame === 'end' ? 0 : OVERHEAD + (typeof frame === 'string' ? 0 : frame.length))

/** -1 where there is none. */
function numberIn(frame: string): number {
  const match = /^\w+ (\d{1,10})$/.exec(frame)
  return match ? Number(match[1]) : -1
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let offset = 0
  for (const part of parts) {
    bytes.set(part, offset)
    offset += part.length
  }
  return bytes
}
