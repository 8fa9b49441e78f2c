/**
 * A contract as protobuf: messages for its JSON Schemas, with numbers in the order of declaration, or those that `x-protobuf`
 * gives. What has no place in protobuf is refused with its path. docs/protocols/grpc.md has the table. Sans I/O.
 */
import { canonicalJson } from '../contract/canonical.js'
import { isStream, type Contract } from '../contract/contract.js'
import { describeMethod, type JsonSchema, type ValueDescription } from '../contract/json-schema.js'
import { toJsonSchema } from '../contract/schema-libraries.js'
import { isObject, resolveRef, type Subschema } from '../contract/schema-walk.js'
import { ARRAYS } from '../dtypes.js'
import { TalkwireError } from '../error.js'
import {
  EMPTY,
  fullName,
  NULL,
  ofMessage,
  scalar,
  STRUCT,
  TIMESTAMP,
  VALUE,
  type Enum,
  type Field,
  type File,
  type Message,
  type Method,
  type Scalar,
  type Type,
} from './protobuf-model.js'

const files = new WeakMap<Contract, File>()

/** What a contract was made of, where it was made of a `.proto`. */
export const bindFile = (contract: Contract, file: File): void => void files.set(contract, file)

/** Rejects with UNSUPPORTED for what protobuf has no word for. */
export async function fileOf(contract: Contract): Promise<File> {
  const known = files.get(contract)
  if (known) return known
  const segments = contract.name.split('.').map((part) => part.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_'))
  const name = segments.map((part) => (/^[a-z]/.test(part) ? part : `_${part}`)).join('.')
  const file = { package: `${name}.v${contract.version}`, service: pascal(contract.name.split('.').at(-1)!) }
  const all = new Messages(contract.id, file.package, new Set([fullName(file)]))
  const methods: Method[] = []
  for (const [member, { kind }] of Object.entries(contract.members)) {
    const method = await methodOf(contract, member, kind, all)
    const twin = methods.find(({ name: other }) => other === method.name)
    if (twin) throw all.refusal(member, `two methods that are both ${method.name} ("${twin.member}", "${member}")`)
    methods.push(method)
  }
  const made: File = { ...file, path: `${file.package.replaceAll('.', '/')}/${segments.at(-1)}.proto`, methods, ...all.made() }
  files.set(contract, made)
  return made
}

async function methodOf(contract: Contract, member: string, kind: 'rpc' | 'event', all: Messages): Promise<Method> {
  const name = pascal(member)
  const described = contract.members[member]!
  if (described.kind === 'event') {
    const output = { schema: await toJsonSchema(described.payload), stream: true, optional: false }
    return {
      name,
      member,
      input: EMPTY,
      inputStream: false,
      output: all.root(output, `${name}Event`, member),
      outputStream: true,
      idempotent: kind === 'event',
      errors: new Map(),
    }
  }
  const { input, output, errors, idempotent } = await describeMethod(described)
  const details = Object.entries(errors).map(([error, schema]): [string, Message] => [
    error,
    all.root({ schema, stream: false, optional: false }, error, `${member}.errors.${error}`),
  ])
  return {
    name,
    member,
    input: all.root(input, `${name}Request`, `${member}.input`),
    inputStream: isStream(described.input),
    output: all.root(output, `${name}Response`, `${member}.output`),
    outputStream: isStream(described.output),
    idempotent,
    errors: new Map(details),
  }
}

/** `getBalance`, `get-balance` → `GetBalance`. */
export function pascal(text: string): string {
  const words = text.split(/[^A-Za-z0-9]+/).filter((word) => word !== '')
  const joined = words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('')
  return /^[A-Z]/.test(joined) ? joined : `X${joined}`
}

const camel = (text: string): string => text.replaceAll(/_+([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase())
const snake = (text: string): string => text.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** `accountId` → `account_id`, where protobuf's JSON finds back from it; else as it is. */
function fieldName(property: string): string {
  const name = snake(property)
  if (camel(name) === property && /^[a-z][a-z0-9_]*$/.test(name)) return name
  const plain = property.replaceAll(/[^A-Za-z0-9_]/g, '_')
  return /^[A-Za-z]/.test(plain) ? plain : `x${plain}`
}

/** What a schema is in a field. */
interface Slot {
  readonly type: Type
  readonly many?: 'repeated' | 'map'
  readonly key?: Scalar
  readonly collection?: Field['collection']
  readonly nullable?: boolean
  /** Of a value that can only be one. */
  readonly constant?: unknown
  readonly fits: (value: unknown) => boolean
}

/** Where a schema stands: its document, what it may be called, and where it is, for whom it is refused. */
interface Place {
  readonly root: JsonSchema
  readonly name: string
  readonly path: string
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  isObject(value) && !(value instanceof Date) && !ArrayBuffer.isView(value) && !(value instanceof Map) && !(value instanceof Set)
const anything = (): boolean => true
const plainSlot = (name: Scalar, type: string): Slot => ({ type: scalar(name), fits: (value) => typeof value === type })
const TEXT = plainSlot('string', 'string')
const DOUBLE = plainSlot('double', 'number')
const BOOL = plainSlot('bool', 'boolean')
const BIG: Slot = { type: { kind: 'scalar', scalar: 'int64', big: true }, fits: (value) => typeof value === 'bigint' }
const BYTES: Slot = { type: scalar('bytes'), fits: (value) => value instanceof Uint8Array }
const NOTHING: Slot = { type: { kind: 'enum', enum: NULL }, fits: (value) => value === null }
const UNTYPED: Slot = { type: ofMessage(VALUE), fits: anything }
const ELEMENTS: Readonly<Record<string, Type>> = {
  i1: scalar('int32'),
  i2: scalar('int32'),
  i4: scalar('int32'),
  u2: scalar('uint32'),
  u4: scalar('uint32'),
  i8: { kind: 'scalar', scalar: 'int64', big: true },
  u8: { kind: 'scalar', scalar: 'uint64', big: true },
  f4: scalar('float'),
  f8: scalar('double'),
}
const SCALARS: ReadonlySet<unknown> = new Set(
  'double float int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64 bool string bytes'.split(' '),
)
/** Google's reserved range. https://protobuf.dev/programming-guides/proto3/#assigning */
const isNumber = (value: number): boolean =>
  Number.isInteger(value) && value >= 1 && value < 2 ** 29 && !(value >= 19_000 && value <= 19_999)

/** Those of one contract, with a name each. */
class Messages {
  private readonly byName = new Map<string, Message | Enum>()
  private readonly bySchema = new Map<object, Message>()
  private readonly shared = new Map<string, Message>()

  constructor(
    private readonly of: string,
    private readonly prefix: string,
    private readonly taken: Set<string>,
  ) {}

  made(): Pick<File, 'messages' | 'enums'> {
    const all = [...this.byName.values()]
    return { messages: all.filter((each) => 'fields' in each), enums: all.filter((each) => 'values' in each) }
  }

  refusal(path: string, what: string): TalkwireError {
    return new TalkwireError(
      'UNSUPPORTED',
      `protobuf has no word for ${what}, at ${path} of ${this.of}; describe it otherwise, or take another address`,
    )
  }

  /** What a method takes or gives: always a message. */
  root(value: ValueDescription | null, name: string, path: string): Message {
    if (!value) return EMPTY
    const { schema, optional } = value
    const key = canonicalJson([name, schema, optional])
    const known = this.shared.get(key)
    if (known) return known
    const place = { root: schema, name: titleOf(schema) ?? name, path }
    const slot = this.slot(schema, place)
    const whole = slot.type.kind === 'message' && !slot.many && !slot.nullable && !optional ? slot.type.message : undefined
    const message = whole ?? this.box(schema, { ...place, name }, !optional, slot)
    this.shared.set(key, message)
    return message
  }

  private free(name: string): string {
    let candidate = `${this.prefix}.${name}`
    for (let number = 2; this.taken.has(candidate); number++) candidate = `${this.prefix}.${name}${number}`
    this.taken.add(candidate)
    return candidate
  }

  /** What is described and called alike is one message; `fill` gives it its fields. What refers elsewhere may mean something else. */
  private add(shape: Message['shape'], { name }: Place, of: unknown, fill: (message: Message) => void): Message {
    const text = canonicalJson([shape, name, of])
    const key = text.includes('"$ref"') ? undefined : text
    const known = key === undefined ? undefined : this.shared.get(key)
    if (known) return known
    const message: Message = { name: this.free(name), shape, fields: [] }
    this.byName.set(message.name, message)
    if (key !== undefined) this.shared.set(key, message)
    fill(message)
    return message
  }

  /** A message whose only field is the value: for what cannot stand in a list, be absent, or be a whole message. */
  private box(schema: Subschema, place: Place, required = true, slot?: Slot): Message {
    return this.add('single', place, [schema, required], ({ fields }) => {
      fields.push(this.field('value', schema, place, required, 1, slot))
    })
  }

  private field(property: string, schema: Subschema, place: Place, required: boolean, number: number, given?: Slot): Field {
    const slot = given ?? this.slot(schema, place)
    const name = fieldName(property)
    const base = { name, json: property, number, property, fits: slot.fits }
    if (slot.many && required && !slot.nullable) {
      const { many: label, key, collection } = slot
      return { ...base, type: slot.type, label, ...(key && { key }), ...(collection && { collection }) }
    }
    if (slot.nullable && !required) return { ...base, type: ofMessage(this.orNull(schema, place, slot)), label: 'optional' }
    // A value of any type that does not come is null, as protobuf's JSON has it.
    const untyped = required && slot.type.kind === 'message' && slot.type.message === VALUE
    const nothing = slot.nullable || untyped ? { absent: null } : {}
    if (slot.many) {
      const inner = { ...slot, nullable: false }
      return {
        ...base,
        type: ofMessage(this.box(schema, { ...place, name: `${place.name}List` }, true, inner)),
        label: 'optional',
        ...nothing,
      }
    }
    if (!required || slot.nullable || slot.type.kind === 'message') return { ...base, type: slot.type, label: 'optional', ...nothing }
    return { ...base, type: slot.type, label: 'implicit', ...('constant' in slot && { absent: slot.constant }) }
  }

  /** Absent, null and a value are three things. */
  private orNull(schema: Subschema, place: Place, slot: Slot): Message {
    return this.add('union', { ...place, name: `${place.name}OrNull` }, schema, ({ fields }) => {
      fields.push(
        this.alternative('null', NOTHING, schema, place, 1),
        this.alternative('value', { ...slot, nullable: false }, schema, place, 2),
      )
    })
  }

  private alternative(name: string, slot: Slot, schema: Subschema, place: Place, number: number): Field {
    const single = this.single(slot, schema, { ...place, name: `${place.name}${pascal(name)}` })
    return { name, json: camel(name), number, property: name, type: single, label: 'optional', oneof: 'kind', fits: slot.fits }
  }

  /** The type of what cannot be a list, a map or null where it stands. */
  private single(slot: Slot, schema: Subschema, place: Place): Type {
    return slot.many || slot.nullable ? ofMessage(this.box(schema, place, true, slot)) : slot.type
  }

  // ── schemas ────────────────────────────────────────────────────────────────────────────────────

  private slot(schema: Subschema, place: Place): Slot {
    if (!isObject(schema)) {
      if (schema) return UNTYPED
      throw this.refusal(place.path, 'a value that never is')
    }
    if (typeof schema['$ref'] === 'string') return this.referred(schema['$ref'], place)
    const wanted = typeOf(schema)
    if (wanted !== undefined) return this.explicit(wanted, place)
    if (schema['x-talkwire'] !== undefined) return this.marked(schema, place)
    if (Array.isArray(schema['allOf'])) return this.slot(this.merged(schema, place), place)
    const all = this.alternatives(schema, place)
    if (all) return this.union(all, place)
    if ('const' in schema) return { ...this.literal(schema['const'], place), constant: schema['const'] }
    switch (schema['type']) {
      case 'string':
        return TEXT
      case 'number':
        return DOUBLE
      case 'integer':
        return integer(schema)
      case 'boolean':
        return BOOL
      case 'null':
        return { ...NOTHING, nullable: false }
      case 'array':
        return this.list(schema, place)
      case 'object':
        return this.object(schema, place)
      default:
        return isObject(schema['properties']) ? this.object(schema, place) : UNTYPED
    }
  }

  private referred(ref: string, place: Place): Slot {
    const target = resolveRef(place.root, ref)
    if (target === undefined) throw this.refusal(place.path, `a reference that leads nowhere (${ref})`)
    const name = ref === '#' ? place.name : pascal(ref.slice(ref.lastIndexOf('/') + 1))
    return this.slot(target, { ...place, name })
  }

  private explicit(wanted: unknown, { path }: Place): Slot {
    if (!SCALARS.has(wanted)) throw this.refusal(path, `the type ${JSON.stringify(wanted)} of x-protobuf`)
    const name = wanted as Scalar
    if (name === 'string') return TEXT
    if (name === 'bool') return BOOL
    if (name === 'bytes') return BYTES
    return { type: scalar(name), fits: (value) => typeof value === 'number' }
  }

  private marked(schema: JsonSchema, place: Place): Slot {
    switch (schema['x-talkwire']) {
      case 'bigint':
        return BIG
      case 'date':
        return { type: ofMessage(TIMESTAMP), fits: (value) => value instanceof Date }
      case 'nan':
        return DOUBLE
      case 'array':
        return this.typedArray(String(schema['x-dtype']), place)
      case 'set': {
        const inner = (schema['x-values'] as Subschema | undefined) ?? true
        return { ...this.items(inner, place), collection: 'set', fits: (value) => value instanceof Set }
      }
      case 'map':
        return this.entries(schema, place)
      case 'undefined':
        throw this.refusal(place.path, 'undefined; leave the property out instead')
      default:
        return UNTYPED
    }
  }

  private typedArray(dtype: string, { path }: Place): Slot {
    if (dtype === 'u1' || dtype === 'c1') return BYTES
    const type = ELEMENTS[dtype]
    if (!type) throw this.refusal(path, `an array of ${dtype}`)
    const kind = dtype as keyof typeof ARRAYS
    return { type, many: 'repeated', collection: kind, fits: (value) => value instanceof ARRAYS[kind] }
  }

  /** A Map with keys of any kind: a list of entries. */
  private entries(schema: JsonSchema, place: Place): Slot {
    const message = this.add('tuple', { ...place, name: `${place.name}Entry` }, schema, ({ fields }) => {
      for (const [index, keyword] of (['x-keys', 'x-values'] as const).entries()) {
        const inner = (schema[keyword] as Subschema | undefined) ?? true
        const name = index === 0 ? 'key' : 'value'
        const at = { root: isObject(inner) ? inner : {}, name: `${place.name}${pascal(name)}`, path: `${place.path}.${name}` }
        fields.push({ ...this.field(name, inner, at, true, index + 1), property: String(index) })
      }
    })
    return { type: ofMessage(message), many: 'repeated', collection: 'map', fits: (value) => value instanceof Map }
  }

  private items(schema: Subschema, place: Place): Slot {
    const at = { ...place, name: `${place.name}Item`, path: `${place.path}[]` }
    return { type: this.single(this.slot(schema, at), schema, at), many: 'repeated', fits: Array.isArray }
  }

  private list(schema: JsonSchema, place: Place): Slot {
    const { items, prefixItems } = schema
    if (!Array.isArray(prefixItems)) return this.items((items as Subschema | undefined) ?? true, place)
    const message = this.add('tuple', place, schema, ({ fields }) => {
      for (const [index, inner] of (prefixItems as Subschema[]).entries()) {
        const at = { ...place, name: `${place.name}Item${index + 1}`, path: `${place.path}[${index}]` }
        fields.push({ ...this.field(`item${index + 1}`, inner, at, true, index + 1), property: String(index) })
      }
    })
    if (items !== undefined && items !== false)
      throw this.refusal(place.path, 'a list that begins with other elements than it goes on with')
    const { length } = prefixItems
    return { type: ofMessage(message), fits: (value) => Array.isArray(value) && value.length === length }
  }

  private object(schema: JsonSchema, place: Place): Slot {
    const properties = isObject(schema['properties']) ? schema['properties'] : {}
    const more = schema['additionalProperties'] ?? (Array.isArray(schema['patternProperties']) ? true : undefined)
    const names = Object.keys(properties)
    if (isObject(more) || more === true) {
      if (names.length > 0) throw this.refusal(place.path, 'an object with properties of any name beside its own')
      return this.record(more as Subschema, place)
    }
    if (names.length === 0 && more === undefined && !isObject(schema['properties'])) return { type: ofMessage(STRUCT), fits: isPlain }
    const known = this.bySchema.get(schema)
    if (known) return { type: ofMessage(known), fits: objectFits(known, schema) }
    const at = { ...place, name: titleOf(schema) ?? place.name }
    const message = this.add('object', at, schema, (made) => {
      // It may hold itself: it is known before its fields are.
      this.bySchema.set(schema, made)
      this.properties(made, schema, properties, place)
    })
    this.bySchema.set(schema, message)
    return { type: ofMessage(message), fits: objectFits(message, schema) }
  }

  private properties({ fields }: Message, schema: JsonSchema, properties: Record<string, unknown>, place: Place): void {
    const required = Array.isArray(schema['required']) ? schema['required'] : []
    const numbers = this.numbers(properties, place)
    const within = place.name.replace(/(Request|Response|Event)$/, '')
    for (const name of Object.keys(properties)) {
      const at = { ...place, name: `${within}${pascal(name)}`, path: `${place.path}.${name}` }
      fields.push(this.field(name, properties[name] as Subschema, at, required.includes(name), numbers.get(name)!))
    }
    const twin = fields.find(({ name }, index) => fields.findIndex((other) => other.name === name) !== index)
    if (twin) throw this.refusal(place.path, `two properties that are both ${twin.name}`)
  }

  private record(more: Subschema, place: Place): Slot {
    const at = { ...place, name: `${place.name}Value`, path: `${place.path}{}` }
    return { type: this.single(this.slot(more, at), more, at), many: 'map', key: 'string', fits: isPlain }
  }

  private numbers(properties: Record<string, unknown>, { path }: Place): Map<string, number> {
    const numbers = new Map<string, number>()
    for (const [name, schema] of Object.entries(properties)) {
      const number = numberOf(schema)
      if (number === undefined) continue
      if (!isNumber(number)) throw this.refusal(`${path}.${name}`, `the number ${number}`)
      if ([...numbers.values()].includes(number)) throw this.refusal(`${path}.${name}`, `two fields with the number ${number}`)
      numbers.set(name, number)
    }
    const taken = new Set(numbers.values())
    let next = 1
    for (const name of Object.keys(properties)) {
      if (numbers.has(name)) continue
      while (taken.has(next) || !isNumber(next)) next++
      numbers.set(name, next++)
    }
    return numbers
  }

  // ── unions ─────────────────────────────────────────────────────────────────────────────────────

  private alternatives(schema: JsonSchema, place: Place): readonly Subschema[] | undefined {
    const { anyOf, oneOf, type, enum: values, ...rest } = schema
    const union = Array.isArray(anyOf) ? anyOf : Array.isArray(oneOf) ? oneOf : undefined
    if (union) {
      if (isObject(rest['properties'])) throw this.refusal(place.path, 'an object with alternatives beside its properties')
      return union as Subschema[]
    }
    if (Array.isArray(values)) return values.map((value: unknown) => ({ const: value }))
    if (Array.isArray(type)) return type.map((each: unknown) => ({ ...rest, type: each }))
    return undefined
  }

  private union(all: readonly Subschema[], place: Place): Slot {
    const flat: { schema: Subschema; slot: Slot; name: string }[] = []
    let nullable = false
    for (const [index, schema] of all.entries()) {
      const at = { ...place, name: `${place.name}${alternativeName(schema, index)}`, path: `${place.path}<${index}>` }
      if (isNever(schema)) continue
      const slot = this.slot(schema, at)
      if (slot.type.kind === 'enum' && slot.type.enum === NULL) nullable = true
      // Texts are texts, whichever of them may be said.
      else if (!flat.some(({ slot: other }) => !other.many && !slot.many && slot.type.kind === 'scalar' && isSame(other.type, slot.type)))
        flat.push({ schema, slot, name: alternativeName(schema, index) })
      nullable ||= slot.nullable === true
    }
    const [only] = flat
    if (!only) return { ...NOTHING, nullable: false }
    if (flat.length === 1) {
      const { constant: _, ...slot } = only.slot
      return all.length > 1 ? { ...slot, nullable } : { ...only.slot, nullable }
    }
    const message = this.add('union', place, all, ({ fields }) => {
      for (const { schema, slot, name } of flat) {
        const own = snake(name).replace(/^_/, '')
        const free = fields.some((other) => other.name === own) ? `${own}${fields.length + 1}` : own
        fields.push(this.alternative(free, { ...slot, nullable: false }, schema, place, fields.length + 1))
      }
    })
    return { type: ofMessage(message), nullable, fits: (value) => message.fields.some((each) => each.fits!(value)) }
  }

  private literal(value: unknown, { path }: Place): Slot {
    if (value === null) return NOTHING
    if (typeof value === 'string') return TEXT
    if (typeof value === 'boolean') return BOOL
    if (typeof value === 'number') return DOUBLE
    throw this.refusal(path, `the value ${JSON.stringify(value)}`)
  }

  /** Objects that must all hold are one object. */
  private merged(schema: JsonSchema, place: Place): JsonSchema {
    const { allOf, ...own } = schema
    const properties: Record<string, unknown> = {}
    const required: unknown[] = []
    for (const part of [own, ...(allOf as Subschema[])]) {
      const at = isObject(part) && typeof part['$ref'] === 'string' ? resolveRef(place.root, part['$ref']) : part
      const whole = isObject(at) && Array.isArray(at['allOf']) ? this.merged(at, place) : at
      if (!isObject(whole)) throw this.refusal(place.path, 'alternatives that must all hold')
      const { properties: more, required: wanted, type } = whole
      if (type !== undefined && type !== 'object') throw this.refusal(place.path, 'values that must be several things at once')
      if (isObject(more)) Object.assign(properties, more)
      if (Array.isArray(wanted)) required.push(...(wanted as unknown[]))
    }
    return { type: 'object', properties, required }
  }
}

function titleOf(schema: JsonSchema): string | undefined {
  const name = [schema['title'], schema['$id'], schema['id']].find((each) => typeof each === 'string' && /^[A-Za-z][\w -]*$/.test(each))
  return name === undefined ? undefined : pascal(name as string)
}

const isSame = (a: Type, b: Type): boolean => a.kind === 'scalar' && b.kind === 'scalar' && a.scalar === b.scalar && a.big === b.big
const isNever = (schema: Subschema): boolean =>
  schema === false ||
  (isObject(schema) && (schema['x-talkwire'] === 'undefined' || (isObject(schema['not']) && Object.keys(schema['not']).length === 0)))

/** `x-protobuf: 3`, or `{ number: 3, type: 'fixed64' }`. */
function numberOf(schema: unknown): number | undefined {
  const given = isObject(schema) ? schema['x-protobuf'] : undefined
  const number = isObject(given) ? given['number'] : given
  return number === undefined ? undefined : Number(number)
}
function typeOf(schema: JsonSchema): unknown {
  const given = schema['x-protobuf']
  return isObject(given) ? given['type'] : undefined
}

/** 64 bits, unless its bounds say that 32 do. On the wire they are the same. */
function integer({ minimum, maximum }: JsonSchema): Slot {
  const low = typeof minimum === 'number' ? minimum : -Infinity
  const high = typeof maximum === 'number' ? maximum : Infinity
  const name = low >= -(2 ** 31) && high < 2 ** 31 ? 'int32' : low >= 0 && high < 2 ** 32 ? 'uint32' : 'int64'
  return { type: scalar(name), fits: Number.isInteger }
}

/** How an alternative is called in its message. */
function alternativeName(schema: Subschema, index: number): string {
  if (!isObject(schema)) return `Option${index + 1}`
  const title =
    titleOf(schema) ??
    (typeof schema['$ref'] === 'string' && schema['$ref'] !== '#'
      ? pascal(schema['$ref'].slice(schema['$ref'].lastIndexOf('/') + 1))
      : undefined)
  if (title) return title
  const tag = isObject(schema['properties'])
    ? Object.values(schema['properties']).find((each): each is { const: string } => isObject(each) && typeof each['const'] === 'string')
    : undefined
  if (tag && /[A-Za-z]/.test(tag.const)) return pascal(tag.const)
  const kind = schema['x-talkwire'] ?? schema['type'] ?? ('const' in schema ? typeof schema['const'] : undefined)
  const said = typeof kind === 'string' ? SAID[kind] : undefined
  return said ?? `Option${index + 1}`
}
const SAID: Readonly<Record<string, string>> = {
  string: 'Text',
  number: 'Number',
  integer: 'Integer',
  boolean: 'Flag',
  array: 'List',
  bigint: 'Big',
  date: 'Time',
  map: 'Map',
  set: 'Set',
}

/** By what must be there, and by what can only have certain values. */
function objectFits(message: Message, schema: JsonSchema): (value: unknown) => boolean {
  const properties = isObject(schema['properties']) ? schema['properties'] : {}
  const required = Array.isArray(schema['required']) ? (schema['required'] as string[]) : []
  const literals = Object.entries(properties).flatMap(([name, each]): [string, readonly unknown[]][] =>
    isObject(each) && 'const' in each
      ? [[name, [each['const']]]]
      : isObject(each) && Array.isArray(each['enum'])
        ? [[name, each['enum']]]
        : [],
  )
  return (value) =>
    isPlain(value) &&
    required.every((name) => value[name] !== undefined) &&
    literals.every(([name, allowed]) => value[name] === undefined || allowed.includes(value[name])) &&
    message.fields.every(
      ({ property, fits }) => value[property] === undefined || value[property] === null || !fits || fits(value[property]),
    )
}
