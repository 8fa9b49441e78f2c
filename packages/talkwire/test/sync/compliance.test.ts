/** Every lock, held by Node and by whoever else knows it. */
import { rmSync } from 'node:fs'
import { test } from 'node:test'
import { testLock, type LockSuite } from '../../compliance/lock.js'
import { FileLock } from '../../src/sync/file-lock.js'
import { LockFile } from '../../src/sync/lock-file.js'
import { Mutex } from '../../src/sync/mutex.js'
import { freshName, freshPath } from '../helpers/place.js'
import { startLockHolder, startPythonHolder } from './holders.js'
import { locks, type LockWord } from './locks.js'

const node = (word: LockWord, suite: Omit<LockSuite, 'test' | 'name' | 'open' | 'holder'>): void =>
  testLock({ test, name: word, open: locks[word], holder: (place) => startLockHolder(word, place), ...suite })

for (const word of ['mutex', 'fair-mutex'] as const)
  node(word, {
    traits: { robust: true, fair: word === 'fair-mutex', shared: false, fence: true, knowsOwner: true },
    place: () => {
      const place = freshName()
      return { place, remove: () => Mutex.unlink(place) }
    },
    isHolder: (place, pid) => new Mutex(place).inspect().holder?.pid === pid,
    waiting: (place) => new Mutex(place).inspect().waiters.length,
  })

const file = (): { place: string; remove(): void } => {
  const place = freshPath('.lock')
  return { place, remove: () => rmSync(place, { force: true }) }
}

for (const kind of ['flock', 'ofd'] as const) {
  const suite = {
    traits: { robust: true, fair: false, shared: true, fence: false, knowsOwner: true },
    place: file,
    isHolder: (place: string, pid: number) => new FileLock(place, { kind }).inspect().holders.some((holder) => holder.pid === pid),
  }
  node(kind, suite)
  const partner = kind === 'flock' ? 'flock' : 'lockf'
  testLock({
    test,
    name: `${kind}, with Python's fcntl.${partner}`,
    ...suite,
    open: locks[kind],
    holder: (place) => startPythonHolder(partner, place),
  })
}
testLock({
  test,
  name: "flock, with Python's filelock",
  traits: { robust: true, fair: false, shared: false, fence: false, knowsOwner: true },
  place: file,
  open: locks.flock,
  holder: (place) => startPythonHolder('filelock', place),
})

node('lock-file', {
  traits: { robust: true, fair: false, shared: false, fence: false, knowsOwner: true },
  place: file,
  isHolder: (place, pid) => new LockFile(place).inspect().holder?.pid === pid,
})
