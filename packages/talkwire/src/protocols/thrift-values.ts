/** Values of a contract in Thrift, both ways. Sans I/O. docs/protocols/thrift.md, Types. */
import { forbidden, forbiddenKey } from '../codecs/codec.js'
import { TalkwireError } from '../error.js'
import { typeName, type Enum, type Field, type Scalar, type Struct, type Type } from './thrift-schema.js'
import { Code, type FieldHead, type Reader, type Writer } from './thrift-wire.js'
import { described } from './described.js'

const SCALARS: Readonly<Record<Scalar, number>> = {
  bool: Code.bool,
  i8: Code.byte,
  i16: Code.i16,
  i32: Code.i32,
  i64: Code.i64,
  double: Code.double,
  string: Code.string,
  binary: Code.string,
  uuid: Code.uuid,
}

function codeOf(type: Type): number {
  if (type.kind === 'scalar') return SCALARS[type.name]
  if (type.kind === 'enum') return Code.i32
  if (type.kind === 'list') return type.as === 'set' ? Code.set : Code.list
  return type.kind === 'map' ? Code.map : Code.struct
}

function unfit(type: Type, value: unknown): never {
  throw new TypeError(`${described(value)} is no ${typeName(type)} of Thrift; the contract says what fits`)
}

const memberOf = (value: object, name: string): unknown =>
  Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

/** The fields of a struct. Throws TypeError, TOO_DEEP, MESSAGE_TOO_LARGE, FORBIDDEN_KEY. */
export function writeFields(writer: Writer, struct: Struct, value: unknown): void {
  const { fields, name, word } = struct
  if (typeof value !== 'object' || value === null || Array.isArray(value)) unfit(struct, value)
  for (const key of Object.keys(value))
    if ((value as Record<string, unknown>)[key] !== undefined && !fields.some((field) => field.name === key))
      throw new TypeError(`${JSON.stringify(key.slice(0, 80))} is no field of ${name}; the contract says what fits`)
  if (word === 'union') checkOne(struct, value)
  for (const field of fields) writeField(writer, field, memberOf(value, field.name))
}

function checkOne({ fields, name }: Struct, value: object): void {
  const there = fields.filter((field) => memberOf(value, field.name) !== undefined).length
  if (there !== 1) throw new TypeError(`the union ${name} has exactly one field, and here are ${there}; the contract says what fits`)
}

export function writeField(writer: Writer, field: Field, given: unknown): void {
  const { id, type, optional, name, initial } = field
  const value = (given === undefined || given === null) && initial?.sent ? initial.make() : given
  if (value === undefined || value === null) {
    if (optional) return
    throw new TypeError(`the field "${name}" is missing; the contract says what fits`)
  }
  if (type.kind === 'scalar' && type.name === 'bool') {
    if (typeof value !== 'boolean') unfit(type, value)
    return writer.boolField(id, value)
  }
  writer.field(codeOf(type), id)
  write(writer, type, value)
}

function write(writer: Writer, type: Type, value: unknown): void {
  if (type.kind === 'scalar') return writeScalar(writer, type.name, value, type)
  if (type.kind === 'enum') return writeEnum(writer, type, value)
  if (type.kind === 'struct') return writer.struct(() => writeFields(writer, type, value))
  if (type.kind === 'map') return writeMap(writer, type, value)
  if (type.as === 'set' ? !(value instanceof Set) : !Array.isArray(value)) unfit(type, value)
  const items = [...(value as Iterable<unknown>)]
  writer.list(codeOf(type.item), items.length)
  writer.nested(() => {
    for (const item of items) write(writer, type.item, item)
  })
}

function writeEnum(writer: Writer, type: Enum, value: unknown): void {
  const number = typeof value === 'string' ? type.numbers.get(value) : value
  writer.i32(isWhole(number, 32) ? number : unfit(type, value))
}

const isWhole = (value: unknown, bits: number): value is number =>
  Number.isInteger(value) && (value as number) >= -(2 ** (bits - 1)) && (value as number) < 2 ** (bits - 1)

function writeMap(writer: Writer, type: Extract<Type, { kind: 'map' }>, value: unknown): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || (type.as === 'map') !== value instanceof Map)
    unfit(type, value)
  const entries =
    value instanceof Map ? [...(value as Map<unknown, unknown>)] : Object.entries(value).filter(([, item]) => item !== undefined)
  writer.map(codeOf(type.key), codeOf(type.value), entries.length)
  writer.nested(() => {
    for (const [key, item] of entries) {
      if (type.as === 'object' && forbidden(key as string, item)) throw forbiddenKey(key as string)
      write(writer, type.key, key)
      write(writer, type.value, item)
    }
  })
}

const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i
/** A surrogate without its partner. */
const HALF = /\p{Cs}/u

function writeScalar(writer: Writer, name: Scalar, value: unknown, type: Extract<Type, { kind: 'scalar' }>): void {
  switch (name) {
    case 'bool':
      return typeof value === 'boolean' ? writer.bool(value) : unfit(type, value)
    case 'double':
      return typeof value === 'number' ? writer.double(value) : unfit(type, value)
    case 'string':
      return typeof value === 'string' && !HALF.test(value) ? writer.text(value) : unfit(type, value)
    case 'binary':
      return value instanceof Uint8Array ? writer.binary(value) : unfit(type, value)
    case 'i8':
      return isWhole(value, 8) ? writer.byte(value & 0xff) : unfit(type, value)
    case 'i16':
      return isWhole(value, 16) ? writer.i16(value) : unfit(type, value)
    case 'i32':
      return isWhole(value, 32) ? writer.i32(value) : unfit(type, value)
    case 'uuid':
      return typeof value === 'string' && UUID.test(value) ? writer.raw(Buffer.from(value.replaceAll('-', ''), 'hex')) : unfit(type, value)
    case 'i64':
      return writer.i64(wide(type, value))
  }
}

function wide(type: Extract<Type, { kind: 'scalar' }>, value: unknown): bigint {
  if (type.as === 'date') return value instanceof Date && !Number.isNaN(value.getTime()) ? BigInt(value.getTime()) : unfit(type, value)
  const number =
    typeof value === 'bigint' ? value : Number.isSafeInteger(value) && type.as === undefined ? BigInt(value as number) : unfit(type, value)
  return BigInt.asIntN(64, number) === number ? number : unfit(type, value)
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

/** A struct's fields; what it does not know is passed over. Throws INVALID_INPUT and what reading throws. */
export function readStruct(reader: Reader, { fields }: Struct): Record<string, unknown> {
  const value: Record<string, unknown> = {}
  reader.struct((head) => {
    const field = fields.find(({ id }) => id === head.id)
    if (!field) return reader.skip(head.code, head.bool)
    value[field.name] = readField(reader, field, head)
  })
  for (const { name, absent, initial } of fields) {
    if (Object.hasOwn(value, name)) continue
    if (initial) value[name] = initial.make()
    else if (absent === null) value[name] = null
  }
  return value
}

export function readField(reader: Reader, { type, name }: Field, { code, bool }: FieldHead): unknown {
  if (code !== codeOf(type)) throw new TalkwireError('INVALID_INPUT', `the field "${name}" is of another type than ${typeName(type)}`)
  return bool ?? read(reader, type)
}

function read(reader: Reader, type: Type): unknown {
  if (type.kind === 'scalar') return readScalar(reader, type)
  if (type.kind === 'struct') return readStruct(reader, type)
  if (type.kind === 'enum') return readEnum(reader, type)
  if (type.kind === 'map') return readMap(reader, type)
  const items: unknown[] = []
  const wanted = codeOf(type.item)
  reader.list((code) => {
    if (code !== wanted) throw new TalkwireError('INVALID_INPUT', `a list of others than ${typeName(type.item)}`)
    items.push(read(reader, type.item))
  })
  return type.as === 'set' ? new Set(items) : items
}

function readEnum(reader: Reader, { words }: Enum): string | number {
  const number = reader.i32()
  return words.get(number) ?? number
}

function readMap(reader: Reader, type: Extract<Type, { kind: 'map' }>): unknown {
  const map = new Map<unknown, unknown>()
  const wanted = [codeOf(type.key), codeOf(type.value)]
  reader.map((key, value) => {
    if (key !== wanted[0] || value !== wanted[1]) throw new TalkwireError('INVALID_INPUT', `a map of others than ${typeName(type)}`)
    const name = read(reader, type.key)
    map.set(name, read(reader, type.value))
  })
  if (type.as === 'map') return map
  const object: Record<string, unknown> = {}
  for (const [name, value] of map as Map<string, unknown>) {
    if (forbidden(name, value)) throw forbiddenKey(name)
    object[name] = value
  }
  return object
}

function readScalar(reader: Reader, { name, as }: Extract<Type, { kind: 'scalar' }>): unknown {
  switch (name) {
    case 'bool':
      return reader.bool()
    case 'double':
      return reader.double()
    case 'string':
      return reader.text()
    case 'binary':
      return reader.binary()
    case 'i8':
      return reader.i8()
    case 'i16':
      return reader.i16()
    case 'i32':
      return reader.i32()
    case 'uuid':
      return reader
        .raw(16)
        .toString('hex')
        .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
    case 'i64': {
      const value = reader.i64()
      if (as === 'bigint') return value
      const number = Number(value)
      if (as === 'date') return new Date(number)
      return Number.isSafeInteger(number) ? number : value
    }
  }
}
