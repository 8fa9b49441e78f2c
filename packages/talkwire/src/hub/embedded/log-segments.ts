/** The log's files by name, and how one begins. */
import { encodeHead, type SegmentHead } from './log-format.js'
import type { LogFile, LogFiles } from './log-files.js'
import type { Place } from './log-types.js'

export interface Segment {
  readonly number: number
  readonly first: Place
  /** Where the next one begins; of the last one, what is on disk. */
  end: Place
  /** Until these have ended its file stays. */
  readonly readers: Set<Promise<unknown>>
}

/** What becomes the next segment. */
export const NEXT = 'next'
/** Bytes; the next ones are larger. */
export const FIRST_SEGMENT = 1024 * 1024
const NAME = /^(\d{10})\.log$/

/** Sort as their numbers do. */
export const segmentName = (number: number): string => `${String(number).padStart(10, '0')}.log`

export const segmentNumber = (name: string): number | undefined => {
  const [, digits] = NAME.exec(name) ?? []
  return digits === undefined ? undefined : Number(digits)
}

const ZEROS = Buffer.alloc(1024 * 1024)

/** Zeros on disk: a batch that overwrites them changes no metadata, so that its sync is one write. */
export async function prepare(files: LogFiles, size: number): Promise<void> {
  const file = await files.create(NEXT)
  try {
    for (let at = 0; at < size; at += ZEROS.length) await file.write(ZEROS.subarray(0, size - at), at)
    await file.sync()
  } catch (reason) {
    // What little room there was is others'.
    await files.remove(NEXT).catch(() => {})
    throw reason
  } finally {
    await file.close()
  }
}

/** Makes the prepared file a segment. It has its name only with its header on disk, and takes batches only with its name on disk. */
export async function begin(files: LogFiles, head: SegmentHead): Promise<LogFile> {
  const file = await files.open(NEXT)
  try {
    await file.write(encodeHead(head), 0)
    await files.rename(NEXT, segmentName(head.number))
    await files.syncFolder()
    return file
  } catch (reason) {
    await file.close()
    throw reason
  }
}

/** Replaces or makes a small file; on disk when it resolves. */
export async function replace(files: LogFiles, name: string, bytes: Uint8Array): Promise<void> {
  const file = await files.create(`${name}.new`)
  try {
    await file.write(bytes, 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await files.rename(`${name}.new`, name)
  await files.syncFolder()
}

export async function readWhole(files: LogFiles, name: string, limit = Infinity): Promise<Buffer> {
  const file = await files.open(name)
  try {
    return await file.read(0, Math.min(await file.size(), limit))
  } finally {
    await file.close()
  }
}
