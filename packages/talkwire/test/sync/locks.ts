/** Every lock, by a word: for processes that are told which one to use. */
import { idOf, NOBODY } from '../../src/memory/owner.js'
import { FileLock } from '../../src/sync/file-lock.js'
import { LONG, SLOT_LONG, WORD, type Kind } from '../../src/sync/lock-layout.js'
import { LockFile } from '../../src/sync/lock-file.js'
import { Mutex } from '../../src/sync/mutex.js'
import { openLock, unlinkLock } from '../../src/sync/place.js'
import { PosixSemaphore } from '../../src/sync/posix-semaphore.js'
import { waiters } from '../../src/sync/queue.js'
import { Semaphore } from '../../src/sync/semaphore.js'
import { SystemVSemaphore } from '../../src/sync/system-v-semaphore.js'
import type { LockUnderTest } from '../../compliance/lock.js'
import { freshName } from '../helpers/place.js'

export const locks = {
  mutex: (place: string, label = '') => new Mutex(place, { label }),
  'fair-mutex': (place: string, label = '') => new Mutex(place, { fair: true, label }),
  semaphore: (place: string) => new Semaphore(place, { permits: 1 }),
  'fair-semaphore': (place: string) => new Semaphore(place, { permits: 1, fair: true }),
  flock: (place: string) => new FileLock(place),
  ofd: (place: string) => new FileLock(place, { kind: 'ofd' }),
  'lock-file': (place: string) => new LockFile(place),
  'posix-semaphore': (place: string) => new PosixSemaphore(place, { permits: 1 }),
  'system-v-semaphore': (place: string) => new SystemVSemaphore(Number(place), { permits: 1 }),
  'system-v-semaphore-without-undo': (place: string) => new SystemVSemaphore(Number(place), { permits: 1, undo: false }),
} satisfies Record<string, (place: string, label?: string) => LockUnderTest>

export type LockWord = keyof typeof locks

/** Those that Python and C have, too. */
export const OURS = ['mutex', 'fair-mutex', 'semaphore', 'fair-semaphore'] as const
type Ours = (typeof OURS)[number]
const kindOf = (word: Ours): Kind => (word.endsWith('mutex') ? 'mutex' : 'semaphore')

/** A fresh name, and what takes it away if nobody did. */
export const placeOf = (word: Ours) => (): { place: string; remove(): void } => {
  const place = freshName()
  return { place, remove: () => unlinkLock(kindOf(word), place) }
}

/** Who holds it and who waits, by what its memory says. */
export function inspect(word: Ours, place: string): { holder: number | undefined; waiters: number[] } {
  const block = openLock(kindOf(word), place)
  const holder = Atomics.load(block.long, kindOf(word) === 'mutex' ? LONG.owner : SLOT_LONG)
  return { holder: holder === NOBODY ? undefined : idOf(holder), waiters: waiters(block).map(({ who }) => idOf(who)) }
}

/** Nobody has waited for long. */
export const calm = (word: Ours, place: string): void => void Atomics.store(openLock(kindOf(word), place).word, WORD.hungry, 0)
