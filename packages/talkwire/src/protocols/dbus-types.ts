/**
 * Types of D-Bus: a signature, and how its values look here. The signature decides what is on the wire; a JSON Schema, where there is
 * one, tells names of members, dates and the like. Sans I/O. Source: D-Bus Specification, "Type System".
 */
import { isObject, resolveRef, type JsonSchema, type Subschema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'

export type Type = Basic | ArrayOf | Bytes | Numbers | Dict | Options | Struct | VariantOf

interface Typed {
  readonly signature: string
  readonly alignment: number
}
export interface Basic extends Typed {
  readonly kind: 'basic'
  /** `bigint`: also where a number would do. `date`: microseconds since 1970. */
  readonly as?: 'bigint' | 'date'
}
/** `maybe`: none or one, for null or a value. */
export interface ArrayOf extends Typed {
  readonly kind: 'array'
  readonly item: Type
  readonly as: 'list' | 'maybe' | 'set'
}
export interface Bytes extends Typed {
  readonly kind: 'bytes'
}
/** A typed array. */
export interface Numbers extends Typed {
  readonly kind: 'numbers'
  readonly item: Type
  readonly dtype: string
}
export interface Dict extends Typed {
  readonly kind: 'dict'
  readonly key: Type
  readonly value: Type
  readonly as: 'object' | 'map'
}
/** `a{sv}` whose members are known. */
export interface Options extends Typed {
  readonly kind: 'options'
  readonly fields: ReadonlyMap<string, Hint>
}
export interface Struct extends Typed {
  readonly kind: 'struct'
  readonly fields: readonly Type[]
  /** Undefined: an array. */
  readonly names: readonly string[] | undefined
}
export interface VariantOf extends Typed {
  readonly kind: 'variant'
  readonly hint: Hint | undefined
}

/** A schema, and the document that its references point into. */
export interface Hint {
  readonly schema: Subschema
  readonly root: JsonSchema
}

/** A value with the type that it is to have in a variant: `new Variant('u', 5)`. */
export class Variant {
  constructor(
    readonly signature: string,
    readonly value: unknown,
  ) {
    if (splitSignature(signature).length !== 1)
      throw new TypeError(`${JSON.stringify(signature)} is no type; write one, such as "u" or "a{sv}"`)
  }
}

const ALIGNMENT: Readonly<Record<string, number>> = {
  y: 1,
  b: 4,
  n: 2,
  q: 2,
  i: 4,
  u: 4,
  x: 8,
  t: 8,
  d: 8,
  s: 4,
  o: 4,
  g: 1,
  h: 4,
  v: 1,
  a: 4,
  '(': 8,
}
const isBasic = (code: string): boolean => Object.hasOwn(ALIGNMENT, code) && !'va('.includes(code)

/** Most bytes of a signature, and most arrays and structs in each other. */
const LONGEST = 255
export const DEEPEST = 32

const wrong = (signature: string): TalkwireError =>
  new TalkwireError('INVALID_MESSAGE', `${JSON.stringify(signature.slice(0, 80))} is no signature of D-Bus`)

const split = new Map<string, readonly string[]>()
/** So many signatures are remembered: a peer may send any number of them. */
const REMEMBERED = 1000

/** Its complete types, one by one. Throws INVALID_MESSAGE. */
export function splitSignature(signature: string): readonly string[] {
  const known = split.get(signature)
  if (known) return known
  if (signature.length > LONGEST) throw wrong(signature)
  const parts: string[] = []
  for (let at = 0; at < signature.length;) {
    const end = endOf(signature, at, 0, 0)
    parts.push(signature.slice(at, end))
    at = end
  }
  if (split.size < REMEMBERED) split.set(signature, parts)
  return parts
}

function endOf(signature: string, at: number, arrays: number, structs: number): number {
  const code = signature[at] ?? ''
  if (code === 'v' || isBasic(code)) return at + 1
  if (code === 'a') {
    if (arrays === DEEPEST) throw wrong(signature)
    if (signature[at + 1] !== '{') return endOf(signature, at + 1, arrays + 1, structs)
    if (structs === DEEPEST || !isBasic(signature[at + 2] ?? '')) throw wrong(signature)
    const end = endOf(signature, at + 3, arrays + 1, structs + 1)
    if (signature[end] !== '}') throw wrong(signature)
    return end + 1
  }
  if (code !== '(' || signature[at + 1] === ')' || structs === DEEPEST) throw wrong(signature)
  let end = at + 1
  while (signature[end] !== ')') end = endOf(signature, end, arrays, structs + 1)
  return end + 1
}

// ── from a signature ─────────────────────────────────────────────────────────────────────────────

const natural = new Map<string, Type>()

/** How one complete type is read and written. Throws INVALID_MESSAGE. */
export function typeOf(signature: string, hint?: Hint): Type {
  if (!hint) {
    const known = natural.get(signature)
    if (known) return known
  }
  if (splitSignature(signature).length !== 1) throw wrong(signature)
  const type = build(signature, hint)
  if (!hint && natural.size < REMEMBERED) natural.set(signature, type)
  return type
}

function build(signature: string, given: Hint | undefined): Type {
  const hint = given && resolved(given)
  const code = signature[0]!
  const base = { signature, alignment: ALIGNMENT[code]! }
  if (code === 'v') return { ...base, kind: 'variant', hint }
  if (code === '(') return structOf(base, hint)
  if (code !== 'a') return { ...base, kind: 'basic', ...basicHint(code, hint) }
  const inner = signature.slice(1)
  if (inner[0] === '{') return dictOf(base, inner, hint)
  if (hint && isNullable(hint)) return { ...base, kind: 'array', item: build(inner, withoutNull(hint)), as: 'maybe' }
  const mark = hint && isObject(hint.schema) ? hint.schema['x-talkwire'] : undefined
  if (mark === 'array' && hint && isObject(hint.schema) && hint.schema['x-dtype'] !== 'u1')
    return { ...base, kind: 'numbers', item: build(inner, undefined), dtype: String(hint.schema['x-dtype']) }
  if (inner === 'y' && !(hint && isObject(hint.schema) && hint.schema['type'] === 'array')) return { ...base, kind: 'bytes' }
  const item = hint && childOf(hint, mark === 'set' ? 'x-values' : 'items')
  return { ...base, kind: 'array', item: build(inner, item), as: mark === 'set' ? 'set' : 'list' }
}

function basicHint(code: string, hint: Hint | undefined): { as?: 'bigint' | 'date' } {
  const mark = hint && isObject(hint.schema) ? hint.schema['x-talkwire'] : undefined
  if (mark === 'date' && 'xt'.includes(code)) return { as: 'date' }
  if (mark === 'bigint' && 'ynqiuxt'.includes(code)) return { as: 'bigint' }
  return {}
}

function structOf(base: Typed, hint: Hint | undefined): Struct {
  const parts = splitSignature(base.signature.slice(1, -1))
  const members = hint ? membersOf(hint) : undefined
  if (members && members.optional.length === 0 && members.required.length === parts.length)
    return {
      ...base,
      kind: 'struct',
      names: members.required.map(([name]) => name),
      fields: parts.map((part, index) => build(part, members.required[index]![1])),
    }
  const tuple =
    hint && isObject(hint.schema) && Array.isArray(hint.schema['prefixItems']) ? (hint.schema['prefixItems'] as Subschema[]) : []
  const fields = parts.map((part, index) =>
    build(part, tuple[index] === undefined ? undefined : { schema: tuple[index], root: hint!.root }),
  )
  return { ...base, kind: 'struct', names: undefined, fields }
}

function dictOf(base: Typed, inner: string, hint: Hint | undefined): Type {
  const members = hint ? membersOf(hint) : undefined
  if (members && inner === '{sv}' && members.required.length + members.optional.length > 0)
    return { ...base, kind: 'options', fields: new Map([...members.required, ...members.optional]) }
  const isMap = hint && isObject(hint.schema) && hint.schema['x-talkwire'] === 'map'
  const value = hint && childOf(hint, isMap ? 'x-values' : 'additionalProperties')
  return {
    ...base,
    kind: 'dict',
    key: build(inner[1]!, isMap ? childOf(hint, 'x-keys') : undefined),
    value: build(inner.slice(2, -1), value),
    as: isMap || !'sog'.includes(inner[1]!) ? 'map' : 'object',
  }
}

function childOf({ schema, root }: Hint, keyword: string): Hint | undefined {
  const child = isObject(schema) ? (schema[keyword] as Subschema | undefined) : undefined
  return isObject(child) ? { schema: child, root } : undefined
}

// ── what a schema says ───────────────────────────────────────────────────────────────────────────

/** Through its references. */
export function resolved({ schema, root }: Hint): Hint {
  let at: Subschema | undefined = schema
  for (let hops = 0; hops < 8 && isObject(at) && typeof at['$ref'] === 'string'; hops++) at = resolveRef(root, at['$ref'])
  return { schema: at ?? true, root }
}

const alternatives = (schema: JsonSchema): Subschema[] | undefined =>
  [schema['anyOf'], schema['oneOf']].find((each): each is Subschema[] => Array.isArray(each))

const isNull = (schema: Subschema): boolean => isObject(schema) && (schema['type'] === 'null' || schema['const'] === null)

/** Whether it is one schema or null. */
export function isNullable({ schema }: Hint): boolean {
  if (!isObject(schema)) return false
  const list = alternatives(schema)
  if (list) return list.length === 2 && list.some(isNull)
  return Array.isArray(schema['type']) && schema['type'].length === 2 && schema['type'].includes('null')
}

/** What is left of a nullable one. */
export function withoutNull({ schema, root }: Hint): Hint {
  if (!isObject(schema)) return { schema, root }
  const left = alternatives(schema)?.find((each) => !isNull(each))
  if (left !== undefined) return { schema: left, root }
  return { schema: { ...schema, type: (schema['type'] as unknown[]).find((each) => each !== 'null') }, root }
}

export interface Members {
  readonly required: readonly (readonly [string, Hint])[]
  readonly optional: readonly (readonly [string, Hint])[]
}

/** Of an object with certain members; undefined for anything else. */
export function membersOf({ schema, root }: Hint): Members | undefined {
  if (!isObject(schema) || schema['type'] !== 'object' || schema['x-talkwire'] !== undefined) return undefined
  if (isObject(schema['additionalProperties']) || schema['patternProperties'] !== undefined) return undefined
  const needed = new Set(Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : [])
  const all = Object.entries(isObject(schema['properties']) ? schema['properties'] : {}).map(
    ([name, inner]) => [name, { schema: inner as Subschema, root }] as const,
  )
  return { required: all.filter(([name]) => needed.has(name)), optional: all.filter(([name]) => !needed.has(name)) }
}
