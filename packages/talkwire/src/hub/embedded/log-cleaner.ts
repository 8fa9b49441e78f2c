/** Cleaning: what is live in the oldest segment is appended anew, then the segment is removed. */
import { recordBody, recordKind, recordLength, BATCH_HEADER, walk, type Stretch } from './log-format.js'
import { diskError, type LogFiles } from './log-files.js'
import { setAside } from './log-open.js'
import { readWhole, segmentName, type Segment } from './log-segments.js'
import type { LogOptions, Place } from './log-types.js'
import type { LogWriter } from './log-writer.js'

type Asked = Pick<LogOptions, 'live' | 'moved' | 'liveBytes' | 'damaged'>

/** Records that are asked about, and bytes that are looked at, in one turn; or twice as many as came meanwhile, else it were overtaken. */
const RECORDS = 1024
const BYTES = 256 * 1024

export class LogCleaner {
  /** Segments that nobody may remove, for as long as it is not 0. */
  private holds = 0
  private running: Promise<void> | undefined
  private stopped = false
  private freed: () => void = () => {}
  /** Bytes that the log has before it is cleaned again. */
  private after = 0
  /** What had been appended when the last turn of cleaning began. */
  private seen = { records: 0, appended: 0 }

  constructor(
    private readonly files: LogFiles,
    private readonly id: Buffer,
    private readonly writer: LogWriter,
    private readonly asked: Asked,
  ) {}

  /** Begins when it is time. */
  look(): void {
    if (this.running || this.stopped || !this.isDue()) return
    this.running = this.run()
      .catch((reason: unknown) => this.giveUp(reason))
      .finally(() => (this.running = undefined))
  }

  /** Removes nothing until the function that it returns is called. */
  hold(): () => void {
    this.holds++
    return () => {
      this.holds--
      this.freed()
    }
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.freed()
    await this.running
  }

  private isDue(): boolean {
    const { segments, bytes, capacity } = this.writer
    return segments.length > 1 && bytes > this.after && bytes > 2 * (capacity + this.asked.liveBytes())
  }

  /** One round at most: were `liveBytes` too low, the copies would be copied for ever. */
  private async run(): Promise<void> {
    const { writer } = this
    const end = writer.appended
    this.after = 0
    this.seen = { records: writer.records, appended: end }
    while (!this.stopped && this.isDue()) {
      await this.clean(writer.segments[0]!)
      if (writer.segments[0]!.end > end) this.after = writer.bytes + writer.capacity
    }
  }

  /** What keeps the writer from going on, the writer tells. */
  private giveUp(reason: unknown): void {
    this.stopped = true
    if (!this.writer.ended) this.asked.damaged(`cleaning has stopped: ${diskError(this.files.folder, reason).message}`)
  }

  private async clean(segment: Segment): Promise<void> {
    const name = segmentName(segment.number)
    const bytes = await readWhole(this.files, name, segment.end - segment.first)
    let end: Place = 0
    let slice = this.slice()
    for (const stretch of walk(bytes, { id: this.id, first: segment.first })) {
      if (!stretch.batch) await this.damage(name, bytes, stretch)
      else
        for (let at = stretch.from + BATCH_HEADER; at < stretch.to; at += recordLength(bytes, at)) {
          end = this.keep(bytes, at, segment.first + at) ?? end
          if (!slice(recordLength(bytes, at))) continue
          await this.pause(end)
          if (this.stopped) return
          slice = this.slice()
        }
    }
    await this.remove(segment)
  }

  /** Counts what is looked at; true: enough for this turn. */
  private slice(): (bytes: number) => boolean {
    const { records, appended } = this.writer
    let left = Math.max(RECORDS, 2 * (records - this.seen.records))
    let leftBytes = Math.max(BYTES, 2 * (appended - this.seen.appended))
    this.seen = { records, appended }
    return (bytes) => --left <= 0 || (leftBytes -= bytes) <= 0
  }

  /** Where the log ends with its copy; undefined when it is needed no more. */
  private keep(bytes: Buffer, at: number, place: Place): Place | undefined {
    const kind = recordKind(bytes, at)
    const body = recordBody(bytes, at)
    if (!this.asked.live(kind, body, place)) return undefined
    const { places, end } = this.writer.append([{ kind, body }])
    this.asked.moved(place, places[0]!)
    return end
  }

  /** No faster than the disk, and between what others want. */
  private async pause(end: Place): Promise<void> {
    await this.writer.reached(end)
    await new Promise(setImmediate)
  }

  /** Only then is it certain that all copies are on disk, and what the others gave way to, and that whoever opens the log does not miss the segment. */
  private async remove(segment: Segment): Promise<void> {
    await this.writer.reached(this.writer.appended)
    this.writer.oldest = segment.number + 1
    await this.writer.reached(this.writer.append([]).end)
    while (this.holds > 0 && !this.stopped) await new Promise<void>((resolve) => (this.freed = resolve))
    if (this.stopped) return
    this.writer.drop(segment)
    await Promise.allSettled(segment.readers)
    await this.files.remove(segmentName(segment.number))
    await this.files.syncFolder()
  }

  private async damage(name: string, bytes: Buffer, { from, to }: Stretch): Promise<void> {
    await setAside(this.files, this.asked, name, from, bytes.subarray(from, to), `${to - from} bytes from ${from} on are damaged`)
  }
}
