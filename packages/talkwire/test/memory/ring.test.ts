import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { fails } from '../helpers/expect.js'
import { freshName, freshPath } from '../helpers/place.js'
import { FULL } from '../../src/memory/producer.js'
import { MappedFile } from '../../src/memory/mapped-file.js'
import { ringBytes, RING_HEADER, SEAT, seatLong, seatWord, WORD } from '../../src/memory/ring-layout.js'
import { Ring } from '../../src/memory/ring.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { self } from '../../src/memory/owner.js'
import { fixture } from '../session/processes.js'
import { CAPACITY, readNumber, RING, writeNumber } from './rings.js'

const BOTH = ['one', 'many'] as const
const bytes = (text: string): Uint8Array => Buffer.from(text)

for (const producers of BOTH) {
  test(`${producers}: in order, whole, over the end many times`, () => {
    using memory = SharedMemory.anonymous(RING.size)
    const ring = new Ring({ memory }, { producers })
    using producer = ring.producer()
    using consumer = ring.consumer()
    let written = 0
    let got = 0
    for (let round = 0; round < 2000; round++) {
      for (let n = round % 9; n >= 0 && writeNumber(producer, written); n--) written++
      consumer.read((data, offset, length) => assert.equal(readNumber(data, offset, length), got++), 1 + (round % 7))
    }
    while (consumer.read((data, offset, length) => assert.equal(readNumber(data, offset, length), got++)) > 0);
    assert.equal(got, written)
    assert.ok(written > 5000)
  })

  test(`${producers}: full is a return value, and what was there stays; empty messages count`, () => {
    using memory = SharedMemory.anonymous(RING.size)
    const ring = new Ring({ memory }, { producers })
    using producer = ring.producer()
    using consumer = ring.consumer()
    assert.equal(ring.capacity, CAPACITY)
    let n = 0
    while (producer.tryWrite(new Uint8Array(n % 2))) n++
    // Eight bytes of the ring are never used.
    assert.equal(n, 85)
    assert.equal(producer.tryClaim(1), FULL)
    const lengths: number[] = []
    assert.equal(
      consumer.read((_, __, length) => lengths.push(length), 3),
      3,
    )
    assert.deepEqual(lengths, [0, 1, 0])
    assert.equal(producer.tryWrite(bytes('x')), true)
  })

  test(`${producers}: the largest message always fits an empty ring, wherever it stands`, () => {
    using memory = SharedMemory.anonymous(RING.size)
    const ring = new Ring({ memory }, { producers })
    using producer = ring.producer()
    using consumer = ring.consumer()
    for (let round = 0; round < 300; round++) {
      assert.ok(producer.tryWrite(new Uint8Array(round % 90)))
      consumer.read(() => {})
      assert.ok(producer.tryWrite(new Uint8Array(ring.maxMessage)), `round ${round}`)
      assert.equal(
        consumer.read((_, __, length) => assert.equal(length, ring.maxMessage)),
        1,
      )
    }
  })

  test(`${producers}: too large, wrong use, and closing`, () => {
    using memory = SharedMemory.anonymous(RING.size)
    const ring = new Ring({ memory }, { producers })
    const producer = ring.producer()
    assert.throws(() => producer.tryWrite(new Uint8Array(249)), fails('MESSAGE_TOO_LARGE'))
    assert.throws(() => producer.tryWrite(new Uint8Array(249)), /249 bytes.*248 at most/)
    assert.throws(() => producer.tryClaim(-1), RangeError)
    assert.throws(() => producer.tryClaim(Number.NaN), RangeError)
    assert.throws(() => producer.commit(), TypeError)
    assert.throws(() => producer.abort(), TypeError)
    producer.tryClaim(8)
    assert.throws(() => producer.tryClaim(8), TypeError)
    producer.close()
    producer.close()
    assert.throws(() => producer.tryClaim(8), fails('CLOSED'))
    const consumer = ring.consumer()
    using next = ring.producer()
    next.tryWrite(bytes('a'))
    next.tryWrite(bytes('b'))
    assert.throws(() => consumer.read(() => void consumer.read(() => {})), TypeError)
    assert.throws(
      () =>
        consumer.read(() => {
          throw new Error('mine')
        }),
      /mine/,
    )
    assert.equal(
      consumer.read(() => {}),
      0,
      'what threw counts as read',
    )
    consumer.close()
    assert.throws(() => consumer.read(() => {}), fails('CLOSED'))
  })

  test(`${producers}: one consumer; its successor goes on where it was`, () => {
    using memory = SharedMemory.anonymous(RING.size)
    const ring = new Ring({ memory }, { producers })
    using producer = ring.producer()
    const first = ring.consumer()
    assert.throws(() => ring.consumer(), fails('UNAVAILABLE'))
    for (let n = 0; n < 4; n++) writeNumber(producer, n)
    assert.equal(
      first.read(() => {}, 2),
      2,
    )
    first.close()
    using second = ring.consumer()
    const got: number[] = []
    second.read((data, offset, length) => got.push(readNumber(data, offset, length)))
    assert.deepEqual(got, [2, 3])
  })

  for (const readBefore of [false, true])
    test(`${producers}: a producer that died before it moved the tail: its message stands, ${readBefore ? 'read' : 'unread'}`, async () => {
      using memory = SharedMemory.anonymous(RING.size)
      const ring = new Ring({ memory }, { producers })
      const dead = ring.producer()
      const header = memory.array(Int32Array)
      writeNumber(dead, 0)
      const before = header[WORD.tail]!
      writeNumber(dead, 1)
      header[WORD.tail] = before
      if (producers === 'many') header[WORD.claiming] = (header[seatWord(0) + SEAT.generation]! << 8) | 0
      memory.array(BigInt64Array)[seatLong(0)] = self() ^ 1n
      const got: number[] = []
      using consumer = ring.consumer()
      const take = (): number => consumer.read((data, offset, length) => got.push(readNumber(data, offset, length)))
      if (readBefore) take()
      using producer = ring.producer()
      await producer.ready(100, { timeout: 5000 })
      assert.ok(writeNumber(producer, 2))
      take()
      assert.deepEqual(got, [0, 1, 2])
    })

  test(`${producers}: positions wrap around`, () => {
    using memory = SharedMemory.anonymous(RING.size)
    const ring = new Ring({ memory }, { producers })
    const header = memory.array(Int32Array)
    header[WORD.tail] = header[WORD.head] = 0x7fff_fc00
    using producer = ring.producer()
    using consumer = ring.consumer()
    let got = 0
    for (let n = 0; n < 100; n++) {
      assert.ok(writeNumber(producer, n))
      consumer.read((data, offset, length) => assert.equal(readNumber(data, offset, length), got++))
    }
    assert.equal(got, 100)
    assert.ok(header[WORD.tail]! < 0)
  })
}

test('one producer, another is refused; among many there is room for sixty', () => {
  using memory = SharedMemory.anonymous(2 * RING.size)
  const one = new Ring({ memory, size: RING.size })
  const producer = one.producer()
  assert.throws(() => one.producer(), fails('UNAVAILABLE'))
  producer.close()
  one.producer().close()
  const many = new Ring({ memory, offset: RING.size }, { producers: 'many' })
  const all = Array.from({ length: 60 }, () => many.producer())
  assert.throws(() => many.producer(), fails('UNAVAILABLE'))
  all[7]!.close()
  many.producer()
})

test('many: a claim that is open is waited for, in order; one that is given back is not', async () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new Ring({ memory }, { producers: 'many' })
  const [a, b] = [ring.producer(), ring.producer()]
  using consumer = ring.consumer()
  a.tryClaim(8)
  b.tryWrite(bytes('later'))
  const got: string[] = []
  const take = (): number =>
    consumer.read((data, offset, length) => got.push(Buffer.from(data.bytes.subarray(offset, offset + length)).toString()))
  assert.equal(take(), 0)
  // In the middle of abort(): the mark says that it is to be skipped, the size does not yet.
  const words = memory.array(Int32Array, RING_HEADER)
  words[1] = -words[1]!
  await assert.rejects(consumer.ready({ timeout: 30 }), fails('DEADLINE_EXCEEDED'))
  assert.equal(take(), 0)
  a.abort()
  assert.equal(take(), 1)
  assert.deepEqual(got, ['later'])
  assert.equal(consumer.lost, 0)
})

test('many: a claim of one who died is passed, and counted; one of a successor in the same seat is not taken for it', async () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new Ring({ memory }, { producers: 'many' })
  const dead = ring.producer()
  dead.tryClaim(8)
  // Begun at another time: another process, which is gone.
  memory.array(BigInt64Array)[seatLong(0)] = self() ^ 1n
  const next = ring.producer()
  const other = ring.producer()
  assert.deepEqual(
    [memory.array(Int32Array)[seatWord(0) + SEAT.generation], memory.array(Int32Array)[seatWord(1) + SEAT.generation]],
    [1, 1],
  )
  other.tryWrite(bytes('y'))
  next.tryWrite(bytes('x'))
  using consumer = ring.consumer()
  await consumer.ready({ timeout: 5000 })
  assert.equal(
    consumer.read(() => {}),
    2,
  )
  assert.equal(consumer.lost, 1)
})

test('what is no such ring is refused, as are wrong places', () => {
  using memory = SharedMemory.anonymous(2 * RING.size)
  memory.array(Int32Array)[0] = 7
  assert.throws(() => new Ring({ memory }), fails('INVALID_MEMORY'))
  const offset = RING.size
  new Ring({ memory, offset })
  assert.throws(() => new Ring({ memory, offset }, { producers: 'many' }), /kind "one producer", not "many producers"/)
  assert.throws(() => new Ring({ memory, offset: 4 }), RangeError)
  assert.throws(() => new Ring({ memory, offset, size: RING_HEADER + 100 }), RangeError)
  assert.throws(() => new Ring({} as never), TypeError)
  assert.throws(() => ringBytes(1000), RangeError)
  assert.throws(() => ringBytes(2 ** 31), RangeError)
  // A ring that says that it is larger than the memory.
  memory.array(Int32Array)[RING.size / 4] = 0x5452_1000 | (1 << 8) | 30
  assert.throws(() => new Ring({ memory, offset }), /room for/)
})

test('a ring in a file, which the next process picks up', async () => {
  const path = freshPath()
  const file = MappedFile.open(path, { size: RING.size })
  const producer = new Ring({ memory: file }).producer()
  for (let n = 0; n < 3; n++) writeNumber(producer, n)
  producer.close()
  file.close()
  using again = MappedFile.open(path)
  using consumer = new Ring({ memory: again }).consumer()
  const got: number[] = []
  consumer.read((data, offset, length) => got.push(readNumber(data, offset, length)))
  assert.deepEqual(got, [0, 1, 2])
})

for (const producers of BOTH)
  test(`${producers}: between processes, each message once`, async () => {
    const segment = `tw-test-${freshName()}`
    using memory = SharedMemory.create(segment, RING.size)
    const ring = new Ring({ memory }, { producers })
    using consumer = ring.consumer()
    const count = producers === 'one' ? 1 : 3
    const times = 5000
    const next = new Array<number>(count).fill(0)
    const writers = Array.from({ length: count }, (_, n) =>
      fixture(import.meta.url, 'ring-writer.js', segment, producers, String(n), String(times)),
    )
    while (next.some((n) => n < times)) {
      await consumer.ready({ timeout: 20_000 })
      consumer.read(({ words }, offset, length) => {
        assert.equal(length, 12)
        const at = offset >> 2
        assert.equal(words[at + 1], next[words[at]!]!++)
        assert.equal(words[at + 2], ~words[at + 1]!)
      })
    }
    for (const { child } of writers) if (child.exitCode === null) await once(child, 'exit')
    assert.equal(
      consumer.read(() => {}),
      0,
    )
    memory.unlink()
  })

test('a worker that is terminated with a claim open: the claim is passed', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, RING.size)
  const ring = new Ring({ memory }, { producers: 'many' })
  using consumer = ring.consumer()
  const worker = new Worker(new URL('fixtures/ring-worker.js', import.meta.url), { workerData: segment })
  await once(worker, 'message')
  using producer = ring.producer()
  producer.tryWrite(bytes('x'))
  assert.equal(
    consumer.read(() => {}),
    0,
  )
  await worker.terminate()
  await consumer.ready({ timeout: 10_000 })
  assert.equal(
    consumer.read(() => {}),
    1,
  )
  assert.equal(consumer.lost, 1)
  memory.unlink()
})
