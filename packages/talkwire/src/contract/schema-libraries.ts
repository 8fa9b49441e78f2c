/**
 * How a schema of any library becomes JSON Schema. What the wire carries and JSON Schema cannot say gets the mark
 * `x-talkwire` instead of an exception:
 *
 * | mark | value | beside it |
 * |---|---|---|
 * | `bigint` `date` `undefined` `nan` | as spec/wire.md § 5 | `x-value`: the only bigint allowed, as text |
 * | `map` `set` | | `x-keys`, `x-values`: schemas, where the library tells them |
 * | `array` | typed array | `x-dtype` as in spec/wire.md § 5 |
 * | `undescribed` | anything | `$comment`: why nothing better can be said |
 */
import type { StandardSchema } from './standard-schema.js'
import { MAX_SCHEMA_DEPTH, eachSubschema, isObject, type JsonSchema } from './schema-walk.js'

type Schema = StandardSchema<any, any>
type Inner = (schema: unknown) => JsonSchema | undefined
type Row = (inner: Inner) => Record<string, unknown>

/** Map in Map in Map…: a recursive schema would never end otherwise. */
const MAX_ELEMENTS_DEPTH = 4
const TARGET = 'draft-2020-12'

/** Classes of typed arrays, and how the marks call them. */
export const DTYPES: Readonly<Record<string, string>> = {
  Uint8Array: 'u1',
  Buffer: 'u1',
  Int8Array: 'i1',
  Uint16Array: 'u2',
  Int16Array: 'i2',
  Uint32Array: 'u4',
  Int32Array: 'i4',
  BigUint64Array: 'u8',
  BigInt64Array: 'i8',
  Float32Array: 'f4',
  Float64Array: 'f8',
  Uint8ClampedArray: 'c1',
}

const undescribed = (reason: string): JsonSchema => ({ 'x-talkwire': 'undescribed', $comment: reason })
const mark = (kind: string): JsonSchema => ({ 'x-talkwire': kind })

/** The schema of what travels, which is what the schema takes, not what it makes of it. Never rejects: what cannot be said is marked `undescribed`. */
export async function toJsonSchema(schema: Schema): Promise<JsonSchema> {
  try {
    const valibot = schema['~standard'].vendor === 'valibot' ? await import('@valibot/to-json-schema').catch(() => undefined) : undefined
    return plain(converter(valibot)(schema, 0))
  } catch (error) {
    return undescribed(error instanceof Error ? error.message : String(error))
  }
}

type Convert = (schema: Schema, depth: number) => JsonSchema

function converter(valibot: typeof import('@valibot/to-json-schema') | undefined): Convert {
  const convert: Convert = (schema, depth) => {
    const { vendor, jsonSchema } = schema['~standard']
    const libraryOptions = Object.hasOwn(LIBRARIES, vendor) ? LIBRARIES[vendor]!(elements(convert, depth)) : undefined
    if (jsonSchema) return jsonSchema.input({ target: TARGET, libraryOptions })
    if (vendor !== 'valibot') throw new TypeError(`${vendor} gives no JSON Schema`)
    if (!valibot) throw new TypeError('npm install @valibot/to-json-schema describes valibot schemas')
    return valibot.toJsonSchema(schema as never, { target: TARGET, typeMode: 'input', ...libraryOptions }) as JsonSchema
  }
  return convert
}

/** Elements of Maps and Sets are converted on their own; a `$ref` in them would point into a document that is gone. */
const elements =
  (convert: Convert, depth: number): Inner =>
  (schema) => {
    if (depth >= MAX_ELEMENTS_DEPTH) return undefined
    try {
      const result = plain(convert(schema as Schema, depth + 1))
      return hasRef(result) ? undefined : result
    } catch {
      return undefined
    }
  }

/** What each library must be told so that it neither throws nor silently says "anything". */
const LIBRARIES: Readonly<Record<string, Row>> = { zod: zodOptions, arktype: arktypeOptions, valibot: valibotOptions }

// ── zod ────────────────────────────────────────────────────────────────────────────────────────────

interface ZodContext {
  readonly zodSchema: { readonly _zod: { readonly def: ZodDef; readonly bag?: { readonly Class?: unknown } } }
  readonly jsonSchema: Record<string, unknown>
}
interface ZodDef {
  readonly type: string
  readonly values?: readonly unknown[]
  readonly keyType?: unknown
  readonly valueType?: unknown
}

// `unrepresentable` as a function would do, but older zod 4 takes every function for 'any'.
function zodOptions(inner: Inner): Record<string, unknown> {
  return {
    unrepresentable: 'any',
    override({
      zodSchema: {
        _zod: { def, bag },
      },
      jsonSchema,
    }: ZodContext) {
      const better = zodMark(def, bag?.Class, inner)
      if (!better) return
      for (const keyword of ['type', 'const', 'enum', 'anyOf', 'format', 'contentEncoding']) delete jsonSchema[keyword]
      Object.assign(jsonSchema, better)
    },
  }
}

function zodMark(def: ZodDef, type: unknown, inner: Inner): JsonSchema | undefined {
  switch (def.type) {
    case 'bigint':
    case 'date':
    case 'undefined':
    case 'nan':
      return mark(def.type)
    case 'void':
      return mark('undefined')
    case 'map':
      return mapOf(inner(def.keyType), inner(def.valueType))
    case 'set':
      return setOf(inner(def.valueType))
    case 'literal':
      return def.values?.some(isUnsayable) ? oneOfValues(def.values) : undefined
    case 'custom':
      return classMark(type)
    case 'symbol':
    case 'function':
    case 'transform':
    case 'file':
      return undescribed(`zod's ${def.type} has no JSON Schema`)
    default:
      return undefined
  }
}

// ── arktype ────────────────────────────────────────────────────────────────────────────────────────

interface ArkContext {
  readonly code: string
  readonly base: JsonSchema
  readonly domain?: string
  readonly proto?: unknown
  readonly unit?: unknown
}

function arktypeOptions(): Record<string, unknown> {
  return { fallback: (context: ArkContext): JsonSchema => ({ ...context.base, ...arktypeMark(context) }) }
}

function arktypeMark({ code, domain, proto, unit }: ArkContext): JsonSchema {
  if (code === 'date') return mark('date')
  if (code === 'domain') return domain === 'bigint' ? mark('bigint') : undescribed(`arktype's ${domain} has no JSON Schema`)
  if (code === 'proto') return classMark(proto)
  if (code === 'unit') return valueMark(unit)
  return {}
}

// ── valibot ────────────────────────────────────────────────────────────────────────────────────────

interface ValibotContext {
  readonly valibotSchema: ValibotSchema
  readonly errors: readonly string[] | undefined
}
interface ValibotSchema {
  readonly type: string
  readonly key?: unknown
  readonly value?: unknown
  readonly class?: unknown
  readonly literal?: unknown
  readonly options?: readonly unknown[]
}

function valibotOptions(inner: Inner): Record<string, unknown> {
  return {
    errorMode: 'ignore',
    overrideSchema: ({ valibotSchema, errors }: ValibotContext) => (errors ? valibotMark(valibotSchema, inner) : undefined),
  }
}

function valibotMark(schema: ValibotSchema, inner: Inner): JsonSchema {
  switch (schema.type) {
    case 'bigint':
    case 'date':
    case 'undefined':
    case 'nan':
      return mark(schema.type)
    case 'void':
      return mark('undefined')
    case 'map':
      return mapOf(inner(schema.key), inner(schema.value))
    case 'set':
      return setOf(inner(schema.value))
    case 'instance':
      return classMark(schema.class)
    case 'literal':
      return valueMark(schema.literal)
    case 'picklist':
      return oneOfValues(schema.options ?? [])
    default:
      return undescribed(`valibot's ${schema.type} has no JSON Schema`)
  }
}

// ── marks ──────────────────────────────────────────────────────────────────────────────────────────

const mapOf = (keys: JsonSchema | undefined, values: JsonSchema | undefined): JsonSchema => ({
  ...mark('map'),
  ...(keys && { 'x-keys': keys }),
  ...(values && { 'x-values': values }),
})
const setOf = (values: JsonSchema | undefined): JsonSchema => ({ ...mark('set'), ...(values && { 'x-values': values }) })

function classMark(type: unknown): JsonSchema {
  const name = typeof type === 'function' ? type.name : ''
  if (name === 'Date' || name === 'Map' || name === 'Set') return mark(name.toLowerCase())
  if (Object.hasOwn(DTYPES, name)) return { ...mark('array'), 'x-dtype': DTYPES[name]! }
  return undescribed(name ? `an instance of ${name} is not a value of the wire` : 'a check of its own has no JSON Schema')
}

/** Not as `const`: a bigint, undefined, NaN… */
const isUnsayable = (value: unknown): boolean =>
  typeof value === 'bigint' || value === undefined || (typeof value === 'number' && !Number.isFinite(value))

function valueMark(value: unknown): JsonSchema {
  if (value === undefined) return mark('undefined')
  if (typeof value === 'bigint') return { ...mark('bigint'), 'x-value': value.toString() }
  if (Number.isNaN(value)) return mark('nan')
  if (value instanceof Date) return mark('date')
  return undescribed(`this ${typeof value} has no JSON Schema`)
}

const oneOfValues = (values: readonly unknown[]): JsonSchema => ({
  anyOf: values.map((value) => (isUnsayable(value) ? valueMark(value) : { const: value })),
})

// ── optional values ────────────────────────────────────────────────────────────────────────────────

const VALIBOT_OPTIONAL = new Set(['optional', 'exact_optional', 'nullish', 'undefinedable'])

/**
 * Whether a value may be left out, as far as that can be told. `validate(undefined)` would tell for sure, but it runs
 * the checks of the application, and an asynchronous one that fails ends the process as an unhandled rejection.
 */
export function takesUndefined(schema: Schema, described: JsonSchema): boolean {
  const { _zod: zod, type } = schema as { _zod?: { optin?: unknown }; type?: unknown }
  const { vendor } = schema['~standard']
  if (vendor === 'json-schema' && (schema as { optional?: unknown }).optional === true) return true
  if (vendor === 'zod' && zod?.optin !== undefined) return true
  if (vendor === 'valibot' && typeof type === 'string' && VALIBOT_OPTIONAL.has(type)) return true
  return saysUndefined(described)
}

function saysUndefined(described: JsonSchema): boolean {
  if (described['x-talkwire'] === 'undefined' || Object.keys(described).length === 0) return true
  return Array.isArray(described['anyOf']) && described['anyOf'].some((one) => isObject(one) && saysUndefined(one))
}

// ── plain data ─────────────────────────────────────────────────────────────────────────────────────

/** A copy that survives JSON unchanged, without the name of the dialect: it is always the same. */
function plain(schema: JsonSchema): JsonSchema {
  const copy: unknown = JSON.parse(JSON.stringify(schema, sayable))
  if (!isObject(copy)) throw new TypeError('the library gave no object as JSON Schema')
  delete copy['$schema']
  validateDepth(copy, 0)
  return copy
}

function sayable(key: string, value: unknown): unknown {
  if (typeof value !== 'number' || Number.isFinite(value)) return value
  if (/^(exclusive)?(min|max)imum$/i.test(key)) return undefined
  throw new TypeError(`${value} has no JSON Schema`)
}

function validateDepth(schema: JsonSchema, depth: number): void {
  if (depth > MAX_SCHEMA_DEPTH) throw new TypeError('the schema is nested too deeply')
  eachSubschema(schema, (inner) => {
    if (isObject(inner)) validateDepth(inner, depth + 1)
  })
}

function hasRef(schema: JsonSchema): boolean {
  if ('$ref' in schema) return true
  let found = false
  eachSubschema(schema, (inner) => {
    found ||= isObject(inner) && hasRef(inner)
  })
  return found
}
