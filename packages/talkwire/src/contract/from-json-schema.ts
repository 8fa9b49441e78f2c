/**
 * JSON Schema as a schema of a contract: what a foreign service says of its values becomes something to validate them by.
 * Drafts 4, 7, 2019-09 and 2020-12, the dialect of OpenAPI 3.0, and the marks `x-talkwire` of schema-libraries.ts.
 */
import { TalkwireError } from '../error.js'
import { DTYPES } from './schema-libraries.js'
import {
  holdsSchemas,
  isObject,
  isSubschema,
  mapSubschemas,
  MAX_SCHEMA_DEPTH,
  resolveRef,
  type JsonSchema,
  type Subschema,
} from './schema-walk.js'
import type { SchemaIssue, SchemaResult, StandardSchema } from './standard-schema.js'

export const VENDOR = 'json-schema'

export interface JsonSchemaSchema<T = any> extends StandardSchema<T> {
  /** The value may be left out. */
  readonly optional: boolean
}

/**
 * Rejects with MISSING_PACKAGE, and with TypeError for what is no schema. `format` and a `pattern` that JavaScript cannot read are
 * not checked: the service that wrote the schema checks them itself. References must lead into the schema; elsewhere stands anything.
 */
export async function fromJsonSchema<T = any>(schema: Subschema, { optional = false } = {}): Promise<JsonSchemaSchema<T>> {
  const described = inDraft2020(schema, 0)
  const checked = forValidator(described, described)
  const validator = new (await library()).Validator(checked as object, '2020-12')
  const check = (value: unknown): { valid: boolean; errors: Finding[] } => {
    try {
      return validator.validate(asShown(value))
    } catch (reason) {
      // A schema that refers to itself and nothing else has no end.
      const error = `the schema cannot be followed: ${String(reason)}`
      return { valid: false, errors: [{ keyword: '', keywordLocation: '#', instanceLocation: '#', error }] }
    }
  }
  const validate = (value: unknown): SchemaResult<T> => {
    if (value === undefined && optional) return { value: value as T }
    const { valid, errors } = check(value)
    if (!valid && value === undefined) return { issues: [{ message: 'a value is missing' }] }
    return valid ? { value: withoutUndefined(value) as T } : { issues: issuesOf(errors, checked) }
  }
  const describe = (): Record<string, unknown> => (isObject(described) ? described : described ? {} : { not: {} })
  return { optional, '~standard': { version: 1, vendor: VENDOR, validate, jsonSchema: { input: describe, output: describe } } }
}

async function library(): Promise<typeof import('@cfworker/json-schema')> {
  try {
    return await import('@cfworker/json-schema')
  } catch (cause) {
    throw new TalkwireError(
      'MISSING_PACKAGE',
      'a contract made of JSON Schema needs the package "@cfworker/json-schema"; run npm install @cfworker/json-schema',
      { cause },
    )
  }
}

// ── one draft ────────────────────────────────────────────────────────────────────────────────────

function inDraft2020(schema: unknown, depth: number): Subschema {
  if (typeof schema === 'boolean') return schema
  if (!isObject(schema)) throw new TypeError(`a JSON Schema is an object, true or false, not ${JSON.stringify(schema)}`)
  if (depth > MAX_SCHEMA_DEPTH) throw new TypeError('the schema is nested too deeply')
  return nullable(bounds(mapSubschemas(lists(dependencies(schema)), (inner) => inDraft2020(inner, depth + 1))))
}

/** Until draft 2019-09, `items` could be a list, with `additionalItems` behind it. */
function lists({ items, additionalItems, ...schema }: JsonSchema): JsonSchema {
  if (!Array.isArray(items)) return items === undefined ? schema : { ...schema, items }
  return { ...schema, prefixItems: items, ...(additionalItems !== undefined && { items: additionalItems }) }
}

/** In draft 4 and OpenAPI 3.0, that a bound is exclusive is said beside it. */
function bounds(schema: JsonSchema): JsonSchema {
  const copy: Record<string, unknown> = { ...schema }
  for (const [bound, exclusive] of [
    ['minimum', 'exclusiveMinimum'],
    ['maximum', 'exclusiveMaximum'],
  ] as const) {
    if (typeof copy[exclusive] !== 'boolean') continue
    const excludes = copy[exclusive] && bound in copy
    const value = copy[bound]
    delete copy[exclusive]
    if (!excludes) continue
    delete copy[bound]
    copy[exclusive] = value
  }
  return copy
}

/** OpenAPI 3.0. */
function nullable({ nullable: orNull, ...schema }: JsonSchema): JsonSchema {
  return orNull === true ? { anyOf: [schema, { type: 'null' }] } : schema
}

/** Until draft 2019-09, one keyword for both. */
function dependencies({ dependencies: both, ...schema }: JsonSchema): JsonSchema {
  if (!isObject(both)) return schema
  const entries = Object.entries(both)
  return {
    ...schema,
    dependentRequired: Object.fromEntries(entries.filter(([, value]) => Array.isArray(value))),
    dependentSchemas: Object.fromEntries(entries.filter(([, value]) => !Array.isArray(value))),
  }
}

// ── for the validator ────────────────────────────────────────────────────────────────────────────

/** What is neither here nor holds schemas says nothing about values, or, as `$id` and `examples`, something that the validator would take for schemas. */
const ASSERTIONS = new Set([
  '$ref',
  'type',
  'const',
  'enum',
  'required',
  'minProperties',
  'maxProperties',
  'dependentRequired',
  'minItems',
  'maxItems',
  'uniqueItems',
  'minContains',
  'maxContains',
  'minimum',
  'maximum',
  'exclusiveMinimum',
  'exclusiveMaximum',
  'multipleOf',
  'minLength',
  'maxLength',
  'pattern',
])
/** These hold schemas, too, and the validator knows nothing of them. */
const OURS = new Set(['contentSchema', 'x-keys', 'x-values'])

/** A copy: the validator writes into its schemas. */
function forValidator(schema: Subschema, root: Subschema): Subschema {
  if (typeof schema === 'boolean') return schema
  const marked = schema['x-talkwire']
  if (typeof marked === 'string') return markedAs(marked, schema, root)
  const { pattern, patternProperties, $ref, ...plain } = mapSubschemas(schema, (inner) => forValidator(inner, root))
  const known = Object.entries(plain).filter(([keyword]) => ASSERTIONS.has(keyword) || (holdsSchemas(keyword) && !OURS.has(keyword)))
  return {
    ...Object.fromEntries(known),
    ...(typeof $ref === 'string' && leadsSomewhere($ref, root) && { $ref }),
    ...(typeof pattern === 'string' && isReadable(pattern) && { pattern }),
    ...(isObject(patternProperties) && {
      patternProperties: Object.fromEntries(Object.entries(patternProperties).filter(([each]) => isReadable(each))),
    }),
  }
}

function isReadable(pattern: string): boolean {
  try {
    void new RegExp(pattern, 'u')
    return true
  } catch {
    return false
  }
}

// A reference to nothing would be an error of the validator at each value.
const leadsSomewhere = (ref: string, root: Subschema): boolean => isObject(root) && resolveRef(root, ref) !== undefined

/** Names what JSON does not have, in the copy of a value that the validator sees. Nobody can guess it, so nobody can send it. */
const MARK = `\0${crypto.randomUUID()}`

function markedAs(kind: string, schema: JsonSchema, root: Subschema): Subschema {
  if (kind === 'undescribed' || kind === 'descriptor') return true
  const inner = (keyword: string): Subschema => forValidator(isSubschema(schema[keyword]) ? schema[keyword] : true, root)
  const properties: Record<string, unknown> = { [MARK]: { const: kind } }
  if (kind === 'bigint' && 'x-value' in schema) properties['text'] = { const: schema['x-value'] }
  if (kind === 'array' && 'x-dtype' in schema) properties['type'] = { enum: classesOf(schema['x-dtype']) }
  if (kind === 'map') properties['keys'] = { items: inner('x-keys') }
  if (kind === 'map' || kind === 'set') properties['values'] = { items: inner('x-values') }
  return { type: 'object', required: [MARK], properties }
}

const classesOf = (dtype: unknown): string[] => Object.keys(DTYPES).filter((name) => DTYPES[name] === dtype)

const NO_JSON = new Set(['undefined', 'function', 'symbol'])

/** What the validator sees of a value: what it does not know is an object with its mark. The same value where it knows everything. */
function asShown(value: unknown): unknown {
  if (typeof value === 'number') return Number.isNaN(value) ? { [MARK]: 'nan' } : value
  if (typeof value === 'bigint') return { [MARK]: 'bigint', text: String(value) }
  if (typeof value !== 'object' || value === null) return NO_JSON.has(typeof value) ? { [MARK]: typeof value } : value
  if (value instanceof Date) return { [MARK]: 'date' }
  if (value instanceof Map) return { [MARK]: 'map', keys: [...value.keys()].map(asShown), values: [...value.values()].map(asShown) }
  if (value instanceof Set) return { [MARK]: 'set', values: [...value].map(asShown) }
  if (ArrayBuffer.isView(value)) return { [MARK]: 'array', type: value.constructor.name }
  return changed(value, asShown)
}

/** JSON leaves such fields out. */
const withoutUndefined = (value: unknown): unknown => (Array.isArray(value) || isPlain(value) ? changed(value, withoutUndefined) : value)

const isPlain = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value) as object)

/** The same object or list where nothing in it changes; a copy otherwise, without fields that are undefined. */
function changed(value: object, change: (inner: unknown) => unknown): unknown {
  if (Array.isArray(value)) {
    const copy = value.map(change)
    return copy.every((item, index) => Object.is(item, value[index])) ? value : copy
  }
  const entries = Object.entries(value)
  const copy = entries.filter(([, item]) => item !== undefined).map(([key, item]) => [key, change(item)] as const)
  const same = copy.length === entries.length && copy.every(([, item], index) => Object.is(item, entries[index]![1]))
  return same ? value : Object.fromEntries(copy)
}

interface Finding {
  readonly keyword: string
  readonly keywordLocation: string
  readonly instanceLocation: string
  readonly error: string
}

/** Keywords whose errors say only that there are others below. */
const saysOnlyThat = (keyword: string): boolean => keyword === '$ref' || holdsSchemas(keyword)

function issuesOf(errors: readonly Finding[], schema: Subschema): SchemaIssue[] {
  const telling = errors.filter(({ keyword }) => !saysOnlyThat(keyword))
  return (telling.length > 0 ? telling : errors).map((error) => issueOf(error, schema))
}

/** Neither text nor path may name the mark: whoever is shown it could send it. */
function issueOf({ keyword, keywordLocation, instanceLocation, error }: Finding, schema: Subschema): SchemaIssue {
  const kind = kindAt(keywordLocation, schema)
  const tokens = pathOf(instanceLocation)
  const path = tokens.filter((token) => token !== MARK)
  if (kind === undefined) return { message: error, path }
  // The error is of a field of what the validator sees in place of the value.
  const within = (keyword === 'enum' || keyword === 'const') && path.length === tokens.length
  return { message: `expected ${KINDS[kind] ?? kind}`, path: within ? path.slice(0, -1) : path }
}

const KINDS: Readonly<Record<string, string>> = {
  array: 'bytes or numbers in an array',
  bigint: 'a big integer',
  date: 'a date',
  map: 'a Map',
  nan: 'NaN',
  set: 'a Set',
  undefined: 'nothing',
}

/** What of ours stands in the validator's schema where an error came from; undefined: nothing, or something within it. */
function kindAt(location: string, schema: Subschema): string | undefined {
  let kind = markIn(schema)
  let at: unknown = schema
  for (const token of pathOf(location)) {
    at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[token] : undefined
    if (token === '$ref' && typeof at === 'string') at = isObject(schema) ? resolveRef(schema, at) : undefined
    kind = markIn(at) ?? (token === 'items' ? undefined : kind)
  }
  return kind
}

function markIn(schema: unknown): string | undefined {
  const properties = isObject(schema) && isObject(schema['properties']) ? schema['properties'] : {}
  const own = Object.hasOwn(properties, MARK) ? properties[MARK] : undefined
  return isObject(own) ? String(own['const']) : undefined
}

const pathOf = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((token) => decodeURIComponent(token).replaceAll('~1', '/').replaceAll('~0', '~'))
