/** Locks with names that crashed processes left, and that say nothing to anybody: docs/sync/mutex.md. */
import { closeSync, constants, fstatSync, openSync, readdirSync, type Stats } from 'node:fs'
import { findMappers } from '../kernel/mappers.js'
import { needMapping } from '../kernel/mapping.js'
import { memoryError } from '../memory/errors.js'
import { pathOfSegment, SHM } from '../memory/names.js'
import { isAlive } from '../memory/owner.js'
import { freeUnused } from '../memory/segment.js'
import { copyWords } from './lock-copy.js'
import { kindWord, WORD, type Kind } from './lock-layout.js'
import { isIdle, parseSegmentName, segmentOf } from './place.js'
import { waiters, type Words } from './queue.js'
import { ownersOf, SHARES } from './slots.js'

export interface IdleLock {
  readonly kind: Kind
  readonly name: string
}

/** This user's that `cleanLocks` would take away. Looks into every process: some milliseconds. Throws UNSUPPORTED, MISSING_PACKAGE. */
export function idleLocks(): IdleLock[] {
  needMapping()
  const mappers = findMappers()
  return ownLocks().filter((lock) =>
    withOpen(lock, (fd, mayGo) => {
      const stat = fstatSync(fd)
      return mayGo(stat) && mappers.of(stat).length === 0
    }),
  )
}

/**
 * Takes away this user's locks that nobody holds, waits for, or has open, and returns them. What still says something stays:
 * an owner died within, an event is set, a once is done, signals were posted. Whoever opens one meanwhile
 * gets a new one. Throws UNSUPPORTED, MISSING_PACKAGE, UNAVAILABLE when another process that does the same is stopped.
 */
export function cleanLocks(): IdleLock[] {
  needMapping()
  return memoryError(SHM, () => ownLocks().filter(cleanLock))
}

/** One of them. True when it is gone now. Throws as `fs` does. */
export const cleanLock = (lock: IdleLock): boolean => withOpen(lock, (fd, mayGo) => freeUnused(segmentOf(lock.kind, lock.name), fd, mayGo))

const ownLocks = (): IdleLock[] =>
  readdirSync(SHM).flatMap((segment) => {
    const lock = parseSegmentName(segment)
    return lock && segmentOf(lock.kind, lock.name) === segment ? [lock] : []
  })

function withOpen({ kind, name }: IdleLock, use: (fd: number, mayGo: (stat: Stats) => boolean) => boolean): boolean {
  const fd = openPlain(pathOfSegment(segmentOf(kind, name)))
  if (fd === undefined) return false
  try {
    return use(fd, (stat) => isOwn(stat) && mayGo(kind, fd))
  } finally {
    closeSync(fd)
  }
}

const isOwn = (stat: Stats): boolean => stat.isFile() && stat.nlink === 1 && stat.uid === process.getuid!()

function openPlain(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    // Gone, or none of ours.
    return undefined
  }
}

function mayGo(kind: Kind, fd: number): boolean {
  const words = copyWords(kind, fd)
  if (!words) return false
  const is = words.word[WORD.kind]
  // Whoever made it may have died before it said what it is.
  return (is === kindWord(kind) || is === 0) && isIdle(words) && !isSet(kind, words) && !isUsed(words)
}

const isSet = (kind: Kind, { word }: Words): boolean => (kind === 'event' || kind === 'once') && word[WORD.value] !== 0
const isUsed = (words: Words): boolean => waiters(words).length > 0 || ownersOf(words, SHARES).some(isAlive)
