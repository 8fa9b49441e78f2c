/** Words of which each says who has one part of something. A dead one's is free. */
import { isAlive, NOBODY, self } from '../memory/owner.js'
import { storeBig, storeFloat, swapBig } from '../memory/store.js'
import { SLOT_LONG, SLOT_SINCE, SLOTS } from './lock-layout.js'
import type { Words } from './queue.js'

export interface Range {
  readonly from: number
  readonly count: number
}

/** Of a read-write lock. The last slot is for the one reader who may become the writer. */
export const READERS: Range = { from: 0, count: SLOTS - 1 }
export const UPGRADER: Range = { from: SLOTS - 1, count: 1 }
export const SHARES: Range = { from: 0, count: SLOTS }

interface Taken {
  readonly slot: number
  /** Whoever had it before had died. */
  readonly inherited: boolean
}

/** Takes a free one of them; with `late` also a dead one's. */
export function takeSlot({ long }: Words, { from, count }: Range, late: boolean): Taken | undefined {
  for (let slot = from; slot < from + count; slot++)
    if (Atomics.load(long, SLOT_LONG + slot) === NOBODY && swapBig(long, SLOT_LONG + slot, NOBODY, self()))
      return { slot, inherited: false }
  if (!late) return undefined
  for (let slot = from; slot < from + count; slot++) {
    const owner = Atomics.load(long, SLOT_LONG + slot)
    if (owner !== NOBODY && !isAlive(owner) && swapBig(long, SLOT_LONG + slot, owner, self())) return { slot, inherited: true }
  }
  return undefined
}

/** The same of a lock that tells since when each is held. */
export function takeShare(words: Words, range: Range, late: boolean): Taken | undefined {
  const taken = takeSlot(words, range, late)
  if (taken) storeFloat(words.float, SLOT_SINCE + taken.slot, Date.now())
  return taken
}

export const freeSlot = ({ long }: Words, slot: number): void => storeBig(long, SLOT_LONG + slot, NOBODY)

/** Who has them, without those that are free. */
export function ownersOf({ long }: Words, { from, count }: Range): bigint[] {
  const owners = []
  for (let slot = from; slot < from + count; slot++) {
    const owner = Atomics.load(long, SLOT_LONG + slot)
    if (owner !== NOBODY) owners.push(owner)
  }
  return owners
}

/** Who has them, and since when: milliseconds since 1970. */
export function sharesIn({ long, float }: Words, { from, count }: Range): { owner: bigint; since: number }[] {
  const shares = []
  for (let slot = from; slot < from + count; slot++) {
    const owner = Atomics.load(long, SLOT_LONG + slot)
    if (owner !== NOBODY) shares.push({ owner, since: float[SLOT_SINCE + slot]! })
  }
  return shares
}

/** Frees what the dead have. True when there was any. */
export function reap({ long }: Words, { from, count }: Range): boolean {
  let any = false
  for (let slot = from; slot < from + count; slot++) {
    const owner = Atomics.load(long, SLOT_LONG + slot)
    if (owner !== NOBODY && !isAlive(owner)) any = swapBig(long, SLOT_LONG + slot, owner, NOBODY) || any
  }
  return any
}
