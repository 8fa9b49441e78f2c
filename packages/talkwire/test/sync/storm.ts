/**
 * Eight processes in several languages add to one plain number within a mutex, and one after the other is killed in the middle
 * and started anew. The total is then exactly the sum of the shares, and no addition is lost that somebody had done.
 */
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { compileC, HAS_CC } from '../helpers/c.js'
import { freshName } from '../helpers/place.js'
import { python, run, type Running } from '../session/processes.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { Mutex } from '../../src/sync/mutex.js'

const WORKERS = 8
const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))
const source = (name: string): string => fixture(name).replace('/dist/test/', '/test/')

export interface Storm {
  readonly kills: number
  readonly additions: number
}

/** `done`: whether there were enough kills. Fails when the numbers are wrong, or nobody adds for 5 s. */
export async function storm(done: (kills: number) => boolean): Promise<Storm> {
  const name = freshName()
  const segment = `tw-test-${name}`
  using memory = SharedMemory.create(segment, 512)
  const numbers = memory.array(Int32Array)
  const sum = (from: number, to: number): number => numbers.subarray(from, to).reduce((all, one) => all + one, 0)
  const commands = [
    [process.execPath, fixture('storm.js')],
    [python, source('storm.py')],
  ]
  if (HAS_CC)
    commands.push([compileC(import.meta.url, 'storm', `-I${fileURLToPath(new URL('../../../../../clients/c', import.meta.url))}`)])
  const start = (worker: number): Running => {
    const [program, ...args] = commands[worker % commands.length]!
    return run(program!, [...args, name, segment, String(worker)])
  }
  const workers = Array.from({ length: WORKERS }, (_, worker) => start(worker))
  // No kill counts before everybody has begun.
  while (numbers.subarray(64, 64 + WORKERS).includes(0)) await delay(5)
  let kills = 0
  let last = -1
  let since = performance.now()
  while (!done(kills)) {
    await delay(5 + Math.random() * 15)
    const victim = Math.floor(Math.random() * WORKERS)
    await workers[victim]!.kill()
    kills++
    workers[victim] = start(victim)
    if (numbers[0] !== last) [last, since] = [numbers[0]!, performance.now()]
    assert.ok(performance.now() - since < 5000, `nobody gets the mutex any more: ${JSON.stringify(new Mutex(name).inspect())}`)
  }
  await Promise.all(workers.map((worker) => worker.kill()))
  kills += WORKERS
  const mutex = new Mutex(name)
  const lock = await mutex.acquire({ timeout: 5000 })
  const [total, shares, confirmed] = [numbers[0]!, sum(8, 64), sum(64, 128)]
  // Only whoever died within may have added to the one and not to the other.
  assert.ok(total === shares || (lock.abandoned && total === shares + 1), `${total} in all, ${shares} in shares`)
  assert.ok(shares >= confirmed && shares <= confirmed + kills, `${shares} added, ${confirmed} confirmed, ${kills} killed`)
  lock.repaired()
  lock.release()
  assert.deepEqual(mutex.inspect().waiters, [])
  memory.unlink()
  Mutex.unlink(name)
  return { kills, additions: shares }
}
