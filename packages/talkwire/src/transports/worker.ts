/** Threads: `worker:./w.js` starts one, `worker:` inside it listens. What travels are values, not bytes. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { MessageChannel, receiveMessageOnPort, Worker, workerData, type MessagePort } from 'node:worker_threads'
import { parseAddress } from '../address.js'
import { TalkwireError } from '../error.js'
import { Mailbox, type Note } from './mailbox.js'
import type { Peer, Sink, Traits, Transport, TransportOptions, ValueConnection } from './transport.js'

/** Milliseconds a thread gets to end by itself once its connection has. */
const GRACE = 2000
/** The property of `workerData` in which a thread finds its wire. */
const KEY = 'talkwire'
/** What a message counts, besides its binary values. */
const BASE_SIZE = 1024
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: false,
  crossHost: false,
  manyConnections: false,
  peerCredentials: false,
}

export interface WorkerOptions extends TransportOptions {
  /** What the thread finds in `workerData`, besides its wire. */
  readonly workerData?: object
  readonly env?: Readonly<Record<string, string>>
  /** The thread may go on after its connection. */
  readonly detached?: boolean
}

export const worker: Transport<WorkerOptions> = {
  scheme: 'worker',
  traits,

  async connect(address, sink, { signal, workerData: data, env, detached } = {}) {
    signal?.throwIfAborted()
    const path = resolve(parseAddress(address).rest)
    if (!existsSync(path))
      throw new TalkwireError(
        'START_FAILED',
        `cannot start ${address}: there is no file ${path}; the path is relative to the working directory`,
      )
    const { port1, port2 } = new MessageChannel()
    const thread = new Worker(path, {
      workerData: { ...data, [KEY]: port2 },
      transferList: [port2],
      ...(env && { env: { ...process.env, ...env } }),
    })
    return new ThreadConnection(port1, address, sink, thread, detached === true)
  },

  async listen(address, accept, { signal } = {}) {
    signal?.throwIfAborted()
    const port = takePort(address)
    // In a later turn: nobody has the listener yet.
    const starting = setImmediate(() => new PortConnection(port, { address, pid: process.pid }, accept))
    return { address, close: async () => clearImmediate(starting) }
  },
}

/** Whether this thread was started by `connect('worker:…')`, and nobody has taken its wire. */
export const isGiven = (): boolean => Boolean((workerData as Record<string, unknown> | null | undefined)?.[KEY])

function takePort(address: string): MessagePort {
  if (parseAddress(address).rest !== '')
    throw new TalkwireError('INVALID_ADDRESS', `${address} starts a thread and is for connecting; inside it listen on worker:`)
  const data = workerData as Record<string, unknown> | null | undefined
  const port = data?.[KEY]
  if (port === undefined)
    throw new TalkwireError(
      'UNSUPPORTED',
      `this thread was not started by connect('worker:…'), so nobody is at the other end of ${address}`,
    )
  if (port === null)
    throw new TalkwireError(
      'ADDRESS_IN_USE',
      'this thread listens already, and there is one connection for it; a second service needs an address of its own',
    )
  data![KEY] = null
  return port as MessagePort
}

/** As it travels: acknowledged bytes, what it is (or a message's size), the value. */
type Posted = readonly [acknowledged: number, is: number | 'acknowledgement' | 'end' | 'abort', value?: unknown]

export class PortConnection implements ValueConnection {
  readonly kind = 'values'
  protected readonly mailbox: Mailbox<unknown>
  protected sink: Sink

  constructor(
    protected readonly port: MessagePort,
    readonly peer: Peer,
    sink: Sink | ((connection: PortConnection) => Sink),
  ) {
    this.mailbox = new Mailbox({
      send: (note, acknowledged) =>
        port.postMessage((note.is === 'message' ? [acknowledged, note.size, note.value] : [acknowledged, note.is]) satisfies Posted),
      copy: (value) => structuredClone(value),
      deliver: (value) => this.sink.value(value),
      release: () => port.close(),
    })
    this.sink = typeof sink === 'function' ? sink(this) : sink
    this.mailbox.open(this.sink)
    port.on('message', this.onMessage)
    port.on('messageerror', (reason) =>
      this.abort(new TalkwireError('INVALID_MESSAGE', `a message that cannot be read: ${reason.message}`)),
    )
    port.on('close', () => this.onPortClosed())
  }

  get buffered(): number {
    return this.mailbox.buffered
  }

  /** Of what has left, nobody can know whether a thread that dies has seen it. */
  get unsent(): number {
    return this.mailbox.unsent
  }

  post(value: unknown, size = sizeOf(value)): boolean {
    return this.mailbox.post(value, size)
  }

  pause(): void {
    this.mailbox.pause()
  }

  resume(): void {
    this.mailbox.resume()
  }

  close(): Promise<void> {
    return this.mailbox.close()
  }

  abort(cause: TalkwireError): void {
    this.mailbox.abort(cause)
  }

  ref(): void {
    this.port.ref()
  }

  unref(): void {
    this.port.unref()
  }

  protected onPortClosed(): void {
    this.mailbox.lost(new TalkwireError('CONNECTION_LOST', 'the thread at the other end is gone'))
  }

  protected readonly onMessage = ([acknowledged, is, value]: Posted): void => {
    const note: Note<unknown> = typeof is === 'number' ? { is: 'message', size: is, value } : { is }
    this.mailbox.receive(note, acknowledged)
  }
}

/** The side that started the thread: it ends with the connection, and the connection with it. */
class ThreadConnection extends PortConnection {
  private failure: Error | undefined
  private readonly exited: Promise<void>
  private ending: Promise<void> | undefined

  constructor(
    port: MessagePort,
    address: string,
    sink: Sink,
    private readonly thread: Worker,
    private readonly detached: boolean,
  ) {
    super(port, { address, pid: process.pid }, sink)
    thread.unref()
    thread.on('error', (reason) => {
      this.failure = reason
    })
    this.exited = new Promise((done) => {
      thread.once('exit', (code) => {
        this.onExit(address, code)
        done()
      })
    })
    void this.mailbox.closed.then(() => this.outlive())
  }

  override async close(): Promise<void> {
    await super.close()
    await this.outlive()
  }

  override abort(cause: TalkwireError): void {
    super.abort(cause)
    if (!this.detached) void this.thread.terminate()
  }

  /** The thread's exit follows, and says why: we stay for that. */
  protected override onPortClosed(): void {
    this.thread.ref()
  }

  private outlive(): Promise<void> {
    return (this.ending ??= this.detached ? Promise.resolve() : this.finish())
  }

  private async finish(): Promise<void> {
    this.thread.ref()
    const timer = setTimeout(() => void this.thread.terminate(), GRACE)
    await this.exited
    clearTimeout(timer)
  }

  private onExit(address: string, code: number): void {
    // What it sent last is still in the port.
    for (let next = receiveMessageOnPort(this.port); next; next = receiveMessageOnPort(this.port)) this.onMessage(next.message as Posted)
    const { failure } = this
    const error = new TalkwireError(
      'PEER_EXITED',
      `the thread ${address} ended${failure ? `: ${failure.message}` : ` with exit code ${code}`}`,
      { cause: failure, details: { exitCode: code }, outcome: 'maybe-ran' },
    )
    this.mailbox.lost(error)
  }
}

/** Roughly, where the sender does not say: binary values count. */
function sizeOf(value: unknown, depth = 0): number {
  if (typeof value === 'string') return BASE_SIZE + value.length
  if (typeof value !== 'object' || value === null || depth > 64) return depth === 0 ? BASE_SIZE : 8
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return BASE_SIZE + value.byteLength
  let size = depth === 0 ? BASE_SIZE : 8
  for (const each of value instanceof Map || value instanceof Set || Array.isArray(value)
    ? (value as Iterable<unknown>)
    : Object.values(value))
    size += sizeOf(each, depth + 1)
  return size
}
