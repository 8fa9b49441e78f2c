/** Signals interrupt system calls: each wait begins again, and none ends too early. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SystemVSemaphore } from '../../src/sync/system-v-semaphore.js'
import { PosixSemaphore } from '../../src/sync/posix-semaphore.js'
import { freshKey, freshName, freshPath } from '../helpers/place.js'
import { startLockHolder, type Holder } from './holders.js'
import { locks, type LockWord } from './locks.js'

const file = (): { place: string; remove(): void } => ({ place: freshPath('.lock'), remove() {} })
const places: Partial<Record<LockWord, () => { place: string; remove(): void }>> = {
  flock: file,
  ofd: file,
  'lock-file': file,
  'posix-semaphore': () => {
    const place = `tw-test-${freshName()}`
    return { place, remove: () => PosixSemaphore.unlink(place) }
  },
  'system-v-semaphore': () => {
    const place = freshKey()
    return { place: String(place), remove: () => SystemVSemaphore.remove(place) }
  },
}

/** Signals it 300 times, unless it answers before. Its answer. */
async function during(holder: Holder, command: string): Promise<string | undefined> {
  let answer: string | undefined
  const answering = holder.tell(command).then((said) => (answer = said))
  for (let i = 0; i < 300 && answer === undefined; i++) {
    process.kill(holder.pid, 'SIGUSR2')
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  return command.includes(' ') ? answering : answer
}

for (const [word, at] of Object.entries(places) as [LockWord, () => { place: string; remove(): void }][])
  test(`${word}: a storm of signals neither ends a wait nor gives a lock that is held`, async () => {
    const { place, remove } = at()
    const lock = locks[word](place)
    const holder = await startLockHolder(word, place)
    for (const how of ['acquireSync', 'acquire']) {
      const held = lock.acquireSync()
      assert.equal(await during(holder, `${how} 100`), 'DEADLINE_EXCEEDED')
      assert.equal(await during(holder, how), undefined)
      held.release()
      assert.match(await holder.tell('release'), /^released/)
    }
    await holder.end()
    remove()
  })
