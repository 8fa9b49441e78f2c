/**
 * Where gRPC, gRPC-Web and Connect are reached: TCP, TLS and Unix sockets, HTTP/2 and HTTP/1.1 at one port, told apart by the
 * first bytes. Who may ask is asked here; what was asked is not known here. RFC 9113, RFC 9112.
 */
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import tls from 'node:tls'
import { parseAddress } from '../address.js'
import { TalkwireError } from '../error.js'
import { closerOf, HttpGuard, noToken } from '../transports/http-guard.js'
import type { Guest } from '../transports/one-port.js'
import { listening, silentOf } from '../transports/socket.js'
import { bindable, boundAddress, remoteOf } from '../transports/tcp.js'
import type { ConnectionBase, Listener, Peer } from '../transports/transport.js'
import { admit as admitPeer, listenPath, peerOf, socketPath } from '../transports/unix.js'
import type { Admit, Caller, DialectServerOptions } from './dialect.js'
import type { Headers } from './grpc-meta.js'
import { Http2ConnectionBase } from './grpc-http2.js'
import { serveSite, settingsFor, type Site } from './http-server.js'
import { isPath } from './socket-site.js'

const HEADERS = 16 * 1024
/** Milliseconds of silence after which the kernel asks whether the other host is there. */
const KEEP_ALIVE = 30_000
/** Calls of one HTTP/2 connection at a time: more wait at the client. */
const STREAMS = 1_000
/**
 * Settings, pings, resets and calls that are refused, which a client may send at once, and those that it may send each second. nghttp2 has a limit of 1000
 * for resets; past that it says goodbye, and leaves the connection open.
 */
const CHATTER = 900
const CHATTER_A_SECOND = 33
const PREFACE = Buffer.from('PRI')
/** RFC 9113 § 3.4. */
const WHOLE_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const MEGABYTE = 1_000_000

/** One request that was let in, and its answer. */
export interface Exchange {
  readonly method: string
  /** Without the query. */
  readonly path: string
  readonly query: string
  readonly headers: Headers
  readonly caller: Caller
  /** The session's connection, to tell one from another. */
  readonly connection: object
  readonly body: NodeJS.ReadableStream & { readonly readableEnded: boolean; destroy(): unknown }
  /** HTTP/2: has trailers, and both sides may speak at once. */
  readonly framed: boolean
  /** `trailers`: `end` will have some. */
  head(status: number, headers: Readonly<Record<string, string | number>>, trailers: boolean): void
  readonly begun: boolean
  /** `done` is called when it has left. */
  write(bytes: Uint8Array, done?: () => void): boolean
  end(bytes?: Uint8Array, trailers?: Readonly<Record<string, string>>): void
  /** Head and end in one. */
  only(status: number, headers: Readonly<Record<string, string | number>>, body?: Uint8Array): void
  /** Cuts it off. */
  destroy(): void
  /** The answer has left, or whoever asked is gone. */
  onClose(listener: () => void): void
}

export interface Refused {
  readonly status: number
  readonly error: TalkwireError
}

export interface GrpcSite {
  /** Beside other sites: whether the path is one of its own. */
  claims(path: string): boolean
  handle(exchange: Exchange): void
  /** Says why a request was not let in. */
  refuse(exchange: Omit<Exchange, 'caller'>, refused: Refused): void
  onEvent(connection: object, event: string, payload: unknown): boolean
  /** Ends what would go on for ever. */
  closing(connection: object): void
}

interface Door {
  readonly site: GrpcSite
  readonly guard: HttpGuard | undefined
  readonly options: DialectServerOptions
  readonly address: string
  readonly peerOf: (socket: net.Socket) => Peer
  readonly greet: (connection: ConnectionBase, socket: net.Socket, key: object) => Caller
}

/** Rejects as `Dialect.listen`. `secure`: TLS. */
export async function listenGrpc(
  address: string,
  secure: boolean,
  admit: Admit,
  site: GrpcSite,
  options: DialectServerOptions,
): Promise<Listener> {
  options.signal?.throwIfAborted()
  const { limits, token } = options
  const local = isPath(address)
  const { scheme, rest } = parseAddress(address)
  const guard = local ? undefined : new HttpGuard({ ...options, secure })
  const door: Door = {
    site,
    guard,
    options,
    address,
    peerOf: (socket) => (local ? admitPeer(peerOf(address, socket), rest.startsWith('@'), options) : remoteOf(scheme, socket, address)),
    greet(connection, socket, key) {
      const caller = admit(connection, (event, payload) => site.onEvent(key, event, payload))
      socket.on('drain', () => caller.drained())
      return caller
    },
  }
  const h2 = createHttp2(door)
  const h1 = http.createServer(settingsFor(options))
  serveSite(h1, guard ?? new HttpGuard({ secure }), httpSite(site), admit, door.peerOf)
  const take = (socket: net.Socket): void => {
    socket.on('error', () => {})
    try {
      door.peerOf(socket)
    } catch {
      return void socket.destroy()
    }
    if (!local) socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE)
    recognise(socket, limits.handshake, (framed) => {
      silent.spoke(socket)
      ;(framed ? h2 : h1).emit('connection', socket)
    })
  }
  const server = secure
    ? tls.createServer({ ...options.tls, ALPNProtocols: ['h2', 'http/1.1'], handshakeTimeout: limits.handshake })
    : net.createServer()
  const silent = silentOf(server)
  server.on(secure ? 'secureConnection' : 'connection', take)
  if (secure) server.on('tlsClientError', () => {})
  server.maxConnections = limits.connections
  // A server that does not listen itself looks for late headers only when it is told that it does.
  h1.emit('listening')
  const endFirst = closerOf(h1)
  const end = (): void => {
    endFirst()
    silent.end()
  }
  if (local) {
    const listener = await listenPath(server, address, socketPath(address))
    return { address, close: async () => (end(), listener.close()) }
  }
  const advice = secure
    ? 'keep the token, or say insecure: true'
    : `take ${scheme.startsWith('grpc') ? 'grpcs' : 'connect+https'}:, or say insecure: true`
  const { host, port } = await bindable(address, (secure && token !== false) || options.insecure, advice)
  await listening(server, () => server.listen({ host, port }), address)
  const bound = boundAddress(address, server)
  guard!.reachedAt(address, bound)
  return {
    address: bound,
    async close() {
      server.close()
      end()
    },
  }
}

/** The same beside others on one listener: HTTP/2. HTTP/1.1 is shared there by path: `httpSite`. */
export function guestGrpc(address: string, secure: boolean, admit: Admit, site: GrpcSite, options: DialectServerOptions): Guest {
  const guard = isPath(address) ? undefined : new HttpGuard({ ...options, secure })
  // Node gives a session another object for its socket, and begins it while it is given the socket.
  let arriving: Peer = { address }
  const door: Door = {
    site,
    guard,
    options,
    address,
    peerOf: () => arriving,
    greet(connection, socket, key) {
      const caller = admit(connection, (event, payload) => site.onEvent(key, event, payload))
      socket.on('drain', () => caller.drained())
      return caller
    },
  }
  const h2 = createHttp2(door)
  return {
    name: 'grpc',
    alpn: 'h2',
    recognises(first) {
      const seen = Math.min(first.length, WHOLE_PREFACE.length)
      if (!first.subarray(0, seen).equals(WHOLE_PREFACE.subarray(0, seen))) return false
      return seen === WHOLE_PREFACE.length ? true : undefined
    },
    take(socket, peer) {
      arriving = peer
      h2.emit('connection', socket)
    },
    ...(guard && { bound: (bound: string) => guard.reachedAt(address, bound) }),
    close() {},
  }
}

/** HTTP/2 begins with words that no request of HTTP/1.1 begins with. What was looked at is put back. */
function recognise(socket: net.Socket, patience: number, use: (framed: boolean) => void): void {
  const { alpnProtocol } = socket as Partial<tls.TLSSocket>
  if (typeof alpnProtocol === 'string') return use(alpnProtocol === 'h2')
  const timer = setTimeout(() => socket.destroy(), patience)
  let seen = Buffer.alloc(0)
  const look = (): void => {
    for (let chunk = socket.read() as Buffer | null; chunk; chunk = socket.read() as Buffer | null) seen = Buffer.concat([seen, chunk])
    if (seen.length === 0 || (seen.length < PREFACE.length && PREFACE.subarray(0, seen.length).equals(seen))) return
    clearTimeout(timer)
    socket.off('readable', look)
    socket.unshift(seen)
    use(seen.subarray(0, PREFACE.length).equals(PREFACE))
  }
  socket.once('close', () => clearTimeout(timer))
  socket.on('readable', look)
}

/** Why a request is not let in; undefined: it is. */
function refusal({ guard }: Door, headers: Headers, host: unknown, socket: net.Socket): Refused | undefined {
  if (!guard) return undefined
  const shown = { headers: { ...headers, host }, socket } as unknown as http.IncomingMessage
  const judged = guard.judge(shown)
  if (judged.refusal) return judged.refusal
  return guard.knows(shown) ? undefined : { status: 401, error: noToken() }
}

/** The headers of CORS, for a page that may call. https://fetch.spec.whatwg.org/#http-cors-protocol */
function cors({ guard }: Door, headers: Headers, host: unknown, socket: net.Socket): Record<string, string> {
  if (headers['origin'] === undefined || !guard) return {}
  const { origin } = guard.judge({ headers: { ...headers, host }, socket } as unknown as http.IncomingMessage)
  return origin === undefined ? {} : { 'access-control-allow-origin': origin, 'access-control-expose-headers': '*', vary: 'origin' }
}

const preflight = (headers: Headers): Record<string, string> => ({
  'access-control-allow-methods': 'GET, POST',
  'access-control-allow-headers': String(headers['access-control-request-headers'] ?? ''),
  'access-control-max-age': '600',
})

// ── HTTP/2 ───────────────────────────────────────────────────────────────────────────────────────

function createHttp2(door: Door): http2.Http2Server {
  const { limits } = door.options
  const server = http2.createServer({
    settings: {
      initialWindowSize: limits.window,
      maxConcurrentStreams: Math.min(limits.calls, STREAMS),
      maxHeaderListSize: HEADERS,
      enablePush: false,
    },
    maxSessionMemory: Math.ceil((2 * (limits.message + limits.outgoing)) / MEGABYTE),
    maxSettings: 32,
    maxOutstandingPings: 10,
  } as http2.ServerOptions)
  const states = new WeakMap<http2.Http2Session, Http2Connection>()
  server.on('session', (session) => {
    const connection = new Http2Connection(session, door)
    states.set(session, connection)
    // Its own window is the connection's, whatever its streams have.
    session.setLocalWindowSize(Math.max(limits.window * 4, 1 << 20))
  })
  server.on('sessionError', () => {})
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    states.get(stream.session!)?.take(stream, headers)
  })
  return server
}

class Http2Connection extends Http2ConnectionBase {
  readonly peer: Peer
  private caller: Caller | undefined
  private readonly stranger: NodeJS.Timeout
  private readonly asking: NodeJS.Timeout
  private calls = 0
  private unanswered = false

  constructor(
    readonly session: http2.Http2Session,
    private readonly door: Door,
  ) {
    super()
    // Once the session is destroyed nobody tells who it was.
    this.peer = door.peerOf(session.socket as net.Socket)
    // Also for headers without an end, of which Node tells nothing: nghttp2 takes nine frames of them, of 16 KiB each.
    this.stranger = setTimeout(() => session.destroy(), 2 * door.options.limits.handshake)
    this.asking = setInterval(() => this.ask(), 2 * door.options.limits.handshake).unref()
    session.on('error', () => {})
    for (const chatter of ['remoteSettings', 'ping']) session.on(chatter, () => this.heard())
    session.once('close', () => {
      clearTimeout(this.stranger)
      clearInterval(this.asking)
      this.caller?.closed(this.cause)
    })
  }

  take(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
    const socket = this.session.socket as net.Socket
    const host = headers[':authority'] ?? headers.host
    const extra = cors(this.door, headers, host, socket)
    const own = http2Exchange(stream, headers, extra, this)
    this.calls++
    stream.once('close', () => this.calls--)
    stream.once('aborted', () => this.heard())
    const refused = refusal(this.door, headers, host, socket)
    if (refused && !(headers[':method'] === 'OPTIONS' && refused.status === 401)) {
      this.heard()
      return this.door.site.refuse(own, refused)
    }
    if (headers[':method'] === 'OPTIONS') return own.only(204, { ...preflight(headers) })
    if (!this.caller) {
      clearTimeout(this.stranger)
      this.caller = this.door.greet(this, socket, this)
    }
    this.door.site.handle(Object.assign(own, { caller: this.caller }))
  }

  /**
   * Who has begun headers can send nothing before their end, no answer to a ping either (RFC 9113 § 6.10); of such headers Node tells
   * nothing, and nghttp2 keeps them for ever. Whoever waits for an answer is not asked: its call has its own times.
   */
  private ask(): void {
    if (this.calls > 0 || !this.caller || this.session.destroyed) return
    // If it was this process that stood still, the answer is here and only not yet read.
    if (this.unanswered) return void setImmediate(() => setImmediate(() => this.judge()))
    this.unanswered = true
    this.session.ping(() => (this.unanswered = false))
  }

  private judge(): void {
    if (this.unanswered)
      this.abort(
        new TalkwireError(
          'DEADLINE_EXCEEDED',
          `no answer to a ping within ${2 * this.door.options.limits.handshake} ms (limits.handshake)`,
        ),
      )
  }

  private chatter = CHATTER
  private since = performance.now()

  private heard(): void {
    const now = performance.now()
    this.chatter = Math.min(CHATTER, this.chatter + ((now - this.since) * CHATTER_A_SECOND) / 1000) - 1
    this.since = now
    if (this.chatter >= 0 || this.session.destroyed) return
    this.cause ??= new TalkwireError(
      'LIMIT_EXCEEDED',
      `more than ${CHATTER} settings, pings and resets at once; call more slowly, or take more connections`,
    )
    // Not here: this may be in the middle of nghttp2's reading, and Node aborts the process for that.
    setImmediate(() => this.session.destroy(undefined, http2.constants.NGHTTP2_ENHANCE_YOUR_CALM))
  }

  get buffered(): number {
    return this.session.destroyed ? 0 : ((this.session.socket as net.Socket | undefined)?.writableLength ?? 0)
  }

  protected closes(): void {
    this.door.site.closing(this)
  }
}

function http2Exchange(
  stream: http2.ServerHttp2Stream,
  headers: http2.IncomingHttpHeaders,
  extra: Record<string, string>,
  connection: object,
): Omit<Exchange, 'caller'> {
  const url = String(headers[':path'] ?? '/')
  const mark = url.indexOf('?')
  let begun = false
  let trailers: Readonly<Record<string, string>> | undefined
  // Who has its answer is not listened to any more.
  const finished = (): void => {
    if (!stream.readableEnded && !stream.destroyed) stream.close(http2.constants.NGHTTP2_NO_ERROR)
  }
  return {
    method: String(headers[':method']),
    path: mark < 0 ? url : url.slice(0, mark),
    query: mark < 0 ? '' : url.slice(mark + 1),
    headers: headers as Headers,
    connection,
    body: stream,
    framed: true,
    get begun() {
      return begun
    },
    head(status, more, waitForTrailers) {
      begun = true
      if (stream.destroyed || stream.closed) return
      stream.respond({ ':status': status, ...extra, ...more }, { waitForTrailers })
      if (waitForTrailers) stream.once('wantTrailers', () => stream.sendTrailers(trailers!))
    },
    write(bytes, done) {
      if (stream.destroyed || stream.closed) return true
      return stream.write(bytes, done)
    },
    end(bytes, more) {
      trailers = more
      if (stream.destroyed || stream.closed) return
      if (!stream.readableEnded) stream.once('finish', finished)
      stream.end(bytes)
    },
    only(status, more, body) {
      begun = true
      if (stream.destroyed || stream.closed) return
      if (!stream.readableEnded) stream.once('finish', finished)
      stream.respond({ ':status': status, ...extra, ...more }, { endStream: body === undefined })
      if (body) stream.end(body)
      else finished()
    },
    destroy: () => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
    onClose: (listener) => void stream.once('close', listener),
  }
}

// ── HTTP/1.1 ─────────────────────────────────────────────────────────────────────────────────────

/** gRPC-Web and Connect over HTTP/1.1, as a part of a site. */
export const httpSite = (site: GrpcSite): Site => ({
  scheme: 'grpc',
  claims: (path) => site.claims(path),
  handle: ({ request, response, caller }) => site.handle(Object.assign(http1Exchange(request, response), { caller })),
  refuse: (response, status, error) => site.refuse(http1Exchange(response.req, response), { status, error }),
  onEvent: (socket, event, payload) => site.onEvent(socket, event, payload),
  closing: (socket) => site.closing(socket),
})

function http1Exchange(request: http.IncomingMessage, response: http.ServerResponse): Omit<Exchange, 'caller'> {
  const { url = '/' } = request
  const mark = url.indexOf('?')
  const ending = (): Record<string, string> => (request.complete ? {} : { connection: 'close' })
  return {
    method: request.method ?? '',
    path: mark < 0 ? url : url.slice(0, mark),
    query: mark < 0 ? '' : url.slice(mark + 1),
    headers: request.headers,
    connection: request.socket,
    body: request,
    framed: false,
    get begun() {
      return response.headersSent
    },
    head(status, more) {
      response.writeHead(status, more)
      response.flushHeaders()
    },
    write: (bytes, done) => response.write(bytes, done),
    end(bytes) {
      response.end(bytes)
      request.resume()
    },
    only(status, more, body = new Uint8Array(0)) {
      response.writeHead(status, { ...ending(), ...more, ...(status !== 204 && { 'content-length': body.length }) }).end(body)
      request.resume()
    },
    destroy: () => void response.destroy(),
    onClose: (listener) => void response.once('close', listener),
  }
}
