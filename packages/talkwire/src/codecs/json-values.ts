/** Values and the `$` tags of spec/wire.md § 5. Sans I/O, and without anything of Node's: pages use it, too. */
import { TalkwireError } from '../error.js'
import {
  arrayFrom,
  bytesOf,
  dtypeOf,
  forbidden,
  forbiddenKey,
  isDescriptor,
  isDType,
  isPlainObject,
  MAX_ATTACHMENTS,
  shapeOf,
  tooDeep,
  unsendable,
  type CodecContext,
  type TypedArray,
} from './codec.js'

/** Where typed arrays of a message go. */
type Beside = Pick<import('./writer.js').Writer, 'attachments'>

/** A value as the table's JSON column has it. */
export function tagged(value: unknown, depth: number, writer: Beside, context: CodecContext): unknown {
  switch (typeof value) {
    case 'number':
      return value - value === 0 && (value !== 0 || 1 / value > 0) ? value : { $number: Object.is(value, -0) ? '-0' : String(value) }
    case 'undefined':
      return { $undefined: 0 }
    case 'bigint':
      return { $bigint: value.toString() }
    case 'symbol':
      throw unsendable(value)
    case 'function':
      return reference(value, context)
    case 'object':
      return value === null ? null : taggedObject(value, depth, writer, context)
    default:
      return value
  }
}

function taggedObject(value: object, depth: number, writer: Beside, context: CodecContext): unknown {
  if (value instanceof Date) return { $date: time(value) }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return { $bin: attach(value, writer, context) }
  if (depth >= context.depth) throw tooDeep(context.depth)
  const inner = (item: unknown): unknown => tagged(item, depth + 1, writer, context)
  // Not map(): it leaves holes, which JSON would make null.
  if (Array.isArray(value)) return Array.from(value, inner)
  if (value instanceof Map) return { $map: Array.from(value, ([key, item]) => [inner(key), inner(item)]) }
  if (value instanceof Set) return { $set: Array.from(value, inner) }
  if (!isPlainObject(value)) return reference(value, context)
  const copy = mapObject(value, inner)
  const [key, second] = Object.keys(copy)
  return key?.startsWith('$') && second === undefined ? { [`$${key}`]: copy[key] } : copy
}

export function mapObject(value: Record<string, unknown>, inner: (item: unknown) => unknown): Record<string, unknown> {
  const copy: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    if (forbidden(key, value[key])) throw forbiddenKey(key)
    if (value[key] !== undefined) copy[key] = inner(value[key])
  }
  return copy
}

export function time(value: Date): number {
  const milliseconds = value.getTime()
  if (Number.isNaN(milliseconds)) throw new TypeError('an invalid Date cannot be sent; send null, or a date')
  return milliseconds
}

function attach(value: ArrayBufferView | ArrayBuffer, writer: Beside, context: CodecContext): unknown[] {
  if (!context.binary)
    throw new TalkwireError(
      'UNSUPPORTED',
      'this connection carries text only, so no typed arrays; take a length framing, or fork with serialization "advanced"',
    )
  const typed = ArrayBuffer.isView(value) && !(value instanceof DataView)
  const dtype = typed ? dtypeOf(value as TypedArray) : 'u1'
  if (dtype === undefined) throw unsendable(value)
  if (writer.attachments.length === MAX_ATTACHMENTS)
    throw new TypeError(`more than ${MAX_ATTACHMENTS} typed arrays in one message; join them`)
  const index = writer.attachments.push(bytesOf(value)) - 1
  const shape = typed ? shapeOf(value as TypedArray) : undefined
  return shape ? [index, dtype, shape] : dtype === 'u1' ? [index] : [index, dtype]
}

function reference(value: object, context: CodecContext): unknown {
  const exported = context.references?.export(value)
  if (!exported) throw unsendable(value)
  if ('fd' in exported) return { $fd: exported.fd }
  return 'own' in exported ? { $own: exported.own } : { $ref: exported.ref }
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

interface Attachments {
  readonly all: readonly Uint8Array[]
  taken: number
  /** Which ones, where there are several. */
  used?: Set<number>
}

/** Checks depth and keys of a parsed value and, for an extended peer, turns tags back into values; in place. */
export function revive(value: unknown, depth: number, attachments: Attachments, context: CodecContext): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth >= context.depth) throw tooDeep(context.depth)
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const item: unknown = value[index]
      if (typeof item === 'object' && item !== null) value[index] = revive(item, depth + 1, attachments, context)
    }
    return value
  }
  const object = value as Record<string, unknown>
  for (const key in object) {
    if (context.extended && key.charCodeAt(0) === 0x24 && isOnlyKey(object)) return untag(key, object[key], depth, attachments, context)
    const item = object[key]
    if (typeof item === 'object' && item !== null) {
      const value = revive(item, depth + 1, attachments, context)
      if (forbidden(key, value)) throw forbiddenKey(key)
      object[key] = value
    } else if (key === '__proto__') throw forbiddenKey(key)
  }
  return object
}

function isOnlyKey(object: object): boolean {
  let keys = 0
  for (const _ in object) if (++keys > 1) return false
  return true
}

function untag(tag: string, content: unknown, depth: number, attachments: Attachments, context: CodecContext): unknown {
  const inner = (item: unknown): unknown => revive(item, depth + 1, attachments, context)
  if (tag.startsWith('$$')) return { [tag.slice(1)]: inner(content) }
  switch (tag) {
    case '$number':
      return number(content)
    case '$undefined':
      return nothing(content)
    case '$bigint':
      return bigint(content)
    case '$date':
      return date(content)
    case '$map':
      return new Map(array(content).map((item) => pair(item).map(inner) as [unknown, unknown]))
    case '$set':
      return new Set(array(content).map(inner))
    case '$bin':
      return binary(array(content), attachments)
    case '$ref':
      return imported(array(content), context)
    case '$own':
      return home(content, context)
    case '$fd':
      return descriptor(content, context)
    default:
      throw invalid(`the tag ${JSON.stringify(tag.slice(0, 40))} means nothing; write "$${tag.slice(0, 40)}" for such a key`)
  }
}

export const invalid = (what: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', what)

function array(content: unknown): unknown[] {
  if (!Array.isArray(content)) throw invalid('a tag without its array')
  return content
}

function pair(content: unknown): [unknown, unknown] {
  if (!Array.isArray(content) || content.length !== 2) throw invalid('a $map entry is no pair')
  return content as [unknown, unknown]
}

const numbers = new Map<unknown, number>([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
  ['-0', -0],
])

function number(content: unknown): number {
  const value = numbers.get(content)
  if (value === undefined) throw invalid('a $number')
  return value
}

function nothing(content: unknown): undefined {
  if (content !== 0) throw invalid('an $undefined')
}

function bigint(content: unknown): bigint {
  if (typeof content !== 'string' || content.length > 4096 || !/^-?\d+$/.test(content)) throw invalid('a $bigint')
  return BigInt(content)
}

function date(content: unknown): Date {
  const value = new Date(typeof content === 'number' ? content : NaN)
  if (Number.isNaN(value.getTime())) throw invalid('a $date')
  return value
}

function binary([index, dtype = 'u1', shape]: unknown[], attachments: Attachments): TypedArray {
  const data = typeof index === 'number' ? attachments.all[index] : undefined
  if (data === undefined || !isDType(dtype)) throw invalid('a $bin without its attachment')
  if (attachments.all.length > 1) {
    const used = (attachments.used ??= new Set())
    if (used.has(index as number)) throw invalid('an attachment that is used twice')
    used.add(index as number)
  }
  attachments.taken++
  return arrayFrom(data, dtype, shape as number[] | undefined)
}

function imported(descriptor: unknown, context: CodecContext): unknown {
  if (!isDescriptor(descriptor) || !context.references) throw invalid('a $ref')
  return context.references.import(descriptor)
}

function descriptor(number: unknown, { references }: CodecContext): unknown {
  if (!Number.isSafeInteger(number) || !references?.descriptor) throw invalid('an $fd')
  return references.descriptor(number as number)
}

function home(id: unknown, context: CodecContext): unknown {
  if (!Number.isSafeInteger(id) || !context.references) throw invalid('an $own')
  return context.references.home(id as number)
}
