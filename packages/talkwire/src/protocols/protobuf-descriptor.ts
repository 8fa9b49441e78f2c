/** Files of protobuf as descriptors, which reflection and other languages' tools read. Sans I/O. google/protobuf/descriptor.proto */
import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf'
import {
  DescriptorProtoSchema,
  EnumDescriptorProtoSchema,
  FieldDescriptorProtoSchema,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  file_google_protobuf_empty,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  type FileDescriptorProto,
} from '@bufbuild/protobuf/wkt'
import { pascal } from './protobuf-schema.js'
import { fullName, type Enum, type Field, type File, type Message, type Scalar, type Type } from './protobuf-model.js'

/** Numbers of FieldDescriptorProto.Type. */
const TYPES: Readonly<Record<Scalar | 'message' | 'enum', number>> = {
  double: 1,
  float: 2,
  int64: 3,
  uint64: 4,
  int32: 5,
  fixed64: 6,
  fixed32: 7,
  bool: 8,
  string: 9,
  message: 11,
  bytes: 12,
  uint32: 13,
  enum: 14,
  sfixed32: 15,
  sfixed64: 16,
  sint32: 17,
  sint64: 18,
}
const ONE = 1
const MANY = 3

type MessageInit = MessageInitShape<typeof DescriptorProtoSchema>
type FieldInit = MessageInitShape<typeof FieldDescriptorProtoSchema>
type EnumInit = MessageInitShape<typeof EnumDescriptorProtoSchema>

/** Those that come with protobuf, by their path. */
const known = new Map<string, FileDescriptorProto>(
  [file_google_protobuf_empty, file_google_protobuf_struct, file_google_protobuf_timestamp].map(({ proto }) => [proto.name, proto]),
)

export function descriptorOf(file: File): FileDescriptorProto {
  return create(FileDescriptorProtoSchema, {
    name: file.path,
    package: file.package,
    syntax: 'proto3',
    dependency: dependencies(file),
    messageType: topLevel(file.messages, file.package).map((message) => messageInit(message, file)),
    enumType: topLevel(file.enums, file.package).map(enumInit),
    service: [
      {
        name: file.service,
        method: file.methods.map(({ name, input, output, inputStream, outputStream, idempotent }) => ({
          name,
          inputType: `.${input.name}`,
          outputType: `.${output.name}`,
          clientStreaming: inputStream,
          serverStreaming: outputStream,
          // NO_SIDE_EFFECTS would also say that it changes nothing, which nobody here knows: IDEMPOTENT.
          ...(idempotent && { options: { idempotencyLevel: 2 } }),
        })),
      },
    ],
  })
}

/** A file and all that it needs, by path. */
export function descriptorsOf(file: File): Map<string, FileDescriptorProto> {
  if (file.origin) return new Map(file.origin.map((each) => [each.name, each]))
  const own = descriptorOf(file)
  return new Map([[own.name, own], ...own.dependency.map((path): [string, FileDescriptorProto] => [path, known.get(path)!])])
}

export const descriptorBytes = (descriptor: FileDescriptorProto): Uint8Array => toBinary(FileDescriptorProtoSchema, descriptor)

/** `google.protobuf.FileDescriptorSet`: what `protoc --descriptor_set_out` writes. */
export const descriptorSet = (file: File): Uint8Array =>
  toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: [...descriptorsOf(file).values()].reverse() }))

export function dependencies(file: File): string[] {
  const paths = new Set<string>()
  const add = (type: Message | Enum): void => void (type.file !== undefined && paths.add(type.file))
  for (const { input, output } of file.methods) {
    add(input)
    add(output)
  }
  for (const { fields } of file.messages)
    for (const { type } of fields) if (type.kind !== 'scalar') add(type.kind === 'enum' ? type.enum : type.message)
  return [...paths].sort()
}

/** Those that stand in no other message. */
const topLevel = <T extends { readonly name: string }>(all: readonly T[], within: string): T[] =>
  all.filter(({ name }) => !name.slice(within === '' ? 0 : within.length + 1).includes('.'))
const inside = <T extends { readonly name: string }>(all: readonly T[], within: string): T[] =>
  all.filter(({ name }) => name.startsWith(`${within}.`) && !name.slice(within.length + 1).includes('.'))
const last = (name: string): string => name.slice(name.lastIndexOf('.') + 1)

function messageInit(message: Message, file: File): MessageInit {
  const oneofs = [...new Set(message.fields.map(({ oneof }) => oneof))].filter((name) => name !== undefined)
  const alone = message.fields.filter(isAlone)
  return {
    name: last(message.name),
    field: message.fields.map((field) =>
      fieldInit(
        field,
        message.name,
        field.oneof !== undefined ? oneofs.indexOf(field.oneof) : isAlone(field) ? oneofs.length + alone.indexOf(field) : undefined,
      ),
    ),
    nestedType: [
      ...inside(file.messages, message.name).map((each) => messageInit(each, file)),
      ...message.fields.filter(({ label }) => label === 'map').map(entryInit),
    ],
    enumType: inside(file.enums, message.name).map(enumInit),
    oneofDecl: [...oneofs, ...alone.map(({ name }) => `_${name}`)].map((name) => ({ name })),
  }
}

/** `optional` in a `.proto`, which is a oneof of its own. */
export const isAlone = ({ label, oneof, type }: Field): boolean => label === 'optional' && oneof === undefined && type.kind !== 'message'

const nameOf = (type: Type): string | undefined =>
  type.kind === 'scalar' ? undefined : `.${type.kind === 'enum' ? type.enum.name : type.message.name}`
const numberOf = (type: Type): number => TYPES[type.kind === 'scalar' ? type.scalar : type.kind]

function fieldInit(field: Field, within: string, oneof: number | undefined): FieldInit {
  const map = field.label === 'map'
  const typeName = map ? `.${within}.${entryName(field)}` : nameOf(field.type)
  return {
    name: field.name,
    number: field.number,
    jsonName: field.json,
    label: map || field.label === 'repeated' ? MANY : ONE,
    type: map ? TYPES.message : numberOf(field.type),
    ...(typeName !== undefined && { typeName }),
    ...(oneof !== undefined && { oneofIndex: oneof }),
    ...(isAlone(field) && { proto3Optional: true }),
  }
}

const entryName = ({ name }: Field): string => `${pascal(name)}Entry`

function entryInit(field: Field): MessageInit {
  const typeName = nameOf(field.type)
  return {
    name: entryName(field),
    field: [
      { name: 'key', number: 1, jsonName: 'key', label: ONE, type: TYPES[field.key!] },
      { name: 'value', number: 2, jsonName: 'value', label: ONE, type: numberOf(field.type), ...(typeName !== undefined && { typeName }) },
    ],
    options: { mapEntry: true },
  }
}

const enumInit = ({ name, values }: Enum): EnumInit => ({
  name: last(name),
  value: values.map(([each, number]) => ({ name: each, number })),
})

/** Everything in a file that has a name: what reflection is asked for. */
export function symbolsOf(file: File): string[] {
  const service = fullName(file)
  return [
    service,
    ...file.methods.map(({ name }) => `${service}.${name}`),
    ...file.messages.map(({ name }) => name),
    ...file.enums.map(({ name }) => name),
  ]
}
