/** Who waits for a change of an array or a value, in its memory: spec/memory.md § 3, spec/values.md § 1. */
import { TalkwireError } from '../error.js'
import { bellDescriptor, onBell, ring } from './bell.js'
import type { MappedFile } from './mapped-file.js'
import { isAlive, NOBODY, self } from './owner.js'
import type { SharedMemory } from './shared-memory.js'
import { store, storeBig, swapBig } from './store.js'
import { after } from '../timers.js'

/** Places, of 16 bytes each: i64 who, 0: free; u32 bell. */
export const WATCHERS = 16
export const WATCHERS_BYTES = 16 * WATCHERS
const whoAt = (n: number): number => 2 * n
const bellAt = (n: number): number => 4 * n + 2

/** The places. */
export interface Watchers {
  readonly word: Int32Array
  readonly long: BigInt64Array
}

export interface ChangedOptions {
  /** Milliseconds. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

/** Milliseconds until one looks by itself: for who waits where no place is free, for who could not be rung, and for who may only read. */
const OFTEN = 50
const SELDOM = 1000
const BLIND = 20

export const watchersIn = (memory: SharedMemory | MappedFile, offset: number): Watchers => ({
  word: memory.array(Int32Array, offset, WATCHERS_BYTES / 4),
  long: memory.array(BigInt64Array, offset, WATCHERS_BYTES / 8),
})

/** Wakes everybody. Whoever died waiting loses its place. True if anybody is left. Does not block. */
export function ringWatchers({ word, long }: Watchers): boolean {
  let any = false
  for (let n = 0; n < WATCHERS; n++) {
    const who = Atomics.load(long, whoAt(n))
    if (who === NOBODY || (!ring(who, Atomics.load(word, bellAt(n)) >>> 0) && release(long, n, who))) continue
    any = true
  }
  return any
}

const release = (long: BigInt64Array, n: number, who: bigint): boolean => !isAlive(who) && swapBig(long, whoAt(n), who, NOBODY)

/** Calls `look` now, whenever somebody rings, and now and then. Returns what ends that. Does not block. */
export function watch(watchers: Watchers, look: () => void, watching?: () => void): () => void {
  const place = take(watchers)
  if (place !== undefined) watching?.()
  const quiet = onBell(look)
  const timer = setInterval(look, place === undefined ? OFTEN : SELDOM)
  // After the place was taken: what is published from now on rings.
  look()
  return () => {
    clearInterval(timer)
    quiet()
    if (place !== undefined) storeBig(watchers.long, whoAt(place), NOBODY)
  }
}

/** A place; undefined when all are taken by the living. */
function take({ word, long }: Watchers): number | undefined {
  for (let n = 0; n < WATCHERS; n++) {
    const who = Atomics.load(long, whoAt(n))
    if (who !== NOBODY) release(long, n, who)
    if (!swapBig(long, whoAt(n), NOBODY, self())) continue
    store(word, bellAt(n), bellDescriptor())
    return n
  }
  return undefined
}

/** For whoever may only read, and so cannot take a place to be rung at. */
export function poll(look: () => void): () => void {
  const timer = setInterval(look, BLIND)
  return () => clearInterval(timer)
}

/**
 * Resolves with the answer once there is one. `begin` calls its argument whenever there may be one, and returns what ends that.
 * Does not block. Rejects with what `answer` throws, DEADLINE_EXCEEDED, the signal's reason.
 */
export function untilAnswered<T>(
  title: string,
  answer: () => T | undefined,
  begin: (look: () => void) => () => void,
  { timeout, signal }: ChangedOptions,
): Promise<T> {
  return new Promise((resolve, reject) => {
    let stop: (() => void) | undefined
    let done = false
    const finish = (end: () => void): void => {
      done = true
      stop?.()
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      end()
    }
    const abort = (): void => finish(() => reject(signal!.reason))
    const late = (): void => finish(() => reject(new TalkwireError('DEADLINE_EXCEEDED', `${title} did not change within ${timeout} ms`)))
    const timer = after(timeout, late)
    signal?.addEventListener('abort', abort, { once: true })
    stop = begin(() => {
      if (done) return
      try {
        const seen = answer()
        if (seen !== undefined) finish(() => resolve(seen))
      } catch (reason) {
        finish(() => reject(reason))
      }
    })
    if (done) stop()
  })
}
