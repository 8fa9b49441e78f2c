/** A writer of a shared value or a map, in any language, is killed in place of each of its changes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { SharedMap } from '../../src/memory/map.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { SharedValue } from '../../src/memory/value.js'
import { freshName } from '../helpers/place.js'
import type { Running } from '../session/processes.js'
import { after, BYTES, contentOf, MAP, MAP_AT, NOTES, numberOf, patternOf, SIZE, STEPS } from './shared.js'

/** After each kill there is the old state or the new one, and the next one writes. Returns how many changes there are. */
export async function sweepShared(what: 'value' | 'map', start: (segment: string, at: number) => Running): Promise<number> {
  let points = 0
  for (let at = 1; points === 0; at++) {
    const segment = `tw-test-${freshName()}`
    using memory = SharedMemory.create(segment, BYTES)
    const value = new SharedValue({ memory }, { size: SIZE })
    const changed = value.changed(0, { timeout: 20_000 })
    const child = start(segment, at)
    if (child.child.exitCode === null && child.child.signalCode === null) await once(child.child, 'exit')
    if (child.child.signalCode !== 'SIGKILL') points = Number((await child.line('changes ')).split(' ')[1])
    const notes = memory.array(Int32Array, NOTES, 16)
    if (what === 'value') lookAtValue(value, at, notes[0]!, notes[1]!)
    else lookAtMap(memory, at, notes[0]!, notes[1]!)
    // Whoever waits for a change learns of it, also when its writer died before it rang.
    value.writer().write(patternOf(77))
    assert.equal(numberOf(value.read()!), 77)
    assert.ok((await changed) > 0)
    memory.unlink()
  }
  assert.ok(points > 8)
  return points
}

function lookAtValue(value: SharedValue, at: number, done: number, begun: number): void {
  const seen = value.read()
  const n = seen ? numberOf(seen) : 0
  assert.ok(n === done || n === begun, `change ${at}: ${n}, of ${done} to ${begun}`)
}

function lookAtMap(memory: SharedMemory, at: number, done: number, begun: number): void {
  const map = new SharedMap({ memory, offset: MAP_AT }, MAP)
  const seen = JSON.stringify(contentOf(map))
  assert.ok(
    [done, begun].some((steps) => seen === JSON.stringify(sorted(after(steps), map))),
    `change ${at}: ${seen}, step ${begun}`,
  )
  for (let n = done; n < STEPS.length; n++) STEPS[n]!(map)
  assert.deepEqual(contentOf(map), after(STEPS.length))
}

/** In the order of the map. */
function sorted(content: Record<string, number>, map: SharedMap): Record<string, number> {
  const names = Array.from(map.entries(), ([key]) => key)
  return Object.fromEntries(Object.entries(content).sort(([a], [b]) => names.indexOf(a) - names.indexOf(b)))
}
