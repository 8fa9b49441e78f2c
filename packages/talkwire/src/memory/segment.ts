/**
 * Named segments as open files, and their end: spec/memory.md § 2. Whoever has one open holds a shared flock(2) on it, which
 * the kernel takes back with the process; only who gets the exclusive one may take a crashed maker's segment away.
 */
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, lstatSync, openSync, unlinkSync, writeSync, type Stats } from 'node:fs'
import { isAlive } from '../discovery/identity.js'
import { TalkwireError } from '../error.js'
import { findMappers } from '../kernel/mappers.js'
import { addSeals, createMemfd, nameFile, O_TMPFILE, reserve, SEAL, tryFlock } from '../kernel/mapping.js'
import { exclusively, patiently } from './guard.js'
import { pathOfSegment, SHM } from './names.js'
import { allRecords, readRecord, recordKept, recordMaker, removeHalfWritten, removeRecord } from './record.js'
import { changing } from './store.js'

/** Somebody may have put a link or a pipe there: neither is followed, nor waited for. */
const CAREFULLY = constants.O_NOFOLLOW | constants.O_NONBLOCK

/** A new file of zeros, complete before it has a name: nobody ever sees it smaller. Returns its descriptor. Throws as `fs` does. */
export function createSegment(name: string, size: number, mode: number, persist: boolean, content?: Uint8Array): number {
  const fd = openSync(SHM, O_TMPFILE | constants.O_RDWR, 0o600)
  return closing(fd, () => {
    ftruncateSync(fd, size)
    reserve(fd, size, name)
    if (content) writeSync(fd, content, 0, content.length, 0)
    fchmodSync(fd, mode)
    tryFlock(fd, false)
    const { ino } = fstatSync(fd)
    recordMaker(name, ino, persist)
    try {
      nameFile(fd, pathOfSegment(name))
    } catch (reason) {
      removeRecord(name, ino)
      throw reason
    }
    return fd
  })
}

/** Closes `fd` when it fails. */
function closing<T>(fd: number, action: () => T): T {
  try {
    return action()
  } catch (reason) {
    closeSync(fd)
    throw reason
  }
}

/** Opens what has that name, unless all who had it crashed: then it is taken away first. Throws as `fs` does: ENOENT. */
export function openSegment(name: string, readOnly: boolean): number {
  const path = pathOfSegment(name)
  let opened: number | undefined
  const attempt = (): boolean => {
    const fd = openSync(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | CAREFULLY)
    return closing(fd, () => {
      validateFile(path, fstatSync(fd))
      const gone = reclaim(name, fd)
      changing()
      if (!gone && tryFlock(fd, false) && fstatSync(fd).nlink > 0) opened = fd
      else closeSync(fd)
      return opened !== undefined
    })
  }
  if (patiently(attempt)) return opened!
  throw new TalkwireError('UNAVAILABLE', `${path} is locked (flock) by another process; end that one, or unlink the segment`)
}

/** What another user owns, that one can make smaller under us: then the next touch would end this process. */
function validateFile(path: string, stat: Stats): void {
  const wrong = !stat.isFile()
    ? 'is no regular file; unlink it, or take another name'
    : stat.nlink > 1
      ? 'has a second name (a hard link), so it may be something else; remove one of the two'
      : undefined
  if (wrong) throw new TalkwireError('INVALID_MEMORY', `${path} ${wrong}`)
  if (stat.uid !== process.getuid!())
    throw new TalkwireError(
      'PERMISSION_DENIED',
      `${path} belongs to user ${stat.uid}, who could make it smaller and so end this process; between users take SharedMemory.anonymous()`,
    )
}

/** Takes the name away from what a crash left behind. True if that was so. */
export function freeIfAbandoned(name: string): boolean {
  let fd: number
  try {
    fd = openSync(pathOfSegment(name), constants.O_RDONLY | CAREFULLY)
  } catch (reason) {
    // Nothing there; or what we may not even read, and did not make.
    if (['ENOENT', 'EACCES', 'ENXIO', 'ELOOP'].includes((reason as NodeJS.ErrnoException).code ?? '')) return false
    throw reason
  }
  try {
    return reclaim(name, fd)
  } finally {
    closeSync(fd)
  }
}

/** Takes a segment's name away if its maker and all its users crashed. True when it is gone now. Throws as `fs` does. */
export const reclaim = (name: string, fd: number): boolean => freeUnused(name, fd, (stat) => isAbandoned(name, stat))

/** Takes a segment's name away if nobody has it open or mapped, and it may go. True when it is gone now. Throws as `fs` does. */
export function freeUnused(name: string, fd: number, mayGo: (stat: Stats) => boolean): boolean {
  const stat = fstatSync(fd)
  if (!mayGo(stat) || !tryFlock(fd, true)) return false
  // Nobody who uses Talkwire has it open, nor can anybody open it now. Others may have it mapped.
  const mappers = findMappers()
  const others = (stat.mode & 0o077) !== 0
  if (mappers.of(stat).length > 0 || (others && mappers.hidden)) return false
  return exclusively(() => {
    // Until just now others may have had it, and have changed it.
    if (fstatSync(fd).nlink === 0 || !mayGo(stat)) return false
    changing()
    unlinkSync(pathOfSegment(name))
    removeRecord(name, stat.ino)
    return true
  })
}

/** Records of segments that are gone: their makers died on the way, or somebody else took the name away. */
export function removeStrayRecords(): void {
  for (const { name, record } of allRecords()) {
    const stat = lstatSync(pathOfSegment(name), { throwIfNoEntry: false })
    // A living maker may be about to give it its name.
    if (!isAlive(record) && (stat === undefined || readRecord(name, stat) === undefined)) removeRecord(name, record.inode)
  }
  removeHalfWritten()
}

function isAbandoned(name: string, stat: Stats): boolean {
  const record = readRecord(name, stat)
  return record !== undefined && !record.kept && !isAlive(record)
}

/** A new file of zeros without a name, which can only be used as large as it is. Returns its descriptor. Throws as `fs` does. */
export function createAnonymous(size: number): number {
  const fd = createMemfd('talkwire')
  return closing(fd, () => {
    ftruncateSync(fd, size)
    reserve(fd, size)
    addSeals(fd, SEAL.shrink | SEAL.grow | SEAL.seal)
    return fd
  })
}

/** Its maker is done with it and leaves it there on purpose. */
export function keepSegment(name: string, fd: number): void {
  recordKept(name, fstatSync(fd))
  const { nlink, ino } = fstatSync(fd)
  if (nlink === 0) removeRecord(name, ino)
}

/** Takes the name away; with an `inode` only from that segment. Throws as `fs` does: ENOENT. */
export function unlinkSegment(name: string, inode?: number): void {
  const path = pathOfSegment(name)
  exclusively(() => {
    const { ino } = lstatSync(path)
    if (inode !== undefined && ino !== inode) return
    unlinkSync(path)
    removeRecord(name, ino)
  })
}
