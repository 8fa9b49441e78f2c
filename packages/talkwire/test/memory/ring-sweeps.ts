/** An operation of a ring in a process of its own that dies within it, in place of one of its changes of shared memory. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { freshName } from '../helpers/place.js'
import { run, type Running } from '../session/processes.js'
import { NOTES } from './rings.js'

const script = fileURLToPath(new URL('fixtures/ring-sweep.js', import.meta.url))

export interface Place {
  readonly segment: string
  readonly memory: SharedMemory
  readonly notes: Int32Array
}

const all = new Set<SharedMemory>()
after(() => all.forEach(remove))

/** Room for a ring and the notes. */
export function createPlace(): Place {
  const segment = `tw-test-${freshName()}`
  const memory = SharedMemory.create(segment, NOTES + 64)
  all.add(memory)
  return { segment, memory, notes: memory.array(Int32Array, NOTES, 16) }
}

function remove(memory: SharedMemory): void {
  all.delete(memory)
  memory.unlink()
  memory.close()
}

async function start(operation: string, ats: readonly number[], places: readonly Place[]): Promise<Running> {
  const running = run(process.execPath, [script, operation, ats.join(','), ...places.map(({ segment }) => segment)])
  await once(running.child, 'close')
  return running
}

/** Somebody died in each of these places, in place of those changes. */
export async function deadIn(places: readonly Place[], operation: string, ats: readonly number[]): Promise<void> {
  const { child, lines } = await start(operation, ats, places)
  assert.deepEqual([child.signalCode, lines], ['SIGKILL', []], operation)
}

/** Somebody did it to its end. Returns how many changes it took. */
export async function doneIn(place: Place, operation: string): Promise<number> {
  const { child, lines } = await start(operation, [0], [place])
  assert.equal(child.exitCode, 0, operation)
  return Number(/^changes (\d+) of 0$/.exec(lines[0]!)![1])
}

/**
 * Once to its end, and once up to each of the changes that this took: prepares these places, and looks at each. Returns how many
 * changes there are.
 */
export async function deadAtEach<T extends Place>(
  operation: string,
  prepare: (count: number) => Promise<T[]> | T[],
  look: (place: T, at: number) => Promise<void> | void,
): Promise<number> {
  const [whole] = await prepare(1)
  const points = await doneIn(whole!, operation)
  const places = await prepare(points)
  await deadIn(
    places,
    operation,
    places.map((_, n) => n + 1),
  )
  for (const [n, place] of [...places, whole!].entries()) {
    await look(place, n + 1)
    remove(place.memory)
  }
  return points
}
