/** How deep values may be. Sans I/O. */
import { DEPTH, isPlainObject } from './codec.js'

/**
 * What `limits.depth` counts, in every protocol: the params of a call, its result, an element of a stream, an event. A scalar
 * has a depth of 1, a list or object one more than its deepest element. What a protocol puts around a value does not count.
 */
export interface DepthLimits {
  readonly depth?: number
  /** Levels for what the protocol puts around values. Whoever sets it looks at the values themselves with `isDeeper`. */
  readonly around?: number
}

/** Lists and objects that may stand inside each other in a message. */
export const mostNested = ({ depth = DEPTH, around = 0 }: DepthLimits): number => depth - 1 + around

/** Whether a value is deeper than that; one that contains itself is. What is no plain data is for the codec to judge. */
export function isDeeper(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return depth < 1
  const inner = (item: unknown): boolean => isDeeper(item, depth - 1)
  if (Array.isArray(value)) return depth < 2 || value.some(inner)
  if (value instanceof Map) return depth < 2 || [...value].some((pair) => pair.some(inner))
  if (value instanceof Set) return depth < 2 || [...value].some(inner)
  if (!isPlainObject(value)) return depth < 1
  if (depth < 2) return true
  for (const key in value) if (inner(value[key])) return true
  return false
}
