/** Shared values and maps with processes in Python, which have only spec/values.md. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { SharedMap } from '../../src/memory/map.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { SharedValue } from '../../src/memory/value.js'
import { freshName } from '../helpers/place.js'
import { fixture, python, run, type Running } from '../session/processes.js'
import { source } from './actors.js'
import { sweepShared } from './shared-sweep.js'
import { after, BYTES, contentOf, MAP, MAP_AT, numberOf, patternOf, SIZE, STEPS } from './shared.js'

const inPython = (what: string, segment: string, at = 0, times = 0): Running =>
  run(python, [source('shared_user.py'), what, segment, String(at), String(times)])

async function ended({ child }: Running): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  assert.equal(child.exitCode, 0)
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

for (const what of ['value', 'map'] as const)
  test(`${what}: Python is killed at each change: the old state or the new one, and Node writes on`, async () => {
    await sweepShared(what, (segment, at) => inPython(what, segment, at))
  })
