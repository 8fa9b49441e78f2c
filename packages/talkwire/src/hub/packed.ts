/**
 * Many messages in one piece of bytes, as they travel between a client and the embedded hub and stand in its log. Each: its length
 * (u32, what follows), flags (u8), the topic's length (u16) and UTF-8, with `HEADERS` their length (u32) and JSON, with `STAMPED` its
 * position and time (two f64), the body. Little-endian. A run of messages of one topic is passed on as it came.
 */
import { TalkwireError } from '../error.js'
import { NO_HEADERS, type BodyType, type Headers } from './driver.js'

export const TYPE_MASK = 3
const HEADERS = 4
export const STAMPED = 8
/** Published: keep it as the last value. Delivered: it is one. */
export const RETAIN = 16
/** A request or a reply: it goes to those who respond, or to the inbox it names. */
export const REQUEST = 32

const TYPES: readonly (BodyType | undefined)[] = [undefined, 'json', 'text', 'bytes']

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
  private bytes: Buffer
  private length = 0
  /** Messages. */
  count = 0

  /** `size`: bytes that are probably needed. */
  constructor(size: number) {
    this.bytes = Buffer.allocUnsafe(Math.max(FIRST, size))
  }

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
  headers !== NO_HEADERS && Object.keys(headers).length > 0 ? Buffer.from(JSON.stringify(headers)) : undefined

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
  setU32(bytes, start, size - 4)
  bytes[start + 4] = (flags & ~(HEADERS | STAMPED)) | (headers ? HEADERS : 0) | (stamp ? STAMPED : 0)
  setU16(bytes, start + 5, name.length)
  // Topics are short: a call costs more.
  for (let index = 0; index < name.length; index++) bytes[start + FIXED + index] = name[index]!
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

// Not Buffer's own: they check what was checked, for each message anew.
const u16 = (bytes: Buffer, at: number): number => bytes[at]! | (bytes[at + 1]! << 8)
const u32 = (bytes: Buffer, at: number): number => (u16(bytes, at) | (u16(bytes, at + 2) << 16)) >>> 0
function setU16(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value
  bytes[at + 1] = value >>> 8
}
function setU32(bytes: Buffer, at: number, value: number): void {
  setU16(bytes, at, value)
  setU16(bytes, at + 2, value >>> 16)
}

/** Where the message that begins at `at` ends. Throws INVALID_INPUT. */
export function endOf(bytes: Buffer, at: number): number {
  if (at + FIXED > bytes.length) throw broken()
  const end = at + 4 + u32(bytes, at)
  if (end > bytes.length || behindTopic(bytes, at) > end) throw broken()
  return end
}

export const flagsAt = (bytes: Buffer, at: number): number => bytes[at + 4]!

const behindTopic = (bytes: Buffer, at: number): number => at + FIXED + u16(bytes, at + 5)

function behindHeaders(bytes: Buffer, at: number, end: number): number {
  const from = behindTopic(bytes, at)
  if (!(flagsAt(bytes, at) & HEADERS)) return from
  if (from + 4 > end) throw broken()
  const to = from + 4 + u32(bytes, from)
  if (to > end) throw broken()
  return to
}

function behindStamp(bytes: Buffer, at: number, end: number): number {
  const from = behindHeaders(bytes, at, end)
  if (!(flagsAt(bytes, at) & STAMPED)) return from
  if (from + STAMP > end) throw broken()
  return from + STAMP
}

/** The topic of the message at `at`, whose end was checked. */
export const topicAt = (bytes: Buffer, at: number): string => bytes.toString('utf8', at + FIXED, behindTopic(bytes, at))

/** Whether two messages have one topic, without making a text of either. */
export function sameTopic(bytes: Buffer, one: number, other: number): boolean {
  const length = u16(bytes, one + 5)
  if (length !== u16(bytes, other + 5)) return false
  for (let index = FIXED; index < FIXED + length; index++) if (bytes[one + index] !== bytes[other + index]) return false
  return true
}

/** The parts of the message from `at` to `end`. All throw INVALID_INPUT. */
export function headersAt(bytes: Buffer, at: number, end: number): Headers {
  if (!(flagsAt(bytes, at) & HEADERS)) return NO_HEADERS
  const to = behindHeaders(bytes, at, end)
  return headersOf(bytes.toString('utf8', behindTopic(bytes, at) + 4, to))
}

/** 0: nothing is kept. */
export const positionAt = (bytes: Buffer, at: number, end: number): number => stampAt(bytes, at, end, 0)
export const timeAt = (bytes: Buffer, at: number, end: number): number => stampAt(bytes, at, end, 8)
/** A view. Not by subarray: Buffer's own takes three times as long. */
export function bodyAt(bytes: Buffer, at: number, end: number): Uint8Array {
  const from = behindStamp(bytes, at, end)
  return new Uint8Array(bytes.buffer, bytes.byteOffset + from, end - from)
}

const stampAt = (bytes: Buffer, at: number, end: number, which: number): number =>
  flagsAt(bytes, at) & STAMPED ? bytes.readDoubleLE(behindStamp(bytes, at, end) - STAMP + which) : 0

/** The message from `at` to `end`. Throws INVALID_INPUT. */
export const readAt = (bytes: Buffer, at: number, end: number): Packed => ({
  flags: flagsAt(bytes, at),
  topic: topicAt(bytes, at),
  headers: headersAt(bytes, at, end),
  position: positionAt(bytes, at, end),
  time: timeAt(bytes, at, end),
  body: bodyAt(bytes, at, end),
})

/** The messages of a piece with one topic and the same flags, that stand behind one another. */
export interface Run {
  readonly topic: string
  readonly flags: number
  readonly start: number
  end: number
  count: number
}

/** `fits`: throws for a message of so many bytes. Throws INVALID_INPUT. */
export function runsOf(bytes: Buffer, fits: (size: number) => void): Run[] {
  const runs: Run[] = []
  let run: Run | undefined
  for (let at = 0, end; at < bytes.length; at = end) {
    end = endOf(bytes, at)
    fits(end - at)
    const flags = flagsAt(bytes, at)
    if (run === undefined || flags !== run.flags || !sameTopic(bytes, run.start, at))
      runs.push((run = { topic: topicAt(bytes, at), flags, start: at, end, count: 1 }))
    else {
      run.end = end
      run.count++
    }
  }
  return runs
}

/** Goes through a piece, message by message. */
export class Unpacking {
  readonly bytes: Buffer
  /** Where the message begins and ends at which it stands, and its topic. */
  at = 0
  end = 0
  topic = ''

  constructor(piece: Uint8Array) {
    this.bytes = viewOf(piece)
  }

  /** False: there are no more. Throws INVALID_INPUT. */
  next(): boolean {
    const { bytes, at: before, end: at } = this
    if (at >= bytes.length) return false
    const end = endOf(bytes, at)
    if (at === 0 || !sameTopic(bytes, before, at)) this.topic = topicAt(bytes, at)
    this.at = at
    this.end = end
    return true
  }
}

/** All messages of a piece. Throws INVALID_INPUT. */
export function unpack(piece: Uint8Array, each: (message: Packed) => void): void {
  const bytes = viewOf(piece)
  for (let at = 0, end; at < bytes.length; at = end) each(readAt(bytes, at, (end = endOf(bytes, at))))
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
