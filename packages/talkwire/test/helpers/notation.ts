/** The notation of spec/vectors: messages as JSON-RPC has them, values that JSON lacks as tags. */
import {
  dtypeOf,
  ndarray,
  shapeOf,
  type DType,
  type ReferenceDescriptor,
  type References,
  type TypedArray,
} from '../../src/codecs/codec.js'
import type { Told } from '../../compliance/protocol.js'
import { JsonRpc } from '../../src/protocols/jsonrpc.js'
import { Kind, type Id, type Meta } from '../../src/protocols/message.js'
import { captured } from './captured.js'

type Message = Record<string, unknown>

class Remote {
  constructor(readonly descriptor: ReferenceDescriptor) {}
}
class Own {
  constructor(readonly id: number) {}
}

/** References as they stand in a payload. */
export const asWritten: References = {
  export: (value) => (value instanceof Remote ? { ref: value.descriptor } : value instanceof Own ? { own: value.id } : undefined),
  import: (descriptor) => new Remote(descriptor),
  home: (id) => new Own(id),
}

const arrays = {
  u1: Uint8Array,
  i1: Int8Array,
  u2: Uint16Array,
  i2: Int16Array,
  u4: Uint32Array,
  i4: Int32Array,
  u8: BigUint64Array,
  i8: BigInt64Array,
  f4: Float32Array,
  f8: Float64Array,
  c1: Uint8ClampedArray,
}

function typedArray([hex, dtype, shape]: [hex: string, dtype?: DType, shape?: number[]]): TypedArray {
  const bytes = new Uint8Array(Buffer.from(hex, 'hex'))
  const array = new arrays[dtype ?? 'u1'](bytes.buffer)
  // A flat array is noted with its length as its shape.
  return shape === undefined || shape.length === 1 ? array : ndarray(array, shape)
}

/** The value that a notation stands for. */
export function fromNotation(noted: unknown): unknown {
  if (Array.isArray(noted)) return noted.map(fromNotation)
  if (typeof noted !== 'object' || noted === null) return noted
  const entries = Object.entries(noted)
  const [tag, content] = entries[0] ?? ['', undefined]
  if (entries.length !== 1 || !tag.startsWith('$')) return Object.fromEntries(entries.map(([key, item]) => [key, fromNotation(item)]))
  switch (tag) {
    case '$number':
      return content === '-0' ? -0 : Number(content)
    case '$undefined':
      return undefined
    case '$bigint':
      return BigInt(content as string)
    case '$date':
      return new Date(content as number)
    case '$map':
      return new Map((content as [unknown, unknown][]).map(([key, item]) => [fromNotation(key), fromNotation(item)]))
    case '$set':
      return new Set((content as unknown[]).map(fromNotation))
    case '$bin':
      return typedArray(content as [string])
    case '$ref':
      return new Remote(content as unknown as ReferenceDescriptor)
    case '$own':
      return new Own(content as number)
    default:
      return { [tag.slice(1)]: fromNotation(content) }
  }
}

/** How a value is noted. */
function toNotation(value: unknown): unknown {
  if (value === undefined) return { $undefined: 0 }
  if (typeof value === 'bigint') return { $bigint: String(value) }
  if (typeof value === 'number')
    return Number.isFinite(value) && !Object.is(value, -0) ? value : { $number: Object.is(value, -0) ? '-0' : String(value) }
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(toNotation)
  if (value instanceof Date) return { $date: value.getTime() }
  if (value instanceof Map) return { $map: Array.from(value, ([key, item]) => [toNotation(key), toNotation(item)]) }
  if (value instanceof Set) return { $set: Array.from(value, toNotation) }
  if (value instanceof Remote) return { $ref: value.descriptor }
  if (value instanceof Own) return { $own: value.id }
  if (ArrayBuffer.isView(value)) return { $bin: noteArray(value as TypedArray) }
  const noted = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toNotation(item)]))
  const [key, second] = Object.keys(noted)
  return key?.startsWith('$') && second === undefined ? { [`$${key}`]: noted[key] } : noted
}

function noteArray(array: TypedArray): unknown[] {
  const hex = Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('hex')
  const dtype = dtypeOf(array)
  const shape = shapeOf(array)
  return dtype === 'u1' && shape === undefined ? [hex] : [hex, dtype, shape ?? [array.length]]
}

const methods: Partial<Record<Kind, string>> = {
  [Kind.item]: '$/item',
  [Kind.input]: '$/input',
  [Kind.end]: '$/end',
  [Kind.credit]: '$/credit',
  [Kind.inputCredit]: '$/inputCredit',
  [Kind.cancel]: '$/cancelRequest',
  [Kind.progress]: '$/progress',
}
const contents: Partial<Record<Kind, string>> = {
  [Kind.item]: 'value',
  [Kind.input]: 'value',
  [Kind.end]: 'error',
  [Kind.credit]: 'bytes',
  [Kind.inputCredit]: 'bytes',
  [Kind.progress]: 'value',
}

export type Sendable = readonly [kind: Kind, id: Id, method: string, value: unknown, meta: Meta | undefined]

/** What `Wire.send` takes for a message whose values are real. */
export function fromMessage(noted: unknown): Sendable {
  const message = noted as Message
  const params = message['params'] as Message | undefined
  const kind = Object.keys(methods)
    .map(Number)
    .find((each) => methods[each as Kind] === message['method']) as Kind | undefined
  if (kind !== undefined && !('id' in message))
    return [kind, params![kind === Kind.progress ? 'token' : 'id'] as Id, '', params![contents[kind] ?? ''], undefined]
  if ('method' in message)
    return 'id' in message
      ? [Kind.call, message['id'] as Id, message['method'] as string, params, message['meta'] as Meta | undefined]
      : [Kind.notify, null, message['method'] as string, params, undefined]
  return 'error' in message
    ? [Kind.error, message['id'] as Id, '', message['error'], undefined]
    : [Kind.result, message['id'] as Id, '', message['result'], undefined]
}

/** A message that was received, noted. */
export function toMessage({ kind, id, method, value, meta }: Pick<Told, 'kind' | 'id' | 'method' | 'value' | 'meta'>): Message {
  const content = toNotation(value)
  const known = methods[kind]
  if (known !== undefined)
    return {
      jsonrpc: '2.0',
      method: known,
      params: { [kind === Kind.progress ? 'token' : 'id']: id, ...(value !== undefined && { [contents[kind]!]: content }) },
    }
  if (kind === Kind.result) return { jsonrpc: '2.0', id, result: content }
  if (kind === Kind.error) return { jsonrpc: '2.0', id, error: content }
  return {
    jsonrpc: '2.0',
    ...(kind === Kind.call && { id }),
    method,
    ...(value !== undefined && { params: content }),
    ...(meta && { meta }),
  }
}

/** The payload that a wire sends for it. */
export function payloadOf(codec: 'json' | 'msgpack', [kind, id, method, value, meta]: Sendable): Buffer {
  const connection = captured()
  const wire = new JsonRpc(connection, { receive() {}, misunderstood() {} })
  wire.extend(codec, true, asWritten)
  wire.send(kind, id, method, value, meta)
  return connection.payloads[0]!
}
