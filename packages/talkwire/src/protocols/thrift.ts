/**
 * Apache Thrift: `thrift+tcp://host:port`, `thrift+unix:/path`, `thrift+http://host:port`. A contract in the binary or the compact
 * protocol, framed or not, alone or as one of several services. docs/protocols/thrift.md.
 */
import type { Socket } from 'node:net'
import type { Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { inputOf, notFound, paramsOf, type Service } from '../session/service.js'
import type { ConnectionBase, Peer } from '../transports/transport.js'
import type {
  Admit,
  Answer,
  Callee,
  Caller,
  Dialect,
  DialectClientOptions,
  DialectServerOptions,
  DialectTraits,
  OpenCall,
} from './dialect.js'
import { AgentConnection, ask, openPlace, post, type Place } from './http-agent.js'
import { metaHeaders, metaOf } from './http-meta.js'
import { fromProblem } from './http-problem.js'
import { listenHttp, readBody, turnAway, type Exchange, type Response, type Site } from './http-server.js'
import type { Meta } from './message.js'
import { dialSocket, InOrder, isPath, listenSockets, lost, Pace, SocketConnection, socketGuest, type Turn } from './socket-site.js'
import { readAnswer, readInput, writeCall, writeError, writeResult, type Style } from './thrift-calls.js'
import type { ThriftOptions } from './thrift-contract.js'
import { operationsOf, serviceName, unspelled, type Operation, type Operations } from './thrift-schema.js'
import { beginsMessage, formatOf, Kind, MessageCutter, Reader, type Format, type Head, type Whole } from './thrift-wire.js'

const overSockets: DialectTraits = {
  inputStream: false,
  outputStream: false,
  duplex: false,
  events: false,
  oneway: true,
  progress: false,
  deadline: false,
  metadata: false,
  cancellation: false,
  untyped: false,
  crossHost: true,
}
const overHttp: DialectTraits = { ...overSockets, deadline: true, metadata: true, cancellation: true }

const socketDialect = (scheme: string, crossHost: boolean): Dialect => ({
  scheme,
  speaks: 'calls',
  traits: { ...overSockets, crossHost },
  async listen(address, service, admit, options) {
    const served = await servedBy(service)
    return listenSockets(address, undefined, options, (socket, peer) => new Served(socket, peer, served, admit, options))
  },
  async guest(_address, service, admit, options) {
    const served = await servedBy(service)
    const recognises = (first: Buffer): boolean | undefined => beginsMessage(first, options.limits.message)
    return socketGuest('thrift', recognises, options, (socket, peer) => new Served(socket, peer, served, admit, options))
  },
  connect: connectSocket,
})
export const thrift = socketDialect('thrift+tcp', true)
export const thriftUnix = socketDialect('thrift+unix', false)

const httpDialect = (scheme: string): Dialect => ({
  scheme,
  speaks: 'calls',
  traits: overHttp,
  tokens: true,
  listen: async (address, service, admit, options) => listenHttp(address, admit, siteOf(scheme, await servedBy(service), options), options),
  connect: connectHttp,
})
export const thriftHttp = httpDialect('thrift+http')
export const thriftHttps = httpDialect('thrift+https')

/** A contract in Thrift's interface language. Rejects with UNSUPPORTED for what Thrift has no word for. */
export const thriftIdl = async (contract: Contract): Promise<string> => (await operationsOf(contract)).idl

/**
 * The contract of a service of others, from the text of a `.thrift` file. `service` is needed where there are several; `imports` has the
 * texts of included files by their paths from that file. Rejects with TypeError, which says line and column, for what is no such text,
 * and with MISSING_PACKAGE (`@cfworker/json-schema`).
 */
export async function thriftContract(text: string, options: ThriftOptions = {}): Promise<Contract> {
  const { contractOfThrift } = await import('./thrift-contract.js')
  return contractOfThrift(text, options)
}

// ── messages, whoever serves them ────────────────────────────────────────────────────────────────

interface ServedService {
  readonly service: Service
  readonly name: string
  readonly operations: Operations
}

async function servedBy(service: Service): Promise<ServedService> {
  const contract = service.contract!
  return { service, name: serviceName(contract), operations: await operationsOf(contract) }
}

interface Read {
  readonly head: Head
  readonly operation: Operation
  readonly input: unknown
}

/** A call. Throws its error; `onHead` has heard by then what is to be answered, if so much could be read. */
function readCall(
  { service, name, operations }: ServedService,
  bytes: Buffer,
  format: Format,
  { limits }: DialectServerOptions,
  onHead: (head: Head, operation: Operation | undefined) => void,
): Read {
  const reader = new Reader(bytes, format, limits)
  const head = reader.message()
  onHead(head, undefined)
  // Of several services on one connection the name stands before the method's: TMultiplexedProtocol.
  const own = head.name.startsWith(`${name}:`) ? head.name.slice(name.length + 1) : head.name
  if (head.kind !== Kind.call && head.kind !== Kind.oneway)
    throw new TalkwireError('INVALID_REQUEST', `a message of kind ${head.kind} is no call`)
  const operation = operations.methods.get(own) ?? operations.methods.get(unspelled(own))
  if (!operation) throw notFound(service, own)
  onHead(head, operation)
  return { head, operation, input: readInput(reader, operation) }
}

// ── serving sockets ──────────────────────────────────────────────────────────────────────────────

/** Calls of one connection that may wait for their turn before it is read on. */
const WAITING = 1024

class Served {
  private readonly connection: SocketConnection
  private readonly caller: Caller
  private readonly cutter: MessageCutter
  private readonly answers: InOrder
  private readonly pace: Pace

  constructor(
    socket: Socket,
    peer: Peer,
    private readonly served: ServedService,
    admit: Admit,
    private readonly options: DialectServerOptions,
  ) {
    this.connection = new SocketConnection(socket, peer, (cause) => this.caller.closed(cause))
    this.answers = new InOrder((bytes) => socket.writable && socket.write(bytes))
    this.cutter = new MessageCutter(options.limits)
    this.pace = new Pace(this.connection, options.limits.handshake, () => this.cutter.partial)
    this.pace.look(true)
    this.caller = admit(this.connection)
    socket.on('drain', () => this.caller.drained())
    socket.on('data', (chunk: Buffer) => this.take(chunk))
  }

  private take(chunk: Buffer): void {
    try {
      for (const whole of this.cutter.push(chunk)) {
        if (this.connection.socket.destroyed) return
        this.pace.whole()
        this.message(whole)
      }
      this.pace.look()
    } catch (reason) {
      // The bytes are no messages, and nothing says where the next one would begin.
      this.connection.abort(TalkwireError.from(reason, 'INVALID_MESSAGE'))
    }
  }

  private message({ bytes, ...style }: Whole): void {
    const { limits } = this.options
    const turn = this.answers.next()
    let head: Head | undefined
    let operation: Operation | undefined
    const fail = (error: TalkwireError): void => {
      if (!head) return this.connection.abort(error)
      this.end(turn, head.kind === Kind.oneway ? undefined : writeError(style, limits, operation, head, error))
    }
    try {
      const call = readCall(this.served, bytes, style.format, this.options, (...known) => ([head, operation] = known))
      this.caller.call(call.operation.name, paramsOf(call.input), undefined, {
        result: (value) =>
          this.end(turn, call.head.kind === Kind.oneway ? undefined : writeResult(style, limits, call.operation, call.head, value)),
        error: fail,
        item: () => 0,
      })
    } catch (reason) {
      fail(TalkwireError.from(reason))
    }
    if (this.answers.length >= WAITING) this.connection.hold('dialect', true)
  }

  private end(turn: Turn, bytes: Buffer | undefined): void {
    turn.end(bytes)
    if (this.answers.length < WAITING) this.connection.hold('dialect', false)
  }
}

// ── serving HTTP ─────────────────────────────────────────────────────────────────────────────────

const TYPE = 'application/x-thrift'

function siteOf(scheme: string, served: ServedService, options: DialectServerOptions): Site {
  return {
    scheme,
    refuse: (response, status, error) => sendText(response, status, error.message),
    handle(exchange) {
      const { request, response, path } = exchange
      const refuse = (status: number, text: string): void => turnAway(request, response, () => sendText(response, status, text))
      if (path !== '/' && path !== `/${served.service.name}`) return refuse(404, `Thrift is at /${served.service.name}`)
      if (request.method === 'GET') return sendText(response, 200, served.operations.idl)
      if (request.method !== 'POST') {
        response.setHeader('allow', 'GET, POST')
        return refuse(405, 'Thrift is called by POST; GET is its interface')
      }
      // Another type could come from a page of anyone, without the browser's asking first.
      if (!/^\s*application\/(x-thrift|vnd\.apache\.thrift\.\w+)\s*(;|$)/i.test(request.headers['content-type'] ?? ''))
        return refuse(415, `Thrift takes content-type: ${TYPE}`)
      readBody(request, options.limits, (error, body) => answerPost(exchange, served, options, error, body))
    },
  }
}

function sendText(response: Response, status: number, text: string): void {
  if (response.headersSent || response.destroyed) return
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(text)
}

function answerPost(
  exchange: Exchange,
  served: ServedService,
  options: DialectServerOptions,
  failed: TalkwireError | undefined,
  body: Buffer,
): void {
  const { request, response, caller } = exchange
  const { limits } = options
  let head: Head = { name: '', kind: Kind.call, sequence: 0 }
  let operation: Operation | undefined
  let style: Style = { format: 'binary', framed: false }
  let call: OpenCall | undefined
  let done = false
  const send = (bytes: Buffer): void => {
    if (done || response.destroyed) return
    done = true
    response.writeHead(200, { 'content-type': TYPE, 'content-length': bytes.length }).end(bytes)
  }
  const fail = (error: TalkwireError): void =>
    send(head.kind === Kind.oneway ? Buffer.alloc(0) : writeError(style, limits, operation, head, error))
  response.once('close', () => {
    if (!done) call?.cancel()
  })
  try {
    if (failed) {
      response.setHeader('connection', 'close')
      throw failed
    }
    style = { format: formatOf(body), framed: false }
    const meta = metaOf(request.headers)
    const read = readCall(served, body, style.format, options, (...known) => ([head, operation] = known))
    call = caller.call(read.operation.name, paramsOf(read.input), meta, {
      result: (value) =>
        send(read.head.kind === Kind.oneway ? Buffer.alloc(0) : writeResult(style, limits, read.operation, read.head, value)),
      error: fail,
      item: () => 0,
    })
  } catch (reason) {
    fail(TalkwireError.from(reason))
  }
}

// ── calling ──────────────────────────────────────────────────────────────────────────────────────

const noCall: OpenCall = { cancel() {}, grant() {}, input: () => 0, endInput() {} }
type Connected = { readonly connection: ConnectionBase; readonly callee: Callee }

interface Wish extends Style {
  /** Without what is ours. */
  readonly address: string
  /** Before each method's name; '': nothing. */
  readonly prefix: string
}

/** `?protocol=compact&transport=framed&service=Bank`. Throws INVALID_ADDRESS. */
function wishOf(address: string): Wish {
  const mark = address.indexOf('?')
  const query = new URLSearchParams(mark < 0 ? '' : address.slice(mark + 1))
  const one = <T extends string>(key: string, values: readonly T[]): T => {
    const value = query.get(key) ?? values[0]!
    if (values.includes(value as T)) return value as T
    throw new TalkwireError('INVALID_ADDRESS', `${key}=${value.slice(0, 40)} of ${address.slice(0, 120)} is none of ${values.join(', ')}`)
  }
  for (const key of query.keys())
    if (!['protocol', 'transport', 'service'].includes(key))
      throw new TalkwireError('INVALID_ADDRESS', `"${key.slice(0, 40)}" is unknown; there are protocol, transport, service`)
  const service = query.get('service')
  return {
    address: mark < 0 ? address : address.slice(0, mark),
    format: one('protocol', ['binary', 'compact']),
    framed: one('transport', ['buffered', 'framed']) === 'framed',
    prefix: service === null ? '' : `${service}:`,
  }
}

async function operationsFor({ contract }: DialectClientOptions): Promise<Operations> {
  if (!contract)
    throw new TalkwireError('UNSUPPORTED', 'thrift: calls by contract only; give connect the contract, or take another address')
  return operationsOf(contract)
}

function operationIn({ methods }: Operations, method: string): Operation {
  const operation = methods.get(method)
  if (!operation) throw new TalkwireError('METHOD_NOT_FOUND', `the contract has no method ${JSON.stringify(method.slice(0, 128))}`)
  return operation
}

const noEvents = (event: string): Promise<void> =>
  Promise.reject(new TalkwireError('UNSUPPORTED', `Thrift has no events, so not "${event}"; take http: or unix:`))

async function connectSocket(address: string, options: DialectClientOptions): Promise<Connected> {
  const wish = wishOf(address)
  const operations = await operationsFor(options)
  const socket = await dialSocket(wish.address, options)
  if (!isPath(wish.address)) socket.setNoDelay(true)
  const callee: SocketCallee = new SocketCallee(socket, wish, operations, options)
  return { connection: callee.connection, callee }
}

interface Waiting {
  readonly operation: Operation
  readonly answer: Answer
}

class SocketCallee implements Callee {
  readonly connection: SocketConnection
  private readonly waiting = new Map<number, Waiting>()
  private readonly cutter: MessageCutter
  private sequence = 0

  constructor(
    private readonly socket: Socket,
    private readonly wish: Wish,
    private readonly operations: Operations,
    private readonly options: DialectClientOptions,
  ) {
    this.cutter = new MessageCutter(options.limits)
    this.connection = new SocketConnection(socket, { address: wish.address }, (cause) => {
      for (const { answer } of this.waiting.values()) answer.error(lost(cause))
      this.waiting.clear()
      options.onClosed(cause)
    })
    socket.on('data', (chunk: Buffer) => this.take(chunk))
  }

  call(method: string, params: unknown, _meta: unknown, answer: Answer): OpenCall {
    const { wish } = this
    const operation = operationIn(this.operations, method)
    const sequence = (this.sequence = (this.sequence + 1) & 0x7fff_ffff)
    const bytes = writeCall(wish, this.options.limits, operation, wish.prefix + method, sequence, inputOf(params))
    if (!operation.oneway) this.waiting.set(sequence, { operation, answer })
    if (this.socket.writable) this.socket.write(bytes)
    return noCall
  }

  private take(chunk: Buffer): void {
    try {
      for (const whole of this.cutter.push(chunk)) this.message(whole)
    } catch (reason) {
      this.connection.abort(TalkwireError.from(reason, 'INVALID_MESSAGE'))
    }
  }

  private message({ bytes, format }: Whole): void {
    const { limits } = this.options
    const reader = new Reader(bytes, format, limits)
    const head = reader.message()
    const waiting = this.waiting.get(head.sequence)
    if (!waiting) throw new TalkwireError('INVALID_MESSAGE', `Thrift: an answer to no call, ${head.sequence}`)
    this.waiting.delete(head.sequence)
    settle(reader, head, waiting)
  }

  subscribe(event: string): Promise<void> {
    return noEvents(event)
  }

  unsubscribe(): void {}
}

function settle(reader: Reader, head: Head, { operation, answer }: Waiting): void {
  let value: unknown
  try {
    value = readAnswer(reader, head, operation)
  } catch (reason) {
    const error = TalkwireError.from(reason, 'INVALID_MESSAGE')
    // What cannot be read was answered, so the call has run.
    return answer.error(head.kind === Kind.exception || error.declared ? error : error.withOutcome('ran'))
  }
  answer.result(value)
}

async function connectHttp(address: string, options: DialectClientOptions): Promise<Connected> {
  options.signal?.throwIfAborted()
  const wish = wishOf(address)
  if (wish.framed)
    throw new TalkwireError('INVALID_ADDRESS', 'over HTTP each request is one message, without a frame; leave transport=framed away')
  const operations = await operationsFor(options)
  const place = openPlace(wish.address, options)
  const { status } = await ask(place, { method: 'GET', path: place.path || '/' }, options.limits, options.signal)
  // Others have nothing to say to GET; whether somebody is there, and lets us in, is known now.
  if (status === 401 || status === 403) throw fromProblem(status, undefined).withOutcome('not-sent')
  const connection = new AgentConnection(place, options.onClosed)
  return { connection, callee: new HttpCallee(place, place.path || '/', wish, operations, options, connection) }
}

class HttpCallee implements Callee {
  constructor(
    private readonly place: Place,
    private readonly path: string,
    private readonly wish: Wish,
    private readonly operations: Operations,
    private readonly options: DialectClientOptions,
    private readonly connection: AgentConnection,
  ) {}

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const { limits } = this.options
    const operation = operationIn(this.operations, method)
    const body = writeCall(this.wish, limits, operation, this.wish.prefix + method, 1, inputOf(params))
    const question = { method: 'POST', path: this.path, headers: { ...metaHeaders(meta), 'content-type': TYPE, accept: TYPE }, body }
    return post(this.place, this.connection, question, answer, limits, ({ status, body: told }) => {
      if (status !== 200) return answer.error(fromProblem(status, undefined))
      if (operation.oneway) return answer.result(undefined)
      const reader = new Reader(told, formatOf(told), limits)
      settle(reader, reader.message(), { operation, answer })
    })
  }

  subscribe(event: string): Promise<void> {
    return noEvents(event)
  }

  unsubscribe(): void {}
}
