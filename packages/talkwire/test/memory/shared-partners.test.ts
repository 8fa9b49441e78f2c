/** Shared values and maps with processes in Python, which have only spec/values.md. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { test } from 'node:test'
import { turns } from '../../compliance/ends.js'
import { SharedMap } from '../../src/memory/map.js'
import { idOf, NOBODY } from '../../src/memory/owner.js'
import { HEADER, WORD } from '../../src/memory/shared-layout.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { SharedValue } from '../../src/memory/value.js'
import { freshName } from '../helpers/place.js'
import { fixture, python, run, type Running } from '../session/processes.js'
import { source } from './actors.js'
import { sweepShared } from './shared-sweep.js'
import { after, BYTES, contentOf, EMPTY, MAP, MAP_AT, numberOf, patternOf, SIZE, STEPS } from './shared.js'

const inPython = (what: string, segment: string, at = 0, times = 0): Running =>
  run(python, [source('shared_user.py'), what, segment, String(at), String(times)])

async function ended({ child }: Running, signal: NodeJS.Signals | null = null): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  assert.deepEqual([child.exitCode, child.signalCode], [signal ? null : 0, signal])
}

test('what Python writes Node reads, and the other way round', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, BYTES)
  await ended(inPython('value', segment))
  await ended(inPython('map', segment))
  const value = new SharedValue({ memory }, { size: SIZE })
  const map = new SharedMap({ memory, offset: MAP_AT }, MAP)
  assert.equal(numberOf(value.read()!), 3)
  assert.deepEqual(contentOf(map), after(STEPS.length))
  value.writer().write(patternOf(7))
  assert.equal(map.delete('a'), true)
  for (let n = 0; n < 3; n++) map.set(`k${n}`, patternOf(n))
  await ended(inPython('read', segment, 0, 3))
  memory.unlink()
})

test('Node and Python write and read at full speed: nothing torn, no value under the wrong key', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, BYTES)
  const inNode = (what: string): Running => fixture(import.meta.url, 'shared-user.js', what, segment, '0', '20000')
  const all = [inNode('keys'), inNode('read'), ...['keys', 'values', 'read'].map((what) => inPython(what, segment, 0, 4000))]
  for (const one of all) await ended(one)
  memory.unlink()
})

/** Until it waits for a change. */
async function watched(words: Int32Array, { child }: Running): Promise<void> {
  while (Atomics.load(words, WORD.watched) === 0) {
    assert.equal(child.exitCode, null)
    await turns()
  }
}

/** Rounds of question and answer, of which each waits for the other's change. */
const ROUNDS = 100

test('a change is waited for in Python: each of many that Node or Python makes is seen, and Node sees those of Python', async () => {
  for (const asks of ['Node', 'Python']) {
    const segment = `tw-test-${freshName()}`
    using memory = SharedMemory.create(segment, BYTES)
    const answers = inPython('answers', segment, 0, ROUNDS)
    if (asks === 'Python') await ended(inPython('echoes', segment, 0, ROUNDS))
    else {
      const writer = new SharedValue({ memory }, { size: SIZE }).writer()
      const answer = new SharedValue({ memory, offset: EMPTY }, { size: SIZE })
      for (let n = 1; n <= ROUNDS; n++) {
        writer.write(patternOf(n & 255))
        await answer.changed(n - 1, { timeout: 20_000 })
        assert.equal(numberOf(answer.read()!), n & 255)
      }
    }
    await ended(answers)
    memory.unlink()
  }
})

test('who waits in Python takes a place and a bell; who dies waiting loses it at the next value, whoever writes that', async () => {
  for (const writes of ['Node', 'Python']) {
    const segment = `tw-test-${freshName()}`
    using memory = SharedMemory.create(segment, BYTES)
    const value = new SharedValue({ memory }, { size: SIZE })
    const words = memory.array(Int32Array)
    const waits = inPython('wait', segment)
    await watched(words, waits)
    const place = memory.array(BigInt64Array, HEADER, 2)
    assert.equal(idOf(place[0]!), waits.pid)
    const bell = Atomics.load(words, HEADER / 4 + 2)
    assert.equal(statSync(`/proc/${waits.pid}/fd/${bell}`).isFIFO(), true)
    await waits.kill()
    if (writes === 'Node') {
      using writer = value.writer()
      writer.write(patternOf(1))
    } else await ended(inPython('value', segment))
    assert.deepEqual([place[0], words[WORD.watched]], [NOBODY, 0])
    memory.unlink()
  }
})

test('Python waits behind a writer that is killed at each change: what the next one writes is seen', async () => {
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, BYTES)
  const value = new SharedValue({ memory }, { size: SIZE })
  const watching = inPython('watch', segment)
  for (let at = 1; at <= 6; at++) {
    await ended(inPython('value', segment, at), 'SIGKILL')
    using writer = value.writer()
    writer.write(patternOf(50 + at))
    await watching.line(`saw ${50 + at}`)
  }
  await watching.kill()
  memory.unlink()
})

for (const what of ['value', 'map'] as const)
  test(`${what}: Python is killed at each change: the old state or the new one, and Node writes on`, async () => {
    await sweepShared(what, (segment, at) => inPython(what, segment, at))
  })
