/** Every lock, held by Node and by whoever else knows it. */
import { rmSync } from 'node:fs'
import { test } from 'node:test'
import { testLock, type LockSuite } from '../../compliance/lock.js'
import { FileLock } from '../../src/sync/file-lock.js'
import { LockFile } from '../../src/sync/lock-file.js'
import { PosixSemaphore } from '../../src/sync/posix-semaphore.js'
import { SystemVSemaphore } from '../../src/sync/system-v-semaphore.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { freshKey, freshName, freshPath } from '../helpers/place.js'
import { hireLockHolder, LANGUAGES, start, startPartyIn, startPythonHolder } from './holders.js'
import { calm, inspect, locks, OURS, placeOf, type LockWord } from './locks.js'

const node = (word: LockWord, suite: Omit<LockSuite, 'test' | 'name' | 'open' | 'holder'>): void =>
  testLock({ test, name: word, open: locks[word], holder: (place) => hireLockHolder(word, place), ...suite })

for (const word of OURS) {
  const suite = {
    traits: { robust: true, fair: word.startsWith('fair'), shared: false, fence: true, knowsOwner: word.endsWith('mutex') },
    place: placeOf(word),
    isHolder: (place: string, pid: number) => inspect(word, place).holder === pid,
    waiting: (place: string) => inspect(word, place).waiters.length,
    calm: (place: string) => calm(word, place),
  }
  node(word, suite)
  for (const language of LANGUAGES.filter((one) => one !== 'Node'))
    testLock({
      test,
      name: `${word}, with ${language}`,
      ...suite,
      open: locks[word],
      holder: (place) => startPartyIn(language, word, place),
    })
}

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

const semaphores = {
  'posix-semaphore': {
    partner: 'posix',
    robust: false,
    place: () => {
      const place = `tw-test-${freshName()}`
      return { place, remove: () => PosixSemaphore.unlink(place) }
    },
  },
  'system-v-semaphore': { partner: 'sysv', robust: true, place: keyed },
} as const

function keyed(): { place: string; remove(): void } {
  const key = freshKey()
  return { place: String(key), remove: () => SystemVSemaphore.remove(key) }
}

for (const [word, { partner, robust, place }] of Object.entries(semaphores) as [
  keyof typeof semaphores,
  (typeof semaphores)['posix-semaphore'],
][]) {
  const suite = { traits: { robust, fair: false, shared: false, fence: false, knowsOwner: false }, place }
  node(word, suite)
  testLock({ test, name: `${word}, with Python`, ...suite, open: locks[word], holder: (at) => startPythonHolder(partner, at) })
  if (HAS_CC) testLock({ test, name: `${word}, with C`, ...suite, open: locks[word], holder: (at) => start(inC(), partner, at) })
}
node('system-v-semaphore-without-undo', {
  traits: { robust: false, fair: false, shared: false, fence: false, knowsOwner: false },
  place: keyed,
})

let compiled: string | undefined
function inC(): string {
  return (compiled ??= compileC(import.meta.url, 'semaphore_holder'))
}
