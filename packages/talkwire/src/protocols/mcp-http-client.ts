/** MCP over streamable HTTP, as a client: each message is a POST, answered by JSON or by a stream of events. */
import type http from 'node:http'
import type { IncomingMessage } from 'node:http'
import { fromJson, fromJsonText } from '../codecs/plain-json.js'
import { TalkwireError } from '../error.js'
import { fromSystem } from '../transports/socket.js'
import type { ConnectionBase } from '../transports/transport.js'
import type { DialectClientOptions } from './dialect.js'
import { AgentConnection, collect, failures, openPlace, type Place } from './http-agent.js'
import { EventReader } from './http-events.js'
import { fromProblem } from './http-problem.js'
import { McpCallee, type McpLink } from './mcp-client.js'
import { own, readMessage } from './mcp-message.js'
import { fromWireError } from './message.js'

/** Milliseconds for saying goodbye. */
const FAREWELL = 1000

/** Rejects as `Dialect.connect`. */
export async function connectMcpHttp(
  address: string,
  options: DialectClientOptions,
): Promise<{ connection: ConnectionBase; callee: McpCallee }> {
  options.signal?.throwIfAborted()
  const place = openPlace(address, options)
  const callee = new McpCallee(address, options)
  let link!: HttpLink
  let begun = false
  const onClosed = (cause?: TalkwireError): void => {
    if (begun) options.onClosed(cause)
  }
  const connection = new McpConnection(place, onClosed, () => link.end())
  link = callee.link = new HttpLink(place, callee, connection, options)
  const late = AbortSignal.timeout(options.limits.handshake)
  const stop = options.signal ? AbortSignal.any([options.signal, late]) : late
  const onAbort = (): void =>
    callee.end(
      new TalkwireError(
        'PEER_NOT_FOUND',
        `${address} did not answer within ${options.limits.handshake} ms; check the address, or raise limits.handshake`,
      ),
    )
  stop.addEventListener('abort', onAbort)
  try {
    await callee.begin()
    begun = true
  } catch (reason) {
    connection.abort(TalkwireError.from(reason))
    options.signal?.throwIfAborted()
    throw TalkwireError.from(reason).withOutcome('not-sent')
  } finally {
    stop.removeEventListener('abort', onAbort)
  }
  return { connection, callee }
}

class McpConnection extends AgentConnection {
  constructor(
    place: Place,
    onClosed: (cause?: TalkwireError) => void,
    private readonly farewell: () => Promise<void>,
  ) {
    super(place, onClosed)
  }

  override async close(): Promise<void> {
    await this.farewell()
    return super.close()
  }
}

class HttpLink implements McpLink {
  private session: string | undefined
  private version: string | undefined
  private readonly requests = new Map<number, http.ClientRequest>()
  private listening: Promise<void> | undefined
  private ending = false

  constructor(
    private readonly place: Place,
    private readonly callee: McpCallee,
    private readonly connection: AgentConnection,
    private readonly options: DialectClientOptions,
  ) {}

  send(text: string, id: number | undefined): void {
    const request = this.request('POST', { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
    const failure = failures(request)
    const lost = (reason: unknown): void => {
      if (id === undefined || !this.requests.delete(id)) return
      this.callee.failed(id, failure(reason, `the request to ${this.place.address} failed`))
    }
    if (id !== undefined) this.requests.set(id, request)
    request.on('error', lost)
    request.on('response', (response) => {
      this.session ??= response.headers['mcp-session-id'] as string | undefined
      response.on('error', lost)
      void this.answered(response, id).catch(lost)
    })
    request.end(text)
  }

  private async answered(response: IncomingMessage, id: number | undefined): Promise<void> {
    const status = response.statusCode!
    if (status === 200 && (response.headers['content-type'] ?? '').startsWith('text/event-stream')) await this.readEvents(response)
    else {
      const body = await collect(response, this.options.limits.message)
      if (status >= 300) return this.refused(status, body, id)
      if (body.length > 0) this.callee.receive(readMessage(fromJson(body, this.options.limits)), body.length)
    }
    if (id === undefined || !this.requests.delete(id)) return
    this.callee.failed(id, new TalkwireError('CONNECTION_LOST', 'the answer ended before it was whole', { outcome: 'maybe-ran' }))
  }

  private refused(status: number, body: Buffer, id: number | undefined): void {
    let told: unknown
    try {
      told = fromJson(body, this.options.limits)
    } catch {
      // Some proxies answer with a page.
    }
    const error = own(told, 'error')
    const over = status === 404 && this.session !== undefined
    // It was not even looked at: the service has forgotten who asks.
    const lost = new TalkwireError('CONNECTION_LOST', `the session at ${this.place.address} is over; call again`, { outcome: 'not-sent' })
    const why = over
      ? lost
      : error === undefined || status === 401 || status === 403
        ? fromProblem(status, own(error, 'data') ?? told, this.place.address)
        : fromWireError(error)
    if (id !== undefined && this.requests.delete(id)) this.callee.failed(id, why)
    if (over) this.connection.abort(lost)
  }

  /** Ends with the stream; rejects when it breaks. */
  private async readEvents(response: IncomingMessage): Promise<void> {
    const reader = new EventReader(this.options.limits.message)
    response.setEncoding('utf8')
    for await (const chunk of response as AsyncIterable<string>)
      for (const { data } of reader.push(chunk)) {
        if (data !== '') this.callee.receive(readMessage(fromJsonText(data, this.options.limits)), Buffer.byteLength(data))
      }
  }

  forget(id: number): void {
    const request = this.requests.get(id)
    this.requests.delete(id)
    request?.destroy()
  }

  listen(): Promise<void> {
    return (this.listening ??= new Promise((resolve, reject) => {
      const request = this.request('GET', {})
      const over = (reason: unknown): void => {
        const error = fromSystem(reason, `the events of ${this.place.address} ended`)
        reject(error)
        if (!this.ending) this.connection.abort(error)
      }
      request.on('error', over)
      request.on('response', (response) => {
        if (response.statusCode !== 200) return over(fromProblem(response.statusCode!, undefined))
        resolve()
        this.readEvents(response).then(() => over(new TalkwireError('CONNECTION_LOST', 'the server ended the stream of events')), over)
      })
      request.end()
    }))
  }

  /** Says goodbye; never rejects. */
  end(): Promise<void> {
    this.ending = true
    if (this.session === undefined) return Promise.resolve()
    return new Promise((resolve) => {
      const request = this.request('DELETE', {})
      const timer = setTimeout(() => request.destroy(), FAREWELL)
      request.on('response', (response) => response.resume())
      request.on('error', () => {})
      request.on('close', () => {
        clearTimeout(timer)
        resolve()
      })
      request.end()
    })
  }

  private request(method: string, headers: Record<string, string | number>): http.ClientRequest {
    const { base, path, headers: own } = this.place
    const request = this.place.request({
      ...base,
      method,
      path: path === '' || path === '/' ? '/mcp' : path,
      headers: {
        accept: method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
        ...headers,
        ...own,
        ...(this.version !== undefined && { 'mcp-protocol-version': this.version }),
        ...(this.session !== undefined && { 'mcp-session-id': this.session }),
      },
    })
    this.connection.sent(request)
    return request
  }

  agreed(version: string): void {
    this.version = version
  }
}
