/**
 * Locks in memory of one's own: found by the word that says what they are, because nobody writes down where they stand. Nothing
 * is believed that stands there: what is not as a lock is, in every word that can be checked, is none.
 */
import { closeSync, constants, fstatSync, openSync, readdirSync, readSync } from 'node:fs'
import { ARRAY_MAGIC } from '../memory/array-layout.js'
import { pathOfSegment, SHM } from '../memory/names.js'
import { readRecord } from '../memory/record.js'
import type { Labelled } from './inspect.js'
import { copyWords } from './lock-copy.js'
import { COUNTING, FAIR, KIND, kindWord, SLOTS, WAITER, WAITERS, waiterWord, WORD, type Kind } from './lock-layout.js'
import { parseSegmentName } from './place.js'

export interface PlacedLock {
  readonly kind: Kind
  /** The name of the shared memory. */
  readonly memory: string
  /** Bytes from its start. */
  readonly offset: number
  readonly uid: number
  readonly words: Labelled
  /** The words as they are now. */
  readonly again: () => Labelled | undefined
}

/** Bytes of one segment that are looked through, and of all. */
const MOST_BYTES = 64 << 20
const MOST_OF_ALL = 256 << 20
/** Places where a lock seems to begin: memory may be full of them. */
const MOST_PLACES = 10_000
const CHUNK = 1 << 20

interface Scan {
  readonly locks: PlacedLock[]
  /** Names of memory that was looked through in part only. */
  readonly partly: string[]
  /** What may still be looked at. */
  bytes: number
  places: number
}

/** In named memory that processes of this user made with Talkwire. */
export function scanMemory(): Pick<Scan, 'locks' | 'partly'> {
  const scan: Scan = { locks: [], partly: [], bytes: MOST_OF_ALL, places: MOST_PLACES }
  for (const memory of readdirSync(SHM))
    if (!parseSegmentName(memory) && withMemory(memory, (fd) => lookThrough(scan, memory, fd)) === false) scan.partly.push(memory)
  return scan
}

/** False when there was more than may be looked at. */
function lookThrough(scan: Scan, memory: string, fd: number): boolean {
  const { uid, size } = fstatSync(fd)
  const end = Math.min(size, MOST_BYTES, scan.bytes)
  const chunk = new Int32Array(CHUNK / 4)
  for (let from = 0; from < end; from += CHUNK) {
    const bytes = readSync(fd, chunk, 0, Math.min(CHUNK, end - from), from)
    // All of it is the array's.
    if (from === 0 && chunk[0] === ARRAY_MAGIC) return true
    scan.bytes -= bytes
    for (let word = 0; 4 * word < bytes; word += 2) {
      const kind = kindAt(chunk[word]!)
      if (kind === undefined) continue
      if (scan.places-- <= 0) return false
      const offset = from + 4 * word
      const words = lockAt(kind, fd, offset)
      const again = (): Labelled | undefined => withMemory(memory, (now) => lockAt(kind, now, offset))
      if (words) scan.locks.push({ kind, memory, offset, uid, words, again })
    }
  }
  return end === size
}

/** What it returns, if that memory is there and was made by this user. */
function withMemory<T>(name: string, look: (fd: number) => T): T | undefined {
  let fd: number
  try {
    fd = openSync(pathOfSegment(name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch {
    // Gone, or none of ours.
    return undefined
  }
  try {
    const stat = fstatSync(fd)
    return stat.isFile() && readRecord(name, stat) ? look(fd) : undefined
  } finally {
    closeSync(fd)
  }
}

const KINDS = new Map((Object.keys(KIND) as Kind[]).map((kind) => [kindWord(kind), kind]))
const FIRST = kindWord('mutex')

/** Most words are numbers of somebody's: they are told apart before the table is asked. */
const kindAt = (word: number): Kind | undefined => (word >= FIRST && word < FIRST + KINDS.size ? KINDS.get(word) : undefined)

function lockAt(kind: Kind, fd: number, offset: number): Labelled | undefined {
  const words = copyWords(kind, fd, offset)
  return words && isLock(kind, words) ? words : undefined
}

/** Words that are 0 or 1, and one that nobody uses. */
const FLAGS = [WORD.damaged, WORD.waiting, WORD.hungry]
const SPARE = 15

/** Whether each word has a value that a lock of this kind may have. */
function isLock(kind: Kind, { word, label }: Labelled): boolean {
  const flags = word[WORD.flags]!
  const end = label.indexOf(0)
  return (
    word[WORD.kind] === kindWord(kind) &&
    (flags & ~(FAIR | COUNTING)) === 0 &&
    FLAGS.every((index) => isOneOf(word[index]!, 2)) &&
    word[SPARE] === 0 &&
    (kind === 'semaphore' || kind === 'barrier'
      ? (flags & COUNTING) !== 0 || isOneOf(word[WORD.limit]!, SLOTS + 1)
      : word[WORD.limit] === 0) &&
    (end < 0 || label.subarray(end).every((byte) => byte === 0)) &&
    Array.from({ length: WAITERS }, (_, slot) => waiterWord(slot)).every(
      (at) => isOneOf(word[at + WAITER.rung]!, 2) && isOneOf(word[at + WAITER.mode]!, 3),
    )
  )
}

const isOneOf = (value: number, count: number): boolean => value >= 0 && value < count
