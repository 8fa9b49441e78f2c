/**
 * Messages of protobuf as data: what is written, read, printed as a `.proto` and told by reflection. Each also says which
 * value of ours it is. https://protobuf.dev/programming-guides/proto3/
 */

export type Scalar =
  | 'double'
  | 'float'
  | 'int32'
  | 'int64'
  | 'uint32'
  | 'uint64'
  | 'sint32'
  | 'sint64'
  | 'fixed32'
  | 'fixed64'
  | 'sfixed32'
  | 'sfixed64'
  | 'bool'
  | 'string'
  | 'bytes'

export const WIDE: ReadonlySet<Scalar> = new Set(['int64', 'uint64', 'sint64', 'fixed64', 'sfixed64'])

export type Type =
  /** `big`: a bigint with us. Without it 64 bits are a number, and refused beyond 2^53. */
  | { readonly kind: 'scalar'; readonly scalar: Scalar; readonly big?: true }
  | { readonly kind: 'enum'; readonly enum: Enum }
  | { readonly kind: 'message'; readonly message: Message }

export interface Enum {
  /** With its package: `bank.v1.Kind`. */
  readonly name: string
  readonly values: readonly (readonly [name: string, number: number])[]
  /** The file that has it, if that is none of ours. */
  readonly file?: string
}

/** How often a field comes. `implicit`: the default value is not sent, and is what comes when nothing does. */
export type Label = 'implicit' | 'optional' | 'repeated' | 'map'

export interface Field {
  /** In the `.proto`. */
  readonly name: string
  /** In protobuf's JSON. */
  readonly json: string
  readonly number: number
  /** Of our object; an index in a tuple. */
  readonly property: string
  readonly type: Type
  readonly label: Label
  /** Of a map. */
  readonly key?: Scalar
  /** What there is when nothing came. */
  readonly absent?: unknown
  /** What a `repeated` one is with us, if no list: a Set, a Map of entries, or a typed array of that kind. */
  readonly collection?: 'set' | 'map' | keyof typeof import('../dtypes.js').ARRAYS
  /** Of these only the last one counts. */
  readonly oneof?: string
  /** Whether a value may be this alternative of a union. */
  readonly fits?: (value: unknown) => boolean
}

export interface Message {
  /** With its package: `bank.v1.DepositRequest`. */
  readonly name: string
  /** What it is with us: an object; its only field; one of its fields; a list of them; what the name says. */
  readonly shape: 'object' | 'single' | 'union' | 'tuple' | 'empty' | 'timestamp' | 'value' | 'struct'
  readonly fields: Field[]
  readonly file?: string
}

export interface Method {
  /** In the path: `Deposit`. */
  readonly name: string
  /** In the contract: `deposit`. */
  readonly member: string
  readonly input: Message
  readonly inputStream: boolean
  readonly output: Message
  readonly outputStream: boolean
  readonly idempotent: boolean
  /** By the name of the declared error. */
  readonly errors: ReadonlyMap<string, Message>
}

/** A service, and the file that describes it. */
export interface File {
  /** `bank/v1/bank.proto`. */
  readonly path: string
  readonly package: string
  /** Without the package: `Bank`. */
  readonly service: string
  readonly methods: readonly Method[]
  readonly messages: readonly Message[]
  readonly enums: readonly Enum[]
  /** What it was made of, where it was: that is told to others as it came. */
  readonly origin?: readonly import('@bufbuild/protobuf/wkt').FileDescriptorProto[]
}

export const fullName = ({ package: name, service }: Pick<File, 'package' | 'service'>): string => (name ? `${name}.${service}` : service)
export const pathOf = (file: Pick<File, 'package' | 'service'>, method: string): string => `/${fullName(file)}/${method}`

// ── what protobuf brings along ───────────────────────────────────────────────────────────────────

export const scalar = (name: Scalar): Type => ({ kind: 'scalar', scalar: name })
export const ofMessage = (message: Message): Type => ({ kind: 'message', message })

/** A field with the same name everywhere. */
export const field = (name: string, number: number, type: Type, label: Label = 'implicit', more?: Partial<Field>): Field => ({
  name,
  json: name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
  number,
  property: name,
  type,
  label,
  ...more,
})

const known = (name: string, file: string, shape: Message['shape'], fields: Field[] = []): Message => ({
  name: `google.protobuf.${name}`,
  file: `google/protobuf/${file}.proto`,
  shape,
  fields,
})
export const EMPTY = known('Empty', 'empty', 'empty')
export const TIMESTAMP = known('Timestamp', 'timestamp', 'timestamp', [
  field('seconds', 1, scalar('int64')),
  field('nanos', 2, scalar('int32')),
])
export const NULL: Enum = { name: 'google.protobuf.NullValue', file: 'google/protobuf/struct.proto', values: [['NULL_VALUE', 0]] }
/** Anything that JSON can say. Its fields are those of the file; the codec knows them by heart. */
export const VALUE = known('Value', 'struct', 'value')
export const STRUCT = known('Struct', 'struct', 'struct')

const ANY: Message = {
  ...known('Any', 'any', 'object'),
  fields: [field('type_url', 1, scalar('string')), field('value', 2, scalar('bytes'))],
}

/** google.rpc.Status, as `grpc-status-details-bin` has it. */
export const STATUS: Message = {
  name: 'google.rpc.Status',
  shape: 'object',
  fields: [field('code', 1, scalar('int32')), field('message', 2, scalar('string')), field('details', 3, ofMessage(ANY), 'repeated')],
}
/** Names a reason in a domain. https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto */
export const ERROR_INFO: Message = {
  name: 'google.rpc.ErrorInfo',
  shape: 'object',
  fields: [
    field('reason', 1, scalar('string')),
    field('domain', 2, scalar('string')),
    field('metadata', 3, scalar('string'), 'map', { key: 'string' }),
  ],
}
