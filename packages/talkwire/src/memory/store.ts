/**
 * Every change of shared memory that an algorithm depends on goes through here, so that a test can end the process right
 * before any one of them. Plain payload is written directly. `Atomics` work on the kernel's memory as on a SharedArrayBuffer
 * (tested with each version of Node), except `wait` and `notify`.
 */

let armed = false
let seen = 0
let last = 0
let instead: () => void

/** For tests: from now on changes are counted, and this process kills itself in place of number `at` (from 1 on; 0: never). */
export function countChanges(at: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  countUntil(at, () => void process.kill(process.pid, signal))
}

/** For tests: the same, with something else that is done in place of that change. */
export function countUntil(at: number, action: () => void): void {
  instead = action
  armed = true
  seen = 0
  last = at
}

/** For tests: how many there were since `countChanges`. */
export const changes = (): number => seen

/** To be called right before another change that a lock depends on, of files or in the kernel: it counts as one, too. */
export function changing(): void {
  if (armed) step()
}

function step(): void {
  if (++seen === last) instead()
}

export function store(words: Int32Array, index: number, value: number): void {
  if (armed) step()
  Atomics.store(words, index, value)
}

/** True when `expected` was there, and `value` is now. */
export function swap(words: Int32Array, index: number, expected: number, value: number): boolean {
  if (armed) step()
  return Atomics.compareExchange(words, index, expected, value) === expected
}

/** Returns what was there. */
export function add(words: Int32Array, index: number, value: number): number {
  if (armed) step()
  return Atomics.add(words, index, value)
}

export function storeBig(words: BigInt64Array, index: number, value: bigint): void {
  if (armed) step()
  Atomics.store(words, index, value)
}

/** True when `expected` was there, and `value` is now. */
export function swapBig(words: BigInt64Array, index: number, expected: bigint, value: bigint): boolean {
  if (armed) step()
  return Atomics.compareExchange(words, index, expected, value) === expected
}

/** For what nobody may see yet: a later `store` publishes it. */
export function put(words: Int32Array, index: number, value: number): void {
  if (armed) step()
  words[index] = value
}

/** There, processors keep stores in order, and a load never comes after a later store: a plain store publishes. V8 keeps the order too. */
const ORDERED = process.arch === 'x64' || process.arch === 'ia32'

/**
 * Publishes: whoever sees it sees what was written before, and what was read before is read. Ten times cheaper than `store`,
 * which besides waits until it is seen, before anything is read after it.
 */
export function release(words: Int32Array, index: number, value: number): void {
  if (armed) step()
  if (ORDERED) words[index] = value
  else Atomics.store(words, index, value)
}

const own = new Int32Array(1)

/**
 * What was read or stored before is done before what comes after. x64 keeps plain loads in order, and plain stores, by itself;
 * other processors do not, and JavaScript has no fence of its own.
 */
export function fence(): void {
  Atomics.exchange(own, 0, 1)
}

/** Eight bytes at once, on every machine that Node runs on; for whoever owns them. */
export function storeFloat(words: Float64Array, index: number, value: number): void {
  if (armed) step()
  words[index] = value
}

/** Sets bits. */
export function or(words: Int32Array, index: number, bits: number): void {
  if (armed) step()
  Atomics.or(words, index, bits)
}

/** Returns what was there. */
export function addBig(words: BigInt64Array, index: number, value: bigint): bigint {
  if (armed) step()
  return Atomics.add(words, index, value)
}
