/** What a contract's JSON Schemas are in D-Bus: signatures, and arguments of a message. Sans I/O. docs/protocols/dbus.md, Types. */
import type { ValueDescription } from '../contract/json-schema.js'
import { isObject, type JsonSchema, type Subschema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'
import { isNullable, membersOf, resolved, splitSignature, typeOf, withoutNull, type Hint, type Type } from './dbus-types.js'

const DTYPES: Readonly<Record<string, string>> = { u1: 'ay', i2: 'an', u2: 'aq', i4: 'ai', u4: 'au', i8: 'ax', u8: 'at', f8: 'ad' }

const unsayable = (what: string): TalkwireError =>
  new TalkwireError('UNSUPPORTED', `D-Bus has no type for ${what}; describe it otherwise, or take another address`)

/** The one complete type of values of a schema. Throws UNSUPPORTED for what D-Bus has no type for. */
export function signatureOf(hint: Hint): string {
  const signature = spell(hint, [])
  if (signature.length > 255) throw unsayable(`a value whose type takes ${signature.length} letters, the limit is 255`)
  return signature
}

function spell(given: Hint, above: readonly Subschema[]): string {
  const hint = resolved(given)
  const { schema, root } = hint
  // What holds itself has no end as a signature: there a variant stands.
  if (!isObject(schema) || above.includes(schema)) return 'v'
  const own = schema['x-dbus']
  if (typeof own === 'string') return single(own)
  const inside = (inner: Subschema | undefined): string => spell({ schema: inner ?? true, root }, [...above, schema])
  if (isNullable(hint)) return `a${inside(withoutNull(hint).schema)}`
  const mark = schema['x-talkwire']
  if (typeof mark === 'string') return spellMark(mark, schema, inside)
  const literal = 'const' in schema ? [schema['const']] : schema['enum']
  if (Array.isArray(literal)) return spellLiterals(literal)
  if (schema['type'] === 'array') {
    const tuple = schema['prefixItems']
    if (Array.isArray(tuple) && tuple.length > 0) return `(${(tuple as Subschema[]).map(inside).join('')})`
    return `a${inside(schema['items'] as Subschema | undefined)}`
  }
  if (schema['type'] === 'object') return spellObject(hint, inside)
  return spellScalar(schema)
}

function single(signature: string): string {
  if (splitSignature(signature).length !== 1) throw unsayable(`x-dbus: ${JSON.stringify(signature)}`)
  return signature
}

type Inside = (inner: Subschema | undefined) => string

function spellMark(mark: string, schema: JsonSchema, inside: Inside): string {
  if (mark === 'date' || mark === 'bigint') return 'x'
  if (mark === 'nan') return 'd'
  if (mark === 'descriptor') return 'h'
  if (mark === 'undescribed') return 'v'
  if (mark === 'set') return `a${inside(schema['x-values'] as Subschema | undefined)}`
  if (mark === 'map') {
    const key = inside(schema['x-keys'] as Subschema | undefined)
    if (key.length !== 1 || key === 'v') throw unsayable('a Map whose keys are not all texts or all numbers')
    return `a{${key}${inside(schema['x-values'] as Subschema | undefined)}}`
  }
  const dtype = DTYPES[String(schema['x-dtype'])]
  if (mark === 'array' && dtype) return dtype
  throw unsayable(mark === 'array' ? `a typed array of ${String(schema['x-dtype'])}` : `a value of ${JSON.stringify(mark)}`)
}

function spellLiterals(values: readonly unknown[]): string {
  if (values.every((value) => typeof value === 'string')) return 's'
  if (values.every((value) => typeof value === 'boolean')) return 'b'
  if (values.every((value) => typeof value === 'number')) return values.every(Number.isSafeInteger) ? 'x' : 'd'
  return 'v'
}

function spellObject(hint: Hint, inside: Inside): string {
  const members = membersOf(hint)
  if (!members) return `a{s${inside((hint.schema as JsonSchema)['additionalProperties'] as Subschema | undefined)}}`
  if (members.optional.length > 0 || members.required.length === 0) return 'a{sv}'
  return `(${members.required.map(([, { schema }]) => inside(schema)).join('')})`
}

const SCALARS: Readonly<Record<string, string>> = { string: 's', number: 'd', boolean: 'b' }

function spellScalar(schema: JsonSchema): string {
  const { type, minimum = -Infinity, maximum = Infinity } = schema as { type?: unknown; minimum?: number; maximum?: number }
  if (type === 'integer') {
    if (minimum >= -(2 ** 31) && maximum < 2 ** 31) return 'i'
    return minimum >= 0 && maximum < 2 ** 32 ? 'u' : 'x'
  }
  if (type === 'null') throw unsayable('null')
  return (typeof type === 'string' && SCALARS[type]) || 'v'
}

const ofMembers = new WeakMap<object, Type>()

/** How a value of a schema is written where its type travels with it. Throws UNSUPPORTED. */
export function typeOfHint(hint: Hint): Type {
  if (!isObject(hint.schema)) return typeOf('v')
  const known = ofMembers.get(hint.schema)
  if (known) return known
  const type = typeOf(signatureOf(hint), hint)
  ofMembers.set(hint.schema, type)
  return type
}

// ── arguments ────────────────────────────────────────────────────────────────────────────────────

/** One argument as introspection tells it. */
export interface Argument {
  readonly name: string
  readonly signature: string
}

/** The arguments of a message, as one value. */
export interface Arguments {
  readonly list: readonly Argument[]
  readonly signature: string
  readonly types: readonly Type[]
  /** `members`: of an object, in this order; the last may hold all those that may be left out. `list`: an array. */
  readonly as: 'none' | 'single' | 'members' | 'list'
  readonly names: readonly string[]
  readonly options: boolean
  /** The single value may be left out. */
  readonly absent: boolean
}

const NONE: Arguments = { list: [], signature: '', types: [], as: 'none', names: [], options: false, absent: false }

/** Throws UNSUPPORTED. `only`: the name of an argument that is the whole value. */
export function argumentsOf(value: ValueDescription | null, only: string): Arguments {
  if (!value) return NONE
  const whole = wholeOf(value)
  const parts = partsOf(whole, value.optional)
  const list = parts
    ? parts.map(({ name, hint }) => ({ name, signature: signatureOf(hint) }))
    : [{ name: only, signature: signatureOf(whole) }]
  return bind(list, value)
}

/** The same where the other side tells its arguments: theirs are the types. Throws CONTRACT_MISMATCH. */
export function bind(list: readonly Argument[], value: ValueDescription | null): Arguments {
  const signature = list.map((each) => each.signature).join('')
  const base = { list, signature, options: false, absent: false }
  if (!value) {
    if (list.length > 0) throw mismatch(`${list.length} values (${signature})`, 'none')
    return NONE
  }
  const whole = wholeOf(value)
  const parts = partsOf(whole, value.optional)
  const members = membersOf(resolved(whole))
  if (list.length === 0 && members && members.required.length === 0) return { ...base, types: [], as: 'members', names: [] }
  if (parts && parts.length === list.length) {
    const byName = list.every(({ name }) => parts.some((part) => part.name === name))
    const ordered = byName ? list.map(({ name }) => parts.find((part) => part.name === name)!) : parts
    const types = ordered.map(({ hint }, index) => typeOf(list[index]!.signature, hint))
    return {
      ...base,
      types,
      as: 'members',
      names: ordered.map(({ name }) => name),
      options: parts.at(-1)?.options === true && types.at(-1)!.kind === 'options',
    }
  }
  if (list.length !== 1) throw mismatch(`${list.length} values (${signature})`, parts ? `${parts.length}` : 'one')
  return { ...base, types: [typeOf(list[0]!.signature, whole)], as: 'single', names: [], absent: value.optional }
}

/** Without a contract: by position. */
export function plainArguments(list: readonly Argument[], inputs: boolean): Arguments {
  const types = list.map(({ signature }) => typeOf(signature))
  const as = inputs ? 'list' : list.length === 0 ? 'none' : list.length === 1 ? 'single' : 'list'
  return {
    list,
    signature: list.map(({ signature }) => signature).join(''),
    types,
    as,
    names: list.map(({ name }) => name),
    options: false,
    absent: false,
  }
}

const mismatch = (theirs: string, ours: string): TalkwireError =>
  new TalkwireError('CONTRACT_MISMATCH', `there it has ${theirs}, in the contract ${ours}; describe an object with a member for each`)

interface Part {
  readonly name: string
  readonly hint: Hint
  readonly options?: true
}

/** What may be left out is a list of none or one. */
function wholeOf({ schema, optional }: ValueDescription): Hint {
  const whole = { schema, root: schema }
  return optional && !isNullable(resolved(whole)) ? { schema: { anyOf: [schema, { type: 'null' }] }, root: schema } : whole
}

/** The members of an object, those that may be left out together; undefined for what is no such object. */
function partsOf(whole: Hint, optional: boolean): Part[] | undefined {
  const hint = resolved(whole)
  if (optional || (isObject(hint.schema) && hint.schema['x-dbus'] !== undefined)) return undefined
  const members = membersOf(hint)
  if (!members || members.required.length + members.optional.length === 0) return undefined
  const parts: Part[] = members.required.map(([name, inner]) => ({ name, hint: inner }))
  if (members.optional.length === 0) return parts
  const properties = Object.fromEntries(members.optional.map(([name, inner]) => [name, inner.schema]))
  let name = 'options'
  while (members.required.some(([each]) => each === name)) name += '_'
  return [...parts, { name, hint: { schema: { type: 'object', properties }, root: hint.root }, options: true }]
}
