/** Messages that tell whether they are whole. */
import type { RingData } from '../../src/memory/ring-place.js'
import { ringBytes } from '../../src/memory/ring-layout.js'

export const CAPACITY = 1024
export const RING = { offset: 0, size: ringBytes(CAPACITY) }
/** Where tests put notes of their own, behind the ring. */
export const NOTES = ringBytes(CAPACITY)
export const MESSAGES = 3

interface Writing {
  readonly data: RingData
  tryClaim(length: number): number
  commit(): void
}

/** Different lengths, so that records end at different places. */
const lengthOf = (n: number): number => 12 + ((n * 37) % 100)

/** A number, its opposite, and bytes that follow from it. False when there is no room. */
export function writeNumber(writer: Writing, n: number): boolean {
  const length = lengthOf(n)
  const at = writer.tryClaim(length)
  if (at < 0) return false
  const { words, bytes } = writer.data
  words[at >> 2] = n
  words[(at >> 2) + 1] = ~n
  for (let i = 8; i < length; i++) bytes[at + i] = n + i
  writer.commit()
  return true
}

/** Throws if it is torn. */
export function readNumber({ words, bytes }: RingData, at: number, length: number): number {
  const n = words[at >> 2]!
  if (words[(at >> 2) + 1] !== ~n || length !== lengthOf(n)) throw new Error(`torn: ${n}, ${words[(at >> 2) + 1]}, ${length} bytes`)
  for (let i = 8; i < length; i++) if (bytes[at + i] !== ((n + i) & 255)) throw new Error(`torn: byte ${i} of ${n}`)
  return n
}
