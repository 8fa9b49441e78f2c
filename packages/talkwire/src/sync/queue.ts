/** Who waits for a lock, in the lock's own memory: spec/sync.md § 3. The lowest sequence is the first. */
import { add, store, storeBig, storeFloat, swap, swapBig } from '../memory/store.js'
import { bellDescriptor, ring } from '../memory/bell.js'
import { WAITER, WAITER_LONG, waiterLong, WAITERS, waiterWord, WORD } from './lock-layout.js'
import { isAlive, NOBODY, self } from '../memory/owner.js'

/** The words of one lock. */
export interface Words {
  readonly word: Int32Array
  readonly long: BigInt64Array
  readonly float: Float64Array
}

export interface Place {
  readonly slot: number
}

const sequenceOf = ({ word }: Words, slot: number): number => Atomics.load(word, waiterWord(slot) + WAITER.sequence)
const whoOf = ({ long }: Words, slot: number): bigint => Atomics.load(long, waiterLong(slot) + WAITER_LONG.who)

/** Sequences wrap around: the earlier of two is the one that the other is less than half a round behind. */
const isBefore = (a: number, b: number): boolean => ((a - b) | 0) < 0

/** Takes a place at the end. Undefined when none is free: then one waits without being woken. */
export function enqueue(words: Words): Place | undefined {
  const slot = claimSlot(words)
  if (slot === undefined) return undefined
  const at = waiterWord(slot)
  const { word } = words
  store(word, at + WAITER.bell, bellDescriptor())
  store(word, at + WAITER.rung, 0)
  store(word, at + WAITER.mode, 0)
  storeFloat(words.float, waiterLong(slot) + WAITER_LONG.since, Date.now())
  let sequence = 0
  while (sequence === 0) sequence = (add(word, WORD.sequence, 1) + 1) | 0
  store(word, at + WAITER.sequence, sequence)
  store(word, WORD.waiting, 1)
  return { slot }
}

/** A dead owner's sequence may still stand in the place: it is taken out before the new one is anybody's turn. */
function claimSlot(words: Words): number | undefined {
  for (const purge of [false, true])
    for (let slot = 0; slot < WAITERS; slot++) {
      if (purge) clearDead(words, slot)
      if (!swapBig(words.long, waiterLong(slot) + WAITER_LONG.who, NOBODY, self())) continue
      store(words.word, waiterWord(slot) + WAITER.sequence, 0)
      return slot
    }
  return undefined
}

export function dequeue({ word, long }: Words, { slot }: Place): void {
  store(word, waiterWord(slot) + WAITER.sequence, 0)
  storeBig(long, waiterLong(slot) + WAITER_LONG.who, NOBODY)
}

/** Frees the place of one who died waiting. */
function clearDead({ long }: Words, slot: number): boolean {
  const at = waiterLong(slot) + WAITER_LONG.who
  const who = Atomics.load(long, at)
  return who !== NOBODY && !isAlive(who) && swapBig(long, at, who, NOBODY)
}

/** The one that has waited longest, dead or alive. */
function first(words: Words): number | undefined {
  let found: number | undefined
  let lowest = 0
  for (let slot = 0; slot < WAITERS; slot++) {
    const sequence = sequenceOf(words, slot)
    if (sequence === 0 || whoOf(words, slot) === NOBODY || (found !== undefined && !isBefore(sequence, lowest))) continue
    found = slot
    lowest = sequence
  }
  return found
}

/** Whether nobody waits before that place; without one, whether nobody waits at all. Frees the places of the dead on the way. */
export function isFirst(words: Words, place: Place | undefined): boolean {
  for (;;) {
    const slot = first(words)
    if (slot === undefined || slot === place?.slot) return true
    if (!clearDead(words, slot)) return false
  }
}

const ringAt = (words: Words, slot: number): boolean => ring(whoOf(words, slot), Atomics.load(words.word, waiterWord(slot) + WAITER.bell))

/** Wakes the first one. To be called by who has just let go. */
export function wakeFirst(words: Words): void {
  const { word } = words
  if (Atomics.load(word, WORD.waiting) === 0) return
  // Whoever queues from here on says so again, and whoever did before is found.
  store(word, WORD.waiting, 0)
  for (;;) {
    const slot = first(words)
    if (slot === undefined) return
    store(word, WORD.waiting, 1)
    const at = waiterWord(slot)
    // Rung and not yet awake: it needs no second byte.
    if (!swap(word, at + WAITER.rung, 0, 1)) return
    if (ringAt(words, slot) || !clearDead(words, slot)) return
  }
}

/** Wakes everybody who waits. */
export function wakeAll(words: Words): void {
  const { word } = words
  if (Atomics.load(word, WORD.waiting) === 0) return
  store(word, WORD.waiting, 0)
  for (let slot = 0; slot < WAITERS; slot++) {
    if (sequenceOf(words, slot) === 0 || whoOf(words, slot) === NOBODY) continue
    store(word, WORD.waiting, 1)
    const at = waiterWord(slot)
    if (swap(word, at + WAITER.rung, 0, 1)) ringAt(words, slot)
  }
}

/** Says to those who wait, or to the first of them, that what they wait for has come. The dead are passed over. */
export function notify(words: Words, all: boolean): void {
  const { word } = words
  const queue = order(words).filter((slot) => Atomics.load(word, waiterWord(slot) + WAITER.mode) === 0)
  for (const slot of queue) {
    const at = waiterWord(slot)
    if (clearDead(words, slot) || !swap(word, at + WAITER.mode, 0, 1)) continue
    ringAt(words, slot)
    if (!all) return
  }
}

export const isNotified = ({ word }: Words, { slot }: Place): boolean => Atomics.load(word, waiterWord(slot) + WAITER.mode) !== 0

/** The places of those who wait, in order. */
function order(words: Words): number[] {
  const slots = Array.from({ length: WAITERS }, (_, slot) => slot)
  return slots
    .filter((slot) => whoOf(words, slot) !== NOBODY && sequenceOf(words, slot) !== 0)
    .sort((a, b) => (isBefore(sequenceOf(words, a), sequenceOf(words, b)) ? -1 : 1))
}

/** To be called by who was woken, before it looks. */
export const answer = ({ word }: Words, { slot }: Place): void => store(word, waiterWord(slot) + WAITER.rung, 0)

/** Who waits, in order. No two waits in one lock have the same sequence. */
export const waiters = (words: Words): { who: bigint; sequence: number; since: number }[] =>
  order(words)
    .map((slot) => ({
      who: whoOf(words, slot),
      sequence: sequenceOf(words, slot),
      since: words.float[waiterLong(slot) + WAITER_LONG.since]!,
    }))
    .filter(({ who }) => isAlive(who))
