/** What all protocols over HTTP share on the calling side: connections to one server, and questions with one answer. */
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import { parseHostPort } from '../address.js'
import { TalkwireError } from '../error.js'
import type { Limits } from '../session/limits.js'
import { fromSystem } from '../transports/socket.js'
import type { ConnectionBase } from '../transports/transport.js'
import type { Answer, DialectClientOptions, OpenCall } from './dialect.js'
import { HttpPool } from './http-pool.js'

/**
 * Connections for calls with one answer; what is more waits here. A thousand calls over a thousand connections take three times as long
 * as over these, and the server's descriptors. What lasts (streams, events, what answers others) has connections beside them: else
 * whoever listens to as many streams could call nothing any more.
 */
const CALLS = 64
/** Methods whose requests have a body, and say so where it is empty: RFC 9110 § 8.6. */
const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])
/** Other connections that are kept for the next one. */
const KEPT = 8

export interface Place {
  readonly address: string
  readonly base: http.RequestOptions
  /** In place of the base's agent, for calls with one answer. */
  readonly calls: http.Agent
  /** What stands behind host and port; '' where nothing does. */
  readonly path: string
  readonly request: (options: http.RequestOptions) => http.ClientRequest
  /** What the Host header says. */
  readonly named: string
  readonly headers: Readonly<Record<string, string>>
}

/** An address of HTTP or of a protocol over it, `soap+https://host:port/path`. Throws INVALID_ADDRESS. */
export function openPlace(address: string, { tls, token }: Pick<DialectClientOptions, 'tls' | 'token'>): Place {
  const [, server = address, path = ''] = /^([^/]*\/\/[^/?#]*)(\/[^\s#]*)?$/.exec(address) ?? []
  const { host, port } = parseHostPort(server)
  const secure = isSecure(address)
  const agentOf = (options: http.AgentOptions): http.Agent =>
    secure ? new https.Agent({ ...tls, keepAlive: true, ...options }) : new http.Agent({ keepAlive: true, noDelay: true, ...options })
  const name = host.includes(':') ? `[${host}]` : host
  return {
    address,
    base: { host, port, agent: agentOf({ maxFreeSockets: KEPT }) },
    calls: secure ? agentOf({ maxSockets: CALLS, maxFreeSockets: CALLS }) : new HttpPool({ host, port }, CALLS),
    path,
    request: secure ? https.request : http.request,
    named: port === (secure ? 443 : 80) ? name : `${name}:${port}`,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
  }
}

/**
 * A request that begins; its body is not written yet. The headers are a list, which Node writes as it is: those of an object
 * it sets, looks up and checks one by one. Throws TypeError for what no header can hold.
 */
export function begin(place: Place, { method, path, headers = {}, body }: Question, agent: http.Agent = place.calls): http.ClientRequest {
  const list = ['host', place.named]
  for (const name in place.headers) list.push(name, place.headers[name]!)
  for (const name in headers) list.push(name, String(headers[name]))
  const chunked = headers['transfer-encoding'] !== undefined
  if (body !== undefined || (WITH_BODY.has(method) && !chunked)) list.push('content-length', String(Buffer.byteLength(body ?? '')))
  const { host, port } = place.base
  return place.request({ host, port, agent, method, path, headers: list })
}

export const isSecure = (address: string): boolean => /^(\w+\+)?https:/.test(address)

export interface Question {
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string | number>>
  readonly body?: string | Uint8Array
}

export interface Told {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer
}

/** Asks before there is a session. Rejects with PEER_NOT_FOUND, MESSAGE_TOO_LARGE, the reason of the signal. */
export function ask(
  place: Place,
  { method, path, headers, body: said }: Question,
  limits: Pick<Limits, 'handshake' | 'message'>,
  signal?: AbortSignal,
): Promise<Told> {
  return new Promise((resolve, reject) => {
    const timer = AbortSignal.timeout(limits.handshake)
    const request = place.request({
      ...place.base,
      method,
      path,
      headers: { ...place.headers, ...headers },
      signal: signal ? AbortSignal.any([signal, timer]) : timer,
    })
    request.on('error', (reason) => {
      if (signal?.aborted) return reject(signal.reason as Error)
      reject(
        timer.aborted
          ? new TalkwireError(
              'PEER_NOT_FOUND',
              `${place.address} did not answer within ${limits.handshake} ms; check the address, or raise limits.handshake`,
            )
          : fromSystem(reason, `cannot connect to ${place.address}`).withOutcome('not-sent'),
      )
    })
    request.on('response', (response) =>
      collect(response, limits.message).then((body) => resolve({ status: response.statusCode!, headers: response.headers, body }), reject),
    )
    request.end(said)
  })
}

/**
 * Watches a request get its connection; what this returns tells why it failed, and whether it may have run. On a connection that was
 * kept, the server may have ended it before the request came or after.
 */
export function failures(request: http.ClientRequest): (reason: unknown, what?: string) => TalkwireError {
  let connected = false
  request.on('socket', (socket) => {
    if (socket.connecting) socket.once('connect', () => (connected = true))
    else connected = true
  })
  return (reason, what = 'the request failed') => fromSystem(reason, what).withOutcome(connected ? 'maybe-ran' : 'not-sent')
}

/** A call that is one POST with one answer. `settle` reads it, and throws INVALID_MESSAGE and the like for what is no answer. */
export function post(
  place: Place,
  connection: AgentConnection,
  question: Question,
  answer: Answer,
  limits: Pick<Limits, 'message'>,
  settle: (told: Told) => void,
): OpenCall {
  const request = begin(place, question)
  const failure = failures(request)
  let settled = false
  const lost = (reason: unknown): void => {
    if (settled) return
    settled = true
    answer.error(reason instanceof TalkwireError ? reason : failure(reason))
  }
  connection.sent(request)
  request.on('error', lost)
  request.on('response', (response) => {
    const whole = (body: Buffer): void => {
      if (settled) return
      settled = true
      try {
        settle({ status: response.statusCode!, headers: response.headers, body })
      } catch (reason) {
        answer.error(TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('ran'))
      }
    }
    gather(response, limits.message, whole, lost)
  })
  request.end(question.body)
  return {
    cancel() {
      settled = true
      request.destroy()
    },
    grant() {},
    input: () => 0,
    endInput() {},
  }
}

/** The whole body. Rejects with MESSAGE_TOO_LARGE, and as the response fails. */
export const collect = (response: IncomingMessage, limit: number): Promise<Buffer> =>
  new Promise((resolve, reject) => gather(response, limit, resolve, reject))

/** The same for calls: a promise, and iterating the stream, cost a fifth of one. One of both is called, `lost` perhaps again. */
export function gather(response: IncomingMessage, limit: number, whole: (body: Buffer) => void, lost: (reason: unknown) => void): void {
  const chunks: Buffer[] = []
  let size = 0
  response.on('data', (chunk: Buffer) => {
    size += chunk.length
    chunks.push(chunk)
    if (size <= limit) return
    lost(new TalkwireError('MESSAGE_TOO_LARGE', `an answer of more than ${limit} bytes; raise limits.message`, { outcome: 'ran' }))
    response.destroy()
  })
  response.on('end', () => {
    if (size <= limit) whole(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size))
  })
  response.on('error', lost)
  // What is destroyed on purpose ends without an error.
  response.on('close', () => {
    if (!response.complete) lost(new TalkwireError('CONNECTION_LOST', 'the answer ended before its end', { outcome: 'maybe-ran' }))
  })
}

/** All connections to one server, as a session sees them. */
export class AgentConnection implements ConnectionBase {
  readonly buffered = 0
  readonly unsent = 0
  readonly peer: ConnectionBase['peer']
  private readonly requests = new Set<http.ClientRequest>()
  private over = false
  private readonly agents: readonly http.Agent[]
  /** One function for all requests. */
  private readonly forget: (this: http.ClientRequest) => void

  constructor(
    { address, base, calls }: Place,
    private readonly onClosed: (cause?: TalkwireError) => void,
  ) {
    this.peer = { address, host: base.host! }
    this.agents = [base.agent as http.Agent, calls]
    const { requests } = this
    this.forget = function () {
      requests.delete(this)
    }
  }

  sent(request: http.ClientRequest): void {
    this.requests.add(request)
    request.on('close', this.forget)
  }

  // Each answer has a connection of its own, and its stream is slowed down by itself.
  pause(): void {}
  resume(): void {}
  ref(): void {}
  unref(): void {}

  close(): Promise<void> {
    this.finish(undefined)
    return Promise.resolve()
  }

  abort(cause: TalkwireError): void {
    this.finish(cause)
  }

  private finish(cause: TalkwireError | undefined): void {
    if (this.over) return
    this.over = true
    for (const request of this.requests) request.destroy()
    for (const agent of this.agents) agent.destroy()
    this.onClosed(cause)
  }
}
