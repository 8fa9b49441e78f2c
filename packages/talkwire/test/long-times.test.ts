/** Who has longer than a timer counts is not told at once that the time is over. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect, serve } from '../src/index.js'
import { Ring } from '../src/memory/ring.js'
import { SharedMemory } from '../src/memory/shared-memory.js'
import { SharedValue, valueBytes } from '../src/memory/value.js'
import { PosixQueue } from '../src/queues/posix-queue.js'
import { Mutex } from '../src/sync/mutex.js'
import { withHub } from './helpers/hub.js'
import { freshName } from './helpers/place.js'
import { RING } from './memory/rings.js'

const TIMEOUT = Number.MAX_SAFE_INTEGER

/** Timers fire in order: one of more milliseconds, set later, is after one that Node makes of 1 ms. */
async function lasts(wait: Promise<unknown>, end: () => unknown): Promise<void> {
  let isOver = false
  const over = (): void => void (isOver = true)
  wait.then(over, over)
  await delay(2)
  assert.equal(isOver, false)
  await end()
  await wait
}

test('a lock', async () => {
  const name = freshName()
  const lock = new Mutex(name).acquireSync()
  const other = new Mutex(name).acquire({ timeout: TIMEOUT })
  await lasts(other, () => lock.release())
  ;(await other).release()
})

test('a message queue', async () => {
  const name = `tw-test-${freshName()}`
  using queue = PosixQueue.create(name, { messages: 4, messageSize: 64 })
  try {
    await lasts(queue.receive({ timeout: TIMEOUT }), () => queue.send('now'))
  } finally {
    PosixQueue.unlink(name)
  }
})

test('a value in shared memory', async () => {
  using memory = SharedMemory.anonymous(valueBytes(8))
  const value = new SharedValue({ memory }, { size: 8 })
  await lasts(value.changed(0, { timeout: TIMEOUT }), () => value.writer().write(new Uint8Array(8)))
})

test('a ring', async () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new Ring({ memory })
  using producer = ring.producer()
  using consumer = ring.consumer()
  await lasts(consumer.ready({ timeout: TIMEOUT }), () => producer.tryWrite(new Uint8Array(1)))
})

test('the calls in flight of who closes', async () => {
  let called!: () => void
  let answer!: () => void
  const calls = new Promise<void>((resolve) => (called = resolve))
  const answered = new Promise<void>((resolve) => (answer = resolve))
  const wait = (): Promise<void> => {
    called()
    return answered
  }
  const listen = `memory:${freshName()}`
  const service = await serve(freshName(), { wait }, { listen })
  const client = await connect<{ wait(): void }>(listen, { reconnect: false })
  const call = client.wait()
  await calls
  await lasts(service.close({ timeout: TIMEOUT }), answer)
  await call
  await client.close()
})

test('a request, and the result of a job', () =>
  withHub(async (hub) => {
    const topic = hub.topic('slow')
    let answer = (): void => {}
    const answered = new Promise<void>((resolve) => (answer = resolve))
    await topic.respond(() => answered)
    await lasts(topic.request(1, { timeout: TIMEOUT }), answer)
    const queue = hub.queue('slow', { results: 60_000 })
    const id = await queue.push(1)
    await lasts(queue.result(id, { timeout: TIMEOUT }), () => queue.consume(() => 2))
  }))
