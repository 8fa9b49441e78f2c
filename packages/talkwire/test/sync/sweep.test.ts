/** A process is killed at each single change of shared memory that an operation of a mutex makes; whoever comes then finds it in order. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freshName } from '../helpers/place.js'
import { run, type Running } from '../session/processes.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { Mutex } from '../../src/sync/mutex.js'
import { HAS_CC } from '../helpers/c.js'
import { sweepInC } from './sweeps.js'

const script = fileURLToPath(new URL('fixtures/sweep.js', import.meta.url))
const start = (language: string, operation: string, ...args: string[]): Running =>
  language === 'C' ? run(sweepInC(), [`mutex ${operation}`, ...args]) : run(process.execPath, [script, operation, ...args])

interface Scene {
  readonly name: string
  readonly numbers: Int32Array
  readonly mutex: Mutex
  readonly segment: string
}

/** What there is before the operation, and what happens meanwhile. */
const scenes: Record<string, (scene: Scene) => Promise<(ended: Promise<unknown>) => Promise<void> | void>> = {
  free: async () => () => {},
  inherit: async ({ name, segment }) => {
    const dead = run(process.execPath, [script, 'free', name, segment, '3'])
    await once(dead.child, 'exit')
    return () => {}
  },
  queue: async ({ mutex }) => {
    const lock = await mutex.acquire()
    return async (ended) => {
      let over = false
      void ended.then(() => (over = true))
      while (!over && mutex.inspect().waiters.length === 0) await delay(1)
      lock.release()
    }
  },
  give: async ({ mutex }) => {
    const lock = await mutex.acquire()
    return async (ended) => {
      await ended
      lock.release()
    }
  },
}

for (const language of HAS_CC ? ['Node', 'C'] : ['Node'])
  for (const operation of Object.keys(scenes))
    test(`${operation}: ${language} is killed at each change`, async (t) => {
      let points = 0
      for (let at = 1; ; at++) {
        const name = freshName()
        const segment = `tw-test-${name}`
        using memory = SharedMemory.create(segment, 64)
        const scene = { name, segment, numbers: memory.array(Int32Array), mutex: new Mutex(name) }
        const after = await scenes[operation]!(scene)
        const running = start(language, operation, name, segment, String(at))
        const ended = once(running.child, 'exit')
        await after(ended)
        await ended
        const killed = running.child.signalCode === 'SIGKILL'
        const lock = await scene.mutex.acquire({ timeout: 5000 })
        // Whoever died within is told of; who did not, is not.
        const whole = scene.numbers[0] === scene.numbers[1]
        assert.ok(whole || lock.abandoned, `change ${at}: half done, and nobody was told`)
        if (!killed) assert.deepEqual([lock.abandoned, whole], [false, true])
        lock.repaired()
        lock.release()
        const other = await scene.mutex.acquire({ timeout: 5000 })
        assert.equal(other.abandoned, false)
        assert.equal(other.fence, lock.fence + 1)
        other.release()
        assert.deepEqual(scene.mutex.inspect().waiters, [])
        memory.unlink()
        Mutex.unlink(name)
        if (!killed) {
          assert.equal(running.child.exitCode, 0, `change ${at}`)
          points = Number((await running.line('changes ')).split(' ')[1])
          assert.ok(at > points, 'it was not killed before its end')
          break
        }
      }
      t.diagnostic(`${points} changes`)
      assert.ok(points >= 4, 'the changes were counted')
    })
