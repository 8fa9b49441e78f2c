/** The reading end of a ring: docs/memory/ring.md, spec/rings.md § 6. */
import { TalkwireError } from '../error.js'
import { broken, RECORD_HEADER, WORD } from './ring-layout.js'
import type { OpenRing, RingData } from './ring-place.js'
import { waitFor, waitForSync, type SyncWaitOptions, type WaitOptions } from './ring-waiting.js'
import { isGone, leave, sit } from './seats.js'
import { add, release, store } from './store.js'

/** Gets a message: `length` bytes at `offset`, a multiple of 8. They are its own until it returns; a copy is kept, not a view. False: no more for now. */
export type Handler = (data: RingData, offset: number, length: number) => unknown

/** Milliseconds between two questions whether the producer of a claim lives. */
const LOOK_AGAIN = 4

export class Consumer implements Disposable {
  private readonly header: Int32Array
  private readonly words: Int32Array
  private readonly many: boolean
  private readonly seat: number
  private head: number
  private reading = false
  private closed = false
  private lookedAt = 0
  /** The position of a claim that is a dead one's. */
  private dead: number | undefined

  constructor(private readonly ring: OpenRing) {
    this.header = ring.header
    this.words = ring.data.words
    this.many = ring.kind === 'many producers'
    const head = Atomics.load(this.header, WORD.head)
    if ((head & 7) !== 0) throw broken(ring.title, `head ${head >>> 0}`)
    this.seat = sit(ring, 'readers', 1)
    this.head = Atomics.load(this.header, WORD.head) & ~7
  }

  /**
   * Hands over what is there, in order, `limit` messages at most; returns how many. A message counts as read when the handler
   * returned or threw; what it threw is thrown. Does not block. Throws INVALID_MEMORY, CLOSED.
   */
  read(handler: Handler, limit = Infinity): number {
    if (this.closed) throw new TalkwireError('CLOSED', `this consumer of ${this.ring.title} was closed; make another one`)
    if (this.reading) throw new TypeError('read() is running; do not call it in its handler')
    this.reading = true
    const before = this.head
    try {
      return this.hand(handler, limit)
    } finally {
      this.reading = false
      if (this.head !== before) this.flush()
    }
  }

  private hand(handler: Handler, limit: number): number {
    const { header, words, many } = this
    const { data, capacity } = this.ring
    const mask = capacity - 1
    // No further round: a producer that is as fast would keep it here for ever.
    const start = this.head
    for (let count = 0; ;) {
      const place = this.head & mask
      const size = many ? Atomics.load(words, place >> 2) : words[place >> 2]!
      if (size === 0 || count >= limit) return count
      // Not rounded up before it is known to be small: near 2^31 that would be negative.
      if (size < RECORD_HEADER || size > capacity - place) {
        if (!this.skipDead(place, size)) return count
        continue
      }
      const next = (this.head + ((size + 7) & ~7)) | 0
      if (((next - start) | 0) > capacity) return count
      // It is read, also if the handler throws.
      this.head = next
      let enough = false
      if (words[(place >> 2) + 1]! >= 0) {
        enough = handler(data, place + RECORD_HEADER, size - RECORD_HEADER) === false
        count++
      }
      release(header, WORD.head, next)
      if (header[WORD.writersSleep] !== 0) this.ring.wake('writers')
      if (enough) return count
    }
  }

  /** Says how far it is, and wakes whoever sleeps because there was no room. */
  private flush(): void {
    store(this.header, WORD.head, this.head)
    if (this.header[WORD.writersSleep] !== 0) this.ring.wake('writers')
  }

  /** Resolves when there may be something to read; `read()` may still find skipped room only. Does not block. Rejects with DEADLINE_EXCEEDED or the signal's reason. */
  ready(options: WaitOptions = {}): Promise<void> {
    return waitFor(this.ring, 'readers', this.seat, this.isReady, options)
  }

  /** The same, and blocks this thread. Throws DEADLINE_EXCEEDED. */
  readySync(options: SyncWaitOptions = {}): void {
    waitForSync(this.ring, 'readers', this.seat, this.isReady, options)
  }

  /** Whether there is something to look at; also a claim of one who died. Costs some nanoseconds. */
  get hasMessage(): boolean {
    return Atomics.load(this.words, (this.head & (this.ring.capacity - 1)) >> 2) !== 0
  }

  /** Claims that were skipped because their producer died before it committed, since the ring was made. */
  get lost(): number {
    return Atomics.load(this.header, WORD.lost) >>> 0
  }

  /** Lets somebody else read. What is in the ring stays there. A second time does nothing. */
  close(): void {
    if (this.closed) return
    this.closed = true
    leave(this.ring, this.seat)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private readonly isReady = (): boolean => {
    if (this.closed) return true
    const place = this.head & (this.ring.capacity - 1)
    const size = Atomics.load(this.words, place >> 2)
    return size > 0 || (size < 0 && this.isDead(place))
  }

  /** Passes the claim of one who died; false when it is a living one's, also of one who is stopped. What is no record throws. */
  private skipDead(place: number, size: number): boolean {
    const { ring } = this
    if (!this.many || -size < RECORD_HEADER || -size > ring.capacity - place)
      throw broken(ring.title, `a record of ${size} bytes at ${place}`)
    if (!this.isDead(place)) return false
    this.dead = undefined
    // It may have been committed just before its producer died.
    if (Atomics.load(this.words, place >> 2) > 0) return true
    add(this.header, WORD.lost, 1)
    this.head = (this.head + ((7 - size) & ~7)) | 0
    store(this.header, WORD.head, this.head)
    return true
  }

  /** Whether who claimed the first record is dead; asked now and then, because it costs some microseconds. */
  private isDead(place: number): boolean {
    if (this.dead === this.head) return true
    const now = performance.now()
    if (now - this.lookedAt < LOOK_AGAIN) return false
    this.lookedAt = now
    if (!isGone(this.ring, Math.abs(Atomics.load(this.words, (place >> 2) + 1)))) return false
    this.dead = this.head
    return true
  }
}
