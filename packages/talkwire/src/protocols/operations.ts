/**
 * A contract as operations with fields, which GraphQL and varlink both have: each method and event has arguments and a result, each
 * JSON Schema a shape. What has no shape (unions, records, tuples, types that contain themselves) is any JSON. Sans I/O.
 */
import type { Contract } from '../contract/contract.js'
import { describeMethod, type JsonSchema, type ValueDescription } from '../contract/json-schema.js'
import { isObject, resolveRef, type Subschema } from '../contract/schema-walk.js'
import { toJsonSchema } from '../contract/schema-libraries.js'
import { TalkwireError } from '../error.js'

export type ScalarName = 'String' | 'Boolean' | 'Int' | 'Float' | 'SafeInt' | 'BigInt' | 'DateTime' | 'Base64' | 'JSON'
export type Shape = { readonly nullable: boolean } & (
  | { readonly kind: 'scalar'; readonly type: ScalarName }
  | { readonly kind: 'enum'; readonly name: string; readonly values: readonly string[] }
  | { readonly kind: 'list'; readonly item: Shape }
  | { readonly kind: 'object'; readonly name: string; readonly fields: readonly Field[] }
)

export interface Field {
  readonly name: string
  readonly shape: Shape
  /** It may be left out; null means the same where null is no value of its own. */
  readonly optional: boolean
}

export interface Operation {
  /** In the contract. */
  readonly name: string
  /** In the schema of GraphQL. */
  readonly field: string
  readonly root: 'Query' | 'Mutation' | 'Subscription'
  readonly arguments: readonly Field[]
  /** The arguments are the fields of the input; otherwise the only one of them is the input. */
  readonly spread: boolean
  /** Of the result, or of an element. */
  readonly output: Field | undefined
  readonly event: boolean
  readonly oneway: boolean
  /** Names of declared errors. */
  readonly errors: readonly string[]
}

export const INPUT = 'input'
/** The field of Query that says which contract is served. */
export const CONTRACT = '_contract'

/** By the name in the contract. `scheme` is told in errors. Rejects with UNSUPPORTED where two names would be one. */
export async function operationsOf(contract: Contract, scheme = 'graphql'): Promise<Map<string, Operation>> {
  const namer = new Namer()
  const operations = new Map<string, Operation>()
  const fields = new Map<string, string>([[`Query.${CONTRACT}`, CONTRACT]])
  for (const [name, member] of Object.entries(contract.members)) {
    const field = fieldNameOf(name)
    const pascal = field[0]!.toUpperCase() + field.slice(1)
    let operation: Operation
    if (member.kind === 'event') {
      const schema = await toJsonSchema(member.payload)
      const output = {
        name,
        shape: shapeOf({ schema, stream: false, optional: false }, `${pascal}Event`, 'output', namer),
        optional: false,
      }
      operation = { name, field, root: 'Subscription', arguments: [], spread: false, output, event: true, oneway: false, errors: [] }
    } else {
      const { input, output, errors, idempotent, oneway } = await describeMethod(member)
      const shape = input ? shapeOf(input, `${pascal}Input`, 'input', namer) : undefined
      const spread = shape?.kind === 'object' && !shape.nullable && !input!.optional
      operation = {
        name,
        field,
        root: output?.stream ? 'Subscription' : idempotent ? 'Query' : 'Mutation',
        arguments: spread ? shape.fields : shape ? [{ name: INPUT, shape, optional: input!.optional }] : [],
        spread,
        output: output ? { name, shape: shapeOf(output, `${pascal}Output`, 'output', namer), optional: output.optional } : undefined,
        event: false,
        oneway,
        errors: Object.keys(errors),
      }
    }
    const place = `${operation.root}.${field}`
    const taken = fields.get(place)
    if (taken !== undefined)
      throw new TalkwireError('UNSUPPORTED', `${scheme}: "${taken}" and "${name}" of ${contract.id} are both ${place}; rename one of them`)
    fields.set(place, name)
    operations.set(name, operation)
  }
  return operations
}

const NAME = /^(?!__)[A-Za-z_]\w*$/
const fieldNameOf = (name: string): string => name.replace(/\W/g, '_').replace(/^(?=\d)|^_+/, '_')

type Direction = 'input' | 'output'

/** Names of types, each for one of them. */
class Namer {
  private readonly keys = new Map<string, string>(
    ['Query', 'Mutation', 'Subscription', 'ID', 'String', 'Boolean', 'Int', 'Float', 'SafeInt', 'BigInt', 'DateTime', 'Base64', 'JSON'].map(
      (name) => [name, ''],
    ),
  )
  readonly shapes = new Map<string, Shape>()

  name(wanted: string, key: string): string {
    for (let number = 1; ; number++) {
      const name = number === 1 ? wanted : `${wanted}${number}`
      const taken = this.keys.get(name)
      if (taken !== undefined && taken !== key) continue
      this.keys.set(name, key)
      return name
    }
  }
}

const shapeOf = ({ schema }: ValueDescription, name: string, direction: Direction, namer: Namer): Shape =>
  new Reader(schema, direction, namer).shape(schema, name, false)

const scalar = (type: ScalarName, nullable: boolean): Shape => ({ kind: 'scalar', type, nullable })
const INT = 2 ** 31

class Reader {
  /** Schemas that the one being read stands in. */
  private readonly above = new Set<unknown>()

  constructor(
    private readonly root: JsonSchema,
    private readonly direction: Direction,
    private readonly namer: Namer,
  ) {}

  shape(schema: Subschema, path: string, nullable: boolean): Shape {
    let [at, name] = [schema as Subschema | undefined, undefined as string | undefined]
    for (let hops = 0; hops < 8 && isObject(at) && typeof at['$ref'] === 'string'; hops++) {
      name = at['$ref'].slice(at['$ref'].lastIndexOf('/') + 1)
      at = resolveRef(this.root, at['$ref'])
    }
    if (!isObject(at) || this.above.has(at)) return scalar('JSON', true)
    const { plain, hasNull } = withoutNull(at)
    if (plain !== at) return this.shape(plain, path, nullable || hasNull)
    this.above.add(at)
    try {
      return this.type(at, [at['title'], name].find(isTypeName) ?? path, path, nullable)
    } finally {
      this.above.delete(at)
    }
  }

  private type(schema: JsonSchema, name: string, path: string, nullable: boolean): Shape {
    const mark = schema['x-talkwire']
    if (mark === 'array' && schema['x-dtype'] === 'u1') return scalar('Base64', nullable)
    if (mark === 'date') return scalar('DateTime', nullable)
    if (mark === 'bigint') return scalar('BigInt', nullable)
    if (mark !== undefined) return scalar('JSON', true)
    const literal = 'const' in schema ? [schema['const']] : schema['enum']
    const types = new Set<unknown>(Array.isArray(literal) ? literal.map(typeOf) : [schema['type']].flat())
    const [type] = types
    if (types.size !== 1) return scalar('JSON', true)
    if (type === 'string' && Array.isArray(schema['enum'])) return this.enumeration(schema['enum'] as string[], schema, name, nullable)
    if (type === 'string') return scalar('String', nullable)
    if (type === 'boolean') return scalar('Boolean', nullable)
    if (type === 'number') return scalar('Float', nullable)
    if (type === 'integer') return scalar(isInt(schema) ? 'Int' : 'SafeInt', nullable)
    if (type === 'array' && schema['items'] !== undefined && schema['prefixItems'] === undefined)
      return { kind: 'list', item: this.shape(schema['items'] as Subschema, `${path}Item`, false), nullable }
    return type === 'object' ? this.object(schema, name, path, nullable) : scalar('JSON', true)
  }

  private enumeration(values: readonly string[], schema: JsonSchema, name: string, nullable: boolean): Shape {
    if (!values.every((value) => NAME.test(value) && !/^(true|false|null)$/.test(value))) return scalar('String', nullable)
    return { kind: 'enum', name: this.namer.name(`${name}`, JSON.stringify(schema)), values: [...new Set(values)], nullable }
  }

  private object(schema: JsonSchema, name: string, path: string, nullable: boolean): Shape {
    const properties = isObject(schema['properties']) ? Object.entries(schema['properties']) : []
    const rest = schema['additionalProperties']
    const open = (rest !== undefined && rest !== false) || schema['patternProperties'] !== undefined
    const nameless = properties.some(([key]) => !NAME.test(key))
    // An object without a field is no type of GraphQL; as the arguments of a method it is.
    const empty = properties.length === 0 && !(this.direction === 'input' && path.endsWith('Input') && this.above.size === 1)
    if (open || nameless || empty || schema['allOf'] || schema['anyOf'] || schema['oneOf']) return scalar('JSON', true)
    const key = `${this.direction} ${JSON.stringify(schema)}`
    const known = name === path ? undefined : this.namer.shapes.get(key)
    if (known) return { ...known, nullable }
    const required = Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []
    const fields = properties.map(([property, inner]) => ({
      name: property,
      shape: this.shape(inner as Subschema, `${path}${property[0]!.toUpperCase()}${property.slice(1)}`, false),
      optional: !required.includes(property),
    }))
    const wanted = this.direction === 'input' && !name.endsWith('Input') ? `${name}Input` : name
    const shape: Shape = { kind: 'object', name: this.namer.name(wanted, key), fields, nullable }
    if (name !== path) this.namer.shapes.set(key, shape)
    return shape
  }
}

const isTypeName = (name: unknown): name is string => typeof name === 'string' && NAME.test(name)
const typeOf = (value: unknown): string => (value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value)
const isInt = ({ minimum, maximum }: JsonSchema): boolean => Number(minimum ?? -Infinity) >= -INT && Number(maximum ?? Infinity) < INT

function withoutNull(schema: JsonSchema): { plain: Subschema; hasNull: boolean } {
  const list = [schema['anyOf'], schema['oneOf']].find(Array.isArray) as Subschema[] | undefined
  const others = list?.filter((each) => !isObject(each) || each['type'] !== 'null')
  if (list && others!.length === 1) return { plain: others![0]!, hasNull: list.length > 1 }
  const types = schema['type']
  if (!Array.isArray(types) || !types.includes('null')) return { plain: schema, hasNull: false }
  const left = types.filter((type) => type !== 'null') as unknown[]
  return { plain: { ...schema, type: left.length === 1 ? left[0] : left }, hasNull: true }
}

// ── values ───────────────────────────────────────────────────────────────────────────────────────

/** What a value of each scalar is here, and in JSON. `write` throws TypeError, `read` INVALID_INPUT. */
export const SCALARS: Readonly<
  Partial<Record<ScalarName, { description: string; write(value: unknown): unknown; read(value: unknown): unknown }>>
> = {
  SafeInt: {
    description: 'An integer of at most 53 bits.',
    write: (value) => (Number.isSafeInteger(value) ? value : unfit(value, 'SafeInt')),
    read: (value) => (Number.isSafeInteger(value) ? value : wrong(value, 'SafeInt')),
  },
  BigInt: {
    description: 'An integer of any size, as text.',
    write: (value) => (typeof value === 'bigint' ? String(value) : unfit(value, 'BigInt')),
    read: (value) => (/^-?\d{1,4000}$/.test(String(value)) ? BigInt(String(value)) : wrong(value, 'BigInt')),
  },
  DateTime: {
    description: 'A point in time, as ISO 8601 text.',
    write: (value) => (value instanceof Date && !Number.isNaN(value.getTime()) ? value.toISOString() : unfit(value, 'DateTime')),
    read(value) {
      const date = new Date(typeof value === 'string' && /^\d{4}-\d\d-\d\dT/.test(value) ? value : Number.NaN)
      return Number.isNaN(date.getTime()) ? wrong(value, 'DateTime') : date
    },
  },
  Base64: {
    description: 'Bytes, as base64 text.',
    write: (value) =>
      value instanceof Uint8Array
        ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
        : unfit(value, 'Base64'),
    read: (value) =>
      typeof value === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(value)
        ? new Uint8Array(Buffer.from(value, 'base64'))
        : wrong(value, 'Base64'),
  },
}

function unfit(value: unknown, type: string): never {
  throw new TypeError(`${value === null ? 'null' : typeof value} is no ${type}; the contract says what fits`)
}

function wrong(value: unknown, type: string): never {
  throw new TalkwireError('INVALID_INPUT', `${String(JSON.stringify(value)).slice(0, 40)} is no ${type}`)
}

/** The input of a method from the arguments of its field, which GraphQL has checked. */
export function inputFrom({ spread, arguments: fields }: Operation, given: Readonly<Record<string, unknown>>): unknown {
  if (spread) return objectFrom(fields, given)
  const [only] = fields
  return only && Object.hasOwn(given, INPUT) ? valueFrom(only.shape, given[INPUT], only.optional) : undefined
}

/** `optional`: null, which many clients send for what they leave out, is nothing. */
function valueFrom(shape: Shape, value: unknown, optional: boolean): unknown {
  if (value === null || value === undefined) return optional && !shape.nullable ? undefined : value
  if (shape.kind === 'list') return (value as unknown[]).map((item) => valueFrom(shape.item, item, false))
  return shape.kind === 'object' ? objectFrom(shape.fields, value as Record<string, unknown>) : value
}

function objectFrom(fields: readonly Field[], given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const object: Record<string, unknown> = {}
  for (const { name, shape, optional } of fields) {
    if (!(name in given)) continue
    const value = valueFrom(shape, given[name], optional)
    if (value !== undefined) object[name] = value
  }
  return object
}

/** The variables of an input: values as JSON has them. Throws TypeError for what is no field. */
export function variablesOf({ spread, arguments: fields, name }: Operation, input: unknown): Record<string, unknown> {
  if (!spread) return input === undefined || fields.length === 0 ? {} : { [INPUT]: written(fields[0]!.shape, input) }
  if (input === undefined) return {}
  return writtenObject(fields, input, name)
}

/** A value as JSON has it. Throws TypeError. */
export function written(shape: Shape, value: unknown): unknown {
  if (value === null || value === undefined) return value
  if (shape.kind === 'list') return Array.isArray(value) ? value.map((item) => written(shape.item, item)) : value
  if (shape.kind === 'object') return writtenObject(shape.fields, value, shape.name)
  return shape.kind === 'scalar' && shape.type !== 'SafeInt' ? (SCALARS[shape.type]?.write(value) ?? value) : value
}

function writtenObject(fields: readonly Field[], value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) unfit(value, name)
  const object: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value as object) as [string, unknown][]) {
    const field = fields.find((each) => each.name === key)
    if (field) object[key] = written(field.shape, item)
    else if (item !== undefined) throw new TypeError(`"${key}" is no field of ${name}; the contract says what fits`)
  }
  return object
}

/** A value of an answer as the contract has it. Throws INVALID_INPUT. */
export function valueOf({ shape, optional }: Pick<Field, 'shape' | 'optional'>, value: unknown): unknown {
  if (value === null || value === undefined) return optional && !shape.nullable ? undefined : (value ?? null)
  if (shape.kind === 'list')
    return Array.isArray(value) ? value.map((item) => valueOf({ shape: shape.item, optional: false }, item)) : wrong(value, 'list')
  if (shape.kind === 'object') {
    const object: Record<string, unknown> = {}
    for (const field of shape.fields) {
      const item = valueOf(field, (value as Record<string, unknown>)[field.name])
      if (item !== undefined && !(item === null && field.optional && !(field.name in (value as object)))) object[field.name] = item
    }
    return object
  }
  return shape.kind === 'scalar' ? (SCALARS[shape.type]?.read(value) ?? value) : value
}
