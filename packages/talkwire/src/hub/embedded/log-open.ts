/** Opening: what is intact is replayed, what is not is set aside and told of, and what was never acknowledged is made sure of or cut. */
import { randomBytes } from 'node:crypto'
import {
  decodeHead,
  eachRecord,
  firstByBatch,
  idByBatch,
  isZero,
  recordBody,
  recordKind,
  SEGMENT_HEADER,
  walk,
  type SegmentHead,
  type Stretch,
} from './log-format.js'
import type { LogFile, LogFiles } from './log-files.js'
import { NOTES, readNotes, writeNotes, type Hole, type Notes } from './log-notes.js'
import { begin, FIRST_SEGMENT, NEXT, prepare, readWhole, replace, segmentName, segmentNumber, type Segment } from './log-segments.js'
import type { LogOptions, Place } from './log-types.js'
import type { Tail } from './log-writer.js'

/** Bytes that are replayed in one turn. */
const SLICE = 1024 * 1024

type Extent = Pick<Stretch, 'from' | 'to'>
type Told = Pick<LogOptions, 'replay' | 'damaged'>

export interface Opened extends Tail {
  readonly notes: Notes
}

/** What is known of a segment before its batches are read. */
interface Found {
  readonly number: number
  readonly first: Place
  readonly oldest: number
}

/** Replays what is there, and leaves the files so that batches can follow. */
export async function openSegments(files: LogFiles, told: Told, maxSegment: number): Promise<Opened> {
  const opening = new Opening(files, told, maxSegment)
  return opening.run()
}

class Opening {
  private readonly holes: Hole[] = []
  private known: readonly Hole[] = []
  private id: Buffer | undefined

  constructor(
    private readonly files: LogFiles,
    private readonly told: Told,
    private readonly maxSegment: number,
  ) {}

  async run(): Promise<Opened> {
    const names = await this.files.names()
    for (const name of names.filter((each) => each === NEXT || each.endsWith('.new'))) await this.files.remove(name)
    // What another process renamed and did not live to sync.
    await this.files.syncFolder()
    const notes = (await readNotes(this.files, names)) ?? this.lostNotes()
    this.known = notes.holes
    const found = await this.find(names)
    if (found.length === 0) return this.start(names, notes)
    return this.replay(found, notes)
  }

  private lostNotes(): Notes {
    this.told.damaged(`${NOTES} is damaged: whether the log's last records are missing cannot be told`)
    return { synced: 0, holes: [] }
  }

  private async start(names: readonly string[], notes: Notes): Promise<Opened> {
    const number = Math.max(0, ...names.map((name) => segmentNumber(name.slice(0, 14)) ?? 0)) + 1
    const first = notes.synced
    if (first > 0) this.lost([0, first], 'all segments are missing')
    const id = (this.id = randomBytes(8))
    const capacity = Math.min(this.maxSegment, FIRST_SEGMENT)
    await prepare(this.files, capacity)
    const file = await begin(this.files, { id, number, first, oldest: number })
    const segments: Segment[] = [{ number, first, end: first + SEGMENT_HEADER, readers: new Set() }]
    return this.opened({ file, segments, capacity, oldest: number }, notes)
  }

  /** The segments whose place is known, in order. */
  private async find(names: readonly string[]): Promise<Found[]> {
    const numbers = names.map(segmentNumber).filter((number) => number !== undefined)
    const heads = new Map<number, SegmentHead | undefined>()
    for (const number of numbers.sort((a, b) => a - b)) {
      const head = decodeHead(await readWhole(this.files, segmentName(number), SEGMENT_HEADER))
      heads.set(number, head?.number === number ? head : undefined)
    }
    this.id = mostFrequent([...heads.values()].map((head) => head?.id))
    const found: Found[] = []
    for (const [number, head] of heads) {
      const whole = head && this.id && head.id.equals(this.id) ? head : await this.withoutHead(number)
      if (whole) found.push(whole)
    }
    return found
  }

  private async withoutHead(number: number): Promise<Found | undefined> {
    const name = segmentName(number)
    const bytes = await readWhole(this.files, name)
    this.id ??= idByBatch(bytes)
    const first = this.id && firstByBatch(bytes, this.id)
    if (first === undefined) {
      await this.files.rename(name, `${name}.damaged`)
      await this.files.syncFolder()
      this.told.damaged(`${name} has no header and no batch of this log: it was renamed to ${name}.damaged`)
      return undefined
    }
    if (this.isNews([first, first + 1]))
      await this.setAside(name, 0, bytes.subarray(0, SEGMENT_HEADER), 'its header is damaged; its batches are read')
    this.holes.push([first, first + 1])
    return { number, first, oldest: 0 }
  }

  private async replay(all: readonly Found[], notes: Notes): Promise<Opened> {
    const last = all.at(-1)!
    const lastBytes = await readWhole(this.files, segmentName(last.number))
    const origin = { id: this.id!, first: last.first }
    const stretches = [...walk(lastBytes, origin)]
    const oldest = Math.max(last.oldest, ...stretches.map(({ batch }) => batch?.oldest ?? 0)) || all[0]!.number
    const found = await this.dropOlder(all, oldest)
    this.findMissing(found, oldest)
    const segments: Segment[] = []
    for (const [index, { number, first }] of found.entries()) {
      const next = found[index + 1]
      if (next) await this.replayClosed(number, first, next.first, missing(number + 1, next.number))
      segments.push({ number, first, end: next?.first ?? first, readers: new Set() })
    }
    const proven = Math.max(last.first + SEGMENT_HEADER, notes.synced, ...stretches.map(({ batch }) => batch?.synced ?? 0))
    return this.replayLast(lastBytes, segments, proven, oldest, notes)
  }

  /** A process that was killed between cleaning and removing. */
  private async dropOlder(all: readonly Found[], oldest: number): Promise<Found[]> {
    const older = all.filter(({ number }) => number < oldest)
    for (const { number } of older) await this.files.remove(segmentName(number))
    if (older.length > 0) await this.files.syncFolder()
    return all.filter(({ number }) => number >= oldest)
  }

  private findMissing(found: readonly Found[], oldest: number): void {
    const [{ number, first }] = found as [Found]
    if (number > oldest) this.lost([first - 1, first], `${missing(oldest, number)}: nothing is known of what stood in there`)
  }

  /** One behind which another begins: everything below that was on disk. */
  private async replayClosed(number: number, first: Place, end: Place, absent: string): Promise<void> {
    const name = segmentName(number)
    const bytes = await readWhole(this.files, name, end - first)
    let at = SEGMENT_HEADER
    for (const stretch of walk(bytes, { id: this.id!, first })) {
      if (!stretch.batch) await this.damage(name, first, bytes, stretch)
      else await this.replayOne(bytes, stretch, first)
      at = stretch.to
    }
    if (first + at < end) await this.damage(name, first, bytes, { from: at, to: end - first }, absent)
  }

  private async replayLast(bytes: Buffer, segments: Segment[], proven: Place, oldest: number, notes: Notes): Promise<Opened> {
    const last = segments.at(-1)!
    const name = segmentName(last.number)
    const { first } = last
    let at = SEGMENT_HEADER
    for (const stretch of walk(bytes, { id: this.id!, first })) {
      // Nothing says that it was on disk, nor what is behind it: it was never acknowledged.
      if (!stretch.batch && first + stretch.to > proven) break
      if (!stretch.batch) await this.damage(name, first, bytes, stretch)
      else await this.replayOne(bytes, stretch, first)
      at = stretch.to
    }
    if (first + at < proven) await this.damage(name, first, bytes, { from: at, to: proven - first })
    const isWhole = first + at >= proven && isZero(bytes.subarray(at)) && bytes.length >= SEGMENT_HEADER
    if (!isWhole && first + at >= proven)
      await this.setAside(name, at, bytes.subarray(at), 'the last write was not finished, which is cut: nothing of it was acknowledged')
    last.end = Math.max(first + at, proven)
    const file = await this.files.open(name)
    await this.makeSure(file, bytes, Math.min(proven - first, at), at)
    if (!isWhole) await this.cut(file, at)
    return this.opened({ file, segments, capacity: isWhole ? bytes.length : last.end - first, oldest }, notes)
  }

  /**
   * What is read here may be in the kernel's memory alone, and after a failed sync the kernel does not even try again. So what
   * nothing proves to be on disk is written once more.
   */
  private async makeSure(file: LogFile, bytes: Buffer, from: number, to: number): Promise<void> {
    if (from < to) await file.write(bytes.subarray(from, to), from)
  }

  private async cut(file: LogFile, size: number): Promise<void> {
    await file.truncate(size)
    await file.sync()
  }

  private async opened(rest: Pick<Tail, 'file' | 'segments' | 'capacity' | 'oldest'>, notes: Notes): Promise<Opened> {
    const start = rest.segments[0]!.first
    const holes = this.holes.filter(([, to]) => to >= start)
    const now: Notes = { synced: notes.synced, holes }
    if (JSON.stringify(holes) !== JSON.stringify(this.known)) await writeNotes(this.files, now)
    return { files: this.files, id: this.id!, maxSegment: this.maxSegment, notes: now, ...rest }
  }

  private replayed = 0

  private async replayOne(bytes: Buffer, { from, to }: Stretch, first: Place): Promise<void> {
    eachRecord(bytes, from, to, (at) => this.told.replay(recordKind(bytes, at), recordBody(bytes, at), first + at))
    this.replayed += to - from
    if (this.replayed < SLICE) return
    this.replayed = 0
    await new Promise(setImmediate)
  }

  /** Of which it is known that it was on disk. What is behind the end of the file is gone. */
  private async damage(name: string, first: Place, bytes: Buffer, { from, to }: Extent, absent = ''): Promise<void> {
    const hole: Hole = [first + from, first + to]
    const isNews = this.isNews(hole)
    this.holes.push(hole)
    if (!isNews) return
    const left = bytes.subarray(from, to)
    if (isZero(left)) this.told.damaged(`${name}: ${to - from} bytes from ${from} on are gone${absent && `, ${absent}`}`)
    else await this.setAside(name, from, left, `${to - from} bytes from ${from} on are damaged${absent && `, ${absent}`}`)
  }

  private lost(hole: Hole, what: string): void {
    const isNews = this.isNews(hole)
    this.holes.push(hole)
    if (isNews) this.told.damaged(what)
  }

  private isNews([from, to]: Hole): boolean {
    return !this.known.some((hole) => hole[0] === from && hole[1] === to)
  }

  private async setAside(name: string, from: number, bytes: Buffer, what: string): Promise<void> {
    await setAside(this.files, this.told, name, from, bytes, what)
  }
}

/** A copy of what is damaged, for whoever can make something of it; on disk when it resolves. */
export async function setAside(
  files: LogFiles,
  told: Pick<LogOptions, 'damaged'>,
  name: string,
  from: number,
  bytes: Buffer,
  what: string,
): Promise<void> {
  const copy = `${name}-${from}.damaged`
  await replace(files, copy, bytes)
  told.damaged(`${name}: ${what}; a copy is in ${copy}`)
}

/** The numbers from `from` up to, without, `to`. */
const missing = (from: number, to: number): string => {
  if (from >= to) return ''
  return from + 1 === to ? `${segmentName(from)} is missing` : `${segmentName(from)} to ${segmentName(to - 1)} are missing`
}

function mostFrequent(ids: readonly (Buffer | undefined)[]): Buffer | undefined {
  const counts = new Map<string, number>()
  for (const id of ids) if (id) counts.set(id.toString('hex'), (counts.get(id.toString('hex')) ?? 0) + 1)
  const [best] = [...counts].sort((a, b) => b[1] - a[1])
  return best && Buffer.from(best[0], 'hex')
}
