/**
 * Thrift's binary and compact protocols as bytes, in both directions. Sans I/O. Sources: doc/specs/thrift-binary-protocol.md and
 * thrift-compact-protocol.md of Apache Thrift.
 */
import { isUtf8 } from 'node:buffer'
import { DEPTH, VALUES, tooDeep, tooMany } from '../codecs/codec.js'
import { mostNested, type DepthLimits } from '../codecs/depth.js'
import { TalkwireError } from '../error.js'

/** Types on the wire, by the numbers of the binary protocol. */
export const Code = {
  stop: 0,
  bool: 2,
  byte: 3,
  double: 4,
  i16: 6,
  i32: 8,
  i64: 10,
  string: 11,
  struct: 12,
  map: 13,
  set: 14,
  list: 15,
  uuid: 16,
} as const
export const Kind = { call: 1, reply: 2, exception: 3, oneway: 4 } as const

export type Format = 'binary' | 'compact'

export interface WireLimits extends DepthLimits {
  readonly message?: number
  readonly values?: number
}

export interface Head {
  readonly name: string
  readonly kind: number
  readonly sequence: number
}

/** Numbers of the compact protocol for those of the binary one, and back. Bool is 1 or 2 in the head of a field. */
const TO_COMPACT: Readonly<Record<number, number>> = { 2: 1, 3: 3, 4: 7, 6: 4, 8: 5, 10: 6, 11: 8, 12: 12, 13: 11, 14: 10, 15: 9, 16: 13 }
const FROM_COMPACT: readonly number[] = [0, 2, 2, 3, 6, 8, 10, 4, 11, 15, 14, 13, 12, 16]
/** Fewest bytes of one value, by its code: a container that announces more of them than there are bytes is refused before it is read. */
const LEAST: Readonly<Record<Format, Readonly<Record<number, number>>>> = {
  binary: { 2: 1, 3: 1, 4: 8, 6: 2, 8: 4, 10: 8, 11: 4, 12: 1, 13: 6, 14: 5, 15: 5, 16: 16 },
  compact: { 2: 1, 3: 1, 4: 8, 6: 1, 8: 1, 10: 1, 11: 1, 12: 1, 13: 1, 14: 1, 15: 1, 16: 16 },
}
const VERSION = 0x8001
const COMPACT = 0x82
/** Longest name of a method, with that of its service. */
const LONGEST_NAME = 512

const bad = (text: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', `Thrift: ${text}`)
const tooLarge = (size: number, limit: number): TalkwireError =>
  new TalkwireError('MESSAGE_TOO_LARGE', `a message of ${size} bytes, the limit is ${limit}; send less at a time, or raise limits.message`)

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

export class Writer {
  private bytes = Buffer.allocUnsafe(256)
  private at = 0
  private last = 0
  private depth = 0

  constructor(
    private readonly format: Format,
    private readonly limits: WireLimits,
    /** Bytes kept free at the beginning. */
    front = 0,
  ) {
    this.at = front
  }

  private room(size: number): number {
    const { at } = this
    const end = at + size
    if (end > this.bytes.length) {
      const most = this.limits.message ?? Infinity
      if (end > most) throw tooLarge(end, most)
      const grown = Buffer.allocUnsafe(Math.max(end, 2 * this.bytes.length))
      this.bytes.copy(grown, 0, 0, at)
      this.bytes = grown
    }
    this.at = end
    return at
  }

  done(): Buffer {
    return this.bytes.subarray(0, this.at)
  }

  message({ name, kind, sequence }: Head): void {
    if (this.format === 'binary') {
      const at = this.room(4)
      this.bytes.writeUInt32BE(((VERSION << 16) | kind) >>> 0, at)
      this.text(name)
      return this.i32(sequence)
    }
    this.byte(COMPACT)
    this.byte((kind << 5) | 1)
    this.varint(BigInt(sequence >>> 0))
    this.text(name)
  }

  /** `fields` writes fields; a stop follows. Throws TOO_DEEP. */
  struct(fields: () => void): void {
    const { last } = this
    if (++this.depth > mostNested(this.limits)) throw tooDeep(this.limits.depth ?? DEPTH)
    this.last = 0
    fields()
    this.byte(Code.stop)
    this.last = last
    this.depth--
  }

  /** The head of a field; its value follows. */
  field(code: number, id: number): void {
    if (this.format === 'compact') return this.compactField(TO_COMPACT[code]!, id)
    this.byte(code)
    this.i16(id)
  }

  private compactField(code: number, id: number): void {
    const delta = id - this.last
    if (delta > 0 && delta < 16) this.byte((delta << 4) | code)
    else {
      this.byte(code)
      this.i16(id)
    }
    this.last = id
  }

  boolField(id: number, value: boolean): void {
    if (this.format === 'compact') return this.compactField(value ? 1 : 2, id)
    this.field(Code.bool, id)
    this.byte(value ? 1 : 0)
  }

  list(code: number, count: number): void {
    if (this.format === 'binary') {
      this.byte(code)
      return this.i32(count)
    }
    const short = count < 15
    this.byte(((short ? count : 15) << 4) | TO_COMPACT[code]!)
    if (!short) this.varint(BigInt(count))
  }

  map(key: number, value: number, count: number): void {
    if (this.format === 'binary') {
      this.byte(key)
      this.byte(value)
      return this.i32(count)
    }
    this.varint(BigInt(count))
    if (count > 0) this.byte((TO_COMPACT[key]! << 4) | TO_COMPACT[value]!)
  }

  /** Containers count against the depth, too. */
  nested(inside: () => void): void {
    if (++this.depth > mostNested(this.limits)) throw tooDeep(this.limits.depth ?? DEPTH)
    inside()
    this.depth--
  }

  /** As an element. */
  bool(value: boolean): void {
    this.byte(value ? 1 : this.format === 'compact' ? 2 : 0)
  }

  byte(value: number): void {
    const at = this.room(1)
    this.bytes[at] = value
  }

  i16(value: number): void {
    if (this.format === 'compact') return this.zigzag(BigInt(value))
    const at = this.room(2)
    this.bytes.writeInt16BE(value, at)
  }

  i32(value: number): void {
    if (this.format === 'compact') return this.zigzag(BigInt(value))
    const at = this.room(4)
    this.bytes.writeInt32BE(value, at)
  }

  i64(value: bigint): void {
    if (this.format === 'compact') return this.zigzag(value)
    const at = this.room(8)
    this.bytes.writeBigInt64BE(value, at)
  }

  double(value: number): void {
    const at = this.room(8)
    if (this.format === 'compact') this.bytes.writeDoubleLE(value, at)
    else this.bytes.writeDoubleBE(value, at)
  }

  text(value: string): void {
    const size = Buffer.byteLength(value)
    this.length(size)
    const at = this.room(size)
    this.bytes.write(value, at)
  }

  binary(value: Uint8Array): void {
    this.length(value.length)
    this.raw(value)
  }

  raw(value: Uint8Array): void {
    const at = this.room(value.length)
    this.bytes.set(value, at)
  }

  private length(size: number): void {
    if (this.format === 'compact') this.varint(BigInt(size))
    else this.i32(size)
  }

  private zigzag(value: bigint): void {
    this.varint(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n)))
  }

  private varint(value: bigint): void {
    // Nearly all are small, and bigints are slow.
    if (value < 0x80n) return this.byte(Number(value))
    let rest = value
    for (; rest >= 0x80n; rest >>= 7n) this.byte(Number(rest & 0x7fn) | 0x80)
    this.byte(Number(rest))
  }
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

/** A value in fields: where there is a bool in the compact protocol, `bool` is it. */
export interface FieldHead {
  readonly code: number
  readonly id: number
  readonly bool: boolean | undefined
}

/** One whole message. Throws INVALID_MESSAGE, TOO_DEEP, LIMIT_EXCEEDED. */
export class Reader {
  at = 0
  private last = 0
  private depth = 0
  private left: number

  constructor(
    readonly bytes: Buffer,
    private readonly format: Format,
    private readonly limits: WireLimits,
  ) {
    this.left = limits.values ?? VALUES
  }

  private room(size: number): number {
    const { at } = this
    if (size < 0 || at + size > this.bytes.length) throw bad('a message ends too early')
    this.at = at + size
    return at
  }

  message(): Head {
    if (this.format === 'binary') {
      const at = this.room(4)
      if (this.bytes.readUInt16BE(at) !== VERSION) throw bad('a message of the binary protocol begins with 80 01')
      const kind = this.bytes[at + 3]!
      const name = this.name()
      return { name, kind, sequence: this.i32() }
    }
    if (this.byte() !== COMPACT) throw bad('a message of the compact protocol begins with 82')
    const versioned = this.byte()
    if ((versioned & 0x1f) !== 1) throw bad(`version ${versioned & 0x1f} of the compact protocol, this is 1`)
    const sequence = Number(BigInt.asIntN(32, this.varint()))
    return { name: this.name(), kind: versioned >> 5, sequence }
  }

  private name(): string {
    const size = this.length()
    if (size > LONGEST_NAME) throw bad(`a name of ${size} bytes`)
    return this.textOf(size)
  }

  /** Calls `field` for each. */
  struct(field: (head: FieldHead) => void): void {
    const { last } = this
    this.deeper()
    this.last = 0
    for (let head = this.field(); head; head = this.field()) {
      this.count(1)
      field(head)
    }
    this.last = last
    this.depth--
  }

  private deeper(): void {
    if (++this.depth > mostNested(this.limits)) throw tooDeep(this.limits.depth ?? DEPTH)
  }

  private count(more: number): void {
    this.left -= more
    if (this.left < 0) throw tooMany(this.limits.values ?? VALUES)
  }

  private field(): FieldHead | undefined {
    const head = this.byte()
    if (head === Code.stop) return undefined
    if (this.format === 'binary') return { code: known(head), id: this.i16(), bool: undefined }
    const code = head & 0x0f
    const delta = head >> 4
    this.last = delta === 0 ? this.i16() : this.last + delta
    return { code: fromCompact(code), id: this.last, bool: code === 1 ? true : code === 2 ? false : undefined }
  }

  /** Calls `item` for each element. */
  list(item: (code: number) => void): void {
    const head = this.byte()
    const compact = this.format === 'compact'
    const code = compact ? fromCompact(head & 0x0f) : known(head)
    const count = !compact ? this.i32() : head >> 4 === 15 ? Number(this.varint()) : head >> 4
    this.items(count, LEAST[this.format][code]!, () => item(code))
  }

  map(pair: (key: number, value: number) => void): void {
    if (this.format === 'binary') {
      const key = this.byte()
      const value = this.byte()
      const count = this.i32()
      if (count === 0) return
      return this.items(count, LEAST.binary[known(key)]! + LEAST.binary[known(value)]!, () => pair(key, value))
    }
    const count = Number(this.varint())
    if (count === 0) return
    const types = this.byte()
    const [key, value] = [fromCompact(types >> 4), fromCompact(types & 0x0f)]
    this.items(count, LEAST.compact[key]! + LEAST.compact[value]!, () => pair(key, value))
  }

  private items(count: number, least: number, item: () => void): void {
    if (count < 0 || count * least > this.bytes.length - this.at)
      throw bad(`a container of ${count} values in ${this.bytes.length - this.at} bytes`)
    this.count(count)
    this.deeper()
    for (let index = 0; index < count; index++) item()
    this.depth--
  }

  bool(): boolean {
    const value = this.byte()
    return value === 1
  }

  byte(): number {
    return this.bytes[this.room(1)]!
  }

  i8(): number {
    return this.bytes.readInt8(this.room(1))
  }

  i16(): number {
    if (this.format === 'compact') return Number(BigInt.asIntN(16, this.zigzag()))
    return this.bytes.readInt16BE(this.room(2))
  }

  i32(): number {
    if (this.format === 'compact') return Number(BigInt.asIntN(32, this.zigzag()))
    return this.bytes.readInt32BE(this.room(4))
  }

  i64(): bigint {
    if (this.format === 'compact') return this.zigzag()
    return this.bytes.readBigInt64BE(this.room(8))
  }

  double(): number {
    const at = this.room(8)
    return this.format === 'compact' ? this.bytes.readDoubleLE(at) : this.bytes.readDoubleBE(at)
  }

  private length(): number {
    return this.format === 'compact' ? Number(this.varint()) : this.i32()
  }

  text(): string {
    return this.textOf(this.length())
  }

  private textOf(size: number): string {
    const at = this.room(size)
    const text = this.bytes.toString('utf8', at, at + size)
    // The sign of what could not be read is also a character of its own.
    if (text.includes('\ufffd') && !isUtf8(this.bytes.subarray(at, at + size))) throw bad('a text is UTF-8')
    return text
  }

  binary(): Buffer {
    return this.raw(this.length())
  }

  raw(size: number): Buffer {
    const at = this.room(size)
    return Buffer.from(this.bytes.subarray(at, at + size))
  }

  private zigzag(): bigint {
    const value = this.varint()
    return (value >> 1n) ^ -(value & 1n)
  }

  private varint(): bigint {
    const first = this.byte()
    if (first < 0x80) return BigInt(first)
    let value = BigInt(first & 0x7f)
    for (let shift = 7n; shift < 70n; shift += 7n) {
      const next = this.byte()
      value |= BigInt(next & 0x7f) << shift
      if (next < 0x80) return BigInt.asUintN(64, value)
    }
    throw bad('a number of more than 10 bytes')
  }

  /** A value that nobody wants. */
  skip(code: number, bool?: boolean): void {
    switch (code) {
      case Code.bool:
        if (bool === undefined) this.byte()
        return
      case Code.byte:
        return void this.byte()
      case Code.i16:
        return void this.i16()
      case Code.i32:
        return void this.i32()
      case Code.i64:
        return void this.i64()
      case Code.double:
        return void this.room(8)
      case Code.uuid:
        return void this.room(16)
      case Code.string:
        return void this.room(this.length())
      case Code.struct:
        return this.struct((head) => this.skip(head.code, head.bool))
      case Code.map:
        return this.map((key, value) => {
          this.skip(key)
          this.skip(value)
        })
      default:
        return this.list((each) => this.skip(each))
    }
  }
}

function known(code: number): number {
  if (!Object.hasOwn(LEAST.binary, code)) throw bad(`there is no type ${code}`)
  return code
}

function fromCompact(code: number): number {
  const found = FROM_COMPACT[code]
  if (!found) throw bad(`there is no type ${code}`)
  return found
}

// ── cutting what arrives into messages ───────────────────────────────────────────────────────────

export interface Whole {
  readonly format: Format
  readonly framed: boolean
  readonly bytes: Buffer
}

/**
 * A stream of messages, framed or not: the first bytes say which, and all that follow are the same. Without frames nothing says how
 * long a message is, so its values are walked over as they come, once. Throws what reading throws; it is of no more use then.
 */
export class MessageCutter {
  private bytes = Buffer.alloc(0)
  private size = 0
  private mode: { readonly format: Format; readonly framed: boolean } | undefined
  private walk: Generator<void, void> | undefined
  /** How far the walk has come. */
  private at = 0

  constructor(private readonly limits: WireLimits) {}

  /** Bytes of a message that has begun and is not whole; undefined between two. */
  get partial(): number | undefined {
    return this.size > 0 ? this.size : undefined
  }

  *push(chunk: Buffer): Generator<Whole> {
    this.append(chunk)
    for (;;) {
      this.mode ??= this.recognise()
      if (!this.mode) return
      const end = this.mode.framed ? this.frame() : this.walked()
      if (end === undefined) return
      const bytes = Buffer.from(this.bytes.subarray(this.mode.framed ? 4 : 0, end))
      this.bytes.copyWithin(0, end, this.size)
      this.size -= end
      if (this.size === 0) this.bytes = Buffer.alloc(0)
      yield { ...this.mode, bytes }
    }
  }

  private append(chunk: Buffer): void {
    const size = this.size + chunk.length
    if (size > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(size, Math.min(2 * this.bytes.length, size + (1 << 20))))
      this.bytes.copy(grown, 0, 0, this.size)
      this.bytes = grown
    }
    chunk.copy(this.bytes, this.size)
    this.size = size
  }

  private recognise(): { format: Format; framed: boolean } | undefined {
    if (this.size < 2) return undefined
    const found = formatAt(this.bytes, 0)
    if (found) return { format: found, framed: false }
    if (this.bytes[0]! >= 0x80) throw bad('neither the binary nor the compact protocol begins so')
    if (this.size < 4) return undefined
    this.checkFrame()
    if (this.size < 6) return undefined
    const inside = formatAt(this.bytes, 4)
    if (!inside) throw bad('neither the binary nor the compact protocol is in this frame')
    return { format: inside, framed: true }
  }

  private checkFrame(): number {
    const need = this.bytes.readUInt32BE(0)
    const limit = this.limits.message ?? Infinity
    if (need > limit) throw tooLarge(need, limit)
    return 4 + need
  }

  private frame(): number | undefined {
    if (this.size < 4) return undefined
    const end = this.checkFrame()
    return this.size < end ? undefined : end
  }

  private walked(): number | undefined {
    if (this.size === 0) return undefined
    if (!this.walk) {
      this.at = 0
      this.walk = this.mode!.format === 'binary' ? this.walkBinary() : this.walkCompact()
    }
    if (!this.walk.next().done) return undefined
    this.walk = undefined
    return this.at
  }

  /** Passes over so many bytes, and returns where they begin. */
  private *take(size: number): Generator<void, number> {
    const { at } = this
    const end = at + size
    const limit = this.limits.message ?? Infinity
    if (size < 0) throw bad('a length below zero')
    if (end > limit) throw tooLarge(end, limit)
    while (this.size < end) yield
    this.at = end
    return at
  }

  /** The buffer may be another one when the byte has come. */
  private *one(): Generator<void, number> {
    const at = yield* this.take(1)
    return this.bytes[at]!
  }

  private *number(): Generator<void, number> {
    const at = yield* this.take(4)
    return this.bytes.readInt32BE(at)
  }

  private *varint(): Generator<void, number> {
    let value = 0
    for (let shift = 0; shift < 10; shift++) {
      const byte = yield* this.one()
      value += (byte & 0x7f) * 2 ** (7 * shift)
      if (byte < 0x80) return value
    }
    throw bad('a number of more than 10 bytes')
  }

  private *walkBinary(): Generator<void, void> {
    yield* this.take(4)
    yield* this.take(yield* this.number())
    yield* this.take(4)
    yield* this.value(Code.struct, 0)
  }

  private *walkCompact(): Generator<void, void> {
    yield* this.take(2)
    yield* this.varint()
    yield* this.take(yield* this.varint())
    yield* this.value(Code.struct, 0)
  }

  private *value(code: number, depth: number): Generator<void, void> {
    const compact = this.mode!.format === 'compact'
    if (code >= Code.struct && code !== Code.uuid && depth >= mostNested(this.limits)) throw tooDeep(this.limits.depth ?? DEPTH)
    if (compact && (code === Code.i16 || code === Code.i32 || code === Code.i64)) yield* this.varint()
    else if (code === Code.string) yield* this.take(compact ? yield* this.varint() : yield* this.number())
    else if (code === Code.struct) yield* this.fields(depth)
    else if (code === Code.map) yield* this.pairs(depth)
    else if (code === Code.list || code === Code.set) yield* this.elements(depth)
    else yield* this.take(LEAST.binary[code]!)
  }

  private *fields(depth: number): Generator<void, void> {
    const compact = this.mode!.format === 'compact'
    for (;;) {
      const head = yield* this.one()
      if (head === Code.stop) return
      if (!compact) yield* this.take(2)
      else if (head >> 4 === 0) yield* this.varint()
      const code = compact ? fromCompact(head & 0x0f) : known(head)
      if (!compact || code !== Code.bool) yield* this.value(code, depth + 1)
    }
  }

  private *elements(depth: number): Generator<void, void> {
    const head = yield* this.one()
    const compact = this.mode!.format === 'compact'
    const code = compact ? fromCompact(head & 0x0f) : known(head)
    const count = !compact ? yield* this.number() : head >> 4 === 15 ? yield* this.varint() : head >> 4
    this.checkCount(count)
    yield* this.repeated(count, [code], depth)
  }

  private *pairs(depth: number): Generator<void, void> {
    if (this.mode!.format === 'binary') {
      const at = yield* this.take(2)
      const types = [this.bytes[at]!, this.bytes[at + 1]!]
      const count = yield* this.number()
      this.checkCount(count)
      if (count > 0) yield* this.repeated(count, types.map(known), depth)
      return
    }
    const count = yield* this.varint()
    this.checkCount(count)
    if (count === 0) return
    const types = yield* this.one()
    yield* this.repeated(count, [fromCompact(types >> 4), fromCompact(types & 0x0f)], depth)
  }

  private checkCount(count: number): void {
    const most = this.limits.values ?? VALUES
    if (count < 0) throw bad('a container of fewer values than none')
    if (count > most) throw tooMany(most)
  }

  private *repeated(count: number, codes: readonly number[], depth: number): Generator<void, void> {
    const format = this.mode!.format
    const fixed = codes.every((code) => code < Code.string && (format === 'binary' || code <= Code.double))
    if (fixed) return void (yield* this.take(count * codes.reduce((sum, code) => sum + LEAST.binary[code]!, 0)))
    for (let index = 0; index < count; index++) for (const code of codes) yield* this.value(code, depth + 1)
  }
}

function formatAt(bytes: Buffer, at: number): Format | undefined {
  if (bytes[at] === 0x80 && bytes[at + 1] === 0x01) return 'binary'
  return bytes[at] === COMPACT && (bytes[at + 1]! & 0x1f) === 1 ? 'compact' : undefined
}

/** Whether a connection that begins so speaks Thrift, framed or not; undefined: that shows only in more bytes. `limit`: of a frame, in bytes. */
export function beginsMessage(first: Buffer, limit: number): boolean | undefined {
  if (first[0]! >= 0x80) return first.length < 2 ? undefined : formatAt(first, 0) !== undefined
  const length = Buffer.concat([first.subarray(0, 4)], 4).readUInt32BE(0)
  if (length > limit || (first.length >= 4 && length < 2)) return false
  if (first.length < 5) return undefined
  return first[4]! < 0x80 ? false : first.length < 6 ? undefined : formatAt(first, 4) !== undefined
}

/** What a message of HTTP holds. Throws INVALID_MESSAGE. */
export function formatOf(bytes: Buffer): Format {
  const found = formatAt(bytes, 0)
  if (!found) throw bad('a message begins with 80 01 (binary) or 82 (compact)')
  return found
}
