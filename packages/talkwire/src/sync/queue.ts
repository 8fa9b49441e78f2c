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
  const claimed = claimSlot(words)
  if (claimed === undefined) return undefined
  const { slot, mode } = claimed
  const at = waiterWord(slot)
  const { word } = words
  store(word, at + WAITER.bell, bellDescriptor())
  store(word, at + WAITER.rung, 0)
  store(word, at + WAITER.mode, mode)
  storeFloat(words.float, waiterLong(slot) + WAITER_LONG.since, Date.now())
  let sequence = 0
  while (sequence === 0) sequence = (add(word, WORD.sequence, 1) + 1) | 0
  store(word, at + WAITER.sequence, sequence)
  store(word, WORD.waiting, 1)
  return { slot }
}

/** A dead owner's sequence may still stand in the place: it is taken out before the new one is anybody's turn. */
function claimSlot(words: Words): { readonly slot: number; readonly mode: number } | undefined {
  for (const dead of [false, true])
    for (let slot = 0; slot < WAITERS; slot++) {
      const who = dead ? whoOf(words, slot) : NOBODY
      if (dead && (who === NOBODY || isAlive(who))) continue
      if (dead) forgetSequence(words, slot)
      if (!swapBig(words.long, waiterLong(slot) + WAITER_LONG.who, who, self())) continue
      store(words.word, waiterWord(slot) + WAITER.sequence, 0)
      // Whom a dead one was to tell of a change that it was told of is its successor.
      return { slot, mode: dead && isNotified(words, { slot }) ? NOTIFIED : 0 }
    }
  return undefined
}

export function dequeue({ word, long }: Words, { slot }: Place): void {
  store(word, waiterWord(slot) + WAITER.sequence, 0)
  storeBig(long, waiterLong(slot) + WAITER_LONG.who, NOBODY)
}

/** Frees the place of one who died waiting. */
function clearDead(words: Words, slot: number): boolean {
  const at = waiterLong(slot) + WAITER_LONG.who
  const who = Atomics.load(words.long, at)
  if (who === NOBODY || isAlive(who)) return false
  forgetSequence(words, slot)
  return swapBig(words.long, at, who, NOBODY)
}

/** Whoever comes into the place of a dead one must not be rung at the bell of that one: it may be anything in the new process. */
function forgetSequence(words: Words, slot: number): void {
  const sequence = sequenceOf(words, slot)
  if (sequence !== 0) swap(words.word, waiterWord(slot) + WAITER.sequence, sequence, 0)
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
  // More dead than there are places are somebody's who writes there as he likes.
  for (let n = 0; n <= WAITERS; n++) {
    const slot = first(words)
    if (slot === undefined || slot === place?.slot) return true
    if (!clearDead(words, slot)) return false
  }
  return false
}

/** False when the one in that place cannot be rung. */
function ringAt(words: Words, slot: number): boolean {
  const sequence = sequenceOf(words, slot)
  const [who, bell] = [whoOf(words, slot), Atomics.load(words.word, waiterWord(slot) + WAITER.bell)]
  // Both are of the same one only when that is still there; who left looked by itself.
  return sequence === 0 || sequence !== sequenceOf(words, slot) || ring(who, bell)
}

/** Says again that somebody waits: whoever was about to say so may have died. */
export function remain({ word }: Words): void {
  if (Atomics.load(word, WORD.waiting) === 0) store(word, WORD.waiting, 1)
}

/** Wakes the first one. To be called by who has just let go. */
export function wakeFirst(words: Words): void {
  const { word } = words
  if (Atomics.load(word, WORD.waiting) === 0) return
  // Whoever queues from here on says so again, and whoever did before is found.
  store(word, WORD.waiting, 0)
  for (let n = 0; n <= WAITERS; n++) {
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

/** What the mode of a condition's waiter says; 0: it waits. */
const NOTIFIED = 1
const GONE = 2

/** Says to those who wait, or to the first of them, that what they wait for has come. The dead are passed over. */
export function notify(words: Words, all: boolean): void {
  const { word } = words
  const queue = order(words).filter((slot) => Atomics.load(word, waiterWord(slot) + WAITER.mode) === 0)
  for (const slot of queue) {
    const at = waiterWord(slot)
    if (clearDead(words, slot) || !swap(word, at + WAITER.mode, 0, NOTIFIED)) continue
    ringAt(words, slot)
    if (!all) return
  }
}

export const isNotified = ({ word }: Words, { slot }: Place): boolean => Atomics.load(word, waiterWord(slot) + WAITER.mode) === NOTIFIED

/** Takes over what a dead one was told of and did not live to see. True if there was such a one. */
export function inheritNotice(words: Words, place: Place): boolean {
  for (let slot = 0; slot < WAITERS; slot++) {
    const who = whoOf(words, slot)
    if (who === NOBODY || !isNotified(words, { slot }) || isAlive(who)) continue
    // In this order: whoever dies in between leaves two who were told, not none.
    swap(words.word, waiterWord(place.slot) + WAITER.mode, 0, NOTIFIED)
    clearDead(words, slot)
    return true
  }
  return false
}

/** Leaves a condition. Whoever was told of a change and did not look leaves that to the next one. */
export function leaveCondition(words: Words, place: Place, looked: boolean): void {
  const told = !swap(words.word, waiterWord(place.slot) + WAITER.mode, 0, GONE)
  if (told && !looked) notify(words, false)
  dequeue(words, place)
}

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
