/** Values of D-Bus as bytes, in both directions. Sans I/O. Source: D-Bus Specification, "Marshaling (Wire Format)". */
import { isUtf8 } from 'node:buffer'
import { DEPTH, VALUES, forbidden, forbiddenKey, tooDeep, tooMany } from '../codecs/codec.js'
import { mostNested, type DepthLimits } from '../codecs/depth.js'
import { Descriptor } from '../descriptor.js'
import { ARRAYS } from '../dtypes.js'
import { TalkwireError } from '../error.js'
import { typeOfHint, type Arguments } from './dbus-schema.js'
import {
  DEEPEST,
  splitSignature,
  typeOf,
  Variant,
  type ArrayOf,
  type Dict,
  type Numbers,
  type Options,
  type Struct,
  type Type,
  type VariantOf,
} from './dbus-types.js'
import { described } from './described.js'

/** Of the specification: of a message, of an array, containers in each other, and what libraries and buses take of descriptors. */
export const MAX_MESSAGE = 128 * 1024 * 1024
const MAX_ARRAY = 64 * 1024 * 1024
export const MAX_DESCRIPTORS = 16

export interface ValueLimits extends DepthLimits {
  readonly message?: number
  readonly values?: number
}

/** D-Bus itself ends at 64, and counts variants, too. */
const depthOf = (limits: ValueLimits): number => Math.min(mostNested(limits), DEPTH)
const deeper = ({ depth = DEPTH }: ValueLimits): TalkwireError => tooDeep(Math.min(depth, DEPTH))
/** A surrogate without its partner. */
const HALF = /\p{Cs}/u
const PATH = /^\/([A-Za-z0-9_]+(\/[A-Za-z0-9_]+)*)?$/
export const isObjectPath = (text: string): boolean => PATH.test(text)

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

/** Little-endian, into a buffer of its own. `descriptors`: what `h` refers to. */
export class Writer {
  bytes = Buffer.allocUnsafe(512)
  at = 0
  readonly descriptors: Descriptor[] = []
  private depth = 0

  constructor(private readonly limits: ValueLimits) {}

  room(size: number): number {
    const { at } = this
    const end = at + size
    if (end > this.bytes.length) this.grow(end)
    this.at = end
    return at
  }

  private grow(end: number): void {
    const most = Math.min(MAX_MESSAGE, this.limits.message ?? MAX_MESSAGE)
    if (end > most)
      throw new TalkwireError(
        'MESSAGE_TOO_LARGE',
        `a message of more than ${most} bytes; send less at a time, or raise limits.message (D-Bus has 128 MiB)`,
      )
    const grown = Buffer.allocUnsafe(Math.min(most, Math.max(end, 2 * this.bytes.length)))
    this.bytes.copy(grown, 0, 0, this.at)
    this.bytes = grown
  }

  align(to: number): void {
    const more = -this.at & (to - 1)
    if (more === 0) return
    const at = this.room(more)
    this.bytes.fill(0, at, this.at)
  }

  byte(value: number): void {
    const at = this.room(1)
    this.bytes[at] = value
  }

  uint32(value: number): void {
    this.align(4)
    const at = this.room(4)
    this.bytes.writeUInt32LE(value, at)
  }

  /** Texts and object paths. */
  text(value: string): void {
    this.align(4)
    const size = Buffer.byteLength(value)
    const at = this.room(size + 5)
    this.bytes.writeUInt32LE(size, at)
    this.bytes.write(value, at + 4)
    this.bytes[at + 4 + size] = 0
  }

  signature(value: string): void {
    const at = this.room(value.length + 2)
    this.bytes[at] = value.length
    this.bytes.write(value, at + 1, 'latin1')
    this.bytes[at + 1 + value.length] = 0
  }

  array(alignment: number, items: () => void): void {
    this.uint32(0)
    const length = this.at - 4
    this.align(alignment)
    const start = this.at
    items()
    const size = this.at - start
    if (size > MAX_ARRAY) throw new TalkwireError('MESSAGE_TOO_LARGE', `a list of ${size} bytes, D-Bus takes 64 MiB; send less at a time`)
    this.bytes.writeUInt32LE(size, length)
  }

  /** One value. Throws TypeError for what does not fit, TOO_DEEP, FORBIDDEN_KEY, MESSAGE_TOO_LARGE, LIMIT_EXCEEDED. */
  write(type: Type, value: unknown): void {
    if (type.kind === 'basic') return this.basic(type.signature, value, type.as)
    if (type.kind === 'bytes') return this.binary(value)
    if (++this.depth > depthOf(this.limits)) throw deeper(this.limits)
    if (type.kind === 'array') this.list(type, value)
    else if (type.kind === 'numbers') this.numbers(type, value)
    else if (type.kind === 'dict') this.dict(type, value)
    else if (type.kind === 'options') this.options(type, value)
    else if (type.kind === 'struct') this.struct(type, value)
    else this.variant(type, value)
    this.depth--
  }

  private basic(code: string, value: unknown, as: 'bigint' | 'date' | undefined): void {
    if (as === 'date') return this.big(code, value instanceof Date ? BigInt(value.getTime()) * 1000n : unfit(code, value))
    switch (code) {
      case 's':
      case 'o':
        if (typeof value !== 'string' || value.includes('\0') || HALF.test(value) || (code === 'o' && !isObjectPath(value)))
          unfit(code, value)
        return this.text(value)
      case 'g':
        if (typeof value !== 'string' || !isSignature(value)) unfit(code, value)
        return this.signature(value)
      case 'b':
        if (typeof value !== 'boolean') unfit(code, value)
        return this.uint32(value ? 1 : 0)
      case 'd': {
        if (typeof value !== 'number') unfit(code, value)
        this.align(8)
        const at = this.room(8)
        this.bytes.writeDoubleLE(value, at)
        return
      }
      case 'h':
        return this.descriptor(value)
      case 'x':
      case 't':
        return this.big(
          code,
          typeof value === 'bigint' ? value : Number.isSafeInteger(value) ? BigInt(value as number) : unfit(code, value),
        )
      default:
        this.small(code, value)
    }
  }

  private big(code: string, value: bigint): void {
    if (code === 'x' ? BigInt.asIntN(64, value) !== value : BigInt.asUintN(64, value) !== value) unfit(code, value)
    this.align(8)
    const at = this.room(8)
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), at)
  }

  private small(code: string, value: unknown): void {
    const range = RANGES[code]!
    const number = typeof value === 'bigint' ? Number(value) : value
    if (typeof number !== 'number' || !Number.isInteger(number) || number < range.least || number > range.most) unfit(code, value)
    this.align(range.size)
    const at = this.room(range.size)
    if (range.size === 1) this.bytes[at] = number
    else if (range.size === 2) this.bytes.writeUInt16LE(number & 0xffff, at)
    else this.bytes.writeUInt32LE(number >>> 0, at)
  }

  private descriptor(value: unknown): void {
    if (!(value instanceof Descriptor)) unfit('h', value)
    if (this.descriptors.length === MAX_DESCRIPTORS)
      throw new TalkwireError('LIMIT_EXCEEDED', `more than ${MAX_DESCRIPTORS} descriptors in one message; make several calls`)
    this.uint32(this.descriptors.push(value) - 1)
  }

  private binary(value: unknown): void {
    if (!(value instanceof Uint8Array)) unfit('ay', value)
    this.array(1, () => {
      const at = this.room(value.length)
      this.bytes.set(value, at)
    })
  }

  private list({ item, as, signature }: ArrayOf, value: unknown): void {
    const items = as === 'maybe' ? (value === null || value === undefined ? [] : [value]) : value
    if (as === 'set' ? !(items instanceof Set) : !Array.isArray(items)) unfit(signature, value)
    this.array(item.alignment, () => {
      for (const each of items as Iterable<unknown>) this.write(item, each)
    })
  }

  private numbers({ item, dtype, signature }: Numbers, value: unknown): void {
    const Type = (ARRAYS as Record<string, unknown>)[dtype] as (new () => ArrayLike<unknown>) | undefined
    if (!Type || !(value instanceof Type)) unfit(signature, value)
    this.array(item.alignment, () => {
      for (let index = 0; index < value.length; index++) this.write(item, value[index])
    })
  }

  private dict({ key, value: inner, signature, as }: Dict, value: unknown): void {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || (as === 'map' && !(value instanceof Map)))
      unfit(signature, value)
    this.array(8, () => {
      for (const [name, item] of value instanceof Map ? (value as Map<unknown, unknown>) : Object.entries(value)) {
        if (item === undefined) continue
        if (typeof name === 'string' && forbidden(name, item)) throw forbiddenKey(name)
        this.align(8)
        this.write(key, name)
        this.write(inner, item)
      }
    })
  }

  private options({ fields }: Options, value: unknown): void {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) unfit('a{sv}', value)
    this.array(8, () => {
      for (const [name, item] of Object.entries(value)) {
        if (item === undefined) continue
        if (forbidden(name, item)) throw forbiddenKey(name)
        this.align(8)
        this.text(name)
        const hint = fields.get(name)
        this.typed(hint ? typeOfHint(hint) : undefined, item)
      }
    })
  }

  private struct({ fields, names, signature }: Struct, value: unknown): void {
    if (typeof value !== 'object' || value === null || Array.isArray(value) !== (names === undefined)) unfit(signature, value)
    this.align(8)
    if (!names) {
      if ((value as unknown[]).length !== fields.length) unfit(signature, value)
      return fields.forEach((field, index) => this.write(field, (value as unknown[])[index]))
    }
    checkMembers(value, names, signature)
    fields.forEach((field, index) => this.write(field, memberOf(value, names[index]!)))
  }

  private variant({ hint }: VariantOf, value: unknown): void {
    this.typed(hint && !(value instanceof Variant) ? typeOfHint(hint) : undefined, value)
  }

  /** A value with its type before it. */
  private typed(known: Type | undefined, value: unknown): void {
    const own = value instanceof Variant ? typeOf(value.signature) : known
    const type = own && own.kind !== 'variant' ? own : typeOf(infer(value, 0))
    this.signature(type.signature)
    this.write(type, value instanceof Variant ? value.value : value)
  }
}

const RANGES: Readonly<Record<string, { readonly size: number; readonly least: number; readonly most: number }>> = {
  y: { size: 1, least: 0, most: 0xff },
  n: { size: 2, least: -0x8000, most: 0x7fff },
  q: { size: 2, least: 0, most: 0xffff },
  i: { size: 4, least: -0x8000_0000, most: 0x7fff_ffff },
  u: { size: 4, least: 0, most: 0xffff_ffff },
}

function unfit(signature: string, value: unknown): never {
  throw new TypeError(`${described(value)} is no ${signature} of D-Bus; docs/protocols/dbus.md, Types, says what fits`)
}

function isSignature(text: string): boolean {
  try {
    splitSignature(text)
    return true
  } catch {
    return false
  }
}

const memberOf = (value: object, name: string): unknown =>
  Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined

function checkMembers(value: object, names: readonly string[], signature: string): void {
  for (const key of Object.keys(value))
    if (!names.includes(key) && (value as Record<string, unknown>)[key] !== undefined)
      throw new TypeError(`${JSON.stringify(key.slice(0, 80))} is no member of ${signature}; the contract says what fits`)
}

/** The type of a value that nobody described. Throws TypeError, TOO_DEEP. */
function infer(value: unknown, depth: number): string {
  if (depth > DEPTH) throw tooDeep(DEPTH)
  if (typeof value === 'string') return 's'
  if (typeof value === 'boolean') return 'b'
  if (typeof value === 'number') return Number.isSafeInteger(value) && !Object.is(value, -0) ? (value === (value | 0) ? 'i' : 'x') : 'd'
  if (typeof value === 'bigint') return value > 0x7fff_ffff_ffff_ffffn ? 't' : 'x'
  if (value instanceof Variant) return 'v'
  if (value instanceof Uint8Array) return 'ay'
  if (value instanceof Descriptor) return 'h'
  if (Array.isArray(value)) {
    const types = new Set(value.map((item: unknown) => infer(item, depth + 1)))
    const [only = ''] = types
    // A signature ends at 32 arrays in each other; a variant has one of its own.
    return types.size === 1 && only.split('a').length <= DEEPEST ? `a${only}` : 'av'
  }
  if (typeof value === 'object' && value !== null && isPlain(value)) return 'a{sv}'
  return unfit('v', value)
}

const isPlain = (value: object): boolean => [Object.prototype, null].includes(Object.getPrototypeOf(value) as null)

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

const bad = (text: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', text)

/** Reads one message's bytes. `taken` gives the descriptor with that index. Throws INVALID_MESSAGE, TOO_DEEP, LIMIT_EXCEEDED, FORBIDDEN_KEY. */
export class Reader {
  private depth = 0
  private left: number
  private unwanted: true | undefined

  constructor(
    readonly bytes: Buffer,
    readonly little: boolean,
    public at: number,
    public end: number,
    private readonly limits: ValueLimits,
    private readonly descriptorAt: (index: number) => unknown = () => undefined,
  ) {
    this.left = limits.values ?? VALUES
  }

  private room(size: number): number {
    const { at } = this
    if (at + size > this.end) throw bad('a message of D-Bus ends too early')
    this.at = at + size
    return at
  }

  align(to: number): void {
    const more = -this.at & (to - 1)
    if (more === 0) return
    const at = this.room(more)
    for (let index = at; index < this.at; index++) if (this.bytes[index] !== 0) throw bad('padding of D-Bus is not zero')
  }

  byte(): number {
    return this.bytes[this.room(1)]!
  }

  uint32(): number {
    this.align(4)
    const at = this.room(4)
    return this.little ? this.bytes.readUInt32LE(at) : this.bytes.readUInt32BE(at)
  }

  text(): string {
    return this.string(this.uint32())
  }

  signature(): string {
    const text = this.string(this.byte())
    splitSignature(text)
    return text
  }

  path(): string {
    const text = this.text()
    if (!isObjectPath(text)) throw bad(`${JSON.stringify(text.slice(0, 80))} is no object path`)
    return text
  }

  private string(size: number): string {
    const at = this.room(size + 1)
    const text = this.bytes.toString('utf8', at, at + size)
    if (this.bytes[at + size] !== 0 || text.includes('\0')) throw bad('a text of D-Bus ends with its only NUL')
    // The sign of what could not be read is also a character of its own.
    if (text.includes('\ufffd') && !isUtf8(this.bytes.subarray(at, at + size))) throw bad('a text of D-Bus is UTF-8')
    return text
  }

  /** `item` is called until the array ends. */
  array(alignment: number, item: () => void): void {
    const size = this.uint32()
    if (size > MAX_ARRAY) throw bad(`a list of ${size} bytes, D-Bus has 64 MiB`)
    this.align(alignment)
    const end = this.room(size) + size
    const { end: whole } = this
    this.at = end - size
    this.end = end
    while (this.at < end) {
      if (--this.left < 0) throw tooMany(this.limits.values ?? VALUES)
      item()
    }
    this.end = whole
  }

  /** One value that nobody wants; descriptors in it are not asked for. */
  skip(signature: string): void {
    this.unwanted = true
    this.read(typeOf(signature))
    this.unwanted = undefined
  }

  read(type: Type): unknown {
    if (type.kind === 'basic') return this.basic(type.signature, type.as)
    if (type.kind === 'bytes') return this.binary()
    if (++this.depth > depthOf(this.limits)) throw deeper(this.limits)
    const value = this.container(type)
    this.depth--
    return value
  }

  private container(type: Exclude<Type, { kind: 'basic' | 'bytes' }>): unknown {
    switch (type.kind) {
      case 'array':
        return this.list(type)
      case 'numbers':
        return this.numbers(type)
      case 'dict':
        return this.dict(type)
      case 'options':
        return this.options(type)
      case 'struct':
        return this.struct(type)
      case 'variant':
        return this.typed(type.hint && ((signature) => typeOf(signature, type.hint)))
    }
  }

  private basic(code: string, as: 'bigint' | 'date' | undefined): unknown {
    switch (code) {
      case 's':
        return this.text()
      case 'o':
        return this.path()
      case 'g':
        return this.signature()
      case 'b': {
        const value = this.uint32()
        if (value > 1) throw bad(`${value} is no boolean of D-Bus`)
        return value === 1
      }
      case 'd':
        return this.double()
      case 'h':
        return this.descriptorAt(this.uint32()) ?? this.unwanted ?? fail('a descriptor that was not sent')
      case 'x':
      case 't':
        return this.big(code === 'x', as)
      default: {
        const value = this.small(code)
        return as === 'bigint' ? BigInt(value) : value
      }
    }
  }

  private double(): number {
    this.align(8)
    const at = this.room(8)
    return this.little ? this.bytes.readDoubleLE(at) : this.bytes.readDoubleBE(at)
  }

  private big(signed: boolean, as: 'bigint' | 'date' | undefined): unknown {
    this.align(8)
    const at = this.room(8)
    const whole = this.little ? this.bytes.readBigUInt64LE(at) : this.bytes.readBigUInt64BE(at)
    const value = signed ? BigInt.asIntN(64, whole) : whole
    if (as === 'date') return new Date(Number(value / 1000n))
    if (as === 'bigint') return value
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value
  }

  private small(code: string): number {
    if (code === 'y') return this.byte()
    const wide = code === 'i' || code === 'u'
    this.align(wide ? 4 : 2)
    const at = this.room(wide ? 4 : 2)
    const { bytes, little } = this
    if (code === 'i') return little ? bytes.readInt32LE(at) : bytes.readInt32BE(at)
    if (code === 'u') return little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at)
    if (code === 'n') return little ? bytes.readInt16LE(at) : bytes.readInt16BE(at)
    return little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at)
  }

  private binary(): Buffer {
    const size = this.uint32()
    if (size > MAX_ARRAY) throw bad(`a list of ${size} bytes, D-Bus has 64 MiB`)
    const at = this.room(size)
    return Buffer.from(this.bytes.subarray(at, at + size))
  }

  private list({ item, as }: ArrayOf): unknown {
    const items: unknown[] = []
    this.array(item.alignment, () => void items.push(this.read(item)))
    if (as === 'set') return new Set(items)
    if (as === 'list') return items
    if (items.length > 1) throw bad('a value that may be missing is a list of none or one')
    return items.length === 0 ? null : items[0]
  }

  private numbers({ item, dtype }: Numbers): unknown {
    const items: unknown[] = []
    this.array(item.alignment, () => void items.push(this.read(item)))
    const Type = (ARRAYS as Record<string, unknown>)[dtype] as { from(items: unknown[]): unknown }
    return Type.from(dtype.endsWith('8') && dtype !== 'f8' ? items.map((each) => BigInt(each as number)) : items)
  }

  private dict({ key, value: inner, as }: Dict): unknown {
    const map = new Map<unknown, unknown>()
    this.array(8, () => {
      this.align(8)
      const name = this.read(key)
      map.set(name, this.read(inner))
    })
    return as === 'map' ? map : objectOf(map as Map<string, unknown>)
  }

  private options({ fields }: Options): unknown {
    const map = new Map<string, unknown>()
    this.array(8, () => {
      this.align(8)
      const name = this.text()
      const hint = fields.get(name)
      map.set(name, this.typed(hint && ((signature) => typeOf(signature, hint))))
    })
    return objectOf(map)
  }

  private struct({ fields, names }: Struct): unknown {
    this.align(8)
    if (!names) return fields.map((field) => this.read(field))
    const value: Record<string, unknown> = {}
    fields.forEach((field, index) => {
      value[names[index]!] = this.read(field)
    })
    return value
  }

  private typed(known: ((signature: string) => Type) | undefined): unknown {
    const signature = this.signature()
    if (splitSignature(signature).length !== 1) throw bad('a variant holds one value')
    const type = known ? known(signature) : typeOf(signature)
    // A variant in a variant, and again: no signature is too long for that.
    return this.read(type)
  }
}

function fail(text: string): never {
  throw bad(text)
}

function objectOf(map: ReadonlyMap<string, unknown>): Record<string, unknown> {
  const object: Record<string, unknown> = {}
  for (const [name, value] of map) {
    if (forbidden(name, value)) throw forbiddenKey(name)
    object[name] = value
  }
  return object
}

// ── arguments ────────────────────────────────────────────────────────────────────────────────────

/** Throws as `Writer.write`. */
export function writeArguments(writer: Writer, { as, types, names, options }: Arguments, value: unknown): void {
  if (as === 'none') return
  if (as === 'single') return writer.write(types[0]!, value)
  if (as === 'list') {
    const list = Array.isArray(value) ? (value as unknown[]) : undefined
    if (!list || list.length !== types.length) throw new TypeError(`D-Bus wants ${types.length} values here: ${names.join(', ') || 'none'}`)
    return types.forEach((type, index) => writer.write(type, list[index]))
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) unfit('object', value)
  const fixed = options ? names.slice(0, -1) : names
  if (!options) checkMembers(value, names, 'the input')
  fixed.forEach((name, index) => writer.write(types[index]!, memberOf(value, name)))
  if (options) writer.write(types.at(-1)!, Object.fromEntries(Object.entries(value).filter(([name]) => !fixed.includes(name))))
}

/** Throws as `Reader.read`. */
export function readArguments(reader: Reader, { as, types, names, options, absent }: Arguments): unknown {
  if (as === 'none') return undefined
  if (as === 'single') {
    const value = reader.read(types[0]!)
    return absent && value === null ? undefined : value
  }
  if (as === 'list') return types.map((type) => reader.read(type))
  const value: Record<string, unknown> = {}
  types.forEach((type, index) => {
    const item = reader.read(type)
    if (!options || index < types.length - 1) return void (value[names[index]!] = item)
    for (const [name, each] of Object.entries(item as object)) {
      if (Object.hasOwn(value, name))
        throw new TalkwireError('INVALID_INPUT', `${JSON.stringify(name.slice(0, 80))} is an argument of its own`)
      value[name] = each
    }
  })
  return value
}
