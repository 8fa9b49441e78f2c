import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'
import { SharedCounter } from '../../src/memory/counter.js'
import { mapBytes, SharedMap } from '../../src/memory/map.js'
import { NOBODY, self } from '../../src/memory/owner.js'
import { HEADER, WRITER_LONG } from '../../src/memory/shared-layout.js'
import { Ring } from '../../src/memory/ring.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { changes, countChanges } from '../../src/memory/store.js'
import { readVersion, writeVersion, type Versions } from '../../src/memory/versions.js'
import { WATCHERS } from '../../src/memory/watchers.js'
import { SharedValue, valueBytes } from '../../src/memory/value.js'
import { fixture, type Running } from '../session/processes.js'
import { sweepShared } from './shared-sweep.js'
import { BYTES, contentOf, COUNTER_AT, EMPTY, MAP, MAP_AT, numberOf, patternOf, SIZE } from './shared.js'

const bytes = (text: string): Uint8Array => Buffer.from(text)
const text = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString()
const start = (operation: string, segment: string, at: number, times = 0): Running =>
  fixture(import.meta.url, 'shared-user.js', operation, segment, String(at), String(times))

async function ended({ child }: Running): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

test('a value: the latest one, whole, also empty; undefined before the first', () => {
  using memory = SharedMemory.anonymous(valueBytes(SIZE))
  const value = new SharedValue({ memory }, { size: SIZE })
  assert.deepEqual([value.read(), value.version], [undefined, 0])
  const writer = value.writer()
  for (let n = 0; n < 10; n++) {
    writer.write(patternOf(n))
    assert.equal(numberOf(value.read()!), n)
    assert.equal(value.version, n + 1)
  }
  writer.write(bytes(''))
  assert.equal(value.read()!.length, 0)
  const copy = new SharedValue({ memory })
  assert.equal(copy.size, SIZE)
  assert.equal(copy.read()!.length, 0)
})

test('a value: what is written over while it is copied is not handed out', () => {
  const words = new Int32Array(16)
  const bytes = new Uint8Array(2 * SIZE)
  const versions: Versions = { words, version: 0, begun: 1, length: 2, most: SIZE, bytes, buffers: [0, SIZE] }
  writeVersion(versions, patternOf(1))
  // In the middle of the reader's copy, the writer writes so many.
  for (const [writes, isWhole] of [
    [0, true],
    [1, true],
    [2, false],
    [3, false],
  ] as const) {
    const slice = (start: number, end: number): Uint8Array => {
      const copy = bytes.slice(start, end)
      for (let n = 0; n < writes; n++) writeVersion(versions, patternOf(7 + n))
      copy.set(bytes.subarray(start + 10, end), 10)
      return copy
    }
    const seen = readVersion({ ...versions, bytes: Object.assign(bytes.subarray(0), { slice }) })
    assert.equal(seen !== undefined, isWhole, `${writes} writes`)
    if (seen) assert.doesNotThrow(() => numberOf(seen.value))
  }
})

test('a value: one writer, limits, places', () => {
  using memory = SharedMemory.anonymous(2 * valueBytes(SIZE))
  const value = new SharedValue({ memory }, { size: SIZE })
  const writer = value.writer()
  assert.throws(() => value.writer(), fails('UNAVAILABLE'))
  assert.throws(() => writer.write(new Uint8Array(SIZE + 1)), /101 bytes.*100 at most/)
  writer.close()
  assert.throws(() => writer.write(bytes('x')), fails('CLOSED'))
  // One who is gone.
  memory.array(BigInt64Array)[WRITER_LONG] = self() ^ 1n
  value.writer().write(bytes('x'))
  assert.equal(text(value.read()), 'x')
  const offset = valueBytes(SIZE)
  assert.throws(() => new SharedValue({ memory, offset }), fails('INVALID_MEMORY'))
  assert.throws(() => new SharedValue({ memory }, { size: 50 }), fails('INVALID_MEMORY'))
  assert.throws(() => new SharedValue({ memory, offset }, { size: 2 * SIZE }), RangeError)
  assert.throws(() => new SharedValue({ memory, offset: 4 }, { size: SIZE }), RangeError)
  assert.throws(() => new SharedValue({} as never, { size: SIZE }), TypeError)
  assert.throws(() => new SharedMap({ memory }, { ...MAP, entries: 1 }), fails('INVALID_MEMORY'))
})

test('a map: as a Map does, of random steps', () => {
  using memory = SharedMemory.anonymous(mapBytes(MAP))
  const map = new SharedMap({ memory }, MAP)
  const model = new Map<string, number>()
  let seed = 3
  for (let n = 0; n < 20_000; n++) {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff
    const key = `key ${(seed >> 8) % 12}`
    const number = (seed >> 14) & 255
    if ((seed >> 4) % 3 === 0) assert.equal(map.delete(key), model.delete(key))
    else if (model.has(key) || model.size < MAP.entries) {
      assert.equal(map.set(key, patternOf(number)), true)
      model.set(key, number)
    } else assert.equal(map.set(key, patternOf(number)), false, 'it is full')
    const seen = map.get(key)
    assert.equal(seen && numberOf(seen), model.get(key))
    if (n % 100 === 0) assert.deepEqual(contentOf(map), Object.fromEntries(model))
  }
  assert.equal(map.size, model.size)
})

test('a map: limits, sizes, places; a writer that died', () => {
  using memory = SharedMemory.anonymous(2 * mapBytes(MAP))
  const map = new SharedMap({ memory }, MAP)
  assert.deepEqual(new SharedMap({ memory }).sizes, MAP)
  assert.throws(() => new SharedMap({ memory }, { ...MAP, entries: 7 }), fails('INVALID_MEMORY'))
  assert.throws(() => new SharedMap({ memory, offset: mapBytes(MAP) }), fails('INVALID_MEMORY'))
  assert.throws(() => new SharedMap({ memory }, { ...MAP, entries: 1e6 }), RangeError)
  assert.throws(() => map.set('é'.repeat(9), bytes('')), /18 bytes.*16 at most/)
  assert.throws(() => map.set('k', new Uint8Array(SIZE + 1)), fails('LIMIT_EXCEEDED'))
  assert.equal(map.set('', bytes('empty')), true)
  assert.equal(text(map.get('')), 'empty')
  memory.array(BigInt64Array)[WRITER_LONG] = self() ^ 1n
  assert.equal(map.set('é', bytes('x')), true)
  assert.equal(text(map.get('é')), 'x')
  assert.equal(map.has('e'), false)
  // One who is not done, and lives.
  memory.array(BigInt64Array)[WRITER_LONG] = self()
  assert.throws(() => map.set('a', bytes('y')), fails('UNAVAILABLE'))
  assert.equal(map.has('é'), true, 'readers do not mind')
})

test('a change is waited for: by several, in time, by those who may only read, and it costs nothing', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, valueBytes(SIZE))
  const value = new SharedValue({ memory }, { size: SIZE })
  using readable = SharedMemory.open(segment, { readOnly: true })
  const blind = new SharedValue({ memory: readable })
  const words = memory.array(BigInt64Array)
  // Somebody who is gone waits, too.
  words[HEADER / 8] = self() ^ 1n
  const waiting = [...Array.from({ length: WATCHERS + 3 }, () => value.changed(0)), blind.changed(0)]
  const writer = value.writer()
  writer.write(patternOf(1))
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set([1]))
  assert.equal(await value.changed(0), 1, 'what has happened is not waited for')
  const stop = new AbortController()
  const stopped = value.changed(1, { signal: stop.signal })
  await assert.rejects(value.changed(1, { timeout: 1 }), fails('DEADLINE_EXCEEDED'))
  stop.abort(new Error('enough'))
  await assert.rejects(stopped, /enough/)
  await assert.rejects(value.changed(1, { signal: stop.signal }), /enough/)
  const next = value.changed(1)
  countChanges(0)
  await delay(50)
  assert.equal(changes(), 0)
  writer.write(patternOf(2))
  assert.equal(await next, 2)
  // Nobody waits: the first write finds that out, and no other one looks.
  writer.write(patternOf(3))
  const before = changes()
  writer.write(patternOf(4))
  assert.equal(changes() - before, 3)
  const place = words.subarray(HEADER / 8, HEADER / 8 + 2 * WATCHERS)
  assert.deepEqual(Array.from(place).filter((_, n) => n % 2 === 0), Array(WATCHERS).fill(NOBODY)) // prettier-ignore
  memory.unlink()
})

test('values: the one that is there, then the latest after each change', async () => {
  using memory = SharedMemory.anonymous(valueBytes(SIZE))
  const value = new SharedValue({ memory }, { size: SIZE })
  const writer = value.writer()
  writer.write(patternOf(1))
  const stop = new AbortController()
  const seen: number[] = []
  const reading = (async () => {
    for await (const one of value.values({ signal: stop.signal })) {
      seen.push(numberOf(one))
      if (seen.length < 5) writer.write(patternOf(seen.length + 1))
      else stop.abort(new Error('enough'))
    }
  })()
  await assert.rejects(reading, /enough/)
  assert.deepEqual(seen, [1, 2, 3, 4, 5])
})

test('a change in another process: each of many is seen, and none is slept through', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, BYTES)
  const value = new SharedValue({ memory }, { size: SIZE })
  const writer = start('echoes', segment, 0, 300)
  let version = 0
  const answers = new SharedValue({ memory, offset: EMPTY }, { size: SIZE })
  const mine = answers.writer()
  for (let n = 1; n <= 300; n++) {
    version = await value.changed(version, { timeout: 10_000 })
    assert.equal(numberOf(value.read()!), n & 255)
    mine.write(patternOf(n & 255))
  }
  await ended(writer)
  assert.equal(writer.child.exitCode, 0)
  memory.unlink()
})

test('memory that is read-only: values and maps are read, nothing is written', () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, BYTES)
  new SharedValue({ memory }, { size: SIZE }).writer().write(bytes('x'))
  new SharedMap({ memory, offset: MAP_AT }, MAP).set('k', bytes('y'))
  using same = SharedMemory.open(segment, { readOnly: true })
  const value = new SharedValue({ memory: same }, { size: SIZE })
  const map = new SharedMap({ memory: same, offset: MAP_AT })
  assert.deepEqual([text(value.read()), text(map.get('k')), map.size], ['x', 'y', 1])
  assert.throws(() => value.writer(), TypeError)
  assert.throws(() => map.set('k', bytes('z')), TypeError)
  assert.throws(() => map.delete('k'), TypeError)
  assert.throws(() => new SharedCounter({ memory: same, offset: COUNTER_AT }), TypeError)
  assert.throws(() => new Ring({ memory: same }), TypeError)
  assert.throws(() => new SharedValue({ memory: same, offset: EMPTY }, { size: 8 }), fails('INVALID_MEMORY'))
  memory.unlink()
})

test('a counter: 32 bits wrap around, 64 do not', () => {
  using memory = SharedMemory.anonymous(64)
  const small = new SharedCounter({ memory }, { bits: 32 })
  assert.equal(small.add(5), 5)
  assert.equal(small.add(-7), -2)
  assert.equal(small.add(0x7fffffff), 0x7ffffffd)
  assert.equal(small.add(3), -0x80000000)
  assert.equal(small.value, -0x80000000)
  const large = new SharedCounter({ memory, offset: 8 })
  assert.equal(large.add(Number.MAX_SAFE_INTEGER), Number.MAX_SAFE_INTEGER)
  large.add(2)
  assert.equal(large.big, 2n ** 53n + 1n)
  assert.throws(() => large.add(0.5), RangeError)
  assert.throws(() => new SharedCounter({ memory, offset: 4 }), RangeError)
  assert.throws(() => new SharedCounter({ memory }, { bits: 8 as 32 }), RangeError)
})

test('processes add: nothing is lost', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, BYTES)
  const children = [1, 2, 3].map(() => start('counter', segment, 0, 20_000))
  for (const child of children) await ended(child)
  assert.equal(new SharedCounter({ memory, offset: COUNTER_AT }, { bits: 32 }).value, 60_000)
  assert.equal(new SharedCounter({ memory, offset: COUNTER_AT + 8 }).big, 60_000n * 2n ** 33n)
  memory.unlink()
})

test('a writer of a map that is at work is waited for, however slow; one that is stopped is named', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, BYTES)
  const map = new SharedMap({ memory, offset: MAP_AT }, MAP)
  for (const what of ['busy', 'stopped']) {
    const other = start('busy', segment, 0, what === 'busy' ? 1500 : 600_000)
    await other.line('within')
    if (what === 'stopped') other.child.kill('SIGSTOP')
    const set = (): boolean => map.set('k', patternOf(1))
    if (what === 'busy') assert.equal(set(), true)
    else assert.throws(set, fails('UNAVAILABLE'))
    if (what === 'stopped') await other.kill()
    else await ended(other)
  }
  memory.unlink()
})

test('two change a map, one a value, two read, all at full speed: nothing torn, no value under the wrong key', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, BYTES)
  const children = ['keys', 'keys', 'values', 'read', 'read'].map((what) => start(what, segment, 0, 60_000))
  for (const child of children) {
    await ended(child)
    assert.equal(child.child.exitCode, 0)
  }
  memory.unlink()
})

for (const what of ['value', 'map'] as const)
  test(`${what}: killed at each change: the old state or the new one, and the next one writes`, async (t) => {
    const points = await sweepShared(what, (segment, at) => start(what, segment, at))
    t.diagnostic(`${points} changes`)
  })
