/** Every lock, by a word: for processes that are told which one to use. */
import { FileLock } from '../../src/sync/file-lock.js'
import { LockFile } from '../../src/sync/lock-file.js'
import { Mutex } from '../../src/sync/mutex.js'
import { PosixSemaphore } from '../../src/sync/posix-semaphore.js'
import { SystemVSemaphore } from '../../src/sync/system-v-semaphore.js'
import type { LockUnderTest } from '../../compliance/lock.js'

export const locks = {
  mutex: (place: string) => new Mutex(place),
  'fair-mutex': (place: string) => new Mutex(place, { fair: true }),
  flock: (place: string) => new FileLock(place),
  ofd: (place: string) => new FileLock(place, { kind: 'ofd' }),
  'lock-file': (place: string) => new LockFile(place),
  'posix-semaphore': (place: string) => new PosixSemaphore(place, { permits: 1 }),
  'system-v-semaphore': (place: string) => new SystemVSemaphore(Number(place), { permits: 1 }),
  'system-v-semaphore-without-undo': (place: string) => new SystemVSemaphore(Number(place), { permits: 1, undo: false }),
} satisfies Record<string, (place: string) => LockUnderTest>

export type LockWord = keyof typeof locks
