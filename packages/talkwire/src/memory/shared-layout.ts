/**
 * Where the words of shared values and maps are: spec/values.md. Zeroed memory is one that nobody has made yet.
 *
 * A value:  0 u32 kind     'TV', version, 1      4 u32 most bytes of a value
 *           8 i64 writer   0: nobody
 *          16 u32 version  0: no value yet      20 u32 begun    the version that is being written, or was last
 *          24 u32 bytes of the value in buffer 0     28 u32 … in buffer 1
 *          32 u32 watched  0: nobody waits for a change
 *          64 16 watchers of 16 bytes:  0  i64 who  0: free     8  u32 bell
 *         320 buffer 0, buffer 1: most bytes each, rounded up to 8. Version n is in buffer n mod 2.
 *
 * A map:    0 u32 kind     'TV', version, 2      4 u32 entries
 *           8 i64 writer   0: nobody
 *          16 u32 most bytes of a key           20 u32 most bytes of a value
 *          64 entries, of 32 bytes + key + 2 buffers, each rounded up to 8:
 *               0 u32 state    0 free, 1 used, 2 removed       4 u32 hash    of the key, FNV-1a
 *               8 u32 version                                 12 u32 begun
 *              16 u32 bytes of the value in buffer 0          20 u32 … in buffer 1
 *              24 u32 bytes of the key                        28 u32 0
 *              32 key, buffer 0, buffer 1
 */
import { TalkwireError } from '../error.js'
import type { MappedFile } from './mapped-file.js'
import type { SharedMemory } from './shared-memory.js'
import { swap } from './store.js'

export const HEADER = 64
export const KIND = { value: 1, map: 2 } as const
export type SharedKind = keyof typeof KIND
/** 'TV', layout 1. */
const kindWord = (kind: SharedKind): number => 0x5456_0100 | KIND[kind]

export const WORD = { kind: 0, size: 1, version: 4, begun: 5, length: 6, watched: 8, maxKey: 4, maxValue: 5 } as const
export const WRITER_LONG = 1

export const ENTRY = { state: 0, hash: 1, version: 2, begun: 3, length: 4, keyLength: 6 } as const
export const ENTRY_HEADER = 32
export const STATE = { free: 0, used: 1, removed: 2 } as const

export const padded = (bytes: number): number => (bytes + 7) & ~7

/** Room in memory that processes share. The bytes were zeros when the first one came. */
export interface SharedPlace {
  readonly memory: SharedMemory | MappedFile
  /** Bytes from its start; a multiple of 8. Default 0. */
  readonly offset?: number
}

/** Throws TypeError and RangeError. */
export function validatePlace({ memory, offset = 0 }: SharedPlace, what: string): void {
  if (typeof memory?.array !== 'function') throw new TypeError(`${what} is placed by { memory, offset }`)
  if (offset % 8 !== 0) throw new RangeError(`offset ${offset} of ${what}: take a multiple of 8`)
}

/**
 * Makes it of zeros, with those sizes, or finds what is there. Undefined sizes are those that are there. Throws INVALID_MEMORY
 * when it is something else, or its sizes are others.
 */
export function openShared(
  kind: SharedKind,
  { memory, offset = 0 }: SharedPlace,
  sizes: readonly (readonly [word: number, size: number | undefined])[],
): Int32Array {
  const words = memory.array(Int32Array, offset, HEADER / 4)
  const refuse = (what: string): TalkwireError =>
    new TalkwireError('INVALID_MEMORY', `at byte ${offset} of ${memory.path} ${what}; take another place, or open it as what it is`)
  const there = Atomics.load(words, WORD.kind)
  if (there !== 0 && there !== kindWord(kind)) throw refuse(`is no shared ${kind} of this version`)
  for (const [word, size] of sizes) {
    if (size !== undefined && there === 0 && !memory.readOnly) swap(words, word, 0, size)
    const found = Atomics.load(words, word)
    if (found === 0) throw refuse(`is no shared ${kind} yet; say its sizes`)
    if (size !== undefined && found !== size) throw refuse(`is a shared ${kind} of other sizes: ${found}, not ${size}`)
  }
  if (!memory.readOnly) swap(words, WORD.kind, 0, kindWord(kind))
  return words
}

/** Readers need no more than memory that can be read. Throws TypeError. */
export function validateWritable({ memory }: SharedPlace, what: string): void {
  if (memory.readOnly) throw new TypeError(`${what} cannot be written to in memory that is read-only; open it without readOnly`)
}

/** Throws RangeError. */
export function validateBytes(bytes: number, what: string, least = 1): number {
  if (!Number.isInteger(bytes) || bytes < least || bytes > 2 ** 30)
    throw new RangeError(`${what}: ${bytes} bytes; take a whole number from ${least} to 2^30`)
  return bytes
}
