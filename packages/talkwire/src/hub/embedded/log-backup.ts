/** A copy of a log that is in use. */
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { TalkwireError } from '../../error.js'
import { diskError, syncFolder, type LogFiles } from './log-files.js'
import { NOTES, textOfNotes, type Notes } from './log-notes.js'
import { segmentName, type Segment } from './log-segments.js'

const PIECE = 1024 * 1024

/** Whole or not at all: it has its name only when all of it is on disk. The segments are not changed below their ends meanwhile. */
export async function backup(files: LogFiles, segments: readonly Segment[], notes: Notes, folder: string): Promise<void> {
  const partial = join(dirname(folder), `.${basename(folder)}.partial`)
  try {
    await rm(partial, { recursive: true, force: true })
    await mkdir(partial, { recursive: true, mode: 0o700 })
    for (const { number, first, end } of segments) await copy(files, segmentName(number), end - first, partial)
    await write(join(partial, NOTES), [textOfNotes(notes)])
    await syncFolder(partial)
    await rename(partial, folder)
    await syncFolder(dirname(folder))
  } catch (reason) {
    await rm(partial, { recursive: true, force: true })
    const isThere = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes((reason as NodeJS.ErrnoException).code ?? '')
    if (isThere) throw new TalkwireError('ALREADY_EXISTS', `${folder} exists; back up into a folder that does not`, { cause: reason })
    throw diskError(folder, reason)
  }
}

async function copy(files: LogFiles, name: string, length: number, folder: string): Promise<void> {
  const file = await files.open(name)
  try {
    await write(join(folder, name), pieces())
  } finally {
    await file.close()
  }
  async function* pieces(): AsyncGenerator<Buffer> {
    for (let at = 0; at < length; at += PIECE) yield await file.read(at, Math.min(PIECE, length - at))
  }
}

async function write(path: string, parts: Iterable<Buffer> | AsyncIterable<Buffer>): Promise<void> {
  const handle = await open(path, 'wx', 0o600)
  try {
    for await (const part of parts) await handle.writeFile(part)
    await handle.sync()
  } finally {
    await handle.close()
  }
}
