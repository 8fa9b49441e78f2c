/** Connections inside one process: `memory:name`. The reference implementation, and for tests. */
import { parseAddress, validateName } from '../address.js'
import { TalkwireError } from '../error.js'
import { MessageConnection, type MessagePipe } from './message-connection.js'
import { connectionClosed, tooLargeArrived } from './refusals.js'
import { MAX_MESSAGE, type Accept, type Sink, type Traits, type Transport } from './transport.js'

const HIGH_WATER_MARK = 64 * 1024
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: false,
  crossHost: false,
  manyConnections: true,
  peerCredentials: false,
}

interface Listening {
  readonly accept: Accept
  readonly maxMessage: number
}
const listeners = new Map<string, Listening>()

export const memory: Transport = {
  scheme: 'memory',
  traits,

  async connect(address, sink, { signal, maxMessage = MAX_MESSAGE } = {}) {
    signal?.throwIfAborted()
    const listening = listeners.get(nameOf(address))
    if (!listening)
      throw new TalkwireError(
        'PEER_NOT_FOUND',
        `nobody in this process listens on ${address}; serve there first, or pass { wait: milliseconds }`,
      )
    const near = new Half(address, maxMessage)
    const far = new Half(address, listening.maxMessage)
    near.peer$ = far
    far.peer$ = near
    near.attach(sink)
    far.attach(listening.accept(new MessageConnection(far)))
    return new MessageConnection(near)
  },

  async listen(address, accept, { signal, maxMessage = MAX_MESSAGE } = {}) {
    signal?.throwIfAborted()
    const name = nameOf(address)
    if (listeners.has(name)) throw new TalkwireError('ADDRESS_IN_USE', `${address} is taken in this process; choose another name`)
    listeners.set(name, { accept, maxMessage })
    return { address, close: async () => void listeners.delete(name) }
  },
}

const nameOf = (address: string): string => validateName(parseAddress(address).rest)

/** One end. Messages wait in its inbox and leave it in a microtask, so that a send never runs the receiver. */
class Half implements MessagePipe {
  readonly binary = true
  readonly peer: { readonly address: string; readonly pid: number }
  /** Undefined while accept() runs. */
  sink: Sink | undefined
  peer$!: Half
  private inbox: Buffer[] = []
  private size = 0
  private paused = false
  private state: 'open' | 'closing' | 'closed' = 'open'
  private cause: TalkwireError | undefined
  private scheduled = false
  /** The peer was told to wait. */
  private full = false
  private told = false
  /** What arrived was no message: nothing else is looked at. */
  private deaf = false
  private resolve!: () => void
  private readonly done = new Promise<void>((resolve) => {
    this.resolve = resolve
  })

  constructor(
    address: string,
    readonly maxMessage: number,
  ) {
    this.peer = { address, pid: process.pid }
  }

  attach(sink: Sink): void {
    this.sink = sink
    if (this.state === 'closed') this.tellClosed()
    else this.schedule()
  }

  ended(): TalkwireError | undefined {
    return this.state === 'open' ? undefined : (this.cause ?? connectionClosed())
  }

  send(bytes: Buffer): boolean {
    const far = this.peer$
    far.inbox.push(bytes)
    far.size += bytes.length + 16
    far.schedule()
    far.full = far.size > HIGH_WATER_MARK
    return !far.full
  }

  buffered(): number {
    return this.peer$.size
  }

  unsent(): number {
    return this.peer$.inbox.length
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    this.schedule()
  }

  close(): Promise<void> {
    if (this.state === 'open') {
      this.state = 'closing'
      this.paused = false
      this.schedule()
      this.peer$.schedule()
    }
    return this.done
  }

  abort(cause: TalkwireError): void {
    if (this.state === 'closed') return
    this.cause ??= cause
    this.peer$.inbox = []
    this.peer$.size = 0
    this.finish()
    this.peer$.schedule()
  }

  ref(): void {}
  unref(): void {}

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    queueMicrotask(() => {
      this.scheduled = false
      this.deliver()
    })
  }

  private deliver(): void {
    const { inbox, sink } = this
    if (!sink) return
    for (let taken = 0; taken < 64 && inbox.length > 0 && !this.paused && this.state !== 'closed'; taken++) this.take(inbox.shift()!, sink)
    if (this.full && this.size === 0) {
      this.full = false
      if (this.peer$.state !== 'closed') this.peer$.sink?.drained()
    }
    if (inbox.length > 0) {
      // Macro task: an endless sender must not starve timers.
      if (!this.paused && this.state !== 'closed') setImmediate(() => this.deliver())
      return
    }
    this.checkEnd()
  }

  private take(bytes: Buffer, sink: Sink): void {
    this.size -= bytes.length + 16
    if (this.deaf) return
    try {
      if (bytes.length > this.maxMessage) throw tooLargeArrived(bytes.length, this.maxMessage)
      sink.message(bytes, 0, bytes.length, true)
    } catch (reason) {
      this.broken(TalkwireError.from(reason, 'CONNECTION_LOST'), sink)
    }
  }

  private broken(error: TalkwireError, sink: Sink): void {
    this.deaf = true
    if (sink.broken && this.state === 'open') sink.broken(error)
    else this.abort(error)
  }

  private checkEnd(): void {
    const far = this.peer$
    if (this.state === 'closed' || far.state === 'open') return
    if (this.state === 'open') {
      if (far.state === 'closed' && far.cause) return this.finish(new TalkwireError('CONNECTION_LOST', 'the other end aborted'))
      if (this.told) return
      this.told = true
      if (this.sink?.ended) this.sink.ended()
      else void this.close()
      return
    }
    if (far.inbox.length > 0) return
    this.finish()
    far.schedule()
  }

  private finish(cause?: TalkwireError): void {
    if (this.state === 'closed') return
    this.cause ??= cause
    this.state = 'closed'
    this.inbox = []
    this.tellClosed()
  }

  private tellClosed(): void {
    if (!this.sink) return
    this.sink.closed(this.cause)
    this.resolve()
  }
}
