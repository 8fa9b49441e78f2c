/** Shared values and maps with programs in C, which include the headers of clients/c; each pair with Node and Python. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { constants } from 'node:os'
import { test } from 'node:test'
import { turns } from '../../compliance/ends.js'
import { onBell } from '../../src/memory/bell.js'
import { SharedMap } from '../../src/memory/map.js'
import { NOBODY } from '../../src/memory/owner.js'
import { HEADER, WORD } from '../../src/memory/shared-layout.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { SharedValue } from '../../src/memory/value.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fixture, python, run, type Running } from '../session/processes.js'
import { HEADERS } from '../sync/holders.js'
import { freshSegment, source } from './actors.js'
import { sweepShared } from './shared-sweep.js'
import { after, BYTES, contentOf, MAP, MAP_AT, numberOf, patternOf, SIZE, STEPS } from './shared.js'

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
