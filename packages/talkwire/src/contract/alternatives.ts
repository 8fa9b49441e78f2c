/** A schema taken apart: the values it names one by one, and what else it takes. `type`, `enum`, `const`, `anyOf`, `oneOf` are one thing here. */
import { canonicalJson } from './canonical.js'
import { isObject, isSubschema, resolveRef, withoutAnnotations, type JsonSchema, type Subschema } from './schema-walk.js'

export interface Alternatives {
  /** Schemas with one type at most, without unions and references. */
  readonly shapes: readonly JsonSchema[]
  /** Canonical JSON of each value that is named. */
  readonly values: ReadonlySet<string>
  /** `oneOf` whose alternatives may overlap, references that lead nowhere: nothing can be concluded from the rest. */
  readonly unclear: boolean
}

const NUMERIC = ['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf']
/** Keywords that mean nothing for the other types. */
const KEYWORDS: Readonly<Record<string, readonly string[]>> = {
  string: ['minLength', 'maxLength', 'pattern', 'format', 'contentEncoding', 'contentMediaType', 'contentSchema'],
  number: NUMERIC,
  integer: NUMERIC,
  array: ['items', 'prefixItems', 'minItems', 'maxItems', 'uniqueItems', 'contains', 'minContains', 'maxContains', 'unevaluatedItems'],
  object: [
    'properties',
    'required',
    'additionalProperties',
    'patternProperties',
    'propertyNames',
    'minProperties',
    'maxProperties',
    'dependentRequired',
    'dependentSchemas',
    'unevaluatedProperties',
  ],
  boolean: [],
  null: [],
}
const TYPED = new Set(Object.values(KEYWORDS).flat())
const TYPES_OF_JSON = ['string', 'number', 'boolean', 'null', 'array', 'object']
/** Shared definitions can multiply without end. */
const MAX_PARTS = 500

/** One JSON Schema document, whose references point into itself. */
export interface SchemaDocument {
  readonly root: JsonSchema
  /** What a schema that is nothing but a reference stands for; the same object each time. */
  resolve(schema: Subschema): Subschema
  alternatives(schema: Subschema): Alternatives
}

export function schemaDocument(root: JsonSchema): SchemaDocument {
  const known = new WeakMap<JsonSchema, Alternatives>()
  return {
    root,
    resolve: (schema) => resolveAlias(schema, root),
    alternatives(schema) {
      if (schema === false) return NOTHING
      if (schema === true) return ANYTHING
      const found = known.get(schema) ?? collect(schema, root)
      known.set(schema, found)
      return found
    },
  }
}

function resolveAlias(schema: Subschema, root: JsonSchema): Subschema {
  const seen = new Set<Subschema>()
  let at = schema
  while (isObject(at) && typeof at['$ref'] === 'string' && Object.keys(withoutAnnotations(at)).length === 1) {
    const target = resolveRef(root, at['$ref'])
    if (target === undefined || seen.has(at)) return at
    seen.add(at)
    at = target
  }
  return at
}

const NOTHING: Alternatives = { shapes: [], values: new Set(), unclear: false }
const ANYTHING: Alternatives = { shapes: [{}], values: new Set(), unclear: false }

function collect(schema: JsonSchema, root: JsonSchema): Alternatives {
  const shapes: JsonSchema[] = []
  const values = new Set<string>()
  let unclear = false
  let parts = 0
  const add = (part: Subschema, refs: readonly string[]): void => {
    if (part === false) return
    if (++parts > MAX_PARTS) {
      unclear = true
      return
    }
    const assertions = part === true ? {} : withoutAnnotations(part)
    const { $ref, anyOf, oneOf, type, ...rest } = assertions
    if (typeof $ref === 'string') return addRef($ref, assertions, refs)
    const union = Array.isArray(anyOf) ? anyOf : Array.isArray(oneOf) ? oneOf : undefined
    if (union) {
      if (Array.isArray(anyOf) && Array.isArray(oneOf)) {
        unclear = true
        return
      }
      if (Array.isArray(oneOf) && !areDisjoint(oneOf.map((one) => target(one as Subschema, root)))) unclear = true
      for (const one of union.filter(isSubschema))
        add(
          merge(type === undefined ? rest : { type, ...rest }, one, () => {
            unclear = true
          }),
          refs,
        )
    } else if (isNothing(rest)) return
    else if (Array.isArray(type)) for (const one of type) add({ ...rest, type: one }, refs)
    else addSingle(assertions)
  }
  const addRef = ($ref: string, assertions: JsonSchema, refs: readonly string[]): void => {
    const { $ref: _, ...siblings } = assertions
    const found = refs.includes($ref) ? undefined : resolveRef(root, $ref)
    if (found === undefined) unclear = true
    else
      add(
        merge(siblings, found, () => {
          unclear = true
        }),
        [...refs, $ref],
      )
  }
  const addSingle = (part: JsonSchema): void => {
    const named = 'const' in part ? [part['const']] : Array.isArray(part['enum']) ? (part['enum'] as unknown[]) : undefined
    if (named) for (const value of named.filter((one) => isOfType(one, part['type']))) values.add(canonicalJson(value))
    else if (part['type'] === 'null') values.add('null')
    else if (part['type'] === 'boolean') {
      values.add('true')
      values.add('false')
    } else shapes.push(relevant(part))
  }
  add(schema, [])
  return { shapes, values, unclear }
}

/** `not: {}`, which is how libraries write "never". */
const isNothing = (schema: JsonSchema): boolean => isObject(schema['not']) && Object.keys(schema['not']).length === 0

/** Both must hold; only what does not collide can be written as one schema. */
function merge(base: JsonSchema, part: Subschema, collision: () => void): Subschema {
  if (part === false || Object.keys(base).length === 0) return part
  if (part === true) return base
  if (Object.keys(base).some((key) => key in part && canonicalJson(base[key]) !== canonicalJson(part[key]))) collision()
  return { ...base, ...part }
}

function relevant(part: JsonSchema): JsonSchema {
  const { type } = part
  const keywords = typeof type === 'string' && Object.hasOwn(KEYWORDS, type) ? KEYWORDS[type]! : undefined
  return keywords ? Object.fromEntries(Object.entries(part).filter(([key]) => !TYPED.has(key) || keywords.includes(key))) : part
}

export function jsonType(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return typeof value
}

export function isOfType(value: unknown, type: unknown): boolean {
  if (type === undefined) return true
  if (Array.isArray(type)) return type.some((one) => isOfType(value, one))
  return type === 'integer' ? Number.isInteger(value) : jsonType(value) === type
}

// ── whether two shapes can take the same value ─────────────────────────────────────────────────────

const target = (schema: Subschema, root: JsonSchema): Subschema =>
  isObject(schema) && typeof schema['$ref'] === 'string' ? (resolveRef(root, schema['$ref']) ?? schema) : schema

function areDisjoint(schemas: readonly Subschema[]): boolean {
  return schemas.every((one, index) =>
    schemas
      .slice(index + 1)
      .every((other) => isObject(one) && isObject(other) && (haveOtherTypes(one, other) || discriminator(one, other) !== undefined)),
  )
}

function haveOtherTypes(a: JsonSchema, b: JsonSchema): boolean {
  const left = typesOf(a)
  return typesOf(b).every((type) => !left.includes(type))
}

function typesOf(schema: JsonSchema): string[] {
  const { type } = schema
  const named = [type]
    .flat()
    .filter((one) => typeof one === 'string')
    .map((one) => (one === 'integer' ? 'number' : one))
  if (named.length > 0) return named
  if ('const' in schema) return [jsonType(schema['const'])]
  if (Array.isArray(schema['enum'])) return [...new Set(schema['enum'].map(jsonType))]
  return typeof schema['x-talkwire'] === 'string' && schema['x-talkwire'] !== 'undescribed' ? [schema['x-talkwire']] : TYPES_OF_JSON
}

/** A property that both require and whose values differ; undefined: there is none. */
export function discriminator(a: JsonSchema, b: JsonSchema): string | undefined {
  return tags(a).find(([name, values]) =>
    tags(b).some(([other, others]) => other === name && values.every((value) => !others.includes(value))),
  )?.[0]
}

/** Required properties with named values. */
export function tags(schema: JsonSchema): [name: string, values: string[]][] {
  const { properties, required } = schema
  if (!isObject(properties) || !Array.isArray(required)) return []
  return required
    .filter((name): name is string => typeof name === 'string' && Object.hasOwn(properties, name))
    .flatMap((name) => {
      const property = properties[name]
      if (!isObject(property)) return []
      const values =
        'const' in property ? [property['const']] : Array.isArray(property['enum']) ? (property['enum'] as unknown[]) : undefined
      return values ? [[name, values.map(canonicalJson)] as [string, string[]]] : []
    })
}
