/**
 * Many messages in one piece of bytes, as they travel between a client and the embedded hub and stand in its log. Each: its length
 * (u32, what follows), flags (u8), the topic's length (u16) and UTF-8, with `HEADERS` their length (u32) and JSON, with `STAMPED` its
 * position and time (two f64), the body. Little-endian. A run of messages of one topic is passed on as it came.
 */
import { TalkwireError } from '../error.js'
import type { BodyType, Headers } from './driver.js'

export const TYPE_MASK = 3
const HEADERS = 4
export const STAMPED = 8
/** Published: keep it as the last value. Delivered: it is one. */
export const RETAIN = 16
/** A request or a reply: it goes to those who respond, or to the inbox it names. */
export const REQUEST = 32

const TYPES: readonly (BodyType | undefined)[] = [undefined, 'json', 'text', 'bytes']
const NO_HEADERS: Headers = Object.freeze({})

export const typeNumber = (type: BodyType | undefined): number => (type === undefined ? 0 : TYPES.indexOf(type))
export const typeName = (number: number): BodyType | undefined => TYPES[number & TYPE_MASK]

/** One message, as it stands there. */
export interface Packed {
  readonly flags: number
  readonly topic: string
  readonly headers: Headers
  readonly position: number
  readonly time: number
  /** A view. */
  readonly body: Uint8Array
}

const FIXED = 7
const STAMP = 16

let last = { topic: '', bytes: Buffer.alloc(0) }
/** Messages of one topic come one after another. */
function bytesOf(topic: string): Buffer {
  if (topic !== last.topic) last = { topic, bytes: Buffer.from(topic) }
  return last.bytes
}

/** One message as bytes of its own. */
export function pack(flags: number, topic: string, headers: Headers, body: Uint8Array, stamp?: Stamp): Buffer {
  const text = textOf(headers)
  const bytes = Buffer.allocUnsafe(sizeOf(topic, text, body, stamp))
  write(bytes, 0, bytes.length, flags, topic, text, body, stamp)
  return bytes
}

/** Messages, one behind the other, without bytes of their own for any. */
export class Packing {
  private bytes = Buffer.allocUnsafe(FIRST)
  private length = 0
  /** Messages. */
  count = 0

  /** Copies it. */
  add(flags: number, topic: string, headers: Headers, body: Uint8Array): void {
    const text = textOf(headers)
    const size = sizeOf(topic, text, body)
    if (this.length + size > this.bytes.length) this.grow(this.length + size)
    write(this.bytes, this.length, size, flags, topic, text, body)
    this.length += size
    this.count++
  }

  get bytesLength(): number {
    return this.length
  }

  /** A view of all of them, valid until the next is added. */
  get all(): Buffer {
    return this.bytes.subarray(0, this.length)
  }

  private grow(size: number): void {
    const larger = Buffer.allocUnsafe(Math.max(2 * this.bytes.length, size))
    larger.set(this.all)
    this.bytes = larger
  }
}

const FIRST = 1024

interface Stamp {
  readonly position: number
  readonly time: number
}

const textOf = (headers: Headers): Buffer | undefined =>
  Object.keys(headers).length > 0 ? Buffer.from(JSON.stringify(headers)) : undefined

const sizeOf = (topic: string, headers: Buffer | undefined, body: Uint8Array, stamp?: Stamp): number =>
  FIXED + bytesOf(topic).length + (headers ? 4 + headers.length : 0) + (stamp ? STAMP : 0) + body.length

function write(
  bytes: Buffer,
  start: number,
  size: number,
  flags: number,
  topic: string,
  headers: Buffer | undefined,
  body: Uint8Array,
  stamp?: Stamp,
): void {
  const name = bytesOf(topic)
  bytes.writeUInt32LE(size - 4, start)
  bytes[start + 4] = (flags & ~(HEADERS | STAMPED)) | (headers ? HEADERS : 0) | (stamp ? STAMPED : 0)
  bytes.writeUInt16LE(name.length, start + 5)
  bytes.set(name, start + FIXED)
  let at = start + FIXED + name.length
  if (headers) {
    at = bytes.writeUInt32LE(headers.length, at)
    at += headers.copy(bytes, at)
  }
  if (stamp) at = bytes.writeDoubleLE(stamp.time, bytes.writeDoubleLE(stamp.position, at))
  bytes.set(body, at)
}

/** The same bytes. */
export const viewOf = (bytes: Uint8Array): Buffer =>
  Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Where the message that begins at `at` ends. Throws INVALID_INPUT. */
export function endOf(bytes: Buffer, at: number): number {
  if (at + FIXED > bytes.length) throw broken()
  const end = at + 4 + bytes.readUInt32LE(at)
  if (end > bytes.length || at + FIXED + bytes.readUInt16LE(at + 5) > end) throw broken()
  return end
}

export const flagsAt = (bytes: Buffer, at: number): number => bytes[at + 4]!

/** The topic of the message at `at`, whose end was checked. */
export const topicAt = (bytes: Buffer, at: number): string => bytes.toString('utf8', at + FIXED, at + FIXED + bytes.readUInt16LE(at + 5))

/** Whether two messages have one topic, without making a text of either. */
export function sameTopic(bytes: Buffer, one: number, other: number): boolean {
  const length = bytes.readUInt16LE(one + 5)
  if (length !== bytes.readUInt16LE(other + 5)) return false
  for (let index = FIXED; index < FIXED + length; index++) if (bytes[one + index] !== bytes[other + index]) return false
  return true
}

/** The message from `at` to `end`. Throws INVALID_INPUT. */
export function readAt(bytes: Buffer, at: number, end: number, topic = topicAt(bytes, at)): Packed {
  const flags = flagsAt(bytes, at)
  let from = at + FIXED + bytes.readUInt16LE(at + 5)
  let headers = NO_HEADERS
  if (flags & HEADERS) {
    if (from + 4 > end) throw broken()
    const length = bytes.readUInt32LE(from)
    if (from + 4 + length > end) throw broken()
    headers = headersOf(bytes.toString('utf8', from + 4, from + 4 + length))
    from += 4 + length
  }
  let position = 0
  let time = 0
  if (flags & STAMPED) {
    if (from + STAMP > end) throw broken()
    position = bytes.readDoubleLE(from)
    time = bytes.readDoubleLE(from + 8)
    from += STAMP
  }
  return { flags, topic, headers, position, time, body: bytes.subarray(from, end) }
}

/** The messages of a piece, one after another: who asks for them one at a time keeps none of them alive. */
export class Unpacking {
  private readonly bytes: Buffer
  private at = 0
  private before = -1
  private topic = ''

  constructor(piece: Uint8Array) {
    this.bytes = viewOf(piece)
  }

  /** Undefined: there are no more. Throws INVALID_INPUT. */
  next(): Packed | undefined {
    const { bytes, at, before } = this
    if (at >= bytes.length) return undefined
    const end = endOf(bytes, at)
    if (before < 0 || !sameTopic(bytes, before, at)) this.topic = topicAt(bytes, at)
    this.before = at
    this.at = end
    return readAt(bytes, at, end, this.topic)
  }
}

/** All messages of a piece. Throws INVALID_INPUT. */
export function unpack(piece: Uint8Array, each: (message: Packed) => void): void {
  const messages = new Unpacking(piece)
  for (let message = messages.next(); message; message = messages.next()) each(message)
}

function headersOf(text: string): Headers {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && Object.values(value).every((each) => typeof each === 'string'))
      return value as Headers
  } catch {
    // Said below.
  }
  throw broken()
}

const broken = (): TalkwireError => new TalkwireError('INVALID_INPUT', 'these bytes are no messages of a hub')
