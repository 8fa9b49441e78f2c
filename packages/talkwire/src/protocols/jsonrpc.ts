/** JSON-RPC 2.0 (jsonrpc.org/specification) and its MessagePack form: bytes to messages and back. */
import { DEPTH, tooMany, VALUES, type CodecContext, type References } from '../codecs/codec.js'
import { ENVELOPE, open } from '../codecs/envelope.js'
import * as json from '../codecs/json.js'
import * as msgpack from '../codecs/msgpack.js'
import type { Writer } from '../codecs/writer.js'
import { TalkwireError } from '../error.js'
import type { ByteConnection } from '../transports/transport.js'
import { isParams, Kind, readMeta, toWireError, type Id, type Meta, type Receiver, type Wire } from './message.js'

export interface JsonRpcOptions {
  readonly depth?: number
  /** Most entries of a batch. */
  readonly batch?: number
  /** Most values in a message. */
  readonly values?: number
}

const HEAD = '{"jsonrpc":"2.0"'
/** Bytes from which a message is not kept in a reader that has read it. */
const LARGE = 64 * 1024
/** How a message usually begins, so that one which is not parsed fails its call and not the connection. */
const HEAD_OF_ONE = /^\{"jsonrpc":"2\.0","id":(\d{1,15}),"(method|result|error)"/
/** Notifications that are messages of their own, by kind. */
const methodOf: Partial<Record<Kind, string>> = {
  [Kind.item]: '$/item',
  [Kind.input]: '$/input',
  [Kind.end]: '$/end',
  [Kind.credit]: '$/credit',
  [Kind.inputCredit]: '$/inputCredit',
  [Kind.cancel]: '$/cancelRequest',
  [Kind.progress]: '$/progress',
}
/** The depth at which an error begins, so that its details, in `data`, begin at 1: values are counted without what is around them. */
const ERROR = -1
const kindOf = new Map(Object.entries(methodOf).map(([kind, method]) => [method, Number(kind) as Kind]))
/** The same for params: around an element of a stream there are those of its notification. */
const depthOf = (method: string): number => (method === methodOf[Kind.end] ? ERROR - 1 : kindOf.has(method) ? 0 : 1)
/** Length of a MessagePack message by kind: least, most. */
const LENGTHS: readonly (readonly [number, number])[] = [
  [4, 5],
  [3, 4],
  [2, 3],
  [3, 3],
  [3, 3],
  [2, 3],
  [3, 3],
  [3, 3],
  [2, 2],
  [3, 3],
]

/** Responses to a batch, until all of them are there. */
interface Batch {
  open: number
  readonly texts: string[]
}

const quoted = new Map<string, string>()
/** A method's name as JSON text; services have few. */
function quote(method: string): string {
  let text = quoted.get(method)
  if (text === undefined) {
    text = JSON.stringify(method)
    if (quoted.size < 1000) quoted.set(method, text)
  }
  return text
}

export class JsonRpc implements Wire {
  sent = 0
  readonly codecs = ['msgpack', 'json'] as const
  private packed = false
  private readonly context: CodecContext
  private readonly maxBatch: number
  private batches: Map<Id, Batch> | undefined

  constructor(
    private readonly connection: ByteConnection,
    private readonly receiver: Receiver,
    options: JsonRpcOptions = {},
  ) {
    this.context = {
      depth: options.depth ?? DEPTH,
      values: options.values ?? VALUES,
      extended: false,
      binary: false,
      references: undefined,
    }
    this.maxBatch = options.batch ?? 100
  }

  get extended(): boolean {
    return this.context.extended
  }

  get credits(): boolean {
    return this.context.extended
  }

  get binary(): boolean {
    return this.connection.binary
  }

  extend(codec: string, binary: boolean, references: References): void {
    this.context.extended = true
    this.context.binary = binary
    this.context.references = references
    this.packed = codec === 'msgpack'
  }

  limitSend(bytes: number): void {
    this.connection.limitSend(bytes)
  }

  // ── sending ────────────────────────────────────────────────────────────────────────────────────

  send(kind: Kind, id: Id, method: string, value: unknown, meta?: Meta): boolean {
    if (this.batches !== undefined && (kind === Kind.result || kind === Kind.error)) {
      const batch = this.batches.get(id)
      if (batch) return this.sendInBatch(batch, kind, id, value)
    }
    const { connection } = this
    const writer = connection.begin()
    try {
      if (this.packed) this.pack(writer, kind, id, method, value, meta)
      else writer.text(this.print(writer, kind, id, method, value, meta))
    } catch (reason) {
      connection.rollback()
      throw reason
    }
    const more = connection.commit()
    this.sent = connection.committed
    return more
  }

  private print(writer: Writer, kind: Kind, id: Id, method: string, value: unknown, meta: Meta | undefined): string {
    switch (kind) {
      case Kind.call:
        return `${HEAD},"id":${id as number},"method":${quote(method)}${this.params(writer, value)}${meta ? `,"meta":${JSON.stringify(meta)}` : ''}}`
      case Kind.notify:
        return `${HEAD},"method":${quote(method)}${this.params(writer, value)}}`
      case Kind.result:
        return `${HEAD},"id":${printId(id)},"result":${json.stringify(writer, value, this.context)}}`
      case Kind.error:
        return `${HEAD},"id":${printId(id)},"error":${json.stringify(writer, value, this.context, ERROR)}}`
      default:
        return `${HEAD},"method":"${methodOf[kind]}","params":{${this.members(writer, kind, id, value)}}}`
    }
  }

  private members(writer: Writer, kind: Kind, id: Id, value: unknown): string {
    if (kind === Kind.progress) return `"token":${printId(id)},"value":${json.stringify(writer, value, this.context)}`
    if (kind === Kind.cancel) return `"id":${printId(id)}`
    if (kind === Kind.end)
      return value === undefined
        ? `"id":${printId(id)}`
        : `"id":${printId(id)},"error":${json.stringify(writer, value, this.context, ERROR)}`
    if (kind === Kind.credit || kind === Kind.inputCredit) return `"id":${printId(id)},"bytes":${value as number}`
    return `"id":${printId(id)},"value":${json.stringify(writer, value, this.context)}`
  }

  private params(writer: Writer, value: unknown): string {
    return value === undefined ? '' : `,"params":${json.stringify(writer, value, this.context)}`
  }

  private pack(writer: Writer, kind: Kind, id: Id, method: string, value: unknown, meta: Meta | undefined): void {
    const { context } = this
    writer.reserve(2)
    switch (kind) {
      case Kind.call:
        writer.buffer[writer.position++] = meta ? 0x95 : 0x94
        writer.buffer[writer.position++] = kind
        msgpack.writeNumber(writer, id as number)
        msgpack.writeString(writer, method)
        if (value === undefined) msgpack.writeArrayHead(writer, 0)
        else msgpack.writeValue(writer, value, context, 1)
        if (meta) msgpack.writeValue(writer, meta, context, 1)
        return
      case Kind.result:
        writer.buffer[writer.position++] = 0x94
        writer.buffer[writer.position++] = kind
        msgpack.writeValue(writer, id, context, 1)
        writer.reserve(1)
        writer.buffer[writer.position++] = 0xc0
        msgpack.writeValue(writer, value, context, 1)
        return
      case Kind.error:
        writer.buffer[writer.position++] = 0x93
        writer.buffer[writer.position++] = Kind.result
        msgpack.writeValue(writer, id, context, 1)
        msgpack.writeValue(writer, value, context, ERROR)
        return
      case Kind.notify:
        writer.buffer[writer.position++] = value === undefined ? 0x92 : 0x93
        writer.buffer[writer.position++] = kind
        msgpack.writeString(writer, method)
        if (value !== undefined) msgpack.writeValue(writer, value, context, 1)
        return
      default: {
        const short = kind === Kind.cancel || (kind === Kind.end && value === undefined)
        writer.buffer[writer.position++] = short ? 0x92 : 0x93
        writer.buffer[writer.position++] = kind
        msgpack.writeValue(writer, id, context, 1)
        if (!short) msgpack.writeValue(writer, value, context, kind === Kind.end ? ERROR : 1)
      }
    }
  }

  // ── receiving ──────────────────────────────────────────────────────────────────────────────────

  /** One payload. Calls the receiver; what the receiver throws passes through. */
  read(bytes: Buffer, start: number, end: number, owned: boolean): void {
    const first = bytes[start]!
    if (start < end && isPacked(first)) return this.readPacked(bytes, start, end, none, end - start)
    if (start < end && first === ENVELOPE) return this.readEnvelope(bytes, start, end, owned)
    this.readText(bytes, start, end, none, end - start)
  }

  readValue(): void {
    throw new TypeError('this wire carries bytes')
  }

  private readEnvelope(bytes: Buffer, start: number, end: number, owned: boolean): void {
    let opened
    try {
      if (!this.context.binary) throw new TalkwireError('INVALID_MESSAGE', 'attachments before rpc.hello agreed on them')
      opened = open(bytes, start, end, owned)
    } catch (reason) {
      return this.receiver.misunderstood(TalkwireError.from(reason), null)
    }
    const { headStart, headEnd, attachments } = opened
    const first = bytes[headStart]!
    if (headStart < headEnd && isPacked(first)) this.readPacked(bytes, headStart, headEnd, attachments, end - start)
    else this.readText(bytes, headStart, headEnd, attachments, end - start)
  }

  private readPacked(bytes: Buffer, start: number, end: number, attachments: readonly Uint8Array[], size: number): void {
    let kind: Kind = Kind.notify
    let id: Id = null
    let method = ''
    let value: unknown
    let meta: Meta | undefined
    try {
      if (!this.context.extended) throw new TalkwireError('INVALID_MESSAGE', 'MessagePack before rpc.hello agreed on it')
      msgpack.start(bytes, start, end, attachments, this.context)
      const length = msgpack.readArrayHead()
      const tag = msgpack.readId()
      const range = typeof tag === 'number' ? LENGTHS[tag] : undefined
      if (range === undefined || length < range[0] || length > range[1])
        throw new TalkwireError('INVALID_MESSAGE', `no message begins with ${String(tag)} and has ${length} elements`)
      kind = tag as Kind
      if (kind !== Kind.notify) id = msgpack.readId()
      if (kind === Kind.call || kind === Kind.notify) method = msgpack.readNameValue()
      if (kind === Kind.result) {
        const error = msgpack.readValue(ERROR)
        if (length === 3 || error !== null) {
          kind = Kind.error
          value = error
          if (length === 4) msgpack.readValue(1)
        } else value = msgpack.readValue(1)
      } else if (length > 2 && !(kind === Kind.notify && length === 2)) value = msgpack.readValue(kind === Kind.end ? ERROR : 1)
      if (kind === Kind.call && length === 5) meta = readMeta(msgpack.readValue(1))
      msgpack.finish()
      if ((kind === Kind.call || kind === Kind.notify) && !isParams(value))
        throw new TalkwireError('INVALID_REQUEST', 'params is an array or an object')
    } catch (reason) {
      return this.receiver.misunderstood(
        TalkwireError.from(reason, 'INVALID_MESSAGE'),
        kind === Kind.call || isResponse(kind) ? id : null,
        isResponse(kind),
      )
    } finally {
      if (size > LARGE) msgpack.forget()
    }
    this.receiver.receive(kind, id, method, value, meta, size)
  }

  private readText(bytes: Buffer, start: number, end: number, attachments: readonly Uint8Array[], size: number): void {
    if (hasMore(bytes, start, end, this.maxBatch))
      return this.receiver.misunderstood(new TalkwireError('LIMIT_EXCEEDED', `a batch of more than ${this.maxBatch}; send several`), null)
    if (json.hasMoreValues(bytes, start, end, this.context.values!)) {
      const head = HEAD_OF_ONE.exec(bytes.toString('latin1', start, Math.min(end, start + 64)))
      const error = tooMany(this.context.values!)
      return this.receiver.misunderstood(error, head ? Number(head[1]) : null, head !== null && head[2] !== 'method')
    }
    let parsed: unknown
    try {
      parsed = json.parse(bytes, start, end)
    } catch (reason) {
      return this.receiver.misunderstood(TalkwireError.from(reason), null)
    }
    if (Array.isArray(parsed)) this.readBatch(parsed, size)
    else this.readOne(parsed, attachments, size)
  }

  private readBatch(entries: unknown[], size: number): void {
    if (entries.length === 0)
      return this.receiver.misunderstood(new TalkwireError('INVALID_REQUEST', 'an empty batch; send at least one request'), null)
    const batch: Batch = { open: 0, texts: [] }
    const calls: unknown[] = []
    for (const entry of entries) {
      const id = requestId(entry)
      if (id === undefined || this.batches?.has(id)) continue
      this.batches ??= new Map()
      this.batches.set(id, batch)
      batch.open++
      calls.push(entry)
    }
    // A response must not complete the batch while entries are still to come.
    batch.open++
    for (const entry of entries) {
      if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
        batch.texts.push(this.errorText(new TalkwireError('INVALID_REQUEST', 'a batch entry is an object')))
      else this.readOne(entry, none, Math.ceil(size / entries.length), batch)
    }
    this.closeEntry(batch)
  }

  private sendInBatch(batch: Batch, kind: Kind, id: Id, value: unknown): boolean {
    const unused = { attachments: [] } as unknown as Writer
    const text = this.print(unused, kind, id, '', value, undefined)
    if (unused.attachments.length > 0)
      throw new TalkwireError('UNSUPPORTED', 'typed arrays do not fit into the answer to a batch; call one by one')
    this.batches!.delete(id)
    batch.texts.push(text)
    return this.closeEntry(batch)
  }

  private closeEntry(batch: Batch): boolean {
    if (--batch.open > 0 || batch.texts.length === 0) return true
    if (this.batches?.size === 0) this.batches = undefined
    try {
      return this.sendText(`[${batch.texts.join(',')}]`)
    } catch (reason) {
      if (batch.texts.length === 1 || !(reason instanceof TalkwireError) || reason.code !== 'MESSAGE_TOO_LARGE') throw reason
      // Too large together: each still gets its answer.
      return batch.texts.map((text) => this.sendText(text)).every(Boolean)
    }
  }

  private sendText(text: string): boolean {
    this.connection.begin().text(text)
    return this.connection.commit()
  }

  private errorText(error: TalkwireError): string {
    return `${HEAD},"id":null,"error":${JSON.stringify(toWireError(error))}}`
  }

  private readOne(parsed: unknown, attachments: readonly Uint8Array[], size: number, batch?: Batch): void {
    let kind: Kind = Kind.notify
    let id: Id = null
    let method = ''
    let value: unknown
    let meta: Meta | undefined
    try {
      if (typeof parsed !== 'object' || parsed === null) throw new TalkwireError('INVALID_REQUEST', 'a message is an object')
      const message = parsed as Record<string, unknown>
      if (Object.hasOwn(message, 'id')) id = validId(message['id'])
      if (message['jsonrpc'] !== '2.0') throw new TalkwireError('INVALID_REQUEST', 'the member "jsonrpc" is not "2.0"')
      const beside = { all: attachments, taken: 0 }
      if (typeof message['method'] === 'string') {
        method = message['method']
        value = json.revive(message['params'], depthOf(method), beside, this.context)
        if (!isParams(value)) throw new TalkwireError('INVALID_REQUEST', 'params is an array or an object')
        if (Object.hasOwn(message, 'id')) {
          kind = Kind.call
          if (message['meta'] !== undefined) meta = readMeta(message['meta'])
        } else {
          kind = kindOf.get(method) ?? Kind.notify
          if (kind !== Kind.notify) ({ id, value } = readMembers(kind, value))
        }
      } else if (Object.hasOwn(message, 'result')) {
        kind = Kind.result
        value = json.revive(message['result'], 1, beside, this.context)
      } else if (Object.hasOwn(message, 'error')) {
        kind = Kind.error
        value = json.revive(message['error'], ERROR, beside, this.context)
      } else
        throw new TalkwireError(
          'INVALID_REQUEST',
          'neither a request nor a response; a request has a "method", a response an "id" with "result" or "error"',
        )
      if (beside.taken !== attachments.length) throw new TalkwireError('INVALID_MESSAGE', 'an attachment that nothing refers to')
    } catch (reason) {
      const error = TalkwireError.from(reason, 'INVALID_MESSAGE')
      if (batch && !this.batches?.has(id)) return void batch.texts.push(this.errorText(error))
      return this.receiver.misunderstood(error, id, isResponse(kind))
    }
    this.receiver.receive(kind, id, method, value, meta, size)
  }
}

/** Whether a text is an array of more than `most` elements. Counted before it is parsed: parsing a million objects costs 200 MB and a second. */
function hasMore(bytes: Buffer, start: number, end: number, most: number): boolean {
  let at = start
  while (at < end && bytes[at]! <= 0x20) at++
  if (bytes[at] !== 0x5b) return false
  let depth = 0
  let commas = 0
  for (; at < end; at++) {
    switch (bytes[at]) {
      case 0x22: // A string: to its end, past what is escaped.
        for (at++; at < end && bytes[at] !== 0x22; at++) if (bytes[at] === 0x5c) at++
        break
      case 0x5b:
      case 0x7b:
        depth++
        break
      case 0x5d:
      case 0x7d:
        depth--
        break
      case 0x2c:
        if (depth === 1 && ++commas >= most) return true
    }
  }
  return false
}

const none: readonly Uint8Array[] = []
/** MessagePack arrays: of up to 15 elements, or with a count of 16 bits. */
const isPacked = (first: number): boolean => (first >= 0x90 && first <= 0x9f) || first === 0xdc
const isResponse = (kind: Kind): boolean => kind === Kind.result || kind === Kind.error
const printId = (id: Id): string => (typeof id === 'string' ? JSON.stringify(id) : String(id))

function validId(id: unknown): Id {
  if (typeof id === 'number' || id === null || (typeof id === 'string' && id.length <= 256)) return id
  throw new TalkwireError('INVALID_REQUEST', 'an id is a number, a string of at most 256 characters, or null')
}

/** The id under which a batch entry will be answered. */
function requestId(entry: unknown): Id | undefined {
  if (typeof entry !== 'object' || entry === null) return undefined
  const { id, method } = entry as { id?: unknown; method?: unknown }
  return typeof method === 'string' && (typeof id === 'number' || typeof id === 'string') ? id : undefined
}

function readMembers(kind: Kind, params: unknown): { id: Id; value: unknown } {
  const members = (params ?? {}) as Record<string, unknown>
  const id = validId(kind === Kind.progress ? members['token'] : members['id'])
  if (kind === Kind.credit || kind === Kind.inputCredit) return { id, value: members['bytes'] }
  return { id, value: kind === Kind.end ? members['error'] : members['value'] }
}
