/** The embedded hub's log: one file after another, one sync for everything that came meanwhile. Why not LMDB: docs/rationale.md. */
import { TalkwireError } from '../../error.js'
import { backup } from './log-backup.js'
import { LogCleaner } from './log-cleaner.js'
import { diskError, filesIn, type LogFiles } from './log-files.js'
import { writeNotes } from './log-notes.js'
import { openSegments } from './log-open.js'
import { LogReader } from './log-reader.js'
import type { Log, LogOptions } from './log-types.js'
import { LogWriter } from './log-writer.js'

const MAX_SEGMENT = 64 * 1024 * 1024

/**
 * Opens the log in a folder of its own, which is made if need be (0700), and replays it. One process at a time has it open.
 * Throws UNAVAILABLE with the pid of the one that has it, NO_SPACE, PERMISSION_DENIED, INVALID_ADDRESS, and UNAVAILABLE with what
 * the disk says; on Linux MISSING_PACKAGE without koffi. Damage throws nothing: `damaged` tells of it.
 */
export const openLog = async (folder: string, options: LogOptions): Promise<Log> => openLogOn(await filesIn(folder), options)

/** The same, on a disk of tests' own and with segments of their size. */
export async function openLogOn(files: LogFiles, options: LogOptions, maxSegment = MAX_SEGMENT): Promise<Log> {
  try {
    const opened = await openSegments(files, options, maxSegment)
    const writer = new LogWriter(opened, options)
    const cleaner = new LogCleaner(files, opened.id, writer, options)
    const reader = new LogReader(files, opened.id, writer.segments)
    writer.wrote = () => cleaner.look()
    const { holes } = opened.notes
    let closing: Promise<void> | undefined

    async function close(): Promise<void> {
      await cleaner.stop()
      await writer.close(new TalkwireError('CLOSED', `the log ${files.folder} was closed`))
      try {
        if (writer.synced !== opened.notes.synced) await writeNotes(files, { synced: writer.synced, holes })
      } catch (reason) {
        throw diskError(files.folder, reason)
      } finally {
        files.release()
      }
    }

    return {
      append: (records) => writer.append(records),
      get synced() {
        return writer.synced
      },
      async read(place) {
        if (place >= writer.synced) await writer.reached(writer.appended)
        else if (writer.ended) throw writer.ended
        return reader.read(place)
      },
      stats: () => ({ files: writer.segments.length, bytes: writer.bytes }),
      async backup(folder) {
        const free = cleaner.hold()
        try {
          const segments = writer.segments.map((segment) => ({ ...segment }))
          await backup(files, segments, { synced: writer.synced, holes }, folder)
        } finally {
          free()
        }
      },
      close: () => (closing ??= close()),
    }
  } catch (reason) {
    files.release()
    throw diskError(files.folder, reason)
  }
}
