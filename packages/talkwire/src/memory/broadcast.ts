/** One writes, many read, and nobody waits for a slow one: docs/memory/ring.md, spec/rings.md § 8. */
import { TalkwireError } from '../error.js'
import { BroadcastReader } from './broadcast-reader.js'
import { broken, NUMBERS, numberBehind, RECORD_HEADER, SKIP, WORD } from './ring-layout.js'
import { openRing, tooLarge, type OpenRing, type RingData, type RingPlace } from './ring-place.js'
import { leave, sit } from './seats.js'
import { fence, put, release, store } from './store.js'

export class BroadcastRing {
  private readonly ring: OpenRing

  /** Opens it, or makes it of zeros. Throws INVALID_MEMORY; RangeError and TypeError for a wrong place. */
  constructor(place: RingPlace) {
    this.ring = openRing('broadcast', place)
  }

  /** Bytes. */
  get capacity(): number {
    return this.ring.capacity
  }

  /** Bytes. */
  get maxMessage(): number {
    return this.ring.maxMessage
  }

  /** The writing end. Throws UNAVAILABLE when a living one has it, INVALID_MEMORY. */
  writer(): BroadcastWriter {
    return new BroadcastWriter(this.ring)
  }

  /** A reading end, for what is written from now on. There may be any number. Throws INVALID_MEMORY. */
  reader(): BroadcastReader {
    return new BroadcastReader(this.ring)
  }
}

const NO_CLAIM = -1

export class BroadcastWriter implements Disposable {
  /** Where claimed messages are written to. */
  readonly data: RingData
  /** Bytes. */
  readonly maxMessage: number
  private readonly header: Int32Array
  private readonly words: Int32Array
  private readonly seat: number
  private tail: number
  private intent: number
  private number: number
  private at = NO_CLAIM
  private size = 0
  private next = 0
  private closed = false

  constructor(private readonly ring: OpenRing) {
    const { header, data, capacity } = ring
    this.header = header
    this.data = data
    this.words = data.words
    this.maxMessage = ring.maxMessage
    this.tail = Atomics.load(header, WORD.tail)
    this.intent = Atomics.load(header, WORD.intent)
    const latest = Atomics.load(header, WORD.latest)
    if (((this.tail | latest) & 7) !== 0) throw broken(ring.title, `tail ${this.tail >>> 0} and latest ${latest >>> 0}`)
    this.number = numberBehind(this.tail, latest, this.words[((latest & (capacity - 1)) >> 2) + 1]!)
    this.seat = sit(ring, 'writers', 1)
  }

  /** Copies a message into the ring, over the oldest. Does not block. Throws MESSAGE_TOO_LARGE, CLOSED. */
  write(message: Uint8Array, more = false): void {
    const offset = this.claim(message.length)
    this.data.bytes.set(message, offset)
    this.commit(more)
  }

  /** Room for a message of `length` bytes: its offset in `data`, a multiple of 8. There always is some. Throws MESSAGE_TOO_LARGE, CLOSED. */
  claim(length: number): number {
    if (this.at !== NO_CLAIM || !(length >= 0 && length <= this.maxMessage) || this.closed) throw this.refusal(length)
    const { capacity } = this.ring
    const size = length + RECORD_HEADER
    const total = (size + 7) & ~7
    const place = this.tail & (capacity - 1)
    const rest = capacity - place
    const over = total > rest
    const next = (this.tail + (over ? rest + total : total)) | 0
    if (((this.intent - next) | 0) < 0) this.announce(next)
    if (over) {
      put(this.words, (place >> 2) + 1, SKIP)
      put(this.words, place >> 2, rest)
    }
    this.at = over ? 0 : place
    this.size = size
    this.next = next
    return this.at + RECORD_HEADER
  }

  /** Publishes what was claimed. `more`: another one follows at once, so nobody need be woken for this one. Does not block. */
  commit(more = false): void {
    const { at, header, words } = this
    if (at === NO_CLAIM) throw new TypeError('nothing is claimed; claim() first')
    this.at = NO_CLAIM
    put(words, (at >> 2) + 1, this.number)
    put(words, at >> 2, this.size)
    release(header, WORD.latest, (this.next - ((this.size + 7) & ~7)) | 0)
    release(header, WORD.tail, this.next)
    this.tail = this.next
    this.number = (this.number + 1) & NUMBERS
    if (!more) this.flush()
  }

  /** Gives the claimed room back: nobody reads it. */
  abort(): void {
    if (this.at === NO_CLAIM) throw new TypeError('nothing is claimed; claim() first')
    this.at = NO_CLAIM
  }

  /** Wakes whoever sleeps because there was nothing to read; `commit()` without `more` does it by itself. */
  flush(): void {
    fence()
    if (this.header[WORD.readersSleep] !== 0) this.ring.wake('readers')
  }

  /** Lets somebody else write. A second time does nothing. */
  close(): void {
    if (this.closed) return
    this.closed = true
    leave(this.ring, this.seat)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** Says what is to be written over, some way ahead, so that it need not be said for each message. */
  private announce(next: number): void {
    this.intent = (next + (this.ring.capacity >> 4)) | 0
    store(this.header, WORD.intent, this.intent)
    fence()
  }

  private refusal(length: number): Error {
    const { title } = this.ring
    if (this.closed) return new TalkwireError('CLOSED', `this writer of ${title} was closed; make another one`)
    if (this.at !== NO_CLAIM) return new TypeError('the claim before this one is open; commit() or abort() it first')
    return tooLarge(this.ring, length)
  }
}
