/** What JSON has no word for, read out of what it says instead: the way back of docs/protocols/http.md, Types. Sans I/O. */
import { isObject, MAX_SCHEMA_DEPTH, resolveRef, type JsonSchema, type Subschema } from './schema-walk.js'
import type { StandardSchema } from './standard-schema.js'

type Schema = StandardSchema<any, any>

/**
 * The same schema for callers that speak JSON: text and numbers where it wants a date, bytes or a big integer are these, a list is a
 * set and an object a map where it wants one. Whatever does not fit stays as it is, for the schema to refuse.
 */
export function revived(schema: Schema): Schema {
  const own = schema['~standard']
  const described = own.jsonSchema?.input({ target: 'draft-2020-12' })
  if (!described || !JSON.stringify(described).includes('"x-talkwire"')) return schema
  return { ...schema, '~standard': { ...own, validate: (value: unknown) => own.validate(revive(value, described, described, 0)) } }
}

function revive(value: unknown, schema: Subschema | undefined, root: JsonSchema, depth: number): unknown {
  if (!isObject(schema) || value === null || value === undefined || depth > MAX_SCHEMA_DEPTH) return value
  if (typeof schema['$ref'] === 'string') return revive(value, resolveRef(root, schema['$ref']), root, depth + 1)
  const mark = schema['x-talkwire']
  if (mark === 'set' && Array.isArray(value)) return new Set(list(value, { items: schema['x-values'] }, root, depth))
  if (mark === 'map' && isRecord(value)) return map(value, schema, root, depth)
  if (typeof mark === 'string') return marked(value, mark, schema)
  const union = [schema['anyOf'], schema['oneOf']].find(Array.isArray) as Subschema[] | undefined
  for (const one of union ?? []) {
    const other = revive(value, one, root, depth + 1)
    if (other !== value) return other
  }
  if (Array.isArray(value)) return list(value, schema, root, depth)
  return isRecord(value) ? members(value, schema, root, depth) : value
}

const isRecord = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** The keys of JSON are texts, whatever they were. */
function map(value: object, { 'x-keys': keys, 'x-values': values }: JsonSchema, root: JsonSchema, depth: number): Map<unknown, unknown> {
  const keyOf = (text: string): unknown => {
    const wanted = isObject(keys) ? [keys['type']].flat() : []
    if ((wanted.includes('integer') || wanted.includes('number')) && text.trim() !== '' && Number.isFinite(Number(text)))
      return Number(text)
    if (wanted.includes('boolean') && (text === 'true' || text === 'false')) return text === 'true'
    return revive(text, keys as Subschema, root, depth + 1)
  }
  return new Map(Object.entries(value).map(([key, each]) => [keyOf(key), revive(each, values as Subschema, root, depth + 1)]))
}

function list(values: unknown[], { items, prefixItems }: JsonSchema, root: JsonSchema, depth: number): unknown[] {
  const own = Array.isArray(prefixItems) ? (prefixItems as Subschema[]) : []
  const copy = values.map((each, at) => revive(each, own[at] ?? (items as Subschema), root, depth + 1))
  return copy.some((each, at) => each !== values[at]) ? copy : values
}

function members(value: object, { properties, additionalProperties }: JsonSchema, root: JsonSchema, depth: number): object {
  const known = isObject(properties) ? properties : {}
  const entries = Object.entries(value)
  const copy = entries.map(([name, each]) => {
    const schema = Object.hasOwn(known, name) ? known[name] : additionalProperties
    return [name, revive(each, schema as Subschema, root, depth + 1)] as const
  })
  return copy.some(([, each], at) => each !== entries[at]![1]) ? Object.fromEntries(copy) : value
}

const DATE = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?)?$/
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/

function marked(value: unknown, mark: string, schema: JsonSchema): unknown {
  if (mark === 'date' && typeof value === 'string' && DATE.test(value)) {
    const date = new Date(value)
    return Number.isNaN(date.getTime()) ? value : date
  }
  if (mark === 'bigint' && ((typeof value === 'string' && /^-?\d{1,4000}$/.test(value)) || Number.isSafeInteger(value)))
    return BigInt(value as string | number)
  if (mark === 'array' && schema['x-dtype'] === 'u1' && typeof value === 'string' && BASE64.test(value))
    return new Uint8Array(Buffer.from(value, 'base64'))
  return value
}
