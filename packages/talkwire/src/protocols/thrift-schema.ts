/** What a contract's JSON Schemas are in Thrift: types, services and their IDL. A schema without such a meaning is refused with its path. Sans I/O. */
import { canonicalJson } from '../contract/canonical.js'
import type { Contract } from '../contract/contract.js'
import { describeMethod, type JsonSchema, type ValueDescription } from '../contract/json-schema.js'
import { isObject, resolveRef, withoutNull, type Subschema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'

/** i8, i16 and uuid only of a `.thrift` file. */
export type Scalar = 'bool' | 'i8' | 'i16' | 'i32' | 'i64' | 'double' | 'string' | 'binary' | 'uuid'
export type Type =
  | { readonly kind: 'scalar'; readonly name: Scalar; readonly as?: 'date' | 'bigint' }
  | { readonly kind: 'list'; readonly item: Type; readonly as: 'list' | 'set' }
  | { readonly kind: 'map'; readonly key: Type; readonly value: Type; readonly as: 'object' | 'map' }
  | Enum
  | Struct

/** Of a `.thrift` file: a number that has a name with us. */
export interface Enum {
  readonly kind: 'enum'
  readonly name: string
  readonly numbers: ReadonlyMap<string, number>
  readonly words: ReadonlyMap<number, string>
}

export interface Struct {
  readonly kind: 'struct'
  readonly name: string
  /** Default: struct. Of a union exactly one field is there. */
  readonly word?: 'struct' | 'union' | 'exception'
  readonly fields: Field[]
}

export interface Field {
  readonly id: number
  readonly name: string
  readonly type: Type
  /** It may be left out; `null`: then it is null. */
  readonly optional: boolean
  readonly absent: undefined | null
  /** What it is where it was left out; `sent`: who leaves it out sends that. */
  readonly initial?: { readonly make: (depth?: number) => unknown; readonly sent: boolean }
}

export interface ErrorType {
  readonly id: number
  readonly name: string
  /** Its first field is the text, unless it is `whole`. */
  readonly struct: Struct
  readonly single: boolean
  /** Of a `.thrift` file: all its fields are the details, and the text is the one called `message`, if there is one. */
  readonly whole?: boolean
}

export interface Operation {
  readonly name: string
  readonly oneway: boolean
  readonly input: Struct
  /** The input is the only field. */
  readonly single: boolean
  readonly output: Field | undefined
  readonly errors: readonly ErrorType[]
}

export interface Operations {
  readonly methods: ReadonlyMap<string, Operation>
  /** The service in Thrift's interface language. */
  readonly idl: string
}

const NAME = /^[A-Za-z_]\w*$/
/** Words that the compiler does not take as names: its own, and those of the languages that it writes. */
const WORDS = new Set(
  (
    'BEGIN END __CLASS__ __DIR__ __FILE__ __FUNCTION__ __LINE__ __METHOD__ __NAMESPACE__ abstract alias and args as assert begin bool break ' +
    'byte case catch class clone const continue cpp_include declare def default del delete do double dynamic elif else elseif elsif end ' +
    'enddeclare endfor endforeach endif endswitch endwhile ensure enum except exception exec extends false finally float for foreach from ' +
    'function global goto i16 i32 i64 i8 if implements import in include inline instanceof interface is lambda list map module namespace ' +
    'native new next nil not oneway optional or package pass print private protected public raise redo required rescue retry return register ' +
    'self service set sizeof static string struct super switch synchronized then this throw throws transient true try typedef undef union ' +
    'unless unsigned until use uuid var virtual void volatile when while with xor yield binary'
  ).split(' '),
)
const isName = (text: string): boolean => NAME.test(text) && text !== '__proto__'
/** A name that the language has taken gets a line behind it; on the wire fields have numbers, and a service knows its methods by both. */
const spelled = (name: string): string => (WORDS.has(name) ? `${name}_` : name)
/** The method behind a name in the language. */
export const unspelled = (name: string): string => (WORDS.has(name.slice(0, -1)) ? name.replace(/_$/, '') : name)

/** The service's name: without what Thrift's names have not. */
export const serviceName = ({ name }: Contract): string => name.replaceAll(/\W/g, '_')

const bound = new WeakMap<Contract, Operations>()

/** What a contract was made of, where it was made of a `.thrift` file. */
export const bindOperations = (contract: Contract, operations: Operations): void => void bound.set(contract, operations)

/** Rejects with UNSUPPORTED for what Thrift has no word for. */
export async function operationsOf(contract: Contract): Promise<Operations> {
  const known = bound.get(contract)
  if (known) return known
  const methods = new Map<string, Operation>()
  const builder = new Builder(contract)
  for (const [name, member] of Object.entries(contract.members)) {
    if (member.kind !== 'rpc') continue
    if (!isName(name)) builder.refuse(name, 'that name')
    const { input, output, errors, oneway } = await describeMethod(member)
    const result = output ? builder.value(output, `${name}.output`) : undefined
    methods.set(name, {
      name,
      oneway,
      ...builder.input(input, name),
      output: result && { ...result, id: 0, name: 'success', optional: true },
      errors: Object.entries(errors).map(([error, schema], at) => ({ id: at + 1, name: error, ...builder.error(schema, name, error) })),
    })
  }
  return { methods, idl: builder.idl(methods) }
}

type Value = Pick<Field, 'type' | 'optional' | 'absent'>

class Builder {
  /** By their names, in the order in which others can refer to them. */
  private readonly structs = new Map<string, Struct>()
  private readonly exceptions = new Map<string, Struct>()
  private readonly known = new Map<string, Struct>()
  private readonly names = new Set<string>()
  private root: JsonSchema = {}

  constructor(private readonly contract: Contract) {}

  refuse(path: string, what: string): never {
    throw new TalkwireError(
      'UNSUPPORTED',
      `thrift: has no word for ${what}, at ${path} of ${this.contract.id}; describe it as an object, or take http:`,
    )
  }

  input(input: ValueDescription | null, name: string): Pick<Operation, 'input' | 'single'> {
    const struct: Struct = { kind: 'struct', name: `${name}_args`, fields: [] }
    if (!input) return { input: struct, single: false }
    const whole = this.value(input, `${name}.input`, `${capital(name)}Input`)
    if (!whole.optional && whole.type.kind === 'struct') return { input: this.forget(whole.type, struct.name), single: false }
    struct.fields.push({ id: 1, name: 'input', ...whole })
    return { input: struct, single: true }
  }

  /** The arguments of a method are no type of their own, unless something refers to them. */
  private forget(type: Struct, name: string): Struct {
    return { kind: 'struct', name, fields: type.fields }
  }

  error(schema: JsonSchema, method: string, name: string): Pick<ErrorType, 'struct' | 'single'> {
    const value = this.value({ schema, stream: false, optional: false }, `${method}.errors.${name}`, `${name}Details`)
    const single = value.type.kind !== 'struct' || value.optional
    const own = single ? [{ id: 1, name: 'details', ...value }] : (value.type as Struct).fields
    const text = own.some((field) => field.name === 'message') ? 'text' : 'message'
    const fields: Field[] = [
      { id: 1, name: text, type: { kind: 'scalar', name: 'string' }, optional: false, absent: undefined },
      ...own.map((field) => ({ ...field, id: field.id + 1 })),
    ]
    const shape = canonicalJson(shapeOf({ kind: 'struct', name: '', fields }))
    let free = name
    for (let number = 2; this.taken(free, shape); number++) free = `${name}${number}`
    const struct = this.exceptions.get(free) ?? { kind: 'struct' as const, name: free, fields }
    this.exceptions.set(free, struct)
    return { struct, single }
  }

  private taken(name: string, shape: string): boolean {
    if (this.names.has(name)) return true
    const found = this.exceptions.get(name)
    return found !== undefined && canonicalJson(shapeOf({ ...found, name: '' })) !== shape
  }

  value({ schema, optional }: ValueDescription, path: string, name = pathName(path)): Value {
    this.root = schema
    return this.field(schema, path, name, optional)
  }

  private field(schema: Subschema, path: string, name: string, optional: boolean): Value {
    const { plain, nullable } = withoutNull(this.resolved(schema, path))
    const type = this.type(this.resolved(plain, path), path, name)
    return { type, optional: optional || nullable, absent: nullable && !optional ? null : undefined }
  }

  private resolved(schema: Subschema, path: string): JsonSchema {
    let at: Subschema | undefined = schema
    for (let hops = 0; hops < 8 && isObject(at) && typeof at['$ref'] === 'string'; hops++) at = resolveRef(this.root, at['$ref'])
    return isObject(at) ? at : this.refuse(path, 'a value of any type')
  }

  private inner(schema: unknown, path: string, name: string): Type {
    const value = this.field((schema ?? true) as Subschema, path, name, false)
    return value.optional ? this.refuse(path, 'null in a list or map') : value.type
  }

  private type(schema: JsonSchema, path: string, name: string): Type {
    const mark = schema['x-talkwire']
    if (mark !== undefined) return this.marked(mark, schema, path, name)
    const literal = 'const' in schema ? [schema['const']] : schema['enum']
    const types = new Set(
      Array.isArray(literal) ? literal.map((each) => (Number.isSafeInteger(each) ? 'integer' : typeof each)) : [schema['type']].flat(),
    )
    const [type] = types
    if (types.size !== 1 || schema['anyOf'] || schema['oneOf'] || schema['allOf']) this.refuse(path, 'a union')
    if (type === 'array') {
      if (schema['prefixItems'] !== undefined) this.refuse(path, 'a tuple')
      return { kind: 'list', item: this.inner(schema['items'], `${path}.item`, `${name}Item`), as: 'list' }
    }
    if (type === 'object') return this.object(schema, path, name)
    if (type === 'integer') return { kind: 'scalar', name: isSmall(schema) ? 'i32' : 'i64' }
    if (type === 'string' || type === 'boolean' || type === 'number')
      return { kind: 'scalar', name: type === 'string' ? 'string' : type === 'number' ? 'double' : 'bool' }
    return this.refuse(path, type === undefined ? 'a value of any type' : `the type ${JSON.stringify(type)}`)
  }

  private marked(mark: unknown, schema: JsonSchema, path: string, name: string): Type {
    if (mark === 'date' || mark === 'bigint') return { kind: 'scalar', name: 'i64', as: mark }
    if (mark === 'array' && schema['x-dtype'] === 'u1') return { kind: 'scalar', name: 'binary' }
    if (mark === 'set') return { kind: 'list', item: this.inner(schema['x-values'], `${path}.item`, `${name}Item`), as: 'set' }
    if (mark === 'map')
      return {
        kind: 'map',
        key: this.inner(schema['x-keys'], `${path}.key`, `${name}Key`),
        value: this.inner(schema['x-values'], `${path}.value`, `${name}Value`),
        as: 'map',
      }
    return this.refuse(path, `a value of ${JSON.stringify(mark)}`)
  }

  private object(schema: JsonSchema, path: string, name: string): Type {
    const record = schema['additionalProperties']
    const properties = isObject(schema['properties']) ? schema['properties'] : {}
    if (schema['patternProperties'] !== undefined) this.refuse(path, 'a record with patterns')
    if (isObject(record)) {
      if (Object.keys(properties).length > 0) this.refuse(path, 'an object with any members beside its own')
      return {
        kind: 'map',
        key: { kind: 'scalar', name: 'string' },
        value: this.inner(record, `${path}.value`, `${name}Value`),
        as: 'object',
      }
    }
    // What is described in the same words is the same type; what holds itself is found here, too.
    const key = canonicalJson(schema) + (JSON.stringify(schema).includes('"$ref"') ? canonicalJson(this.root) : '')
    const known = this.known.get(key)
    if (known) return known
    const wanted = typeof schema['title'] === 'string' && isName(schema['title']) ? capital(schema['title']) : capital(name)
    let free = wanted
    for (let number = 2; this.names.has(free) || this.exceptions.has(free); number++) free = `${wanted}${number}`
    // Its place is taken while its members are looked at.
    const struct: Struct = { kind: 'struct', name: spelled(free), fields: [] }
    this.known.set(key, struct)
    this.names.add(free)
    const required = Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []
    for (const [at, [member, inner]] of Object.entries(properties).entries()) {
      if (!isName(member)) this.refuse(path, `the name ${JSON.stringify(member)}`)
      const value = this.field(inner as Subschema, `${path}.${member}`, `${free}${capital(member)}`, !required.includes(member))
      struct.fields.push({ id: at + 1, name: member, ...value })
    }
    this.structs.set(free, struct)
    return struct
  }

  // ── the language ───────────────────────────────────────────────────────────────────────────────

  idl(methods: ReadonlyMap<string, Operation>): string {
    const used = mentionedBy(methods)
    const structs = [...this.structs.values()].filter((each) => used.has(each))
    return printed(this.contract, [...structs, ...this.exceptions.values()], methods)
  }
}

/** The language for what was made of it: one file, whatever it included. */
export const idlOf = (contract: Contract, methods: ReadonlyMap<string, Operation>): string => {
  const used = mentionedBy(methods)
  for (const { errors } of methods.values()) for (const { struct } of errors) mentions(struct, used)
  return printed(contract, [...used], methods)
}

function printed(contract: Contract, types: readonly (Struct | Enum)[], methods: ReadonlyMap<string, Operation>): string {
  const exceptions = new Set([...methods.values()].flatMap(({ errors }) => errors.map(({ struct }) => struct)))
  const functions = [...methods.values()].map(({ name, oneway, input, output, errors }) => {
    const throws = errors.length === 0 ? '' : ` throws (${errors.map(({ id, struct }) => `${id}: ${struct.name} e${id}`).join(', ')})`
    const args = input.fields.map((each) => spell(each, false)).join(', ')
    return `  ${oneway ? 'oneway ' : ''}${output ? typeName(output.type) : 'void'} ${spelled(name)}(${args})${throws}\n`
  })
  const text = `service ${serviceName(contract)} {\n${functions.join('')}}\n`
  const declared = types.map((type) => declaration(type, exceptions))
  return [`// ${contract.id}, made from its contract.\n`, ...declared, text].join('\n')
}

function declaration(type: Struct | Enum, exceptions: ReadonlySet<Struct>): string {
  const lines =
    type.kind === 'enum'
      ? [...type.numbers].map(([word, number]) => `${spelled(word)} = ${number}`)
      : type.fields.map((each) => spell(each, true))
  const word = type.kind === 'enum' ? 'enum' : exceptions.has(type) ? 'exception' : (type.word ?? 'struct')
  return `${word} ${type.name} {\n${lines.map((line) => `  ${line}\n`).join('')}}\n`
}

function mentionedBy(methods: ReadonlyMap<string, Operation>): Set<Struct | Enum> {
  const used = new Set<Struct | Enum>()
  for (const { input, output, errors } of methods.values())
    for (const { type } of [...input.fields, ...(output ? [output] : []), ...errors.flatMap(({ struct }) => struct.fields)])
      mentions(type, used)
  return used
}

/** What others refer to comes before them, where it does not refer to them. */
function mentions(type: Type, found: Set<Struct | Enum>, open = new Set<Struct>()): void {
  if (type.kind === 'list') mentions(type.item, found, open)
  else if (type.kind === 'map') {
    mentions(type.key, found, open)
    mentions(type.value, found, open)
  } else if (type.kind === 'enum') found.add(type)
  else if (type.kind === 'struct' && !open.has(type)) {
    open.add(type)
    for (const field of type.fields) mentions(field.type, found, open)
    found.add(type)
  }
}

function spell({ id, name, type, optional, initial }: Field, inStruct: boolean): string {
  const need = optional ? (initial?.sent ? '' : 'optional ') : inStruct ? 'required ' : ''
  return `${id}: ${need}${typeName(type)} ${spelled(name)}${initial ? ` = ${constantText(type, initial.make())}` : ''}`
}

/** A value as a constant of the language. */
function constantText(type: Type, value: unknown): string {
  const pairs = (all: Iterable<readonly [string, string]>): string => `{${[...all].map((pair) => pair.join(': ')).join(', ')}}`
  if (type.kind === 'list') return `[${[...(value as Iterable<unknown>)].map((each) => constantText(type.item, each)).join(', ')}]`
  if (type.kind === 'enum') return typeof value === 'string' ? `${type.name}.${spelled(value)}` : String(value)
  if (type.kind === 'struct')
    return pairs(
      Object.entries(value as object).map(([name, each]) => {
        const field = type.fields.find((one) => one.name === name)!
        return [literal(spelled(name)), constantText(field.type, each)] as const
      }),
    )
  if (type.kind === 'map') {
    const entries = value instanceof Map ? [...(value as Map<unknown, unknown>)] : Object.entries(value as object)
    return pairs(entries.map(([key, each]) => [constantText(type.key, key), constantText(type.value, each)] as const))
  }
  if (value instanceof Uint8Array) return literal(Buffer.from(value).toString())
  return typeof value === 'string' ? literal(value) : String(value)
}

/** Older compilers know no signs for quotes within. */
const literal = (text: string): string => (text.includes('"') && !text.includes("'") ? `'${text}'` : JSON.stringify(text))

export function typeName(type: Type): string {
  if (type.kind === 'list') return `${type.as}<${typeName(type.item)}>`
  if (type.kind === 'map') return `map<${typeName(type.key)}, ${typeName(type.value)}>`
  return type.name
}

const shapeOf = ({ fields }: Struct): unknown => fields.map(({ id, name, type, optional }) => [id, name, typeName(type), optional])

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1)
const pathName = (path: string): string => path.split('.').map(capital).join('')

function isSmall({ minimum = -Infinity, maximum = Infinity }: { minimum?: number; maximum?: number }): boolean {
  return minimum >= -(2 ** 31) && maximum < 2 ** 31
}
