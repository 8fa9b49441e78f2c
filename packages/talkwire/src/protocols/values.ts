/** Messages as structured-cloneable arrays, for connections that carry values (worker threads). spec/wire.md §§ 3.2, 5. */
import {
  bytesOf,
  DEPTH,
  forbidden,
  forbiddenKey,
  isPlainObject,
  ndarray,
  shapeOf,
  tooDeep,
  unsendable,
  type References,
  type ReferenceDescriptor,
  type TypedArray,
} from '../codecs/codec.js'
import { TalkwireError } from '../error.js'
import type { ValueConnection } from '../transports/transport.js'
import { isParams, Kind, readMeta, type Id, type Meta, type Receiver, type Wire } from './message.js'

/** What a stream element counts against credit, besides its typed arrays. */
const BASE_SIZE = 1024

/** Where a value begins: of an error, its details are the value. */
const depthOf = (kind: Kind): number => (kind === Kind.error || kind === Kind.end ? -1 : 1)

interface Walk {
  readonly depth: number
  readonly references: References | undefined
  size: number
}

export class ValueProtocol implements Wire {
  sent = 0
  extended = false
  get credits(): boolean {
    return this.extended
  }
  readonly binary = true
  readonly codecs = ['values'] as const
  private references: References | undefined
  private readonly depth: number

  constructor(
    private readonly connection: ValueConnection,
    private readonly receiver: Receiver,
    options: { readonly depth?: number } = {},
  ) {
    this.depth = options.depth ?? DEPTH
  }

  extend(_codec: string, _binary: boolean, references: References): void {
    this.extended = true
    this.references = references
  }

  limitSend(): void {}

  send(kind: Kind, id: Id, method: string, value: unknown, meta?: Meta): boolean {
    const walk: Walk = { depth: this.depth, references: this.references, size: BASE_SIZE }
    const packed = pack(value, depthOf(kind), walk)
    this.sent = walk.size
    return this.connection.post([kind, id, method, packed, meta], walk.size)
  }

  read(): void {
    throw new TypeError('this wire carries values')
  }

  readValue(message: unknown): void {
    const walk: Walk = { depth: this.depth, references: this.references, size: BASE_SIZE }
    let fields: [Kind, Id, string, unknown, Meta | undefined]
    try {
      fields = checkFields(message)
      fields[3] = unpack(fields[3], depthOf(fields[0]), walk)
      checkRequest(fields)
    } catch (reason) {
      return this.receiver.misunderstood(TalkwireError.from(reason, 'INVALID_MESSAGE'), idOf(message), isResponse(message))
    }
    this.receiver.receive(fields[0], fields[1], fields[2], fields[3], fields[4], walk.size)
  }
}

function checkFields(message: unknown): [Kind, Id, string, unknown, Meta | undefined] {
  const fields = Array.isArray(message) ? (message as unknown[]) : []
  const [kind, id, method] = fields
  const valid =
    Number.isInteger(kind) &&
    (kind as number) >= 0 &&
    (kind as number) <= Kind.error &&
    (typeof id === 'number' || typeof id === 'string' || id === null) &&
    typeof method === 'string'
  if (!valid) throw new TalkwireError('INVALID_MESSAGE', 'not a message of Talkwire')
  return fields as [Kind, Id, string, unknown, Meta | undefined]
}

function checkRequest([kind, , , params, meta]: [Kind, Id, string, unknown, Meta | undefined]): void {
  if (meta !== undefined) readMeta(meta)
  if ((kind === Kind.call || kind === Kind.notify) && !isParams(params))
    throw new TalkwireError('INVALID_REQUEST', 'params is an array or an object')
}

/** Of a request, which is worth an answer, or of a response. */
function idOf(message: unknown): Id {
  return Array.isArray(message) && (message[0] === Kind.call || isResponse(message)) && typeof message[1] === 'number' ? message[1] : null
}

const isResponse = (message: unknown): boolean => Array.isArray(message) && (message[0] === Kind.result || message[0] === Kind.error)

const isBinary = (value: object): boolean => ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof SharedArrayBuffer

/** The value, or a copy in which references, shapes and `$` keys are tagged; what clones as it is stays as it is. */
function pack(value: unknown, depth: number, walk: Walk): unknown {
  if (typeof value === 'function') return reference(value, walk)
  if (typeof value === 'symbol') throw unsendable(value)
  if (typeof value !== 'object' || value === null || value instanceof Date) return value
  if (isBinary(value)) return packBinary(value as TypedArray, walk)
  if (depth >= walk.depth) throw tooDeep(walk.depth)
  const inner = (item: unknown): unknown => pack(item, depth + 1, walk)
  // Not map(): a hole is an undefined, as on the other wires.
  if (Array.isArray(value)) return Array.from(value, inner)
  if (value instanceof Map) return new Map(Array.from(value, ([key, item]) => [inner(key), inner(item)]))
  if (value instanceof Set) return new Set(Array.from(value, inner))
  if (!isPlainObject(value)) return reference(value, walk)
  const copy: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    if (forbidden(key, value[key])) throw forbiddenKey(key)
    if (value[key] !== undefined) copy[key] = inner(value[key])
  }
  const keys = Object.keys(copy)
  return keys.length === 1 && keys[0]!.startsWith('$') ? { [`$${keys[0]}`]: copy[keys[0]!] } : copy
}

function packBinary(value: TypedArray, walk: Walk): unknown {
  walk.size += value.byteLength
  // Bytes without a type are bytes, as on the other wires.
  if (value instanceof ArrayBuffer || (value as unknown) instanceof DataView) return bytesOf(value)
  const shape = ArrayBuffer.isView(value) ? shapeOf(value) : undefined
  return shape ? { $nd: [value, shape] } : value
}

function reference(value: object, { references }: Walk): unknown {
  const exported = references?.export(value)
  if (!exported) throw unsendable(value)
  if ('fd' in exported) throw unsendable(value)
  return 'own' in exported ? { $own: exported.own } : { $ref: exported.ref }
}

function unpack(value: unknown, depth: number, walk: Walk): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Date) return value
  if (isBinary(value)) {
    walk.size += (value as TypedArray).byteLength
    return value
  }
  if (depth >= walk.depth) throw tooDeep(walk.depth)
  const inner = (item: unknown): unknown => unpack(item, depth + 1, walk)
  if (Array.isArray(value)) return value.map(inner)
  if (value instanceof Map) return new Map(Array.from(value, ([key, item]) => [inner(key), inner(item)]))
  if (value instanceof Set) return new Set(Array.from(value, inner))
  if (!isPlainObject(value)) throw new TalkwireError('INVALID_MESSAGE', `a ${value.constructor.name} is no value of the wire`)
  const keys = Object.keys(value)
  if (keys.length === 1 && keys[0]!.startsWith('$')) return untag(keys[0]!, value[keys[0]!], inner, walk)
  const copy: Record<string, unknown> = {}
  for (const key of keys) {
    const item = inner(value[key])
    if (forbidden(key, item)) throw forbiddenKey(key)
    copy[key] = item
  }
  return copy
}

function untag(tag: string, content: unknown, inner: (item: unknown) => unknown, walk: Walk): unknown {
  const { references } = walk
  if (tag.startsWith('$$')) return { [tag.slice(1)]: inner(content) }
  if (tag === '$nd' && Array.isArray(content) && ArrayBuffer.isView(content[0]) && Array.isArray(content[1]))
    return ndarray(inner(content[0]) as TypedArray, content[1] as number[])
  if (tag === '$ref' && references && Array.isArray(content) && Number.isSafeInteger(content[0]))
    return references.import(content as unknown as ReferenceDescriptor)
  if (tag === '$own' && references && Number.isSafeInteger(content)) return references.home(content as number)
  throw new TalkwireError('INVALID_MESSAGE', `the tag ${JSON.stringify(tag.slice(0, 40))} means nothing here`)
}
