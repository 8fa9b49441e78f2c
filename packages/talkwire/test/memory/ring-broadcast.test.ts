import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'
import { BroadcastRing, type BroadcastWriter } from '../../src/memory/broadcast.js'
import type { BroadcastReader } from '../../src/memory/broadcast-reader.js'
import { NUMBERS, RING_HEADER, WORD } from '../../src/memory/ring-layout.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { fixture } from '../session/processes.js'
import { createPlace, deadAtEach, type Place } from './ring-sweeps.js'
import { CAPACITY, MESSAGES, readNumber, RING } from './rings.js'

/** As `writeNumber`, for a writer that always has room. */
function write(writer: BroadcastWriter, n: number): void {
  const at = writer.claim(12)
  const { words } = writer.data
  words[at >> 2] = n
  words[(at >> 2) + 1] = ~n
  words[(at >> 2) + 2] = n * 3
  writer.commit()
}

function take(reader: BroadcastReader, limit?: number): number[] {
  const got: number[] = []
  reader.read(({ words }, offset, length) => {
    const n = words[offset >> 2]!
    assert.deepEqual([length, words[(offset >> 2) + 1], words[(offset >> 2) + 2]], [12, ~n, n * 3])
    got.push(n)
  }, limit)
  return got
}

test('each reader reads all that was written since it came, over the end many times', () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new BroadcastRing({ memory })
  using writer = ring.writer()
  using early = ring.reader()
  let readers = [{ reader: early, next: 0 }]
  for (let n = 0; n < 1000; n++) {
    write(writer, n)
    if (n % 100 === 50) readers.push({ reader: ring.reader(), next: n + 1 })
    if (n % 5 === 0) for (const each of readers) for (const got of take(each.reader, 3)) assert.equal(got, each.next++)
    if (n % 5 === 1) for (const each of readers) for (const got of take(each.reader)) assert.equal(got, each.next++)
  }
  for (const { reader } of readers) assert.equal(reader.lost, 0)
})

test('a reader that is lapped goes on with the latest message and is told how many it lost', () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new BroadcastRing({ memory })
  using writer = ring.writer()
  using reader = ring.reader()
  for (let n = 0; n < 10; n++) write(writer, n)
  assert.equal(take(reader, 4).length, 4)
  for (let n = 10; n < 500; n++) write(writer, n)
  // What was copied before is still whole.
  const got = take(reader)
  assert.deepEqual(got, [4, 5, 6, 7, 8, 9, 499])
  assert.equal(reader.lost, 489)
  write(writer, 500)
  assert.deepEqual(take(reader), [500])
  assert.equal(reader.lost, 489)
})

test('what the writer is writing over is not read, also before the tail says so', () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new BroadcastRing({ memory })
  using writer = ring.writer()
  using reader = ring.reader()
  const record = 24
  for (let n = 0; n < Math.floor(CAPACITY / record); n++) write(writer, n)
  const at = writer.claim(248)
  writer.data.bytes.fill(255, at, at + 248)
  assert.deepEqual(take(reader), [Math.floor(CAPACITY / record) - 1])
  assert.equal(reader.lost, Math.floor(CAPACITY / record) - 1)
})

test('a record that is none is passed for the latest; when that is none either, the ring is broken', () => {
  for (const size of [-5, 0, 7, 100, 5000, 0x7fff_fff8, 0x7fff_ffff]) {
    using memory = SharedMemory.anonymous(RING.size)
    const ring = new BroadcastRing({ memory })
    using writer = ring.writer()
    using reader = ring.reader()
    for (let n = 0; n < 3; n++) write(writer, n)
    const words = memory.array(Int32Array, RING_HEADER)
    words[0] = size
    assert.deepEqual(take(reader), [2], String(size))
    assert.equal(reader.lost, 2)
    write(writer, 3)
    words[(3 * 24) / 4] = size
    assert.throws(() => take(reader), fails('INVALID_MEMORY'), String(size))
  }
})

test('any amount of lapping: read and lost together are what was written', () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new BroadcastRing({ memory })
  using writer = ring.writer()
  using reader = ring.reader()
  let written = 0
  let got = 0
  let seed = 5
  for (let round = 0; round < 3000; round++) {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
    for (let n = (seed >> 8) % 90; n > 0; n--) write(writer, written++)
    got += take(reader).length
    if (written > 0) assert.equal(got + reader.lost, written)
  }
  assert.ok(reader.lost > 1000 && got > 1000)
})

test('numbers and positions wrap around', () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new BroadcastRing({ memory })
  const words = memory.array(Int32Array)
  words[WORD.tail] = words[WORD.latest] = words[WORD.intent] = 0x7fff_fc00
  words[RING_HEADER / 4 + 1] = NUMBERS - 20
  using writer = ring.writer()
  using reader = ring.reader()
  for (let n = 0; n < 100; n++) {
    write(writer, n)
    assert.deepEqual(take(reader), [n])
  }
  assert.ok(words[WORD.tail]! < 0)
  for (let n = 0; n < 100; n++) write(writer, n)
  assert.deepEqual(take(reader), [99])
  assert.equal(reader.lost, 99)
})

test('one writer, whose successor goes on; limits; wrong use', () => {
  using memory = SharedMemory.anonymous(RING.size)
  const ring = new BroadcastRing({ memory })
  using reader = ring.reader()
  const writer = ring.writer()
  assert.throws(() => ring.writer(), fails('UNAVAILABLE'))
  write(writer, 0)
  assert.throws(() => writer.write(new Uint8Array(249)), fails('MESSAGE_TOO_LARGE'))
  assert.throws(() => writer.commit(), TypeError)
  writer.claim(8)
  assert.throws(() => writer.claim(8), TypeError)
  writer.abort()
  writer.close()
  assert.throws(() => writer.claim(8), fails('CLOSED'))
  using next = ring.writer()
  write(next, 1)
  next.write(new Uint8Array(248))
  assert.deepEqual(take(reader, 2), [0, 1])
  reader.read((_, __, length) => assert.equal(length, 248))
  assert.equal(reader.lost, 0)
  reader.close()
  assert.throws(() => reader.read(() => {}), fails('CLOSED'))
})

test('a writer at full speed and four readers, each a process: nothing torn, read and lost together are all', async (t) => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, RING_HEADER + 16 * CAPACITY)
  const ring = new BroadcastRing({ memory })
  const times = 300_000
  const readers = Array.from({ length: 4 }, () => fixture(import.meta.url, 'broadcast-reader.js', segment, String(times)))
  await Promise.all(readers.map((reader) => reader.line('ready')))
  using writer = ring.writer()
  for (let n = 0; n < times; n++) write(writer, n)
  const told = await Promise.all(readers.map((reader) => reader.line('read ')))
  for (const line of told) {
    const [, got, lost] = line.split(' ').map(Number)
    assert.equal(got! + lost!, times)
    assert.ok(got! > 0)
  }
  t.diagnostic(told.join('; '))
  memory.unlink()
})

test('the writer is killed at each change: readers and its successor go on', async (t) => {
  const prepare = (count: number): (Place & { ring: BroadcastRing; reader: BroadcastReader })[] =>
    Array.from({ length: count }, () => {
      const place = createPlace()
      const ring = new BroadcastRing({ memory: place.memory, ...RING })
      const before = ring.writer()
      for (let n = 0; n < 40; n++) before.write(new Uint8Array(14))
      before.close()
      return { ...place, ring, reader: ring.reader() }
    })
  const points = await deadAtEach('broadcast', prepare, (place, at) => {
    const { ring, notes } = place
    using reader = place.reader
    using writer = ring.writer()
    writer.write(new Uint8Array(1))
    const got: number[] = []
    let last = false
    reader.read((data, offset, length) => {
      if (length === 1) last = true
      else got.push(readNumber(data, offset, length))
    })
    assert.ok(last)
    assert.deepEqual(
      got,
      Array.from({ length: got.length }, (_, n) => n),
      `change ${at}`,
    )
    assert.ok(got.length >= notes[0]! && got.length <= notes[1]!, `change ${at}`)
    assert.equal(reader.lost, 0)
  })
  t.diagnostic(`${points} changes`)
  assert.ok(points > MESSAGES)
})
