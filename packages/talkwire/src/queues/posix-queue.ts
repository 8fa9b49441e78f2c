/** Message queues of POSIX, shared with C programs: docs/transports/mq.md, mq_overview(7). */
import { closeSync } from 'node:fs'
import type net from 'node:net'
import { TalkwireError } from '../error.js'
import { attributesOf, createQueue, HIGHEST_PRIORITY, openQueue, receiveFrom, sendTo, unlinkQueue, type QueueSize } from '../kernel/mq.js'
import { onceWritable, waitReadable } from '../kernel/waiting.js'
import { unless } from '../memory/errors.js'
import { queueError } from './errors.js'
import { keepTrying, repeatedly, tooLate, type QueueWaitOptions, type Watch } from './looking.js'
import { validateQueueName } from './names.js'
import { whenReadable } from './readable.js'

export interface PosixQueueOptions {
  /** How many messages it holds. Default 10, the most that fs.mqueue.msg_max allows everybody. */
  readonly messages?: number
  /** Bytes of the largest message. Default 8192, the most that fs.mqueue.msgsize_max allows everybody. */
  readonly messageSize?: number
  /** Permissions; the umask is taken from them. Default 0o600: this user only. */
  readonly mode?: number
}

export interface QueueMessage {
  /** The receiver's own. */
  readonly bytes: Buffer
  readonly priority: number
}

export interface QueueSendOptions extends QueueWaitOptions {
  /** 0 to 32767; the highest is received first, equal ones in the order sent. Default 0. */
  readonly priority?: number
}

/** A queue stays until somebody unlinks it, or the machine ends; also with nobody who has it open. */
export class PosixQueue implements Disposable, AsyncIterable<QueueMessage> {
  /** What it was made with. */
  readonly messages: number
  readonly messageSize: number
  private readonly buffer: Buffer
  private readonly receivers = new Set<() => void>()
  private readonly senders = new Set<() => void>()
  private reader: net.Socket | undefined
  private isClosed = false

  private constructor(
    readonly name: string,
    private readonly queue: number,
  ) {
    const { messages, messageSize } = attributesOf(queue)
    this.messages = messages
    this.messageSize = messageSize
    this.buffer = Buffer.allocUnsafe(messageSize)
  }

  /** Makes one that nobody has. Throws ALREADY_EXISTS, LIMIT_EXCEEDED, NO_SPACE, PERMISSION_DENIED, INVALID_ADDRESS, MISSING_PACKAGE, UNSUPPORTED; RangeError. */
  static create(name: string, { messages = 10, messageSize = 8192, mode = 0o600 }: PosixQueueOptions = {}): PosixQueue {
    const plain = validateQueueName(name)
    const size: QueueSize = { messages: positive(messages, 'messages'), messageSize: positive(messageSize, 'messageSize') }
    return queueError(title(plain), () => new PosixQueue(plain, createQueue(plain, size, mode)))
  }

  /** What has that name, whoever made it; it must let this user send and receive. Throws NOT_FOUND, PERMISSION_DENIED, LIMIT_EXCEEDED, INVALID_ADDRESS, MISSING_PACKAGE, UNSUPPORTED. */
  static open(name: string): PosixQueue {
    const plain = validateQueueName(name)
    return queueError(title(plain), () => new PosixQueue(plain, openQueue(plain)))
  }

  /** Opens what is there, whatever its size, or makes it. Throws as both do. */
  static openOrCreate(name: string, options: PosixQueueOptions = {}): PosixQueue {
    for (;;) {
      const queue = unless('NOT_FOUND', () => PosixQueue.open(name)) ?? unless('ALREADY_EXISTS', () => PosixQueue.create(name, options))
      if (queue) return queue
    }
  }

  /** Takes the name away. Who has it open keeps it. Throws NOT_FOUND, PERMISSION_DENIED. */
  static unlink(name: string): void {
    const plain = validateQueueName(name)
    queueError(title(plain), () => unlinkQueue(plain))
  }

  /** Messages in it now. Throws CLOSED. */
  get waiting(): number {
    return attributesOf(this.descriptor).waiting
  }

  /** Waits until there is room. Strings are sent as UTF-8. The bytes must not change before it resolves. Rejects with MESSAGE_TOO_LARGE, DEADLINE_EXCEEDED, CLOSED, the signal's reason; RangeError. */
  async send(data: Uint8Array | string, options: QueueSendOptions = {}): Promise<void> {
    const bytes = this.checked(data, options.priority)
    const attempt = (): true | undefined => (sendTo(this.descriptor, bytes, options.priority ?? 0) ? true : undefined)
    options.signal?.throwIfAborted()
    if (this.senders.size > 0 || !attempt()) await keepTrying(title(this.name), attempt, this.untilWritable, options)
  }

  /** False when it is full. Does not block. Throws MESSAGE_TOO_LARGE, CLOSED; RangeError. */
  trySend(data: Uint8Array | string, { priority = 0 }: Pick<QueueSendOptions, 'priority'> = {}): boolean {
    return sendTo(this.descriptor, this.checked(data, priority), priority)
  }

  /** The oldest message of the highest priority, as soon as there is one; those who wait get one each, in the order in which they came. Rejects with DEADLINE_EXCEEDED, CLOSED, the signal's reason. */
  async receive(options: QueueWaitOptions = {}): Promise<QueueMessage> {
    options.signal?.throwIfAborted()
    const message = this.receivers.size === 0 ? this.tryReceive() : undefined
    return message ?? keepTrying(title(this.name), () => this.tryReceive(), this.untilReadable, options)
  }

  /** Undefined when there is none. Does not block. Throws CLOSED. */
  tryReceive(): QueueMessage | undefined {
    const received = receiveFrom(this.descriptor, this.buffer)
    return received && { bytes: Buffer.from(this.buffer.subarray(0, received.length)), priority: received.priority }
  }

  /** Blocks this thread, and with it the event loop. Throws DEADLINE_EXCEEDED, CLOSED. */
  receiveSync({ timeout = Infinity }: Pick<QueueWaitOptions, 'timeout'> = {}): QueueMessage {
    const end = performance.now() + timeout
    for (;;) {
      const message = this.tryReceive()
      if (message) return message
      const left = end - performance.now()
      if (left <= 0) throw tooLate(title(this.name), timeout)
      waitReadable([this.queue], Math.min(left, SLICE))
    }
  }

  /** What comes, until it is closed here. */
  async *[Symbol.asyncIterator](): AsyncGenerator<QueueMessage, void, undefined> {
    while (!this.isClosed) {
      const message = await this.receive().catch((reason: unknown) => {
        if (!this.isClosed) throw reason
      })
      if (message) yield message
    }
  }

  /** Whoever waits here is told CLOSED. The queue stays, with its messages: see `unlink`. */
  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.reader?.destroy()
    for (const look of [...this.receivers, ...this.senders]) look()
    closeSync(this.queue)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private get descriptor(): number {
    if (this.isClosed) throw new TalkwireError('CLOSED', `${title(this.name)} was closed here; open it again`)
    return this.queue
  }

  private checked(data: Uint8Array | string, priority = 0): Uint8Array {
    if (!Number.isInteger(priority) || priority < 0 || priority > HIGHEST_PRIORITY)
      throw new RangeError(`the priority ${priority}: take a whole number from 0 to ${HIGHEST_PRIORITY}`)
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    if (bytes.length <= this.messageSize) return bytes
    throw new TalkwireError(
      'MESSAGE_TOO_LARGE',
      `${title(this.name)} takes messages of ${this.messageSize} bytes, this one has ${bytes.length}; send less at a time`,
    )
  }

  private readonly untilReadable: Watch = (changed) => {
    const reader = (this.reader ??= whenReadable(this.queue, () => this.receivers.forEach((look) => look())))
    this.receivers.add(changed)
    reader.resume().ref()
    return () => {
      this.receivers.delete(changed)
      // A queue that nobody here waits for must not turn the event loop for what is in it.
      if (this.receivers.size === 0 && !this.isClosed) reader.pause().unref()
    }
  }

  private readonly untilWritable: Watch = (changed, failed) => {
    const room = repeatedly((told) => queueError(title(this.name), () => onceWritable(this.queue, told)))
    // Those who came first try first.
    const quiet = room(() => this.senders.forEach((look) => look()), failed)
    this.senders.add(changed)
    return () => {
      this.senders.delete(changed)
      quiet()
    }
  }
}

/** Milliseconds in one native wait. */
const SLICE = 50

const title = (name: string): string => `queue /${name}`

function positive(value: number, word: string): number {
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`${word}: ${value}; take a whole number from 1 on`)
  return value
}
