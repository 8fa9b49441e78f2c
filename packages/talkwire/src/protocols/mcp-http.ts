/** MCP over streamable HTTP: `POST /mcp` carries each message, `GET /mcp` the events, `DELETE /mcp` ends the session. */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { fromJson, LOOKED_AT, toJson } from '../codecs/plain-json.js'
import { plainMessage, TalkwireError } from '../error.js'
import { BEAT, eventText } from './http-events.js'
import { statusOf } from './http-problem.js'
import { readBody, type Exchange, type Response, type Site } from './http-server.js'
import { Code, idOf, readMessage, VERSIONS, type McpId, type Request } from './mcp-message.js'
import { McpPeer, type Listening, type McpSite, type Out } from './mcp-server.js'
import { toWireError } from './message.js'

const PATH = '/mcp'
const SESSION = 'mcp-session-id'
const VERSION = 'mcp-protocol-version'
const JSON_TYPE = 'application/json'
const EVENTS_TYPE = 'text/event-stream'
/** Milliseconds between signs of life of a request that takes its time. */
const PULSE = 15_000

export function mcpOverHttp(scheme: 'http' | 'https', site: McpSite): Site {
  const sessions = new Sessions(site)
  const streams = new WeakMap<Socket, McpPeer>()
  return {
    scheme,
    claims: (path) => path === PATH,
    refuse: (response, status, error) => sendError(response, status, null, error),
    onEvent: (socket, event, payload) => streams.get(socket)?.onEvent(event, payload) ?? true,
    handle(exchange) {
      const { request, response, path } = exchange
      const refusal = refusalOf(exchange)
      if (refusal) return turnAway(exchange, ...refusal)
      const id = request.headers[SESSION]
      const peer = typeof id === 'string' ? sessions.get(id) : undefined
      if (id !== undefined && !peer)
        return turnAway(exchange, 404, new TalkwireError('INVALID_REQUEST', 'that session is over; begin with initialize'))
      if (request.method === 'POST') return post(exchange, site, sessions, peer)
      request.resume()
      if (!peer)
        return turnAway(
          exchange,
          400,
          new TalkwireError('INVALID_REQUEST', `${request.method} ${path} wants ${SESSION}; POST initialize gives it`),
        )
      if (request.method === 'GET') return listen(exchange, peer, streams)
      sessions.end(id as string)
      response.writeHead(204).end()
    },
  }
}

function refusalOf({ request: { method, headers }, response, path }: Exchange): [status: number, error: TalkwireError] | undefined {
  if (path !== PATH) return [404, new TalkwireError('METHOD_NOT_FOUND', `there is nothing here; MCP is at ${PATH}`)]
  if (!['GET', 'POST', 'DELETE'].includes(method!)) {
    response.setHeader('allow', 'GET, POST, DELETE')
    return [405, new TalkwireError('METHOD_NOT_FOUND', `${PATH} takes GET, POST and DELETE`)]
  }
  const version = headers[VERSION]
  if (version !== undefined && !VERSIONS.some((each) => each === version))
    return [400, new TalkwireError('INVALID_REQUEST', `${VERSION} is one of ${VERSIONS.join(', ')}`)]
  if (method === 'POST' && (headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase() !== JSON_TYPE)
    return [415, new TalkwireError('INVALID_REQUEST', `${PATH} takes content-type: ${JSON_TYPE}`)]
  return undefined
}

function turnAway({ request, response }: Exchange, status: number, error: TalkwireError): void {
  if (!request.complete) response.setHeader('connection', 'close')
  sendError(response, status, null, error)
  request.resume()
}

/** Clients that said initialize. The one that was silent for longest goes when there are too many. */
class Sessions {
  private readonly peers = new Map<string, McpPeer>()

  constructor(private readonly site: McpSite) {}

  get(id: string): McpPeer | undefined {
    const peer = this.peers.get(id)
    if (!peer) return undefined
    this.peers.delete(id)
    this.peers.set(id, peer)
    return peer
  }

  add(peer: McpPeer): string {
    const id = randomUUID()
    if (this.peers.size >= this.site.options.limits.connections)
      for (const [old, { busy }] of this.peers)
        if (!busy) {
          this.peers.delete(old)
          break
        }
    if (this.peers.size >= this.site.options.limits.connections)
      throw new TalkwireError('LIMIT_EXCEEDED', 'too many sessions are open; end some, or raise limits.connections')
    this.peers.set(id, peer)
    return id
  }

  end(id: string): void {
    this.peers.get(id)?.gone()
    this.peers.delete(id)
  }
}

function post(exchange: Exchange, site: McpSite, sessions: Sessions, known: McpPeer | undefined): void {
  const { request, response, caller } = exchange
  readBody(request, site.options.limits, (broken, body) => {
    if (broken) return turnAway(exchange, statusOf(broken), broken)
    let value: unknown
    try {
      value = fromJson(body, site.options.limits)
      const message = readMessage(value)
      // Nobody was asked anything: an answer is taken, and says nothing.
      if (!('method' in message)) return void response.writeHead(202).end()
      const peer = known ?? new McpPeer(site)
      if (message.method === 'initialize' && !known) response.setHeader(SESSION, sessions.add(peer))
      if (message.id === undefined) response.writeHead(202).end()
      peer.handle(message, caller, message.id === undefined ? NOWHERE : new HttpOut(exchange, message, site, peer))
    } catch (reason) {
      const error = TalkwireError.from(reason, 'INVALID_MESSAGE')
      sendError(response, statusOf(error), idOf(value), error)
    }
  })
}

const NOWHERE: Out = { result() {}, error() {}, notify: () => 0, nothing() {}, full: false }

/** The answer to one request: JSON, or a stream of events as soon as there is more to say. */
class HttpOut implements Out {
  private readonly id: McpId
  private readonly streams: boolean
  private pulse: NodeJS.Timeout | undefined

  constructor(
    private readonly exchange: Exchange,
    { id }: Request,
    private readonly site: McpSite,
    peer: McpPeer,
  ) {
    this.id = id!
    const { accept } = exchange.request.headers
    this.streams = accept === undefined || accept.includes(EVENTS_TYPE) || accept.includes('*/*')
    if (this.streams) this.pulse = setInterval(() => this.beat(), PULSE).unref()
    exchange.response.once('close', () => {
      clearInterval(this.pulse)
      if (!exchange.response.writableEnded) peer.drop(this.id)
    })
  }

  get full(): boolean {
    return this.exchange.response.writableNeedDrain
  }

  result(value: unknown): void {
    this.last(toJson({ jsonrpc: '2.0', id: this.id, result: value }, this.site.options.limits))
  }

  error(code: number, message: string, data?: unknown): void {
    this.last(toJson({ jsonrpc: '2.0', id: this.id, error: { code, message, ...(data !== undefined && { data }) } }, LOOKED_AT))
  }

  notify(method: string, params: unknown): number {
    if (!this.streams) return 0
    const text = toJson({ jsonrpc: '2.0', method, params }, this.site.options.limits)
    this.openStream()
    this.exchange.response.write(eventText(text))
    return Buffer.byteLength(text)
  }

  nothing(): void {
    if (this.exchange.response.headersSent) this.exchange.response.end()
    else this.exchange.response.writeHead(200, { 'content-type': EVENTS_TYPE }).end()
  }

  private last(text: string): void {
    const { response } = this.exchange
    if (response.headersSent) response.end(eventText(text))
    else response.writeHead(200, { 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(text) }).end(text)
  }

  private openStream(): void {
    const { response } = this.exchange
    if (!response.headersSent) response.writeHead(200, { 'content-type': EVENTS_TYPE, 'cache-control': 'no-store' })
  }

  private beat(): void {
    this.openStream()
    this.exchange.response.write(BEAT)
  }
}

function listen({ request, response, caller }: Exchange, peer: McpPeer, streams: WeakMap<Socket, McpPeer>): void {
  const { socket } = request
  const listening: Listening = {
    caller,
    notify: (method, params) => response.write(eventText(toJson({ jsonrpc: '2.0', method, params }, LOOKED_AT))),
  }
  response.writeHead(200, { 'content-type': EVENTS_TYPE, 'cache-control': 'no-store' })
  response.flushHeaders()
  streams.set(socket, peer)
  peer.listen(listening)
  const pulse = setInterval(() => response.write(BEAT), PULSE)
  pulse.unref()
  response.once('close', () => {
    clearInterval(pulse)
    streams.delete(socket)
    peer.deaf(listening)
  })
}

function sendError(response: Response, status: number, id: McpId | null, error: TalkwireError): void {
  if (response.headersSent) return void response.destroy()
  const { code, data } = toWireError(error)
  const number = error.code === 'INVALID_MESSAGE' ? Code.parse : error.code === 'INVALID_REQUEST' ? Code.request : code
  const text = toJson({ jsonrpc: '2.0', id, error: { code: number, message: plainMessage(error), data } })
  response.writeHead(status, { 'content-type': JSON_TYPE, 'content-length': Buffer.byteLength(text) }).end(text)
}
