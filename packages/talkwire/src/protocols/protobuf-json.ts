/** Values of ours to protobuf's JSON and back, as messages say. Sans I/O. https://protobuf.dev/programming-guides/json/ */
import { forbidden, forbiddenKey } from '../codecs/codec.js'
import { fromJson, toJson, type PlainLimits } from '../codecs/plain-json.js'
import { isObject } from '../contract/schema-walk.js'
import { ARRAYS } from '../dtypes.js'
import { TalkwireError } from '../error.js'
import { WIDE, type Field, type Message, type Type } from './protobuf-model.js'

/** Throws TypeError for what is no such value, TOO_DEEP, FORBIDDEN_KEY. */
export const toProtoJson = (message: Message, value: unknown, limits?: PlainLimits): string => toJson(messageTo(message, value), limits)

/** Throws INVALID_MESSAGE, TOO_DEEP, LIMIT_EXCEEDED, FORBIDDEN_KEY. */
export function fromProtoJson(message: Message, bytes: Buffer, limits?: PlainLimits): unknown {
  return messageFrom(message, fromJson(bytes.length === 0 ? Buffer.from('{}') : bytes, limits), message.name)
}

const invalid = (path: string, wanted: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', `${path} is ${wanted}`)

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

function messageTo(message: Message, value: any): unknown {
  switch (message.shape) {
    case 'empty':
      return {}
    case 'timestamp':
    case 'value':
    case 'struct':
      return value ?? null
    case 'single': {
      const only = message.fields[0]!
      const said = fieldTo(only, value)
      // Google's wrappers are what they wrap.
      return message.file ? said : { [only.json]: said }
    }
    case 'union': {
      const field = message.fields.find(({ fits }) => fits!(value))
      if (!field) throw new TypeError(`${message.name} is one of ${message.fields.map(({ name }) => name).join(', ')}`)
      return { [field.json]: fieldTo(field, value) }
    }
    default: {
      if (typeof value !== 'object' || value === null) throw new TypeError(`${message.name} is an object, not a ${typeof value}`)
      const said: Record<string, unknown> = {}
      for (const field of message.fields) {
        const item = (value as Record<string, unknown>)[field.property]
        if (item === undefined && field.label !== 'optional' && !('absent' in field)) throw new TypeError(`"${field.property}" is missing`)
        if (item !== undefined && !(item === null && field.absent === null)) said[field.json] = fieldTo(field, item)
      }
      return said
    }
  }
}

function fieldTo(field: Field, value: any): unknown {
  if (field.label === 'repeated') return Array.from(value as Iterable<unknown>, (item) => typeTo(field.type, item))
  if (field.label !== 'map') return typeTo(field.type, value)
  return Object.fromEntries(
    Object.entries(value as object).flatMap(([key, item]) => {
      if (forbidden(key, item)) throw forbiddenKey(key)
      return item === undefined ? [] : [[key, typeTo(field.type, item)]]
    }),
  )
}

function typeTo(type: Type, value: any): unknown {
  if (type.kind === 'message') return messageTo(type.message, value)
  if (type.kind === 'enum') return type.enum.name === 'google.protobuf.NullValue' ? null : value
  if (WIDE.has(type.scalar)) return String(value)
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
  return value
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

function messageFrom(message: Message, value: unknown, path: string): unknown {
  switch (message.shape) {
    case 'empty':
      return undefined
    case 'value':
      return value
    case 'timestamp': {
      const date = typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value) ? new Date(value) : undefined
      if (!date || Number.isNaN(date.getTime())) throw invalid(path, 'a time such as "2026-01-31T12:00:00Z"')
      return date
    }
    case 'single':
      if (message.file) return fieldFrom(message.fields[0]!, value, path)
  }
  if (!isObject(value)) throw invalid(path, 'an object')
  if (message.shape === 'struct') return value
  const fields = message.fields.map((field) => [field, value[field.json] ?? value[field.name]] as const)
  if (message.shape === 'union') {
    const said = fields.filter(
      ([field, item]) => item !== undefined || (isNull(field.type) && (field.json in value || field.name in value)),
    )
    if (said.length > 1) throw invalid(path, `one of ${said.map(([{ json }]) => json).join(', ')}, not several`)
    return said[0] && fieldFrom(...said[0], `${path}.${said[0][0].json}`)
  }
  const result: Record<string, unknown> = {}
  for (const [field, item] of fields) {
    const read =
      item === undefined || (item === null && !takesNull(field)) ? absent(field) : fieldFrom(field, item, `${path}.${field.json}`)
    if (read !== undefined) result[field.property] = read
  }
  if (message.shape === 'tuple') return message.fields.map(({ property }) => result[property])
  return message.shape === 'single' ? result[message.fields[0]!.property] : result
}

const isNull = (type: Type): boolean => type.kind === 'enum' && type.enum.name === 'google.protobuf.NullValue'
const takesNull = ({ type }: Field): boolean => isNull(type) || (type.kind === 'message' && type.message.shape === 'value')

function absent(field: Field): unknown {
  if (field.label === 'repeated') return collected(field, [])
  if (field.label === 'map') return {}
  if ('absent' in field) return field.absent
  if (field.label !== 'implicit' || field.type.kind === 'message') return undefined
  if (field.type.kind === 'enum') return isNull(field.type) ? null : field.type.enum.values[0]![0]
  const { scalar, big } = field.type
  return scalar === 'string' ? '' : scalar === 'bool' ? false : scalar === 'bytes' ? new Uint8Array(0) : big ? 0n : 0
}

function collected({ collection }: Field, list: any[]): unknown {
  if (collection === undefined) return list
  if (collection === 'set') return new Set(list)
  return collection === 'map' ? new Map(list) : new ARRAYS[collection](list as never)
}

function fieldFrom(field: Field, value: unknown, path: string): unknown {
  if (field.label === 'repeated') {
    if (!Array.isArray(value)) throw invalid(path, 'a list')
    return collected(
      field,
      value.map((item, index) => typeFrom(field.type, item, `${path}[${index}]`)),
    )
  }
  if (field.label !== 'map') return typeFrom(field.type, value, path)
  if (!isObject(value)) throw invalid(path, 'an object')
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, typeFrom(field.type, item, `${path}.${key}`)]))
}

function typeFrom(type: Type, value: unknown, path: string): unknown {
  if (type.kind === 'message') return messageFrom(type.message, value, path)
  if (type.kind === 'enum') {
    if (isNull(type)) return null
    const { values } = type.enum
    const found = values.find(([name, number]) => value === name || value === number)
    if (!found && typeof value !== 'number') throw invalid(path, `one of ${values.map(([name]) => name).join(', ')}`)
    return found ? found[0] : value
  }
  const { scalar, big } = type
  if (scalar === 'string') return typeof value === 'string' ? value : fail(path, 'a text')
  if (scalar === 'bool') return typeof value === 'boolean' ? value : fail(path, 'true or false')
  if (scalar === 'bytes') {
    if (typeof value !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(value)) throw invalid(path, 'bytes in base64')
    return new Uint8Array(Buffer.from(value, 'base64'))
  }
  if (WIDE.has(scalar)) return wideFrom(scalar.startsWith('u') || scalar === 'fixed64', big === true, value, path)
  return numberFrom(scalar, value, path)
}

function fail(path: string, wanted: string): never {
  throw invalid(path, wanted)
}

function wideFrom(unsigned: boolean, big: boolean, value: unknown, path: string): unknown {
  if (typeof value === 'string' ? !/^-?\d{1,20}$/.test(value) : !Number.isSafeInteger(value))
    throw invalid(path, 'a whole number of 64 bits')
  const number = BigInt(value as string | number)
  if (unsigned ? BigInt.asUintN(64, number) !== number : BigInt.asIntN(64, number) !== number)
    throw invalid(path, 'a whole number of 64 bits')
  if (big) return number
  if (!Number.isSafeInteger(Number(number))) throw invalid(path, 'a whole number of at most 2^53')
  return Number(number)
}

const SPECIAL = new Map<unknown, number>([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
])

function numberFrom(scalar: string, value: unknown, path: string): number {
  const exact = scalar !== 'double' && scalar !== 'float'
  const number = exact ? undefined : SPECIAL.get(value)
  if (number !== undefined) return number
  const read =
    typeof value === 'number' ? value : typeof value === 'string' && /^-?[\d.]+([eE][+-]?\d+)?$/.test(value) ? Number(value) : NaN
  if (!Number.isFinite(read) || (exact && !Number.isInteger(read))) throw invalid(path, exact ? 'a whole number' : 'a number')
  const low = scalar.startsWith('u') || scalar === 'fixed32' ? 0 : -(2 ** 31)
  if (exact && (read < low || read > (low === 0 ? 2 ** 32 - 1 : 2 ** 31 - 1))) throw invalid(path, `a number of type ${scalar}`)
  return read
}
