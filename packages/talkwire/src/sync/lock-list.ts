/** All locks of this machine: those with names, those in memory, and files that the kernel has locked. Looks only: it opens, takes and makes none. */
import { closeSync, constants, fstatSync, openSync, readdirSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { TalkwireError } from '../error.js'
import { runtimeDirectory } from '../discovery/names.js'
import { lockedFile, lockedFiles, type FileLockKind, type LockedFile } from '../kernel/file-locks.js'
import { pathOfSegment, SHM } from '../memory/names.js'
import { fileLockInfo } from './file-lock.js'
import { commandOf, inspectBarrier, inspectLock, inspectRwLock, inspectSemaphore, waitersOf, type Labelled, type Share } from './inspect.js'
import { copyWords } from './lock-copy.js'
import { LockFile } from './lock-file.js'
import { readText } from './lock-file-text.js'
import { kindWord, WORD, type Kind } from './lock-layout.js'
import { deadlocksIn, lasting, waitsIn, type DeadlockMember, type Wait } from './lock-waits.js'
import { isCounting } from './permits.js'
import { scanMemory, type PlacedLock } from './lock-scan.js'
import { parseSegmentName } from './place.js'

/**
 * `free`: to be had, or nobody is within. `abandoned`: its owner died within, and the next one will be told. `broken`: a
 * barrier of which a party died or gave up. `set`, `unset`: an event. `done`: a once. `unknown`: another user's, which we
 * may not read.
 */
export type LockState = 'free' | 'held' | 'abandoned' | 'broken' | 'set' | 'unset' | 'done' | 'unknown'

export interface ListedParty extends Omit<Share, 'since'> {
  /** Undefined where nobody keeps it. */
  readonly since?: Date
  readonly label?: string
}

export interface ListedLock {
  /** 'flock' and 'ofd': a file that the kernel has locked. */
  readonly kind: Kind | FileLockKind | 'lock-file'
  /** Or the path; `prices:4096` for one in memory of one's own. */
  readonly name: string
  /** Of one in memory of one's own: the name of that, and where in it, in bytes from its start. */
  readonly place?: { readonly memory: string; readonly offset: number }
  /** Of the user whose memory or file it is; undefined when that is not to be seen. */
  readonly uid: number | undefined
  readonly state: LockState
  /** Of a semaphore: permits that could be had. */
  readonly available?: number
  readonly holders: readonly ListedParty[]
  /** In the order in which they came, where that is known. */
  readonly waiters: readonly ListedParty[]
}

export interface LockList {
  readonly locks: readonly ListedLock[]
  /** Each deadlock by one circle: each member waits for the next one, the last for the first. */
  readonly deadlocks: readonly (readonly (DeadlockMember & { readonly command: string })[])[]
  /** Names of shared memory that is too large to be looked through, but for its beginning. */
  readonly partly: readonly string[]
}

/**
 * With `wanted`, those of that name, in that memory, or at that path (with a slash in it); deadlocks that they have a part in.
 * Looks into every process, and through up to 256 MiB of memory that was made with Talkwire: some milliseconds. Throws UNSUPPORTED where there is no Linux.
 */
export function listLocks(wanted?: string): LockList {
  if (process.platform !== 'linux')
    throw new TalkwireError('UNSUPPORTED', 'a list of all locks needs Linux; inspect() of each lock tells who has it')
  const { partly, ...first } = look(wanted)
  let { locks, waits } = first
  if (deadlocksIn(waits).length > 0) {
    // Locks are looked at one after the other: only what lasted until the next look was there at one moment.
    const again = look(wanted)
    waits = lasting(waits, again.waits)
    locks = again.locks
  }
  const chosen = wanted === undefined ? locks : locks.filter((lock) => isMeant(lock, wanted))
  const titles = new Set(chosen.map(titleOf))
  return {
    locks: chosen,
    deadlocks: deadlocksIn(waits)
      .filter((members) => wanted === undefined || members.some(({ wants }) => titles.has(wants)))
      .map((members) => members.map((member) => ({ ...member, command: commandOf(member.pid) }))),
    partly,
  }
}

const isMeant = ({ name, place }: ListedLock, wanted: string): boolean =>
  isPath(wanted) ? name === resolve(wanted) : name === wanted || place?.memory === wanted

const isPath = (wanted: string): boolean => wanted.includes('/')
const titleOf = ({ kind, name }: Pick<ListedLock, 'kind' | 'name'>): string => `${kind} ${name}`

interface Seen {
  readonly lock: ListedLock
  readonly waits: readonly Wait[]
}

interface Look {
  readonly locks: ListedLock[]
  readonly waits: Wait[]
  readonly partly: readonly string[]
}

function look(wanted: string | undefined): Look {
  const { locks: placed, partly } = scanMemory()
  const found = [
    ...named(),
    ...placed.map(inMemory),
    ...files(),
    ...(wanted !== undefined && isPath(wanted) ? filesAt(resolve(wanted)) : []),
  ]
  const seen = new Map(found.map((each) => [`${titleOf(each.lock)} ${each.lock.uid}`, each]))
  const locks = Array.from(seen.values(), ({ lock }) => lock)
  return {
    locks: locks.sort((a, b) => (titleOf(a) < titleOf(b) ? -1 : 1)),
    waits: [...seen.values()].flatMap(({ waits }) => waits),
    partly,
  }
}

// ── with names ───────────────────────────────────────────────────────────────────────────────────

const named = (): Seen[] => readdirSync(SHM).flatMap((segment) => nameIn(segment) ?? [])

function nameIn(segment: string): Seen | undefined {
  const parsed = parseSegmentName(segment)
  const found = parsed && wordsOf(parsed.kind, pathOfSegment(segment))
  if (!found) return undefined
  const { kind, name } = parsed
  const { uid, words } = found
  return seenAs({ kind, name, uid }, words, () => wordsOf(kind, pathOfSegment(segment))?.words)
}

const inMemory = ({ kind, memory, offset, uid, words, again }: PlacedLock): Seen =>
  seenAs({ kind, name: `${memory}:${offset}`, place: { memory, offset }, uid }, words, again)

type Head = Pick<ListedLock, 'name' | 'place' | 'uid'> & { readonly kind: Kind }

function seenAs(head: Head, read: Labelled | undefined, again: () => Labelled | undefined): Seen {
  const { kind } = head
  // Whoever had it may have let go, and ended, since it was read.
  const words = read && ENDED.has(contentOf(kind, read).state) ? again() : read
  if (!words) return { lock: { ...head, state: 'unknown', holders: [], waiters: [] }, waits: [] }
  return { lock: { ...head, ...contentOf(kind, words) }, waits: waitsIn(titleOf(head), kind, words) }
}

const ENDED: ReadonlySet<LockState> = new Set(['abandoned', 'broken'])

/** Undefined when it is none; without words when we may not read it. */
function wordsOf(kind: Kind, path: string): { readonly uid: number; readonly words: Labelled | undefined } | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (reason) {
    const stat = (reason as NodeJS.ErrnoException).code === 'EACCES' ? statSync(path, { throwIfNoEntry: false }) : undefined
    return stat?.isFile() ? { uid: stat.uid, words: undefined } : undefined
  }
  try {
    const stat = fstatSync(fd)
    const words = stat.isFile() ? copyWords(kind, fd) : undefined
    return words?.word[WORD.kind] === kindWord(kind) ? { uid: stat.uid, words } : undefined
  } finally {
    closeSync(fd)
  }
}

type Content = Pick<ListedLock, 'state' | 'available' | 'holders' | 'waiters'>

function contentOf(kind: Kind, words: Labelled): Content {
  const isSet = Atomics.load(words.word, WORD.value) !== 0
  const waiters = alive(waitersOf(words))
  if (kind === 'event') return { state: isSet ? 'set' : 'unset', holders: [], waiters }
  if (kind === 'condition') return { state: 'free', holders: [], waiters }
  if (kind === 'barrier') return { state: inspectBarrier(words).broken ? 'broken' : 'free', holders: [], waiters }
  if (kind === 'semaphore') return semaphoreIn(words)
  const { holder, abandoned } = inspectLock(words)
  const readers = kind === 'rwlock' ? inspectRwLock(words).readers.filter((reader) => reader.alive) : []
  const isHeld = holder?.alive === true || readers.length > 0
  const state = isHeld ? 'held' : kind === 'once' && isSet ? 'done' : abandoned ? 'abandoned' : 'free'
  return { state, holders: [...(holder ? [holder] : []), ...readers], waiters }
}

function semaphoreIn(words: Labelled): Content {
  const { holders, waiters, available } = inspectSemaphore(words)
  const isHeld = isCounting(words) ? available <= 0 : holders.some((holder) => holder.alive)
  return { state: isHeld ? 'held' : holders.length > 0 ? 'abandoned' : 'free', available, holders, waiters: alive(waiters) }
}

const alive = <T extends object>(parties: readonly T[]): (T & { readonly alive: true })[] =>
  parties.map((party) => ({ ...party, alive: true }))

// ── files ────────────────────────────────────────────────────────────────────────────────────────

/** Much that is no lock of anybody's is locked, such as parts of databases: these are called locks, or somebody waits for them. */
const CALLED_LOCK = /\.(?:lock|flock|lck)$/

function files(): Seen[] {
  // Who has shared memory open says so with a lock of it.
  const ours = [`${SHM}/`, `${runtimeDirectory()}/`]
  return lockedFiles().flatMap((file) => {
    const { path, waiters } = file
    if (path === undefined || ours.some((folder) => path.startsWith(folder))) return []
    return CALLED_LOCK.test(path) || waiters.length > 0 ? fileIn(path, file) : []
  })
}

function fileIn(name: string, file: LockedFile): Seen {
  const { kind } = file
  const info = fileLockInfo(file)
  const uid = statSync(name, { throwIfNoEntry: false })?.uid
  const holders = file.holders.map(({ pid }) => pid)
  return {
    lock: { kind, name, uid, state: holders.length > 0 ? 'held' : 'free', holders: alive(info.holders), waiters: alive(info.waiters) },
    waits: file.waiters.map((who) => ({ lock: titleOf({ kind, name }), who, holders, any: false, stamp: '' })),
  }
}

/** What is locked there in any way; a file that is locked in none could be by flock(2). */
function filesAt(path: string): Seen[] {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (!stat?.isFile()) return []
  if (readText(path)) return [lockFileAt(path, stat.uid)]
  const locked = (['flock', 'ofd'] as const).map((kind) => lockedFile(stat, kind))
  const held = locked.filter(({ holders }) => holders.length > 0)
  return (held.length > 0 ? held : locked.slice(0, 1)).map((file) => fileIn(path, file))
}

function lockFileAt(name: string, uid: number): Seen {
  const { holder, waiters } = new LockFile(name).inspect()
  const holders = holder ? [{ pid: holder.pid ?? 0, command: '', ...holder }] : []
  const state = !holder ? 'free' : holder.alive ? 'held' : 'abandoned'
  const lock: ListedLock = { kind: 'lock-file', name, uid, state, holders, waiters: alive(waiters) }
  const waits = waiters.map(({ pid }) => ({
    lock: titleOf(lock),
    who: pid,
    holders: holders.map((each) => each.pid),
    any: false,
    stamp: '',
  }))
  return { lock, waits }
}
