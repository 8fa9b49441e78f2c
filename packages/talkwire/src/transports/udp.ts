/** Datagrams: `udp://127.0.0.1:7000`. Messages may be lost and overtake each other; none comes twice. spec/udp.md. */
import dgram from 'node:dgram'
import net from 'node:net'
import { TalkwireError } from '../error.js'
import { MessageConnection } from './message-connection.js'
import { joinGroup, parseGroup, speakToGroup } from './udp-group.js'
import { PlainPipe } from './udp-plain.js'
import { fromSystem } from './socket.js'
import { bindable, hostPort, isLoopback, type TcpOptions } from './tcp.js'
import {
  HANDSHAKE,
  type Accept,
  type Connection,
  type Listener,
  type Sink,
  type Traits,
  type Transport,
  type TransportOptions,
} from './transport.js'
import { FIRST_RETRY, UdpPipe, type Wire } from './udp-connection.js'
import {
  COOKIE,
  Cookies,
  createPacket,
  HEADER,
  HELLO_BYTES,
  MAX_PAYLOAD,
  newId,
  Packet,
  parsePacket,
  type PacketKind,
  type ParsedPacket,
} from './udp-packets.js'

/** Milliseconds between tries at most. */
const LAST_RETRY = 1000
const traits: Traits = {
  ordered: false,
  reliable: false,
  backpressure: false,
  crossProcess: true,
  crossHost: true,
  manyConnections: true,
  peerCredentials: false,
  maxMessage: MAX_PAYLOAD,
}

export const udp: Transport<TcpOptions> = {
  scheme: 'udp',
  traits,

  async connect(address, sink, options = {}) {
    options.signal?.throwIfAborted()
    const group = parseGroup(address)
    if (group) return joinGroup(group, address, sink, options)
    const { host, port } = hostPort(address)
    const socket = dgram.createSocket(net.isIPv6(host) ? 'udp6' : 'udp4')
    try {
      await ready(socket, () => socket.connect(port, host), 'connect')
      return await agree(socket, address, host, sink, options)
    } catch (reason) {
      socket.on('error', () => {}).close()
      throw fromSystem(reason, `cannot connect to ${address}`)
    }
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    const group = parseGroup(address)
    if (group) return speakToGroup(group, address, accept, options)
    const { host, port } = await bindable(
      address,
      options.authenticated || options.insecure,
      'give both sides an authkey, or say insecure: true',
    )
    const socket = dgram.createSocket(net.isIPv6(host.replace(/%.*/, '')) ? 'udp6' : 'udp4')
    try {
      await ready(socket, () => socket.bind({ port, address: host, exclusive: true }), 'listening')
    } catch (reason) {
      socket.close()
      throw fromSystem(reason, `cannot listen on ${address}`)
    }
    return new UdpListener(socket, address.replace(/:\d+\/?$/, `:${socket.address().port}`), accept, options)
  },
}

/** Resolves with the event. Rejects with the socket's error. */
function ready(socket: dgram.Socket, begin: () => void, event: 'connect' | 'listening'): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once(event, () => {
      socket.off('error', reject)
      resolve()
    })
    begin()
  })
}

// ── the client ───────────────────────────────────────────────────────────────────────────────────

/** Asks for a cookie, shows it, and has a connection. Each step is repeated until it is answered. */
function agree(
  socket: dgram.Socket,
  address: string,
  host: string,
  sink: Sink,
  { signal, handshake = HANDSHAKE, maxMessage }: TransportOptions,
): Promise<Connection> {
  const id = newId()
  return new Promise((resolve, reject) => {
    let step = createPacket(Packet.hello, id, 0, HELLO_BYTES - HEADER)
    let pause = FIRST_RETRY
    let retry: NodeJS.Timeout
    const say = (): void => {
      socket.send(step, () => {})
      retry = setTimeout(say, pause)
      pause = Math.min(2 * pause, LAST_RETRY)
    }
    const settle = (): void => {
      clearTimeout(retry)
      clearTimeout(limit)
      signal?.removeEventListener('abort', onAbort)
      socket.removeAllListeners('message').removeAllListeners('error')
    }
    const fail = (reason: unknown): void => {
      settle()
      reject(reason as Error)
    }
    const onAbort = (): void => fail(signal!.reason)
    const limit = setTimeout(
      () =>
        fail(new TalkwireError('PEER_NOT_FOUND', `${address} did not answer within ${handshake} ms; check the address and the network`)),
      handshake,
    )
    signal?.addEventListener('abort', onAbort)
    socket.on('error', fail)
    socket.on('message', (bytes) => {
      const packet = parsePacket(bytes)
      if (packet?.id !== id) return
      if (packet.kind === Packet.cookie && bytes.length === HEADER + COOKIE) {
        step = createPacket(Packet.open, id, 0, COOKIE)
        bytes.copy(step, HEADER, HEADER)
        clearTimeout(retry)
        say()
      } else if (packet.kind !== Packet.cookie) {
        settle()
        resolve(join(socket, id, address, host, sink, maxMessage, packet, bytes))
      }
    })
    say()
  })
}

/** What came may be the server's first message: it is sent when the server has opened, and may overtake the word that it has. */
function join(
  socket: dgram.Socket,
  id: string,
  address: string,
  host: string,
  sink: Sink,
  maxMessage: number | undefined,
  first: ParsedPacket,
  firstBytes: Buffer,
): Connection {
  let released = false
  const wire: Wire = {
    send: (bytes, sent) => (released ? sent() : socket.send(bytes, sent)),
    release() {
      released = true
      // What was sent last leaves first.
      setImmediate(() => socket.close())
    },
    ref: () => void (released || socket.ref()),
    unref: () => void (released || socket.unref()),
  }
  const pipe = new UdpPipe(id, { address, host }, wire, maxMessage)
  socket.on('message', (bytes) => {
    const packet = parsePacket(bytes)
    if (packet?.id === id) pipe.receive(packet, bytes)
  })
  // ECONNREFUSED: the other host says that nobody has the port.
  socket.on('error', (reason) => pipe.lose(fromSystem(reason, `the connection to ${address} is lost`)))
  const connection = new MessageConnection(pipe)
  pipe.attach(sink)
  queueMicrotask(() => pipe.receive(first, firstBytes))
  return connection
}

// ── the server ───────────────────────────────────────────────────────────────────────────────────

class UdpListener implements Listener {
  private readonly pipes = new Map<string, UdpPipe>()
  private readonly cookies = new Cookies()
  private closed = false
  private plain = 0

  constructor(
    private readonly socket: dgram.Socket,
    readonly address: string,
    private readonly accept: Accept,
    private readonly options: TransportOptions,
  ) {
    // Of one datagram, such as EMSGSIZE or an answer to a port that is closed: the service goes on.
    socket.on('error', () => {})
    socket.on('message', (bytes, from) => this.receive(bytes, from))
  }

  /** Open connections keep the socket. */
  async close(): Promise<void> {
    this.closed = true
    await this.closeIfUnused()
  }

  private closing: Promise<void> | undefined

  private closeIfUnused(): Promise<void> {
    if (!this.closed || this.pipes.size > 0 || this.plain > 0) return Promise.resolve()
    return (this.closing ??= new Promise((resolve) => this.socket.close(resolve)))
  }

  private receive(bytes: Buffer, from: dgram.RemoteInfo): void {
    const packet = parsePacket(bytes)
    if (!packet) return this.receivePlain(bytes, from)
    const pipe = this.pipes.get(packet.id)
    if (pipe) {
      // Nobody else's datagrams are believed, whoever has learned the id.
      if (pipe.peer.address !== nameOf(from)) return
      if (packet.kind === Packet.open) this.answer(createPacket(Packet.opened, packet.id), from)
      else pipe.receive(packet, bytes)
    } else if (!this.closed && packet.kind === Packet.hello && bytes.length >= HELLO_BYTES) this.giveCookie(packet.id, from)
    else if (!this.closed && packet.kind === Packet.open) this.open(packet.id, bytes.subarray(HEADER), from)
    else this.answerUnknown(packet.kind, packet.id, from)
  }

  /** Keeps nothing: whoever sends the cookie back is where it says it is. */
  private giveCookie(id: string, from: dgram.RemoteInfo): void {
    const packet = createPacket(Packet.cookie, id, 0, COOKIE)
    this.cookies.make(from.address, from.port, id).copy(packet, HEADER)
    this.answer(packet, from)
  }

  private open(id: string, cookie: Buffer, from: dgram.RemoteInfo): void {
    if (!this.cookies.isGood(cookie, from.address, from.port, id)) return
    const wire: Wire = {
      send: (bytes, sent) => (this.closing ? sent() : this.socket.send(bytes, from.port, from.address, sent)),
      release: () => {
        this.pipes.delete(id)
        setImmediate(() => void this.closeIfUnused())
      },
      // The socket is the listener's.
      ref() {},
      unref() {},
    }
    const pipe = new UdpPipe(id, { address: nameOf(from), host: from.address }, wire, this.options.maxMessage)
    this.pipes.set(id, pipe)
    this.answer(createPacket(Packet.opened, id), from)
    pipe.attach(this.accept(new MessageConnection(pipe)))
  }

  /** A connection that is over here, or was of a process before this one. No answer is longer than what it answers. */
  private answerUnknown(kind: PacketKind, id: string, from: dgram.RemoteInfo): void {
    if (kind === Packet.close) this.answer(createPacket(Packet.closed, id), from)
    else if (kind === Packet.data) this.answer(createPacket(Packet.abort, id), from)
  }

  private receivePlain(bytes: Buffer, from: dgram.RemoteInfo): void {
    if (this.closed || !PlainPipe.isText(bytes)) return
    const most = isLoopback(from.address) ? MAX_PAYLOAD : PlainPipe.mostFor(bytes)
    if (most === undefined) return
    this.plain++
    const pipe = new PlainPipe({ address: nameOf(from), host: from.address }, Math.min(most, this.options.maxMessage ?? most), {
      answer: (answer) => this.answer(answer, from),
      ended: () => {
        this.plain--
        setImmediate(() => void this.closeIfUnused())
      },
    })
    pipe.deliver(bytes, this.accept(new MessageConnection(pipe)))
  }

  private answer(bytes: Buffer, { port, address }: dgram.RemoteInfo): void {
    if (!this.closing) this.socket.send(bytes, port, address, () => {})
  }
}

const nameOf = ({ address, family, port }: dgram.RemoteInfo): string =>
  `udp://${(family as string) === 'IPv6' ? `[${address}]` : address}:${port}`
