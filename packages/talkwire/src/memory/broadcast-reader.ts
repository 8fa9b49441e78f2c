/** A reading end of a broadcast ring: spec/rings.md § 8. */
import { TalkwireError } from '../error.js'
import type { Handler } from './consumer.js'
import { broken, NUMBERS, numberBehind, RECORD_HEADER, SEATS, SKIP, WORD } from './ring-layout.js'
import type { OpenRing, RingData } from './ring-place.js'
import { waitFor, waitForSync, type SyncWaitOptions, type WaitOptions } from './ring-waiting.js'
import { leave, sit } from './seats.js'
import { fence } from './store.js'

/** Bytes that are copied at a time; one check then tells whether all of them are whole. */
const PIECE = 16 * 1024
/** How often the writer may overtake this one within one `read()`. */
const TRIES = 100

/**
 * What is read was copied out of the ring before, because the writer waits for nobody and may write over a message while it is
 * read. The handler's bytes are this reader's own, until the handler returns.
 */
export class BroadcastReader implements Disposable {
  private readonly header: Int32Array
  private readonly piece: RingData
  private seat: number | undefined
  /** Position of the next record, and where it stands in the piece, if it is in it. */
  private cursor: number
  private at = 0
  private end = 0
  /** Of the next record; undefined when it could not be found out. */
  private number: number | undefined
  /** The next record tells how many were lost. */
  private lapped = false
  private missed = 0
  private reading = false
  private closed = false

  constructor(private readonly ring: OpenRing) {
    this.header = ring.header
    const buffer = new ArrayBuffer(Math.min(ring.capacity, Math.max(PIECE, ring.capacity / 4)))
    this.piece = { bytes: new Uint8Array(buffer), words: new Int32Array(buffer), floats: new Float64Array(buffer) }
    this.cursor = this.begin()
  }

  /**
   * Hands over what is there, in order, `limit` messages at most; returns how many. A message counts as read when the handler
   * returned or threw; what it threw is thrown. Does not block. Throws INVALID_MEMORY, CLOSED.
   */
  read(handler: Handler, limit = Infinity): number {
    if (this.closed) throw new TalkwireError('CLOSED', `this reader of ${this.ring.title} was closed; make another one`)
    if (this.reading) throw new TypeError('read() is running; do not call it in its handler')
    this.reading = true
    try {
      return this.hand(handler, limit)
    } finally {
      this.reading = false
    }
  }

  /** Messages that were written over before this one read them. More than 2^31 at a time are not counted rightly. */
  get lost(): number {
    return this.missed
  }

  /** Resolves when there is something to read. Does not block. Rejects with DEADLINE_EXCEEDED or the signal's reason. */
  ready(options: WaitOptions = {}): Promise<void> {
    return waitFor(this.ring, 'readers', this.sit(), this.isReady, options)
  }

  /** The same, and blocks this thread. Throws DEADLINE_EXCEEDED. */
  readySync(options: SyncWaitOptions = {}): void {
    waitForSync(this.ring, 'readers', this.sit(), this.isReady, options)
  }

  /** A second time does nothing. */
  close(): void {
    if (this.closed) return
    this.closed = true
    if (this.seat !== undefined) leave(this.ring, this.seat)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private readonly isReady = (): boolean => this.closed || this.at < this.end || Atomics.load(this.header, WORD.tail) !== this.cursor

  /** Only who sleeps needs a seat; when all are taken, it looks by itself. */
  private sit(): number | undefined {
    try {
      return (this.seat ??= sit(this.ring, 'readers', SEATS))
    } catch (reason) {
      if (reason instanceof TalkwireError && reason.code === 'UNAVAILABLE') return undefined
      throw reason
    }
  }

  private hand(handler: Handler, limit: number): number {
    const { piece } = this
    const { words } = piece
    // No further round: a writer that is as fast would keep it here for ever.
    let left = this.ring.capacity
    for (let count = 0; ;) {
      if (count >= limit || left <= 0 || (this.at >= this.end && !this.fetch())) return count
      const { at } = this
      const size = words[at >> 2]!
      const mark = words[(at >> 2) + 1]!
      // Not rounded up before it is known to be small: near 2^31 that would be negative.
      if (size < RECORD_HEADER || size > this.end - at) {
        this.refetch(at, size)
        continue
      }
      if (mark !== SKIP && mark !== this.number && !this.accepts(mark)) continue
      const total = (size + 7) & ~7
      left -= total
      this.at = at + total
      this.cursor = (this.cursor + total) | 0
      if (mark === SKIP) continue
      this.number = (mark + 1) & NUMBERS
      handler(piece, at + RECORD_HEADER, size - RECORD_HEADER)
      count++
    }
  }

  /** The piece ends within a record. At its beginning that is no record. */
  private refetch(at: number, size: number): void {
    if (at > 0 && size >= RECORD_HEADER && size <= this.piece.bytes.length) this.at = this.end = 0
    else this.getLost(`a record of ${size} bytes at ${this.cursor & (this.ring.capacity - 1)}`)
  }

  /** False for a message that does not follow. */
  private accepts(mark: number): boolean {
    if (mark < 0 || (this.number !== undefined && !this.lapped)) {
      this.getLost(`message ${mark} does not follow ${this.number}`)
      return false
    }
    if (this.number !== undefined) this.missed += (mark - this.number) & NUMBERS
    this.lapped = false
    return true
  }

  /** What is at the cursor makes no sense. Positions wrap around: after a very long time one may look as if it was not overtaken. */
  private getLost(what: string): void {
    if (this.lapped) throw broken(this.ring.title, what)
    this.at = this.end = 0
    this.overtaken()
  }

  /** Copies what is behind the cursor. False: nothing is there (now). */
  private fetch(): boolean {
    const { header, piece } = this
    const { capacity, data } = this.ring
    this.at = this.end = 0
    for (let tries = 0; tries < TRIES; tries++) {
      const there = (Atomics.load(header, WORD.tail) - this.cursor) | 0
      if (there === 0) return false
      const place = this.cursor & (capacity - 1)
      const length = Math.min(there, capacity - place, piece.bytes.length)
      if (length > 0) piece.bytes.set(data.bytes.subarray(place, place + length))
      fence()
      const over = (Atomics.load(header, WORD.intent) - this.cursor) | 0
      if (there > 0 && there <= capacity && over >= 0 && over <= capacity) {
        this.end = length
        return true
      }
      this.overtaken()
    }
    return false
  }

  /** Goes on with the last message that was written. */
  private overtaken(): void {
    const latest = Atomics.load(this.header, WORD.latest)
    if ((latest & 7) !== 0) throw broken(this.ring.title, `latest ${latest >>> 0}`)
    this.cursor = latest
    this.lapped = true
  }

  /** Where the next message will be, and its number. */
  private begin(): number {
    const { header } = this
    const { capacity, data, title } = this.ring
    for (let tries = 0; ; tries++) {
      const tail = Atomics.load(header, WORD.tail)
      const latest = Atomics.load(header, WORD.latest)
      if (((tail | latest) & 7) !== 0) throw broken(title, `tail ${tail >>> 0} and latest ${latest >>> 0}`)
      const mark = data.words[((latest & (capacity - 1)) >> 2) + 1]!
      fence()
      const same = Atomics.load(header, WORD.tail) === tail
      if (same) this.number = numberBehind(tail, latest, mark)
      if (same || tries >= TRIES) return tail
    }
  }
}
