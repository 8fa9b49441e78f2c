/**
 * The header of a shared array: spec/memory.md § 3. Little-endian.
 *
 *   0  u8[4] magic     'TWAR'                            4  u32 version     1
 *   8  u8[4] dtype     'f8', zeros behind it            12  u32 dimensions  0 to 8
 *  16  u64   offset    of the first element             24  u64 bytes       of all elements
 *  32  u32   sealed    1: nobody writes any more        36  u32 generation  one more with each publication
 *  64  u64[8] shape                                    128  u64[8] strides  in bytes
 * 256  16 watchers of 16 bytes:  0  i64 who  0: free     8  u32 bell
 * 512  elements, in the order that the strides say
 */
import { ARRAYS } from '../dtypes.js'
import { TalkwireError } from '../error.js'

export const HEADER_BYTES = 512
const MAX_DIMENSIONS = 8

/** Indices of 32-bit words. */
export const WORD = { sealed: 8, generation: 9 } as const
/** In bytes. */
export const WATCHERS_AT = 256

export const ARRAY_MAGIC = 0x5241_5754 // 'TWAR'
const VERSION = 1
const [AT_DTYPE, AT_DIMENSIONS, AT_OFFSET, AT_BYTES, AT_SEALED, AT_SHAPE, AT_STRIDES] = [8, 12, 16, 24, 32, 64, 128]

/** Kind and bytes of an element, as NumPy writes it. */
export type SharedDType = keyof typeof ARRAYS
export type ArrayOf<D extends SharedDType> = InstanceType<(typeof ARRAYS)[D]>

export interface ArrayHeader {
  readonly dtype: SharedDType
  readonly shape: readonly number[]
  /** Bytes from one element to the next, for each dimension. */
  readonly strides: readonly number[]
  /** Where the elements are, in bytes. */
  readonly offset: number
  readonly bytes: number
}

/** What an array of that shape needs, its last index the fastest. Throws RangeError, TypeError. */
export function headerFor(dtype: SharedDType, shape: readonly number[]): ArrayHeader {
  if (!Object.hasOwn(ARRAYS, dtype))
    throw new TypeError(`${String(dtype)} is no element type; take one of ${Object.keys(ARRAYS).join(', ')}`)
  if (shape.length > MAX_DIMENSIONS || !shape.every((length) => Number.isSafeInteger(length) && length >= 0))
    throw new RangeError(`shape [${shape.join(', ')}]: take at most ${MAX_DIMENSIONS} whole numbers from 0 on`)
  const width = ARRAYS[dtype].BYTES_PER_ELEMENT
  const strides = shape.map((_, index) => width * product(shape.slice(index + 1)))
  const bytes = width * product(shape)
  if (!Number.isSafeInteger(bytes) || !strides.every(Number.isSafeInteger))
    throw new RangeError(`shape [${shape.join(', ')}] of ${dtype} has more bytes than can be counted`)
  return { dtype, shape, strides, offset: HEADER_BYTES, bytes }
}

const product = (lengths: readonly number[]): number => lengths.reduce((total, length) => total * length, 1)

export function encodeHeader({ dtype, shape, strides, offset, bytes }: ArrayHeader): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES)
  const view = new DataView(header.buffer)
  view.setUint32(0, ARRAY_MAGIC, true)
  view.setUint32(4, VERSION, true)
  header.set(
    [...dtype].map((letter) => letter.charCodeAt(0)),
    AT_DTYPE,
  )
  view.setUint32(AT_DIMENSIONS, shape.length, true)
  view.setBigUint64(AT_OFFSET, BigInt(offset), true)
  view.setBigUint64(AT_BYTES, BigInt(bytes), true)
  for (const [index, length] of shape.entries()) view.setBigUint64(AT_SHAPE + 8 * index, BigInt(length), true)
  for (const [index, stride] of strides.entries()) view.setBigUint64(AT_STRIDES + 8 * index, BigInt(stride), true)
  return header
}

/**
 * What a header says, of memory that has `size` bytes. Every element that the shape and strides reach is within them. Give it
 * a copy: what is looked at twice in shared memory may have changed in between. Throws INVALID_MEMORY.
 */
export function parseHeader(header: Uint8Array, size: number): ArrayHeader {
  if (size < HEADER_BYTES || header.length < HEADER_BYTES) throw invalid('has no room for a header')
  const view = new DataView(header.buffer, header.byteOffset, HEADER_BYTES)
  const big = (at: number): number => Number(view.getBigUint64(at, true))
  if (view.getUint32(0, true) !== ARRAY_MAGIC) throw invalid('holds no shared array')
  if (view.getUint32(4, true) !== VERSION)
    throw invalid(`has a layout of version ${view.getUint32(4, true)}, and this is version ${VERSION}`)
  const dtype = String.fromCharCode(...header.subarray(AT_DTYPE, AT_DTYPE + 4)).replace(/\0+$/, '')
  if (!isDType(dtype)) throw invalid('has elements of an unknown type')
  const dimensions = view.getUint32(AT_DIMENSIONS, true)
  if (dimensions > MAX_DIMENSIONS || view.getUint32(AT_SEALED, true) > 1) throw invalid('has a broken header')
  const shape = Array.from({ length: dimensions }, (_, index) => big(AT_SHAPE + 8 * index))
  const strides = Array.from({ length: dimensions }, (_, index) => big(AT_STRIDES + 8 * index))
  const parsed = { dtype, shape, strides, offset: big(AT_OFFSET), bytes: big(AT_BYTES) }
  if (!fits(parsed, size)) throw invalid('has a shape that does not fit its bytes')
  return parsed
}

const isDType = (text: string): text is SharedDType => Object.hasOwn(ARRAYS, text)

/** All in doubles: what is too large for them is larger than `size`, and what is rounded is not safe. */
function fits({ dtype, shape, strides, offset, bytes }: ArrayHeader, size: number): boolean {
  const width = ARRAYS[dtype].BYTES_PER_ELEMENT
  if (offset < HEADER_BYTES || offset % 8 !== 0 || bytes % width !== 0 || offset + bytes > size) return false
  if (!shape.every(Number.isSafeInteger) || !strides.every((stride) => Number.isSafeInteger(stride) && stride % width === 0)) return false
  if (shape.includes(0)) return true
  if (shape.some((length, index) => length > 1 && strides[index] === 0)) return false
  return shape.reduce((last, length, index) => last + (length - 1) * strides[index]!, 0) + width <= bytes
}

const invalid = (what: string): TalkwireError =>
  new TalkwireError('INVALID_MEMORY', `the memory ${what}; unlink it, or open what SharedArray.create() has made`)
