/**
 * Somebody who may write to shared memory writes anything into it: a wrong value or an error of ours may come of that, and nothing
 * else. In short form in the tests, in long form as `npm run soak:memory`.
 */
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { TalkwireError } from '../../src/error.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { freshName } from '../helpers/place.js'
import { run, type Running } from '../session/processes.js'
import type { Target } from './hostile-targets.js'

export interface Counts {
  done: number
  refused: number
  /** Of the longest step, milliseconds. */
  longest: number
}

/** Steps between two turns of the event loop, in which what was mapped and is not needed any more is let go. */
const A_TURN = 500
/** Steps between two looks at how much memory this process has. */
const A_LOOK = 20_000
/** Bytes that this process may grow by: nothing that stands in the memory is a size of ours. */
const MOST_GROWTH = 32 << 20

/** Anything may come of it; what throws says so in our words. */
function attempt(counts: Counts, action: () => void): boolean {
  const began = performance.now()
  try {
    action()
    counts.done++
    return true
  } catch (reason) {
    if (!(reason instanceof TalkwireError)) throw reason
    counts.refused++
    return false
  } finally {
    counts.longest = Math.max(counts.longest, performance.now() - began)
  }
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes that somebody has, or that were mapped. */
function kept(): number {
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Lets go of what is not needed, and looks now and then how much is left. */
async function rest(n: number, before: number): Promise<void> {
  if (n % A_TURN === 0) await turn()
  if (n % A_LOOK !== 0) return
  const grown = kept() - before
  assert.ok(grown < MOST_GROWTH, `grew by ${grown} bytes`)
}

/** The same each time, so that what was found is found again. */
function numbers(): () => number {
  let seed = 7
  return () => {
    seed = (Math.imul(seed, 1103515245) + 12345) | 0
    return seed >>> 8
  }
}

const EDGES = [0, 1, -1, 8, -8, 0x7fffffff, -0x80000000, 0x10000, 0x5452_1000]

/** Before each use of what is whole, one byte or one word of it is another one. */
export async function changeOne(target: Target, changes: number): Promise<Counts> {
  const counts: Counts = { done: 0, refused: 0, longest: 0 }
  using memory = SharedMemory.anonymous(target.size)
  target.make(memory)
  const bytes = memory.bytes
  const words = memory.array(Int32Array)
  const whole = bytes.slice()
  const random = numbers()
  const step = target.user(memory)
  const before = kept()
  for (let n = 0; n < changes; n++) {
    bytes.set(whole)
    // Every byte in turn, and every word.
    const at = n >> 1
    if ((n & 1) === 0) bytes[at % bytes.length]! ^= 1 + (random() % 255)
    else words[at % words.length] = random() % 2 === 0 ? EDGES[random() % EDGES.length]! : random() | 0
    attempt(counts, () => step(n))
    await rest(n, before)
  }
  return counts
}

/** Every word in turn says that there is almost 2 GiB of something: rounded up in 32 bits, that is negative. */
export function claimTooMuch(target: Target): Counts {
  const counts: Counts = { done: 0, refused: 0, longest: 0 }
  using memory = SharedMemory.anonymous(target.size)
  target.make(memory)
  const bytes = memory.bytes
  const words = memory.array(Int32Array)
  const whole = bytes.slice()
  const step = target.user(memory)
  for (const most of [0x7fffffff, -0x80000000])
    for (let at = 0; at < words.length; at++) {
      bytes.set(whole)
      words[at] = most
      attempt(counts, () => step(at))
    }
  return counts
}

/** While it is read, another process changes words of it and changes them back, as fast as it can. */
export async function readWhileChanged(target: Target, reads: number): Promise<Counts & { flips: number }> {
  const counts: Counts = { done: 0, refused: 0, longest: 0 }
  const segment = `tw-test-${freshName()}`
  using memory = SharedMemory.create(segment, target.size)
  target.make(memory)
  const bytes = memory.bytes
  const whole = bytes.slice()
  const flipper = startFlipper(segment, target.hot)
  await flipper.line('ready')
  let step = target.reader(memory)
  const before = kept()
  for (let n = 0; n < reads; n++) {
    if (!attempt(counts, () => step(n))) {
      bytes.set(whole)
      step = reopened(target, memory, step)
    }
    await rest(n, before)
  }
  flipper.child.stdin!.end()
  const flips = Number((await flipper.line('flips ')).split(' ')[1])
  memory.unlink()
  return { ...counts, flips }
}

/** At this moment it may be broken again; then the one before is as good. */
function reopened(target: Target, memory: SharedMemory, before: (n: number) => void): (n: number) => void {
  try {
    return target.reader(memory)
  } catch (reason) {
    if (reason instanceof TalkwireError) return before
    throw reason
  }
}

const startFlipper = (segment: string, hot: readonly [number, number][]): Running =>
  run(process.execPath, [fileURLToPath(new URL('fixtures/flipper.js', import.meta.url)), segment, JSON.stringify(hot)])
