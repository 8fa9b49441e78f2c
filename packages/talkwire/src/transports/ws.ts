/**
 * WebSocket: `ws://127.0.0.1:8080`, `wss://bank.example`. Everything a session says, for browsers and whatever passes proxies.
 * A message of ours is a message there: JSON in text frames, the rest in binary ones. RFC 6455.
 */
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import { isUtf8 } from 'node:buffer'
import type { Duplex } from 'node:stream'
import type { Socket } from 'node:net'
import type { WebSocket } from 'ws'
import { TalkwireError } from '../error.js'
import { HttpGuard, listenGuarded, noToken, refuseUpgrade, type GuardOptions } from './http-guard.js'
import { MessageConnection, type MessagePipe } from './message-connection.js'
import { connectionClosed, tooLargeArrived } from './refusals.js'
import { fromSystem } from './socket.js'
import { bindable, hostPort, remoteOf } from './tcp.js'
import { MAX_MESSAGE, type Peer, type Sink, type Traits, type Transport, type TransportOptions } from './transport.js'

/** The sub-protocol: a session's messages. */
export const SUBPROTOCOL = 'talkwire.v1'
/** The same, and whoever sends no more says so in a ping: Close, unlike a socket's FIN, ends both directions. Browsers cannot ping. */
const WITH_ENDS = 'talkwire.v1+end'
const END = Buffer.from('end')
/** A browser cannot set headers: it shows the token as a sub-protocol beside ours. */
export const TOKEN_PREFIX = 'talkwire.token.'
/** Bytes that may wait here before a send says false, and to which they must fall before more is taken. */
const HIGH = 256 * 1024
const LOW = 64 * 1024
/** Milliseconds for the peer's answer to our closing. */
const FAREWELL = 2_000
/** Milliseconds for the request that begins a connection, where no limit is given. */
const HANDSHAKE = 5_000

const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: true,
  manyConnections: true,
  peerCredentials: false,
}

export interface WsOptions extends TransportOptions, Omit<GuardOptions, 'secure'> {
  readonly tls?: import('node:tls').ConnectionOptions | import('node:tls').TlsOptions
  readonly insecure?: boolean
}

const transport = (scheme: 'ws' | 'wss'): Transport<WsOptions> => ({
  scheme,
  tokens: true,
  traits,
  connect: (address, sink, options = {}) => connect(address, sink, options),
  listen: (address, accept, options = {}) => listen(scheme, address, accept, options),
})
export const ws = transport('ws')
export const wss = transport('wss')

async function library(): Promise<typeof import('ws')> {
  try {
    return (await import('ws')) as typeof import('ws')
  } catch (cause) {
    throw new TalkwireError('MISSING_PACKAGE', 'ws: needs the package "ws"; run npm install ws', { cause })
  }
}

/** More than the limit: what is somewhat too large is refused with a word, what is far too large is cut off while it comes. */
const cutOff = (limit: number): number => Math.min(2 * limit + 1024 * 1024, 2 ** 31 - 1)

async function connect(address: string, sink: Sink, options: WsOptions): Promise<MessageConnection> {
  options.signal?.throwIfAborted()
  const { host, port } = hostPort(address)
  const { WebSocket } = await library()
  const { maxMessage = MAX_MESSAGE, handshake = HANDSHAKE, signal, token, tls } = options
  const secure = address.startsWith('wss:')
  const socket = new WebSocket(`${secure ? 'wss' : 'ws'}://${host.includes(':') ? `[${host}]` : host}:${port}/`, [WITH_ENDS, SUBPROTOCOL], {
    ...(tls as object),
    maxPayload: cutOff(maxMessage),
    perMessageDeflate: false,
    handshakeTimeout: handshake,
    ...(token && { headers: { authorization: `Bearer ${token}` } }),
  })
  return new Promise((resolve, reject) => {
    let stream: Socket | undefined
    const onAbort = (): void => fail(signal!.reason)
    const fail = (reason: unknown): void => {
      signal?.removeEventListener('abort', onAbort)
      socket.on('error', () => {}).terminate()
      reject(reason as Error)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.on('upgrade', (response) => {
      stream = response.socket
      // The first message may stand right behind the answer.
      const pipe = new WsPipe(socket, stream, { address, host }, maxMessage)
      const connection = new MessageConnection(pipe)
      pipe.open(sink)
      socket.once('open', () => {
        signal?.removeEventListener('abort', onAbort)
        socket.off('error', fail)
        resolve(connection)
      })
    })
    socket.on('unexpected-response', (_request, response) => {
      response.resume()
      fail(refused(address, response))
    })
    socket.on('error', (reason) => fail(stream ? reason : fromSystem(reason, `cannot connect to ${address}`)))
  })
}

function refused(address: string, { statusCode: status }: IncomingMessage): TalkwireError {
  if (status === 401) return noToken()
  if (status === 403) return new TalkwireError('PERMISSION_DENIED', `${address} does not let this host or page in (hosts, origins)`)
  if (status === 503) return new TalkwireError('UNAVAILABLE', `${address} takes no more connections now`)
  return new TalkwireError('PEER_NOT_FOUND', `${address} is HTTP, but no WebSocket of Talkwire: it answered with status ${status}`)
}

// ── listening ────────────────────────────────────────────────────────────────────────────────────

async function listen(scheme: 'ws' | 'wss', address: string, accept: (connection: MessageConnection) => Sink, options: WsOptions) {
  options.signal?.throwIfAborted()
  const secure = scheme === 'wss'
  const { host, port } = await bindable(
    address,
    (secure && options.token !== false) || options.insecure,
    secure ? 'keep the token, or say insecure: true' : 'take wss:, or say insecure: true',
  )
  const { handshake = HANDSHAKE } = options
  const guard = new HttpGuard({ ...options, secure })
  const settings = {
    maxHeaderSize: 16 * 1024,
    headersTimeout: handshake,
    requestTimeout: handshake,
    connectionsCheckingInterval: 500,
    noDelay: true,
  }
  const server = secure ? https.createServer({ ...settings, ...(options.tls as object) }) : http.createServer(settings)
  server.on('request', (_request, response) => {
    response.writeHead(426, { connection: 'upgrade, close', upgrade: 'websocket', 'content-type': 'text/plain' })
    response.end(`here is a WebSocket, and nothing else: ${scheme}://…\n`)
  })
  server.on('upgrade', (await upgrading(scheme, address, accept, options))(guard))
  return listenGuarded(server, guard, { host, port }, address)
}

type Upgrading = (guard: HttpGuard) => (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/** What to do with requests for WebSocket, on any server of HTTP. Rejects with MISSING_PACKAGE. */
export async function upgrading(
  scheme: string,
  address: string,
  accept: (connection: MessageConnection) => Sink,
  { maxMessage = MAX_MESSAGE }: TransportOptions,
): Promise<Upgrading> {
  const { WebSocketServer } = await library()
  const upgrades = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: cutOff(maxMessage),
    perMessageDeflate: false,
    handleProtocols: (offered) => [WITH_ENDS, SUBPROTOCOL].find((each) => offered.has(each)) ?? false,
  })
  return (guard) => (request, socket, head) => {
    const refusal = guard.judge(request).refusal?.status ?? (guard.knows(request, shownToken(request)) ? undefined : 401)
    if (refusal !== undefined) return refuseUpgrade(socket, refusal)
    upgrades.handleUpgrade(request, socket, head, (accepted) => {
      const peer = remoteOf(scheme, socket as Socket, address)
      const pipe = new WsPipe(accepted, socket as Socket, peer, maxMessage)
      pipe.open(accept(new MessageConnection(pipe)))
    })
  }
}

function shownToken({ headers }: IncomingMessage): string | undefined {
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((each) => each.trim())
  return offered.find((each) => each.startsWith(TOKEN_PREFIX))?.slice(TOKEN_PREFIX.length)
}

// ── a connection ─────────────────────────────────────────────────────────────────────────────────

const BRACKET = 0x5b
const BRACE = 0x7b
/** JSON goes as text, so that a hand-written peer sees what it can read. */
const isText = (bytes: Buffer): boolean => (bytes[0] === BRACE || bytes[0] === BRACKET) && isUtf8(bytes)

class WsPipe implements MessagePipe {
  readonly binary = true
  private sink: Sink | undefined
  private cause: TalkwireError | undefined
  /** This side sends no more; the other one does not. */
  private closing = false
  private peerEnded = false
  private over = false
  private congested = false
  /** What arrived was no message. */
  private deaf = false
  /** Messages of this turn: they leave together. */
  private held = 0
  private readonly whenOver: Promise<void>
  private resolveOver!: () => void

  constructor(
    private readonly socket: WebSocket,
    private readonly stream: Socket,
    readonly peer: Peer,
    readonly maxMessage: number,
  ) {
    this.whenOver = new Promise((resolve) => {
      this.resolveOver = resolve
    })
  }

  open(sink: Sink): void {
    this.sink = sink
    // It may have been aborted while it was accepted.
    if (this.over) return queueMicrotask(() => sink.closed(this.cause))
    const { socket } = this
    socket.binaryType = 'nodebuffer'
    socket.on('message', (bytes: Buffer) => this.onMessage(bytes))
    socket.on('ping', (text) => {
      if (this.hasEnds && text.equals(END)) this.onEnd()
    })
    socket.on('error', (reason: Error & { code?: string }) => {
      this.cause ??=
        reason.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'
          ? tooLargeArrived(cutOff(this.maxMessage), this.maxMessage)
          : new TalkwireError('CONNECTION_LOST', `the WebSocket broke: ${reason.message}`, { cause: reason, outcome: 'maybe-ran' })
    })
    socket.on('close', (code) => this.onClose(code))
  }

  private get hasEnds(): boolean {
    return this.socket.protocol === WITH_ENDS
  }

  private onMessage(bytes: Buffer): void {
    if (this.over || this.deaf) return
    try {
      if (bytes.length <= this.maxMessage) return this.sink!.message(bytes, 0, bytes.length, true)
    } catch (reason) {
      return this.abort(TalkwireError.from(reason))
    }
    const error = tooLargeArrived(bytes.length, this.maxMessage)
    if (!this.sink!.broken) return this.abort(error)
    this.deaf = true
    this.sink!.broken(error)
  }

  private onEnd(): void {
    if (this.peerEnded || this.over) return
    this.peerEnded = true
    if (this.closing) this.finish()
    else if (this.sink!.ended) this.sink!.ended()
    else void this.close()
  }

  private onClose(code: number): void {
    if (this.over) return
    this.over = true
    const orderly = code === 1000 || code === 1001 || code === 1005
    const lost = (): TalkwireError =>
      new TalkwireError('CONNECTION_LOST', `the peer is gone, and did not say so (WebSocket status ${code})`, { outcome: 'maybe-ran' })
    this.sink!.closed(this.cause ?? (orderly ? undefined : lost()))
    this.resolveOver()
  }

  send(bytes: Buffer): boolean {
    if (this.held++ === 0) {
      this.stream.cork()
      process.nextTick(this.release)
    }
    this.socket.send(bytes, { binary: !isText(bytes) }, this.onSent)
    if (this.socket.bufferedAmount < HIGH) return true
    this.congested = true
    return false
  }

  private readonly release = (): void => {
    this.held = 0
    this.stream.uncork()
  }

  private readonly onSent = (): void => {
    if (!this.congested || this.over || this.socket.bufferedAmount > LOW) return
    this.congested = false
    this.sink!.drained()
  }

  ended(): TalkwireError | undefined {
    if (!this.over && !this.closing && this.socket.readyState === 1) return undefined
    return this.cause ?? connectionClosed()
  }

  buffered(): number {
    return this.over ? 0 : this.socket.bufferedAmount
  }

  unsent(): number {
    return this.held
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }

  async close(): Promise<void> {
    if (!this.closing && !this.over) {
      this.closing = true
      // Also who does not read any more wants to know when the other side ends.
      this.socket.resume()
      if (this.peerEnded || !this.hasEnds) this.finish()
      else this.socket.ping(END)
    }
    return this.whenOver
  }

  /** The closing handshake of RFC 6455 § 7.1.2. */
  private finish(): void {
    this.socket.close(1000)
    // Only once everything is with the kernel: until then the peer has not been asked.
    const look = (): void => {
      if (this.over) return
      if (this.socket.bufferedAmount > 0) return void setTimeout(look, FAREWELL).unref()
      this.socket.terminate()
    }
    setTimeout(look, FAREWELL).unref()
  }

  abort(cause: TalkwireError): void {
    if (this.over) return
    this.cause ??= cause
    this.over = true
    this.socket.on('error', () => {}).terminate()
    this.sink?.closed(this.cause)
    this.resolveOver()
  }

  ref(): void {
    this.stream.ref()
  }

  unref(): void {
    this.stream.unref()
  }
}
