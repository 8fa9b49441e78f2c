/** A process is killed at each call to the file system that an operation makes; whoever comes then finds all of it in order. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
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
}

for (const [what, sizes] of Object.entries(allowed))
  test(`${what}: killed at each call`, (t) => {
    let total = 0
    for (let at = 1; total === 0; at++) {
      const name = freshSegment()
      if (what === 'reclaim') spawnSync(process.execPath, [program('killed'), 'create', name, '0'])
      const { stdout } = spawnSync(process.execPath, [program('killed'), what, name, String(at)], { encoding: 'utf8' })
      total = Number(/^calls (\d+)$/m.exec(stdout)?.[1] ?? 0)
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
