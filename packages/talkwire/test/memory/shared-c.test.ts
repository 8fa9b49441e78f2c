/** Shared values and maps with programs in C, which include the headers of clients/c; each pair with Node and Python. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { constants } from 'node:os'
import { test } from 'node:test'
import { turns } from '../../compliance/ends.js'
import { onBell } from '../../src/memory/bell.js'
import { mapBytes, SharedMap } from '../../src/memory/map.js'
import { idOf, NOBODY, self } from '../../src/memory/owner.js'
import { HEADER, WORD, WRITER_LONG } from '../../src/memory/shared-layout.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { SharedValue, valueBytes } from '../../src/memory/value.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fixture, python, run, type Running } from '../session/processes.js'
import { HEADERS } from '../sync/holders.js'
import { freshSegment, source } from './actors.js'
import { sweepShared } from './shared-sweep.js'
import { after, BYTES, contentOf, EMPTY, MAP, MAP_AT, numberOf, patternOf, SIZE, STEPS } from './shared.js'

let program: string | undefined
const inC = (what: string, segment: string, at = 0, times = 0): Running =>
  run((program ??= compileC(import.meta.url, 'shared', ...HEADERS)), [what, segment, String(at), String(times)])
const inPython = (what: string, segment: string, at = 0, times = 0): Running =>
  run(python, [source('shared_user.py'), what, segment, String(at), String(times)])
const inNode = (what: string, segment: string, at = 0, times = 0): Running =>
  fixture(import.meta.url, 'shared-user.js', what, segment, String(at), String(times))

async function ended({ child }: Running): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  assert.deepEqual([child.exitCode, child.signalCode], [0, null])
}

async function inMemory(use: (segment: string, memory: SharedMemory) => Promise<void>): Promise<void> {
  const segment = freshSegment()
  using memory = SharedMemory.create(segment, BYTES)
  await use(segment, memory)
  memory.unlink()
}

if (HAS_CC) {
  test('what C writes Node reads', () =>
    inMemory(async (segment, memory) => {
      await ended(inC('value', segment))
      await ended(inC('map', segment))
      assert.equal(numberOf(new SharedValue({ memory }, { size: SIZE }).read()!), 3)
      assert.deepEqual(contentOf(new SharedMap({ memory, offset: MAP_AT }, MAP)), after(STEPS.length))
    }))

  for (const [language, start] of [
    ['Node', inNode],
    ['Python', inPython],
  ] as const)
    test(`C and ${language} write and read at full speed: nothing torn, no value under the wrong key`, () =>
      inMemory(async (segment) => {
        const times = language === 'Node' ? 20_000 : 2000
        const all = [
          inC('values', segment, 0, 100_000),
          inC('keys', segment, 0, 50_000),
          inC('read', segment, 0, 100_000),
          start('keys', segment, 0, times),
          start('read', segment, 0, times),
        ]
        for (const one of all) await ended(one)
        // And the other way round.
        const back = [start('values', segment, 0, times), inC('read', segment, 0, 100_000)]
        for (const one of back) await ended(one)
      }))

  for (const what of ['value', 'map'] as const)
    test(`${what}: C is killed at each change: the old state or the new one, and Node writes on`, async (t) => {
      const points = await sweepShared(what, (segment, at) => inC(what, segment, at))
      t.diagnostic(`${points} changes`)
    })

  test('C rings who waits for a change; who died waiting loses its place', () =>
    inMemory(async (segment, memory) => {
      const value = new SharedValue({ memory }, { size: SIZE })
      const words = memory.array(Int32Array)
      const place = memory.array(BigInt64Array, HEADER, 2)
      const waits = inPython('wait', segment)
      while (Atomics.load(words, WORD.watched) === 0) {
        assert.equal(waits.child.exitCode, null)
        await turns()
      }
      await waits.kill()
      await ended(inC('values', segment, 0, 1))
      assert.deepEqual([Atomics.load(place, 0), words[WORD.watched]], [NOBODY, 0])
      const { version } = value
      let quiet = (): void => {}
      // Who waits looks by itself, too; a bell is only rung.
      const rung = new Promise<void>((resolve) => (quiet = onBell(resolve)))
      const changed = value.changed(version, { timeout: 60_000 })
      assert.notEqual(Atomics.load(place, 0), NOBODY)
      await ended(inC('value', segment))
      await rung
      quiet()
      assert.ok((await changed) > version)
    }))

  /** Rounds of question and answer, of which each waits for the other's change. */
  const ROUNDS = 100
  for (const [language, start] of [
    ['C', inC],
    ['Python', inPython],
  ] as const)
    test(`a change is waited for between C and ${language}: each of many is seen`, () =>
      inMemory(async (segment, memory) => {
        for (const [asks, answers] of [
          [start, inC],
          [inC, start],
        ] as const) {
          const both = [answers('answers', segment, 0, ROUNDS), asks('echoes', segment, 0, ROUNDS)]
          for (const one of both) await ended(one)
          for (const at of [0, EMPTY]) memory.bytes.fill(0, at, at + valueBytes(SIZE))
        }
      }))

  test('a change is waited for between C and Node: each of many is seen', () =>
    inMemory(async (segment, memory) => {
      const answers = inC('answers', segment, 0, ROUNDS)
      const answer = new SharedValue({ memory, offset: EMPTY }, { size: SIZE })
      using writer = new SharedValue({ memory }, { size: SIZE }).writer()
      for (let n = 1; n <= ROUNDS; n++) {
        writer.write(patternOf(n & 255))
        await answer.changed(n - 1, { timeout: 20_000 })
        assert.equal(numberOf(answer.read()!), n & 255)
      }
      await ended(answers)
    }))

  test('who waits in C takes a place and a bell, and leaves it; who dies waiting loses it', () =>
    inMemory(async (segment, memory) => {
      const value = new SharedValue({ memory }, { size: SIZE })
      const words = memory.array(Int32Array)
      const place = memory.array(BigInt64Array, HEADER, 2)
      const late = inC('late', segment)
      await ended(late)
      assert.equal(late.lines[0], `late ${constants.errno.ETIMEDOUT} 1`)
      assert.equal(place[0], NOBODY)
      const waits = inC('wait', segment)
      while (idOf(Atomics.load(place, 0)) !== waits.pid || Atomics.load(words, WORD.watched) !== 1) {
        assert.equal(waits.child.exitCode, null)
        await turns()
      }
      assert.equal(statSync(`/proc/${waits.pid}/fd/${Atomics.load(words, HEADER / 4 + 2)}`).isFIFO(), true)
      await waits.kill()
      using writer = value.writer()
      writer.write(patternOf(1))
      assert.deepEqual([place[0], words[WORD.watched]], [NOBODY, 0])
    }))

  test('what C copies while it is written twice is not handed out', () =>
    inMemory(async (segment) => {
      const torn = inC('tear', segment)
      await ended(torn)
      assert.equal(torn.lines[0], 'value 1 map 1')
    }))

  test('what C has removed is free again for all, once nobody looks for anything behind it', () =>
    inMemory(async (segment, memory) => {
      await ended(inC('empty', segment))
      const stride = (mapBytes(MAP) - mapBytes({ ...MAP, entries: 1 })) / (MAP.entries - 1)
      const first = MAP_AT + mapBytes({ ...MAP, entries: 1 }) - stride
      const states = Array.from({ length: MAP.entries }, (_, n) => memory.array(Int32Array, first + n * stride, 1)[0])
      assert.deepEqual(states, Array<number>(MAP.entries).fill(0))
    }))

  test('C writes where a dead one was, and not where a living one is', () =>
    inMemory(async (segment, memory) => {
      const value = new SharedValue({ memory }, { size: SIZE })
      const map = new SharedMap({ memory, offset: MAP_AT }, MAP)
      const writerAt = (at: number): BigInt64Array => memory.array(BigInt64Array, at + 8 * WRITER_LONG, 1)
      const writers = [
        ['value', writerAt(0)],
        ['map', writerAt(MAP_AT)],
      ] as const
      const gone = inC('read', segment)
      await gone.kill()
      const dead = BigInt.asIntN(64, (BigInt(gone.pid) << 42n) | 1n)
      assert.equal(idOf(dead), gone.pid)
      for (const [what, writer] of writers) {
        Atomics.store(writer, 0, self())
        const refused = inC(what, segment)
        if (refused.child.exitCode === null) await once(refused.child, 'exit')
        assert.equal(refused.child.exitCode, 1)
      }
      assert.deepEqual([value.version, contentOf(map)], [0, after(0)])
      for (const [what, writer] of writers) {
        Atomics.store(writer, 0, dead)
        await ended(inC(what, segment))
      }
      assert.equal(numberOf(value.read()!), 3)
      assert.deepEqual(contentOf(map), after(STEPS.length))
    }))

  test('C is told what is wrong', () =>
    inMemory(async (segment) => {
      const refused = inC('refuse', segment)
      await ended(refused)
      const { ENODATA, EPERM, EMSGSIZE, EBUSY, EINVAL, ENOENT, ENOSPC } = constants.errno
      const lengthOf = (n: number): number => patternOf(n).length
      assert.deepEqual(refused.lines.slice(0, 2), [
        `value ${[ENODATA, EPERM, EMSGSIZE, EMSGSIZE, lengthOf(3), EBUSY, EINVAL, EINVAL, EINVAL].join(' ')}`,
        `map ${[ENOENT, ENOENT, EMSGSIZE, ENOENT, ENOSPC, EMSGSIZE, lengthOf(5), EINVAL, EINVAL].join(' ')}`,
      ])
    }))
}
