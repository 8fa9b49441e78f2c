/**
 * Eight processes use one lock, map or barrier as fast as they can, and one after the other is killed in the middle and started
 * anew. Afterwards the journal of what was completed is exact, and nobody ever waited for somebody dead.
 */
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { setTimeout as delay } from 'node:timers/promises'
import { compileC, HAS_CC } from '../helpers/c.js'
import { freshName } from '../helpers/place.js'
import { python, run, type Running } from '../session/processes.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { kinds, type Kind } from './kill-storm-kinds.js'
import { BYTES, CONFIRMED, MOST, WORD } from './journal.js'

const WORKERS = 8
/** Milliseconds in which nobody completes anything: then it hangs. On a machine that is busy a process may need some seconds to start. */
const STILL = 60_000
const fixture = (name: string): string => fileURLToPath(new URL(`fixtures/${name}`, import.meta.url))
const source = (name: string): string => fixture(name).replace('/dist/test/', '/test/')

export const KINDS = Object.keys(kinds) as Kind[]

export interface Storm {
  readonly kills: number
  /** How often somebody had it, and let go of it. */
  readonly sections: number
}

/** Those that Python and C use, too, in one storm with Node. */
const SHARED: readonly Kind[] = ['mutex', 'semaphore', 'rwlock']

/** What is started for a worker. */
function commandsOf(kind: Kind): string[][] {
  const commands = [[process.execPath, fixture('kill-storm.js'), kind]]
  if (!SHARED.includes(kind)) return commands
  commands.push([python, source('storm.py'), kind])
  const headers = `-I${fileURLToPath(new URL('../../../../../clients/c', import.meta.url))}`
  if (HAS_CC) commands.push([compileC(import.meta.url, 'storm', headers), kind])
  return commands
}

/** `done`: whether there were enough kills. Fails when the journal is wrong, or everybody waits. */
export async function storm(kind: Kind, done: (kills: number) => boolean): Promise<Storm> {
  const name = freshName()
  const segment = `tw-test-${name}`
  using memory = SharedMemory.create(segment, BYTES)
  const numbers = memory.array(Int32Array)
  const { prepare, restart, check, end } = kinds[kind]
  const place = { name, memory, numbers, workers: WORKERS }
  prepare?.(place)
  const commands = commandsOf(kind)
  const confirmed = (worker: number): number => Atomics.load(numbers, CONFIRMED + worker)
  /** What each had completed when it was started last. */
  const before = new Int32Array(WORKERS)
  const start = (worker: number): Running => {
    before[worker] = confirmed(worker)
    const [program, ...args] = commands[worker % commands.length]!
    return run(program!, [...args, name, segment, String(worker)])
  }
  const workers = Array.from({ length: WORKERS }, (_, worker) => start(worker))
  let kills = 0
  let since = performance.now()
  for (let last = -1, next = 0; !done(kills);) {
    await delay(1 + Math.random() * 10)
    for (const [worker, { child }] of workers.entries()) assert.equal(child.exitCode, null, `worker ${worker} ended by itself`)
    assert.equal(Atomics.load(numbers, WORD.wrong), 0, 'two were within, or saw half of something')
    const sum = numbers.subarray(CONFIRMED, CONFIRMED + WORKERS).reduce((all, one) => (all + one) | 0, 0)
    if (sum !== last) [last, since] = [sum, performance.now()]
    assert.ok(performance.now() - since < STILL, `everybody waits after ${kills} kills`)
    // Whoever has not completed anything since it was started is not in the middle of anything, either.
    const victim = Array.from({ length: WORKERS }, (_, n) => (next + n) % WORKERS).find((worker) => confirmed(worker) !== before[worker])
    if (victim === undefined) continue
    next = victim + 1
    Atomics.or(numbers, WORD.dying, 1 << victim)
    Atomics.add(numbers, WORD.kills, 1)
    await workers[victim]!.kill()
    kills++
    await restart?.(place, victim)
    workers[victim] = start(victim)
  }
  await Promise.all(workers.map((worker) => worker.kill()))
  kills += WORKERS
  const sections = await check(place, kills)
  assert.ok(sections < MOST, 'the journal is full')
  memory.unlink()
  end(name)
  return { kills, sections }
}
