/** What the words of a semaphore say: spec/sync.md § 6. */
import { isAlive } from '../memory/owner.js'
import { COUNTING, SLOTS, WORD } from './lock-layout.js'
import type { Words } from './queue.js'
import { ownersOf, type Range } from './slots.js'

/** The slots of those who have one. */
export const permitsOf = ({ word }: Words): Range => ({ from: 0, count: Math.min(Atomics.load(word, WORD.limit), SLOTS) })

/** Whether it is for signalling. */
export const isCounting = ({ word }: Words): boolean => (Atomics.load(word, WORD.flags) & COUNTING) !== 0

/** Of one for signalling. `value` is what was posted less what was taken: so one step says how many there are at first. */
export const countOf = ({ word }: Words): number => Atomics.load(word, WORD.limit) - 1 + Atomics.load(word, WORD.value)

/** How many could be had at this moment, those of the dead among them. */
export const availableOf = (words: Words): number =>
  isCounting(words) ? countOf(words) : permitsOf(words).count - ownersOf(words, permitsOf(words)).filter(isAlive).length
