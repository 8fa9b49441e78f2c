/** Descriptors of protobuf as a contract: what a `.proto` says, and what reflection tells. Sans I/O. google/protobuf/descriptor.proto */
import { fromBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema, type DescriptorProto, type FieldDescriptorProto, type FileDescriptorProto } from '@bufbuild/protobuf/wkt'
import type { Contract, Members } from '../contract/contract.js'
import { rpc, stream, validateMethodName } from '../contract/contract.js'
import { foreignContract } from '../contract/foreign.js'
import { fromJsonSchema } from '../contract/from-json-schema.js'
import type { JsonSchema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'
import {
  EMPTY,
  NULL,
  STRUCT,
  TIMESTAMP,
  VALUE,
  WIDE,
  type Enum,
  type Field,
  type File,
  type Message,
  type Method,
  type Scalar,
  type Type,
} from './protobuf-model.js'
import { bindFile } from './protobuf-schema.js'

/** By the numbers of FieldDescriptorProto.Type. */
const SCALARS: Readonly<Record<number, Scalar>> = {
  1: 'double',
  2: 'float',
  3: 'int64',
  4: 'uint64',
  5: 'int32',
  6: 'fixed64',
  7: 'fixed32',
  8: 'bool',
  9: 'string',
  12: 'bytes',
  13: 'uint32',
  15: 'sfixed32',
  16: 'sfixed64',
  17: 'sint32',
  18: 'sint64',
}
const GROUP = 10
const MANY = 3
const IDEMPOTENT = new Set([1, 2])
const known = new Map([EMPTY, TIMESTAMP, VALUE, STRUCT].map((message) => [message.name, message]))
const WRAPPERS = /^google\.protobuf\.(Double|Float|U?Int64|U?Int32|Bool|String|Bytes)Value$/

export const readDescriptorSet = (bytes: Uint8Array): FileDescriptorProto[] => fromBinary(FileDescriptorSetSchema, bytes).file

/**
 * A contract of one service. `service`: its name, with or without the package; needed where there are several.
 * Rejects with TypeError where there is none or nobody says which, UNSUPPORTED for what we cannot read (groups), MISSING_PACKAGE.
 */
export async function contractOf(files: readonly FileDescriptorProto[], service?: string): Promise<Contract> {
  const all = files.flatMap((file) =>
    file.service.map((each) => ({ file, each, name: file.package ? `${file.package}.${each.name}` : each.name })),
  )
  const found = all.filter(({ name, each }) => service === undefined || name === service || each.name === service)
  const [only] = found
  const names = all.map(({ name }) => name).join(', ')
  if (!only)
    throw new TypeError(
      service === undefined ? 'there is no service in it' : `there is no service "${service}" in it, only ${names || 'none'}`,
    )
  if (found.length > 1) throw new TypeError(`there are several services in it: ${names}; say which, as { service }`)
  const types = new Types(files)
  const methods = only.each.method.map(({ name, inputType, outputType, clientStreaming, serverStreaming, options }): Method => ({
    name,
    member: memberName(name),
    input: types.message(inputType, only.file.package),
    inputStream: clientStreaming,
    output: types.message(outputType, only.file.package),
    outputStream: serverStreaming,
    idempotent: IDEMPOTENT.has(options?.idempotencyLevel ?? 0),
    errors: new Map(),
  }))
  const file: File = {
    path: only.file.name,
    package: only.file.package,
    service: only.each.name,
    methods,
    ...types.made(only.file),
    origin: files,
  }
  const members: Members = {}
  for (const method of methods) members[method.member] = await memberOf(method)
  const version = /\.v(\d{1,9})$/.exec(only.file.package)?.[1]
  const contract = foreignContract(only.name, Number(version ?? 1), members)
  bindFile(contract, file)
  return contract
}

/** `SayHello` is `sayHello`, unless a client has that name for itself. */
function memberName(name: string): string {
  const member = name[0]!.toLowerCase() + name.slice(1)
  try {
    validateMethodName(member)
    return member
  } catch {
    return name
  }
}

async function memberOf({ input, inputStream, output, outputStream, idempotent }: Method): Promise<Members[string]> {
  const schema = async (message: Message, streams: boolean) => {
    if (message === EMPTY) return undefined
    const described = await fromJsonSchema(schemaOf(message))
    return streams ? stream(described) : described
  }
  return rpc({ input: await schema(input, inputStream), output: await schema(output, outputStream), idempotent })
}

// ── descriptors to messages ──────────────────────────────────────────────────────────────────────

interface Place<T> {
  readonly of: T
  readonly file: FileDescriptorProto
}

class Types {
  private readonly messages = new Map<string, Place<DescriptorProto>>()
  private readonly enums = new Map<string, Enum & { readonly of: FileDescriptorProto }>()
  private readonly built = new Map<string, Message>()

  constructor(files: readonly FileDescriptorProto[]) {
    for (const file of files) this.collect(file, file.package, file.messageType, file.enumType)
  }

  private collect(
    file: FileDescriptorProto,
    within: string,
    messages: readonly DescriptorProto[],
    enums: FileDescriptorProto['enumType'],
  ): void {
    const full = (name: string): string => (within === '' ? name : `${within}.${name}`)
    for (const { name, value } of enums)
      this.enums.set(full(name), { name: full(name), values: value.map((each) => [each.name, each.number] as const), of: file })
    for (const each of messages) {
      this.messages.set(full(each.name), { of: each, file })
      this.collect(file, full(each.name), each.nestedType, each.enumType)
    }
  }

  made(file: FileDescriptorProto): Pick<File, 'messages' | 'enums'> {
    const own = [...this.messages].filter(([, place]) => place.file === file && !place.of.options?.mapEntry)
    return { messages: own.map(([name]) => this.message(name, '')), enums: [...this.enums.values()].filter(({ of }) => of === file) }
  }

  /** A name as in a descriptor: from the root with a dot, else from where it stands outwards. */
  private find(name: string, scope: string, has: (full: string) => boolean): string | undefined {
    if (name.startsWith('.')) return has(name.slice(1)) ? name.slice(1) : undefined
    for (let at = scope; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('.')))) if (has(`${at}.${name}`)) return `${at}.${name}`
    return has(name) ? name : undefined
  }

  message(name: string, scope: string): Message {
    const full = this.find(name, scope, (each) => known.has(each) || this.messages.has(each))
    if (full === undefined) throw new TypeError(`the message ${name} is in none of the files; give the file that has it, too`)
    const common = known.get(full)
    if (common) return common
    const before = this.built.get(full)
    if (before) return before
    const { of, file } = this.messages.get(full)!
    const wraps = WRAPPERS.test(full)
    const message: Message = {
      name: full,
      shape: wraps ? 'single' : 'object',
      fields: [],
      ...(full.startsWith('google.protobuf.') && { file: file.name }),
    }
    // It may hold itself: it is known before its fields are.
    this.built.set(full, message)
    message.fields.push(...of.field.map((field) => this.field(field, of, full)))
    return message
  }

  private field(field: FieldDescriptorProto, of: DescriptorProto, scope: string): Field {
    if ((field.type as number) === GROUP)
      throw new TalkwireError('UNSUPPORTED', `${scope}.${field.name} is a group of proto2, which we do not read; take a message`)
    const json = field.jsonName || field.name.replaceAll(/_([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase())
    const base = { name: field.name, json, property: json, number: field.number }
    const entry = this.entry(field, scope)
    if (entry) {
      const [key, value] = entry.field
      return { ...base, type: this.type(value!, `${scope}.${entry.name}`), label: 'map', key: SCALARS[key!.type]!, absent: {} }
    }
    const type = this.type(field, scope)
    if ((field.label as number) === MANY) return { ...base, type, label: 'repeated', absent: [] }
    // A oneof of one optional field is how proto3 writes `optional`.
    const oneof =
      field.oneofIndex !== undefined && Object.hasOwn(field, 'oneofIndex') && !field.proto3Optional
        ? of.oneofDecl[field.oneofIndex]?.name
        : undefined
    if (oneof !== undefined) return { ...base, type, label: 'optional', oneof }
    return field.proto3Optional || type.kind === 'message'
      ? { ...base, type, label: 'optional' }
      : { ...base, type, label: 'implicit', absent: nothing(type) }
  }

  private entry({ typeName }: FieldDescriptorProto, scope: string): DescriptorProto | undefined {
    const full = typeName === '' ? undefined : this.find(typeName, scope, (each) => this.messages.has(each))
    const found = full === undefined ? undefined : this.messages.get(full)!.of
    return found?.options?.mapEntry ? found : undefined
  }

  private type({ type, typeName, name }: FieldDescriptorProto, scope: string): Type {
    const scalar = typeName === '' ? SCALARS[type] : undefined
    if (scalar) return { kind: 'scalar', scalar, ...(WIDE.has(scalar) && { big: true as const }) }
    if (typeName.replace(/^\./, '') === NULL.name) return { kind: 'enum', enum: NULL }
    const full = this.find(typeName, scope, (each) => this.enums.has(each))
    if (full !== undefined) return { kind: 'enum', enum: this.enums.get(full)! }
    if (typeName === '') throw new TypeError(`${scope}.${name} has no type that is known`)
    return { kind: 'message', message: this.message(typeName, scope) }
  }
}

function nothing(type: Type): unknown {
  if (type.kind === 'enum') return type.enum.name === NULL.name ? null : type.enum.values[0]![0]
  if (type.kind === 'message') return undefined
  const { scalar } = type
  return scalar === 'string' ? '' : scalar === 'bool' ? false : scalar === 'bytes' ? new Uint8Array(0) : WIDE.has(scalar) ? 0n : 0
}

// ── messages to JSON Schema ──────────────────────────────────────────────────────────────────────

/** What a message is with us, with all that it needs. */
function schemaOf(message: Message): JsonSchema {
  const $defs: Record<string, JsonSchema> = {}
  const whole = typeSchema({ kind: 'message', message }, $defs)
  return { ...whole, $defs }
}

function typeSchema(type: Type, $defs: Record<string, JsonSchema>): JsonSchema {
  if (type.kind === 'enum')
    return type.enum.name === NULL.name
      ? { type: 'null' }
      : { anyOf: [{ enum: type.enum.values.map(([name]) => name) }, { type: 'integer' }] }
  if (type.kind === 'scalar') {
    if (type.big) return { 'x-talkwire': 'bigint' }
    if (type.scalar === 'bytes') return { 'x-talkwire': 'array', 'x-dtype': 'u1' }
    if (type.scalar === 'string') return { type: 'string' }
    if (type.scalar === 'bool') return { type: 'boolean' }
    return type.scalar === 'double' || type.scalar === 'float'
      ? { anyOf: [{ type: 'number' }, { 'x-talkwire': 'nan' }] }
      : { type: 'integer' }
  }
  const { message } = type
  if (message.shape === 'timestamp') return { 'x-talkwire': 'date' }
  if (message.shape === 'value') return {}
  if (message.shape === 'struct' || message.shape === 'empty') return { type: 'object' }
  if (message.shape === 'single') return typeSchema(message.fields[0]!.type, $defs)
  if (!Object.hasOwn($defs, message.name)) {
    const properties: Record<string, JsonSchema> = {}
    $defs[message.name] = {
      type: 'object',
      title: message.name.slice(message.name.lastIndexOf('.') + 1),
      properties,
      additionalProperties: false,
    }
    for (const field of message.fields) properties[field.property] = fieldSchema(field, $defs)
  }
  return { $ref: `#/$defs/${message.name}` }
}

function fieldSchema(field: Field, $defs: Record<string, JsonSchema>): JsonSchema {
  const one = typeSchema(field.type, $defs)
  if (field.label === 'repeated') return { type: 'array', items: one }
  return field.label === 'map' ? { type: 'object', additionalProperties: one } : one
}
