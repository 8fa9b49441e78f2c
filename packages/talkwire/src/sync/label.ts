/** What the owner of a lock says of itself, in the lock's memory: for people only. */
import { LABEL } from './lock-layout.js'
import type { Block } from './place.js'

/** Throws RangeError. */
export function labelBytes(label: string): Uint8Array {
  const bytes = Buffer.from(label)
  if (bytes.length > LABEL.size || bytes.includes(0)) throw new RangeError(`a label has at most ${LABEL.size} bytes, and no NUL`)
  return bytes
}

/** To be called by the owner. Without a label, that of the one before is taken out. */
export function sign({ label: place }: Block, label: Uint8Array | undefined): void {
  if (!label && place[0] === 0) return
  place.fill(0)
  if (label) place.set(label)
}
