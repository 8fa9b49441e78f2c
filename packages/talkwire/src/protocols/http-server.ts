/**
 * What all protocols over HTTP share on the serving side: who may ask (Host, Origin, token), how much (headers, bodies, times),
 * and a session for each connection. RFC 9110, RFC 9112.
 */
import http from 'node:http'
import https from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { brotliDecompress, gunzip, inflate } from 'node:zlib'
import { TalkwireError } from '../error.js'
import { HttpGuard, listenGuarded, noToken, refuseUpgrade } from '../transports/http-guard.js'
import { bindable, remoteOf } from '../transports/tcp.js'
import type { ConnectionBase, Listener, Peer } from '../transports/transport.js'
import type { Admit, Caller, DialectServerOptions } from './dialect.js'
import { timeFor, tooSlow } from './slowness.js'

const HEADERS = 16 * 1024
/** Milliseconds that a connection may stay without a request. */
const KEEP_ALIVE = 30_000
/** Milliseconds between looks for connections whose headers are late. */
const LOOK = 1_000

export type Request = http.IncomingMessage
export type Response = http.ServerResponse<http.IncomingMessage>

/** One request that was let in. */
export interface Exchange {
  readonly request: Request
  readonly response: Response
  /** Without the query. */
  readonly path: string
  /** Without the question mark; '' where there is none. */
  readonly query: string
  /** The session of the request's connection. */
  readonly caller: Caller
  /** The answer leaves later than the call ends; until the function that this returns is called the connection stays. */
  owe(): () => void
}

/** What asks without a token: a page that holds nothing secret. Returns whether it answered. */
export type Public = (request: Request, response: Response, path: string) => boolean

export interface Site {
  readonly scheme: string
  /** Beside other sites on one listener: whether the path, without the query, is its own. Without it, it takes what nobody claims. */
  readonly claims?: (path: string) => boolean
  readonly handle: (exchange: Exchange) => void
  readonly public?: Public
  /** Writes an error as the protocol has it. */
  readonly refuse: (response: Response, status: number, error: TalkwireError) => void
  /** Events for connections of this protocol. */
  readonly onEvent?: (socket: Socket, event: string, payload: unknown) => boolean
  /** A connection closes on purpose: what would go on for ever ends. */
  readonly closing?: (socket: Socket) => void
  /** Takes over the connection of a request for another protocol. Its host and origin are known, its token is not asked for yet. */
  readonly upgrade?: (upgrade: Upgrade) => void
}

/** A connection that is to speak another protocol: RFC 9110 § 7.8. */
export interface Upgrade {
  readonly request: Request
  readonly socket: Socket
  /** What came behind the request. */
  readonly head: Buffer
  readonly path: string
  readonly peer: Peer
  /** Whether the request shows the token, or none is wanted. `shown` is one that came otherwise than in the header. */
  knows(shown?: string): boolean
  readonly admit: Admit
  refuse(status: number): void
}

/** Listens, and hands on what may come in. Rejects as `Dialect.listen`. */
export async function listenHttp(address: string, admit: Admit, site: Site, options: DialectServerOptions): Promise<Listener> {
  options.signal?.throwIfAborted()
  const secure = site.scheme.endsWith('https')
  const { host, port } = await bindable(
    address,
    (secure && options.token !== false) || options.insecure,
    secure ? 'keep the token, or say insecure: true' : `take ${site.scheme}s:, or say insecure: true`,
  )
  const settings = settingsFor(options)
  const server = secure ? https.createServer({ ...settings, ...options.tls }) : http.createServer(settings)
  server.maxConnections = options.limits.connections
  const guard = new HttpGuard({ ...options, secure })
  serveSite(server, guard, site, admit, (socket) => remoteOf(site.scheme, socket, address))
  return listenGuarded(server, guard, { host, port }, address)
}

export const settingsFor = ({ limits }: DialectServerOptions): http.ServerOptions => ({
  maxHeaderSize: HEADERS,
  headersTimeout: limits.handshake,
  requestTimeout: 0,
  keepAliveTimeout: KEEP_ALIVE,
  connectionsCheckingInterval: LOOK,
  noDelay: true,
})

/** Answers the requests of a server, whoever brings it its sockets. */
export function serveSite(server: http.Server, guard: HttpGuard, site: Site, admit: Admit, peerOf: PeerOf): void {
  const greeted = new WeakMap<Socket, Greeted>()
  server.on('request', (request: Request, response: Response) => {
    const { url = '/' } = request
    const mark = url.indexOf('?')
    const path = mark < 0 ? url : url.slice(0, mark)
    const { origin, refusal } = guard.judge(request)
    if (refusal) return turnAway(request, response, () => site.refuse(response, refusal.status, refusal.error))
    if (origin !== undefined && allowOrigin(request, response, origin)) return
    if (site.public?.(request, response, path)) return
    if (!guard.knows(request)) {
      response.setHeader('www-authenticate', 'Bearer')
      return turnAway(request, response, () => site.refuse(response, 401, noToken()))
    }
    const { socket } = request
    let known = greeted.get(socket)
    if (!known) greeted.set(socket, (known = greet(socket, peerOf(socket), site, admit)))
    const { caller, connection } = known
    site.handle({ request, response, path, query: mark < 0 ? '' : url.slice(mark + 1), caller, owe: () => connection.owe() })
  })
  if (site.upgrade) server.on('upgrade', upgradesOf(guard, site, admit, peerOf))
  server.on('clientError', onClientError)
}

type PeerOf = (socket: Socket) => Peer

/** What a server does with a request for another protocol. */
export function upgradesOf(
  guard: HttpGuard,
  site: Site,
  admit: Admit,
  peerOf: PeerOf,
): (request: Request, stream: Duplex, head: Buffer) => void {
  return (request, stream, head) => {
    const socket = stream as Socket
    const refuse = (status: number): void => refuseUpgrade(socket, status)
    const { refusal } = guard.judge(request)
    if (refusal) return refuse(refusal.status)
    const path = pathOf(request)
    site.upgrade!({ request, socket, head, path, peer: peerOf(socket), knows: (shown) => guard.knows(request, shown), admit, refuse })
  }
}

/** Without the query. */
export const pathOf = ({ url = '/' }: Request): string => url.replace(/\?.*$/s, '')

/** The headers of CORS, for a page that may call. Returns whether it only asked for them. https://fetch.spec.whatwg.org/#http-cors-protocol */
function allowOrigin(request: Request, response: Response, origin: string): boolean {
  response.setHeader('access-control-allow-origin', origin)
  response.setHeader('access-control-expose-headers', '*')
  response.setHeader('vary', 'origin')
  if (request.method !== 'OPTIONS') return false
  response
    .writeHead(204, {
      'access-control-allow-methods': 'GET, POST, DELETE',
      'access-control-allow-headers': request.headers['access-control-request-headers'] ?? '',
      'access-control-max-age': '600',
    })
    .end()
  return true
}

/** What was asked may still be sending: its rest is not read, and the connection ends. */
export function turnAway(request: Request, response: Response, refuse: () => void): void {
  if (!request.complete) response.setHeader('connection', 'close')
  refuse()
  request.resume()
}

/** Not even HTTP: RFC 9112 § 2.2. */
function onClientError(error: NodeJS.ErrnoException, socket: import('node:stream').Duplex): void {
  const status =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? '431 Request Header Fields Too Large'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? '408 Request Timeout'
        : '400 Bad Request'
  if (socket.writable && error.code !== 'ECONNRESET') socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  else socket.destroy()
}

interface Greeted {
  readonly caller: Caller
  readonly connection: SocketConnection
}

function greet(socket: Socket, peer: Peer, site: Site, admit: Admit): Greeted {
  const connection = new SocketConnection(socket, peer, () => site.closing?.(socket))
  const caller = admit(connection, site.onEvent && ((event, payload) => site.onEvent!(socket, event, payload)))
  socket.on('drain', () => caller.drained())
  socket.once('close', () => caller.closed(connection.cause))
  return { caller, connection }
}

/** A connection of HTTP as a session sees it. */
export class SocketConnection implements ConnectionBase {
  cause: TalkwireError | undefined
  readonly unsent = 0
  private owed = 0
  private onPaid: (() => void) | undefined

  constructor(
    private readonly socket: Socket,
    readonly peer: ConnectionBase['peer'],
    private readonly onClosing?: () => void,
  ) {}

  get buffered(): number {
    return this.socket.writableLength
  }

  // Requests of one connection come one after the other: each waits for the answer before it.
  pause(): void {}
  resume(): void {}

  owe(): () => void {
    this.owed++
    let paid = false
    return () => {
      if (paid) return
      paid = true
      if (--this.owed === 0) this.onPaid?.()
    }
  }

  close(): Promise<void> {
    this.onClosing?.()
    return new Promise((resolve) => {
      if (this.socket.destroyed) return resolve()
      this.socket.once('close', () => resolve())
      const end = (): void => {
        this.socket.end()
        // What a client still sends would keep the connection open.
        this.socket.resume()
      }
      if (this.owed === 0) end()
      else this.onPaid = end
    })
  }

  abort(cause: TalkwireError): void {
    this.cause ??= cause
    this.socket.destroy()
  }

  ref(): void {
    this.socket.ref()
  }

  unref(): void {
    this.socket.unref()
  }
}

// ── bodies ───────────────────────────────────────────────────────────────────────────────────────

type Inflate = (body: Buffer, options: { maxOutputLength: number }, done: (reason: Error | null, inflated: Buffer) => void) => void
const inflaters: Readonly<Record<string, Inflate>> = { gzip: gunzip, 'x-gzip': gunzip, deflate: inflate, br: brotliDecompress }

const tooLarge = (limit: number): TalkwireError =>
  new TalkwireError('MESSAGE_TOO_LARGE', `a body of more than ${limit} bytes; send less at a time, or raise limits.message`)

/** Bodies that are on their way, each with what looks whether it comes too slowly. One timer for all: most are there in the next turn. */
const arriving = new Set<(now: number) => void>()
let looking: NodeJS.Timeout | undefined

function look(): void {
  const now = performance.now()
  for (const each of arriving) each(now)
  if (arriving.size > 0) return
  clearInterval(looking)
  looking = undefined
}

/** The whole body, inflated. The callback is called exactly once; not at all when the connection ends before. */
export function readBody(
  request: Request,
  { message, handshake }: { message: number; handshake: number },
  done: (error: TalkwireError | undefined, body: Buffer) => void,
): void {
  const announced = Number(request.headers['content-length'])
  if (announced > message) return done(tooLarge(message), EMPTY)
  const encoding = request.headers['content-encoding']
  const chunks: Buffer[] = []
  let size = 0
  let over = false
  const since = performance.now()
  const judge = (now: number): void => {
    if (now - since > timeFor(size, handshake)) finish(tooSlow('the body', handshake))
  }
  const finish = (error?: TalkwireError): void => {
    if (over) return
    over = true
    arriving.delete(judge)
    if (error) return done(error, EMPTY)
    const whole = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size)
    if (encoding === undefined || encoding === 'identity') return done(undefined, whole)
    decode(encoding, whole, message, done)
  }
  arriving.add(judge)
  looking ??= setInterval(look, LOOK).unref()
  request.on('data', (chunk: Buffer) => {
    if (over) return
    size += chunk.length
    if (size > message) return finish(tooLarge(message))
    chunks.push(chunk)
  })
  request.on('end', () => finish())
  request.on('close', () => arriving.delete(judge))
}

const EMPTY = Buffer.alloc(0)

function decode(encoding: string, body: Buffer, limit: number, done: (error: TalkwireError | undefined, body: Buffer) => void): void {
  const inflater = Object.hasOwn(inflaters, encoding) ? inflaters[encoding] : undefined
  if (!inflater)
    return done(
      new TalkwireError('UNSUPPORTED', `the content encoding ${JSON.stringify(encoding.slice(0, 40))} is not known here; take gzip or br`),
      EMPTY,
    )
  inflater(body, { maxOutputLength: limit }, (reason, inflated) => {
    if (!reason) done(undefined, inflated)
    else if ((reason as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') done(tooLarge(limit), EMPTY)
    else done(new TalkwireError('INVALID_MESSAGE', `the body is not ${encoding}: ${reason.message}`, { cause: reason }), EMPTY)
  })
}
