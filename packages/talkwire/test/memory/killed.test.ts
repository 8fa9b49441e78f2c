/** A process is killed at each call to the file system that an operation makes; whoever comes then finds all of it in order. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { SharedArray } from '../../src/memory/shared-array.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { exists, freshSegment, program, remove } from './actors.js'

/** What the name may be for the next one: free (0), or still there with so many bytes, on purpose. */
const allowed: Record<string, readonly number[]> = {
  create: [0],
  close: [0, 64],
  unlink: [0],
  reclaim: [0],
  open: [0],
  openOrCreate: [0],
  array: [0],
}

/** Each name has a runtime directory of its own, with the lock that a process holds in the middle of an operation. */
interface Place {
  readonly name: string
  readonly directory: string
}

const unseen = new Set<Place>()
after(() => unseen.forEach((place) => within(place, () => remove(place.name))))

function prepare(count: number): Place[] {
  return Array.from({ length: count }, () => {
    const directory = freshPath('-run')
    mkdirSync(directory, { mode: 0o700 })
    const place = { name: freshSegment(), directory }
    unseen.add(place)
    within(place, () => SharedMemory.clean())
    return place
  })
}

/** With its runtime directory. */
function within<T>({ directory }: Place, action: () => T): T {
  const before = process.env['TALKWIRE_RUNTIME_DIR']
  process.env['TALKWIRE_RUNTIME_DIR'] = directory
  try {
    return action()
  } finally {
    process.env['TALKWIRE_RUNTIME_DIR'] = before
  }
}

/** Somebody died in each of these places, in place of those calls. Returns what it said before. */
async function killed(what: string, places: readonly Place[], ats: readonly number[]): Promise<string> {
  const where = places.flatMap(({ directory, name }) => [directory, name])
  const child = spawn(process.execPath, [program('killed'), what, ats.join(','), ...where], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text) => (said += text))
  await once(child, 'close')
  assert.equal(child.signalCode, 'SIGKILL')
  return said
}

/** Once to its end, and once up to each of the calls that this took. Returns how many there are. */
async function killedAtEach(
  what: string,
  look: (place: Place, at: number, done: boolean) => void,
  begin: (places: readonly Place[]) => Promise<unknown> | void = () => {},
): Promise<number> {
  const [whole] = prepare(1)
  await begin([whole!])
  const total = Number(/^changes (\d+) of 0$/m.exec(await killed(what, [whole!], [0]))![1])
  const places = prepare(total)
  await begin(places)
  const ats = places.map((_, n) => n + 1)
  assert.equal(await killed(what, places, ats), '', 'none came to its end')
  for (const [n, place] of [...places, whole!].entries()) {
    within(place, () => look(place, n + 1, n === total))
    unseen.delete(place)
  }
  return total
}

for (const [what, sizes] of Object.entries(allowed))
  test(`${what}: killed at each call`, async (t) => {
    const look = ({ name, directory }: Place, at: number, done: boolean): void => {
      let size = 0
      try {
        using memory = SharedMemory.open(name)
        size = memory.size
        assert.ok(memory.bytes.every((byte) => byte === 0))
        memory.unlink()
      } catch (reason) {
        fails('NOT_FOUND')(reason)
      }
      assert.ok(sizes.includes(size), `call ${at}: ${size} bytes`)
      if (done) assert.equal(size, what === 'close' ? 64 : 0)
      // It can be made anew, and be used.
      using anew = SharedMemory.create(name, 16)
      assert.equal(anew.size, 16)
      anew.unlink()
      assert.ok(!exists(name))
      SharedMemory.clean()
      assert.deepEqual(readdirSync(join(directory, 'memory')), ['lock'], `call ${at}: nothing is left behind`)
    }
    const made = ['reclaim', 'open', 'openOrCreate'].includes(what)
    const total = await killedAtEach(what, look, (places) => (made ? killed('make', places, []).then(() => {}) : undefined))
    t.diagnostic(`${total} calls`)
    assert.ok(total >= 5, 'the calls were counted')
  })

test('seal: killed at each call, an array is whole; sealed it is for everybody, also when its mode was not yet changed', async (t) => {
  const total = await killedAtEach('seal', ({ name }, at) => {
    using array = SharedArray.open(name, { dtype: 'f8', readOnly: true })
    assert.deepEqual([array.shape, array.strides, array.values.length], [[4, 4], [4, 1], 16])
    assert.deepEqual([array.sealed, array.generation], [true, 1], `call ${at}`)
    assert.throws(() => SharedArray.open(name), fails('PERMISSION_DENIED'))
    array.unlink()
  })
  t.diagnostic(`${total} calls`)
  assert.ok(total >= 2, 'the calls were counted')
})
