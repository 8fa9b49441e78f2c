/** What waits for room in a ring. */

/** Bytes of a bundle. */
const BUNDLE = 16 * 1024
/** Longer messages wait by themselves, where they were written. */
export const MOST_BUNDLED = 2048

/** A long message; `parts` are its bytes in order, of which `sent` have left. */
export interface Waiting {
  readonly parts: Uint8Array[]
  readonly length: number
  sent: number
}

/** Short messages one after another, each at a multiple of 8; the first `sent` have left, the next one begins at `from`. */
export interface Bundle {
  readonly bytes: Buffer
  readonly words: Int32Array
  readonly lengths: number[]
  sent: number
  from: number
  end: number
}

export const isBundle = (entry: Waiting | Bundle): entry is Bundle => 'lengths' in entry

export const wordsOver = (buffer: Buffer): Int32Array => new Int32Array(buffer.buffer, buffer.byteOffset, buffer.length >> 2)

/** Puts a copy of `length` bytes of the message from `start` on behind what waits: an object for each message would cost more than the message. */
export function addShort(outbox: (Waiting | Bundle)[], message: Buffer, start: number, length: number): void {
  let last = outbox.at(-1)
  if (last === undefined || !isBundle(last) || last.end + length > BUNDLE) {
    const bytes = Buffer.allocUnsafeSlow(BUNDLE)
    outbox.push((last = { bytes, words: wordsOver(bytes), lengths: [], sent: 0, from: 0, end: 0 }))
  }
  message.copy(last.bytes, last.end, start, start + length)
  last.lengths.push(length)
  last.end = padded(last.end + length)
}

/** Its next message has left. */
export function leftBundle(bundle: Bundle): void {
  bundle.from = padded(bundle.from + bundle.lengths[bundle.sent]!)
  bundle.sent++
}

const padded = (length: number): number => (length + 7) & ~7

/** Moves the first `size` bytes of `parts` to a place of shared memory; what is left stays in `parts`. */
export function take(parts: Uint8Array[], size: number, into: Uint8Array, at: number): void {
  let left = size
  while (left > 0) {
    const part = parts[0]!
    const piece = part.length <= left ? part : part.subarray(0, left)
    into.set(piece, at + size - left)
    left -= piece.length
    if (piece === part) parts.shift()
    else parts[0] = part.subarray(piece.length)
  }
}
