/** The files of a log, as little as it needs of them, so that tests can put a disk of their own below it. */
import fs from 'node:fs'
import { lstat, mkdir, open, readdir, rename, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { TalkwireError } from '../../error.js'
import { FileLock } from '../../sync/file-lock.js'
import { LockFile } from '../../sync/lock-file.js'

export interface LogFile {
  /** As many as there are. */
  read(position: number, length: number): Promise<Buffer>
  write(bytes: Uint8Array, position: number): Promise<void>
  sync(): Promise<void>
  truncate(size: number): Promise<void>
  size(): Promise<number>
  close(): Promise<void>
}

export interface LogFiles {
  /** For texts. */
  readonly folder: string
  names(): Promise<string[]>
  /** What is there. What a write wrote is on disk when it resolves. */
  open(name: string): Promise<LogFile>
  /** An empty one, also where one is. What was written is on disk after `sync`. */
  create(name: string): Promise<LogFile>
  /** On disk after `syncFolder`, as are the names of new files and the end of removed ones. */
  rename(from: string, to: string): Promise<void>
  remove(name: string): Promise<void>
  syncFolder(): Promise<void>
  /** Lets another process have the log. */
  release(): void
}

const { O_RDWR, O_CREAT, O_TRUNC, O_NOFOLLOW } = fs.constants
/** Elsewhere it says less than a sync: macOS leaves what was written in the drive's own memory. */
const O_DSYNC = process.platform === 'linux' ? fs.constants.O_DSYNC : 0

/**
 * Makes the folder (0700) if need be, and takes it for this process. Throws UNAVAILABLE when another one has it, and what the
 * disk says; on Linux MISSING_PACKAGE without koffi.
 */
export async function filesIn(folder: string): Promise<LogFiles> {
  try {
    await makeFolder(folder)
    return folderFiles(folder, takeFolder(folder))
  } catch (reason) {
    throw diskError(folder, reason)
  }
}

async function makeFolder(folder: string): Promise<void> {
  const made = await mkdir(folder, { recursive: true, mode: 0o700 })
  if (made !== undefined) await syncFolder(dirname(made))
  if (!(await lstat(folder)).isDirectory())
    throw new TalkwireError('INVALID_ADDRESS', `${folder} is no folder; give the log a folder of its own`)
}

/** The kernel's lock where there is one: it ends with its process in whatever container that ran. */
function takeFolder(folder: string): () => void {
  const lock = process.platform === 'linux' ? new FileLock(join(folder, 'lock')) : new LockFile(join(folder, 'lock'))
  const grant = lock.tryAcquire()
  if (grant) return () => grant.release()
  const info = lock.inspect()
  const pids = 'holders' in info ? info.holders.map(({ pid }) => pid) : [info.holder?.pid]
  throw new TalkwireError(
    'UNAVAILABLE',
    `the log ${folder} is open in process ${pids.join(', ') || 'unknown'}; one process at a time has it: connect to that one, or end it`,
  )
}

const folderFiles = (folder: string, release: () => void): LogFiles => ({
  folder,
  release,
  names: () => readdir(folder),
  open: (name) => openFile(join(folder, name), O_RDWR | O_NOFOLLOW | O_DSYNC, O_DSYNC === 0),
  create: (name) => openFile(join(folder, name), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, false),
  rename: (from, to) => rename(join(folder, from), join(folder, to)),
  remove: (name) => unlink(join(folder, name)),
  syncFolder: () => syncFolder(folder),
})

export async function syncFolder(folder: string): Promise<void> {
  // Windows has no such thing, and needs none.
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const opened = promisify(fs.open)
const synced = promisify(fs.fsync)
const dataSynced = promisify(fs.fdatasync)
const truncated = promisify(fs.ftruncate)
const closed = promisify(fs.close)
const statted = promisify(fs.fstat)

async function openFile(path: string, flags: number, syncs: boolean): Promise<LogFile> {
  const fd = await opened(path, flags, 0o600)
  return {
    read: (position, length) => readAll(fd, position, length),
    write: (bytes, position) => (syncs ? writeAll(fd, bytes, position).then(() => dataSynced(fd)) : writeAll(fd, bytes, position)),
    sync: () => synced(fd),
    truncate: (size) => truncated(fd, size),
    size: async () => (await statted(fd)).size,
    close: () => closed(fd),
  }
}

/** Callbacks: this is the way of every batch, and a promise of `fs/promises` costs it a fifth of its time. */
function writeAll(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const from = (start: number): void =>
      fs.write(fd, bytes, start, bytes.length - start, position + start, (reason, written) => {
        if (reason) reject(reason)
        else if (start + written === bytes.length) resolve()
        else if (written === 0) reject(new Error('a write wrote nothing'))
        else from(start + written)
      })
    from(0)
  })
}

function readAll(fd: number, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length)
  return new Promise((resolve, reject) => {
    const from = (start: number): void =>
      fs.read(fd, bytes, start, length - start, position + start, (reason, count) => {
        if (reason) reject(reason)
        else if (count === 0 || start + count === length) resolve(bytes.subarray(0, start + count))
        else from(start + count)
      })
    from(0)
  })
}

const FULL = ['ENOSPC', 'EDQUOT', 'EFBIG']
export const isFull = (reason: unknown): boolean => FULL.includes((reason as NodeJS.ErrnoException | undefined)?.code ?? '')
const FORBIDDEN = ['EACCES', 'EPERM', 'EROFS', 'ELOOP']

/** What the disk says, in Talkwire's words. */
export function diskError(folder: string, reason: unknown): TalkwireError {
  if (reason instanceof TalkwireError) return reason
  const { code = '', message } = reason as NodeJS.ErrnoException
  if (isFull(reason)) return new TalkwireError('NO_SPACE', `${folder}: no room is left; free some and open it again`, { cause: reason })
  if (FORBIDDEN.includes(code))
    return new TalkwireError('PERMISSION_DENIED', `${folder}: ${message}; it and its files must belong to this user`, { cause: reason })
  return new TalkwireError('UNAVAILABLE', `${folder}: ${message}; look at the disk, then open it again`, { cause: reason })
}
