/**
 * Small binary values out of a read buffer that will be overwritten. One copy of the buffer's next piece
 * serves many values as views: making a view costs a fifth of making an array and copying into it.
 */

const PIECE = 8192
/** As Node's own pool: a value above this would keep too little company. */
const MAX_VIEW = 1024

let epoch = 0
let validEnd = 0

let source: Uint8Array | undefined
let copiedIn = -1
let seenIn = -1
let base = 0
let piece = new Uint8Array(0)

/** A read buffer has been filled anew up to `end`: copies of what it held before are not copies of it any more. */
export function newChunk(end: number): void {
  epoch++
  validEnd = end
}

/** A Uint8Array of bytes `from` to `to` that outlives the buffer. It may be a view of a larger ArrayBuffer that holds only the same chunk. */
export function keepBytes(bytes: Buffer, from: number, to: number): Uint8Array {
  const length = to - from
  if (length <= MAX_VIEW && seenIn === epoch) {
    if (copiedIn !== epoch || source !== bytes || from < base || to > base + piece.length) copyPiece(bytes, from, to)
    return new Uint8Array(piece.buffer, from - base, length)
  }
  // The first of a chunk may be the only one.
  seenIn = epoch
  const copy = new Uint8Array(length)
  if (length <= 64) for (let index = 0; index < length; index++) copy[index] = bytes[from + index]!
  else copy.set(bytes.subarray(from, to))
  return copy
}

function copyPiece(bytes: Buffer, from: number, to: number): void {
  const end = Math.max(to, Math.min(from + PIECE, validEnd, bytes.length))
  piece = new Uint8Array(end - from)
  piece.set(bytes.subarray(from, end))
  base = from
  source = bytes
  copiedIn = epoch
}
