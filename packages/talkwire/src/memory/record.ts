/** Who made a segment, in a file of the runtime directory beside its name: spec/memory.md § 2. Missing for what others made. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import { ownIdentity, processStat, type ProcessIdentity } from '../discovery/identity.js'
import { runtimeDirectory } from '../discovery/names.js'

export interface SegmentRecord extends ProcessIdentity {
  readonly talkwire: 1
  /** Of the segment that this is about; another one under the same name is somebody else's. */
  readonly inode: number
  /** When it was made, milliseconds since 1970. */
  readonly since: number
  /** Left on purpose: `persist`, or its maker closed it without unlinking it. */
  readonly kept: boolean
}

/** Made if need be. Throws PERMISSION_DENIED. */
export function recordDirectory(): string {
  const directory = join(runtimeDirectory(), 'memory')
  mkdirSync(directory, { mode: 0o700, recursive: true })
  return directory
}

const pathOf = (name: string, inode: number): string => join(recordDirectory(), `${name}.${inode}.json`)

/**
 * The record of exactly that segment; undefined also for one that cannot be read as such. Numbers of inodes begin anew with
 * each boot and file system: a record that is older than the segment is about another one.
 */
export function readRecord(name: string, { ino, birthtimeMs }: Stats): SegmentRecord | undefined {
  const record = parse(name, ino)
  return record && record.boot === ownIdentity().boot && birthtimeMs <= record.since + 1 ? record : undefined
}

/** All there are, also of segments that are gone. */
export function allRecords(): { name: string; record: SegmentRecord }[] {
  return readdirSync(recordDirectory()).flatMap((file) => {
    const [, name, inode] = /^(.+)\.(\d+)\.json$/.exec(file) ?? []
    const record = name === undefined ? undefined : parse(name, Number(inode))
    return record ? [{ name: name!, record }] : []
  })
}

function parse(name: string, inode: number): SegmentRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(pathOf(name, inode), 'utf8')) as SegmentRecord
    return record.talkwire === 1 && record.inode === inode && Number.isSafeInteger(record.pid) ? record : undefined
  } catch {
    return undefined
  }
}

/** Records that their writers did not live to give their names. */
export function removeHalfWritten(): void {
  const directory = recordDirectory()
  for (const file of readdirSync(directory)) {
    const pid = Number(/\.json\.(\d+)$/.exec(file)?.[1] ?? NaN)
    const stat = Number.isNaN(pid) ? undefined : processStat(pid)
    if (!Number.isNaN(pid) && (stat === undefined || stat.state === 'Z')) rmSync(join(directory, file), { force: true })
  }
}

/** Says that this process made it, and whether it is to stay. */
export const recordMaker = (name: string, inode: number, kept: boolean): void =>
  write(name, { talkwire: 1, ...ownIdentity(), inode, since: Date.now(), kept })

/** Says that it is to stay. */
export function recordKept(name: string, stat: Stats): void {
  const record = readRecord(name, stat)
  if (record) write(name, { ...record, kept: true })
}

function write(name: string, record: SegmentRecord): void {
  const path = pathOf(name, record.inode)
  writeFileSync(`${path}.${process.pid}`, JSON.stringify(record), { mode: 0o600 })
  renameSync(`${path}.${process.pid}`, path)
}

/** The segment is gone: its record says nothing any more, so one that cannot be removed does no harm. */
export function removeRecord(name: string, inode: number): void {
  try {
    rmSync(pathOf(name, inode), { force: true })
  } catch {}
}
