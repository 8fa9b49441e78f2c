/**
 * node-ipc: `nodeipc:/tmp/app.bank`, `nodeipc://127.0.0.1:8000`, and `nodeipc:bank` where node-ipc has its sockets. Events with
 * a type and data, `{"type":…,"data":…}` and a form feed. docs/protocols/nodeipc.md.
 */
import type { Socket } from 'node:net'
import { parseAddress, validateName } from '../address.js'
import { checkJson, parseJson } from '../codecs/plain-json.js'
import { plainMessage, TalkwireError, type Outcome } from '../error.js'
import { inputOf, notFound, paramsOf, type Method, type Service } from '../session/service.js'
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
import { DelimitedReader, delimited } from './json-frames.js'
import { dialSocket, InOrder, listenSockets, lost, Pace, Pending, SocketConnection, type Turn } from './socket-site.js'

const traits: DialectTraits = {
  inputStream: false,
  outputStream: false,
  duplex: false,
  events: true,
  oneway: true,
  progress: false,
  deadline: false,
  metadata: false,
  cancellation: false,
  untyped: true,
  crossHost: true,
}

export const nodeipc: Dialect = {
  scheme: 'nodeipc',
  speaks: 'calls',
  traits,
  listen: (address, service, admit, options) =>
    listenSockets(placed(address), undefined, options, (socket, peer) => new Served(socket, peer, service, admit, options)),
  connect: (address, options) => connectNodeIpc(placed(address), options),
}

/** `nodeipc:bank` is /tmp/app.bank: ipc.config.socketRoot, appspace and id. Throws INVALID_ADDRESS. */
function placed(address: string): string {
  const { rest } = parseAddress(address)
  return /^[/@]/.test(rest) ? address : `nodeipc:/tmp/app.${validateName(rest)}`
}

const FORM_FEED = 0x0c
/** What the type of an answer that is an error ends with. */
const ERROR = ':error'
/** Calls of one connection that may wait for their turn before it is read on. */
const WAITING = 1024

interface Message {
  readonly type: string
  readonly data: unknown
}

/** Throws INVALID_MESSAGE and the like; what of it was read so far that it can be answered, `refuse` says why. */
function readMessage(
  bytes: Buffer,
  limits: DialectServerOptions['limits'],
  refuse: (type: string, error: TalkwireError) => void,
): Message | undefined {
  const message = parseJson(bytes, limits) as Partial<Message> | null
  if (typeof message !== 'object' || message === null || typeof message.type !== 'string')
    throw new TalkwireError('INVALID_MESSAGE', 'a message of node-ipc is {"type":"…","data":…}; for raw buffers there is no place')
  try {
    checkJson(message, limits)
  } catch (reason) {
    return void refuse(message.type, TalkwireError.from(reason))
  }
  return { type: message.type, data: message.data }
}

const errorData = (error: TalkwireError): object => ({
  code: error.code,
  message: plainMessage(error),
  outcome: error.outcome,
  ...(error.declared && { declared: true }),
  ...(error.details !== undefined && { details: error.details }),
})

const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])

function errorFrom(data: unknown): TalkwireError {
  const { code, message, outcome, declared, details } = (typeof data === 'object' && data !== null ? data : {}) as Record<string, unknown>
  const ours = typeof code === 'string' && outcomes.has(outcome)
  const text = typeof message === 'string' ? message : 'the other side answered with an error'
  if (!ours) return new TalkwireError('UNKNOWN', text, { outcome: 'ran', details: data })
  return new TalkwireError(code, text, { outcome: outcome as Outcome, declared: declared === true, details })
}

// ── serving ──────────────────────────────────────────────────────────────────────────────────────

class Served {
  private readonly caller: Caller
  private readonly connection: SocketConnection
  /** By method: answers have nothing else that says whose they are. */
  private readonly answers = new Map<string, InOrder>()
  private waiting = 0

  constructor(
    private readonly socket: Socket,
    peer: Peer,
    private readonly service: Service,
    admit: Admit,
    private readonly options: DialectServerOptions,
  ) {
    this.connection = new SocketConnection(socket, peer, (cause) => this.caller.closed(cause))
    this.caller = admit(this.connection, (event, payload) => event.startsWith('$') || this.send(event, payload))
    // There is no way to subscribe: what is broadcast reaches everyone.
    for (const event of service.events ?? []) this.caller.subscribe(event).catch(() => {})
    socket.on('drain', () => this.caller.drained())
    const reader = new DelimitedReader(FORM_FEED, options.limits.message)
    const pace = new Pace(this.connection, options.limits.handshake, () => reader.partial)
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const bytes of reader.push(chunk)) {
          if (socket.destroyed) return
          pace.whole()
          this.message(bytes)
        }
        pace.look()
      } catch (reason) {
        this.send('error', errorData(TalkwireError.from(reason)))
        socket.destroySoon()
      }
    })
  }

  private send(type: string, data: unknown): boolean {
    return !this.socket.writable || this.socket.write(delimited({ type, data }, FORM_FEED, this.options.limits))
  }

  private message(bytes: Buffer): void {
    let message: Message | undefined
    try {
      message = readMessage(bytes, this.options.limits, (type, error) => this.refuse(type, error))
    } catch (reason) {
      return void this.send('error', errorData(TalkwireError.from(reason)))
    }
    if (!message) return
    const method = this.service.methods.get(message.type)
    if (method) this.call(method, message.data)
    else this.refuse(message.type, notFound(this.service, message.type))
  }

  private refuse(type: string, error: TalkwireError): void {
    const method = this.service.methods.get(type)
    if (!method) this.send(`${type.slice(0, 128)}${ERROR}`, errorData(error))
    else if (!method.oneway) this.end(this.turnOf(type), { type: type + ERROR, data: errorData(error) })
  }

  private turnOf(method: string): Turn {
    let answers = this.answers.get(method)
    if (!answers) this.answers.set(method, (answers = new InOrder((bytes) => void this.socket.write(bytes))))
    this.count(1)
    return answers.next()
  }

  private call(method: Method, data: unknown): void {
    const { name, oneway } = method
    const turn = oneway ? undefined : this.turnOf(name)
    const fail = (error: TalkwireError): void => {
      try {
        this.end(turn, { type: name + ERROR, data: errorData(error) })
      } catch {
        const { code, outcome, declared } = error
        this.end(turn, { type: name + ERROR, data: { code, message: 'the details of the error cannot be sent', outcome, declared } })
      }
    }
    this.caller.call(name, paramsFrom(method, this.service, data), undefined, {
      // Throws for what cannot be sent; `error` follows.
      result: (value) => this.end(turn, { type: name, data: value === undefined ? null : value }),
      error: fail,
      item: () => 0,
    })
  }

  private end(turn: Turn | undefined, message: Message): void {
    if (!turn) return
    turn.end(delimited(message, FORM_FEED, this.options.limits))
    this.count(-1)
  }

  private count(change: number): void {
    this.waiting += change
    this.connection.hold('dialect', this.waiting >= WAITING)
  }
}

/** node-ipc sends `{}` for no data. */
const isNothing = (data: unknown): boolean =>
  data === undefined || (typeof data === 'object' && data !== null && !Array.isArray(data) && Object.keys(data).length === 0)

function paramsFrom({ positional, name }: Method, { contract }: Service, data: unknown): unknown {
  if (positional) return Array.isArray(data) ? data : isNothing(data) ? [] : [data]
  const member = contract?.members[name]
  const takesNothing = member?.kind === 'rpc' && member.input === undefined
  return takesNothing && isNothing(data) ? undefined : paramsOf(data)
}

// ── calling ──────────────────────────────────────────────────────────────────────────────────────

async function connectNodeIpc(address: string, options: DialectClientOptions): Promise<{ connection: ConnectionBase; callee: Callee }> {
  const socket = await dialSocket(address, options)
  const connection = new SocketConnection(socket, { address }, (cause) => {
    callee.fail(lost(cause))
    options.onClosed(cause)
  })
  const callee = new NodeIpcCallee(socket, options)
  const reader = new DelimitedReader(FORM_FEED, options.limits.message)
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const bytes of reader.push(chunk)) {
        if (socket.destroyed) return
        const message = readMessage(bytes, options.limits, (type, error) => callee.refused(type, error))
        if (message) callee.message(message)
      }
    } catch (reason) {
      connection.abort(TalkwireError.from(reason, 'INVALID_MESSAGE'))
    }
  })
  return { connection, callee }
}

const noCall: OpenCall = { cancel() {}, grant() {}, input: () => 0, endInput() {} }

class NodeIpcCallee implements Callee {
  private readonly pending = new Map<string, Pending>()
  private readonly events = new Set<string>()

  constructor(
    private readonly socket: Socket,
    private readonly options: DialectClientOptions,
  ) {}

  call(method: string, params: unknown, _meta: unknown, answer: Answer): OpenCall {
    const { contract, limits } = this.options
    const member = contract?.members[method]
    const rpc = member?.kind === 'rpc' ? member : undefined
    const data = contract ? inputOf(params, rpc?.parameters) : params
    const bytes = delimited({ type: method, data }, FORM_FEED, limits)
    if (!rpc?.oneway) this.pendingOf(method).add(answer)
    this.socket.write(bytes)
    return noCall
  }

  private pendingOf(method: string): Pending {
    let pending = this.pending.get(method)
    if (!pending) this.pending.set(method, (pending = new Pending()))
    return pending
  }

  message({ type, data }: Message): void {
    const answered = this.pending.get(type)?.shift()
    if (answered) return this.result(type, answered, data)
    const failed = type.endsWith(ERROR) ? this.pending.get(type.slice(0, -ERROR.length))?.shift() : undefined
    if (failed) failed.error(errorFrom(data))
    else if (this.events.has(type)) this.options.onEvent(type, data)
  }

  /** What the answer holds cannot be taken. */
  refused(type: string, error: TalkwireError): void {
    const method = type.endsWith(ERROR) && !this.pending.get(type)?.first ? type.slice(0, -ERROR.length) : type
    this.pending.get(method)?.shift()?.error(error.withOutcome('ran'))
  }

  private result(method: string, answer: Answer, data: unknown): void {
    const member = this.options.contract?.members[method]
    answer.result(member?.kind === 'rpc' && member.output === undefined ? undefined : data)
  }

  fail(cause: TalkwireError): void {
    for (const pending of this.pending.values()) pending.fail(cause)
  }

  subscribe(event: string): Promise<void> {
    this.events.add(event)
    return Promise.resolve()
  }

  unsubscribe(event: string): void {
    this.events.delete(event)
  }
}
