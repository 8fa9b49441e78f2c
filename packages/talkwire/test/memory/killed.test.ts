/** A process is killed at each call to the file system that an operation makes; whoever comes then finds all of it in order. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { SharedArray } from '../../src/memory/shared-array.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { fails } from '../helpers/expect.js'
import { place } from '../helpers/place.js'
import { exists, freshSegment, program } from './actors.js'

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

/** What the process said before its end. */
async function killed(what: string, name: string, at: number): Promise<string> {
  const child = spawn(process.execPath, [program('killed'), what, name, String(at)], { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text) => (said += text))
  await once(child, 'close')
  return said
}

for (const [what, sizes] of Object.entries(allowed))
  test(`${what}: killed at each call`, async (t) => {
    let total = 0
    for (let at = 1; total === 0; at++) {
      const name = freshSegment()
      if (['reclaim', 'open', 'openOrCreate'].includes(what)) await killed('create', name, 0)
      const said = await killed(what, name, at)
      total = Number(/^calls (\d+)$/m.exec(said)?.[1] ?? 0)
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
      if (total > 0) assert.equal(size, what === 'close' ? 64 : 0)
      // It can be made anew, and be used.
      using anew = SharedMemory.create(name, 16)
      assert.equal(anew.size, 16)
      anew.unlink()
      assert.ok(!exists(name))
      SharedMemory.clean()
      assert.deepEqual(readdirSync(join(place, 'run/memory')), ['lock'], `call ${at}: nothing is left behind`)
    }
    t.diagnostic(`${total} calls`)
    assert.ok(total >= 5, 'the calls were counted')
  })

test('seal: killed at each call, an array is whole; sealed it is for everybody, also when its mode was not yet changed', async (t) => {
  let total = 0
  for (let at = 1; total === 0; at++) {
    const name = freshSegment()
    const said = await killed('seal', name, at)
    total = Number(/^calls (\d+)$/m.exec(said)?.[1] ?? 0)
    using array = SharedArray.open(name, { dtype: 'f8', readOnly: true })
    assert.deepEqual([array.shape, array.strides, array.values.length], [[4, 4], [4, 1], 16])
    assert.deepEqual([array.sealed, array.generation], [true, 1], `call ${at}`)
    assert.throws(() => SharedArray.open(name), fails('PERMISSION_DENIED'))
    array.unlink()
  }
  t.diagnostic(`${total} calls`)
  assert.ok(total >= 2, 'the calls were counted')
})
