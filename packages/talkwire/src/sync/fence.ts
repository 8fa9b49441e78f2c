/** Numbers of grants: each larger than those before, also than those of a lock of the same name that was taken away. */
import { addBig, storeFloat, swapBig } from '../memory/store.js'
import { LONG } from './lock-layout.js'
import type { Block } from './place.js'

/** Microseconds since 1970. */
const first = (): number => Date.now() * 1000

/** Of a grant to one alone: it is not one step. The number is a float there. */
export function nextFence({ float }: Block): number {
  const fence = (float[LONG.fence] || first()) + 1
  storeFloat(float, LONG.fence, fence)
  return fence
}

/** Of a grant to one of many. The number is an integer there. */
export function nextFenceOfMany({ long }: Block): number {
  if (Atomics.load(long, LONG.fence) === 0n) swapBig(long, LONG.fence, 0n, BigInt(first()))
  return Number(addBig(long, LONG.fence, 1n)) + 1
}
