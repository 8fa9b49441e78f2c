/**
 * The one connection over two rings of shared memory, one for each direction: spec/shm.md. What it needs besides is a `Control`,
 * by which each side wakes the other and learns of its end. A side that has work looks at the rings; one that waits sleeps,
 * after it has looked for as long as looking has paid off lately.
 */
import { newChunk } from '../codecs/chunk.js'
import { seal, takeAttachments } from '../codecs/envelope.js'
import type { Writer } from '../codecs/writer.js'
import { TalkwireError } from '../error.js'
import { Consumer } from '../memory/consumer.js'
import { FULL, Producer } from '../memory/producer.js'
import { openRing, type RingData, type RingPlace } from '../memory/ring-place.js'
import { sayAwake, saySleeps } from '../memory/seats.js'
import { put } from '../memory/store.js'
import { Patience } from './patience.js'
import { addShort, isBundle, leftBundle, MOST_BUNDLED, take, wordsOver, type Bundle, type Waiting } from './ring-outbox.js'
import { RingWriter } from './ring-writer.js'
import { connectionClosed, tooLargeArrived, tooLargeToSend } from './refusals.js'
import { MAX_MESSAGE, type ByteConnection, type Peer, type Sink } from './transport.js'

/**
 * Before each part of a message: how long the whole message is, and where in it the part begins.
 *
 *     +-------------------------------+-------------------------------+
 *    0|      bytes of the message     |     of those, before this     |  u32, u32
 *     +-------------------------------+-------------------------------+
 *    8|  the part
 */
const PART_HEADER = 8
/** The other side is told of messages at the end of a turn, and when there are so many: so both work at the same time. */
const TELL_AT = 64
/** Shorter ones are copied word by word: a call of `set` costs more. */
const COPY_WORDS_BELOW = 512
/** Such a message gets memory of its own, which the sink may keep. */
const OWNED_FROM = 16 * 1024
/**
 * Messages, and milliseconds, before what they set off gets its turn: then its answers are on their way while the next messages
 * are read. With a whole ring at once, each side would work while the other waits. Where nothing is answered, a turn costs more
 * than what it is for, so each may have twice as many. The clock is looked at once in LOOK_EVERY messages.
 */
const MESSAGES_A_TURN = 64
const MOST_A_TURN = 1024
const MILLISECONDS_A_TURN = 20
const LOOK_EVERY = 16
/** Memory for a message of which only a part has come, as a multiple of that part. */
const MAX_AMPLIFICATION = 128
/** Of the ring: who looks for room goes on when there is so much. To go on for each message would cost more than the message. */
const ROOM_TO_GO_ON = 1 / 8

/** How two sides that share memory wake each other, and learn of each other's end. */
export interface Control {
  readonly peer: Peer
  /** Has the other side look at the rings. Does not block. */
  ring(): void
  /** Tells the other side that we send no more. We still read, and ring. */
  end(): void
  /** Both have ended, and nothing is left to read: `RingConnection.gone` follows. */
  close(): void
  /** `RingConnection.gone` follows. */
  abort(cause: TalkwireError): void
  ref(): void
  unref(): void
  /** After the end: the memory is not used any more. */
  release(): void
}

/** Which ring goes which way. */
export interface RingPair {
  readonly toServer: RingPlace
  readonly toClient: RingPlace
}

/** Where short messages are copied to before anybody looks into them: what is in the ring, the other side could still change. */
const inbox = Buffer.allocUnsafeSlow(OWNED_FROM)
const inboxWords = new Int32Array(inbox.buffer)

export class RingConnection implements ByteConnection {
  readonly kind = 'bytes'
  readonly binary = true
  committed = 0
  private state: 'open' | 'closing' | 'closed' = 'open'
  /** What we know of the other side: it sends no more, or its process has nothing to do with us any more. */
  private far: 'open' | 'ended' | 'gone' = 'open'
  /** The sink knows that the other side sends no more. */
  private told = false
  private endSent = false
  private finished = false
  /** What arrives is no messages any more. */
  private deaf = false
  private cause: TalkwireError | undefined
  private readonly writer: RingWriter
  private words: Int32Array
  private wordsOf: Buffer
  private outbox: (Waiting | Bundle)[] = []
  /** Bytes, and messages, in there. */
  private waiting = 0
  private messages = 0
  private untold = 0
  private scheduled = false
  private refused = false
  private paused = false
  private looking = false
  private reading = false
  private assembling: { body: Buffer; have: number; readonly length: number } | undefined
  private handled = 0
  private turn = MESSAGES_A_TURN
  /** Something was sent since the last turn. */
  private sent = false
  private since = 0
  /** However little room there is, it is used: it would not be told of again. */
  private anyRoom = false
  private maxSend: number
  private readonly maxMessage: number
  private readonly producer: Producer
  private readonly consumer: Consumer
  private readonly outgoing: ReturnType<typeof openRing>
  private readonly incoming: ReturnType<typeof openRing>
  private readonly patience = new Patience()
  private readonly patienceForRoom = new Patience()
  private readonly ended: Promise<void>
  private resolveEnded!: () => void
  private sink!: Sink

  /** Throws as `openRing`, UNAVAILABLE when another one has an end. */
  constructor(
    pair: RingPair,
    side: 'client' | 'server',
    private readonly control: Control,
    maxMessage: number | undefined,
  ) {
    this.maxMessage = this.maxSend = maxMessage ?? MAX_MESSAGE
    const ring = (): void => {
      sayAwake(this.outgoing, 'readers')
      sayAwake(this.incoming, 'writers')
      control.ring()
    }
    this.outgoing = openRing('one producer', side === 'client' ? pair.toServer : pair.toClient, ring)
    this.incoming = openRing('one producer', side === 'client' ? pair.toClient : pair.toServer, ring)
    this.producer = new Producer(this.outgoing)
    this.consumer = new Consumer(this.incoming)
    this.writer = new RingWriter(this.producer, PART_HEADER)
    this.wordsOf = this.writer.buffer
    this.words = wordsOver(this.wordsOf)
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve
    })
  }

  /** Starts delivery, in a later turn. Call once. */
  attach(sink: Sink): this {
    this.sink = sink
    this.lookSoon()
    return this
  }

  get peer(): Peer {
    return this.control.peer
  }

  get buffered(): number {
    return this.waiting
  }

  get unsent(): number {
    return this.messages
  }

  begin(): Writer {
    if (this.state !== 'open') throw this.cause ?? connectionClosed()
    this.writer.begin(this.outbox.length === 0)
    return this.writer
  }

  rollback(): void {
    this.writer.reset()
    this.writer.attachments = []
  }

  commit(): boolean {
    const { writer } = this
    // What is attached stands behind the message, in parts.
    if (writer.inRing && writer.attachments.length > 0) writer.leaveRing(0)
    const length = seal(writer, writer.start)
    if (length > this.maxSend) {
      this.rollback()
      throw tooLargeToSend(length, this.maxSend)
    }
    this.committed = length
    this.sent = true
    if (writer.inRing) this.publish(length)
    else if (this.outbox.length > 0 || writer.attachments.length > 0 || !this.writeWriter(length)) this.enqueue(length)
    writer.reset()
    if (this.untold >= TELL_AT) this.tell()
    else if (!this.scheduled) this.schedule()
    return !this.refused
  }

  limitSend(bytes: number): void {
    this.maxSend = Math.min(this.maxSend, bytes)
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.lookSoon()
  }

  async close(): Promise<void> {
    if (this.state === 'open') {
      this.state = 'closing'
      this.endWhenSent()
    }
    // The other side's end stands behind what we have not read.
    this.resume()
    await this.ended
  }

  abort(cause: TalkwireError): void {
    if (this.state === 'closed') return
    this.cause ??= cause
    this.state = 'closed'
    if (this.far === 'gone') this.lookSoon()
    else this.control.abort(this.cause)
  }

  ref(): void {
    this.control.ref()
  }

  unref(): void {
    this.control.unref()
  }

  // ── from the control ───────────────────────────────────────────────────────────────────────────

  /** The other side has something for us, or room. */
  rung(): void {
    this.patience.rung()
    this.patienceForRoom.rung()
    this.anyRoom = true
    if (!this.looking) this.look()
  }

  /** The other side sends no more; what it sent is in the ring. */
  farEnded(): void {
    if (this.far === 'open') this.far = 'ended'
    if (!this.looking) this.look()
  }

  /** There is no other side any more. What it sent is in the ring. */
  gone(cause: TalkwireError | undefined): void {
    this.far = 'gone'
    this.cause ??= cause
    if (!this.looking) this.look()
  }

  // ── sending ────────────────────────────────────────────────────────────────────────────────────

  /** What was written into the ring is there for the other side. */
  private publish(length: number): void {
    const { writer } = this
    writer.view.setUint32(writer.start - PART_HEADER, length, true)
    writer.view.setUint32(writer.start - 4, 0, true)
    writer.publish()
    this.untold++
  }

  /** False when there is no room for it now, or never will be for all of it at once. What is copied too much is the record's padding. */
  private writeWhole(length: number, bytes: Buffer, words: Int32Array, from: number): boolean {
    const { producer } = this
    if (!this.fitsWhole(length)) return false
    const offset = producer.tryClaim(length + PART_HEADER)
    if (offset === FULL) return false
    const { data } = producer
    const at = offset >> 2
    put(data.words, at, length)
    put(data.words, at + 1, 0)
    if (length <= COPY_WORDS_BELOW) copyWords(words, from >> 2, data.words, at + 2, (length + 3) >> 2)
    else data.bytes.set(bytes.subarray(from, from + length), offset + PART_HEADER)
    producer.commit(true)
    this.untold++
    return true
  }

  /** The same for what the writer holds. */
  private writeWriter(length: number): boolean {
    const { buffer, start } = this.writer
    if (this.wordsOf !== buffer) {
      this.wordsOf = buffer
      this.words = wordsOver(buffer)
    }
    return this.writeWhole(length, buffer, this.words, start)
  }

  private fitsWhole(length: number): boolean {
    return length + PART_HEADER <= this.producer.maxMessage
  }

  private enqueue(length: number): void {
    const { writer } = this
    this.waiting += length
    this.messages++
    if (length <= MOST_BUNDLED && writer.attachments.length === 0 && this.fitsWhole(length))
      addShort(this.outbox, writer.buffer, writer.start, length)
    else this.enqueueLong(length)
    if (this.refused || this.outbox.length === 0) return
    this.refused = true
    this.lookSoon()
  }

  private enqueueLong(length: number): void {
    const { writer } = this
    const behind = takeAttachments(writer, writer.start)
    const head = writer.buffer.subarray(writer.start, writer.position)
    const parts: Uint8Array[] = [head, ...behind]
    this.outbox.push({ parts, length, sent: 0 })
    if (!this.refused) this.pump()
    // It still waits, and its bytes with it.
    if (this.outbox.length > 0 && parts[0]!.buffer === head.buffer) writer.replace(Buffer.allocUnsafeSlow(writer.initialSize))
  }

  /** Moves what waits into the ring, as far as there is room. */
  private pump(): void {
    while (this.outbox.length > 0 && this.write(this.outbox[0]!)) this.outbox.shift()
  }

  /** True when all of it has left. */
  private write(entry: Waiting | Bundle): boolean {
    return isBundle(entry) ? this.writeBundle(entry) : this.writeParts(entry)
  }

  private writeBundle(bundle: Bundle): boolean {
    while (bundle.sent < bundle.lengths.length) {
      const length = bundle.lengths[bundle.sent]!
      if (!this.writeWhole(length, bundle.bytes, bundle.words, bundle.from)) return false
      leftBundle(bundle)
      this.waiting -= length
      this.messages--
    }
    return true
  }

  /** Looks for room again, or sleeps until there is. */
  private awaitRoom(): void {
    if (this.patienceForRoom.goesOn()) return this.lookSoon()
    saySleeps(this.outgoing, 'writers')
    if (!this.hasRoom()) return
    this.anyRoom = true
    this.lookSoon()
  }

  private hasRoom(): boolean {
    const first = this.outbox[0]!
    const offset = this.producer.tryClaim(PART_HEADER + (isBundle(first) ? first.lengths[first.sent]! : this.partSize(first)))
    if (offset !== FULL) this.producer.abort()
    return offset !== FULL
  }

  private partSize({ length, sent }: Waiting): number {
    return Math.min(length - sent, this.producer.maxMessage - PART_HEADER)
  }

  private writeParts(message: Waiting): boolean {
    const { producer } = this
    do {
      const size = this.partSize(message)
      const offset = producer.tryClaim(size + PART_HEADER)
      if (offset === FULL) return false
      put(producer.data.words, offset >> 2, message.length)
      put(producer.data.words, (offset >> 2) + 1, message.sent)
      take(message.parts, size, producer.data.bytes, offset + PART_HEADER)
      // The other side may begin with this part while we copy the next.
      producer.commit(false)
      message.sent += size
      this.waiting -= size
    } while (message.sent < message.length)
    this.messages--
    return true
  }

  private schedule(): void {
    this.scheduled = true
    process.nextTick(tellLater, this)
  }

  /** For `schedule`. */
  turnEnded(): void {
    this.scheduled = false
    if (this.state !== 'closed') this.tell()
  }

  private tell(): void {
    this.untold = 0
    this.producer.flush()
  }

  private endWhenSent(): void {
    if (this.outbox.length > 0) return
    this.tell()
    this.endSent = true
    this.control.end()
    this.lookSoon()
  }

  private drain(): void {
    if (!this.refused || (!this.anyRoom && this.producer.room < this.outgoing.capacity * ROOM_TO_GO_ON)) return
    this.anyRoom = false
    this.pump()
    if (this.untold > 0) this.tell()
    if (this.outbox.length > 0) return
    this.refused = false
    this.patienceForRoom.worked()
    if (this.state === 'closing') this.endWhenSent()
    else if (this.state === 'open') this.sink.drained()
  }

  // ── receiving ──────────────────────────────────────────────────────────────────────────────────

  private lookSoon(): void {
    if (this.looking) return
    this.looking = true
    setImmediate(lookLater, this)
  }

  /** For `lookSoon`. */
  lookNow(): void {
    this.looking = false
    this.look()
  }

  private look(): void {
    // What a handler does may ring, too.
    if (this.reading || this.finished) return
    try {
      if (this.far !== 'gone') this.drain()
      const count = this.read()
      if (count > 0) this.patience.worked()
      if (this.refused && this.far !== 'gone' && this.state !== 'closed') this.awaitRoom()
      this.settle(count > 0)
    } catch (reason) {
      this.broken(reason)
    }
  }

  /** How many parts of messages the sink got. */
  private read(): number {
    if (this.paused || this.state === 'closed') return 0
    const full = this.handled === this.turn
    this.turn = this.sent ? MESSAGES_A_TURN : full ? Math.min(MOST_A_TURN, 2 * this.turn) : this.turn
    this.sent = false
    this.handled = 0
    this.reading = true
    try {
      return this.consumer.read(this.deaf ? ignore : this.onRecord)
    } finally {
      this.reading = false
    }
  }

  /** Looks again, sees to the end, or sleeps. */
  private settle(worked: boolean): void {
    if (this.state === 'closed') return this.far === 'gone' ? this.finish() : undefined
    if (this.paused) return
    if (worked || this.consumer.hasMessage) return this.lookSoon()
    if (this.far !== 'open') return this.farIsDone()
    if (this.looking) return
    if (this.patience.wait(this.consumer)) return this.lookSoon()
    saySleeps(this.incoming, 'readers')
    if (this.consumer.hasMessage) this.lookSoon()
  }

  /** All that the other side sent has been read. */
  private farIsDone(): void {
    if (this.assembling && !this.deaf) return this.abort(new TalkwireError('CONNECTION_LOST', 'the connection ended inside a message'))
    if (this.far === 'gone') return this.finish()
    if (this.endSent) return this.control.close()
    if (this.told || this.state !== 'open') return
    this.told = true
    if (this.sink.ended) this.sink.ended()
    else void this.close()
  }

  private finish(): void {
    this.state = 'closed'
    this.finished = true
    this.producer.close()
    this.consumer.close()
    this.control.release()
    this.sink.closed(this.cause)
    this.resolveEnded()
  }

  private readonly onRecord = (data: RingData, offset: number, length: number): boolean => {
    // Each is read once: the other side could change it after we have looked at it.
    const total = data.words[offset >> 2]! >>> 0
    const before = data.words[(offset >> 2) + 1]! >>> 0
    const size = length - PART_HEADER
    if (before !== 0 || size !== total) this.assemble(data.bytes, offset + PART_HEADER, size, total, before)
    else this.receive(data, offset + PART_HEADER, size)
    return this.goesOn()
  }

  private goesOn(): boolean {
    if (this.paused || (this.state as string) === 'closed') return false
    if (++this.handled % LOOK_EVERY !== 0) return true
    const now = performance.now()
    if (this.handled === LOOK_EVERY) this.since = now
    return this.handled < this.turn && now - this.since < MILLISECONDS_A_TURN
  }

  private receive(data: RingData, offset: number, size: number): void {
    if (this.assembling || size < 0) throw new TalkwireError('INVALID_MESSAGE', 'a message began inside another')
    if (size > this.maxMessage) throw tooLargeArrived(size, this.maxMessage)
    if (size <= COPY_WORDS_BELOW) {
      const at = offset >> 2
      const count = (size + 3) >> 2
      for (let index = 0; index < count; index++) inboxWords[index] = data.words[at + index]!
    } else if (size < OWNED_FROM) inbox.set(data.bytes.subarray(offset, offset + size))
    else {
      const owned = Buffer.from(data.bytes.subarray(offset, offset + size))
      return this.sink.message(owned, 0, size, true)
    }
    newChunk(size)
    this.sink.message(inbox, 0, size, false)
  }

  private assemble(bytes: Uint8Array, offset: number, size: number, length: number, before: number): void {
    const body = (this.assembling ??= { body: Buffer.alloc(0), have: 0, length })
    if (length > this.maxMessage) throw tooLargeArrived(length, this.maxMessage)
    if (size <= 0 || before !== body.have || length !== body.length || before + size > length)
      throw new TalkwireError(
        'INVALID_MESSAGE',
        `part of ${size} bytes at ${before} of ${length}, where ${body.have} of ${body.length} are there`,
      )
    if (before + size > body.body.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(length, MAX_AMPLIFICATION * (before + size)))
      body.body.copy(grown, 0, 0, before)
      body.body = grown
    }
    body.body.set(bytes.subarray(offset, offset + size), before)
    body.have += size
    if (body.have < length) return
    this.assembling = undefined
    this.sink.message(body.body, 0, length, true)
  }

  /** What the rings hold is no use any more. */
  private broken(reason: unknown): void {
    const error = TalkwireError.from(reason, 'CONNECTION_LOST')
    if (this.deaf || this.state !== 'open' || !this.sink.broken || !(reason instanceof TalkwireError)) return this.abort(error)
    this.deaf = true
    this.lookSoon()
    this.sink.broken(error)
  }
}

const ignore = (): void => {}
function copyWords(from: Int32Array, start: number, into: Int32Array, at: number, count: number): void {
  for (let index = 0; index < count; index++) into[at + index] = from[start + index]!
}
const tellLater = (connection: RingConnection): void => connection.turnEnded()
const lookLater = (connection: RingConnection): void => connection.lookNow()
