/**
 * Plain values as Python's pickle: reads protocols 2 to 5, writes 4. Sans I/O.
 *
 * A pickle is a program for a small machine. Of its instructions only those are known here that build plain values; names are
 * compared with the few in CALLS, and nothing is ever looked up, imported or called.
 * Source: the opcodes of Python's Lib/pickletools.py.
 */
import { DEPTH, VALUES, forbidden, forbiddenKey, tooDeep, tooMany } from '../codecs/codec.js'
import { mostNested, type DepthLimits } from '../codecs/depth.js'
import { Writer } from '../codecs/writer.js'
import { TalkwireError } from '../error.js'

/** An exception of Python's own, as far as it is plain: nothing was raised or made. */
export class PickledError {
  constructor(
    /** `ValueError`, … */
    readonly type: string,
    readonly args: readonly unknown[],
  ) {}
}

export interface PickleLimits extends DepthLimits {
  readonly message?: number
  readonly values?: number
  /** Whether the elements of the outermost tuple may be exceptions of Python's own. */
  readonly errors?: boolean
}

const Op = {
  mark: 0x28,
  emptyTuple: 0x29,
  stop: 0x2e,
  binBytes: 0x42,
  shortBinBytes: 0x43,
  binFloat: 0x47,
  binInt: 0x4a,
  binInt1: 0x4b,
  binInt2: 0x4d,
  none: 0x4e,
  reduce: 0x52,
  binUnicode: 0x58,
  emptyList: 0x5d,
  append: 0x61,
  global: 0x63,
  appends: 0x65,
  binGet: 0x68,
  longBinGet: 0x6a,
  binPut: 0x71,
  longBinPut: 0x72,
  setItem: 0x73,
  tuple: 0x74,
  setItems: 0x75,
  emptyDict: 0x7d,
  proto: 0x80,
  tuple1: 0x85,
  tuple2: 0x86,
  tuple3: 0x87,
  newTrue: 0x88,
  newFalse: 0x89,
  long1: 0x8a,
  long4: 0x8b,
  shortBinUnicode: 0x8c,
  binUnicode8: 0x8d,
  binBytes8: 0x8e,
  emptySet: 0x8f,
  addItems: 0x90,
  frozenSet: 0x91,
  stackGlobal: 0x93,
  memoize: 0x94,
  frame: 0x95,
  byteArray8: 0x96,
} as const

const broken = (what: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', `no pickle of plain values: ${what}`)
const notPlain = (what: string): TalkwireError =>
  new TalkwireError(
    'UNSUPPORTED',
    `the pickle holds ${what}, and only None, bool, int, float, str, bytes, list, tuple, dict and set are read; send it as one of those`,
  )

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

const MARK = Symbol('mark')
/** A name that a pickle may use, and nothing more than that. */
class Name {
  constructor(readonly text: string) {}
}
/** A dict while it grows: what it becomes is decided when all of its keys are known. */
class Dict {
  readonly pairs: unknown[] = []
}

/** What older protocols write as a call of a name. */
const CALLS: Readonly<Record<string, (args: readonly unknown[]) => unknown>> = {
  'builtins set': asSet,
  '__builtin__ set': asSet,
  'builtins frozenset': asSet,
  '__builtin__ frozenset': asSet,
  'builtins bytearray': asBytes,
  '__builtin__ bytearray': asBytes,
  'builtins bytes': asBytes,
  '__builtin__ bytes': asBytes,
  '_codecs encode': asBytes,
}
/** `builtins ValueError` of protocol 3 and later, `exceptions ValueError` of 2. */
const EXCEPTION = /^(?:builtins|exceptions) ([A-Z]\w*(?:Error|Exception|Exit|Interrupt|Iteration|Warning))$/

function asSet([items, ...rest]: readonly unknown[]): unknown {
  if (!Array.isArray(items) || rest.length > 0) throw broken('a set is made of one list')
  return new Set(items)
}

function asBytes([first, encoding, ...rest]: readonly unknown[]): unknown {
  if (first === undefined) return Buffer.alloc(0)
  if (Buffer.isBuffer(first) && encoding === undefined) return first
  if (typeof first !== 'string' || (encoding !== 'latin1' && encoding !== 'latin-1') || rest.length > 0)
    throw broken('bytes are made of latin1 text')
  return Buffer.from(first, 'latin1')
}

function call(name: unknown, args: unknown): unknown {
  if (!(name instanceof Name) || !Array.isArray(args)) throw broken('a call of something without a name')
  const known = Object.hasOwn(CALLS, name.text) ? CALLS[name.text] : undefined
  if (known) return known(args)
  const exception = EXCEPTION.exec(name.text)
  if (exception) return new PickledError(exception[1]!, args as unknown[])
  throw notPlain(`a ${name.text.replace(' ', '.').slice(0, 100)}`)
}

/** Throws INVALID_MESSAGE, UNSUPPORTED for what is not plain, TOO_DEEP, FORBIDDEN_KEY, LIMIT_EXCEEDED, MESSAGE_TOO_LARGE. The bytes stay the caller's. */
export function unpickle(bytes: Buffer, limits: PickleLimits = {}): unknown {
  const raw = new Machine(bytes, limits.values ?? VALUES).run()
  return new Finisher(limits).finish(raw, 1)
}

class Machine {
  private at = 0
  private readonly stack: unknown[] = []
  private readonly memo = new Map<number, unknown>()
  private made = 0
  private readonly most: number

  constructor(
    private readonly bytes: Buffer,
    private readonly values: number,
  ) {
    // Keys and marks are values here, too.
    this.most = 3 * values + 16
  }

  run(): unknown {
    const { stack } = this
    if (this.bytes[0] !== Op.proto) throw broken('it begins without a protocol, or with one before 2')
    for (;;) {
      const op = this.u8()
      if (op === Op.stop) {
        const value = this.pop()
        if (stack.length > 0 || this.at !== this.bytes.length) throw broken('something is left after its end')
        return value
      }
      this.step(op)
    }
  }

  private step(op: number): void {
    switch (op) {
      case Op.proto: {
        const version = this.u8()
        if (version < 2 || version > 5) throw broken(`protocol ${version}; 2 to 5 are read`)
        return
      }
      case Op.frame:
        // Where the next reads end is of no interest: all bytes are here.
        return void this.length8()
      case Op.none:
        return this.push(null)
      case Op.newTrue:
        return this.push(true)
      case Op.newFalse:
        return this.push(false)
      case Op.binInt:
        return this.push(this.take(4).readInt32LE(0))
      case Op.binInt1:
        return this.push(this.u8())
      case Op.binInt2:
        return this.push(this.take(2).readUInt16LE(0))
      case Op.long1:
        return this.push(integerFrom(this.take(this.u8())))
      case Op.long4:
        return this.push(integerFrom(this.take(this.u32())))
      case Op.binFloat:
        return this.push(this.take(8).readDoubleBE(0))
      case Op.shortBinUnicode:
        return this.push(this.take(this.u8()).toString())
      case Op.binUnicode:
        return this.push(this.take(this.u32()).toString())
      case Op.binUnicode8:
        return this.push(this.take(this.length8()).toString())
      case Op.shortBinBytes:
        return this.push(Buffer.from(this.take(this.u8())))
      case Op.binBytes:
        return this.push(Buffer.from(this.take(this.u32())))
      case Op.binBytes8:
      case Op.byteArray8:
        return this.push(Buffer.from(this.take(this.length8())))
      default:
        return this.stepOver(op)
    }
  }

  /** What takes from the stack. */
  private stepOver(op: number): void {
    switch (op) {
      case Op.mark:
        return this.push(MARK)
      case Op.emptyTuple:
      case Op.emptyList:
        return this.push([])
      case Op.emptyDict:
        return this.push(new Dict())
      case Op.emptySet:
        return this.push(new Set())
      case Op.tuple:
        return this.push(this.sinceMark())
      case Op.tuple1:
        return this.push([this.pop()])
      case Op.tuple2:
        return this.push(this.last(2))
      case Op.tuple3:
        return this.push(this.last(3))
      case Op.frozenSet:
        return this.push(new Set(this.sinceMark()))
      case Op.append:
        return this.appendOne(this.pop())
      case Op.appends:
        return this.append(this.sinceMark())
      case Op.setItem:
        return this.setItems(this.last(2))
      case Op.setItems:
        return this.setItems(this.sinceMark())
      case Op.addItems:
        return this.addItems(this.sinceMark())
      default:
        return this.stepByName(op)
    }
  }

  private stepByName(op: number): void {
    switch (op) {
      case Op.global:
        return this.push(new Name(`${this.line()} ${this.line()}`))
      case Op.stackGlobal: {
        const [module, name] = this.last(2)
        if (typeof module !== 'string' || typeof name !== 'string') throw broken('a name that is no text')
        return this.push(new Name(`${module} ${name}`))
      }
      case Op.reduce: {
        const [name, args] = this.last(2)
        return this.push(call(name, args))
      }
      case Op.memoize:
        return this.keep(this.memo.size)
      case Op.binPut:
        return this.keep(this.u8())
      case Op.longBinPut:
        return this.keep(this.u32())
      case Op.binGet:
        return this.recall(this.u8())
      case Op.longBinGet:
        return this.recall(this.u32())
      default:
        throw notPlain(`the instruction 0x${op.toString(16)}`)
    }
  }

  private keep(index: number): void {
    this.memo.set(index, this.top())
    if (this.memo.size > this.most) throw tooMany(this.values)
  }

  private recall(index: number): void {
    if (!this.memo.has(index)) throw broken('it recalls what it never kept')
    this.push(this.memo.get(index))
  }

  private append(items: readonly unknown[]): void {
    const list = this.list()
    for (const item of items) list.push(item)
  }

  private appendOne(item: unknown): void {
    this.list().push(item)
  }

  private list(): unknown[] {
    const list = this.top()
    if (!Array.isArray(list)) throw broken('it appends to what is no list')
    return list
  }

  private addItems(items: readonly unknown[]): void {
    const set = this.top()
    if (!(set instanceof Set)) throw broken('it adds to what is no set')
    for (const item of items) set.add(item)
  }

  private setItems(pairs: readonly unknown[]): void {
    const dict = this.top()
    if (!(dict instanceof Dict) || pairs.length % 2 === 1) throw broken('it sets items of what is no dict')
    for (const item of pairs) dict.pairs.push(item)
  }

  private push(value: unknown): void {
    if (++this.made > this.most) throw tooMany(this.values)
    this.stack.push(value)
  }

  private top(): unknown {
    if (this.stack.length === 0) throw broken('its stack is empty')
    return this.stack.at(-1)
  }

  private pop(): unknown {
    const value = this.top()
    if (value === MARK) throw broken('a mark where a value belongs')
    this.stack.pop()
    return value
  }

  private last(count: number): unknown[] {
    const values = new Array<unknown>(count)
    for (let index = count - 1; index >= 0; index--) values[index] = this.pop()
    return values
  }

  private sinceMark(): unknown[] {
    const at = this.stack.lastIndexOf(MARK)
    if (at < 0) throw broken('there is no mark')
    const values = this.stack.splice(at)
    values.shift()
    return values
  }

  private take(size: number): Buffer {
    const { at } = this
    if (size > this.bytes.length - at) throw broken('it ends too early')
    this.at += size
    return this.bytes.subarray(at, at + size)
  }

  private u8(): number {
    if (this.at === this.bytes.length) throw broken('it ends too early')
    return this.bytes[this.at++]!
  }

  private u32(): number {
    return this.take(4).readUInt32LE(0)
  }

  private length8(): number {
    const size = this.take(8).readBigUInt64LE(0)
    return size > BigInt(this.bytes.length) ? this.bytes.length + 1 : Number(size)
  }

  private line(): string {
    const end = this.bytes.indexOf(10, this.at)
    if (end < 0) throw broken('a name without an end')
    const text = this.take(end - this.at).toString()
    this.at++
    return text
  }
}

/** Python's long: two's complement, the lowest byte first. */
function integerFrom(bytes: Buffer): number | bigint {
  if (bytes.length === 0) return 0
  if (bytes.length <= 6) return bytes.readIntLE(0, bytes.length)
  const size = bytes.length
  let value = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
  if (bytes[size - 1]! >= 0x80) value -= 1n << BigInt(8 * size)
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
}

/**
 * Dicts become objects, or Maps where a key is no text. A pickle may name one thing often, and inside itself: whoever reads
 * the result would meet it each time, so here it is counted each time, too.
 */
class Finisher {
  private left: number
  private bytes: number
  private readonly depth: number

  constructor(private readonly limits: PickleLimits) {
    this.left = limits.values ?? VALUES
    this.bytes = limits.message ?? Infinity
    this.depth = mostNested(limits)
  }

  finish(value: unknown, depth: number): unknown {
    if (typeof value === 'string') return this.sized(value, value.length)
    if (typeof value !== 'object' || value === null) return value
    if (Buffer.isBuffer(value)) return this.sized(value, value.length)
    if (value instanceof Name) throw notPlain(`the name ${value.text.replace(' ', '.').slice(0, 100)}`)
    if (depth > this.depth) throw tooDeep(this.limits.depth ?? DEPTH)
    if (Array.isArray(value)) {
      this.count(value.length)
      return value.map((item) => this.finish(item, depth + 1))
    }
    if (value instanceof Set) {
      this.count(value.size)
      return new Set([...value].map((item) => this.finish(item, depth + 1)))
    }
    if (value instanceof PickledError && (!this.limits.errors || depth !== 2)) throw notPlain(`a ${value.type}`)
    if (value instanceof PickledError) return new PickledError(value.type, this.finish(value.args, depth + 1) as unknown[])
    return this.dict((value as Dict).pairs, depth + 1)
  }

  private dict(pairs: readonly unknown[], depth: number): unknown {
    this.count(pairs.length / 2)
    let byName = true
    for (let index = 0; index < pairs.length; index += 2) byName &&= typeof pairs[index] === 'string'
    if (!byName) {
      const map = new Map<unknown, unknown>()
      for (let index = 0; index < pairs.length; index += 2) map.set(this.finish(pairs[index], depth), this.finish(pairs[index + 1], depth))
      return map
    }
    const object: Record<string, unknown> = {}
    for (let index = 0; index < pairs.length; index += 2) {
      const key = this.sized(pairs[index] as string, (pairs[index] as string).length)
      const value = this.finish(pairs[index + 1], depth)
      if (forbidden(key, value)) throw forbiddenKey(key)
      object[key] = value
    }
    return object
  }

  private count(more: number): void {
    this.left -= more
    if (this.left < 0) throw tooMany(this.limits.values ?? VALUES)
  }

  private sized<T>(value: T, size: number): T {
    this.bytes -= size
    if (this.bytes < 0) throw new TalkwireError('MESSAGE_TOO_LARGE', 'a pickle that unfolds to more than limits.message')
    return value
  }
}

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

/** A tuple: Python tells it from a list. */
export class Tuple {
  readonly items: readonly unknown[]
  constructor(...items: readonly unknown[]) {
    this.items = items
  }
}

const LARGE = 256 * 1024
let writer = new Writer()

/** Bytes of the caller's own. Throws TypeError for what is not plain, TOO_DEEP, FORBIDDEN_KEY. */
export function pickle(value: unknown, limits: PickleLimits = {}): Buffer {
  writer.position = 0
  byte(Op.proto)
  byte(4)
  write(value, mostNested(limits))
  byte(Op.stop)
  const bytes = Buffer.from(writer.buffer.subarray(0, writer.position))
  if (writer.buffer.length > LARGE) writer = new Writer()
  return bytes
}

function byte(value: number): void {
  writer.reserve(1)
  writer.buffer[writer.position++] = value
}

function write(value: unknown, depth: number): void {
  if (value === undefined || value === null) byte(Op.none)
  else if (typeof value === 'string') text(value)
  else if (typeof value === 'number') number(value)
  else if (typeof value === 'boolean') byte(value ? Op.newTrue : Op.newFalse)
  else if (typeof value === 'bigint') long(value)
  else if (typeof value === 'object') compound(value, depth)
  else throw new TypeError(`a ${typeof value} is no plain value, and cannot be pickled`)
}

function compound(value: object, depth: number): void {
  if (value instanceof Uint8Array) return bytes(value)
  if (value instanceof Date) return text(value.toISOString())
  if (depth < 1) throw tooDeep(DEPTH)
  if (Array.isArray(value)) {
    byte(Op.emptyList)
    return marked(value, depth, Op.appends)
  }
  if (value instanceof Tuple) {
    byte(Op.mark)
    for (const item of value.items) write(item, depth - 1)
    return byte(Op.tuple)
  }
  if (value instanceof Set) {
    byte(Op.emptySet)
    for (const item of value)
      if (typeof item === 'object' && item !== null) throw new TypeError('a set of Python holds no lists, dicts and sets; send a list')
    return marked(value, depth, Op.addItems)
  }
  if (value instanceof PickledError) return exception(value, depth)
  byte(Op.emptyDict)
  if (value instanceof Map) return marked([...value].flat(), depth, Op.setItems)
  const prototype = Object.getPrototypeOf(value) as unknown
  if (prototype !== Object.prototype && prototype !== null)
    throw new TypeError(
      `a ${value.constructor?.name ?? 'object'} is no plain value, and cannot be pickled; send an object, list, Map or Set`,
    )
  const pairs: unknown[] = []
  for (const [key, item] of Object.entries(value)) {
    if (forbidden(key, item)) throw forbiddenKey(key)
    if (item !== undefined) pairs.push(key, item)
  }
  marked(pairs, depth, Op.setItems)
}

function marked(items: Iterable<unknown>, depth: number, op: number): void {
  byte(Op.mark)
  for (const item of items) write(item, depth - 1)
  byte(op)
}

/** Names of Python's own exceptions only. */
function exception({ type, args }: PickledError, depth: number): void {
  byte(Op.global)
  writer.text(`builtins\n${type}\n`)
  write(new Tuple(...args), depth - 1)
  byte(Op.reduce)
}

function text(value: string): void {
  // The size comes first, and is known last.
  writer.reserve(5 + value.length * 3)
  const start = writer.position
  writer.position += 5
  const size = writer.text(value)
  writer.buffer[start] = Op.binUnicode
  writer.buffer.writeUInt32LE(size, start + 1)
}

function bytes(value: Uint8Array): void {
  byte(Op.binBytes)
  u32(value.length)
  writer.bytes(value)
}

function u32(value: number): void {
  writer.reserve(4)
  writer.position = writer.buffer.writeUInt32LE(value, writer.position)
}

function number(value: number): void {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
    byte(Op.binFloat)
    writer.reserve(8)
    writer.position = writer.buffer.writeDoubleBE(value, writer.position)
  } else if (value === (value | 0)) {
    byte(Op.binInt)
    writer.reserve(4)
    writer.position = writer.buffer.writeInt32LE(value, writer.position)
  } else long(BigInt(value))
}

function long(value: bigint): void {
  const bits = (value < 0n ? -value : value).toString(16).length * 4 + 1
  const size = Math.ceil(bits / 8)
  const hex = BigInt.asUintN(8 * size, value)
    .toString(16)
    .padStart(2 * size, '0')
  if (size < 256) {
    byte(Op.long1)
    byte(size)
  } else {
    byte(Op.long4)
    u32(size)
  }
  writer.bytes(Buffer.from(hex, 'hex').reverse())
}
