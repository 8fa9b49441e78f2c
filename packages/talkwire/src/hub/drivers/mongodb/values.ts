/**
 * A body as a field of a document: JSON as MongoDB's own values, so that foreign programs see what they would have written; text as a
 * string, bytes as bytes. What would come back otherwise than it went is kept as bytes, and `type` says what they are.
 */
import { isUtf8 } from 'node:buffer'
import type { Binary, BSON } from 'mongodb'
import type { BodyType, Headers, Incoming, Outgoing } from '../../driver.js'
import { headersOf } from '../broker.js'

type Bson = typeof BSON

/** Without a type: bytes are bytes, everything else is JSON. */
export interface Field {
  readonly value: unknown
  readonly type?: string
}

/** MongoDB's documents are 100 deep at most, and ours has some around it. */
const DEEPEST = 80
/** Half of a pair: no text of MongoDB's has that. */
const HALF = /\\u[dD][89a-fA-F]/

export function fieldOf(bson: Bson, body: Uint8Array, type: BodyType): Field {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  if (type === 'bytes') return { value: new bson.Binary(bytes) }
  const whole = { value: new bson.Binary(bytes), type }
  if (!isUtf8(bytes)) return whole
  const text = bytes.toString()
  if (type === 'text') return { value: text, type }
  if (HALF.test(text)) return whole
  try {
    const value: unknown = JSON.parse(text)
    return isPlain(value, 0) ? { value } : whole
  } catch {
    return whole
  }
}

/** Those of a job or a message. */
export interface Fields {
  readonly value?: unknown
  readonly type?: string
  readonly headers?: unknown
}

export function fieldsOf(bson: Bson, { body, type, headers }: Outgoing): Fields {
  const fields = fieldOf(bson, body, type)
  if (Object.keys(headers).length === 0) return fields
  return { ...fields, headers: fieldOf(bson, Buffer.from(JSON.stringify(headers)), 'json').value }
}

export const incomingOf = ({ value, type, headers }: Fields): Incoming => ({ ...bodyOf(value, type), headers: headersIn(headers) })

function headersIn(field: unknown): Headers {
  if (field === undefined) return {}
  return headersOf(Buffer.from(bodyOf(field, 'json').body).toString())
}

/** Comes back from MongoDB as it went there. */
function isPlain(value: unknown, depth: number): boolean {
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0)
  if (typeof value !== 'object' || value === null) return true
  if (depth === DEEPEST) return false
  if (Array.isArray(value)) return value.every((each) => isPlain(each, depth + 1))
  return Object.entries(value).every(([key, each]) => isName(key) && isPlain(each, depth + 1))
}

/** What begins with "$" is a word of MongoDB's, and two more are words of the library's. */
const isName = (key: string): boolean => !(key.startsWith('$') || key.includes('\0') || ['_bsontype', 'toBSON', '__proto__'].includes(key))

export function bodyOf(value: unknown, type: unknown): { body: Uint8Array; type: BodyType | undefined } {
  const said = type === 'json' || type === 'text' || type === 'bytes' ? type : undefined
  if (isBinary(value)) return { body: value.value(), type: said ?? 'bytes' }
  if (typeof value === 'string' && said === 'text') return { body: Buffer.from(value), type: said }
  return { body: Buffer.from(JSON.stringify(value, textual) ?? 'null'), type: 'json' }
}

const isBinary = (value: unknown): value is Binary => bsonType(value) === 'Binary'
const bsonType = (value: unknown): unknown => (typeof value === 'object' && value !== null ? (value as Binary)._bsontype : undefined)

/** What foreign programs write and JSON has not: dates are ISO 8601, bytes base64, large numbers text. */
function textual(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const there = this[key]
  return bsonType(there) === 'Long' || bsonType(there) === 'Decimal128' ? String(there) : value
}
