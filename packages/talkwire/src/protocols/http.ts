/**
 * HTTP: `http://127.0.0.1:8080`. `POST /bank/deposit` with JSON calls a method, `GET /bank/balance?account=a` an idempotent one;
 * streams leave as server-sent events and come as NDJSON; errors are problem details. docs/protocols/http.md.
 */
import type { Socket } from 'node:net'
import { brotliCompress, constants, gzip } from 'node:zlib'
import { fromJson, LineReader, LOOKED_AT, toJson } from '../codecs/plain-json.js'
import type { Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { nearest } from '../suggest.js'
import { paramsOf, type Method, type Service } from '../session/service.js'
import type { Dialect, DialectServerOptions, DialectTraits, OpenCall } from './dialect.js'
import { connectHttp } from './http-client.js'
import { discoverHttp } from './http-foreign.js'
import { BEAT, eventText } from './http-events.js'
import { fieldsOf, type Fields } from './http-fields.js'
import { metaOf } from './http-meta.js'
import { answerRpc, RPC_PATH } from './http-jsonrpc.js'
import { problemOf, statusOf } from './http-problem.js'
import { listenHttp, readBody, type Exchange, type Response, type Site } from './http-server.js'
import type { Meta } from './message.js'

const traits: DialectTraits = {
  inputStream: true,
  outputStream: true,
  duplex: true,
  events: true,
  oneway: true,
  progress: false,
  deadline: true,
  metadata: true,
  cancellation: true,
  untyped: true,
  crossHost: true,
}

const dialect = (scheme: 'http' | 'https'): Dialect => ({
  scheme,
  speaks: 'calls',
  tokens: true,
  traits,
  listen: async (address, service, admit, options) => listenHttp(address, admit, await createSite(scheme, service, options), options),
  site: (service, options) => createSite(scheme, service, options),
  connect: (address, options) => connectHttp(address, options),
  discover: discoverHttp,
})
export const http = dialect('http')
export const https = dialect('https')

/** The OpenAPI document of a contract, as `/openapi.json` has it. */
export async function openApiText(contract: Contract): Promise<string> {
  const [{ openApi }, { jsonSchema }] = await Promise.all([import('../contract/openapi.js'), import('../contract/json-schema.js')])
  return JSON.stringify(openApi(await jsonSchema(contract)), null, 2)
}

// ── serving ──────────────────────────────────────────────────────────────────────────────────────

const JSON_TYPE = 'application/json'
const PROBLEM_TYPE = 'application/problem+json'
const EVENTS_TYPE = 'text/event-stream'
const LINES_TYPE = 'application/x-ndjson'
/** Bytes below which compressing costs more than it saves. */
const SMALL = 1400
/** Bytes of a stream's output that may wait in the kernel and here. */
const WINDOW = 256 * 1024
/** Milliseconds between signs of life of a stream that has nothing to say. */
const PULSE = 15_000

interface Route {
  readonly method: Method
  readonly fields: Fields
  /** GET calls it, too. */
  readonly idempotent: boolean
}

async function createSite(scheme: 'http' | 'https', service: Service, options: DialectServerOptions): Promise<Site> {
  const routes = await routesOf(service)
  const { createDocument, servePage } = await import('./http-site.js')
  const document = createDocument(service)
  const listeners = new WeakMap<Socket, EventStream[]>()
  return {
    scheme,
    refuse: (response, status, error) => sendProblem(response, error, status),
    public: servePage,
    onEvent(socket, event, payload) {
      let more = true
      for (const stream of listeners.get(socket) ?? []) more = stream.take(event, payload) && more
      return more
    },
    handle(exchange) {
      const { request, response, path } = exchange
      if (path === '/openapi.json' && request.method === 'GET')
        return void document().then(
          (text) => sendText(exchange, 200, JSON_TYPE, text),
          (reason: unknown) => options.onError(reason, 'openapi'),
        )
      if (path === RPC_PATH && request.method === 'POST') return rpc(exchange, service, options)
      const route = routes.get(path)
      if (route) return new HttpCall(exchange, route, options).run()
      const event = eventOf(service, path)
      if (event !== undefined && request.method === 'GET') return listen(exchange, event, listeners)
      if (event === undefined) sendProblem(response, notFound(path, service.name, [...routes.keys()]))
      else {
        response.setHeader('allow', 'GET')
        sendProblem(response, new TalkwireError('METHOD_NOT_FOUND', `"${event}" is an event; GET it`), 405)
      }
      request.resume()
    },
  }
}

function rpc(exchange: Exchange, service: Service, options: DialectServerOptions): void {
  const { request, response } = exchange
  if (!isType(request.headers['content-type'], JSON_TYPE)) {
    sendProblem(response, new TalkwireError('INVALID_REQUEST', `JSON-RPC has content-type: ${JSON_TYPE}`), 415)
    return void request.resume()
  }
  answerRpc(exchange, service, options, (text) => {
    if (text === undefined) response.writeHead(204).end()
    else sendText(exchange, 200, JSON_TYPE, text)
  })
}

async function routesOf(service: Service): Promise<Map<string, Route>> {
  const fields = await fieldsOf(service)
  const routes = new Map<string, Route>()
  for (const method of service.methods.values()) {
    const member = service.contract?.members[method.name]
    routes.set(`/${service.name}/${encodeURIComponent(method.name)}`, {
      method,
      fields: fields.get(method.name)!,
      idempotent: member?.kind === 'rpc' && member.idempotent && !method.inputStream,
    })
  }
  return routes
}

function eventOf({ name, contract }: Service, path: string): string | undefined {
  if (!contract || !path.startsWith(`/${name}/`)) return undefined
  return Object.keys(contract.members).find(
    (each) => contract.members[each]!.kind === 'event' && path === `/${name}/${encodeURIComponent(each)}`,
  )
}

function notFound(path: string, service: string, known: readonly string[]): TalkwireError {
  const asked = path.slice(0, 200)
  const near = known.find((each) => each === `/${service}${asked}`) ?? nearest(asked, known)
  const hint = near === undefined ? `methods are at ${known.slice(0, 3).join(', ')};` : `did you mean ${near}?`
  return new TalkwireError('METHOD_NOT_FOUND', `there is nothing at ${asked}; ${hint} /openapi.json has all of them`)
}

/** One request to a method, until its answer has left. */
class HttpCall {
  private call: OpenCall | undefined
  private done = false

  constructor(
    private readonly exchange: Exchange,
    private readonly route: Route,
    private readonly options: DialectServerOptions,
  ) {}

  run(): void {
    const { request, response } = this.exchange
    const { method, idempotent } = this.route
    response.once('close', () => this.closed())
    if (request.method === 'GET' && idempotent) return this.begin(() => this.route.fields.read(this.exchange.query))
    if (request.method !== 'POST') {
      response.setHeader('allow', idempotent ? 'GET, POST' : 'POST')
      return this.fail(new TalkwireError('METHOD_NOT_FOUND', `"${method.name}" is called by ${idempotent ? 'GET or ' : ''}POST`), 405)
    }
    const wanted = method.inputStream ? LINES_TYPE : JSON_TYPE
    const type = request.headers['content-type']
    const hasBody =
      request.headers['content-length'] !== undefined
        ? request.headers['content-length'] !== '0'
        : request.headers['transfer-encoding'] !== undefined
    if (hasBody && !isType(type, wanted))
      return this.fail(new TalkwireError('INVALID_REQUEST', `"${method.name}" takes content-type: ${wanted}`), 415)
    if (method.inputStream) return this.begin(() => [], { input: true })
    readBody(request, this.options.limits, (error, body) => {
      if (error) return this.fail(error)
      this.begin(() => this.paramsFrom(body))
    })
  }

  private paramsFrom(body: Buffer): unknown {
    const { positional, parameters } = this.route.method
    if (body.length === 0) return positional ? [] : undefined
    const value = fromJson(body, this.options.limits)
    // Functions take their arguments as a list, or one of them as it is.
    return (positional || parameters) && Array.isArray(value) ? value : paramsOf(value)
  }

  private begin(params: () => unknown, more?: Meta): void {
    const { caller, request, response } = this.exchange
    const { method } = this.route
    try {
      const meta = metaOf(request.headers, more)
      const streams = method.outputStream || method.positional
      this.call = caller.call(method.name, params(), streams ? { ...meta, credit: WINDOW } : meta, {
        result: (value) => this.result(value),
        error: (error) => this.failed(error),
        item: (value) => this.item(value),
        grantInput: () => request.resume(),
      })
      if (method.oneway && !this.done) this.result(undefined, 202)
      if (method.inputStream) this.readInput(this.call)
    } catch (reason) {
      this.fail(TalkwireError.from(reason))
    }
    if (this.done && !request.complete && !response.writableEnded) request.resume()
  }

  private readInput(call: OpenCall): void {
    const { request } = this.exchange
    const { limits } = this.options
    const lines = new LineReader(limits.message)
    let unread = 0
    const element = (line: Buffer): void => {
      call.input(fromJson(line, limits), line.length)
      unread += line.length
    }
    const guarded = (action: () => void): void => {
      try {
        action()
      } catch (reason) {
        call.endInput(TalkwireError.from(reason))
        request.destroy()
      }
    }
    request.on('data', (chunk: Buffer) =>
      guarded(() => {
        for (const line of lines.push(chunk)) element(line)
        if (unread > limits.window / 2) {
          unread = 0
          request.pause()
        }
      }),
    )
    request.on('end', () =>
      guarded(() => {
        const last = lines.last()
        if (last) element(last)
        call.endInput()
      }),
    )
  }

  private result(value: unknown, status?: number): void {
    const { response } = this.exchange
    if (this.done) return
    if (response.headersSent || (this.route.method.outputStream && value === null)) return this.endStream()
    const text = value === undefined ? undefined : toJson(value, this.options.limits)
    this.done = true
    if (text === undefined) response.writeHead(status ?? 204).end()
    else sendText(this.exchange, 200, JSON_TYPE, text)
  }

  private item(value: unknown): number {
    const { response } = this.exchange
    if (!response.headersSent) this.openStream()
    const text = eventText(toJson(value, this.options.limits))
    const size = Buffer.byteLength(text)
    response.write(text, () => this.call?.grant(size))
    return size
  }

  private openStream(): void {
    const { response } = this.exchange
    response.writeHead(200, { 'content-type': EVENTS_TYPE, 'cache-control': 'no-store' })
    response.flushHeaders()
    const pulse = setInterval(() => response.write(BEAT), PULSE)
    pulse.unref()
    response.once('close', () => clearInterval(pulse))
  }

  private endStream(): void {
    const { response } = this.exchange
    if (!response.headersSent) this.openStream()
    this.done = true
    response.end(eventText('null', 'end'))
  }

  private failed(error: TalkwireError): void {
    if (this.done) return
    const { response } = this.exchange
    if (!response.headersSent) return this.fail(error)
    this.done = true
    response.end(eventText(toJson(problemOf(error), LOOKED_AT), 'error'))
  }

  private fail(error: TalkwireError, status = statusOf(error)): void {
    const { request, response } = this.exchange
    this.done = true
    if (!request.complete) response.setHeader('connection', 'close')
    sendProblem(response, error, status)
    request.resume()
  }

  /** The answer has left, or whoever asked is gone. */
  private closed(): void {
    if (!this.done) this.call?.cancel()
    this.done = true
  }
}

const isType = (header: string | undefined, wanted: string): boolean => {
  const type = (header ?? '').split(';', 1)[0]!.trim().toLowerCase()
  return type === wanted || (wanted === JSON_TYPE && /^application\/[\w.-]+\+json$/.test(type))
}

// ── answers ──────────────────────────────────────────────────────────────────────────────────────

function sendProblem(response: Response, error: TalkwireError, status = statusOf(error)): void {
  if (response.headersSent) return void response.destroy()
  const text = toJson(problemOf(error, status), LOOKED_AT)
  response.writeHead(status, { 'content-type': PROBLEM_TYPE, 'content-length': Buffer.byteLength(text) }).end(text)
}

/** RFC 9110 § 12.5.3: a weight of 0 is a no. */
function encodingFor(accepts: string | string[] = ''): 'br' | 'gzip' | undefined {
  const taken = String(accepts)
    .split(',')
    .filter((each) => !/;\s*q=0(\.0*)?\s*$/i.test(each))
    .map((each) => each.split(';', 1)[0]!.trim().toLowerCase())
  return (['br', 'gzip'] as const).find((each) => taken.includes(each))
}

function sendText({ request, response }: Exchange, status: number, type: string, text: string): void {
  const size = Buffer.byteLength(text)
  const encoding = size > SMALL ? encodingFor(request.headers['accept-encoding']) : undefined
  if (encoding === undefined) return void response.writeHead(status, { 'content-type': type, 'content-length': size }).end(text)
  const send = (reason: Error | null, body: Buffer): void => {
    if (reason) return sendProblem(response, TalkwireError.from(reason, 'INTERNAL', 'ran'))
    response
      .writeHead(status, { 'content-type': type, 'content-length': body.length, 'content-encoding': encoding, vary: 'accept-encoding' })
      .end(body)
  }
  if (encoding === 'br') brotliCompress(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } }, send)
  else gzip(text, send)
}

// ── events ───────────────────────────────────────────────────────────────────────────────────────

/** A response that tells of one event until its reader goes. */
class EventStream {
  constructor(
    private readonly event: string,
    private readonly response: Response,
  ) {}

  take(event: string, payload: unknown): boolean {
    if (event === '$/lost') {
      const lost = payload as { event: string; count: number }
      return lost.event !== this.event || this.response.write(eventText(String(lost.count), 'lost'))
    }
    return event !== this.event || this.response.write(eventText(toJson(payload, LOOKED_AT)))
  }
}

function listen({ request, response, caller }: Exchange, event: string, listeners: WeakMap<Socket, EventStream[]>): void {
  const { socket } = request
  const streams = listeners.get(socket) ?? []
  const stream = new EventStream(event, response)
  listeners.set(socket, streams)
  request.resume()
  const pulse = setInterval(() => response.write(BEAT), PULSE)
  pulse.unref()
  response.once('close', () => {
    clearInterval(pulse)
    streams.splice(streams.indexOf(stream), 1)
    caller.unsubscribe(event)
  })
  caller.subscribe(event).then(
    () => {
      streams.push(stream)
      response.writeHead(200, { 'content-type': EVENTS_TYPE, 'cache-control': 'no-store' })
      response.flushHeaders()
    },
    (reason: unknown) => sendProblem(response, TalkwireError.from(reason)),
  )
}
