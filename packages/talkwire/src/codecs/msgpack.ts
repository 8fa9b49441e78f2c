/**
 * MessagePack (github.com/msgpack/msgpack spec.md) with the extension types of spec/wire.md § 5. Sans I/O.
 *
 * Written here because no library offers all of: encoding into a shared slab, attachments that are
 * not copied, a depth limit, refused keys, references. Readers keep their state in this module: nothing
 * that they call comes back into them.
 */
import { TalkwireError } from '../error.js'
import {
  arrayFrom,
  bytesOf,
  DTYPES,
  dtypeOf,
  forbidden,
  forbiddenKey,
  isDescriptor,
  isDType,
  isPlainObject,
  MAX_ATTACHMENTS,
  shapeOf,
  tooDeep,
  tooMany,
  unsendable,
  VALUES,
  type Codec,
  type CodecContext,
  type DType,
  type TypedArray,
} from './codec.js'
import { keepBytes } from './chunk.js'

import { readName, readText } from './text.js'
import type { Writer } from './writer.js'

const EXT_UNDEFINED = 0
const EXT_BIGINT = 1
const EXT_MAP = 2
const EXT_SET = 3
const EXT_ARRAY = 4
const EXT_ATTACHMENT = 5
const EXT_REFERENCE = 6
const EXT_OWN = 7
const EXT_DESCRIPTOR = 8
const EXT_TIMESTAMP = 0xff
/** Binary up to this size goes inside the message. */
const INLINE = 4096
const NO_SHAPE = 255

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

export function writeValue(writer: Writer, value: unknown, context: CodecContext, depth: number): void {
  switch (typeof value) {
    case 'number':
      return writeNumber(writer, value)
    case 'string':
      return writeString(writer, value)
    case 'boolean':
      return writeByte(writer, value ? 0xc3 : 0xc2)
    case 'undefined':
      return writeUndefined(writer)
    case 'bigint':
      return writeExt(writer, EXT_BIGINT, () => void writer.text(value.toString()))
    case 'object':
      return value === null ? writeByte(writer, 0xc0) : writeObject(writer, value, context, depth)
    case 'function':
      return writeReference(writer, value, context)
    default:
      throw unsendable(value)
  }
}

function writeByte(writer: Writer, byte: number): void {
  writer.reserve(1)
  writer.buffer[writer.position++] = byte
}

function writeUndefined(writer: Writer): void {
  writer.reserve(3)
  const { buffer } = writer
  buffer[writer.position++] = 0xd4
  buffer[writer.position++] = EXT_UNDEFINED
  buffer[writer.position++] = 0
}

export function writeNumber(writer: Writer, value: number): void {
  writer.reserve(9)
  const { buffer, position } = writer
  if ((value | 0) === value && (value !== 0 || 1 / value > 0)) {
    if (value >= 0 ? value < 0x80 : value >= -0x20) {
      buffer[position] = value & 0xff
      writer.position = position + 1
    } else if (value >= 0 && value < 0x10000) {
      if (value < 0x100) {
        buffer[position] = 0xcc
        buffer[position + 1] = value
        writer.position = position + 2
      } else {
        buffer[position] = 0xcd
        buffer[position + 1] = value >>> 8
        buffer[position + 2] = value
        writer.position = position + 3
      }
    } else {
      buffer[position] = value >= 0 ? 0xce : 0xd2
      buffer[position + 1] = value >>> 24
      buffer[position + 2] = value >>> 16
      buffer[position + 3] = value >>> 8
      buffer[position + 4] = value
      writer.position = position + 5
    }
  } else if (Number.isSafeInteger(value) && value !== 0) {
    buffer[position] = value > 0 ? 0xcf : 0xd3
    if (value > 0) writer.view.setBigUint64(position + 1, BigInt(value))
    else writer.view.setBigInt64(position + 1, BigInt(value))
    writer.position = position + 9
  } else {
    buffer[position] = 0xcb
    writer.view.setFloat64(position + 1, value)
    writer.position = position + 9
  }
}

/** Below this a loop is faster than the call into native code. */
const LOOP = 24

export function writeString(writer: Writer, value: string): void {
  const { length } = value
  writer.reserve(length * 3 + 5)
  const { buffer, position } = writer
  if (length < LOOP) {
    let at = position + 1
    let index = 0
    for (; index < length; index++) {
      const code = value.charCodeAt(index)
      if (code >= 0x80) break
      buffer[at++] = code
    }
    if (index === length) {
      buffer[position] = 0xa0 | length
      writer.position = at
      return
    }
  }
  const guess = stringHead(length)
  const written = buffer.write(value, position + guess)
  const head = stringHead(written)
  if (head !== guess) buffer.copyWithin(position + head, position + guess, position + guess + written)
  if (head === 1) buffer[position] = 0xa0 | written
  else writeLength(buffer, position, 0xd9, head - 1, written)
  writer.position = position + head + written
}

const stringHead = (length: number): number => (length < 32 ? 1 : length < 0x100 ? 2 : length < 0x10000 ? 3 : 5)

/** `tag` is the code for a length of one byte; two and four bytes follow it. */
function writeLength(buffer: Buffer, position: number, tag: number, size: number, length: number): void {
  buffer[position] = tag + (size === 1 ? 0 : size === 2 ? 1 : 2)
  if (size === 1) buffer[position + 1] = length
  else if (size === 2) buffer.writeUInt16BE(length, position + 1)
  else buffer.writeUInt32BE(length, position + 1)
}

export function writeArrayHead(writer: Writer, length: number): void {
  writer.reserve(5)
  if (length < 16) writer.buffer[writer.position++] = 0x90 | length
  else writer.position += writeCount(writer.buffer, writer.position, 0xdc, length)
}

function writeMapHead(writer: Writer, length: number): void {
  writer.reserve(5)
  if (length < 16) writer.buffer[writer.position++] = 0x80 | length
  else writer.position += writeCount(writer.buffer, writer.position, 0xde, length)
}

function writeCount(buffer: Buffer, position: number, tag: number, length: number): number {
  if (length < 0x10000) {
    buffer[position] = tag
    buffer.writeUInt16BE(length, position + 1)
    return 3
  }
  buffer[position] = tag + 1
  buffer.writeUInt32BE(length, position + 1)
  return 5
}

function writeObject(writer: Writer, value: object, context: CodecContext, depth: number): void {
  if (value instanceof Uint8Array && value.length <= INLINE && isPlainBytes(value)) return writeBin(writer, value)
  if (depth >= context.depth && !isLeaf(value)) throw tooDeep(context.depth)
  if (Array.isArray(value)) return writeArray(writer, value, context, depth)
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return writeBinary(writer, value)
  if (value instanceof Date) return writeDate(writer, value)
  if (value instanceof Map) return writeExt(writer, EXT_MAP, () => writeArray(writer, flatten(value), context, depth))
  if (value instanceof Set) return writeExt(writer, EXT_SET, () => writeArray(writer, [...value], context, depth))
  if (isPlainObject(value)) return writeMap(writer, value, context, depth)
  writeReference(writer, value, context)
}

/** Without a shape, and not one of the other classes that are made of bytes. */
const isPlainBytes = (value: Uint8Array): boolean => shapeOf(value) === undefined

function flatten(map: ReadonlyMap<unknown, unknown>): unknown[] {
  const flat: unknown[] = []
  for (const [key, value] of map) flat.push(key, value)
  return flat
}

const isLeaf = (value: object): boolean => ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof Date

function writeArray(writer: Writer, value: readonly unknown[], context: CodecContext, depth: number): void {
  writeArrayHead(writer, value.length)
  for (let index = 0; index < value.length; index++) writeValue(writer, value[index], context, depth + 1)
}

function writeMap(writer: Writer, value: Record<string, unknown>, context: CodecContext, depth: number): void {
  const keys = Object.keys(value)
  let count = 0
  for (const key of keys) if (value[key] !== undefined) count++
  writeMapHead(writer, count)
  for (const key of keys) {
    const item = value[key]
    if (item === undefined) continue
    if (forbidden(key, item)) throw forbiddenKey(key)
    writeString(writer, key)
    writeValue(writer, item, context, depth + 1)
  }
}

/** The body is written first behind room for the longest head, then moved if the head is shorter. */
function writeExt(writer: Writer, type: number, body: () => void): void {
  const start = writer.position
  writer.reserve(6)
  writer.position += 6
  body()
  const length = writer.position - start - 6
  const size = length < 0x100 ? 1 : length < 0x10000 ? 2 : 4
  const { buffer } = writer
  if (size < 4) buffer.copyWithin(start + 2 + size, start + 6, writer.position)
  writeLength(buffer, start, 0xc7, size, length)
  buffer[start + 1 + size] = type
  writer.position = start + 2 + size + length
}

function writeDate(writer: Writer, value: Date): void {
  const time = value.getTime()
  if (Number.isNaN(time)) throw new TypeError('an invalid Date cannot be sent; send null, or a date')
  const seconds = Math.floor(time / 1000)
  writer.reserve(15)
  const { buffer, position, view } = writer
  buffer[position] = 0xc7
  buffer[position + 1] = 12
  buffer[position + 2] = EXT_TIMESTAMP
  view.setUint32(position + 3, Math.round((time - seconds * 1000) * 1e6))
  view.setBigInt64(position + 7, BigInt(seconds))
  writer.position = position + 15
}

function writeBinary(writer: Writer, value: ArrayBufferView | ArrayBuffer): void {
  const bytes = bytesOf(value)
  const typed = ArrayBuffer.isView(value) && !(value instanceof DataView)
  const dtype = typed ? dtypeOf(value as TypedArray) : 'u1'
  if (dtype === undefined) throw unsendable(value)
  const shape = typed ? shapeOf(value as TypedArray) : undefined
  if (bytes.length > INLINE && writer.attachments.length < MAX_ATTACHMENTS) return writeAttachment(writer, bytes, dtype, shape)
  if (dtype === 'u1' && shape === undefined) return writeBin(writer, bytes)
  writeExt(writer, EXT_ARRAY, () => {
    writer.reserve(2 + 4 * (shape?.length ?? 0))
    writer.buffer[writer.position++] = DTYPES.indexOf(dtype)
    writer.buffer[writer.position++] = shape ? shape.length : NO_SHAPE
    for (const size of shape ?? []) writer.position = writer.buffer.writeUInt32BE(size, writer.position)
    writer.bytes(bytes)
  })
}

function writeBin(writer: Writer, bytes: Uint8Array): void {
  const { length } = bytes
  writer.reserve(length + 5)
  const size = length < 0x100 ? 1 : length < 0x10000 ? 2 : 4
  const { buffer } = writer
  writeLength(buffer, writer.position, 0xc4, size, length)
  const at = writer.position + 1 + size
  if (length <= 16) for (let index = 0; index < length; index++) buffer[at + index] = bytes[index]!
  else buffer.set(bytes, at)
  writer.position = at + length
}

function writeAttachment(writer: Writer, bytes: Uint8Array, dtype: DType, shape: readonly number[] | undefined): void {
  const index = writer.attachments.push(bytes) - 1
  writeExt(writer, EXT_ATTACHMENT, () => {
    writeArrayHead(writer, shape ? 3 : 2)
    writeNumber(writer, index)
    writeString(writer, dtype)
    if (!shape) return
    writeArrayHead(writer, shape.length)
    for (const size of shape) writeNumber(writer, size)
  })
}

function writeReference(writer: Writer, value: object, context: CodecContext): void {
  const exported = context.references?.export(value)
  if (!exported) throw unsendable(value)
  if ('own' in exported) return writeExt(writer, EXT_OWN, () => writeNumber(writer, exported.own))
  if ('fd' in exported) return writeExt(writer, EXT_DESCRIPTOR, () => writeNumber(writer, exported.fd))
  writeExt(writer, EXT_REFERENCE, () => {
    const [id, methods] = exported.ref
    writeArrayHead(writer, exported.ref.length)
    writeNumber(writer, id)
    if (!methods) return
    writeArrayHead(writer, methods.length)
    for (const method of methods) writeString(writer, method)
  })
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

let bytes: Buffer
let at = 0
let end = 0
let attachments: readonly Uint8Array[]
let taken = 0
/** Which attachments are taken, where there are several. */
let used: Set<number> | undefined
/** Inside the description of an attachment or a reference. */
let describing = false
let context: CodecContext
/** Values that the payload may still hold. */
let room = 0

/** Sets the reader on a payload. `readX` follow, then `finish`. */
export function start(source: Buffer, from: number, to: number, beside: readonly Uint8Array[], with_: CodecContext): void {
  bytes = source
  at = from
  end = to
  attachments = beside
  taken = 0
  used = undefined
  context = with_
  room = with_.values ?? VALUES
}

/** Lets go of the payload: the reader would keep it until the next one. */
export function forget(): void {
  bytes = NO_BYTES
  attachments = []
  used = undefined
}
const NO_BYTES = Buffer.alloc(0)

/** Throws INVALID_MESSAGE unless every byte and every attachment was read. */
export function finish(): void {
  if (at !== end) throw invalid(`${end - at} bytes after the message`)
  if (taken !== attachments.length) throw invalid('an attachment that nothing refers to')
}

const invalid = (what: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', `broken MessagePack: ${what}`)

function need(count: number): number {
  const position = at
  if (count > end - position) throw invalid('cut short')
  at = position + count
  return position
}

export function readArrayHead(): number {
  const tag = bytes[need(1)]!
  if (tag >= 0x90 && tag <= 0x9f) return tag & 15
  if (tag === 0xdc) return count(bytes.readUInt16BE(need(2)))
  if (tag === 0xdd) return count(bytes.readUInt32BE(need(4)))
  throw invalid('an array was expected')
}

/** Every element takes a byte at least: a larger count is a lie, and must not reserve memory. */
function count(announced: number): number {
  if (announced > end - at) throw invalid('cut short')
  return announced
}

/** A string that is expected to come again, such as a method's name. */
export function readNameValue(): string {
  const tag = bytes[need(1)]!
  if (tag >= 0xa0 && tag <= 0xbf) return name(tag & 31)
  if (tag === 0xd9) return name(bytes[need(1)]!)
  if (tag === 0xda) return name(bytes.readUInt16BE(need(2)))
  if (tag === 0xdb) return name(bytes.readUInt32BE(need(4)))
  throw invalid('a name was expected')
}

function name(length: number): string {
  const from = need(length)
  return readName(bytes, from, at)
}

/** A number, string or null: what JSON-RPC allows as an id. */
export function readId(): number | string | null {
  const tag = bytes[at]!
  if (at < end && tag < 0x80) return (at++, tag)
  const id = readValue(1)
  if (typeof id === 'number' || typeof id === 'string' || id === null) return id
  throw invalid('an id is a number, a string or null')
}

export function readValue(depth: number): unknown {
  const tag = bytes[need(1)]!
  if (tag < 0x80) return tag
  if (tag < 0x90) return readMap(tag & 15, depth)
  if (tag < 0xa0) return readArray(tag & 15, depth)
  if (tag < 0xc0) return string(tag & 31)
  if (tag >= 0xe0) return tag - 0x100
  switch (tag) {
    case 0xc0:
      return null
    case 0xc2:
      return false
    case 0xc3:
      return true
    case 0xc4:
      return binary(bytes[need(1)]!)
    case 0xc5:
      return binary(bytes.readUInt16BE(need(2)))
    case 0xc6:
      return binary(bytes.readUInt32BE(need(4)))
    case 0xc7:
      return readExt(bytes[need(1)]!, depth)
    case 0xc8:
      return readExt(bytes.readUInt16BE(need(2)), depth)
    case 0xc9:
      return readExt(bytes.readUInt32BE(need(4)), depth)
    case 0xca:
      return bytes.readFloatBE(need(4))
    case 0xcb:
      return bytes.readDoubleBE(need(8))
    case 0xcc:
      return bytes[need(1)]!
    case 0xcd:
      return bytes.readUInt16BE(need(2))
    case 0xce:
      return bytes.readUInt32BE(need(4))
    case 0xcf:
      return integer(bytes.readBigUInt64BE(need(8)))
    case 0xd0:
      return bytes.readInt8(need(1))
    case 0xd1:
      return bytes.readInt16BE(need(2))
    case 0xd2:
      return bytes.readInt32BE(need(4))
    case 0xd3:
      return integer(bytes.readBigInt64BE(need(8)))
    case 0xd4:
      return readExt(1, depth)
    case 0xd5:
      return readExt(2, depth)
    case 0xd6:
      return readExt(4, depth)
    case 0xd7:
      return readExt(8, depth)
    case 0xd8:
      return readExt(16, depth)
    case 0xd9:
      return string(bytes[need(1)]!)
    case 0xda:
      return string(bytes.readUInt16BE(need(2)))
    case 0xdb:
      return string(bytes.readUInt32BE(need(4)))
    case 0xdc:
      return readArray(count(bytes.readUInt16BE(need(2))), depth)
    case 0xdd:
      return readArray(count(bytes.readUInt32BE(need(4))), depth)
    case 0xde:
      return readMap(count(bytes.readUInt16BE(need(2))), depth)
    case 0xdf:
      return readMap(count(bytes.readUInt32BE(need(4))), depth)
    default:
      throw invalid(`the byte 0x${tag.toString(16)}`)
  }
}

const integer = (value: bigint): number | bigint =>
  value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER ? Number(value) : value

function string(length: number): string {
  const from = need(length)
  return readText(bytes, from, at)
}

function binary(length: number): Uint8Array {
  const from = need(length)
  return keepBytes(bytes, from, at)
}

/** A small value costs many times its bytes: 64 MiB of empty arrays take half a minute and gigabytes. */
function take(count: number): void {
  if ((room -= count) < 0) throw tooMany(context.values ?? VALUES)
}

function readArray(length: number, depth: number): unknown[] {
  if (depth >= context.depth) throw tooDeep(context.depth)
  take(length)
  // The first push() reserves room for 17.
  if (length === 1) return [readValue(depth + 1)]
  if (length === 2) return [readValue(depth + 1), readValue(depth + 1)]
  const array: unknown[] = []
  for (let index = 0; index < length; index++) array.push(readValue(depth + 1))
  return array
}

function readMap(length: number, depth: number): Record<string, unknown> {
  if (depth >= context.depth) throw tooDeep(context.depth)
  take(length)
  const map: Record<string, unknown> = {}
  for (let index = 0; index < length; index++) {
    const key = readKey(depth)
    const value = readValue(depth + 1)
    if (forbidden(key, value)) throw forbiddenKey(key)
    map[key] = value
  }
  return map
}

/** Foreign peers may use numbers as keys; an object has them as text. */
function readKey(depth: number): string {
  const tag = bytes[at]!
  if ((tag >= 0xa0 && tag <= 0xbf) || (tag >= 0xd9 && tag <= 0xda)) return readNameValue()
  const key = readValue(depth + 1)
  if (typeof key === 'string' || typeof key === 'number' || typeof key === 'bigint' || typeof key === 'boolean') return String(key)
  throw invalid('a key that is neither text nor a number')
}

function readExt(length: number, depth: number): unknown {
  const type = bytes[need(1)]!
  const from = need(length)
  const to = at
  if (type === EXT_TIMESTAMP) return timestamp(from, length)
  if (!context.extended) throw invalid(`the extension type ${type}`)
  switch (type) {
    case EXT_UNDEFINED:
      return readUndefined(from, length)
    case EXT_BIGINT:
      return readBigint(from, to)
    case EXT_ARRAY:
      return readInlineArray(from, to)
    case EXT_MAP:
      return within(from, to, () => pairs(readNested(depth)))
    case EXT_SET:
      return within(from, to, () => new Set(readNested(depth)))
    case EXT_ATTACHMENT:
      return attachment(description(from, to, () => readNested(1)))
    case EXT_REFERENCE:
      return reference(description(from, to, () => readNested(1)))
    case EXT_OWN:
      return home(description(from, to, () => readValue(1)))
    case EXT_DESCRIPTOR:
      return descriptor(description(from, to, () => readValue(1)))
    default:
      throw invalid(`the extension type ${type}`)
  }
}

/** Reads a value that stands inside an extension, and demands that it fills it. */
function within<T>(from: number, to: number, read: () => T): T {
  const outer = end
  at = from
  end = to
  const value = read()
  if (at !== to) throw invalid('bytes after an extension')
  end = outer
  return value
}

const readNested = (depth: number): unknown[] => readArray(readArrayHead(), depth)

/** Depth counts values, and a description is none: one inside another could go on without end. */
function description<T>(from: number, to: number, read: () => T): T {
  if (describing) throw invalid('an extension inside the description of another')
  describing = true
  try {
    return within(from, to, read)
  } finally {
    describing = false
  }
}

function readUndefined(from: number, length: number): undefined {
  if (length !== 1 || bytes[from] !== 0) throw invalid('an undefined')
}

function pairs(flat: unknown[]): Map<unknown, unknown> {
  if (flat.length % 2 !== 0) throw invalid('a Map with half a pair')
  const map = new Map<unknown, unknown>()
  for (let index = 0; index < flat.length; index += 2) map.set(flat[index], flat[index + 1])
  return map
}

function readBigint(from: number, to: number): bigint {
  const text = bytes.toString('latin1', from, to)
  if (to - from > 4096 || !/^-?\d+$/.test(text)) throw invalid('a bigint')
  return BigInt(text)
}

function timestamp(from: number, length: number): Date {
  if (length === 4) return new Date(bytes.readUInt32BE(from) * 1000)
  if (length === 8) {
    const nanoseconds = bytes.readUInt32BE(from) >>> 2
    return new Date(((bytes.readUInt32BE(from) & 3) * 0x100000000 + bytes.readUInt32BE(from + 4)) * 1000 + nanoseconds / 1e6)
  }
  if (length === 12) return validDate(Number(bytes.readBigInt64BE(from + 4)) * 1000 + bytes.readUInt32BE(from) / 1e6)
  throw invalid('a timestamp')
}

function validDate(time: number): Date {
  const date = new Date(time)
  if (Number.isNaN(date.getTime())) throw invalid('a timestamp')
  return date
}

function readInlineArray(from: number, to: number): TypedArray {
  if (to - from < 2) throw invalid('an array')
  const dtype = DTYPES[bytes[from]!]
  const dimensions = bytes[from + 1]!
  const data = from + 2 + (dimensions === NO_SHAPE ? 0 : 4 * dimensions)
  if (dtype === undefined || data > to) throw invalid('an array')
  const shape =
    dimensions === NO_SHAPE ? undefined : Array.from({ length: dimensions }, (_, index) => bytes.readUInt32BE(from + 2 + 4 * index))
  return arrayFrom(new Uint8Array(bytes.subarray(data, to)), dtype, shape)
}

function attachment([index, dtype = 'u1', shape]: unknown[]): TypedArray {
  const data = typeof index === 'number' ? attachments[index] : undefined
  if (data === undefined || !isDType(dtype)) throw invalid('an attachment')
  if (attachments.length > 1) {
    used ??= new Set()
    if (used.has(index as number)) throw invalid('an attachment that is used twice')
    used.add(index as number)
  }
  taken++
  return arrayFrom(data, dtype, shape as number[] | undefined)
}

function reference(descriptor: unknown): unknown {
  if (!isDescriptor(descriptor) || !context.references) throw invalid('a reference')
  return context.references.import(descriptor)
}

function descriptor(number: unknown): unknown {
  if (!Number.isSafeInteger(number) || !context.references?.descriptor) throw invalid('a descriptor')
  return context.references.descriptor(number as number)
}

function home(id: unknown): unknown {
  if (!Number.isSafeInteger(id) || !context.references) throw invalid('a reference')
  return context.references.home(id as number)
}

export const msgpack: Codec = {
  name: 'msgpack',
  encode: (writer, value, options) => writeValue(writer, value, options, 1),
  decode(source, from, to, beside, options) {
    start(source, from, to, beside, options)
    const value = readValue(1)
    finish()
    return value
  },
}
