/** What a `.thrift` file declares as a contract: its types with their numbers, and JSON Schemas of them. Sans I/O. docs/protocols/thrift.md. */
import { rpc, type Contract, type Members } from '../contract/contract.js'
import { foreignContract } from '../contract/foreign.js'
import { fromJsonSchema } from '../contract/from-json-schema.js'
import type { JsonSchema } from '../contract/schema-walk.js'
import {
  parseThrift,
  wrong,
  type At,
  type FieldNode,
  type File,
  type FunctionNode,
  type ServiceNode,
  type TypeNode,
  type TypeRef,
  type Value,
} from './thrift-idl.js'
import {
  bindOperations,
  idlOf,
  type Enum,
  type ErrorType,
  type Field,
  type Operation,
  type Scalar,
  type Struct,
  type Type,
} from './thrift-schema.js'

export interface ThriftOptions {
  /** Needed where there are several. */
  readonly service?: string
  /** The texts of included files, by their paths from the first. */
  readonly imports?: Readonly<Record<string, string>>
}

/**
 * A contract of one service. Rejects with TypeError, which says line and column, for what is no `.thrift`, with TypeError where there
 * is no service or nobody says which, MISSING_PACKAGE.
 */
export async function contractOfThrift(text: string, { service, imports = {} }: ThriftOptions): Promise<Contract> {
  const files = new Files(imports)
  const file = files.parsed(text, '')
  const node = chosen(file, service)
  const types = new Types(files)
  // What nobody uses is looked at, too: a file that is wrong is wrong for all.
  for (const each of files.all()) types.all(each)
  types.check()
  const methods = new Map<string, Operation>()
  for (const [place, each] of functionsOf(files, file, node)) {
    if (methods.has(each.name)) throw wrong(each.at, `there are two functions "${each.name}"`)
    methods.set(each.name, types.operation(each, place))
  }
  const members: Members = Object.create(null) as Members
  for (const operation of methods.values()) members[operation.name] = await memberOf(operation)
  const contract = foreignContract(node.name, 1, members)
  bindOperations(contract, { methods, idl: idlOf(contract, methods) })
  return contract
}

function chosen({ services }: File, wanted: string | undefined): ServiceNode {
  const names = [...services.keys()].join(', ')
  const [only] = services.values()
  if (!only) throw new TypeError('there is no service in it')
  if (wanted !== undefined) {
    const found = services.get(wanted)
    if (!found) throw new TypeError(`there is no service "${wanted}" in it, only ${names}`)
    return found
  }
  if (services.size > 1) throw new TypeError(`there are several services in it: ${names}; say which, as { service }`)
  return only
}

// ── files ────────────────────────────────────────────────────────────────────────────────────────

/** Files by their paths, and what a name of one means: its own, or `shared.Name` of one that it includes. */
class Files {
  private readonly known = new Map<string, File>()

  constructor(private readonly imports: Readonly<Record<string, string>>) {}

  /** The first before those that it includes. */
  all(): Iterable<File> {
    return this.known.values()
  }

  parsed(text: string, name: string): File {
    const file = parseThrift(text, name)
    this.known.set(name, file)
    for (const { path, at } of file.includes) this.included(file, path, at)
    return file
  }

  private included(by: File, path: string, at: At): File {
    const name = [beside(by.name, path), beside('', path)].find((each) => this.known.has(each) || Object.hasOwn(this.imports, each))
    if (name === undefined)
      throw wrong(
        at,
        `it includes ${JSON.stringify(path)}; give its text, too: { imports: { ${JSON.stringify(beside(by.name, path))}: … } }`,
      )
    return this.known.get(name) ?? this.parsed(this.imports[name]!, name)
  }

  /** undefined: there is nothing of that name. */
  find<T>(file: File, name: string, of: (file: File) => ReadonlyMap<string, T>): { readonly file: File; readonly found: T } | undefined {
    const own = of(file).get(name)
    if (own !== undefined) return { file, found: own }
    for (const { path, at } of file.includes) {
      const scope = `${scopeOf(path)}.`
      if (!name.startsWith(scope)) continue
      const other = this.included(file, path, at)
      const found = of(other).get(name.slice(scope.length))
      if (found !== undefined) return { file: other, found }
    }
    return undefined
  }
}

/** `shapes/shared.thrift` is `shared`. */
const scopeOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1).replace(/\.thrift$/, '')

/** A path from the folder of a file, as one from the folder of the first. */
function beside(by: string, path: string): string {
  const parts: string[] = []
  for (const part of [...by.split('/').slice(0, -1), ...path.split('/')])
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop()
    else if (part !== '.') parts.push(part)
  return parts.join('/')
}

/** Of a service with all that it extends, the eldest first. */
function functionsOf(files: Files, file: File, node: ServiceNode, seen = new Set<ServiceNode>()): (readonly [File, FunctionNode])[] {
  if (seen.has(node)) throw wrong(node.at, `the service ${node.name} extends itself`)
  seen.add(node)
  const own = node.functions.map((each) => [file, each] as const)
  if (!node.parent) return own
  const { name, at } = node.parent
  const parent = files.find(file, name, ({ services }) => services)
  if (!parent) throw wrong(at, `there is no service ${name}${name.includes('.') ? ELSEWHERE : ''}`)
  return [...functionsOf(files, parent.file, parent.found, seen), ...own]
}

const ELSEWHERE = '; what another file declares has the name of that file before it, and that file is included'

// ── types ────────────────────────────────────────────────────────────────────────────────────────

class Types {
  private readonly built = new Map<TypeNode, Type>()
  private readonly names = new Set<string>()
  private readonly open = new Set<TypeNode>()

  private readonly defaults: Field[] = []

  constructor(private readonly files: Files) {}

  /** Defaults fit their types. Only when all are known: a default may be of a struct that holds its own. */
  check(): void {
    for (const { initial } of this.defaults) initial!.make()
  }

  all(file: File): void {
    for (const [name, node] of file.types) this.declared(node, file, { file, offset: 0 }, name)
    for (const { type, value } of file.constants.values()) this.constant(this.type(type, file), value, file)
    for (const service of file.services.values())
      for (const [place, each] of functionsOf(this.files, file, service)) this.operation(each, place)
  }

  operation({ name, oneway, output, input, errors }: FunctionNode, file: File): Operation {
    return {
      name,
      oneway,
      // Whoever calls a function gives all that it takes, unless the file says otherwise.
      input: {
        kind: 'struct',
        name: `${name}_args`,
        fields: this.fields(input, file).map((field, at) => ({
          ...field,
          optional: input[at]!.need === 'optional' || field.initial !== undefined,
        })),
      },
      single: false,
      output: output && { id: 0, name: 'success', type: this.type(output, file), optional: true, absent: undefined },
      errors: errors.map((field) => this.error(field, file)),
    }
  }

  private error({ id, type, at }: FieldNode, file: File): ErrorType {
    const struct = this.type(type, file)
    if (struct.kind !== 'struct' || struct.word !== 'exception') throw wrong(at, 'a function throws exceptions only')
    return { id, name: struct.name, struct, single: false, whole: true }
  }

  private fields(nodes: readonly FieldNode[], file: File): Field[] {
    return nodes.map(({ id, name, need, type: of, initial, at }): Field => {
      if (name === '__proto__') throw wrong(at, 'a field cannot have that name')
      const type = this.type(of, file)
      const field = { id, name, type, optional: need !== 'required', absent: undefined }
      if (!initial) return field
      const whole = {
        ...field,
        initial: { make: (depth?: number): unknown => this.constant(type, initial, file, depth), sent: need !== 'optional' },
      }
      this.defaults.push(whole)
      return whole
    })
  }

  private type(of: TypeRef, file: File): Type {
    if (of.kind === 'base') return scalar(of.name)
    if (of.kind === 'map') {
      const [key, value] = [this.type(of.key, file), this.type(of.value, file)]
      return { kind: 'map', key, value, as: key.kind === 'scalar' && key.name === 'string' ? 'object' : 'map' }
    }
    if (of.kind === 'list' || of.kind === 'set') return { kind: 'list', item: this.type(of.item, file), as: of.kind }
    const found = this.files.find(file, of.name, ({ types }) => types)
    if (!found) throw wrong(of.at, `there is no type ${of.name}${of.name.includes('.') ? ELSEWHERE : ''}`)
    return this.declared(found.found, found.file, of.at, of.name)
  }

  private declared(node: TypeNode, file: File, at: At, as: string): Type {
    const known = this.built.get(node)
    if (known) return known
    if (node.kind === 'typedef') {
      if (this.open.has(node)) throw wrong(at, `${as} is declared as itself`)
      this.open.add(node)
      const type = this.type(node.type, file)
      this.open.delete(node)
      this.built.set(node, type)
      return type
    }
    const name = this.free(node.name)
    if (node.kind === 'enum') {
      const made: Enum = {
        kind: 'enum',
        name,
        numbers: new Map(node.values),
        words: new Map(node.values.map(([word, number]) => [number, word] as const).toReversed()),
      }
      this.built.set(node, made)
      return made
    }
    // It may hold itself: it is known before its fields are.
    const struct: Struct = { kind: 'struct', name, word: node.word, fields: [] }
    this.built.set(node, struct)
    struct.fields.push(...this.fields(node.fields, file))
    if (node.word === 'union')
      for (const [index, { need, initial, at: place }] of node.fields.entries()) {
        if (need === 'required') throw wrong(place, `one field of a union is there, so none is required`)
        if (initial) throw wrong(place, 'a field of a union has no default')
        struct.fields[index] = { ...struct.fields[index]!, optional: true }
      }
    return struct
  }

  /** Two files may have the same name. */
  private free(name: string): string {
    let free = name
    for (let number = 2; this.names.has(free); number++) free = `${name}${number}`
    this.names.add(free)
    return free
  }

  // ── constants ──────────────────────────────────────────────────────────────────────────────────

  /** A value anew each time: who gets it may change it. Throws TypeError where it does not fit. */
  private constant(type: Type, value: Value, file: File, depth = 0): unknown {
    const misfit = (): never => {
      throw wrong(value.at, `${'text' in value ? JSON.stringify(value.text.slice(0, 40)) : `this ${value.kind}`} is no ${nameOf(type)}`)
    }
    if (depth > DEPTH) throw wrong(value.at, 'a constant is made of itself')
    if (value.kind === 'name') return this.named(type, value, file, depth) ?? misfit()
    if (type.kind === 'scalar') return scalarValue(type.name, value) ?? misfit()
    if (type.kind === 'enum') return (value.kind === 'number' ? wordOf(type, Number(value.text)) : undefined) ?? misfit()
    if (type.kind === 'list') {
      // The compiler takes {} for an empty one.
      const items = value.kind === 'list' ? value.items : value.kind === 'map' && value.entries.length === 0 ? [] : misfit()
      const made = items.map((each) => this.constant(type.item, each, file, depth + 1))
      return type.as === 'set' ? new Set(made) : made
    }
    const entries = value.kind === 'map' ? value.entries : value.kind === 'list' && value.items.length === 0 ? [] : misfit()
    if (type.kind === 'struct') return this.structValue(type, entries, file, depth)
    const pairs = entries.map(
      ([key, each]) => [this.constant(type.key, key, file, depth + 1), this.constant(type.value, each, file, depth + 1)] as const,
    )
    return type.as === 'map' ? new Map(pairs) : Object.fromEntries(pairs as (readonly [string, unknown])[])
  }

  private structValue(struct: Struct, entries: readonly (readonly [Value, Value])[], file: File, depth: number): Record<string, unknown> {
    const made: Record<string, unknown> = {}
    for (const [key, each] of entries) {
      const field = key.kind === 'text' ? struct.fields.find(({ name }) => name === key.text) : undefined
      if (!field) throw wrong(key.at, `${'text' in key ? key.text : 'this'} is no field of ${struct.name}`)
      made[field.name] = this.constant(field.type, each, file, depth + 1)
    }
    for (const { name, initial } of struct.fields) if (initial && !Object.hasOwn(made, name)) made[name] = initial.make(depth + 1)
    return made
  }

  /** `true`, a constant, or a value of an enum. */
  private named(type: Type, { text, at }: Extract<Value, { text: string }>, file: File, depth: number): unknown {
    if (type.kind === 'scalar' && type.name === 'bool' && (text === 'true' || text === 'false')) return text === 'true'
    const constant = this.files.find(file, text, ({ constants }) => constants)
    if (constant) return this.constant(type, constant.found.value, constant.file, depth + 1)
    const dot = text.lastIndexOf('.')
    const holder = this.files.find(file, text.slice(0, Math.max(0, dot)), ({ types }) => types)
    const number = holder?.found.kind === 'enum' ? new Map(holder.found.values).get(text.slice(dot + 1)) : undefined
    const last = text.slice(dot + 1)
    // As the compiler does: of which enum it is the type says.
    if (type.kind === 'enum' && number === undefined && dot > 0 && type.numbers.has(last)) return last
    if (number === undefined) throw wrong(at, `there is no constant ${text}`)
    if (type.kind === 'enum') return wordOf(type, number)
    return type.kind === 'scalar' ? scalarValue(type.name, { kind: 'number', text: String(number), at }) : undefined
  }
}

const DEPTH = 64

const scalar = (name: Scalar): Type => ({ kind: 'scalar', name, ...(name === 'i64' && { as: 'bigint' as const }) })
const wordOf = ({ words }: Enum, number: number): string | number => words.get(number) ?? number
const nameOf = (type: Type): string => (type.kind === 'scalar' || type.kind === 'enum' || type.kind === 'struct' ? type.name : type.as)

const BITS: Readonly<Partial<Record<Scalar, number>>> = { i8: 8, i16: 16, i32: 32, i64: 64 }

/** undefined: it does not fit. */
function scalarValue(name: Scalar, value: Value): unknown {
  if (value.kind === 'text') {
    if (name === 'string') return value.text
    if (name === 'binary') return new Uint8Array(Buffer.from(value.text))
    if (name !== 'uuid') return undefined
    const plain = value.text.replace(/^\{(.*)\}$/, '$1').toLowerCase()
    return UUID.test(plain) ? plain : undefined
  }
  if (value.kind !== 'number') return undefined
  if (name === 'double') return Number(value.text)
  const whole = wholeOf(value.text)
  if (name === 'bool') return whole === 0n ? false : whole === 1n ? true : undefined
  const bits = BITS[name]
  if (bits === undefined || whole === undefined || BigInt.asIntN(bits, whole) !== whole) return undefined
  return name === 'i64' ? whole : Number(whole)
}

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i

function wholeOf(text: string): bigint | undefined {
  if (!/^[+-]?(\d+|0x[\da-fA-F]+)$/.test(text)) return undefined
  const size = BigInt(text.replace(/^[+-]/, ''))
  return text.startsWith('-') ? -size : size
}

// ── JSON Schema ──────────────────────────────────────────────────────────────────────────────────

async function memberOf({ input, output, errors, oneway }: Operation): Promise<Members[string]> {
  const described = async (schema: (defs: Record<string, JsonSchema>) => JsonSchema) => {
    const $defs: Record<string, JsonSchema> = Object.create(null) as Record<string, JsonSchema>
    return fromJsonSchema({ ...schema($defs), $defs })
  }
  const declared: Record<string, Awaited<ReturnType<typeof described>>> = {}
  for (const { name, struct } of errors) declared[name] = await described((defs) => typeSchema(struct, defs))
  return rpc({
    ...(input.fields.length > 0 && { input: await described((defs) => fieldsSchema(input.fields, defs)) }),
    ...(output && { output: await described((defs) => typeSchema(output.type, defs)) }),
    ...(!oneway && { errors: declared }),
    oneway,
  })
}

const SCALARS: Readonly<Record<Scalar, JsonSchema>> = {
  bool: { type: 'boolean' },
  i8: { type: 'integer', minimum: -(2 ** 7), maximum: 2 ** 7 - 1 },
  i16: { type: 'integer', minimum: -(2 ** 15), maximum: 2 ** 15 - 1 },
  i32: { type: 'integer', minimum: -(2 ** 31), maximum: 2 ** 31 - 1 },
  i64: { 'x-talkwire': 'bigint' },
  double: { anyOf: [{ type: 'number' }, { 'x-talkwire': 'nan' }] },
  string: { type: 'string' },
  binary: { 'x-talkwire': 'array', 'x-dtype': 'u1' },
  uuid: { type: 'string', pattern: UUID.source.replaceAll('a-f', 'A-Fa-f') },
}

function typeSchema(type: Type, $defs: Record<string, JsonSchema>): JsonSchema {
  if (type.kind === 'scalar') return SCALARS[type.name]
  // A newer file may have more of them.
  if (type.kind === 'enum') return { anyOf: [{ enum: [...type.numbers.keys()] }, { type: 'integer' }] }
  if (type.kind === 'map') {
    const value = typeSchema(type.value, $defs)
    return type.as === 'object'
      ? { type: 'object', additionalProperties: value }
      : { 'x-talkwire': 'map', 'x-keys': typeSchema(type.key, $defs), 'x-values': value }
  }
  if (type.kind === 'list') {
    const item = typeSchema(type.item, $defs)
    return type.as === 'set' ? { 'x-talkwire': 'set', 'x-values': item } : { type: 'array', items: item }
  }
  const { name, fields, word } = type
  if (!Object.hasOwn($defs, name)) {
    $defs[name] = {}
    $defs[name] =
      word === 'union'
        ? { anyOf: fields.map((field) => fieldsSchema([{ ...field, optional: false }], $defs)) }
        : { title: name, ...fieldsSchema(fields, $defs) }
  }
  return { $ref: `#/$defs/${name}` }
}

function fieldsSchema(fields: readonly Field[], $defs: Record<string, JsonSchema>): JsonSchema {
  const properties: Record<string, JsonSchema> = {}
  for (const { name, type } of fields) properties[name] = typeSchema(type, $defs)
  const required = fields.filter(({ optional, initial }) => !optional && !initial).map(({ name }) => name)
  return { type: 'object', properties, ...(required.length > 0 && { required }), additionalProperties: false }
}
