/** The calling end of HTTP/2: gRPC's and Connect's. */
import http2, { type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2'
import net from 'node:net'
import tls from 'node:tls'
import { TalkwireError } from '../error.js'
import { fromSystem, open } from '../transports/socket.js'
import { hostPort } from '../transports/tcp.js'
import type { Peer } from '../transports/transport.js'
import { peerOf } from '../transports/unix.js'
import type { DialectClientOptions } from './dialect.js'
import { Http2ConnectionBase } from './grpc-http2.js'
import { isPath, lost } from './socket-site.js'

const MEGABYTE = 1_000_000
/** How often a connection is looked at, in milliseconds. */
const LOOK = 250
/** Bytes of the answer to settings; Node ends a session that waits for ten of them. */
const ANSWER = 9
const MOST_UNANSWERED = 5

type Opening = Pick<DialectClientOptions, 'tls' | 'limits' | 'signal'>

/** `protocols`: what is offered; the socket has what was agreed on, or `h2` was not. Rejects as `Dialect.connect`. */
export function dialTls(address: string, protocols: readonly string[], { tls: settings, limits, signal }: Opening): Promise<tls.TLSSocket> {
  const { host, port } = hostPort(address)
  const socket = tls.connect({ servername: net.isIP(host) ? '' : host, ...settings, host, port, ALPNProtocols: [...protocols] })
  socket.setNoDelay(true)
  const options = { handshake: limits.handshake, ...(signal && { signal }) }
  const explain = (reason: unknown): TalkwireError => {
    const { code = '', syscall } = reason as NodeJS.ErrnoException
    if (syscall !== undefined || code === 'ECONNRESET') return fromSystem(reason, `cannot connect to ${address}`)
    return new TalkwireError(
      'UNAUTHENTICATED',
      `${address} cannot be trusted: ${(reason as Error).message} (${code}); pass tls: { ca } of who vouches for it`,
      { cause: reason },
    )
  }
  return open(socket, 'secureConnect', address, options, explain, () => {
    if (!protocols.includes(socket.alpnProtocol || 'http/1.1'))
      throw new TalkwireError('PEER_NOT_FOUND', `${address} does not speak HTTP/2; take connect+https: where it speaks Connect`)
    return socket
  })
}

/** Data is listened to once the head was told of: of what came in one read with its head Node tells first, if somebody listens. */
export function hear(
  stream: ClientHttp2Stream,
  head: (headers: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader) => void,
  data: (chunk: Buffer) => void,
): void {
  stream.on('response', (headers) => {
    head(headers)
    stream.on('data', data)
  })
}

/** One connection to a server, for all calls. */
export class Http2ClientConnection extends Http2ConnectionBase {
  readonly peer: Peer
  readonly authority: string
  readonly session: ClientHttp2Session
  readonly headers: Readonly<Record<string, string>>

  constructor(
    readonly address: string,
    private readonly socket: net.Socket,
    secure: boolean,
    { limits, token, onClosed }: Pick<DialectClientOptions, 'limits' | 'token' | 'onClosed'>,
  ) {
    super()
    const local = isPath(address)
    this.authority = local ? 'localhost' : address.replace(/^[^/]*\/\//, '').replace(/\/$/, '')
    this.peer = local ? peerOf(address, socket) : { address, host: hostPort(address).host }
    this.headers = {
      ':method': 'POST',
      ':scheme': secure ? 'https' : 'http',
      ':authority': this.authority,
      'user-agent': 'talkwire',
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    }
    this.session = http2.connect(`${secure ? 'https' : 'http'}://${this.authority}`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: limits.window },
      maxSessionMemory: Math.ceil((2 * (limits.message + limits.outgoing)) / MEGABYTE),
    })
    this.session.on('error', (reason) => (this.cause ??= fromSystem(reason, 'the connection broke')))
    this.session.once('remoteSettings', () => (this.heard = true))
    this.session.once('connect', () => {
      this.session.setLocalWindowSize(Math.max(limits.window * 4, 1 << 20))
      const timer = setInterval(() => this.look(), LOOK).unref()
      this.session.once('close', () => clearInterval(timer))
    })
    this.session.on('goaway', () => this.leave())
    this.session.once('close', () =>
      onClosed(this.closing ? undefined : (this.cause ?? new TalkwireError('CONNECTION_CLOSED', `${address} ended the connection`))),
    )
  }

  /** Whoever takes no more calls on this connection gets them on another one. */
  gone = false
  private closing = false
  /** The other side has said something of HTTP/2. */
  private heard = false

  /** Why a call was not answered. */
  lost(): TalkwireError {
    if (this.heard) return lost(this.cause)
    const text = `${this.address} ended the connection without a word of HTTP/2; is gRPC or Connect there, and without TLS?`
    return lost(this.cause ?? new TalkwireError('CONNECTION_LOST', text))
  }

  private leave(): void {
    this.gone = true
    if (!this.session.destroyed) this.session.close()
  }

  private seen = 0
  private asked: number | undefined
  private unanswered = 0

  /**
   * Who has read what is no HTTP/2 reads and writes no more, and Node tells nobody: calls would wait for ever. So after bytes have come
   * something harmless is written; where that does not leave although the socket takes more, the connection is over.
   */
  private look(): void {
    const { session, socket } = this
    if (session.destroyed) return
    if (this.asked === undefined) {
      if (socket.bytesRead === this.seen || this.unanswered === MOST_UNANSWERED) return
      this.seen = socket.bytesRead
      this.unanswered++
      // A window that grows would not be written before something else is. The answer is nothing to look at again.
      session.settings({}, () => {
        this.unanswered--
        this.seen += ANSWER
      })
      this.asked = socket.bytesWritten
    } else if (session.state.outboundQueueSize === 0 || socket.bytesWritten !== this.asked) this.asked = undefined
    else if (waitingIn(socket) === 0)
      this.abort(
        new TalkwireError(
          'INVALID_MESSAGE',
          `${this.address} says what is no HTTP/2${this.heard ? '' : '; is gRPC or Connect there, and without TLS?'}`,
        ),
      )
  }

  get buffered(): number {
    return this.socket.writableLength
  }

  protected closes(): void {
    this.closing = true
  }
}

/** Bytes that the kernel has not taken. */
const waitingIn = (socket: net.Socket): number =>
  (socket as unknown as { _handle?: { writeQueueSize?: number } | null })._handle?.writeQueueSize ?? 0
