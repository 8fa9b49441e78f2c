/** Subscriptions of a client: as server-sent events, or over the WebSocket protocol of graphql-ws. Each has a connection to itself, so that a slow reader slows down its own stream only. */
import type { IncomingMessage } from 'node:http'
import type { ClientOptions } from 'graphql-ws'
import type { WebSocket } from 'ws'
import { fromJson, fromJsonText, toJson } from '../codecs/plain-json.js'
import { TalkwireError } from '../error.js'
import type { DialectClientOptions, OpenCall } from './dialect.js'
import { errorFrom } from './graphql-errors.js'
import type { Reply } from './graphql-text.js'
import { collect, failures, isSecure, type AgentConnection, type Place } from './http-agent.js'
import { EventReader } from './http-events.js'
import { metaHeaders } from './http-meta.js'
import { fromProblem } from './http-problem.js'
import type { Meta } from './message.js'

/** Whoever subscribed. */
export interface Subscribed {
  /** What comes from now on arrives. */
  ready(): void
  /** An element; returns why it is the last one. Throws for what is none. */
  next(reply: Reply, size: number): TalkwireError | undefined
  /** How many of these bytes wait until they are granted. */
  taken(size: number): number
  /** Exactly once, unless it was cancelled. */
  end(error?: TalkwireError): void
}

export interface Subscription {
  readonly place: Place
  readonly path: string
  readonly options: DialectClientOptions
  readonly connection: AgentConnection
  readonly payload: object
  readonly meta: Meta | undefined
  readonly on: Subscribed
}

/** What both ways have in common: one end, and no more than a window that nobody has taken. */
class Flow {
  over = false
  private waiting = 0
  /** What is read from, once it is there. */
  source: { pause(): void; resume(): void } | undefined

  constructor(
    private readonly on: Subscribed,
    private readonly stop: () => void,
    /** Bytes that the caller has not taken yet, before no more is read: the session grants them in parts of its own window. */
    private readonly window: number,
  ) {}

  next(reply: () => Reply, size: number): void {
    if (this.over) return
    let error: TalkwireError | undefined
    try {
      error = this.on.next(reply(), size)
    } catch (reason) {
      error = TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('ran')
    }
    if (error) return this.end(error)
    this.waiting += this.on.taken(size)
    if (this.waiting >= this.window) this.source?.pause()
  }

  end(error?: TalkwireError): void {
    if (this.over) return
    this.over = true
    this.on.end(error)
    this.stop()
  }

  get call(): OpenCall {
    return {
      cancel: () => {
        this.over = true
        this.stop()
      },
      grant: (bytes) => {
        this.waiting -= bytes
        if (this.waiting < this.window) this.source?.resume()
      },
      input: () => 0,
      endInput() {},
    }
  }
}

const ended = (): TalkwireError => new TalkwireError('CONNECTION_LOST', 'the stream ended before its end', { outcome: 'maybe-ran' })

/** "Distinct connections mode" of github.com/enisdenjo/graphql-sse. */
export function subscribeEvents({ place, path, options, connection, payload, meta, on }: Subscription): OpenCall {
  const { limits } = options
  const body = toJson(payload, limits)
  const headers = {
    ...place.headers,
    ...metaHeaders(meta),
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    accept: 'text/event-stream',
  }
  const request = place.request({ ...place.base, method: 'POST', path, headers })
  const flow = new Flow(on, () => request.destroy(), limits.window)
  const failure = failures(request)
  connection.sent(request)
  request.on('error', (reason) => flow.end(failure(reason)))
  request.on('response', (response) => {
    const isStream = (response.headers['content-type'] ?? '').startsWith('text/event-stream')
    if (response.statusCode === 200 && isStream) return pour(response, flow, on, limits)
    collect(response, limits.message).then(
      (bytes) => flow.end(refusalIn(response.statusCode!, bytes, limits)),
      (reason: unknown) => flow.end(TalkwireError.from(reason, 'CONNECTION_LOST')),
    )
  })
  request.end(body)
  return flow.call
}

function refusalIn(status: number, body: Buffer, limits: DialectClientOptions['limits']): TalkwireError {
  try {
    const { errors } = fromJson(body, limits) as { errors?: unknown }
    if (Array.isArray(errors) && errors.length > 0) return errorFrom(errors[0])
  } catch {
    // No GraphQL: the status says what it is.
  }
  return status === 200
    ? new TalkwireError('UNSUPPORTED', 'the server subscribes neither by WebSocket nor by server-sent events')
    : fromProblem(status, undefined)
}

function pour(response: IncomingMessage, flow: Flow, on: Subscribed, limits: DialectClientOptions['limits']): void {
  const reader = new EventReader(limits.message)
  flow.source = response
  on.ready()
  response.setEncoding('utf8')
  response.on('data', (chunk: string) => {
    try {
      for (const { name, data, size } of reader.push(chunk)) {
        if (name === 'next') flow.next(() => (fromJsonText(data, limits) ?? {}) as Reply, size)
        else if (name === 'complete') flow.end()
      }
    } catch (reason) {
      flow.end(TalkwireError.from(reason))
    }
  })
  response.on('error', () => {})
  response.on('close', () => flow.end(ended()))
}

/** `otherwise`: what to do with a server that has no such WebSocket. */
export function subscribeSocket(subscription: Subscription, otherwise: () => OpenCall): OpenCall {
  const { on } = subscription
  let inner: OpenCall | undefined
  let cancelled = false
  openSocket(
    subscription,
    (call) => {
      inner = call
      if (cancelled) call.cancel()
    },
    () => {
      if (!cancelled) inner = otherwise()
    },
  ).catch((reason: unknown) => on.end(TalkwireError.from(reason)))
  return {
    cancel() {
      cancelled = true
      inner?.cancel()
    },
    grant: (bytes) => inner?.grant(bytes),
    input: () => 0,
    endInput() {},
  }
}

async function load(): Promise<{ ws: typeof import('ws'); createClient: typeof import('graphql-ws').createClient }> {
  try {
    return { ws: (await import('ws')) as typeof import('ws'), createClient: (await import('graphql-ws')).createClient }
  } catch (cause) {
    const text = 'graphql: subscriptions of this server need the packages "graphql-ws" and "ws"; run npm install graphql-ws ws'
    throw new TalkwireError('MISSING_PACKAGE', text, { cause })
  }
}

async function openSocket(
  { place, path, options, payload, meta, on }: Subscription,
  opened: (call: OpenCall) => void,
  refused: () => void,
): Promise<void> {
  const { ws, createClient } = await load()
  const { limits, tls } = options
  let socket: WebSocket | undefined
  let [ready, size] = [false, 0]
  class Socket extends ws.WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols, {
        ...(tls as object),
        headers: { ...place.headers },
        maxPayload: limits.message,
        handshakeTimeout: limits.handshake,
        perMessageDeflate: false,
      })
      // eslint-disable-next-line typescript/no-this-alias
      socket = this
    }
  }
  const { host, port } = place.base
  const client = createClient({
    url: `${isSecure(place.address) ? 'wss' : 'ws'}://${host!.includes(':') ? `[${host}]` : host}:${port}${path}`,
    webSocketImpl: Socket,
    retryAttempts: 0,
    connectionAckWaitTimeout: limits.handshake,
    ...(place.headers['authorization'] !== undefined && { connectionParams: { authorization: place.headers['authorization'] } }),
    on: {
      connected() {
        ready = true
        flow.source = socket
        // The subscription leaves with the next turn; nobody tells when the server has it.
        setImmediate(() => on.ready())
      },
      message(message) {
        size = message.type === 'next' ? sizeOf(message) : 0
      },
    },
  } satisfies ClientOptions)
  const flow = new Flow(
    on,
    () => {
      dispose()
      socket?.terminate()
    },
    limits.window,
  )
  const dispose = client.subscribe({ ...payload, ...extensionsFor(meta) } as never, {
    next: (reply) => flow.next(() => reply as Reply, size),
    complete: () => flow.end(),
    error(reason) {
      if (flow.over) return
      if (Array.isArray(reason)) return flow.end(errorFrom(reason[0]))
      if (ready) return flow.end(ended())
      flow.over = true
      refused()
    },
  })
  opened(flow.call)
}

const sizeOf = (message: unknown): number => JSON.stringify(message).length

function extensionsFor(meta: Meta | undefined): object {
  const { timeout, metadata } = meta ?? {}
  if (timeout === undefined && metadata === undefined) return {}
  return { extensions: { talkwire: { ...(timeout !== undefined && { timeout }), ...(metadata && { metadata }) } } }
}
