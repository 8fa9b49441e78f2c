/** What the processes of a storm note, as 32-bit words of shared memory. storm.py and storm.c know `total`, `wrong`, `twin`, SHARES and CONFIRMED too. */
export const WORD = {
  total: 0,
  /** How often somebody found something wrong. */
  wrong: 1,
  /** How often one was killed, and of whom that is not over yet: one bit each. */
  kills: 2,
  dying: 3,
  /** Who is within: one bit each. */
  within: 4,
  /** What a writer changes together with the total. */
  twin: 5,
  /** Of a buffer: how many were put in and taken out. */
  put: 6,
  taken: 7,
} as const
/** Of each worker: what it did within, and what it completed. */
export const SHARES = 8
export const CONFIRMED = 64
export const SLOTS = 128
/** Entries of the buffer. */
export const ROOM = 8
/** Where the map is. */
export const MAP_AT = 4 * 256
export const BYTES = MAP_AT + 4096
export const MOST = 2 ** 31 - 1

/** Who may be within at a time. */
export const PERMITS = 3

export const MAP = { entries: 16, key: 8, value: 64 }
/** Every byte tells which number it is. */
export const patternOf = (n: number): Uint8Array => {
  const value = new Uint8Array(8 + ((n * 7) % 56)).fill(n)
  new DataView(value.buffer).setInt32(0, n)
  return value
}
/** Undefined: it is half of one and half of another. */
export function numberIn(value: Uint8Array): number | undefined {
  const n = new DataView(value.buffer, value.byteOffset).getInt32(0)
  return Buffer.compare(value, patternOf(n)) === 0 ? n : undefined
}
