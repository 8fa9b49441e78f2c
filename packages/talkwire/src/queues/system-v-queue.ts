/** Message queues of System V, for programs that have them already: docs/transports/sysv.md, sysvipc(7). */
import { TalkwireError } from '../error.js'
import {
  createSystemVQueue,
  findSystemVQueue,
  largestMessage,
  receiveSystemV,
  removeSystemVQueue,
  sendSystemV,
  stateOfSystemVQueue,
  type SystemVQueueState,
} from '../kernel/system-v-queue.js'
import { unless } from '../memory/errors.js'
import { Pauses, sleepSync } from '../memory/pauses.js'
import { keyOfPlace, type SystemVPlace } from '../memory/system-v.js'
import { systemVError } from './errors.js'
import { keepTrying, tooLate, type QueueWaitOptions, type Watch } from './looking.js'

export interface SystemVQueueOptions {
  /** Permissions. Default 0o600: this user only. */
  readonly mode?: number
}

export interface TypedMessage {
  /** The receiver's own. */
  readonly bytes: Buffer
  /** From 1 on. */
  readonly type: number
}

export interface TypedSendOptions extends QueueWaitOptions {
  /** From 1 to 2^53 - 1. Default 1. */
  readonly type?: number
}

export interface TypedReceiveOptions extends QueueWaitOptions {
  /** Only of this type; negative: of the lowest type that is not above its amount. Default 0: the oldest of any. */
  readonly type?: number
}

/** A queue stays until somebody removes it, or the machine ends. There is nothing to close. */
export class SystemVQueue implements AsyncIterable<TypedMessage> {
  private readonly senders = new Set<() => void>()

  private constructor(
    /** Undefined for one without a key. */
    readonly key: number | undefined,
    /** The kernel's number of it, by which others `attach` it. */
    readonly id: number,
  ) {}

  /** A queue under a key that nobody has; undefined: without one. Throws ALREADY_EXISTS, NO_SPACE, NOT_FOUND (the path of a place), MISSING_PACKAGE, UNSUPPORTED; RangeError. */
  static create(place: SystemVPlace | undefined, { mode = 0o600 }: SystemVQueueOptions = {}): SystemVQueue {
    const key = place === undefined ? undefined : keyOfPlace(place)
    return systemVError(title(key), () => new SystemVQueue(key, createSystemVQueue(key, mode)))
  }

  /** What has that key. Throws NOT_FOUND, PERMISSION_DENIED, MISSING_PACKAGE, UNSUPPORTED; RangeError. */
  static open(place: SystemVPlace): SystemVQueue {
    const key = keyOfPlace(place)
    return systemVError(title(key), () => new SystemVQueue(key, findSystemVQueue(key)))
  }

  /** Opens what is there, or makes it. Throws as both do. */
  static openOrCreate(place: SystemVPlace, options: SystemVQueueOptions = {}): SystemVQueue {
    for (;;) {
      const queue =
        unless('NOT_FOUND', () => SystemVQueue.open(place)) ?? unless('ALREADY_EXISTS', () => SystemVQueue.create(place, options))
      if (queue) return queue
    }
  }

  /** By the kernel's number. Throws NOT_FOUND, PERMISSION_DENIED, MISSING_PACKAGE, UNSUPPORTED. */
  static attach(id: number): SystemVQueue {
    systemVError(title(undefined, id), () => stateOfSystemVQueue(id))
    return new SystemVQueue(undefined, id)
  }

  /** Takes away what has that key, with its messages; whoever waits is told NOT_FOUND. Throws NOT_FOUND, PERMISSION_DENIED. */
  static remove(place: SystemVPlace): void {
    SystemVQueue.open(place).remove()
  }

  /** Messages in it now, and how many bytes it holds in all. Throws NOT_FOUND. */
  inspect(): SystemVQueueState {
    return systemVError(this.title, () => stateOfSystemVQueue(this.id))
  }

  /** Waits until there is room. Strings are sent as UTF-8. Rejects with MESSAGE_TOO_LARGE, NOT_FOUND (it was removed), DEADLINE_EXCEEDED, the signal's reason; RangeError. */
  async send(data: Uint8Array | string, options: TypedSendOptions = {}): Promise<void> {
    const bytes = this.checked(data, options.type)
    options.signal?.throwIfAborted()
    if (this.senders.size === 0 && this.trySend(bytes, options)) return
    await keepTrying(this.title, () => this.trySend(bytes, options) || undefined, inTurn(this.senders), options)
  }

  /** False when it is full. Does not block. Throws MESSAGE_TOO_LARGE, NOT_FOUND; RangeError. */
  trySend(data: Uint8Array | string, { type = 1 }: Pick<TypedSendOptions, 'type'> = {}): boolean {
    const bytes = this.checked(data, type)
    return systemVError(this.title, () => sendSystemV(this.id, type, bytes))
  }

  /** As soon as there is one: nobody tells, so it looks again after 1 ms, then 2, up to 32. Rejects with NOT_FOUND (it was removed), DEADLINE_EXCEEDED, the signal's reason; RangeError. */
  async receive(options: TypedReceiveOptions = {}): Promise<TypedMessage> {
    options.signal?.throwIfAborted()
    return this.tryReceive(options) ?? keepTrying(this.title, () => this.tryReceive(options), nowAndThen, options)
  }

  /** Undefined when there is none. Does not block. Throws NOT_FOUND; RangeError. */
  tryReceive({ type = 0 }: Pick<TypedReceiveOptions, 'type'> = {}): TypedMessage | undefined {
    validateType(type, -Number.MAX_SAFE_INTEGER)
    return systemVError(this.title, () => receiveSystemV(this.id, type))
  }

  /** Blocks this thread, and with it the event loop. Throws as `receive` rejects. */
  receiveSync(options: Pick<TypedReceiveOptions, 'type' | 'timeout'> = {}): TypedMessage {
    const { timeout = Infinity } = options
    const end = performance.now() + timeout
    for (const pauses = new Pauses(); ;) {
      const message = this.tryReceive(options)
      if (message) return message
      const left = end - performance.now()
      if (left <= 0) throw tooLate(this.title, timeout)
      sleepSync(Math.min(left, pauses.next()))
    }
  }

  /** What comes, of any type, until it is removed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<TypedMessage, void, undefined> {
    for (;;) {
      const message = await this.receive().catch((reason: unknown) => {
        if (!(reason instanceof TalkwireError) || reason.code !== 'NOT_FOUND') throw reason
      })
      if (!message) return
      yield message
    }
  }

  /** Takes it away, with its messages; whoever waits is told NOT_FOUND. What is gone already is no error. Throws PERMISSION_DENIED. */
  remove(): void {
    unless('NOT_FOUND', () => systemVError(this.title, () => removeSystemVQueue(this.id)))
  }

  private get title(): string {
    return title(this.key, this.id)
  }

  private checked(data: Uint8Array | string, type = 1): Uint8Array {
    validateType(type, 1)
    const bytes = typeof data === 'string' ? Buffer.from(data) : data
    const most = largestMessage()
    if (bytes.length <= most) return bytes
    throw new TalkwireError(
      'MESSAGE_TOO_LARGE',
      `${this.title} takes messages of ${most} bytes, this one has ${bytes.length}; send less at a time, or raise kernel.msgmax`,
    )
  }
}

const nowAndThen: Watch = (changed) => {
  const pauses = new Pauses()
  const look = (): void => {
    timer = setTimeout(look, pauses.next())
    changed()
  }
  let timer = setTimeout(look, pauses.next())
  return () => clearTimeout(timer)
}

/** The same for those whose order matters: only the first one looks. */
const inTurn =
  (line: Set<() => void>): Watch =>
  (changed) => {
    let stop = (): void => {}
    const begin = (): void => {
      stop = nowAndThen(changed, () => {})
    }
    line.add(begin)
    if (line.size === 1) begin()
    return () => {
      const [first] = line
      line.delete(begin)
      stop()
      const [next] = line
      if (next && first === begin) next()
    }
  }

function validateType(type: number, least: number): void {
  if (!Number.isSafeInteger(type) || type < least)
    throw new RangeError(`the type ${type}: take a whole number${least > 0 ? ' from 1 on' : ''}`)
}

const title = (key: number | undefined, id?: number): string =>
  key !== undefined ? `System V queue with the key ${key}` : id !== undefined ? `System V queue ${id}` : 'System V queue'
