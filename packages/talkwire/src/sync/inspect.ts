/** Who holds a lock and who waits, for people. Reads words that others may change meanwhile, in shared memory or in a copy of it. */
import { readFileSync } from 'node:fs'
import { idOf, isAlive, NOBODY } from '../memory/owner.js'
import { isBrokenState, LONG, WORD } from './lock-layout.js'
import { availableOf, permitsOf } from './permits.js'
import { waiters, type Words } from './queue.js'
import { ownersOf, sharesIn, SHARES, type Range } from './slots.js'

export interface Party {
  /** Of the process; of a worker: of its thread. */
  readonly pid: number
  /** As it was started; empty when it has ended. */
  readonly command: string
  /** Since when it holds or waits. */
  readonly since: Date
}

export interface Holder extends Party {
  /** What it said of itself: `label`. */
  readonly label: string
  readonly alive: boolean
}

/** Who has a part of something: a permit, a reader's share. */
export type Share = Omit<Holder, 'label'>

/** In the order in which they came. One party for all tasks of a thread; more than 29 are not listed. */
export type Waiters = readonly Party[]

export interface LockInfo {
  readonly holder: Holder | undefined
  readonly waiters: Waiters
  /** An owner died within, and no one has repaired yet. */
  readonly abandoned: boolean
  /** Of the last grant; 0 before the first. */
  readonly fence: number
}

export interface RwLockInfo extends LockInfo {
  /** One for each share; the one who may become the writer is the last. */
  readonly readers: readonly Share[]
}

export interface SemaphoreInfo {
  /** One for each permit that was taken; nobody with `signalling`. */
  readonly holders: readonly Share[]
  readonly waiters: Waiters
  /** How many could be had at this moment, those of the dead among them. */
  readonly available: number
  /** Of the last grant; 0 before the first. */
  readonly fence: number
}

export interface BarrierInfo {
  readonly parties: number
  /** Those who are there. */
  readonly waiters: Waiters
  readonly broken: boolean
}

/** What a lock is, as its words say it. */
export interface Labelled extends Words {
  readonly label: Uint8Array
}

/** Looks before what is there is told as it is: another owner each time is nobody's honest work. */
const LOOKS = 100

/** It may have let go, and ended, before it was looked for. */
function ownerOf(long: BigInt64Array): { owner: bigint; alive: boolean } {
  for (let n = 0; ; n++) {
    const owner = Atomics.load(long, LONG.owner)
    const alive = owner !== NOBODY && isAlive(owner)
    if (owner === NOBODY || alive || n === LOOKS || Atomics.load(long, LONG.owner) === owner) return { owner, alive }
  }
}

export function inspectLock(block: Labelled): LockInfo {
  const { word, long, float } = block
  const { owner, alive } = ownerOf(long)
  return {
    holder: owner === NOBODY ? undefined : { ...party(owner, float[LONG.since]!), label: labelOf(block), alive },
    waiters: waitersOf(block),
    abandoned: Atomics.load(word, WORD.damaged) !== 0 || (owner !== NOBODY && !alive),
    fence: float[LONG.fence]!,
  }
}

export const inspectRwLock = (block: Labelled): RwLockInfo => ({ ...inspectLock(block), readers: sharesOf(block, SHARES) })

export const inspectSemaphore = (words: Words): SemaphoreInfo => ({
  holders: sharesOf(words, permitsOf(words)),
  waiters: waitersOf(words),
  available: availableOf(words),
  fence: Number(Atomics.load(words.long, LONG.fence)),
})

export const inspectBarrier = (words: Words): BarrierInfo => ({
  parties: Atomics.load(words.word, WORD.limit),
  waiters: waitersOf(words),
  broken: isBrokenState(Atomics.load(words.word, WORD.value)) || !ownersOf(words, SHARES).every(isAlive),
})

export const waitersOf = (words: Words): Party[] => waiters(words).map(({ who, since }) => party(who, since))

const sharesOf = (words: Words, range: Range): Share[] =>
  sharesIn(words, range).map(({ owner, since }) => ({ ...party(owner, since), alive: isAlive(owner) }))

function party(owner: bigint, since: number): Party {
  const pid = idOf(owner)
  return { pid, command: commandOf(pid), since: new Date(since) }
}

function labelOf({ label }: Labelled): string {
  const end = label.indexOf(0)
  return Buffer.from(label.subarray(0, end < 0 ? undefined : end)).toString()
}

const MOST = 200

/** As it was started; empty when it has ended. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim().slice(0, MOST)
  } catch {
    return ''
  }
}
