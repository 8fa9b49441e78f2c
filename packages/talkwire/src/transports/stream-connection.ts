/**
 * The one connection over any ordered byte stream: sockets, pipes, stdio, TLS. Framing, corking,
 * backpressure and the rules of ending live here, so that a transport is only its address and its open.
 */
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { newChunk } from '../codecs/chunk.js'
import { seal, takeAttachments } from '../codecs/envelope.js'
import { Writer } from '../codecs/writer.js'
import { TalkwireError } from '../error.js'
import { duplicate } from '../kernel/descriptors.js'
import { FrameReader, LENGTH_HEADER, type Framing } from './framing.js'
import { connectionClosed, tooLargeToSend } from './refusals.js'
import { MAX_MESSAGE, type ByteConnection, type Peer, type Sink } from './transport.js'

/**
 * A turn's messages leave in one write, but not later than this many bytes or messages. When all of 256 answers
 * left at the end of the turn, each side would work while the other waits; in parts, both work.
 */
const FLUSH_AT = 64 * 1024
const FLUSH_MESSAGES = 64
/** Smaller attachments are copied beside their message: a second buffer in a write costs more. */
const COPY_BELOW = 16 * 1024
/** Messages of one connection, and milliseconds, before other work gets a turn. Looked at every LOOK_EVERY messages. */
const MESSAGES_A_TURN = 4096
const MILLISECONDS_A_TURN = 20
const LOOK_EVERY = 128

/** Idle connections hold no slab: one is borrowed for the time between the first message of a turn and its write. */
const slabs: Writer[] = []
/** How many of them wait. push() and pop() would make and drop the array's memory at each turn. */
let idleSlabs = 0
const MAX_IDLE_SLABS = 16
const MAX_IDLE_SLAB = 256 * 1024

/** All sockets read into this one buffer: libuv fills it and calls back before anyone else can. */
const shared = Buffer.allocUnsafeSlow(256 * 1024)

const NOTHING = Buffer.alloc(0)

export interface StreamOptions {
  readonly maxMessage?: number | undefined
  /** Given by the side that connects; the accepting side recognises it. */
  readonly framing?: Framing
  /** Called when the connection ends, to put facts into the cause, such as a child's exit code. */
  readonly explain?: (cause: TalkwireError | undefined) => TalkwireError | undefined
}

export class StreamConnection implements ByteConnection {
  readonly kind = 'bytes'
  private sink!: Sink
  private state: 'open' | 'closing' | 'closed' = 'open'
  private cause: TalkwireError | undefined
  private writer: Writer | undefined
  private start = 0
  private scheduled = false
  private refused = false
  private handled = 0
  private since = 0
  private yielding = false
  private wantsPause = false
  private readonly reader: FrameReader
  private maxSend: number
  /** A socket of the kernel's, nothing in between. */
  private readonly isSocket: boolean
  unsent = 0
  committed = 0

  constructor(
    readonly stream: Duplex,
    private who: Peer | (() => Peer),
    private readonly options: StreamOptions = {},
  ) {
    this.maxSend = options.maxMessage ?? MAX_MESSAGE
    // `encrypted` is what tells TLS: node:tls itself would be loaded by every wire.
    this.isSocket = stream instanceof net.Socket && !('encrypted' in stream)
    this.reader = new FrameReader(this.maxSend, this.onMessage, options.framing)
  }

  /** Asked for at the first look where it was given as a question. */
  get peer(): Peer {
    if (typeof this.who === 'function') this.who = this.who()
    return this.who
  }

  get binary(): boolean {
    return this.reader.framing !== 'line'
  }

  get buffered(): number {
    return this.stream.writableLength - taken(this.stream) + (this.writer?.position ?? 0)
  }

  /** Starts delivery. Call once, with the sink in place, in the turn in which the connection came to be. */
  attach(sink: Sink): this {
    this.sink = sink
    const stream: Attached = this.stream
    stream.on('drain', onDrain)
    stream.on('end', onEnd)
    stream.on('error', onError)
    stream.on('close', onClose)
    const direct = CONNECTION in stream
    stream[CONNECTION] = this
    if (direct) {
      stream.resume()
      stream.read(0)
    } else stream.on('data', onData)
    return this
  }

  begin(): Writer {
    if (this.state !== 'open') throw this.closedError()
    const writer = (this.writer ??= idleSlabs > 0 ? slabs[--idleSlabs]! : new Writer())
    this.start = writer.position
    // Who accepted and speaks first cannot know what the other side will begin with.
    if ((this.reader.framing ??= 'length') === 'length') {
      writer.reserve(LENGTH_HEADER)
      writer.position += LENGTH_HEADER
    }
    return writer
  }

  rollback(): void {
    const writer = this.writer!
    writer.position = this.start
    if (writer.attachments.length > 0) writer.attachments = []
    if (this.start === 0) this.returnSlab()
  }

  commit(): boolean {
    const writer = this.writer!
    const { framing } = this.reader
    const head = framing === 'length' ? LENGTH_HEADER : 0
    const length = seal(writer, this.start + head)
    if (length > this.maxSend) {
      this.rollback()
      throw tooLargeToSend(length, this.maxSend)
    }
    if (framing === 'length') {
      const { buffer } = writer
      buffer[this.start] = length >>> 24
      buffer[this.start + 1] = length >>> 16
      buffer[this.start + 2] = length >>> 8
      buffer[this.start + 3] = length
    } else if (framing === 'header') insert(writer, this.start, `Content-Length: ${length}\r\n\r\n`)
    else writer.text('\n')
    this.unsent++
    this.committed = length
    if (writer.attachments.length > 0) this.commitAttachments(writer, this.start + head, length)
    else if (writer.position >= FLUSH_AT || (this.unsent >= FLUSH_MESSAGES && !this.stream.writableNeedDrain)) this.flush()
    else if (!this.scheduled) this.schedule()
    if (this.stream.writableNeedDrain) this.refused = true
    return !this.refused
  }

  limitSend(bytes: number): void {
    this.maxSend = Math.min(this.maxSend, bytes)
  }

  pause(): void {
    this.wantsPause = true
    this.reader.paused = true
    this.stream.pause()
  }

  resume(): void {
    this.wantsPause = false
    if (!this.yielding) this.carryOn()
  }

  async close(): Promise<void> {
    if (this.state === 'open') this.end()
    if (this.stream.closed) return
    // 'close' waits for the peer's end, and that waits behind what we have not read.
    this.resume()
    await new Promise<void>((resolve) => this.stream.once('close', resolve))
  }

  abort(cause: TalkwireError): void {
    if (this.state === 'closed') return
    this.cause ??= cause
    this.state = 'closed'
    this.reader.stopped = true
    this.stream.destroy()
  }

  /** A write of nothing fails on a socket whose peer is gone, and does nothing on one whose peer has only ended its half. */
  probe(): void {
    if (this.isSocket && this.state === 'open' && !this.stream.writableNeedDrain) this.stream.write(NOTHING)
  }

  detach(): number | undefined {
    const fd = (this.stream as unknown as { _handle?: { fd?: unknown } | null })._handle?.fd
    const own = this.isSocket && typeof fd === 'number' ? duplicate(fd) : undefined
    // Closing says nothing to the peer as long as another descriptor is open; ending would.
    if (own !== undefined) this.abort(new TalkwireError('CONNECTION_CLOSED', 'this connection has become a channel'))
    return own
  }

  ref(): void {
    ;(this.stream as Partial<net.Socket>).ref?.()
  }

  unref(): void {
    ;(this.stream as Partial<net.Socket>).unref?.()
  }

  /** For `onread`: where the socket reads next. */
  readTarget(): Buffer {
    return this.reader.window() ?? shared
  }

  /** For `onread`: `count` bytes arrived at the start of `buffer`. False stops reading. */
  read(buffer: Buffer, count: number): boolean {
    try {
      if (buffer === shared) {
        newChunk(count)
        this.reader.push(buffer, 0, count)
      } else this.reader.filled(count)
    } catch (reason) {
      this.broken(reason)
    }
    return this.state !== 'closed' && !this.reader.paused
  }

  /** For 'data'. */
  push(chunk: Buffer): void {
    try {
      this.reader.push(chunk)
    } catch (reason) {
      this.broken(reason)
    }
  }

  private readonly onMessage = (bytes: Buffer, start: number, end: number, owned: boolean): void => {
    if (++this.handled === 1) setImmediate(resetHandled, this)
    else if (this.handled % LOOK_EVERY === 0) this.lookAtClock()
    this.sink.message(bytes, start, end, owned)
  }

  private lookAtClock(): void {
    const now = performance.now()
    if (this.handled === LOOK_EVERY) this.since = now
    if (this.handled >= MESSAGES_A_TURN || now - this.since > MILLISECONDS_A_TURN) this.yieldTurn()
  }

  /** A chunk of tiny messages must not keep timers and other connections waiting. */
  private yieldTurn(): void {
    this.yielding = true
    this.reader.paused = true
    this.stream.pause()
  }

  /** For the setImmediate of `onMessage`. */
  turnEnded(): void {
    this.handled = 0
    if (!this.yielding) return
    this.yielding = false
    if (!this.wantsPause) this.carryOn()
  }

  private carryOn(): void {
    try {
      this.reader.resume()
    } catch (reason) {
      this.broken(reason)
    }
    if (!this.reader.paused) this.stream.resume()
  }

  /** For 'drain'. */
  drained(): void {
    if (this.writer) this.flush()
    if (!this.refused || this.stream.writableNeedDrain) return
    this.refused = false
    this.sink.drained()
  }

  /** For 'end'. */
  ended(): void {
    this.reader.finish()
    if (this.reader.midMessage && !this.reader.paused) this.fail(new TalkwireError('CONNECTION_LOST', 'the stream ended inside a message'))
    else if (this.state === 'open') {
      if (this.sink.ended) this.sink.ended()
      else this.end()
    }
  }

  /** For 'close'. */
  closed(): void {
    this.state = 'closed'
    this.reader.stopped = true
    this.returnSlab()
    this.sink.closed(this.options.explain ? this.options.explain(this.cause) : this.cause)
  }

  /** Only what the reader or the sink throws: the former is the peer's doing. */
  private broken(reason: unknown): void {
    this.reader.stopped = true
    if (this.state !== 'open' || !this.sink.broken || !(reason instanceof TalkwireError)) return this.fail(reason)
    this.sink.broken(reason)
  }

  /** For 'error', too. */
  fail(reason: unknown): void {
    // Not an override's: that one is told what somebody wants, and this just happened.
    StreamConnection.prototype.abort.call(this, TalkwireError.from(reason, 'CONNECTION_LOST'))
  }

  private end(): void {
    this.flush()
    this.state = 'closing'
    this.stream.end()
  }

  private closedError(): TalkwireError {
    return this.cause ?? connectionClosed()
  }

  private schedule(): void {
    this.scheduled = true
    process.nextTick(flushLater, this)
  }

  /** For `schedule`. */
  flushScheduled(): void {
    this.scheduled = false
    // While the socket is full, messages gather here; 'drain' takes them in one write.
    if (this.writer && this.state === 'open' && !this.stream.writableNeedDrain) this.flush()
  }

  private flush(): void {
    const { writer } = this
    if (!writer || writer.position === 0) return
    this.unsent = 0
    this.stream.write(writer.buffer.subarray(0, writer.position))
    this.release(writer)
  }

  private commitAttachments(writer: Writer, payloadStart: number, length: number): void {
    const behind = takeAttachments(writer, payloadStart)
    if (payloadStart + length - writer.position <= COPY_BELOW) {
      for (const part of behind) writer.bytes(part)
      if (writer.position >= FLUSH_AT) this.flush()
      else if (!this.scheduled) this.schedule()
      return
    }
    const { stream } = this
    this.unsent = 0
    stream.cork()
    stream.write(writer.buffer.subarray(0, writer.position))
    for (const part of behind) stream.write(part)
    stream.uncork()
    this.release(writer)
  }

  /** After a write: the slab is free again if the socket took all of it, else it goes with the write. */
  private release(writer: Writer): void {
    // A socket is done with the bytes once its length is back at 0; another stream may keep them.
    if (this.isSocket && this.stream.writableLength === 0) return this.returnSlab()
    writer.position = 0
    writer.replace(Buffer.allocUnsafeSlow(writer.initialSize))
    this.returnSlab()
  }

  private returnSlab(): void {
    const { writer } = this
    if (!writer) return
    this.writer = undefined
    writer.position = 0
    writer.attachments.length = 0
    if (idleSlabs < MAX_IDLE_SLABS && writer.buffer.length <= MAX_IDLE_SLAB) slabs[idleSlabs++] = writer
  }
}

/** Bytes of the write in flight that the kernel has already; 0 where Node does not tell. */
function taken(stream: Duplex): number {
  const { _handle, _writableState: state } = stream as unknown as {
    _handle?: { writeQueueSize?: number } | null
    _writableState?: { writing?: boolean; writelen?: number }
  }
  const waiting = _handle?.writeQueueSize
  if (!state?.writing || waiting === undefined) return 0
  return Math.max(0, (state.writelen ?? 0) - waiting)
}

const flushLater = (connection: StreamConnection): void => connection.flushScheduled()
const resetHandled = (connection: StreamConnection): void => connection.turnEnded()

function insert(writer: Writer, at: number, text: string): void {
  writer.reserve(text.length)
  writer.buffer.copyWithin(at + text.length, at, writer.position)
  writer.buffer.write(text, at, 'latin1')
  writer.position += text.length
}

/**
 * Where a stream keeps its connection, so that all streams have the same listeners: of its own, an idle
 * connection would need 400 bytes for them. The property is there from the beginning where `onread` is used.
 */
const CONNECTION = Symbol('connection')
interface Attached extends Duplex {
  [CONNECTION]?: StreamConnection | undefined
}

function onData(this: Attached, chunk: Buffer): void {
  this[CONNECTION]!.push(chunk)
}
function onDrain(this: Attached): void {
  this[CONNECTION]!.drained()
}
function onEnd(this: Attached): void {
  this[CONNECTION]!.ended()
}
function onError(this: Attached, reason: unknown): void {
  this[CONNECTION]!.fail(reason)
}
function onClose(this: Attached): void {
  this[CONNECTION]!.closed()
}

/** A socket with Node's `onread`: bytes arrive without a buffer of their own and without Readable's queue in between. */
function withReader(make: (onread: net.OnReadOpts) => net.Socket): net.Socket {
  // Node asks for the first buffer while the socket is being made.
  let socket: (net.Socket & Attached) | undefined
  socket = make({
    buffer: () => socket?.[CONNECTION]?.readTarget() ?? shared,
    callback: (count, buffer) => socket?.[CONNECTION]?.read(buffer as Buffer, count) ?? false,
  })
  socket[CONNECTION] = undefined
  return socket
}

/** A connecting socket whose bytes go straight to its StreamConnection. Attach in its 'connect' event, before it reads. */
export function dial(options: net.NetConnectOpts): net.Socket {
  return withReader((onread) => net.connect({ ...options, allowHalfOpen: true, onread } as net.NetConnectOpts))
}

/**
 * Gives a socket that has not been read from (accepted with `pauseOnConnect`, or a child's pipe) the reader
 * that Node offers only to sockets that connect. Where the private handle is not as expected, the
 * socket itself is returned and delivers by 'data' events.
 */
export function adopt(socket: net.Socket): net.Socket {
  const handle = (socket as unknown as { _handle: unknown })._handle
  if (typeof (handle as { useUserBuffer?: unknown } | null)?.useUserBuffer !== 'function') return socket
  ;(socket as unknown as { _handle: unknown })._handle = null
  return withReader(
    // Node would read at once; what came before `attach` would have nobody to go to.
    (onread) => new net.Socket({ handle, allowHalfOpen: true, manualStart: true, onread } as net.SocketConstructorOpts),
  )
}
