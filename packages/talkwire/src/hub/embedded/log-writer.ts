/** Appends: what comes while the disk works leaves as one write. */
import { TalkwireError } from '../../error.js'
import { BATCH_HEADER, BATCH_LIMIT, RECORD_HEADER, sealBatch, SEGMENT_HEADER, writeRecord } from './log-format.js'
import { diskError, isFull, type LogFile, type LogFiles } from './log-files.js'
import { begin, FIRST_SEGMENT, NEXT, prepare, type Segment } from './log-segments.js'
import type { LogOptions, LogRecord, Place } from './log-types.js'

/** Where the log goes on, as opening found it. */
export interface Tail {
  readonly files: LogFiles
  readonly id: Buffer
  readonly file: LogFile
  /** The oldest first; never empty. */
  readonly segments: Segment[]
  /** Of the last segment's file. */
  readonly capacity: number
  readonly oldest: number
  /** Of a segment's file at most, unless one append is larger. */
  readonly maxSegment: number
}

/** Bytes of a write, unless one append is larger. */
const PART = 4 * 1024 * 1024
const SLAB = 64 * 1024
const KEPT = 2
/** Milliseconds after which room is looked for again. */
const AGAIN = 500

/** Batches side by side in one segment: one write. */
interface Part {
  slab: Buffer
  used: number
  readonly number: number
  readonly first: Place
  readonly offset: number
  /** Of the file. */
  readonly capacity: number
  /** Its segment begins with it. */
  readonly begins: boolean
  /** Where each batch begins in the slab. */
  readonly batches: number[]
}

interface Waiter {
  readonly place: Place
  readonly done: () => void
  readonly fail: (reason: TalkwireError) => void
}

export class LogWriter {
  synced: Place
  /** Bytes of all segments. */
  bytes: number
  oldest: number
  /** That were appended. */
  records = 0
  /** Why nothing can be appended: it was closed, or it failed. */
  ended: TalkwireError | undefined
  failed = false
  private hurry = (): void => {}
  /** Called after each write. */
  wrote = (): void => {}

  private readonly files: LogFiles
  private readonly id: Buffer
  private file: LogFile
  readonly segments: Segment[]
  private readonly maxSegment: number
  /** Where the next batch goes. */
  private readonly tail: { number: number; first: Place; offset: number; capacity: number }
  private readonly pending: Part[] = []
  private readonly slabs: Buffer[] = []
  private waiters: Waiter[] = []
  private running = false
  private scheduled = false
  /** Bytes of the file that is ready to be the next segment; 0 when it could not be made. */
  private ready: Promise<number> | undefined

  constructor(
    tail: Tail,
    private readonly options: Pick<LogOptions, 'synced' | 'failed' | 'full'>,
  ) {
    const last = tail.segments.at(-1)!
    this.files = tail.files
    this.id = tail.id
    this.file = tail.file
    this.segments = tail.segments
    this.maxSegment = tail.maxSegment
    this.oldest = tail.oldest
    this.synced = last.end
    this.bytes = tail.segments.reduce((sum, { first, end }) => sum + end - first, 0)
    this.tail = { number: last.number, first: last.first, offset: last.end - last.first, capacity: tail.capacity }
  }

  /** Of the segment that is written. */
  get capacity(): number {
    return this.tail.capacity
  }

  /** Where the log ends, on disk or not. */
  get appended(): Place {
    return this.tail.first + this.tail.offset
  }

  append(records: readonly LogRecord[]): { readonly places: Place[]; readonly end: Place } {
    if (this.ended) throw this.ended
    let bytes = 0
    for (const { kind, body } of records) {
      // Before anything is written: the records before it would stay without it.
      if (kind >>> 0 !== kind) throw new TypeError('the kind of a record is a whole number from 0 to 2³² - 1')
      bytes += RECORD_HEADER + body.length
    }
    const part = this.partFor(bytes)
    const batch = part.batches.at(-1)!
    const places: Place[] = []
    for (const { kind, body } of records) {
      places.push(part.first + part.offset + part.used)
      part.used = writeRecord(part.slab, part.used, kind, body, part.used - batch)
    }
    this.records += records.length
    this.tail.offset = part.offset + part.used
    this.schedule()
    return { places, end: this.appended }
  }

  /** Resolves once everything below is on disk; rejects with why it never will be. */
  reached(place: Place): Promise<void> {
    if (place <= this.synced) return Promise.resolve()
    if (this.failed) return Promise.reject(this.ended!)
    return new Promise((done, fail) => this.waiters.push({ place, done, fail }))
  }

  /** Everything that was appended is on disk; nothing can be appended any more. */
  async close(reason: TalkwireError): Promise<void> {
    this.ended ??= reason
    this.hurry()
    await this.reached(this.appended)
    if (this.failed) throw this.ended
    if ((await this.ready) !== undefined) await this.files.remove(NEXT).catch(() => {})
    await this.file.close()
  }

  /** The oldest: its file is about to be removed. */
  drop(segment: Segment): void {
    this.segments.shift()
    this.bytes -= segment.end - segment.first
  }

  /** A part that is not on its way and whose last batch has room for so many bytes. */
  private partFor(bytes: number): Part {
    const part = this.pending.at(-1)
    const batch = part?.batches.at(-1)
    if (part && batch !== undefined && part.used - batch + bytes <= BATCH_HEADER + BATCH_LIMIT && this.grow(part, bytes)) return part
    if (part && this.grow(part, BATCH_HEADER + bytes)) return openBatch(part)
    const fresh = this.newPart(BATCH_HEADER + bytes)
    this.pending.push(fresh)
    return openBatch(fresh)
  }

  private grow(part: Part, bytes: number): boolean {
    const need = part.used + bytes
    if (need > PART || part.offset + need > part.capacity) return false
    if (need > part.slab.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(need, 2 * part.slab.length))
      part.slab.copy(larger, 0, 0, part.used)
      part.slab = larger
    }
    return true
  }

  private newPart(need: number): Part {
    const { tail } = this
    const begins = tail.offset + need > tail.capacity
    if (begins) {
      tail.first += tail.offset
      tail.number++
      tail.offset = SEGMENT_HEADER
      tail.capacity = Math.max(this.nextCapacity(), SEGMENT_HEADER + need)
    }
    const kept = this.slabs.pop()
    const slab = kept && kept.length >= need ? kept : Buffer.allocUnsafeSlow(Math.max(SLAB, need))
    return { slab, used: 0, number: tail.number, first: tail.first, offset: tail.offset, capacity: tail.capacity, begins, batches: [] }
  }

  /** Twice as large as the one before: a small log stays small, and a large one has few files. */
  private nextCapacity(): number {
    return Math.min(this.maxSegment, Math.max(FIRST_SEGMENT, 2 * this.tail.capacity))
  }

  private schedule(): void {
    if (this.scheduled || this.running || this.pending.length === 0) return
    this.scheduled = true
    // Not a microtask: what all sockets bring in one round of the event loop leaves together.
    setImmediate(() => {
      this.scheduled = false
      void this.run()
    })
  }

  private async run(): Promise<void> {
    this.running = true
    let told = this.synced
    for (let part = this.pending.shift(); part; part = this.pending.shift()) {
      const writing = this.write(part)
      // While the disk works on the next one.
      if (told < this.synced) this.tell((told = this.synced))
      const reason = await writing
      if (reason) return this.fail(reason.reason)
    }
    this.running = false
    if (told < this.synced) this.tell(this.synced)
    this.schedule()
  }

  private tell(end: Place): void {
    const due = this.waiters.filter(({ place }) => place <= end)
    if (due.length > 0) this.waiters = this.waiters.filter(({ place }) => place > end)
    for (const { done } of due) done()
    this.options.synced(end)
    this.wrote()
  }

  /** Resolves with why it could not be written: a rejection would be nobody's while the last one is told of. */
  private async write(part: Part): Promise<{ readonly reason: unknown } | undefined> {
    try {
      if (part.begins) await this.begin(part)
      this.seal(part)
      await this.file.write(part.slab.subarray(0, part.used), part.offset)
    } catch (reason) {
      return { reason }
    }
    const end = part.first + part.offset + part.used
    this.bytes += end - this.synced
    this.synced = this.segments.at(-1)!.end = end
    if (this.slabs.length < KEPT && part.slab.length <= PART) this.slabs.push(part.slab)
    this.prepareNext()
    return undefined
  }

  private seal({ slab, used, first, offset, batches }: Part): void {
    const { oldest, synced } = this
    batches.forEach((at, index) => {
      const end = batches[index + 1] ?? used
      sealBatch(slab, at, { length: end - at - BATCH_HEADER, oldest, synced }, this.id, first + offset + at)
    })
  }

  private async begin({ number, first, capacity }: Part): Promise<void> {
    const ready = (await this.ready) ?? 0
    this.ready = undefined
    if (ready < capacity) await this.room(capacity)
    const file = await begin(this.files, { id: this.id, number, first, oldest: this.oldest })
    const former = this.file
    const last = this.segments.at(-1)!
    this.file = file
    this.segments.push({ number, first, end: first, readers: new Set() })
    await former.truncate(last.end - last.first)
    await former.close()
  }

  /** Nothing of the next file is written yet, so nothing is in doubt: what was appended waits until there is room, or the log is closed. */
  private async room(capacity: number): Promise<void> {
    for (let isTold = false; ;) {
      try {
        await prepare(this.files, capacity)
        if (isTold) this.options.full(undefined)
        return
      } catch (reason) {
        if (!isFull(reason) || this.ended) throw reason
        if (!isTold) this.options.full(noRoom(this.files.folder, reason))
        isTold = true
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, AGAIN)
        this.hurry = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  private prepareNext(): void {
    if (this.ready || this.tail.offset < this.tail.capacity / 2) return
    const size = this.nextCapacity()
    this.ready = prepare(this.files, size).then(
      () => size,
      () => 0,
    )
  }

  private async fail(reason: unknown): Promise<void> {
    const error = diskError(this.files.folder, reason)
    this.ended = new TalkwireError('CLOSED', `the log ${this.files.folder} failed; open it again`, { cause: error })
    this.pending.length = 0
    await this.distrust()
    await this.file.close().catch(() => {})
    this.files.release()
    this.failed = true
    for (const { fail } of this.waiters.splice(0)) fail(error)
    this.options.failed(error)
  }

  /**
   * After a failed sync the kernel takes what was not written for written: another process would read it here until the memory
   * is needed. So the file ends where the last sync did; if not even that can be, the next segment says so.
   */
  private async distrust(): Promise<void> {
    await this.ready
    const last = this.segments.at(-1)!
    try {
      await this.file.truncate(Math.max(SEGMENT_HEADER, this.synced - last.first))
      await this.file.sync()
    } catch {
      await this.distrustByNext(last.number + 1).catch(() => {})
    }
  }

  private async distrustByNext(number: number): Promise<void> {
    await prepare(this.files, SEGMENT_HEADER)
    const next = await begin(this.files, { id: this.id, number, first: this.synced, oldest: this.oldest })
    await next.close()
  }
}

const noRoom = (folder: string, reason: unknown): TalkwireError =>
  new TalkwireError(
    'NO_SPACE',
    `${folder}: no room is left; free some, and the hub goes on by itself. What it was asked may still be done then`,
    {
      cause: reason,
    },
  )

function openBatch(part: Part): Part {
  part.batches.push(part.used)
  part.used += BATCH_HEADER
  return part
}
