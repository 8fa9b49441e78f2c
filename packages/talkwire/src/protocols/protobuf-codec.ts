/** Values of ours to bytes of protobuf and back, as messages say. Sans I/O. https://protobuf.dev/programming-guides/encoding/ */
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire'
import { DEPTH, forbidden, forbiddenKey, isPlainObject, tooDeep, tooMany, VALUES } from '../codecs/codec.js'
import { mostNested, type DepthLimits } from '../codecs/depth.js'
import { ARRAYS } from '../dtypes.js'
import { TalkwireError } from '../error.js'
import { WIDE, type Enum, type Field, type Message, type Scalar, type Type } from './protobuf-model.js'

export interface ProtobufLimits extends DepthLimits {
  readonly values?: number
}

/** What is left to one message while it is read. */
interface Budget {
  depth: number
  readonly limits: { readonly depth: number; readonly values: number }
  values: number
}

interface Codec {
  write(writer: BinaryWriter, value: any, depth: number): void
  read(reader: BinaryReader, end: number, budget: Budget): unknown
}

const VARINT = 0
const BIT64 = 1
const BYTES = 2
const START = 3
const BIT32 = 5

const writer = new BinaryWriter()

/**
 * The bytes of a value, behind `room` bytes that the caller fills. They are the caller's. Throws TypeError for what is no such
 * value, TOO_DEEP, FORBIDDEN_KEY.
 */
export function encode(message: Message, value: unknown, room = 0, limits: ProtobufLimits = {}): Uint8Array {
  try {
    for (let left = room; left > 0; left--) writer.bool(false)
    codecOf(message).write(writer, value, mostNested(limits))
    return writer.finish()
  } catch (reason) {
    writer.finish()
    throw reason
  }
}

/** Throws INVALID_MESSAGE, TOO_DEEP, LIMIT_EXCEEDED, FORBIDDEN_KEY. */
export function decode(message: Message, bytes: Uint8Array, limits: ProtobufLimits = {}): unknown {
  const { depth = DEPTH, values = VALUES } = limits
  const reader = new BinaryReader(bytes)
  try {
    return codecOf(message).read(reader, bytes.length, { depth: mostNested(limits), values, limits: { depth, values } })
  } catch (reason) {
    if (reason instanceof TalkwireError) throw reason
    throw new TalkwireError('INVALID_MESSAGE', `no ${message.name}: ${(reason as Error).message}`, { cause: reason })
  }
}

const invalid = (what: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', what)

const codecs = new WeakMap<Message, Codec>()

function codecOf(message: Message): Codec {
  let codec = codecs.get(message)
  if (!codec) codecs.set(message, (codec = createCodec(message)))
  return codec
}

function createCodec(message: Message): Codec {
  switch (message.shape) {
    case 'empty':
      return { write: () => {}, read: (reader, end) => void (reader.pos = end) }
    case 'timestamp':
      return timestamp
    case 'value':
      return anyValue
    case 'struct':
      return struct
    case 'single':
      return single(message)
    case 'union':
      return union(message)
    case 'tuple':
      return tuple(message)
    default:
      return object(message)
  }
}

// ── messages ─────────────────────────────────────────────────────────────────────────────────────

interface FieldCodec {
  readonly field: Field
  write(writer: BinaryWriter, value: any, depth: number): void
  /** What it is now; `before` is what it was until then. */
  read(reader: BinaryReader, wire: number, before: any, budget: Budget): unknown
  /** Of what came. */
  readonly finish: ((value: any) => unknown) | undefined
  readonly absent: () => unknown
  readonly wire: number
}

/** Calls `take` for each known field, in the order in which they come. */
function readFields(
  reader: BinaryReader,
  end: number,
  budget: Budget,
  fields: ReadonlyMap<number, FieldCodec>,
  take: (codec: FieldCodec, wire: number) => void,
): void {
  if (budget.depth === 0) throw tooDeep(budget.limits.depth)
  if (end > reader.len) throw invalid('a message that ends before its end')
  budget.depth--
  while (reader.pos < end) {
    if (--budget.values < 0) throw tooMany(budget.limits.values)
    const tag = reader.uint32()
    const wire = tag & 7
    const codec = fields.get(tag >>> 3)
    if (wire === START || wire === START + 1 || wire > BIT32 || tag >>> 3 === 0) throw invalid('a field with a type that is none')
    if (codec && (wire === codec.wire || (wire === BYTES && codec.field.label === 'repeated' && isPacked(codec.field.type))))
      take(codec, wire)
    else reader.skip(wire)
  }
  if (reader.pos !== end) throw invalid('a field that ends behind its message')
  budget.depth++
}

const byNumber = (fields: readonly FieldCodec[]): Map<number, FieldCodec> => new Map(fields.map((each) => [each.field.number, each]))

function object(message: Message): Codec {
  const fields = message.fields.map(fieldCodec)
  const known = byNumber(fields)
  const finished = fields.filter(({ finish }) => finish)
  return {
    write(out, value, depth) {
      if (depth === 0) throw tooDeep(DEPTH)
      if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(message.name, 'an object', value)
      for (const codec of fields) codec.write(out, (value as Record<string, unknown>)[codec.field.property], depth - 1)
    },
    read(reader, end, budget) {
      const value: Record<string, unknown> = {}
      readFields(reader, end, budget, known, (codec, wire) => {
        const { property, oneof } = codec.field
        if (oneof !== undefined)
          for (const other of message.fields) if (other.oneof === oneof && other !== codec.field) delete value[other.property]
        value[property] = codec.read(reader, wire, value[property], budget)
      })
      for (const codec of finished) {
        const { property } = codec.field
        if (value[property] !== undefined) value[property] = codec.finish!(value[property])
      }
      for (const { field, absent } of fields) {
        if (value[field.property] !== undefined) continue
        const nothing = absent()
        if (nothing !== undefined) value[field.property] = nothing
      }
      return value
    },
  }
}

function readOnly(codec: FieldCodec, reader: BinaryReader, end: number, budget: Budget): unknown {
  let value: unknown
  readFields(reader, end, budget, new Map([[codec.field.number, codec]]), (_, wire) => {
    value = codec.read(reader, wire, value, budget)
  })
  if (value === undefined) return codec.absent()
  return codec.finish ? codec.finish(value) : value
}

function single(message: Message): Codec {
  const codec = fieldCodec(message.fields[0]!)
  return {
    write: (out, value, depth) => codec.write(out, value, depth),
    read: (reader, end, budget) => readOnly(codec, reader, end, budget),
  }
}

function union(message: Message): Codec {
  const fields = message.fields.map(fieldCodec)
  const known = byNumber(fields)
  return {
    write(out, value, depth) {
      const codec = fields.find(({ field }) => field.fits!(value))
      if (!codec) throw wrong(message.name, `one of ${fields.map(({ field }) => field.name).join(', ')}`, value)
      codec.write(out, value, depth)
    },
    read(reader, end, budget) {
      let value: unknown
      readFields(reader, end, budget, known, (codec, wire) => {
        value = codec.read(reader, wire, undefined, budget)
        if (codec.finish) value = codec.finish(value)
      })
      return value
    },
  }
}

function tuple(message: Message): Codec {
  const inner = object(message)
  return {
    write(out, value, depth) {
      if (!Array.isArray(value) || value.length !== message.fields.length)
        throw wrong(message.name, `a list of ${message.fields.length}`, value)
      inner.write(out, { ...value }, depth)
    },
    read(reader, end, budget) {
      const value = inner.read(reader, end, budget) as Record<string, unknown>
      return message.fields.map(({ property }) => value[property])
    },
  }
}

// ── fields ───────────────────────────────────────────────────────────────────────────────────────

interface TypeCodec {
  readonly wire: number
  write(writer: BinaryWriter, value: any, depth: number): void
  read(reader: BinaryReader, budget: Budget): unknown
  /** What is not sent, and comes when nothing did. */
  readonly nothing: unknown
}

const wrong = (what: string, wanted: string, value: unknown): TypeError =>
  new TypeError(`${what} is ${wanted}, not ${value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`}`)

function typeCodec(type: Type, name: string): TypeCodec {
  if (type.kind === 'scalar') return scalarCodec(type.scalar, type.big === true, name)
  if (type.kind === 'enum') return enumCodec(type.enum, name)
  // A message may hold itself: it is looked for when a value has come.
  let codec: Codec | undefined
  return {
    wire: BYTES,
    nothing: undefined,
    write(out, value, depth) {
      codec ??= codecOf(type.message)
      out.fork()
      codec.write(out, value, depth)
      out.join()
    },
    read(reader, budget) {
      const length = reader.uint32()
      const end = reader.pos + length
      if (end > reader.len) throw invalid('a message that ends before its end')
      codec ??= codecOf(type.message)
      return codec.read(reader, end, budget)
    },
  }
}

const WIRES: Partial<Record<Scalar, number>> = {
  double: BIT64,
  fixed64: BIT64,
  sfixed64: BIT64,
  float: BIT32,
  fixed32: BIT32,
  sfixed32: BIT32,
  string: BYTES,
  bytes: BYTES,
}
const isPacked = (type: Type): boolean =>
  type.kind === 'enum' || (type.kind === 'scalar' && type.scalar !== 'string' && type.scalar !== 'bytes')

function scalarCodec(scalar: Scalar, big: boolean, name: string): TypeCodec {
  const wire = WIRES[scalar] ?? VARINT
  if (scalar === 'string')
    return {
      wire,
      nothing: '',
      write(out, value) {
        if (typeof value !== 'string') throw wrong(name, 'a text', value)
        if (!isWellFormed(value)) throw new TypeError(`${name} holds half of a character (a lone surrogate)`)
        out.string(value)
      },
      read: (reader) => reader.string(true),
    }
  if (scalar === 'bytes')
    return {
      wire,
      nothing: undefined,
      write(out, value) {
        if (!(value instanceof Uint8Array) && !(value instanceof Uint8ClampedArray)) throw wrong(name, 'a Uint8Array', value)
        out.bytes(value as Uint8Array)
      },
      // A copy: the receiver keeps it, and must not keep the whole message with it.
      read: (reader) => new Uint8Array(reader.bytes()),
    }
  if (scalar === 'bool')
    return {
      wire,
      nothing: false,
      write(out, value) {
        if (typeof value !== 'boolean') throw wrong(name, 'true or false', value)
        out.bool(value)
      },
      read: (reader) => reader.bool(),
    }
  if (WIDE.has(scalar)) return wide(scalar as Wide, wire, big, name)
  return {
    wire,
    nothing: 0,
    write(out, value) {
      if (typeof value !== 'number') throw wrong(name, 'a number', value)
      try {
        out[scalar](value)
      } catch (cause) {
        throw new TypeError(`${name} is a number of type ${scalar}, not ${value}`, { cause })
      }
    },
    read: (reader) => reader[scalar](),
  }
}

type Wide = 'int64' | 'uint64' | 'sint64' | 'fixed64' | 'sfixed64'

function wide(scalar: Wide, wire: number, big: boolean, name: string): TypeCodec {
  return {
    wire,
    nothing: big ? 0n : 0,
    write(out, value) {
      if (typeof value !== (big ? 'bigint' : 'number')) throw wrong(name, big ? 'a bigint' : 'a number', value)
      if (!big && !Number.isSafeInteger(value)) throw new TypeError(`${name} is a whole number of at most 2^53, not ${value}`)
      try {
        out[scalar](value as bigint)
      } catch (cause) {
        throw new TypeError(`${name} is a number of type ${scalar}, not ${value}`, { cause })
      }
    },
    read(reader) {
      const value = BigInt(reader[scalar]())
      if (big) return value
      const number = Number(value)
      if (!Number.isSafeInteger(number)) throw invalid(`${name} is ${value}, more than the 2^53 that a number holds`)
      return number
    },
  }
}

function enumCodec({ values, name: of }: Enum, name: string): TypeCodec {
  // NullValue has one value, and with us it is null.
  if (of === 'google.protobuf.NullValue')
    return { wire: VARINT, nothing: null, write: (out) => void out.int32(0), read: (reader) => (reader.int32(), null) }
  const numbers = new Map(values)
  const names = new Map(values.map(([key, number]) => [number, key]))
  return {
    wire: VARINT,
    nothing: values[0]![0],
    write(out, value) {
      // A number that came, and that nobody here has a name for, goes as it came.
      const number = typeof value === 'number' ? value : numbers.get(value as string)
      if (number === undefined) throw new TypeError(`${name} is one of ${[...numbers.keys()].join(', ')}, not ${JSON.stringify(value)}`)
      out.int32(number)
    },
    read(reader) {
      const number = reader.int32()
      return names.get(number) ?? number
    },
  }
}

const isWellFormed = (text: string): boolean =>
  (text as { isWellFormed?: () => boolean }).isWellFormed?.() ?? !/[\uD800-\uDFFF]/u.test(text)

function fieldCodec(field: Field): FieldCodec {
  if (field.label === 'map') return mapCodec(field)
  const type = typeCodec(field.type, field.property)
  return field.label === 'repeated' ? listCodec(field, type) : oneCodec(field, type)
}

const tagOf = ({ number }: Field, wire: number): number => ((number << 3) | wire) >>> 0

function oneCodec(field: Field, type: TypeCodec): FieldCodec {
  const tag = tagOf(field, type.wire)
  const { nothing } = type
  const implicit = field.label === 'implicit'
  const bytes = field.type.kind === 'scalar' && field.type.scalar === 'bytes'
  const { absent } = field
  return {
    field,
    wire: type.wire,
    finish: undefined,
    write(out, value, depth) {
      if (implicit) {
        if (value === undefined) {
          if ('absent' in field) return
          throw new TypeError(`"${field.property}" is missing`)
        }
        if (value === nothing && !Object.is(value, -0)) return
        if (bytes && (value as Uint8Array).length === 0) return
      } else if (value === undefined || (value === null && absent === null)) return
      out.uint32(tag)
      type.write(out, value, depth)
    },
    read: (reader, _wire, _before, budget) => type.read(reader, budget),
    absent: () => ('absent' in field ? absent : implicit ? (bytes ? new Uint8Array(0) : nothing) : undefined),
  }
}

function listCodec(field: Field, type: TypeCodec): FieldCodec {
  const packed = isPacked(field.type)
  const tag = tagOf(field, packed ? BYTES : type.wire)
  const { collection } = field
  const typed = collection !== undefined && collection !== 'set' && collection !== 'map' ? ARRAYS[collection] : undefined
  const finish =
    collection === 'set' ? (list: unknown[]) => new Set(list) : collection === 'map' ? mapFrom : typed && ((list: any) => new typed(list))
  return {
    field,
    wire: type.wire,
    finish,
    write(out, value, depth) {
      if (value === undefined && 'absent' in field) return
      if (!isMany(value, collection)) throw wrong(field.property, collection ?? 'a list', value)
      if (packed) {
        if (((value as any).length ?? (value as any).size) === 0) return
        out.uint32(tag).fork()
        for (const item of value) type.write(out, item, depth)
        out.join()
        return
      }
      for (const item of value) {
        out.uint32(tag)
        type.write(out, item, depth)
      }
    },
    read(reader, wire, before: unknown[] = [], budget) {
      if (wire === type.wire) {
        before.push(type.read(reader, budget))
        return before
      }
      const length = reader.uint32()
      const end = reader.pos + length
      if (end > reader.len) throw invalid('a list that ends before its end')
      for (; reader.pos < end; before.push(type.read(reader, budget))) if (--budget.values < 0) throw tooMany(budget.limits.values)
      if (reader.pos !== end) throw invalid('a list whose last element is cut')
      return before
    },
    absent: () => (finish ? finish([]) : []),
  }
}

function isMany(value: unknown, collection: Field['collection']): value is Iterable<unknown> {
  if (collection === undefined) return Array.isArray(value)
  if (collection === 'set') return value instanceof Set
  return collection === 'map' ? value instanceof Map : value instanceof ARRAYS[collection]
}

const mapFrom = (entries: [unknown, unknown][]): Map<unknown, unknown> => new Map(entries)

function mapCodec(field: Field): FieldCodec {
  const tag = tagOf(field, BYTES)
  const key = scalarCodec(field.key!, false, field.property)
  const type = typeCodec(field.type, field.property)
  const keyTag = (1 << 3) | key.wire
  const valueTag = (2 << 3) | type.wire
  const toKey = (text: string): unknown => (field.key === 'string' ? text : field.key === 'bool' ? text === 'true' : Number(text))
  const empty = (): unknown =>
    type.nothing !== undefined || field.type.kind !== 'message'
      ? (type.nothing ?? new Uint8Array(0))
      : decode(field.type.message, new Uint8Array(0))
  return {
    field,
    wire: BYTES,
    finish: undefined,
    write(out, value, depth) {
      if (value === undefined && 'absent' in field) return
      if (typeof value !== 'object' || value === null || !isPlainObject(value)) throw wrong(field.property, 'an object', value)
      for (const name of Object.keys(value)) {
        const item = value[name]
        if (forbidden(name, item)) throw forbiddenKey(name)
        if (item === undefined) continue
        out.uint32(tag).fork()
        out.uint32(keyTag)
        key.write(out, toKey(name), depth)
        out.uint32(valueTag)
        type.write(out, item, depth)
        out.join()
      }
    },
    read(reader, _wire, before: Record<string, unknown> = {}, budget) {
      const end = reader.uint32() + reader.pos
      if (end > reader.len) throw invalid('an entry that ends before its end')
      let name = String(key.nothing)
      let item: unknown
      while (reader.pos < end) {
        const at = reader.uint32()
        if (at === keyTag) name = String(key.read(reader, budget))
        else if (at === valueTag) item = type.read(reader, budget)
        else reader.skip(at & 7)
      }
      if (reader.pos !== end) throw invalid('an entry that ends behind its end')
      if (item === undefined) item = empty()
      if (forbidden(name, item)) throw forbiddenKey(name)
      before[name] = item
      return before
    },
    absent: () => ({}),
  }
}

// ── what protobuf brings along ───────────────────────────────────────────────────────────────────

const timestamp: Codec = {
  write(out, value) {
    const time = value instanceof Date ? value.getTime() : NaN
    if (Number.isNaN(time)) throw wrong('a time', 'a valid Date', value)
    const seconds = Math.floor(time / 1000)
    if (seconds !== 0) out.uint32(8).int64(seconds)
    const nanos = (time - seconds * 1000) * 1e6
    if (nanos !== 0) out.uint32(16).int32(nanos)
  },
  read(reader, end) {
    let seconds = 0
    let nanos = 0
    while (reader.pos < end) {
      const tag = reader.uint32()
      if (tag === 8) seconds = Number(reader.int64())
      else if (tag === 16) nanos = reader.int32()
      else reader.skip(tag & 7)
    }
    const date = new Date(seconds * 1000 + Math.floor(nanos / 1e6))
    if (reader.pos !== end || Number.isNaN(date.getTime())) throw invalid('a time that is none')
    return date
  },
}

/** google.protobuf.Value: null_value 1, number_value 2, string_value 3, bool_value 4, struct_value 5, list_value 6. */
const anyValue: Codec = {
  write(out, value, depth) {
    if (value === null || value === undefined) out.uint32(8).int32(0)
    else if (typeof value === 'number') out.uint32(17).double(value)
    else if (typeof value === 'string') out.uint32(26).string(value)
    else if (typeof value === 'boolean') out.uint32(32).bool(value)
    else if (typeof value === 'bigint') out.uint32(26).string(value.toString())
    else if (value instanceof Date) out.uint32(26).string(value.toISOString())
    else if (value instanceof Uint8Array) out.uint32(26).string(Buffer.from(value).toString('base64'))
    else if (depth === 0) throw tooDeep(DEPTH)
    else if (Array.isArray(value)) {
      out.uint32(50).fork()
      for (const item of value) {
        out.uint32(10).fork()
        anyValue.write(out, item, depth - 1)
        out.join()
      }
      out.join()
    } else {
      out.uint32(42).fork()
      struct.write(out, value, depth)
      out.join()
    }
  },
  read(reader, end, budget) {
    let value: unknown = null
    nested(reader, end, budget, 0, (tag) => {
      if (tag === 8) value = (reader.int32(), null)
      else if (tag === 17) value = reader.double()
      else if (tag === 26) value = reader.string(true)
      else if (tag === 32) value = reader.bool()
      else if (tag === 42) value = struct.read(reader, inside(reader, end), budget)
      else if (tag === 50) value = listValue(reader, inside(reader, end), budget)
      else reader.skip(tag & 7)
    })
    return value
  },
}

const struct: Codec = {
  write(out, value, depth) {
    if (typeof value !== 'object' || value === null || !isPlainObject(value)) throw wrong('a value', 'plain data', value)
    for (const name of Object.keys(value)) {
      if (forbidden(name, value[name])) throw forbiddenKey(name)
      if (value[name] === undefined) continue
      out.uint32(10).fork()
      out.uint32(10).string(name)
      out.uint32(18).fork()
      anyValue.write(out, value[name], depth - 1)
      out.join()
      out.join()
    }
  },
  read(reader, end, budget) {
    const value: Record<string, unknown> = {}
    nested(reader, end, budget, 1, (tag) => {
      if (tag !== 10) return void reader.skip(tag & 7)
      let name = ''
      let item: unknown = null
      nested(reader, inside(reader, end), budget, 0, (inner) => {
        if (inner === 10) name = reader.string(true)
        else if (inner === 18) item = anyValue.read(reader, inside(reader, end), budget)
        else reader.skip(inner & 7)
      })
      if (forbidden(name, item)) throw forbiddenKey(name)
      value[name] = item
    })
    return value
  },
}

function listValue(reader: BinaryReader, end: number, budget: Budget): unknown[] {
  const list: unknown[] = []
  nested(reader, end, budget, 1, (tag) => {
    if (tag === 10) list.push(anyValue.read(reader, inside(reader, end), budget))
    else reader.skip(tag & 7)
  })
  return list
}

function inside(reader: BinaryReader, end: number): number {
  const length = reader.uint32()
  if (reader.pos + length > end) throw invalid('a value that ends behind the one around it')
  return reader.pos + length
}

/** `level`: a list or an object of the value, not one of the messages that it takes to say so. */
function nested(reader: BinaryReader, end: number, budget: Budget, level: 0 | 1, take: (tag: number) => void): void {
  budget.depth -= level
  if (budget.depth < 0) throw tooDeep(budget.limits.depth)
  while (reader.pos < end) {
    if (--budget.values < 0) throw tooMany(budget.limits.values)
    take(reader.uint32())
  }
  if (reader.pos !== end) throw invalid('a value that ends behind its end')
  budget.depth += level
}
