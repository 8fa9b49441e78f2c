import assert from 'node:assert/strict'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { encodeHeader, HEADER_BYTES, headerFor, parseHeader, WATCHERS_AT, WORD } from '../../src/memory/array-layout.js'
import { WATCHERS } from '../../src/memory/watchers.js'
import { TalkwireError } from '../../src/error.js'
import { NOBODY, self } from '../../src/memory/owner.js'
import { SharedArray } from '../../src/memory/shared-array.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { fails } from '../helpers/expect.js'
import { run } from '../session/processes.js'
import { exists, freshSegment, program, python, source, startActor, type Actor } from './actors.js'

const startNumpy = (): Promise<Actor> => startActor(python, source('numpy_actor.py'))
const actor = (what: string, ...args: string[]): ReturnType<typeof run> => run(process.execPath, [program('array-actor'), what, ...args])

/** Of watcher `n`, in 64 and 32 bits. */
const watcherWho = (n: number): number => WATCHERS_AT / 8 + 2 * n
const watcherBell = (n: number): number => WATCHERS_AT / 4 + 4 * n + 2

test('created, opened: type, shape, strides and elements are the same', () => {
  const name = freshSegment()
  using array = SharedArray.create(name, 'f8', [2, 3, 4])
  assert.throws(() => SharedArray.create(name, 'f8', 1), fails('ALREADY_EXISTS'))
  assert.ok(array.values instanceof Float64Array)
  assert.deepEqual([array.dtype, array.shape, array.strides, array.values.length], ['f8', [2, 3, 4], [12, 4, 1], 24])
  array.values[1 * 12 + 2 * 4 + 3] = 0.5
  using same = SharedArray.open(name, { dtype: 'f8' })
  assert.deepEqual([same.dtype, same.shape, same.strides], ['f8', [2, 3, 4], [12, 4, 1]])
  assert.equal(same.values[23], 0.5)
  assert.equal(same.values, same.values, 'one view, not a new one each time')
  assert.throws(() => SharedArray.open(name, { dtype: 'i4' }), fails('INVALID_MEMORY'))
  array.unlink()
  assert.ok(!exists(name))
})

test('every element type, no dimension, none of an element', () => {
  for (const [dtype, type] of Object.entries({
    u1: Uint8Array,
    i2: Int16Array,
    u4: Uint32Array,
    i8: BigInt64Array,
    f4: Float32Array,
  } as const)) {
    using array = SharedArray.anonymous(dtype as 'u1', [3])
    assert.equal(array.values.constructor, type)
  }
  using one = SharedArray.anonymous('i4', [])
  assert.deepEqual([one.shape, one.values.length], [[], 1])
  using none = SharedArray.anonymous('i4', [5, 0, 2])
  assert.equal(SharedArray.attach(none.memory.path).values.length, 0)
  for (const shape of [[-1], [1.5], [NaN], Array<number>(9).fill(1), [2 ** 53], [2 ** 30, 2 ** 30]])
    assert.throws(() => SharedArray.anonymous('f8', shape), RangeError, String(shape))
  assert.throws(() => SharedArray.anonymous('f2' as 'f4', 1), TypeError)
})

for (const shape of [[1000], [3, 4, 5]])
  test(`NumPy opens ours, and we NumPy's, shape ${shape.join(' × ')}, without a copy`, async () => {
    const name = freshSegment()
    using array = SharedArray.create(name, 'i8', shape)
    array.values.forEach((_, index, values) => (values[index] = BigInt(index)))
    const numpy = await startNumpy()
    const count = array.values.length
    assert.deepEqual(JSON.parse(await numpy.tell(`open ${name}`)), ['i8', shape, array.strides.map((stride) => stride * 8)])
    assert.deepEqual(JSON.parse(await numpy.tell('numpy')), ['<i8', shape, true, false])
    assert.equal(Number(await numpy.tell('sum')), (count * (count - 1)) / 2)
    assert.equal(await numpy.tell('add 5'), '1')
    assert.deepEqual([array.generation, array.values[3]], [1, 8n])
    assert.equal(JSON.parse(await numpy.tell('flat'))[3], 8)
    const last = shape.map((length) => length - 1)
    await numpy.tell(`set ${JSON.stringify(last).replaceAll(' ', '')} -7`)
    assert.equal(array.values[count - 1], -7n)
    await numpy.tell('close')
    assert.equal(await numpy.tell('sum'), 'CLOSED')
    array.unlink()

    assert.deepEqual(JSON.parse(await numpy.tell(`create ${name} f4 ${JSON.stringify(shape)}`)).slice(0, 2), ['f4', shape])
    await numpy.tell('add 2')
    using theirs = SharedArray.open(name)
    assert.deepEqual([theirs.dtype, theirs.shape, theirs.generation], ['f4', shape, 1])
    assert.ok(theirs.values.every((value) => value === 2))
    theirs.values[0] = 3.5
    assert.equal(JSON.parse(await numpy.tell('flat'))[0], 3.5)
    await numpy.tell('unlink')
    await numpy.end()
    assert.ok(!exists(name))
  })

test('NumPy attaches an anonymous one by its path', async () => {
  using array = SharedArray.anonymous('u2', [4])
  array.values.set([1, 2, 3, 4])
  const numpy = await startNumpy()
  await numpy.tell(`attach ${array.memory.path}`)
  assert.equal(await numpy.tell('sum'), '10')
  await numpy.end()
})

test('other strides than ours, as a foreign program may write them', async () => {
  const name = freshSegment()
  // Two rows, three columns, column after column.
  const header = { ...headerFor('i4', [2, 3]), strides: [4, 8] }
  using memory = SharedMemory.create(name, HEADER_BYTES + 24, { content: encodeHeader(header) })
  memory.array(Int32Array, HEADER_BYTES).set([1, 4, 2, 5, 3, 6])
  using array = SharedArray.open(name)
  assert.deepEqual(array.strides, [1, 2])
  assert.equal(array.values[1 * array.strides[0]! + 2 * array.strides[1]!], 6)
  const numpy = await startNumpy()
  await numpy.tell(`open ${name}`)
  assert.deepEqual(JSON.parse(await numpy.tell('list')), [
    [1, 2, 3],
    [4, 5, 6],
  ])
  await numpy.end()
  memory.unlink()
})

// -- generations

test('a reader waits for the next generation, of Node and of Python, from both', async () => {
  const name = freshSegment()
  using array = SharedArray.create(name, 'f8', 10)
  const numpy = await startNumpy()
  await numpy.tell(`open ${name}`)
  const first = array.changed(0)
  assert.equal(await numpy.tell('publish'), '1')
  assert.equal(await first, 1)
  const second = numpy.tell('wait 1')
  assert.equal(array.publish(), 2)
  assert.equal(await second, '2')
  assert.equal(await array.changed(1), 2, 'what has happened is not waited for')
  await numpy.end()
  array.unlink()
})

test('more wait than there are places; those that died give theirs back; all are woken', async () => {
  using array = SharedArray.anonymous('u1', 1)
  const long = array.memory.array(BigInt64Array, 0, HEADER_BYTES / 8)
  const word = array.memory.array(Int32Array, 0, HEADER_BYTES / 4)
  const dead = await startActor(process.execPath, program('array-actor'), 'wait', array.memory.path, '0')
  await dead.running.kill()
  assert.notEqual(Atomics.load(long, watcherWho(0)), NOBODY)
  // One that never was, and a bell that is none.
  long[watcherWho(1)] = self() ^ 1n
  long[watcherWho(2)] = self()
  word[watcherBell(2)] = 0x7fff_ffff
  const other = await startActor(process.execPath, program('array-actor'), 'wait', array.memory.path, '0')
  const waiting = Array.from({ length: WATCHERS + 5 }, () => array.changed(0))
  array.publish()
  assert.deepEqual(await Promise.all(waiting), Array<number>(WATCHERS + 5).fill(1))
  assert.equal(await other.running.line('generation'), 'generation 1')
  await other.end()
  long[watcherWho(2)] = NOBODY
  array.publish()
  for (let n = 0; n < WATCHERS; n++) assert.equal(Atomics.load(long, watcherWho(n)), NOBODY, `place ${n}`)
})

test('waiting ends by its signal, its time, and by closing', async () => {
  const array = SharedArray.anonymous('u1', 1)
  const stop = new AbortController()
  const stopped = array.changed(0, { signal: stop.signal })
  const late = array.changed(0, { timeout: 1 })
  const closed = array.changed(0)
  await assert.rejects(late, fails('DEADLINE_EXCEEDED'))
  stop.abort(new Error('enough'))
  await assert.rejects(stopped, /enough/)
  await assert.rejects(array.changed(0, { signal: stop.signal }), /enough/)
  using reader = SharedArray.attach(array.memory.path, { readOnly: true })
  const seen = reader.changed(0)
  array.publish()
  assert.equal(await seen, 1)
  await closed
  const pending = array.changed(1)
  array.close()
  await assert.rejects(pending, fails('CLOSED'))
  await assert.rejects(array.changed(1), fails('CLOSED'))
  assert.throws(() => array.values, fails('CLOSED'))
  assert.throws(() => array.publish(), fails('CLOSED'))
})

test('the generation begins anew after 2³² − 1', async () => {
  using array = SharedArray.anonymous('u1', 1)
  array.memory.array(Int32Array, 0, HEADER_BYTES / 4)[WORD.generation] = -1
  assert.equal(array.generation, 0xffff_ffff)
  const waiting = array.changed(0xffff_ffff)
  assert.equal(array.publish(), 0)
  assert.equal(await waiting, 0)
})

// -- sealing

test('sealed: who comes then only reads, who waits is told, writers cannot publish', async () => {
  const name = freshSegment()
  using array = SharedArray.create(name, 'i4', [2], { mode: 0o640 })
  array.values[0] = 7
  using writer = SharedArray.open(name)
  using reader = SharedArray.open(name, { readOnly: true })
  assert.throws(() => reader.publish(), fails('PERMISSION_DENIED'))
  assert.throws(() => reader.seal(), fails('PERMISSION_DENIED'))
  const waiting = Promise.all([reader.changed(0), writer.changed(0)])
  array.seal()
  assert.deepEqual(await waiting, [1, 1])
  assert.equal(await writer.changed(1), 1, 'nothing will change any more')
  assert.deepEqual([writer.sealed, reader.sealed], [true, true])
  assert.throws(() => writer.publish(), fails('PERMISSION_DENIED'))
  assert.throws(() => SharedArray.open(name), fails('PERMISSION_DENIED'))
  assert.equal(statSync(array.memory.path).mode & 0o777, 0o440)
  using late = SharedArray.open(name, { readOnly: true })
  assert.equal(late.values[0], 7)
  const numpy = await startNumpy()
  assert.equal(await numpy.tell(`open ${name}`), 'PERMISSION_DENIED')
  await numpy.tell(`open ${name} readOnly`)
  assert.deepEqual(JSON.parse(await numpy.tell('numpy')), ['<i4', [2], false, false])
  await numpy.end()
  array.unlink()
})

test('Python seals', async () => {
  const name = freshSegment()
  const numpy = await startNumpy()
  await numpy.tell(`create ${name} u1 [3]`)
  using array = SharedArray.open(name)
  assert.equal(await numpy.tell('seal'), 'sealed')
  assert.deepEqual([array.sealed, array.generation], [true, 1])
  assert.deepEqual(JSON.parse(await numpy.tell('numpy'))[2], false)
  assert.equal(await numpy.tell('publish'), 'PERMISSION_DENIED')
  assert.throws(() => SharedArray.open(name), fails('PERMISSION_DENIED'))
  await numpy.tell('unlink')
  await numpy.end()
})

// -- what cannot be believed

test('memory that holds no shared array is refused', () => {
  const name = freshSegment()
  for (const size of [1, 511, 512, 5000]) {
    using memory = SharedMemory.create(name, size)
    assert.throws(() => SharedArray.open(name), fails('INVALID_MEMORY'))
    memory.unlink()
  }
})

/** The same numbers each time. */
function* numbers(seed: number): Generator<number> {
  for (let n = seed; ;) yield (n = (n * 48_271) % 0x7fff_ffff)
}

/** A header with some bytes, or whole numbers, changed. */
function spoiled(random: Generator<number>): Uint8Array {
  const next = (): number => random.next().value as number
  const header = encodeHeader(headerFor('f4', [3, next() % 5, 2]))
  for (let count = 1 + (next() % 4); count > 0; count--) {
    if (next() % 2) header[next() % 192] = next() >>> 8
    else
      new DataView(header.buffer).setBigUint64(8 * (next() % 24), BigInt([0, 1, 4, 8, 512, 520, 2 ** 31, 2 ** 53 - 1][next() % 8]!), true)
  }
  return header
}

test('a hundred thousand spoiled headers: refused, or every element is inside', () => {
  const random = numbers(7)
  let accepted = 0
  for (let round = 0; round < 100_000; round++) {
    const size = 512 + ((round * 7) % 200)
    let parsed
    try {
      parsed = parseHeader(spoiled(random), size)
    } catch (reason) {
      if (reason instanceof TalkwireError && reason.code === 'INVALID_MEMORY') continue
      throw reason
    }
    accepted++
    const width = Number(parsed.dtype[1])
    const last = parsed.shape.includes(0)
      ? -width
      : parsed.shape.reduce((sum, length, index) => sum + (length - 1) * parsed.strides[index]!, 0)
    assert.ok(parsed.offset >= 512 && parsed.offset + parsed.bytes <= size && last + width <= parsed.bytes && last % width === 0)
  }
  assert.ok(accepted > 200, 'some are right by chance')
})

test('Python and Node understand two thousand spoiled headers alike', async () => {
  const numpy = await startNumpy()
  const random = numbers(11)
  for (let round = 0; round < 2000; round++) {
    const header = spoiled(random)
    const size = 512 + ((round * 7) % 200)
    let ours: unknown
    try {
      const { dtype, shape, strides, offset, bytes } = parseHeader(header, size)
      ours = [dtype, shape, strides, offset, bytes]
    } catch (reason) {
      ours = (reason as TalkwireError).code
    }
    const answer = await numpy.tell(`parse ${size} ${Buffer.from(header).toString('hex')}`)
    assert.deepEqual(answer.startsWith('[') ? JSON.parse(answer) : answer, ours, Buffer.from(header).toString('hex'))
  }
  await numpy.end()
})

test('a header that changes while it is read: refused, or what was read once; nobody reads outside', async () => {
  const memory = SharedMemory.anonymous(4096)
  const good = encodeHeader(headerFor('f8', [7, 8, 8]))
  memory.bytes.set(good)
  const spoiler = actor('spoil', memory.path)
  await spoiler.line('ready')
  let [accepted, refused] = [0, 0]
  for (let round = 0; round < 20_000 || accepted === 0 || refused === 0; round++) {
    // The rest of it is put right, so that some are.
    memory.array(Uint8Array, 0, 192).set(good.subarray(0, 192))
    try {
      using array = SharedArray.attach(memory.fd, { readOnly: true })
      const { values } = array
      void [values[0], values[values.length - 1], array.generation]
      assert.ok(values.byteOffset + values.byteLength <= 4096)
      accepted++
    } catch (reason) {
      fails('INVALID_MEMORY')(reason)
      refused++
    }
  }
  await spoiler.kill()
  memory.close()
})

test('an open array stays within its bounds when its header is overwritten', () => {
  using array = SharedArray.anonymous('f8', [4])
  array.memory.array(Uint8Array, 0, HEADER_BYTES).fill(255)
  assert.deepEqual([array.shape, array.values.length, array.strides], [[4], 4, [1]])
  assert.throws(() => array.sealed, fails('INVALID_MEMORY'))
  assert.throws(() => array.publish(), fails('INVALID_MEMORY'))
})

for (const what of ['publish', 'seal', 'watch'])
  test(`${what}: killed at each change, the array is in order and others go on`, async () => {
    let points = 0
    for (let at = 1; points === 0; at++) {
      using array = SharedArray.anonymous('i4', 4)
      const child = actor(what, array.memory.path, String(at))
      const [, signal] = (await once(child.child, 'exit')) as [number, string | null]
      if (signal === null) points = Number((await child.line('changes')).split(' ')[1])
      using fresh = SharedArray.attach(array.memory.path, { readOnly: true })
      assert.deepEqual(fresh.shape, [4])
      const before = array.generation
      if (fresh.sealed) assert.equal(await array.changed(before), before)
      else {
        const waiting = array.changed(before)
        assert.equal(array.publish(), before + 1)
        assert.equal(await waiting, before + 1)
      }
      if (signal === null) assert.ok(at > points)
    }
    assert.ok(points >= 1, 'the changes were counted')
  })

test('large ones are not copied: 256 MiB at the cost of opening', () => {
  using array = SharedArray.anonymous('u1', 256 * 1024 * 1024)
  array.values[array.values.length - 1] = 5
  const before = process.memoryUsage().arrayBuffers
  using other = SharedArray.attach(array.memory.fd)
  assert.equal(other.values[other.values.length - 1], 5)
  assert.ok(process.memoryUsage().arrayBuffers - before < 1024 * 1024)
})

test('a file of that name that is none is refused, and stays', () => {
  const name = freshSegment()
  writeFileSync(`/dev/shm/${name}`, 'x'.repeat(1000))
  assert.throws(() => SharedArray.open(name), fails('INVALID_MEMORY'))
  assert.throws(() => SharedArray.create(name, 'u1', 1), fails('ALREADY_EXISTS'))
  SharedMemory.unlink(name)
})
