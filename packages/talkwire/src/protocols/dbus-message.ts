/**
 * Messages of D-Bus as bytes, in both directions. Sans I/O. Source: D-Bus Specification, "Message Format".
 *
 *   'l' or 'B' · type · flags · 1 · length of the body · serial · fields, each a number and a variant · zeros up to 8 · body
 */
import type { Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import { isObjectPath, MAX_DESCRIPTORS, MAX_MESSAGE, Reader, Writer, type ValueLimits } from './dbus-values.js'
import { GrowingBytes } from './growing.js'
import { splitSignature } from './dbus-types.js'

export const Type = { call: 1, result: 2, error: 3, signal: 4 } as const
export const Flag = { noReply: 1, noAutoStart: 2 } as const

export interface Fields {
  readonly type: number
  readonly flags?: number
  readonly path?: string
  readonly interface?: string
  readonly member?: string
  readonly errorName?: string
  readonly replySerial?: number
  readonly destination?: string
  readonly sender?: string
  readonly signature?: string
}

/** A message that arrived. Its body is the message's own. */
export interface Message extends Fields {
  readonly flags: number
  readonly serial: number
  readonly signature: string
  /** How many came with it. */
  readonly descriptors: number
  readonly bytes: Buffer
  readonly body: number
  readonly little: boolean
}

const HEAD = 16
/** Most bytes of the header's fields: more than any message needs, and far below the 64 MiB that the specification allows. */
const MAX_FIELDS = 64 * 1024

const FIELDS = {
  path: 1,
  interface: 2,
  member: 3,
  errorName: 4,
  replySerial: 5,
  destination: 6,
  sender: 7,
  signature: 8,
  descriptors: 9,
} as const
const TYPES = ['', 'o', 's', 's', 's', 'u', 's', 's', 'g', 'u'] as const

const bad = (text: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', text)

// ── names ────────────────────────────────────────────────────────────────────────────────────────

const INTERFACE = /^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$/
const BUS_NAME = /^(:[\w-]+(\.[\w-]+)+|[A-Za-z_-][\w-]*(\.[A-Za-z_-][\w-]*)+)$/
const short = (text: string): boolean => text.length <= 255
export const isInterface = (text: string): boolean => short(text) && INTERFACE.test(text)
export const isMember = (text: string): boolean => short(text) && /^[A-Za-z_]\w*$/.test(text)
export const isBusName = (text: string): boolean => short(text) && BUS_NAME.test(text)

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

export interface Written {
  readonly bytes: Buffer
  readonly descriptors: readonly Descriptor[]
}

/** `body` writes values of the signature. Throws what it throws, and MESSAGE_TOO_LARGE. */
export function writeMessage(fields: Fields, serial: number, limits: ValueLimits, body?: (writer: Writer) => void): Written {
  const writer = new Writer(limits)
  const { bytes: head } = writer
  writer.room(HEAD)
  head[0] = 0x6c
  head[1] = fields.type
  head[2] = fields.flags ?? 0
  head[3] = 1
  head.writeUInt32LE(serial, 8)
  writeField(writer, FIELDS.path, fields.path)
  writeField(writer, FIELDS.interface, fields.interface)
  writeField(writer, FIELDS.member, fields.member)
  writeField(writer, FIELDS.errorName, fields.errorName)
  if (fields.replySerial !== undefined) writeNumber(writer, FIELDS.replySerial, fields.replySerial)
  writeField(writer, FIELDS.destination, fields.destination)
  writeField(writer, FIELDS.sender, fields.sender)
  writeField(writer, FIELDS.signature, fields.signature || undefined)
  // How many descriptors there are is known when the body is written: its place is kept, behind all others.
  const place = writer.at
  const write = (): number => {
    writer.bytes.writeUInt32LE(writer.at - HEAD, 12)
    writer.align(8)
    const start = writer.at
    body?.(writer)
    return start
  }
  let start = write()
  if (writer.descriptors.length > 0) {
    writer.at = place
    writeNumber(writer, FIELDS.descriptors, writer.descriptors.length)
    writer.descriptors.length = 0
    start = write()
  }
  writer.bytes.writeUInt32LE(writer.at - start, 4)
  return { bytes: writer.bytes.subarray(0, writer.at), descriptors: writer.descriptors }
}

function begin(writer: Writer, field: number): void {
  writer.align(8)
  writer.byte(field)
  writer.signature(TYPES[field]!)
}

function writeField(writer: Writer, field: number, value: string | undefined): void {
  if (value === undefined) return
  begin(writer, field)
  if (field === FIELDS.signature) writer.signature(value)
  else writer.text(value)
}

function writeNumber(writer: Writer, field: number, value: number): void {
  begin(writer, field)
  writer.uint32(value)
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

/** Cuts what arrives into messages. */
export class MessageReader {
  private readonly head = Buffer.alloc(HEAD)
  private headSize = 0
  private body: GrowingBytes | undefined

  constructor(private readonly limits: ValueLimits) {}

  /** Bytes of a message that is not whole; undefined: none has begun. */
  get partial(): number | undefined {
    return this.body?.size ?? (this.headSize > 0 ? this.headSize : undefined)
  }

  /** Throws INVALID_MESSAGE, MESSAGE_TOO_LARGE; it is of no more use then. */
  *push(chunk: Buffer): Generator<Message> {
    for (let at = 0; at < chunk.length;) {
      if (!this.body && this.headSize === 0 && chunk.length - at >= HEAD) {
        // The usual case: the whole message is here.
        const need = this.lengthOf(chunk, at)
        if (chunk.length - at >= need) {
          const bytes = Buffer.from(chunk.subarray(at, at + need))
          at += need
          yield readMessage(bytes)
          continue
        }
      }
      at += this.body ? this.body.take(chunk, at) : this.readHead(chunk, at)
      const whole = this.body?.whole
      if (!whole) continue
      this.body = undefined
      yield readMessage(whole)
    }
  }

  private lengthOf(bytes: Buffer, at: number): number {
    const little = bytes[at] === 0x6c
    if (!little && bytes[at] !== 0x42) throw bad('a message of D-Bus begins with l or B')
    if (bytes[at + 3] !== 1) throw bad(`version ${bytes[at + 3]} of D-Bus, this is 1`)
    const number = (offset: number): number => (little ? bytes.readUInt32LE(at + offset) : bytes.readUInt32BE(at + offset))
    const fields = number(12)
    if (fields > MAX_FIELDS) throw new TalkwireError('MESSAGE_TOO_LARGE', `a header of ${fields} bytes, the limit is ${MAX_FIELDS}`)
    const need = HEAD + padded(fields) + number(4)
    const most = Math.min(MAX_MESSAGE, this.limits.message ?? MAX_MESSAGE)
    if (need > most) throw new TalkwireError('MESSAGE_TOO_LARGE', `a message of ${need} bytes, the limit is ${most}`)
    return need
  }

  private readHead(chunk: Buffer, at: number): number {
    const count = chunk.copy(this.head, this.headSize, at)
    this.headSize += count
    if (this.headSize < HEAD) return count
    this.headSize = 0
    this.body = new GrowingBytes(this.lengthOf(this.head, 0), this.head)
    return count
  }
}

const padded = (size: number): number => (size + 7) & ~7

/** One whole message. Throws INVALID_MESSAGE. */
export function readMessage(bytes: Buffer): Message {
  const little = bytes[0] === 0x6c
  const reader = new Reader(bytes, little, 0, bytes.length, {})
  reader.at = 4
  const length = reader.uint32()
  const serial = reader.uint32()
  if (serial === 0) throw bad('a serial of D-Bus is not 0')
  const found: Record<string, string | number> = {}
  reader.array(8, () => readField(reader, found))
  reader.align(8)
  if (reader.at + length !== bytes.length) throw bad('a body of D-Bus has another length than its header says')
  const { descriptors = 0, signature = '' } = found as { descriptors?: number; signature?: string }
  if (descriptors > MAX_DESCRIPTORS)
    throw new TalkwireError('LIMIT_EXCEEDED', `${descriptors} descriptors in one message, ${MAX_DESCRIPTORS} are taken`)
  if (length > 0 && signature === '') throw bad('a body of D-Bus without a signature')
  const message = {
    ...(found as Omit<Fields, 'type'>),
    type: bytes[1]!,
    flags: bytes[2]!,
    serial,
    signature,
    descriptors,
    bytes,
    body: reader.at,
    little,
  }
  checkFields(message)
  return message
}

const NAMES = Object.keys(FIELDS)

function readField(reader: Reader, found: Record<string, string | number>): void {
  reader.align(8)
  const field = reader.byte()
  const signature = reader.signature()
  const name = NAMES[field - 1]
  if (name === undefined) {
    if (field === 0) throw bad('the field 0 of a header')
    // Of a later version: to be ignored, as the specification says.
    return skip(reader, signature)
  }
  if (signature !== TYPES[field]) throw bad(`the field ${name} of a header is ${JSON.stringify(signature.slice(0, 20))}`)
  if (Object.hasOwn(found, name)) throw bad(`the field ${name} of a header comes twice`)
  found[name] =
    signature === 'u' ? reader.uint32() : signature === 'o' ? reader.path() : signature === 'g' ? reader.signature() : reader.text()
}

function skip(reader: Reader, signature: string): void {
  if (splitSignature(signature).length !== 1) throw bad('a variant holds one value')
  reader.skip(signature)
}

function checkFields({ type, path, interface: of, member, errorName, replySerial, destination, sender }: Message): void {
  const missing = (what: string): never => {
    throw bad(`a message of type ${type} without ${what}`)
  }
  if (type === Type.call || type === Type.signal) {
    if (path === undefined || !isObjectPath(path)) missing('a path')
    if (member === undefined || !isMember(member)) missing('a member')
  }
  if (type === Type.signal && of === undefined) missing('an interface')
  if (of !== undefined && !isInterface(of)) missing('a fitting interface')
  if (type === Type.error && (errorName === undefined || !isInterface(errorName))) missing('an error name')
  if ((type === Type.result || type === Type.error) && !replySerial) missing('a reply serial')
  for (const name of [destination, sender]) if (name !== undefined && !isBusName(name)) missing('fitting bus names')
}

/** Values of a message's body. `descriptorAt` as for `Reader`. */
export const bodyOf = ({ bytes, body, little }: Message, limits: ValueLimits, descriptorAt?: (index: number) => unknown): Reader =>
  new Reader(bytes, little, body, bytes.length, limits, descriptorAt)

/** Body alignment counts from its own start, which is a multiple of 8 from the message's. Throws INVALID_MESSAGE when something is left. */
export function ended(reader: Reader): void {
  if (reader.at !== reader.end) throw bad('a body of D-Bus is longer than its signature says')
}
