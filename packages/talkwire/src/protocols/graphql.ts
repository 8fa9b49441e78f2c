/**
 * GraphQL: `graphql+http://127.0.0.1:8080`. A contract as a schema at `/graphql`: GraphQL over HTTP, server-sent events and the
 * WebSocket protocol of graphql-ws, with GraphiQL for people. docs/protocols/graphql.md.
 */
import type { Socket } from 'node:net'
import type { ExecutionArgs, ExecutionResult, GraphQLError, GraphQLSchema } from 'graphql'
import { fromJson } from '../codecs/plain-json.js'
import { isStream, type Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { Service } from '../session/service.js'
import type { Dialect, DialectServerOptions, DialectTraits } from './dialect.js'
import { connectGraphql, discoverGraphql } from './graphql-client.js'
import { Listeners, RequestContext } from './graphql-context.js'
import { extensionsOf, formatted, type FormattedError } from './graphql-errors.js'
import { servePage } from './graphql-page.js'
import { createReader, type DocumentReader, type Library } from './graphql-reader.js'
import { schemaOf } from './graphql-schema.js'
import { operationsOf } from './operations.js'
import { BEAT, eventText } from './http-events.js'
import { metaOf } from './http-meta.js'
import { statusOf } from './http-problem.js'
import { listenHttp, readBody, turnAway, type Exchange, type Response, type Site } from './http-server.js'
import type { Meta } from './message.js'

const traits: DialectTraits = {
  inputStream: false,
  outputStream: true,
  duplex: false,
  events: true,
  oneway: true,
  progress: false,
  deadline: true,
  metadata: true,
  cancellation: true,
  untyped: false,
  crossHost: true,
}

const dialect = (scheme: 'graphql+http' | 'graphql+https'): Dialect => ({
  scheme,
  speaks: 'calls',
  traits,
  tokens: true,
  listen: async (address, service, admit, options) => listenHttp(address, admit, await siteOf(scheme, service, options), options),
  site: (service, options) => siteOf(scheme, service, options),
  connect: (address, options) => connectGraphql(address, options),
  discover: (address, options) => discoverGraphql(address, options),
})
export const graphql = dialect('graphql+http')
export const graphqls = dialect('graphql+https')

export const PATH = '/graphql'
const TYPE = 'application/graphql-response+json; charset=utf-8'
const EVENTS_TYPE = 'text/event-stream'
/** Milliseconds between signs of life of a stream that has nothing to say. */
const PULSE = 15_000

// ── serving ──────────────────────────────────────────────────────────────────────────────────────

interface Libraries {
  readonly graphql: Library
  readonly http: typeof import('graphql-http')
}

async function load(scheme: string): Promise<Libraries> {
  try {
    return { graphql: await import('graphql'), http: await import('graphql-http') }
  } catch (cause) {
    const text = `${scheme}: needs the packages "graphql" and "graphql-http"; run npm install graphql graphql-http`
    throw new TalkwireError('MISSING_PACKAGE', text, { cause })
  }
}

/** A contract in GraphQL's schema language. Rejects with UNSUPPORTED for what GraphQL has no word for, MISSING_PACKAGE. */
export async function graphqlSchema(contract: Contract): Promise<string> {
  const { graphql: library } = await load('graphql')
  return `${library.printSchema(schemaOf(library, contract, (await operationsOf(contract)).values()))}\n`
}

/** A service as GraphQL sees it, whatever carries the requests. */
export interface Served {
  readonly library: Library
  readonly schema: GraphQLSchema
  readonly reader: DocumentReader
  readonly options: DialectServerOptions
  /** An error as it is told: what nobody declared says nothing of its reason. */
  format(error: GraphQLError | Error): FormattedError
}

/** Has something to subscribe to. */
const streams = ({ members }: Contract): boolean =>
  Object.values(members).some((member) => member.kind === 'event' || isStream(member.output))

async function siteOf(scheme: 'graphql+http' | 'graphql+https', service: Service, options: DialectServerOptions): Promise<Site> {
  const contract = service.contract!
  const { graphql: library, http } = await load(scheme)
  const schema = schemaOf(library, contract, (await operationsOf(contract)).values())
  const served: Served = {
    library,
    schema,
    reader: createReader(library, schema, options.limits),
    options,
    format: (error) => formatError(library, error, options),
  }
  const answer = createAnswer(http, served)
  const listeners = new WeakMap<Socket, Listeners>()
  return {
    scheme,
    claims: (path) => path === PATH,
    public: servePage,
    refuse: (response, status, error) => send(response, status, JSON.stringify({ errors: [formatted(error)] })),
    onEvent(socket, event, payload) {
      listeners.get(socket)?.take(event, payload)
      return true
    },
    ...(streams(contract) && { upgrade: await (await import('./graphql-socket.js')).createUpgrade(scheme, served) }),
    handle(exchange) {
      const { request, response, path, caller } = exchange
      const refuse = (error: TalkwireError, status = statusOf(error)): void =>
        turnAway(request, response, () => send(response, status, JSON.stringify({ errors: [formatted(error)] })))
      // A page of anyone may ask by an image's address, and shows no origin then.
      const site = request.headers['sec-fetch-site']
      if (request.method === 'GET' && request.headers.origin === undefined && (site === 'cross-site' || site === 'same-site'))
        return refuse(new TalkwireError('PERMISSION_DENIED', 'pages of other origins call by POST, and are named in origins'))
      if (path !== PATH) return refuse(new TalkwireError('METHOD_NOT_FOUND', `GraphQL is at ${PATH}`))
      let listening = listeners.get(request.socket)
      if (!listening) listeners.set(request.socket, (listening = new Listeners(options.limits.outgoing)))
      listening.caller = caller
      const fail = (reason: unknown): void => {
        if (reason instanceof TalkwireError) return refuse(reason)
        options.onError(reason, 'graphql')
        refuse(new TalkwireError('INTERNAL', 'internal error', { outcome: 'maybe-ran' }))
      }
      readParams(exchange, options, (error, body) => {
        if (error) return refuse(error)
        const paid = exchange.owe()
        answer(exchange, body, listening, paid).catch(fail).finally(paid)
      })
    },
  }
}

/** The body of a POST with JSON, read and checked; of other requests undefined. */
function readParams(
  { request }: Exchange,
  { limits }: DialectServerOptions,
  done: (error: TalkwireError | undefined, body?: unknown) => void,
): void {
  const type = request.headers['content-type'] ?? ''
  // Another type is refused by graphql-http: it could come from a page of anyone, without the browser's asking first.
  if (request.method !== 'POST' || !/^\s*application\/json\s*(;|$)/i.test(type)) {
    request.resume()
    return done(undefined)
  }
  readBody(request, limits, (error, bytes) => {
    if (error) return done(error)
    let body: unknown
    try {
      body = fromJson(bytes, limits)
    } catch (reason) {
      return done(TalkwireError.from(reason))
    }
    done(undefined, body)
  })
}

/** `lasts`: what follows has no end. */
type AnswerRequest = (exchange: Exchange, body: unknown, listeners: Listeners, lasts: () => void) => Promise<void>
/** What `graphql-http` hands to its hooks. */
interface Asked {
  readonly context: (extensions: unknown) => RequestContext
  /** Nothing was executed. */
  wrong: boolean
}

/** What `graphql-http` says of a subscription. */
const NOT_HERE = 'Subscriptions are not supported'
const WHERE = 'a subscription wants accept: text/event-stream, or a WebSocket of graphql-transport-ws'

/** What `graphql-http` says by the status alone. */
const BARE: Readonly<Record<number, string>> = {
  405: 'GraphQL is asked by POST, queries by GET too',
  406: 'answers are application/graphql-response+json, application/json or text/event-stream; accept one of them',
  415: 'GraphQL is POSTed with content-type: application/json',
}

function sendBare(response: Response, status: number, headers: Readonly<Record<string, string>> = {}): void {
  const error = formatted(new TalkwireError('INVALID_REQUEST', BARE[status] ?? 'this is no request of GraphQL'))
  send(response, status, JSON.stringify({ errors: [error] }), { ...headers, 'content-type': TYPE })
}

function createAnswer({ createHandler, parseRequestParams }: Libraries['http'], served: Served): AnswerRequest {
  const { schema, reader } = served
  const handler = createHandler<Asked>({
    schema,
    parse: (text) => reader.parse(text as string),
    validate: (_schema, document) => reader.validate(document),
    context: ({ raw: { context } }, { extensions }) => context(extensions) as never,
    formatError: (error) => served.format(error.message === NOT_HERE ? new Error(WHERE) : error) as never,
    onOperation({ raw }, _args, result) {
      raw.wrong = !('data' in result)
    },
  })
  return async (exchange, body, listeners, lasts) => {
    const { request, response } = exchange
    const asked = { method: request.method!, url: request.url!, headers: request.headers as never, body: body as never, context: undefined }
    const context = (extensions: unknown): RequestContext => {
      const made = new RequestContext(exchange.caller, listeners, metaFrom(metaOf(request.headers), extensions))
      response.once('close', () => made.cancel())
      return made
    }
    if (/\btext\/event-stream\b/i.test(request.headers.accept ?? '')) {
      const params = await told(() => parseRequestParams({ ...asked, raw: undefined }))
      if ('length' in params) return sendBare(response, params[1].status, params[1].headers)
      if (params instanceof Error) return send(response, 400, JSON.stringify({ errors: [served.format(params)] }))
      return new Streamed(served, exchange, lasts).run(params, context)
    }
    const raw: Asked = { context, wrong: false }
    const [text, init] = await handler({ ...asked, raw })
    const { headers } = init
    // graphql-http calls wrong variables a success. https://graphql.github.io/graphql-over-http/draft/#sec-application-graphql-response-json.Examples.Variable-coercion-failure
    const status = raw.wrong && headers?.['content-type'] === TYPE ? 400 : init.status
    if (text !== null && text.length > served.options.limits.message)
      throw new TalkwireError('MESSAGE_TOO_LARGE', 'the answer is larger than limits.message; select less', { outcome: 'ran' })
    if (text === null) return sendBare(response, status, headers)
    send(response, status, text, headers)
  }
}

async function told<T>(action: () => Promise<T>): Promise<T | Error> {
  try {
    return await action()
  } catch (reason) {
    return reason as Error
  }
}

function send(
  response: Response,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = { 'content-type': TYPE },
): void {
  if (response.headersSent || response.destroyed) return
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(text) }).end(text)
}

/** `extensions.talkwire` of a request: `{ timeout, metadata }`, for clients that set no headers. Throws INVALID_REQUEST. */
export function metaFrom(headers: Meta | undefined, extensions: unknown): Meta | undefined {
  const given = (extensions as { talkwire?: { timeout?: unknown; metadata?: unknown } } | undefined)?.talkwire
  if (typeof given !== 'object' || given === null) return headers
  const { timeout, metadata = {} } = given
  const texts = typeof metadata === 'object' && metadata !== null && Object.values(metadata).every((text) => typeof text === 'string')
  if ((timeout !== undefined && !(typeof timeout === 'number' && timeout >= 0)) || !texts)
    throw new TalkwireError('INVALID_REQUEST', 'extensions.talkwire is { timeout: milliseconds, metadata: { name: text } }')
  return {
    ...headers,
    ...(timeout !== undefined && { timeout: timeout as number }),
    metadata: { ...headers?.metadata, ...(metadata as Record<string, string>) },
  }
}

function formatError({ GraphQLError: Reported }: Library, error: GraphQLError | Error, { onError }: DialectServerOptions): FormattedError {
  const cause = error instanceof Reported ? error.originalError : error
  const place = error instanceof Reported ? { locations: error.locations, path: error.path } : {}
  if (cause instanceof TalkwireError) return { ...formatted(cause), ...defined(place) }
  // An answer that the schema does not allow, or a fault of ours.
  if (place.path !== undefined && cause !== undefined) {
    onError(cause, String(place.path[0]))
    return { ...formatted(new TalkwireError('INTERNAL', 'internal error', { outcome: 'ran' })), ...defined(place) }
  }
  const extensions =
    error instanceof Reported && 'code' in error.extensions
      ? error.extensions
      : extensionsOf(new TalkwireError(isInput(error) ? 'INVALID_INPUT' : 'INVALID_REQUEST', ''))
  return { message: error.message, ...defined(place), extensions }
}

/** Of a variable's value: the document is a good one. */
const isInput = ({ message }: Error): boolean => /^Variable "\$\w+" (got invalid|of )/.test(message)
const defined = ({ path, locations }: Partial<Record<'path' | 'locations', readonly any[] | undefined>>): object => ({
  ...(locations && { locations }),
  ...(path && { path }),
})

// ── streams ──────────────────────────────────────────────────────────────────────────────────────

export interface Params {
  readonly query: string
  readonly operationName?: string | null | undefined
  readonly variables?: Readonly<Record<string, unknown>> | null | undefined
  readonly extensions?: unknown
}

/** What is to be executed, or why not. */
export function argumentsOf({ reader, schema }: Served, { query, operationName, variables }: Params): ExecutionArgs | readonly Error[] {
  try {
    const document = reader.parse(query)
    const errors = reader.validate(document)
    return errors.length > 0 ? errors : { schema, document, operationName, variableValues: variables as { [name: string]: unknown } }
  } catch (reason) {
    return [reason as Error]
  }
}

/** Server-sent events, one operation a request: "distinct connections mode" of github.com/enisdenjo/graphql-sse. */
class Streamed {
  private gone = false

  constructor(
    private readonly served: Served,
    private readonly exchange: Exchange,
    private readonly lasts: () => void,
  ) {}

  async run(params: Params, context: (extensions: unknown) => RequestContext): Promise<void> {
    const { served } = this
    const { request, response } = this.exchange
    const args = argumentsOf(served, params)
    if ('length' in args) return this.refuse(args)
    const operation = served.library.getOperationAST(args.document, args.operationName)
    if (!operation) return this.refuse([new Error('there is no such operation in the document')])
    if (request.method === 'GET' && operation.operation === 'mutation') return sendBare(response, 405, { allow: 'POST' })
    const execute = operation.operation === 'subscription' ? served.library.subscribe : served.library.execute
    const result = await told(async () => {
      const contextValue = context(params.extensions)
      const results = await execute({ ...args, contextValue })
      if (contextValue.lasting) this.lasts()
      return results
    })
    if (result instanceof Error) return this.refuse([result])
    if (Symbol.asyncIterator in result) return this.pour(result)
    if (operation.operation === 'subscription') return this.refuse(result.errors!)
    this.open()
    await this.say(result)
    response.end(eventText('', 'complete'))
  }

  private refuse(errors: readonly Error[]): void {
    const { response } = this.exchange
    send(response, 400, JSON.stringify({ errors: errors.map((error) => this.served.format(error)) }))
  }

  private open(): void {
    const { response } = this.exchange
    response.writeHead(200, { 'content-type': EVENTS_TYPE, 'cache-control': 'no-store' })
    response.flushHeaders()
  }

  private async pour(results: AsyncGenerator<ExecutionResult, void, void>): Promise<void> {
    const { response } = this.exchange
    if (response.destroyed) return void results.return()
    response.once('close', () => {
      this.gone = true
      clearInterval(pulse)
      void results.return()
    })
    const pulse = setInterval(() => response.write(BEAT), PULSE)
    pulse.unref()
    this.open()
    for await (const result of results) {
      await this.say(result)
      if (this.gone) return
    }
    response.end(eventText('', 'complete'))
  }

  /** Resolves when the reader takes more, or has gone. */
  private say(result: ExecutionResult): Promise<void> | void {
    const { response } = this.exchange
    const { errors } = result
    const text = JSON.stringify(errors ? { ...result, errors: errors.map((error) => this.served.format(error)) } : result)
    if (this.gone || response.write(eventText(text, 'next'))) return
    return new Promise((resolve) => {
      const done = (): void => {
        response.off('drain', done).off('close', done)
        resolve()
      }
      response.on('drain', done).on('close', done)
    })
  }
}
