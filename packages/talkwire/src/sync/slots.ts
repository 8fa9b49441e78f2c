/** Words of which each says who has one part of something. A dead one's is free. */
import { isAlive, NOBODY, self } from '../memory/owner.js'
import { storeBig, swapBig } from '../memory/store.js'
import { SLOT_LONG, SLOTS } from './lock-layout.js'
import type { Words } from './queue.js'

export interface Range {
  readonly from: number
  readonly count: number
}

/** Of a read-write lock. The last slot is for the one reader who may become the writer. */
export const READERS: Range = { from: 0, count: SLOTS - 1 }
export const UPGRADER: Range = { from: SLOTS - 1, count: 1 }
export const SHARES: Range = { from: 0, count: SLOTS }

/** Takes a free one of them; with `late` also a dead one's. Its number, and whether its owner had died. */
export function takeSlot({ long }: Words, { from, count }: Range, late: boolean): { slot: number; inherited: boolean } | undefined {
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

/** Frees what the dead have. True when there was any. */
export function reap({ long }: Words, { from, count }: Range): boolean {
  let any = false
  for (let slot = from; slot < from + count; slot++) {
    const owner = Atomics.load(long, SLOT_LONG + slot)
    if (owner !== NOBODY && !isAlive(owner)) any = swapBig(long, SLOT_LONG + slot, owner, NOBODY) || any
  }
  return any
}
