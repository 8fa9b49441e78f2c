/** Who made a segment, in a file of the runtime directory beside its name: spec/memory.md § 2. Missing for what others made. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ownIdentity, type ProcessIdentity } from '../discovery/identity.js'
import { runtimeDirectory } from '../discovery/names.js'

export interface SegmentRecord extends ProcessIdentity {
  readonly talkwire: 1
  /** Of the segment that this is about; another one under the same name is somebody else's. */
  readonly inode: number
  /** Milliseconds since 1970. */
  readonly since: number
  /** Left on purpose: `persist`, or its maker closed it without unlinking it. */
  readonly kept: boolean
}

function pathOf(name: string, inode: number): string {
  const directory = join(runtimeDirectory(), 'memory')
  mkdirSync(directory, { mode: 0o700, recursive: true })
  return join(directory, `${name}.${inode}.json`)
}

/** The record of exactly that segment; undefined also for one that cannot be read as such. */
export function readRecord(name: string, inode: number): SegmentRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(pathOf(name, inode), 'utf8')) as SegmentRecord
    return record.talkwire === 1 && record.inode === inode && Number.isSafeInteger(record.pid) ? record : undefined
  } catch {
    return undefined
  }
}

/** Says that this process made it, and whether it is to stay. */
export function writeRecord(name: string, inode: number, kept: boolean): void {
  const record: SegmentRecord = { talkwire: 1, ...ownIdentity(), inode, since: Date.now(), kept }
  const path = pathOf(name, inode)
  writeFileSync(`${path}.${process.pid}`, JSON.stringify(record), { mode: 0o600 })
  renameSync(`${path}.${process.pid}`, path)
}

/** The segment is gone: its record says nothing any more, so one that cannot be removed does no harm. */
export function removeRecord(name: string, inode: number): void {
  try {
    rmSync(pathOf(name, inode), { force: true })
  } catch {}
}
