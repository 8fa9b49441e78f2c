/** The calling side of HTTP: a service of ours, as docs/protocols/http.md has it. */
import type { Agent, ClientRequest, IncomingMessage } from 'node:http'
import { fromJson, fromJsonText, toJson, type PlainLimits } from '../codecs/plain-json.js'
import type { Contract } from '../contract/contract.js'
import { isStream } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { inputOf } from '../session/service.js'
import { fromSystem } from '../transports/socket.js'
import type { ConnectionBase } from '../transports/transport.js'
import type { Answer, Callee, DialectClientOptions, OpenCall } from './dialect.js'
import { AgentConnection, ask, begin, collect, failures, gather, openPlace, type Place } from './http-agent.js'
import { EventReader } from './http-events.js'
import { connectForeign, isOpenApi } from './http-foreign.js'
import { metaHeaders } from './http-meta.js'
import { fromProblem } from './http-problem.js'
import type { Meta } from './message.js'

/** Bytes of a stream's input that may be on their way. */
const WINDOW = 256 * 1024

/** Rejects as `Dialect.connect`: the service is asked who it is. */
export async function connectHttp(address: string, options: DialectClientOptions): Promise<{ connection: ConnectionBase; callee: Callee }> {
  options.signal?.throwIfAborted()
  const place = openPlace(address, options)
  if (isOpenApi(options.contract)) return connectForeign(place, options.contract, options)
  const name = await askName(place, options)
  const connection = new AgentConnection(place, options.onClosed)
  return { connection, callee: new HttpCallee(place, name, options, connection) }
}

/** The name under which the service's methods are found: from /openapi.json, which says the contract, too. */
async function askName(place: Place, { contract, limits, signal }: DialectClientOptions): Promise<string> {
  const { status, body } = await ask(place, { method: 'GET', path: '/openapi.json' }, limits, signal)
  if (status !== 200) throw fromProblem(status, readable(body), `${place.address}/openapi.json`).withOutcome('not-sent')
  const told = readable(body) as { 'x-talkwire'?: { name?: unknown; contract?: unknown } } | undefined
  const served = told?.['x-talkwire']
  if (typeof served?.name !== 'string')
    throw new TalkwireError(
      'CONTRACT_MISMATCH',
      `${place.address} is no service of Talkwire; for another HTTP API make a contract of its OpenAPI file: await fromOpenApi(document)`,
    )
  if (contract && !contract.foreign && served.contract !== contract.id)
    throw new TalkwireError(
      'CONTRACT_MISMATCH',
      `this service is ${typeof served.contract === 'string' ? served.contract : `${served.name} (no contract)`}, the caller wants "${contract.id}"; give both the same contract`,
    )
  return served.name
}

function readable(body: Buffer, limits: PlainLimits = {}): unknown {
  try {
    return fromJson(body, limits)
  } catch {
    return undefined
  }
}

class HttpCallee implements Callee {
  private readonly events = new Map<string, ClientRequest>()

  constructor(
    private readonly place: Place,
    private readonly name: string,
    private readonly options: DialectClientOptions,
    private readonly connection: AgentConnection,
  ) {}

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const shape = shapeOf(this.options.contract, method)
    // With a contract the params are one input; without, the list of arguments.
    const input = shape ? inputOf(params, shape.parameters) : params
    const body = meta?.input || input === undefined ? undefined : toJson(input, this.options.limits)
    const request = this.send('POST', this.pathOf(method), meta, body)
    return new ClientCall(request, answer, this.options, meta?.input === true)
  }

  subscribe(event: string): Promise<void> {
    const request = this.send('GET', this.pathOf(event), undefined, undefined)
    this.events.set(event, request)
    return new Promise((resolve, reject) => {
      request.on('error', (reason) => {
        if (!this.events.has(event)) return
        reject(fromSystem(reason, `cannot subscribe to "${event}"`))
        this.connection.abort(
          new TalkwireError('CONNECTION_LOST', `the events of ${this.place.address} ended: ${reason.message}`, { cause: reason }),
        )
      })
      request.on('response', (response) => {
        if (response.statusCode !== 200)
          return void collect(response, this.options.limits.message).then(
            (all) => reject(fromProblem(response.statusCode!, readable(all, this.options.limits))),
            reject,
          )
        resolve()
        this.listen(event, response)
      })
    })
  }

  private listen(event: string, response: IncomingMessage): void {
    const reader = new EventReader(this.options.limits.message)
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      for (const { name, data } of reader.push(chunk))
        if (name === 'message') this.options.onEvent(event, fromJsonText(data, this.options.limits))
    })
    response.on('close', () => {
      if (this.events.delete(event))
        this.connection.abort(new TalkwireError('CONNECTION_LOST', `the events of ${this.place.address} ended`))
    })
  }

  unsubscribe(event: string): void {
    const request = this.events.get(event)
    this.events.delete(event)
    request?.destroy()
  }

  private pathOf(member: string): string {
    return `/${this.name}/${encodeURIComponent(member)}`
  }

  private send(method: string, path: string, meta: Meta | undefined, body: string | undefined): ClientRequest {
    const headers = metaHeaders(meta)
    if (meta?.input) {
      headers['content-type'] = 'application/x-ndjson'
      headers['transfer-encoding'] = 'chunked'
    } else if (body !== undefined) headers['content-type'] = 'application/json'
    const { base, calls } = this.place
    const lasts = method === 'GET' || meta?.input === true || meta?.credit !== undefined
    const request = begin(this.place, { method, path, headers, ...(body !== undefined && { body }) }, lasts ? (base.agent as Agent) : calls)
    this.connection.sent(request)
    if (!meta?.input) request.end(body)
    return request
  }
}

/** Undefined: without a contract nobody knows. */
function shapeOf(
  contract: Contract | undefined,
  method: string,
): { streams: boolean; parameters: readonly string[] | undefined } | undefined {
  const member = contract?.members[method]
  return member?.kind === 'rpc' ? { streams: isStream(member.output), parameters: member.parameters } : undefined
}

/** One request, until its answer is there. */
class ClientCall implements OpenCall {
  private settled = false
  private readonly failure: (reason: unknown) => TalkwireError
  /** Bytes of output that the caller has not taken yet. */
  private waiting = 0
  private response: IncomingMessage | undefined

  constructor(
    private readonly request: ClientRequest,
    private readonly answer: Answer,
    private readonly options: DialectClientOptions,
    uploads: boolean,
  ) {
    if (uploads) request.flushHeaders()
    this.failure = failures(request)
    request.on('error', (reason) => this.lost(reason))
    request.on('response', (response) => this.onResponse(response))
  }

  cancel(): void {
    this.settled = true
    this.request.destroy()
  }

  grant(bytes: number): void {
    this.waiting -= bytes
    if (this.waiting < WINDOW) this.response?.resume()
  }

  endInput(error?: TalkwireError): void {
    // The server must not take half of a stream for the whole.
    if (error) this.request.destroy()
    else this.request.end()
  }

  input(value: unknown): number {
    const line = `${toJson(value, this.options.limits)}\n`
    const size = Buffer.byteLength(line)
    if (!this.request.writableEnded) this.request.write(line, () => this.answer.grantInput?.(size))
    return size
  }

  private lost(reason: unknown): void {
    if (this.settled) return
    this.settled = true
    this.answer.error(this.failure(reason))
  }

  private onResponse(response: IncomingMessage): void {
    this.response = response
    const lost = (reason: unknown): void => this.lost(reason)
    const type = response.headers['content-type'] ?? ''
    if (response.statusCode !== 200 || !type.startsWith('text/event-stream'))
      return gather(response, this.options.limits.message, (body) => this.settle(response.statusCode!, body), lost)
    response.on('error', lost)
    this.readStream(response)
  }

  private settle(status: number, body: Buffer): void {
    if (this.settled) return
    this.settled = true
    try {
      if (status >= 300) this.answer.error(fromProblem(status, readable(body, this.options.limits)))
      else this.answer.result(body.length === 0 ? undefined : fromJson(body, this.options.limits))
    } catch (reason) {
      this.answer.error(TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('ran'))
    }
  }

  private readStream(response: IncomingMessage): void {
    const { limits } = this.options
    const reader = new EventReader(limits.message)
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      try {
        for (const { name, data, size } of reader.push(chunk)) this.onEvent(name, data, size)
      } catch (reason) {
        this.lost(reason)
        response.destroy()
      }
      if (this.waiting >= WINDOW) response.pause()
    })
    response.on('close', () => this.lost(new TalkwireError('CONNECTION_LOST', 'the stream ended before its end', { outcome: 'maybe-ran' })))
  }

  private onEvent(name: string, data: string, size: number): void {
    if (this.settled) return
    const value = fromJsonText(data, this.options.limits)
    if (name === 'message') {
      this.waiting += size
      this.answer.item(value, size)
      return
    }
    this.settled = true
    if (name === 'end') this.answer.result(null)
    else this.answer.error(fromProblem(500, value))
  }
}
