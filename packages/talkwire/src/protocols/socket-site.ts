/**
 * What protocols of bytes have in common: a place to listen (a socket with mode 0600 that only our own uid and root reach, or
 * TCP), a connection to it, and answers in the order of the calls.
 */
import net from 'node:net'
import type { Duplex } from 'node:stream'
import { parseAddress } from '../address.js'
import { TalkwireError } from '../error.js'
import type { Guest } from '../transports/one-port.js'
import { fromSystem, listening, open } from '../transports/socket.js'
import { bindable, boundAddress, hostPort, remoteOf } from '../transports/tcp.js'
import type { ConnectionBase, Listener, Peer } from '../transports/transport.js'
import { admit, listenPath, patiently, peerOf, socketPath } from '../transports/unix.js'
import type { Answer, DialectClientOptions, DialectServerOptions } from './dialect.js'
import { timeFor, tooSlow } from './slowness.js'

/** Milliseconds of silence after which the kernel asks whether the other host is there. */
const KEEP_ALIVE = 30_000

/** A socket's path, and not a host and port. */
export const isPath = (address: string): boolean => !parseAddress(address).rest.startsWith('//')

/** Who came has to show who it is, in time. Returns what is to be called when it has. */
export type Meet = () => () => void

/** `begin` gets each socket that may come in, before its first byte. */
export type Begin = (socket: net.Socket, peer: Peer, meet: Meet) => void

/** Those who have not shown yet who they are: each has some time for that, and none keeps a listener that closes. */
function strangers(patience: number): { meet(socket: net.Socket): () => void; end(): void } {
  const unknown = new Map<net.Socket, NodeJS.Timeout>()
  return {
    meet(socket) {
      const forget = (): void => {
        clearTimeout(unknown.get(socket))
        unknown.delete(socket)
      }
      unknown.set(
        socket,
        setTimeout(() => socket.destroy(), patience),
      )
      socket.once('close', forget)
      return forget
    },
    end() {
      for (const socket of unknown.keys()) socket.destroy()
    },
  }
}

/**
 * Listens at `scheme://host:port` or `scheme:/path`; `guarded`: whoever connects over TCP has to show who it is; undefined: the protocol has no way to.
 * `paused`: what came is not read by Node. Rejects as `Dialect.listen`.
 */
export async function listenSockets(
  address: string,
  guarded: boolean | undefined,
  options: DialectServerOptions,
  begin: Begin,
  paused = false,
): Promise<Listener> {
  options.signal?.throwIfAborted()
  const unknown = strangers(options.limits.handshake)
  const local = isPath(address)
  const server = net.createServer({ pauseOnConnect: paused }, (socket) => {
    socket.on('error', () => {})
    let peer: Peer
    try {
      peer = local
        ? admit(peerOf(address, socket), parseAddress(address).rest.startsWith('@'), options)
        : remoteOf(parseAddress(address).scheme, socket, address)
    } catch {
      // Refused before its first byte: whoever is not allowed in is told nothing.
      return void socket.destroy()
    }
    begin(socket, peer, () => unknown.meet(socket))
  })
  server.maxConnections = options.limits.connections
  if (local) {
    const listener = await listenPath(server, address, socketPath(address))
    return { address, close: async () => (unknown.end(), listener.close()) }
  }
  const { host, port } = await bindable(
    address,
    guarded === true || options.insecure,
    guarded === undefined ? 'say insecure: true' : 'give both sides an authkey, or say insecure: true',
  )
  server.on('connection', (socket) => void socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE))
  await listening(server, () => server.listen({ host, port }), address)
  return { address: boundAddress(address, server), close: async () => (unknown.end(), void server.close()) }
}

/** The same beside others on one listener, for connections whose first bytes `recognises` knows. */
export function socketGuest(name: string, recognises: Guest['recognises'], options: DialectServerOptions, begin: Begin): Guest {
  const unknown = strangers(options.limits.handshake)
  return {
    name,
    recognises,
    take(socket, peer) {
      // Whoever shares the listener may want to answer after the other side's end; here that is the end of both.
      socket.allowHalfOpen = false
      begin(socket, peer, () => unknown.meet(socket))
    },
    close: () => unknown.end(),
  }
}

/** Rejects with PEER_NOT_FOUND, PERMISSION_DENIED, INVALID_ADDRESS, or the signal's reason. `paused`: Node does not read it. */
export async function dialSocket(address: string, options: Dialling, paused = false): Promise<net.Socket> {
  const target = isPath(address)
    ? { path: socketPath(address) }
    : { ...hostPort(address), noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE }
  return dialTarget(target, address, options, paused)
}

export type Dialling = Pick<DialectClientOptions, 'limits' | 'signal'>

/** The same for what is no address of ours. */
export async function dialTarget(
  target: net.NetConnectOpts,
  address: string,
  { limits, signal }: Dialling,
  paused: boolean,
): Promise<net.Socket> {
  signal?.throwIfAborted()
  const connecting = (): net.Socket => {
    const socket = net.connect(target)
    // Otherwise Node reads as soon as it is connected.
    if (paused) socket.pause()
    return socket
  }
  const options = { handshake: limits.handshake, ...(signal && { signal }) }
  const explain = (reason: unknown): unknown => fromSystem(reason, `cannot connect to ${address}`)
  return patiently(limits.handshake, () =>
    open(connecting(), 'connect', address, options, explain, (socket) => socket.on('error', () => {})),
  )
}

/** A socket, or what is read and written as one. */
export type ByteStream = Duplex & { ref(): unknown; unref(): unknown }

/** A socket as a session sees it. Tells `onClosed` once. */
export class SocketConnection<S extends ByteStream = net.Socket> implements ConnectionBase {
  readonly unsent = 0
  /** Bytes that wait for their turn in front of the socket. */
  waiting = 0
  /** Who reads, where Node does not. */
  reading: Pick<net.Socket, 'pause' | 'resume' | 'ref' | 'unref'> | undefined
  private cause: TalkwireError | undefined
  private closing = false
  private readonly holders = new Set<string>()

  constructor(
    readonly socket: S,
    readonly peer: Peer,
    onClosed: (cause: TalkwireError | undefined) => void,
  ) {
    socket.on('error', (reason) => {
      if (!this.closing) this.cause ??= fromSystem(reason, 'the connection broke')
    })
    socket.once('close', () => onClosed(this.cause))
  }

  get buffered(): number {
    return this.socket.writableLength + this.waiting
  }

  pause(): void {
    this.hold('session', true)
  }

  resume(): void {
    this.hold('session', false)
  }

  get held(): boolean {
    return this.holders.size > 0
  }

  /** Reads on when nobody holds it any more. */
  hold(who: string, on: boolean): void {
    if (on) this.holders.add(who)
    else if (!this.holders.delete(who)) return
    const reading = this.reading ?? this.socket
    if (this.holders.size > 0) reading.pause()
    else reading.resume()
  }

  close(): Promise<void> {
    this.closing = true
    return new Promise((resolve) => {
      if (this.socket.destroyed) return resolve()
      this.socket.once('close', () => resolve())
      this.socket.end()
      // What a peer still sends would keep the connection open.
      if (this.reading) this.reading.resume()
      else this.socket.removeAllListeners('data').resume()
    })
  }

  abort(cause: TalkwireError): void {
    this.cause ??= cause
    this.socket.destroy()
  }

  ref(): void {
    this.socket.ref()
    this.reading?.ref()
  }

  unref(): void {
    this.socket.unref()
    this.reading?.unref()
  }
}

/** Ends a connection whose message has begun and does not go on: who sends half of one holds its memory. What we do not read does not count. */
export class Pace {
  private timer: NodeJS.Timeout | undefined
  private begun: number | undefined

  /** `partial`: bytes of a message that is not whole; undefined between two. */
  constructor(
    private readonly connection: SocketConnection<ByteStream>,
    private readonly handshake: number,
    private readonly partial: () => number | undefined,
  ) {
    connection.socket.once('close', () => clearTimeout(this.timer))
  }

  /** A message is whole: the next one has its own time. */
  whole(): void {
    this.begun = undefined
  }

  /** What came was looked at. `expected`: nothing came, and something must. */
  look(expected = false): void {
    if (!expected && this.partial() === undefined) return
    this.begun ??= performance.now()
    this.timer ??= this.wait(this.handshake)
  }

  private wait(milliseconds: number): NodeJS.Timeout {
    return setTimeout(() => this.judge(), Math.max(1, milliseconds)).unref()
  }

  private judge(): void {
    this.timer = undefined
    if (this.begun === undefined) return
    const { connection, handshake } = this
    const now = performance.now()
    if (connection.held) this.begun = now
    const left = this.begun + timeFor(this.partial() ?? 0, handshake) - now
    if (left > 0) this.timer = this.wait(left)
    else connection.abort(tooSlow('a message', handshake))
  }
}

/** Answers leave in the order of the calls, whatever the order in which they are ready. */
export class InOrder {
  private readonly turns: Turn[] = []

  constructor(private readonly send: (bytes: Buffer) => void) {}

  /** The place of one call's answer. */
  next(): Turn {
    const turn: Turn = {
      waiting: [],
      over: false,
      send: (bytes) => this.take(turn, bytes, false),
      end: (bytes) => this.take(turn, bytes, true),
    }
    this.turns.push(turn)
    return turn
  }

  get length(): number {
    return this.turns.length
  }

  private take(turn: Turn, bytes: Buffer | undefined, last: boolean): void {
    if (turn.over) return
    turn.over = last
    if (this.turns[0] !== turn) {
      if (bytes) turn.waiting.push(bytes)
      return
    }
    if (bytes) this.send(bytes)
    if (!last) return
    this.turns.shift()
    for (let first = this.turns[0]; first; first = this.turns[0]) {
      for (const each of first.waiting.splice(0)) this.send(each)
      if (!first.over) return
      this.turns.shift()
    }
  }
}

export interface Turn {
  readonly waiting: Buffer[]
  over: boolean
  send(bytes: Buffer): void
  /** The last of it; undefined: there is nothing to say. */
  end(bytes?: Buffer): void
}

/** Calls of a client whose answers come in their order. */
export class Pending {
  private readonly answers: Answer[] = []

  add(answer: Answer): void {
    this.answers.push(answer)
  }

  get first(): Answer | undefined {
    return this.answers[0]
  }

  /** The first of them is answered. */
  shift(): Answer | undefined {
    return this.answers.shift()
  }

  fail(cause: TalkwireError): void {
    for (const answer of this.answers.splice(0)) answer.error(cause)
  }
}

export const lost = (cause: TalkwireError | undefined): TalkwireError =>
  (cause ?? new TalkwireError('CONNECTION_LOST', 'the other side ended the connection')).withOutcome('maybe-ran')
