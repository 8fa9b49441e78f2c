// One process that wants the lock as often as it can: lock-end.mjs LOCK SEGMENT FOLDER MILLISECONDS. Sends how often it had it.
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { SharedMemory } from 'talkwire/memory'
import { FileLock, Mutex } from 'talkwire/sync'

const [name, segment, folder, milliseconds] = process.argv.slice(2)
const memory = SharedMemory.open(segment)
const counter = memory.array(Float64Array, 0, 1)
/** It goes with the memory. */
const place = { memory, offset: 1024 }
/** Looks at the clock once in so many acquisitions. */
const ROUND = name === 'proper-lockfile' ? 1 : 64

/** @param {{ acquireSync(): { release(): void } }} lock */
function bySync(lock) {
  for (let n = 0; n < ROUND; n++) {
    const held = lock.acquireSync()
    counter[0]++
    held.release()
  }
}

/** @returns {Promise<() => void | Promise<void>>} */
async function rounds() {
  if (name === 'mutex' || name === 'mutex-fair') {
    const mutex = new Mutex(place, { fair: name === 'mutex-fair' })
    return () => bySync(mutex)
  }
  if (name === 'flock') {
    const lock = new FileLock(path.join(folder, 'lock'))
    return () => bySync(lock)
  }
  if (name === 'mutex-async') {
    const mutex = new Mutex(place)
    return async () => {
      for (let n = 0; n < ROUND; n++) {
        const held = await mutex.acquire()
        counter[0]++
        held.release()
      }
    }
  }
  // It has no types.
  const lockfile = createRequire(import.meta.url)('proper-lockfile')
  const file = path.join(folder, 'file')
  writeFileSync(file, '')
  return async () => {
    const release = await lockfile.lock(file, { retries: { forever: true, factor: 1, minTimeout: 1, maxTimeout: 1 } })
    counter[0]++
    await release()
  }
}

const round = await rounds()
process.once('disconnect', () => process.exit())
process.send?.('ready')
await new Promise((resolve) => process.once('message', resolve))
let count = 0
for (let warm = performance.now() + Number(milliseconds) / 10; performance.now() < warm;) {
  await round()
  count += ROUND
}
const before = count
const start = performance.now()
const end = start + Number(milliseconds)
while (performance.now() < end) {
  await round()
  count += ROUND
}
// The rate is of the time after the warm-up; the counter has all.
process.send?.({ count, rate: ((count - before) / (performance.now() - start)) * 1000 })
