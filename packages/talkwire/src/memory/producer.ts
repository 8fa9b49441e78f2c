/** The writing end of a ring: docs/memory/ring.md, spec/rings.md §§ 4, 5. */
import { TalkwireError } from '../error.js'
import { broken, RECORD_HEADER, SEATS, SKIP, WORD } from './ring-layout.js'
import { tooLarge, type OpenRing, type RingData } from './ring-place.js'
import { waitFor, waitForSync, type SyncWaitOptions, type WaitOptions } from './ring-waiting.js'
import { isGone, leave, sit, wordOf } from './seats.js'
import { fence, put, release, store, swap } from './store.js'

/** What `tryClaim` returns when there is no room (now). */
export const FULL = -1

const NO_CLAIM = -1
/** Looks at another producer that moves the tail: it needs a few nanoseconds, unless it is not running. */
const SPINS = 100
/** Milliseconds between two questions whether it lives. */
const LOOK_AGAIN = 4

export class Producer implements Disposable {
  /** Where claimed messages are written to. */
  readonly data: RingData
  /** Bytes. */
  readonly maxMessage: number
  private readonly header: Int32Array
  private readonly words: Int32Array
  private readonly capacity: number
  private readonly many: boolean
  private readonly seat: number
  private readonly me: number
  private tail = 0
  private head = 0
  /** Of the claimed record: its place and its first word. */
  private at = NO_CLAIM
  private size = 0
  private closed = false
  private lookedAt = 0

  constructor(private readonly ring: OpenRing) {
    this.header = ring.header
    this.data = ring.data
    this.words = ring.data.words
    this.capacity = ring.capacity
    this.maxMessage = ring.maxMessage
    this.many = ring.kind === 'many producers'
    this.seat = sit(ring, 'writers', this.many ? SEATS : 1)
    this.me = wordOf(ring, this.seat)
    if (this.many) return
    try {
      this.passRecords()
    } catch (reason) {
      leave(ring, this.seat)
      throw reason
    }
  }

  /** Copies a message into the ring. False: no room now. Does not block. Throws MESSAGE_TOO_LARGE, INVALID_MEMORY, CLOSED. */
  tryWrite(message: Uint8Array, more = false): boolean {
    const offset = this.tryClaim(message.length)
    if (offset === FULL) return false
    this.data.bytes.set(message, offset)
    this.commit(more)
    return true
  }

  /**
   * Room for a message of `length` bytes: its offset in `data`, a multiple of 8, or FULL. Then write it there, and `commit()`
   * or `abort()`, at once: with many producers those behind it are not read before. The room holds what was there before.
   * Throws MESSAGE_TOO_LARGE, INVALID_MEMORY, CLOSED.
   */
  tryClaim(length: number): number {
    if (this.at !== NO_CLAIM || !(length >= 0 && length <= this.maxMessage) || this.closed) throw this.refusal(length)
    this.size = length + RECORD_HEADER
    return this.many ? this.claimAmongMany() : this.claim()
  }

  /** The claimed message is shorter than it was claimed: `length` bytes. One producer only: among many, others may stand behind it. */
  shrink(length: number): void {
    const { at, size } = this
    if (at === NO_CLAIM) throw nothingClaimed()
    if (this.many || !(length >= 0 && length + RECORD_HEADER <= size))
      throw new RangeError(`${length} bytes: a claim of one producer gets shorter only`)
    this.size = length + RECORD_HEADER
  }

  /**
   * Publishes what was claimed. `more`: another one follows at once, so nobody need be woken for this one; a consumer that does
   * not sleep reads it all the same. Does not block.
   */
  commit(more = false): void {
    const { at, header, words } = this
    if (at === NO_CLAIM) throw nothingClaimed()
    this.at = NO_CLAIM
    if (this.many) release(words, at >> 2, this.size)
    else {
      this.tail = this.endBehind()
      put(words, (at >> 2) + 1, 0)
      release(words, at >> 2, this.size)
      release(header, WORD.tail, this.tail)
    }
    if (!more) this.flush()
  }

  /** Gives the claimed room back: nobody reads it. Does not block. */
  abort(): void {
    const { at } = this
    if (at === NO_CLAIM) throw nothingClaimed()
    if (this.many) {
      // Still its own word: until the size says so, the record is claimed by one who lives.
      put(this.words, (at >> 2) + 1, -this.me)
      return this.commit()
    }
    this.at = NO_CLAIM
  }

  /** Wakes whoever sleeps because there was nothing to read; `commit()` without `more` does it by itself. */
  flush(): void {
    // The other side says that it sleeps, and then looks for messages; this one the other way round, and never at the same time.
    fence()
    if (this.header[WORD.readersSleep] !== 0) this.ring.wake('readers')
  }

  /** Bytes that are free. With many producers, others may take them. Throws INVALID_MEMORY. */
  get room(): number {
    if (this.many) this.tail = Atomics.load(this.header, WORD.tail)
    this.head = this.lookAtHead()
    return this.capacity - ((this.tail - this.head) | 0)
  }

  /** Resolves when a message of `length` bytes may fit. Does not block. Rejects with DEADLINE_EXCEEDED or the signal's reason. */
  ready(length: number, options: WaitOptions = {}): Promise<void> {
    if (!(length >= 0 && length <= this.maxMessage)) throw this.refusal(length)
    return waitFor(this.ring, 'writers', this.seat, () => this.closed || this.hasRoom(length), options)
  }

  /** The same, and blocks this thread. Throws DEADLINE_EXCEEDED. */
  readySync(length: number, options: SyncWaitOptions = {}): void {
    if (!(length >= 0 && length <= this.maxMessage)) throw this.refusal(length)
    waitForSync(this.ring, 'writers', this.seat, () => this.closed || this.hasRoom(length), options)
  }

  /** Lets somebody else take this place. What is claimed is given back. A second time does nothing. */
  close(): void {
    if (this.closed) return
    if (this.at !== NO_CLAIM) this.abort()
    this.closed = true
    leave(this.ring, this.seat)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** The word at the tail is always 0, which is where the consumer waits, so the one behind a record is cleared before the record is seen. Returns where it is. */
  private endBehind(): number {
    const next = (this.tail + ((this.size + 7) & ~7)) | 0
    put(this.words, (next & (this.capacity - 1)) >> 2, 0)
    return next
  }

  /** For the message of `size`, at `tail`. */
  private claim(): number {
    const { capacity, size } = this
    let place = this.tail & (capacity - 1)
    const total = (size + 7) & ~7
    const rest = capacity - place
    const needed = (total > rest ? rest + total : total) + RECORD_HEADER
    if (((this.tail - this.head) | 0) + needed > capacity && !this.seesRoom(needed)) return FULL
    if (total > rest) {
      this.skipTo(place, rest)
      place = 0
    }
    this.at = place
    return place + RECORD_HEADER
  }

  /** No record runs over the end. */
  private skipTo(place: number, rest: number): void {
    put(this.words, 0, 0)
    put(this.words, (place >> 2) + 1, SKIP)
    release(this.words, place >> 2, rest)
    this.tail = (this.tail + rest) | 0
    release(this.header, WORD.tail, this.tail)
  }

  private seesRoom(needed: number): boolean {
    this.head = this.lookAtHead()
    if (((this.tail - this.head) | 0) + needed <= this.capacity) return true
    // Nothing follows now.
    this.flush()
    return false
  }

  private claimAmongMany(): number {
    const { header, words } = this
    if (!this.take()) return FULL
    try {
      this.tail = Atomics.load(header, WORD.tail)
      this.head = this.lookAtHead()
      const offset = this.claim()
      if (offset !== FULL) {
        const next = this.endBehind()
        put(words, (this.at >> 2) + 1, this.me)
        // From here on the consumer finds whose it is.
        release(words, this.at >> 2, -this.size)
        release(header, WORD.tail, next)
      }
      return offset
    } finally {
      release(header, WORD.claiming, 0)
    }
  }

  /** Passes what one who died had put there before it could move the tail; the consumer may have read it. */
  private passRecords(): void {
    const { capacity, words, header } = this
    const before = Atomics.load(header, WORD.tail)
    this.head = Atomics.load(header, WORD.head)
    this.tail = ((this.head - before) | 0) > 0 ? this.head : before
    if (((this.tail - before) | 0) > capacity) throw this.astray()
    for (this.head = this.lookAtHead(); ;) {
      const place = this.tail & (capacity - 1)
      const size = Math.abs(Atomics.load(words, place >> 2))
      if (size === 0) break
      const used = (this.tail - this.head) | 0
      // Not rounded up before it is known to be small: near 2^31 that would be negative.
      if (size < RECORD_HEADER || size > capacity - Math.max(place, used))
        throw broken(this.ring.title, `a record of ${size} bytes at ${place}`)
      this.tail = (this.tail + ((size + 7) & ~7)) | 0
    }
    if (this.tail !== before) store(header, WORD.tail, this.tail)
  }

  private hasRoom(length: number): boolean {
    const { header, capacity } = this
    const head = Atomics.load(header, WORD.head)
    const tail = this.many ? Atomics.load(header, WORD.tail) : this.tail
    const total = (length + RECORD_HEADER + 7) & ~7
    const rest = capacity - (tail & (capacity - 1))
    const used = (tail - head) | 0
    // Among many both move meanwhile. What makes no sense, the claim itself refuses.
    if (used >= 0 && used <= capacity && used + (total > rest ? rest + total : total) + RECORD_HEADER > capacity) return false
    return !this.many || Atomics.load(header, WORD.claiming) === 0 || this.inherit()
  }

  /** Where the consumer is: never believed to be elsewhere than within the ring's length. */
  private lookAtHead(): number {
    const head = Atomics.load(this.header, WORD.head)
    const used = (this.tail - head) | 0
    if (used < 0 || used > this.capacity || ((this.tail | head) & 7) !== 0) throw this.astray()
    return head
  }

  private astray(): TalkwireError {
    const { header, capacity, ring } = this
    return broken(ring.title, `tail ${header[WORD.tail]! >>> 0} and head ${header[WORD.head]! >>> 0} of ${capacity} bytes`)
  }

  /** The right to move the tail. False: another producer has it, and is not running. */
  private take(): boolean {
    const { header, me } = this
    for (let spin = 0; spin < SPINS; spin++) if (swap(header, WORD.claiming, 0, me)) return true
    return this.inherit() && swap(header, WORD.claiming, 0, me)
  }

  /** Gives the right back for one who died with it. */
  private inherit(): boolean {
    const { header, me } = this
    const now = performance.now()
    if (now - this.lookedAt < LOOK_AGAIN) return false
    this.lookedAt = now
    const other = Atomics.load(header, WORD.claiming)
    if (other === 0) return true
    if (!isGone(this.ring, other) || !swap(header, WORD.claiming, other, me)) return false
    try {
      this.passRecords()
    } finally {
      release(header, WORD.claiming, 0)
    }
    return true
  }

  private refusal(length: number): Error {
    const { title } = this.ring
    if (this.closed) return new TalkwireError('CLOSED', `this producer of ${title} was closed; make another one`)
    if (this.at !== NO_CLAIM) return new TypeError('the claim before this one is open; commit() or abort() it first')
    return tooLarge(this.ring, length)
  }
}

const nothingClaimed = (): TypeError => new TypeError('nothing is claimed; tryClaim() first')
