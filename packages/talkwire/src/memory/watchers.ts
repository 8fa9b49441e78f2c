/** Who waits for the next generation of a shared array, in its header: spec/memory.md § 3. */
import { WATCHERS, watcherBell, watcherWho } from './array-layout.js'
import { bellDescriptor, onBell, ring } from './bell.js'
import { isAlive, NOBODY, self } from './owner.js'
import { store, storeBig, swapBig } from './store.js'

/** The header's words. */
export interface Words {
  readonly word: Int32Array
  readonly long: BigInt64Array
}

/** Milliseconds until one looks by itself: for who waits where no place is free, and for who could not be rung. */
const OFTEN = 50
const SELDOM = 1000

/** Wakes everybody. Whoever died waiting loses its place. Does not block. */
export function ringWatchers({ word, long }: Words): void {
  for (let n = 0; n < WATCHERS; n++) {
    const who = Atomics.load(long, watcherWho(n))
    if (who !== NOBODY && !ring(who, Atomics.load(word, watcherBell(n)) >>> 0)) release(long, n, who)
  }
}

function release(long: BigInt64Array, n: number, who: bigint): void {
  if (!isAlive(who)) swapBig(long, watcherWho(n), who, NOBODY)
}

/** Calls `look` now, whenever somebody rings, and now and then. Returns what ends that. Does not block. */
export function watch(words: Words, look: () => void): () => void {
  const place = take(words)
  const quiet = onBell(look)
  const timer = setInterval(look, place === undefined ? OFTEN : SELDOM)
  // After the place was taken: what is published from now on rings.
  look()
  return () => {
    clearInterval(timer)
    quiet()
    if (place !== undefined) storeBig(words.long, watcherWho(place), NOBODY)
  }
}

/** A place of the header; undefined when all are taken by the living. */
function take({ word, long }: Words): number | undefined {
  for (let n = 0; n < WATCHERS; n++) {
    const who = Atomics.load(long, watcherWho(n))
    if (who !== NOBODY) release(long, n, who)
    if (!swapBig(long, watcherWho(n), NOBODY, self())) continue
    store(word, watcherBell(n), bellDescriptor())
    return n
  }
  return undefined
}
