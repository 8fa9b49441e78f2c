import assert from 'node:assert/strict'
import { once, setMaxListeners } from 'node:events'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'
import { BroadcastRing } from '../../src/memory/broadcast.js'
import { SEAT, SEATS, seatWord, WORD } from '../../src/memory/ring-layout.js'
import type { Wait } from '../../src/memory/ring-waiting.js'
import { Ring } from '../../src/memory/ring.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { fixture } from '../session/processes.js'
import { CAPACITY, readNumber, RING, writeNumber } from './rings.js'

const nothing = (): void => {}
const WAITS: readonly Wait[] = ['spin', 'yield', 'park', 'adaptive']

/** Whether those in these seats sleep. */
const sleepers = (memory: SharedMemory, ...seats: number[]): number[] =>
  seats.map((seat) => Atomics.load(memory.array(Int32Array), seatWord(seat) + SEAT.sleeping))

for (const wait of WAITS)
  for (const how of ['ready', 'readySync'] as const)
    test(`${wait}, ${how}: processes hand a message to and fro`, async () => {
      const segment = `tw-test-${freshName()}`
      using memory = SharedMemory.create(segment, 2 * RING.size)
      const other = fixture(import.meta.url, 'ring-echo.js', segment, wait, how)
      using producer = new Ring({ memory, size: RING.size }).producer()
      using consumer = new Ring({ memory, offset: RING.size }).consumer()
      await other.line('ready')
      for (let n = 0; n < 20; n++) {
        assert.ok(writeNumber(producer, n))
        // The room at the end that is skipped may be seen before the message that follows it.
        for (let read = 0; read === 0;) {
          await consumer.ready({ wait, timeout: 20_000 })
          read = consumer.read((data, offset, length) => assert.equal(readNumber(data, offset, length), n))
          assert.ok(read <= 1)
        }
      }
      producer.tryWrite(new Uint8Array(0))
      if (other.child.exitCode === null) await once(other.child, 'exit')
      assert.equal(other.child.exitCode, 0)
      memory.unlink()
    })

test('whoever publishes rings for who sleeps, unless more follows', async () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new Ring({ memory })
  using producer = ring.producer()
  using consumer = ring.consumer()
  const reading = consumer.ready({ wait: 'park' })
  assert.deepEqual(sleepers(memory, SEATS), [1])
  producer.tryWrite(new Uint8Array(4), true)
  assert.deepEqual(sleepers(memory, SEATS), [1])
  producer.flush()
  assert.deepEqual(sleepers(memory, SEATS), [0])
  await reading
  consumer.read(nothing)
  while (producer.tryWrite(new Uint8Array(100)));
  const writing = producer.ready(100, { wait: 'park' })
  assert.deepEqual(sleepers(memory, 0), [1])
  consumer.read(nothing, 2)
  assert.deepEqual(sleepers(memory, 0), [0])
  await writing
  assert.equal(producer.tryWrite(new Uint8Array(100)), true)
  assert.equal(Atomics.load(memory.array(Int32Array), WORD.writersSleep), 0)
})

test('a row that fills the ring wakes the consumer, although more was to follow', () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new Ring({ memory })
  using producer = ring.producer()
  using consumer = ring.consumer()
  void consumer.ready({ wait: 'park' })
  while (producer.tryWrite(new Uint8Array(100), true));
  assert.deepEqual(sleepers(memory, SEATS), [0])
})

test('broadcast: all readers that sleep are woken; one without a seat looks by itself', async () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new BroadcastRing({ memory })
  using writer = ring.writer()
  const readers = Array.from({ length: SEATS + 1 }, () => ring.reader())
  const reading = readers.map((reader) => reader.ready({ wait: 'park' }))
  assert.deepEqual(sleepers(memory, SEATS, SEATS + 1, 2 * SEATS - 1), [1, 1, 1])
  writer.write(new Uint8Array(1))
  assert.deepEqual(sleepers(memory, SEATS, SEATS + 1, 2 * SEATS - 1), [0, 0, 0])
  await Promise.all(reading)
  for (const reader of readers) {
    assert.equal(reader.read(nothing), 1)
    reader.close()
  }
})

for (const wait of WAITS)
  test(`${wait}: gives up in time, or when it is told to; the event loop turns meanwhile`, async () => {
    using memory = SharedMemory.anonymous(RING.size)
    const ring = new Ring({ memory })
    using consumer = ring.consumer()
    using producer = ring.producer()
    await assert.rejects(consumer.ready({ wait, timeout: 5 }), fails('DEADLINE_EXCEEDED'))
    assert.throws(() => consumer.readySync({ wait, timeout: 5 }), fails('DEADLINE_EXCEEDED'))
    const stop = new AbortController()
    const waiting = assert.rejects(consumer.ready({ wait, signal: stop.signal }), /enough/)
    for (let n = 0; n < 20; n++) await turn()
    stop.abort(new Error('enough'))
    await waiting
    await assert.rejects(consumer.ready({ wait, signal: AbortSignal.abort(new Error('before')) }), /before/)
    while (producer.tryWrite(new Uint8Array(100)));
    await assert.rejects(producer.ready(100, { wait, timeout: 5 }), fails('DEADLINE_EXCEEDED'))
    assert.throws(() => producer.readySync(100, { wait, timeout: 5 }), fails('DEADLINE_EXCEEDED'))
    assert.deepEqual(sleepers(memory, 0, SEATS), [0, 0])
    assert.throws(() => producer.ready(CAPACITY), fails('MESSAGE_TOO_LARGE'))
  })

test('sixteen that wait hold no thread of the pool, and a process with them ends at once', async () => {
  const rings = Array.from({ length: 16 }, () => new Ring({ memory: SharedMemory.anonymous(RING.size) }))
  const stop = new AbortController()
  setMaxListeners(16, stop.signal)
  const consumers = rings.map((ring) => ring.consumer())
  const waiting = consumers.map((consumer) => assert.rejects(consumer.ready({ wait: 'park', signal: stop.signal }), /AbortError|aborted/))
  await Promise.all(Array.from({ length: 16 }, () => readFile(new URL(import.meta.url))))
  stop.abort()
  await Promise.all(waiting)
  const other = fixture(import.meta.url, 'ring-pending.js')
  await other.line('waiting')
  other.child.stdin!.write('exit\n')
  await once(other.child, 'exit')
  assert.equal(other.child.exitCode, 0)
})
