/** What every codec agrees on: which values travel, how deep, and who owns references. spec/wire.md § 5. */
import { ARRAYS } from '../dtypes.js'
import { TalkwireError } from '../error.js'
import type { Writer } from './writer.js'

/** How the two ends name a function or object that stays where it is. */
export type ReferenceDescriptor = readonly [id: number] | readonly [id: number, methods: readonly string[]]

export function isDescriptor(descriptor: unknown): descriptor is ReferenceDescriptor {
  if (!Array.isArray(descriptor)) return false
  const [id, methods] = descriptor as unknown[]
  return (
    Number.isSafeInteger(id) && (methods === undefined || (Array.isArray(methods) && methods.every((method) => typeof method === 'string')))
  )
}

/** The session's side of references. Without one, functions are refused. */
export interface References {
  /** A function or a `ref(…)` in an outgoing value; `own` for a reference that goes back to its owner. */
  /** `fd`: the number of a file descriptor that travels beside the message. */
  export(value: unknown): { ref: ReferenceDescriptor } | { own: number } | { fd: number } | undefined
  import(descriptor: ReferenceDescriptor): unknown
  /** The local value behind a reference that came home. Throws INVALID_MESSAGE when there is none. */
  home(id: number): unknown
  /** The file descriptor with that number. Throws INVALID_MESSAGE, LIMIT_EXCEEDED. */
  descriptor?(number: number): unknown
}

export interface Codec {
  /** As in `rpc.hello`. */
  readonly name: string
  /** Writes a value. Throws TypeError for what cannot be sent, TOO_DEEP, FORBIDDEN_KEY; the writer is then to be rolled back. */
  encode(writer: Writer, value: unknown, context: CodecContext): void
  /** Reads one whole value. Throws INVALID_MESSAGE, TOO_DEEP or FORBIDDEN_KEY, nothing else. */
  decode(bytes: Buffer, start: number, end: number, attachments: readonly Uint8Array[], context: CodecContext): unknown
}

export interface CodecContext {
  readonly depth: number
  /** Most values that a message may hold when it is read: elements and members, not what is inside binary. Default: `VALUES`. */
  readonly values?: number
  /** False for a plain JSON-RPC peer: no tags, no attachments, no references. */
  extended: boolean
  /** Whether typed arrays may travel beside the message. */
  binary: boolean
  references: References | undefined
}

export const DEPTH = 64
/** Typed arrays beside one message. */
export const MAX_ATTACHMENTS = 65_535

export const VALUES = 1_000_000

export const tooMany = (limit: number): TalkwireError =>
  new TalkwireError(
    'LIMIT_EXCEEDED',
    `a message of more than ${limit} values; send numbers as a typed array, many things as a stream, or raise limits.values`,
  )
export const tooDeep = (limit: number): TalkwireError =>
  new TalkwireError('TOO_DEEP', `a value nested deeper than ${limit}; flatten it or raise limits.depth`)

/**
 * Keys through which a careless merge reaches a prototype, or an `await` calls out of data.
 * Refused, not dropped: dropping would lose data unseen.
 */
export function forbidden(key: string, value: unknown): boolean {
  if (typeof value === 'object') return key === '__proto__' || (key === 'constructor' && value !== null)
  return key === '__proto__' || (key === 'then' && typeof value === 'function')
}

export const forbiddenKey = (key: string): TalkwireError =>
  new TalkwireError(
    'FORBIDDEN_KEY',
    `the key ${JSON.stringify(key)} is refused, because merging it can change every object; rename it, or send a Map`,
  )

/** A typed array whose elements form a row-major grid; what a NumPy array arrives as. */
export type NdArray<T extends TypedArray = TypedArray> = T & { readonly shape: readonly number[] }

export type TypedArray =
  | Uint8Array
  | Int8Array
  | Uint8ClampedArray
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array

/** Marks a typed array with a shape. The array itself is returned, its bytes are shared. */
export function ndarray<T extends TypedArray>(data: T, shape: readonly number[]): NdArray<T> {
  if (!validShape(shape, data.length)) throw new TypeError(`the shape [${shape.join(', ')}] does not hold ${data.length} elements`)
  return Object.defineProperty(data, 'shape', { value: shape, enumerable: false, configurable: true }) as NdArray<T>
}

export const shapeOf = (data: TypedArray): readonly number[] | undefined => (data as Partial<NdArray>).shape

const constructors = { ...ARRAYS, c1: Uint8ClampedArray } as const
export type DType = keyof typeof constructors
/** In the order of their codes in MessagePack's ext 4. */
export const DTYPES = Object.keys(constructors) as DType[]

const names = new Map<unknown, DType>(DTYPES.map((name) => [constructors[name].name, name]))
export const dtypeOf = (value: TypedArray): DType => names.get(value[Symbol.toStringTag])!
export const isDType = (value: unknown): value is DType => typeof value === 'string' && Object.hasOwn(constructors, value)

/** The bytes of any view, or of an ArrayBuffer. */
export const bytesOf = (value: ArrayBufferView | ArrayBuffer): Uint8Array =>
  value instanceof Uint8Array
    ? value
    : ArrayBuffer.isView(value)
      ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
      : new Uint8Array(value)

/** A typed array over bytes that the receiver owns. Throws INVALID_MESSAGE when they do not fit. */
export function arrayFrom(bytes: Uint8Array, dtype: DType, shape: readonly number[] | undefined): TypedArray {
  const constructor = constructors[dtype]
  const length = bytes.byteLength / constructor.BYTES_PER_ELEMENT
  if (!Number.isInteger(length)) throw new TalkwireError('INVALID_MESSAGE', `${bytes.byteLength} bytes are no whole number of ${dtype}`)
  const data = dtype === 'u1' ? bytes : new constructor(bytes.buffer as ArrayBuffer, bytes.byteOffset, length)
  if (shape === undefined) return data
  if (!validShape(shape, length)) throw new TalkwireError('INVALID_MESSAGE', `a shape that does not hold ${length} elements`)
  return ndarray(data, shape)
}

function validShape(shape: unknown, length: number): boolean {
  if (!Array.isArray(shape) || shape.length > 32) return false
  let product = 1
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) return false
    product *= size
  }
  return product === length
}

/** Plain: made by `{}`, by JSON.parse, or without a prototype. Anything else is somebody's class. */
export function isPlainObject(value: object): value is Record<string, unknown> {
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null || Object.getPrototypeOf(prototype) === null
}

export function unsendable(value: unknown): TypeError {
  const what = typeof value === 'object' ? `a ${value?.constructor?.name ?? 'object'}` : `a ${typeof value}`
  return new TypeError(`${what} cannot be sent; send plain data, or wrap an object in ref(…) to send a reference`)
}
