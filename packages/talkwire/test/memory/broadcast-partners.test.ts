/** A broadcast ring between Node and Python, which has only spec/rings.md: every pair of writer and reader. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BroadcastRing, type BroadcastWriter } from '../../src/memory/broadcast.js'
import type { BroadcastReader } from '../../src/memory/broadcast-reader.js'
import { onBell } from '../../src/memory/bell.js'
import { NUMBERS, RING_HEADER, SEATS, WORD } from '../../src/memory/ring-layout.js'
import { openRing } from '../../src/memory/ring-place.js'
import { leave, lieDown, sit } from '../../src/memory/seats.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { freshSegment, python, source, startActor, type Actor } from './actors.js'
import { CAPACITY, MESSAGES, NOTES, readNumber, RING, writeNumber } from './rings.js'

interface Told {
  readonly got: readonly number[]
  /** Since it began. */
  readonly lost: number
}

interface Writer {
  write(first: number, count: number): Promise<unknown>
}

interface Reader {
  read(limit?: number): Promise<Told>
}

const write = (writer: BroadcastWriter, n: number): void => {
  writeNumber({ data: writer.data, tryClaim: (length) => writer.claim(length), commit: () => writer.commit() }, n)
}

function read(reader: BroadcastReader, limit = Infinity): Told {
  const got: number[] = []
  reader.read((data, offset, length) => got.push(readNumber(data, offset, length)), limit)
  return { got, lost: reader.lost }
}

const inPython = (segment: string): Promise<Actor> => startActor(python, source('broadcast_end.py'), segment)
const toldBy = async (actor: Actor, command: string): Promise<Told> => JSON.parse(await actor.tell(command)) as Told

interface Place {
  readonly memory: SharedMemory
  readonly ring: BroadcastRing
  readonly words: Int32Array
  readonly actor: Actor
}

/** A ring, and Python that has it open. */
async function withRing(use: (place: Place) => Promise<void>, prepare?: (words: Int32Array) => void): Promise<void> {
  const segment = freshSegment()
  using memory = SharedMemory.create(segment, NOTES + 64)
  const words = memory.array(Int32Array)
  const ring = new BroadcastRing({ memory, ...RING })
  prepare?.(words)
  const actor = await inPython(segment)
  try {
    await use({ memory, ring, words, actor })
  } finally {
    await actor.end()
    memory.unlink()
  }
}

const PAIRS = [
  ['Node', 'Python'],
  ['Python', 'Node'],
  ['Python', 'Python'],
] as const

async function writerOf(language: string, { ring, actor }: Place): Promise<Writer> {
  if (language === 'Python') {
    assert.equal(await actor.tell('writer'), 'writer')
    return { write: (first, count) => actor.tell(`write ${first} ${count}`) }
  }
  const writer = ring.writer()
  return {
    async write(first, count) {
      for (let n = first; n < first + count; n++) write(writer, n)
    },
  }
}

async function readerOf(language: string, { ring, actor }: Place): Promise<Reader> {
  if (language === 'Node') {
    const reader = ring.reader()
    return { read: async (limit) => read(reader, limit) }
  }
  assert.equal(await actor.tell('reader'), 'reader')
  return { read: (limit = 1e9) => toldBy(actor, `read ${limit}`) }
}

const numbers = (first: number, end: number): number[] => Array.from({ length: end - first }, (_, n) => first + n)

for (const [from, to] of PAIRS) {
  test(`${from} writes, ${to} reads: in order, over the end many times; whoever is lapped is told how much it lost`, () =>
    withRing(async (place) => {
      const writer = await writerOf(from, place)
      const reader = await readerOf(to, place)
      let n = 0
      for (; n < 120; n += 4) {
        await writer.write(n, 4)
        assert.deepEqual(await reader.read(), { got: numbers(n, n + 4), lost: 0 })
      }
      await writer.write(n, 300)
      assert.deepEqual(await reader.read(), { got: [n + 299], lost: 299 })
      await writer.write(n + 300, 1)
      assert.deepEqual(await reader.read(), { got: [n + 300], lost: 299 })
    }))

  test(`${from} writes, ${to} reads: what was copied before it was written over is whole`, () =>
    withRing(async (place) => {
      const writer = await writerOf(from, place)
      const reader = await readerOf(to, place)
      await writer.write(0, 6)
      assert.deepEqual(await reader.read(2), { got: [0, 1], lost: 0 })
      await writer.write(6, 100)
      assert.deepEqual(await reader.read(), { got: [2, 3, 4, 5, 105], lost: 99 })
    }))

  test(`${from} writes, ${to} reads: numbers and positions wrap around`, async () => {
    for (const position of [0x7fff_fc00, 0xffff_fc00 | 0])
      await withRing(
        async (place) => {
          const writer = await writerOf(from, place)
          const reader = await readerOf(to, place)
          for (let n = 0; n < 60; n++) {
            await writer.write(n, 1)
            assert.deepEqual(await reader.read(), { got: [n], lost: 0 })
          }
          await writer.write(60, 100)
          assert.deepEqual(await reader.read(), { got: [159], lost: 99 })
        },
        (words) => {
          words[WORD.tail] = words[WORD.latest] = words[WORD.intent] = position
          words[RING_HEADER / 4 + 1] = NUMBERS - 20
        },
      )
  })

  test(`${from} writes at full speed, ${to} reads: nothing torn, read and lost together are all`, () =>
    withRing(async (place) => {
      const { actor } = place
      const times = from === 'Node' ? 100_000 : 5000
      if (from === to) {
        // One process is both ends: a second one reads.
        const other = await inPython(place.memory.name!)
        assert.equal(await other.tell('reader'), 'reader')
        const writer = await writerOf(from, place)
        const told = toldBy(other, `drain ${times - 1}`)
        await writer.write(0, times)
        const { got, lost } = await told
        assert.equal(got[0]! + lost, times)
        await other.end()
        return
      }
      const reader = await readerOf(to, place)
      if (to === 'Python') {
        const told = toldBy(actor, `drain ${times - 1}`)
        await (await writerOf(from, place)).write(0, times)
        const { got, lost } = await told
        assert.equal(got[0]! + lost, times)
        return
      }
      const writer = await writerOf(from, place)
      let done = false
      const written = writer.write(0, times).then(() => (done = true))
      let count = 0
      for (let last = -1; last < times - 1;) {
        const over = done
        const { got, lost } = await reader.read()
        count += got.length
        last = got.at(-1) ?? last
        assert.equal(count + lost, last + 1)
        assert.ok(!over || last === times - 1 || got.length > 0, 'the last message did not come')
        await new Promise(setImmediate)
      }
      await written
    }))
}

test('Python is the writer, or not: one at a time, whose successor in Node goes on', () =>
  withRing(async ({ ring, actor }) => {
    using reader = ring.reader()
    {
      using writer = ring.writer()
      assert.equal(await actor.tell('writer'), 'UNAVAILABLE')
      write(writer, 0)
    }
    assert.equal(await actor.tell('writer'), 'writer')
    assert.throws(() => ring.writer(), { code: 'UNAVAILABLE' })
    await actor.tell('write 1 2')
    await actor.end()
    using next = ring.writer()
    write(next, 3)
    assert.deepEqual(read(reader), { got: [0, 1, 2, 3], lost: 0 })
  }))

test('who sleeps is woken: Python by Node and by Python', () =>
  withRing(async ({ ring, actor, memory, words }) => {
    const other = await inPython(memory.name!)
    assert.equal(await actor.tell('reader'), 'reader')
    for (const language of ['Node', 'Python'] as const) {
      const told = toldBy(actor, 'sleep 60000')
      while (Atomics.load(words, WORD.readersSleep) === 0) {
        assert.equal(actor.running.child.exitCode, null)
        await new Promise(setImmediate)
      }
      if (language === 'Node') {
        using writer = ring.writer()
        write(writer, 7)
      } else {
        assert.equal(await other.tell('writer'), 'writer')
        await other.tell('write 7 1')
      }
      assert.deepEqual((await told).got, [7])
    }
    await other.end()
  }))

test('Python rings for who lies down, who does not look by itself', () =>
  withRing(async ({ memory, actor }) => {
    const open = openRing('broadcast', { memory, ...RING })
    const seat = sit(open, 'readers', SEATS)
    let quiet = (): void => {}
    const rung = new Promise<void>((resolve) => (quiet = onBell(resolve)))
    lieDown(open, 'readers', seat)
    assert.equal(await actor.tell('writer'), 'writer')
    await actor.tell('write 0 1')
    await rung
    quiet()
    leave(open, seat)
  }))

test('a record that is none is passed for the latest by Python; when that is none either, the ring is broken', async () => {
  for (const size of [-5, 0, 7, 1000, 5000, 0x7fff_ffff])
    await withRing(async (place) => {
      const { words, actor } = place
      const writer = await writerOf('Node', place)
      const reader = await readerOf('Python', place)
      await writer.write(0, 3)
      words[RING_HEADER / 4] = size
      assert.deepEqual(await reader.read(), { got: [2], lost: 2 }, String(size))
      const tail = words[WORD.tail]!
      await writer.write(3, 1)
      words[(RING_HEADER + (tail & (CAPACITY - 1))) / 4] = size
      assert.equal(await actor.tell('read 10'), 'INVALID_MEMORY', String(size))
    })
})

test('Python is killed at each change while it writes: readers in both languages and a successor in Node go on', () =>
  withRing(async (place) => {
    const { ring, actor, words } = place
    const notes = place.memory.array(Int32Array, NOTES, 16)
    // Its records run over the end.
    const before = ring.writer()
    for (let n = 0; n < 40; n++) before.write(new Uint8Array(14))
    before.close()
    let points = 0
    for (let at = 1; points === 0; at++) {
      notes.fill(0)
      const reader = ring.reader()
      assert.equal(await actor.tell('reader'), 'reader')
      const how = await actor.tell(`die ${at}`)
      if (how !== 'killed') {
        assert.equal(how, 'ended 0')
        points = notes[2]!
        assert.ok(at > points, 'it was not killed before its end')
      }
      using writer = ring.writer()
      write(writer, 77)
      const expected = read(reader)
      const { got, lost } = expected
      assert.equal(lost, 0, `change ${at}`)
      assert.deepEqual(got, [...numbers(0, got.length - 1), 77], `change ${at}`)
      assert.ok(got.length - 1 >= notes[0]! && got.length - 1 <= notes[1]!, `change ${at}`)
      assert.deepEqual(await toldBy(actor, 'read 1000'), expected, `change ${at}`)
      assert.equal(Atomics.load(words, WORD.tail) & 7, 0)
    }
    assert.ok(points > MESSAGES)
  }))
