/**
 * Node's own IPC channel, for children that were forked without Talkwire: `ipc:` listens in the child, and connects
 * in the parent with the option `child`. In a child of `fork:` it takes the descriptor that it was given instead.
 *
 * Packets have a `cmd` that begins with NODE_, so that they never reach the programs' own 'message' listeners.
 */
import type { ChildProcess } from 'node:child_process'
import type { EventEmitter } from 'node:events'
import { parseAddress } from '../address.js'
import { TalkwireError } from '../error.js'
import { Mailbox, type Note } from './mailbox.js'
import { MessageConnection, type MessagePipe } from './message-connection.js'
import { tooLargeArrived } from './refusals.js'
import { isGiven, listenOnce } from './stdio.js'
import { MAX_MESSAGE, type Peer, type Sink, type Traits, type Transport, type TransportOptions } from './transport.js'

/** Milliseconds that the end of the channel and the child's exit wait for each other. */
const EXPLANATION = 500
const CMD = 'NODE_TALKWIRE'
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: false,
  manyConnections: false,
  peerCredentials: false,
}

export interface IpcOptions extends TransportOptions {
  /** The child at the other end, forked with an IPC channel. */
  readonly child?: ChildProcess
}

/** What `process` and a `ChildProcess` have in common. */
interface Endpoint extends EventEmitter {
  readonly connected?: boolean
  send(packet: Packet, callback: (reason: Error | null) => void): boolean
}

/** `hi` and `yes` open the connection; the probe shows whether bytes survive the channel's serialization. */
interface Packet {
  readonly cmd: typeof CMD
  readonly is: 'hi' | 'yes' | Note<unknown>['is']
  readonly probe?: Uint8Array
  readonly acknowledged?: number
  /** Messages of one turn, as text or bytes. */
  readonly data?: readonly (string | Uint8Array)[]
}

export const ipc: Transport<IpcOptions> = {
  scheme: 'ipc',
  traits,

  async connect(address, sink, options = {}) {
    options.signal?.throwIfAborted()
    validateRest(address)
    const { child } = options
    if (!child) throw new TypeError('to connect to ipc: pass the forked child, { child }; fork:./child.js starts one')
    const endpoint = child as unknown as Endpoint
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        stop()
        clearTimeout(timer)
        options.signal?.removeEventListener('abort', onAbort)
      }
      const fail = (reason: unknown): void => {
        settle()
        reject(reason as Error)
      }
      const onAbort = (): void => fail(options.signal!.reason)
      const stop = greet(
        endpoint,
        (binary) => {
          settle()
          resolve(new IpcPipe(endpoint, { address, pid: child.pid! }, binary, options.maxMessage, child).open(() => sink))
        },
        () =>
          fail(new TalkwireError('PEER_NOT_FOUND', `the child ${child.pid} has no IPC channel any more; fork it, and do not disconnect()`)),
      )
      const timer =
        options.handshake === undefined
          ? undefined
          : setTimeout(
              () =>
                fail(
                  new TalkwireError(
                    'PEER_NOT_FOUND',
                    `the child ${child.pid} did not listen on ipc: within ${options.handshake} ms (limits.handshake)`,
                  ),
                ),
              options.handshake,
            )
      options.signal?.addEventListener('abort', onAbort, { once: true })
    })
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    validateRest(address)
    if (isGiven()) return listenOnce(address, accept, options)
    if (!process.send)
      throw new TalkwireError(
        'UNSUPPORTED',
        `this process was not forked by Node, so nobody is at the other end of ${address}; take stdio:`,
      )
    if (listening) throw new TalkwireError('ADDRESS_IN_USE', 'this process listens on ipc: already, and there is one channel for it')
    listening = true
    const endpoint = process as unknown as Endpoint
    let stop = ignore
    const welcome = (): void => {
      if (!listening) return
      stop = greet(
        endpoint,
        (binary) => {
          const pipe = new IpcPipe(endpoint, { address, pid: process.ppid }, binary, options.maxMessage)
          pipe.open(accept)
          void pipe.over.then(welcome)
        },
        () => stop(),
      )
    }
    // In a later turn: nobody has the listener yet.
    const starting = setImmediate(welcome)
    return {
      address,
      async close() {
        clearImmediate(starting)
        stop()
        listening = false
      },
    }
  },
}

let listening = false

function validateRest(address: string): void {
  if (parseAddress(address).rest !== '')
    throw new TalkwireError('INVALID_ADDRESS', `${JSON.stringify(address.slice(0, 80))}: nothing stands after the colon`)
}

const PROBE = Uint8Array.of(1)
/** What a message counts besides its bytes. */
const OVERHEAD = 64
const FLUSH_AT = 64 * 1024

/** Whoever comes second finds the other: both say hi, and a hi is answered. Returns what stops it. */
function greet(endpoint: Endpoint, opened: (binary: boolean) => void, gone: () => void): () => void {
  const say = (is: 'hi' | 'yes'): void => void endpoint.send({ cmd: CMD, is, probe: PROBE }, ignore)
  const onPacket = (packet: Packet): void => {
    if (packet.cmd !== CMD || (packet.is !== 'hi' && packet.is !== 'yes')) return
    if (packet.is === 'hi') say('yes')
    stop()
    opened(packet.probe instanceof Uint8Array)
  }
  const stop = (): void => {
    endpoint.off('internalMessage', onPacket)
    endpoint.off('disconnect', gone)
  }
  endpoint.on('internalMessage', onPacket)
  // In a child this listener also keeps the process alive, as a listening socket would.
  endpoint.on('disconnect', gone)
  if (endpoint.connected) say('hi')
  else queueMicrotask(gone)
  return stop
}

class IpcPipe implements MessagePipe {
  private sink!: Sink
  private batch: (string | Uint8Array)[] = []
  private batchSize = 0
  private acknowledged = 0
  private readonly mailbox: Mailbox<Buffer>

  constructor(
    private readonly endpoint: Endpoint,
    readonly peer: Peer,
    readonly binary: boolean,
    readonly maxMessage = MAX_MESSAGE,
    private readonly child?: ChildProcess,
  ) {
    this.mailbox = new Mailbox<Buffer>({
      send: (note, acknowledged) => this.transmit(note, acknowledged),
      copy: (bytes) => bytes,
      deliver: (bytes) => this.deliver(bytes),
      release: () => {
        endpoint.off('internalMessage', this.onPacket)
        endpoint.off('disconnect', this.onDisconnect)
      },
    })
    endpoint.on('internalMessage', this.onPacket)
    endpoint.on('disconnect', this.onDisconnect)
  }

  open(accept: (connection: MessageConnection) => Sink): MessageConnection {
    const connection = new MessageConnection(this)
    this.sink = accept(connection)
    this.mailbox.open(this.sink)
    return connection
  }

  get over(): Promise<void> {
    return this.mailbox.closed
  }

  send(bytes: Buffer): boolean {
    return this.mailbox.post(bytes, bytes.length + OVERHEAD)
  }

  ended(): TalkwireError | undefined {
    return this.mailbox.ended
  }

  buffered(): number {
    return this.mailbox.buffered
  }

  unsent(): number {
    return this.batch.length + this.mailbox.unsent
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

  /** The parent's hold on its child is the parent's own business. */
  ref(): void {
    if (!this.child) process.channel?.ref()
  }

  unref(): void {
    if (!this.child) process.channel?.unref()
  }

  private transmit(note: Note<Buffer>, acknowledged: number): void {
    if (note.is === 'message') return this.add(note.value, acknowledged)
    if (note.is === 'abort') this.batch = []
    this.flush()
    this.endpoint.send({ cmd: CMD, is: note.is, acknowledged }, ignore)
  }

  /** One packet a turn, or for so many bytes: Node's channel is slow by the packet. */
  private add(bytes: Buffer, acknowledged: number): void {
    if (this.batchSize + bytes.length > FLUSH_AT) this.flush()
    this.acknowledged += acknowledged
    this.batchSize += bytes.length
    this.batch.push(this.binary ? bytes : bytes.toString())
    if (this.batch.length === 1) process.nextTick(this.flush)
  }

  private readonly flush = (): void => {
    const { batch, acknowledged } = this
    if (batch.length === 0) return
    this.batch = []
    this.batchSize = 0
    this.acknowledged = 0
    this.endpoint.send({ cmd: CMD, is: 'message', acknowledged, data: batch }, ignore)
  }

  private readonly onPacket = ({ cmd, is, acknowledged = 0, data = [] }: Packet): void => {
    if (cmd !== CMD || is === 'hi' || is === 'yes') return
    if (is !== 'message') return this.mailbox.receive({ is }, acknowledged)
    for (const each of data) {
      const value = typeof each === 'string' ? Buffer.from(each) : Buffer.from(each.buffer, each.byteOffset, each.byteLength)
      this.mailbox.receive({ is, size: value.length + OVERHEAD, value }, acknowledged)
      acknowledged = 0
    }
  }

  private deliver(bytes: Buffer): void {
    if (bytes.length <= this.maxMessage) return this.sink.message(bytes, 0, bytes.length, true)
    const error = tooLargeArrived(bytes.length, this.maxMessage)
    if (!this.sink.broken) return this.abort(error)
    this.mailbox.ignore()
    this.sink.broken(error)
  }

  private readonly onDisconnect = (): void => {
    const { child } = this
    const lost = (): void =>
      this.mailbox.lost(child ? ended(child) : new TalkwireError('CONNECTION_LOST', 'the parent is gone, or it disconnected'))
    if (!child || hasExited(child)) return lost()
    const timer = setTimeout(lost, EXPLANATION)
    child.once('exit', () => {
      clearTimeout(timer)
      lost()
    })
  }
}

const hasExited = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null

function ended(child: ChildProcess): TalkwireError {
  const { exitCode, signalCode: signal } = child
  if (!hasExited(child)) return new TalkwireError('CONNECTION_LOST', `the child ${child.pid} disconnected`, { outcome: 'maybe-ran' })
  return new TalkwireError('PEER_EXITED', `the child ${child.pid} ended with ${signal ?? `exit code ${exitCode}`}`, {
    details: { exitCode, signal },
    outcome: 'maybe-ran',
  })
}

function ignore(): void {}
