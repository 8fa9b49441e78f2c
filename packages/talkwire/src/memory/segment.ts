/**
 * Named segments as open files, and their end: spec/memory.md § 2. Whoever has one open holds a shared flock(2) on it, which
 * the kernel takes back with the process; only who gets the exclusive one may take a segment's name away.
 */
import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync, statSync, unlinkSync, type Stats } from 'node:fs'
import { isAlive } from '../discovery/identity.js'
import { TalkwireError } from '../error.js'
import { mappersOf } from '../kernel/mappers.js'
import { addSeals, createMemfd, nameFile, O_TMPFILE, reserve, SEAL, tryFlock } from '../kernel/mapping.js'
import { pathOfSegment, SHM } from './names.js'
import { readRecord, removeRecord, writeRecord } from './record.js'

/** How long an opener waits for one that is taking the same name away: a few system calls, unless it is stopped in between. */
const PATIENCE = 1000

/** A new file of zeros, complete before it has a name: nobody ever sees it smaller. Returns its descriptor. Throws as `fs` does. */
export function createSegment(name: string, size: number, mode: number, persist: boolean): number {
  const fd = openSync(SHM, O_TMPFILE | constants.O_RDWR, 0o600)
  try {
    ftruncateSync(fd, size)
    reserve(fd, size, name)
    fchmodSync(fd, mode)
    tryFlock(fd, false)
    const { ino } = fstatSync(fd)
    writeRecord(name, ino, persist)
    try {
      nameFile(fd, pathOfSegment(name))
    } catch (reason) {
      removeRecord(name, ino)
      throw reason
    }
    return fd
  } catch (reason) {
    closeSync(fd)
    throw reason
  }
}

/** Opens what has that name, unless all who had it crashed: then it is taken away first. Throws as `fs` does: ENOENT. */
export function openSegment(name: string, readOnly: boolean): number {
  const path = pathOfSegment(name)
  const end = performance.now() + PATIENCE
  for (;;) {
    const fd = openSync(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NOFOLLOW)
    try {
      if (!reclaim(name, fd) && tryFlock(fd, false) && fstatSync(fd).nlink > 0) return fd
    } catch (reason) {
      closeSync(fd)
      throw reason
    }
    closeSync(fd)
    if (performance.now() > end)
      throw new TalkwireError('UNAVAILABLE', `${path} is locked (flock) by another process; end that one, or unlink the segment`)
  }
}

/** Takes a segment's name away if its maker and all its users crashed. True when it is gone now. Throws as `fs` does. */
export function reclaim(name: string, fd: number): boolean {
  const stat = fstatSync(fd)
  if (!isAbandoned(name, stat) || !tryFlock(fd, true)) return false
  // Nobody who uses Talkwire has it open, nor can anybody open it now. Others may have it mapped.
  const path = pathOfSegment(name)
  if (fstatSync(fd).nlink === 0 || mappersOf(path, stat.ino).length > 0) return false
  unlinkSync(path)
  removeRecord(name, stat.ino)
  return true
}

function isAbandoned(name: string, { ino }: Stats): boolean {
  const record = readRecord(name, ino)
  return record !== undefined && !record.kept && !isAlive(record)
}

/** A new file of zeros without a name, which can only be used as large as it is. Returns its descriptor. Throws as `fs` does. */
export function createAnonymous(size: number): number {
  const fd = createMemfd('talkwire')
  try {
    ftruncateSync(fd, size)
    reserve(fd, size)
    addSeals(fd, SEAL.shrink | SEAL.grow | SEAL.seal)
    return fd
  } catch (reason) {
    closeSync(fd)
    throw reason
  }
}

/** Its maker is done with it and leaves it there on purpose. */
export function keepSegment(name: string, fd: number): void {
  const { ino, nlink } = fstatSync(fd)
  if (nlink > 0) writeRecord(name, ino, true)
}

/** Takes the name away; with an `inode` only from that segment. Throws as `fs` does: ENOENT. */
export function unlinkSegment(name: string, inode?: number): void {
  const path = pathOfSegment(name)
  const { ino } = statSync(path)
  if (inode !== undefined && ino !== inode) return
  unlinkSync(path)
  removeRecord(name, ino)
}
