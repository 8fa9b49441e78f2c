/** Where JSON Schema keeps schemas inside schemas. Everything that walks one goes through here. */

/** A JSON Schema of draft 2020-12 as plain data. */
export type JsonSchema = { readonly [keyword: string]: unknown }
export type Subschema = JsonSchema | boolean

const ONE = new Set([
  'items',
  'additionalProperties',
  'propertyNames',
  'contains',
  'not',
  'if',
  'then',
  'else',
  'unevaluatedItems',
  'unevaluatedProperties',
  'contentSchema',
  'x-keys',
  'x-values',
])
const LIST = new Set(['prefixItems', 'anyOf', 'oneOf', 'allOf'])
const NAMED = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas'])

/** Whether the schema's keyword holds schemas. */
export const holdsSchemas = (keyword: string): boolean => ONE.has(keyword) || LIST.has(keyword) || NAMED.has(keyword)

/** Keywords that say nothing about which values are valid. */
export const ANNOTATIONS: ReadonlySet<string> = new Set([
  '$schema',
  '$id',
  'id',
  '$anchor',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'examples',
  'default',
  'deprecated',
  'readOnly',
  'writeOnly',
])

export const withoutAnnotations = (schema: JsonSchema): JsonSchema =>
  Object.fromEntries(Object.entries(schema).filter(([key]) => !ANNOTATIONS.has(key)))

/** Depth at which a schema is no longer looked into: nobody wrote it by hand, and the stack is finite. */
export const MAX_SCHEMA_DEPTH = 256

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
export const isSubschema = (value: unknown): value is Subschema => typeof value === 'boolean' || isObject(value)

/** Calls `visit` with each schema directly inside, and its JSON pointer from here. */
export function eachSubschema(schema: JsonSchema, visit: (inner: Subschema, pointer: string) => void): void {
  for (const [keyword, value] of Object.entries(schema)) {
    if (ONE.has(keyword) && isSubschema(value)) visit(value, `/${keyword}`)
    else if (LIST.has(keyword) && Array.isArray(value))
      value.forEach((inner: unknown, index) => {
        if (isSubschema(inner)) visit(inner, `/${keyword}/${index}`)
      })
    else if (NAMED.has(keyword) && isObject(value))
      for (const [name, inner] of Object.entries(value)) if (isSubschema(inner)) visit(inner, `/${keyword}/${escapePointer(name)}`)
  }
}

/** A copy whose inner schemas have gone through `change`. */
export function mapSubschemas(schema: JsonSchema, change: (inner: Subschema) => Subschema): JsonSchema {
  return Object.fromEntries(Object.entries(schema).map(([keyword, value]) => [keyword, mapKeyword(keyword, value, change)]))
}

function mapKeyword(keyword: string, value: unknown, change: (inner: Subschema) => Subschema): unknown {
  const each = (inner: unknown): unknown => (isSubschema(inner) ? change(inner) : inner)
  if (ONE.has(keyword)) return each(value)
  if (LIST.has(keyword) && Array.isArray(value)) return value.map(each)
  if (NAMED.has(keyword) && isObject(value)) return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, each(inner)]))
  return value
}

/** What a `$ref` within one schema document points at; undefined when it points outside or nowhere. */
export function resolveRef(root: JsonSchema, ref: string): Subschema | undefined {
  if (!ref.startsWith('#')) return undefined
  let at: unknown = root
  for (const token of ref.slice(1).split('/').slice(1)) {
    const key = unescapePointer(token)
    if (key === undefined || typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
    at = (at as Record<string, unknown>)[key]
  }
  return ref === '#' || ref.startsWith('#/') ? (isSubschema(at) ? at : undefined) : undefined
}

/** What a schema stands for that only refers to another; anything, where that leads nowhere. `resolve`: as `resolveRef`. */
export function referred(schema: Subschema, resolve: (ref: string) => Subschema | undefined): Subschema {
  for (let hops = 0, at = schema; hops < 8; hops++) {
    if (!isObject(at) || typeof at['$ref'] !== 'string') return at
    at = resolve(at['$ref']) ?? true
  }
  return true
}

const escapePointer = (token: string): string => token.replaceAll('~', '~0').replaceAll('/', '~1')

function unescapePointer(token: string): string | undefined {
  try {
    return decodeURIComponent(token).replaceAll('~1', '/').replaceAll('~0', '~')
  } catch {
    return undefined
  }
}

/** A schema that also takes null, without it: `anyOf`/`oneOf` of it and null, or one `type` of several. */
export function withoutNull(schema: JsonSchema): { plain: Subschema; nullable: boolean } {
  const list = [schema['anyOf'], schema['oneOf']].find(Array.isArray) as Subschema[] | undefined
  const others = list?.filter((each) => !isObject(each) || each['type'] !== 'null')
  if (list && others!.length === 1 && list.length === 2) return { plain: others![0]!, nullable: true }
  const types = schema['type']
  if (!Array.isArray(types) || !types.includes('null')) return { plain: schema, nullable: false }
  const left = types.filter((type) => type !== 'null') as unknown[]
  return { plain: { ...schema, type: left.length === 1 ? left[0] : left }, nullable: true }
}
