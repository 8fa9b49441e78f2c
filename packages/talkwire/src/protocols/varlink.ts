/**
 * varlink: `varlink:/run/org.example.bank`, `varlink:@org.example.bank`, `varlink://127.0.0.1:7000`, `varlink+stdio:`,
 * `varlink+spawn:varlinkctl bridge`. A contract as an interface, with org.varlink.service. docs/protocols/varlink.md.
 */
import { parseAddress } from '../address.js'
import { checkJson, fromJson, parseJson } from '../codecs/plain-json.js'
import type { Contract } from '../contract/contract.js'
import { plainMessage, TalkwireError, type Outcome } from '../error.js'
import { inputOf, paramsOf, type Service } from '../session/service.js'
import { startPiped } from '../transports/spawn.js'
import { parentStream, validateRest } from '../transports/stdio.js'
import type { ConnectionBase, Peer } from '../transports/transport.js'
import type {
  Admit,
  Answer,
  Callee,
  Caller,
  Dialect,
  DialectClientOptions,
  DialectDiscoverOptions,
  DialectServerOptions,
  DialectTraits,
  OpenCall,
} from './dialect.js'
import { inputFrom, operationsOf, valueOf, variablesOf, written, type Operation } from './operations.js'
import { beginsCall } from './varlink-begin.js'
import { DelimitedReader, delimited } from './json-frames.js'
import {
  dialSocket,
  listenSockets,
  lost,
  Pace,
  Pending,
  SocketConnection,
  socketGuest,
  type ByteStream,
  type Dialling,
} from './socket-site.js'
import { contractFrom, describe, fieldsOf, interfaceOf, methodOf, parse, RESULT, SERVICE } from './varlink-idl.js'

const traits: DialectTraits = {
  inputStream: false,
  outputStream: true,
  duplex: false,
  events: true,
  oneway: true,
  progress: false,
  deadline: false,
  metadata: false,
  cancellation: false,
  untyped: false,
  crossHost: true,
}

export const varlink: Dialect = {
  scheme: 'varlink',
  speaks: 'calls',
  traits,
  async listen(address, service, admit, options) {
    const offered = await offer(service.contract!)
    return listenSockets(address, undefined, options, (socket, peer) => new Served(socket, peer, service, offered, admit, options))
  },
  async guest(_address, service, admit, options) {
    const offered = await offer(service.contract!)
    return socketGuest('varlink', beginsCall, options, (socket, peer) => new Served(socket, peer, service, offered, admit, options))
  },
  connect: (address, options) => connectVarlink(address, options),
  discover: (address, options) => discoverVarlink(address, options),
}

/** Whoever started us calls. */
export const varlinkStdio: Dialect = {
  scheme: 'varlink+stdio',
  speaks: 'calls',
  traits: { ...traits, crossHost: false },
  async listen(address, service, admit, options) {
    options.signal?.throwIfAborted()
    validateRest(address)
    const offered = await offer(service.contract!)
    const { stream, peer } = parentStream(address)
    stream.allowHalfOpen = false
    const starting = setImmediate(() => new Served(stream as ByteStream, peer, service, offered, admit, options))
    return {
      address,
      async close() {
        clearImmediate(starting)
        // Once it is served it belongs to its connection.
        if (stream.listenerCount('data') === 0) stream.destroy()
      },
    }
  },
}

/** Calls a program that is started for each connection: a bridge, or a service on its stdin and stdout. */
export const varlinkSpawn: Dialect = {
  scheme: 'varlink+spawn',
  speaks: 'calls',
  traits: { ...traits, crossHost: false },
  connect: (address, options) => connectVarlink(address, options),
  discover: (address, options) => discoverVarlink(address, options),
}

const NUL = 0
/** Calls of one connection that may wait for their turn before it is read on. */
const WAITING = 1024
/** Bytes of a stream that may be on their way. */
const WINDOW = 64 * 1024

interface Request {
  readonly method: string
  readonly parameters?: Record<string, unknown> | null
  readonly more?: boolean
  readonly oneway?: boolean
  readonly upgrade?: boolean
  /** It was read so far that it can be answered. */
  readonly refusal?: TalkwireError | undefined
}
interface Reply {
  readonly parameters?: Record<string, unknown> | null
  readonly continues?: boolean
  readonly error?: string
  /** What an error is between ours. */
  readonly talkwire?: Record<string, unknown>
}

// ── serving ──────────────────────────────────────────────────────────────────────────────────────

interface Offered {
  readonly name: string
  readonly description: string
  /** By the name of varlink. */
  readonly operations: ReadonlyMap<string, Operation>
}

/** Rejects with UNSUPPORTED where two names would be one. */
async function offer(contract: Contract): Promise<Offered> {
  const operations = new Map<string, Operation>()
  for (const operation of (await operationsOf(contract, 'varlink')).values()) {
    const name = methodOf(operation.name)
    const taken = operations.get(name)
    if (taken)
      throw new TalkwireError(
        'UNSUPPORTED',
        `varlink: "${taken.name}" and "${operation.name}" of ${contract.id} are both ${name}; rename one`,
      )
    operations.set(name, operation)
  }
  return { name: interfaceOf(contract.name), description: describe(contract, operations.values()), operations }
}

/** A contract in varlink's interface language. Rejects with UNSUPPORTED for what varlink has no word for. */
export const varlinkInterface = async (contract: Contract): Promise<string> => (await offer(contract)).description

/** The contract of an interface in that language. Rejects with INVALID_MESSAGE for what is none, MISSING_PACKAGE. */
export const varlinkContract = async (description: string): Promise<Contract> => contractFrom(parse(description), 0)

const fault = (error: string, parameters: Record<string, unknown>): Reply => ({ error: `${SERVICE}.${error}`, parameters })

const GENERAL = 'org.talkwire.Error'

function errorReply(name: string, error: TalkwireError): Reply {
  const { code, outcome, declared, details } = error
  const message = plainMessage(error)
  const talkwire = { code, message, outcome, ...(declared && { declared }), ...(details !== undefined && { details }) }
  if (declared) return { error: `${name}.${code}`, parameters: isRecord(details) ? details : { details }, talkwire }
  if (code === 'INVALID_INPUT') return { ...fault('InvalidParameter', { parameter: message }), talkwire }
  return { error: GENERAL, parameters: { code, message }, talkwire }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** One connection: its calls run one after the other, as varlink has it. */
class Served {
  private readonly caller: Caller
  private readonly connection: SocketConnection<ByteStream>
  private readonly waiting: Request[] = []
  private busy = false
  /** Who is told of events. */
  private monitor: { readonly event: string; tell(payload: unknown): boolean } | undefined

  constructor(
    private readonly socket: ByteStream,
    peer: Peer,
    private readonly service: Service,
    private readonly offered: Offered,
    admit: Admit,
    private readonly options: DialectServerOptions,
  ) {
    this.connection = new SocketConnection(socket, peer, (cause) => this.caller.closed(cause))
    this.caller = admit(this.connection, (event, payload) => event !== this.monitor?.event || this.monitor.tell(payload))
    socket.on('drain', () => this.caller.drained())
    const reader = new DelimitedReader(NUL, options.limits.message)
    const pace = new Pace(this.connection, options.limits.handshake, () => reader.partial)
    pace.look(true)
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const bytes of reader.push(chunk)) {
          if (socket.destroyed) return
          pace.whole()
          this.waiting.push(this.read(bytes))
        }
        pace.look()
      } catch (reason) {
        // There is no word for what is no message: the connection ends.
        return this.connection.abort(TalkwireError.from(reason))
      }
      this.next()
    })
  }

  private read(bytes: Buffer): Request {
    const { limits } = this.options
    const request = parseJson(bytes, limits) as Partial<Request> | null
    try {
      checkJson(request, limits)
    } catch (reason) {
      return { method: '', oneway: request?.oneway === true, refusal: TalkwireError.from(reason) }
    }
    if (typeof request?.method !== 'string') throw new TalkwireError('INVALID_MESSAGE', 'a call of varlink is { method, parameters }')
    return { ...(request as Request), refusal: undefined }
  }

  private next(): void {
    while (!this.busy && this.waiting.length > 0 && this.socket.writable) this.run(this.waiting.shift()!)
    this.connection.hold('dialect', this.waiting.length >= WAITING)
  }

  private run(request: Request): void {
    if (request.refusal) return void this.reply(request, errorReply(this.offered.name, request.refusal))
    const mark = request.method.lastIndexOf('.')
    if (mark < 0) return void this.reply(request, fault('MethodNotFound', { method: request.method.slice(0, 256) }))
    if (!isRecord(request.parameters ?? {})) return void this.reply(request, fault('InvalidParameter', { parameter: 'parameters' }))
    const [name, method] = [request.method.slice(0, mark), request.method.slice(mark + 1)]
    if (request.upgrade === true) return void this.reply(request, fault('MethodNotImplemented', { method: request.method.slice(0, 256) }))
    if (name === SERVICE) return void this.reply(request, this.tell(method, request.parameters ?? {}))
    if (name !== this.offered.name) return void this.reply(request, fault('InterfaceNotFound', { interface: name.slice(0, 256) }))
    const operation = this.offered.operations.get(method)
    if (!operation) return void this.reply(request, fault('MethodNotFound', { method: request.method.slice(0, 256) }))
    if (operation.root === 'Subscription' && request.more !== true) return void this.reply(request, fault('ExpectedMore', {}))
    this.call(operation, request)
  }

  private tell(method: string, parameters: Record<string, unknown>): Reply {
    const { offered, service } = this
    if (method === 'GetInfo') {
      const version = String(service.contract!.version)
      return { parameters: { vendor: 'Talkwire', product: service.name, version, url: '', interfaces: [SERVICE, offered.name] } }
    }
    if (method !== 'GetInterfaceDescription') return fault('MethodNotFound', { method: `${SERVICE}.${method.slice(0, 128)}` })
    const { interface: wanted } = parameters
    if (wanted === offered.name) return { parameters: { description: offered.description } }
    if (wanted === SERVICE) return { parameters: { description: OWN } }
    return typeof wanted === 'string'
      ? fault('InterfaceNotFound', { interface: wanted.slice(0, 256) })
      : fault('InvalidParameter', { parameter: 'interface' })
  }

  private reply({ oneway }: Request, reply: Reply): boolean {
    return oneway === true || !this.socket.writable || this.socket.write(delimited(reply, NUL, this.options.limits))
  }

  private finished(): void {
    this.busy = false
    // Who has many calls waiting keeps nobody else from theirs.
    if (this.waiting.length > 0) setImmediate(() => this.next())
  }

  private call(operation: Operation, request: Request): void {
    let input: unknown
    try {
      input = readInput(operation, request.parameters ?? {})
    } catch (reason) {
      return void this.reply(request, errorReply(this.offered.name, TalkwireError.from(reason)))
    }
    this.busy = true
    if (operation.event) return this.listen(operation, request)
    let over = false
    const done = (reply: Reply): void => {
      if (over) return
      this.reply(request, reply)
      over = true
      this.finished()
    }
    const fail = (error: TalkwireError): void => {
      try {
        done(errorReply(this.offered.name, error))
      } catch {
        done(errorReply(this.offered.name, new TalkwireError('INVALID_OUTPUT', 'the error cannot be sent', { outcome: error.outcome })))
      }
    }
    const streams = operation.root === 'Subscription'
    const call = this.caller.call(operation.name, paramsOf(input), streams ? { credit: WINDOW } : undefined, {
      result: (value) => done({ parameters: streams ? {} : parametersOf(operation, value) }),
      error: fail,
      item: (value) => this.item(request, parametersOf(operation, value), (size) => call.grant(size)),
    })
    if (operation.oneway) done({})
  }

  /** Granted when the kernel has it. */
  private item({ oneway }: Request, parameters: Record<string, unknown>, grant: (size: number) => void): number {
    const bytes = delimited({ parameters, continues: true }, NUL, this.options.limits)
    if (oneway !== true && this.socket.writable) this.socket.write(bytes, () => grant(bytes.length))
    else setImmediate(grant, bytes.length)
    return bytes.length
  }

  private listen(operation: Operation, request: Request): void {
    const { name } = operation
    this.monitor = {
      event: name,
      tell: (payload) => this.reply(request, { parameters: parametersOf(operation, payload), continues: true }),
    }
    // An answer without fields: what comes from now on is told.
    const begun = (): void => void this.reply(request, { parameters: {}, continues: true })
    this.caller.subscribe(name).then(begun, (reason: unknown) => {
      this.reply(request, errorReply(this.offered.name, TalkwireError.from(reason)))
      this.finished()
    })
  }
}

const OWN = `interface ${SERVICE}

method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)

error MethodNotFound (method: string)

error MethodNotImplemented (method: string)

error InvalidParameter (parameter: string)

error PermissionDenied ()

error ExpectedMore ()
`

/** Throws INVALID_INPUT. */
function readInput(operation: Operation, parameters: Record<string, unknown>): unknown {
  const read: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(parameters)) {
    const field = operation.arguments.find((each) => each.name === name)
    if (!field) throw new TalkwireError('INVALID_INPUT', name.slice(0, 128))
    read[name] = valueOf(field, value)
  }
  return inputFrom(operation, read)
}

function parametersOf({ output }: Operation, value: unknown): Record<string, unknown> {
  if (!output) return {}
  if (fieldsOf(output)) return written(output.shape, value) as Record<string, unknown>
  return value === undefined ? {} : { [RESULT]: written(output.shape, value) }
}

// ── calling ──────────────────────────────────────────────────────────────────────────────────────

const noCall: OpenCall = { cancel() {}, grant() {}, input: () => 0, endInput() {} }

/** One connection of a client: its calls are answered in their order. */
class Line {
  private readonly pending = new Pending()

  constructor(
    readonly connection: SocketConnection<ByteStream>,
    private readonly limits: DialectClientOptions['limits'],
  ) {
    const reader = new DelimitedReader(NUL, limits.message)
    connection.socket.on('data', (chunk: Buffer) => {
      try {
        for (const bytes of reader.push(chunk)) {
          if (connection.socket.destroyed) return
          this.take(bytes)
        }
      } catch (reason) {
        connection.abort(TalkwireError.from(reason, 'INVALID_MESSAGE'))
      }
    })
  }

  private take(bytes: Buffer): void {
    const reply = fromJson(bytes, this.limits) as Reply | null
    if (!isRecord(reply) || !this.pending.first) throw new TalkwireError('INVALID_MESSAGE', 'that is no answer of varlink to a call')
    const answer = reply.continues === true ? this.pending.first : this.pending.shift()!
    if (typeof reply.error === 'string') answer.error(errorFrom(reply))
    else if (reply.continues === true) answer.item(reply.parameters ?? {}, bytes.length)
    else answer.result(reply.parameters ?? {})
  }

  /** Throws for what cannot be sent. */
  say(request: Request, answer: Answer): void {
    const bytes = delimited(request, NUL, this.limits)
    if (request.oneway !== true) this.pending.add(answer)
    this.connection.socket.write(bytes)
  }

  fail(cause: TalkwireError): void {
    this.pending.fail(cause)
  }

  ask(method: string, parameters: Record<string, unknown> = {}): Promise<any> {
    return new Promise((resolve, reject) => this.say({ method, parameters }, { result: resolve, error: reject, item: () => 0 }))
  }
}

const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])
const known: Readonly<Record<string, readonly [code: string, outcome: Outcome]>> = {
  InterfaceNotFound: ['METHOD_NOT_FOUND', 'not-sent'],
  MethodNotFound: ['METHOD_NOT_FOUND', 'not-sent'],
  MethodNotImplemented: ['METHOD_NOT_FOUND', 'not-sent'],
  InvalidParameter: ['INVALID_INPUT', 'not-sent'],
  PermissionDenied: ['PERMISSION_DENIED', 'not-sent'],
  ExpectedMore: ['INVALID_REQUEST', 'not-sent'],
}

function errorFrom({ error, parameters, talkwire }: Reply): TalkwireError {
  const { code, message, outcome, declared, details } = talkwire ?? {}
  if (typeof code === 'string' && outcomes.has(outcome))
    return new TalkwireError(code, String(message), { outcome: outcome as Outcome, declared: declared === true, details })
  const mark = error!.lastIndexOf('.')
  const name = error!.slice(mark + 1)
  const text = `${error!.slice(0, 256)} ${JSON.stringify(parameters ?? {}).slice(0, 256)}`
  const [own, what] = (error!.slice(0, mark) === SERVICE && Object.hasOwn(known, name) ? known[name] : undefined) ?? [
    'UNKNOWN',
    'ran' as const,
  ]
  return new TalkwireError(own, text, { outcome: what, details: own === 'UNKNOWN' ? { error, parameters } : parameters })
}

type Opening = Dialling & Pick<DialectClientOptions, 'env' | 'cwd' | 'detached'>

async function startBridge(address: string, { limits, signal, env, cwd, detached }: Opening): Promise<ByteStream> {
  const { child, wire } = await startPiped(address, {
    maxMessage: limits.message,
    ...(env && { env }),
    ...(cwd !== undefined && { cwd }),
    ...(detached && { detached }),
    ...(signal && { signal }),
  })
  wire.allowHalfOpen = false
  wire.once('close', () => void child.finish(() => 0))
  return wire
}

async function openLine(address: string, options: Opening, onClosed: (cause: TalkwireError | undefined) => void): Promise<Line> {
  const socket = await (parseAddress(address).scheme === 'varlink+spawn' ? startBridge(address, options) : dialSocket(address, options))
  const connection = new SocketConnection<ByteStream>(socket, { address }, (cause) => {
    line.fail(lost(cause))
    onClosed(cause)
  })
  const line = new Line(connection, options.limits)
  return line
}

async function connectVarlink(address: string, options: DialectClientOptions): Promise<{ connection: ConnectionBase; callee: Callee }> {
  const { contract, limits } = options
  if (!contract)
    throw new TalkwireError('UNSUPPORTED', 'varlink: is called by a contract; discover() makes one of the description of an interface')
  const offered = await offer(contract)
  let [told, ours] = [false, false]
  const line = await openLine(address, options, (cause) => told && options.onClosed(cause))
  const timer = setTimeout(
    () => line.connection.abort(new TalkwireError('PEER_NOT_FOUND', `${address} did not answer within ${limits.handshake} ms`)),
    limits.handshake,
  )
  try {
    ours = await checkService(address, line, contract, offered)
    if (line.connection.socket.destroyed) throw new TalkwireError('CONNECTION_LOST', 'the other side ended the connection')
  } catch (reason) {
    await line.connection.close()
    throw TalkwireError.from(reason).withOutcome('not-sent')
  } finally {
    clearTimeout(timer)
  }
  told = true
  return { connection: line.connection, callee: new VarlinkCallee(address, line, offered, options, ours) }
}

async function checkService(address: string, line: Line, contract: Contract, { name, operations }: Offered): Promise<boolean> {
  const { vendor, product, version, interfaces } = await line.ask(`${SERVICE}.GetInfo`)
  const mismatch = (text: string): never => {
    throw new TalkwireError('CONTRACT_MISMATCH', text)
  }
  if (!Array.isArray(interfaces) || !interfaces.includes(name))
    mismatch(`${address} has no interface ${name} for ${contract.id}; it has ${String(interfaces).slice(0, 200)}`)
  if (vendor === 'Talkwire' && !contract.foreign && version !== String(contract.version))
    mismatch(`this service is ${String(product)}/${String(version)}, the caller wants "${contract.id}"; give both the same contract`)
  const { description } = await line.ask(`${SERVICE}.GetInterfaceDescription`, { interface: name })
  const { methods } = parse(String(description))
  const missing = [...operations.keys()].find((method) => !methods.has(method))
  if (missing !== undefined) mismatch(`${name} at ${address} has no method ${missing} for ${contract.id}`)
  return vendor === 'Talkwire'
}

/** As `Dialect.discover`: the first interface that is not org.varlink's own. */
async function discoverVarlink(address: string, options: DialectDiscoverOptions): Promise<Contract> {
  const line = await openLine(address, options, () => {})
  try {
    const { version, interfaces } = await line.ask(`${SERVICE}.GetInfo`)
    const name: unknown = Array.isArray(interfaces)
      ? interfaces.find((each) => typeof each === 'string' && !each.startsWith('org.varlink.'))
      : undefined
    if (typeof name !== 'string') throw new TalkwireError('UNSUPPORTED', `${address} has no interface but org.varlink's own`)
    const { description } = await line.ask(`${SERVICE}.GetInterfaceDescription`, { interface: name })
    return await contractFrom(parse(String(description)), Number(version))
  } finally {
    await line.connection.close()
  }
}

class VarlinkCallee implements Callee {
  private readonly operations: ReadonlyMap<string, readonly [method: string, operation: Operation]>
  private readonly events = new Map<string, OpenCall>()

  constructor(
    private readonly address: string,
    private readonly line: Line,
    { name, operations }: Offered,
    private readonly options: DialectClientOptions,
    /** It tells when an event is subscribed to. */
    private readonly ours: boolean,
  ) {
    this.operations = new Map([...operations].map(([method, operation]) => [operation.name, [`${name}.${method}`, operation]]))
  }

  call(method: string, params: unknown, _meta: unknown, answer: Answer): OpenCall {
    const [name, operation] = this.operationOf(method)
    const member = this.options.contract!.members[method]
    const input = inputOf(params, member?.kind === 'rpc' ? member.parameters : undefined)
    const parameters = variablesOf(operation, input)
    const reading: Answer = {
      result: (value) => answer.result(resultOf(operation, value)),
      error: (error) => answer.error(declaredOf(operation, error)),
      item: (value, size) => answer.item(value, size),
    }
    if (operation.root === 'Subscription') return this.stream({ method: name, parameters, more: true }, operation, answer)
    this.line.say({ method: name, parameters, ...(operation.oneway && { oneway: true }) }, reading)
    return noCall
  }

  private operationOf(method: string): readonly [string, Operation] {
    const found = this.operations.get(method)
    if (!found) throw new TalkwireError('METHOD_NOT_FOUND', `the contract has no ${JSON.stringify(method.slice(0, 128))}`)
    return found
  }

  /** A connection to itself: on the common one everything behind it would wait. */
  private stream(request: Request, operation: Operation, answer: Answer, onReady?: () => void): OpenCall {
    const { limits } = this.options
    let line: Line | undefined
    let [over, waiting] = [false, 0]
    const end = (last: () => void): void => {
      if (over) return
      over = true
      last()
      line?.connection.socket.destroy()
    }
    const take = (value: unknown, size: number): number => {
      if (!over) {
        waiting += answer.item(resultOf(operation, value), size)
        if (waiting >= limits.window) line!.connection.hold('dialect', true)
      }
      return 0
    }
    openLine(this.address, this.options, (cause) => end(() => answer.error(lost(cause)))).then(
      (opened) => {
        line = opened
        if (over) return line.connection.socket.destroy()
        line.say(request, {
          item: take,
          // The last answer of ours is empty, that of others may be an element.
          result(value) {
            if (Object.keys(value as object).length > 0) take(value, 0)
            end(() => answer.result(null))
          },
          error: (error) => end(() => answer.error(declaredOf(operation, error))),
        })
        onReady?.()
      },
      (reason: unknown) => end(() => answer.error(TalkwireError.from(reason))),
    )
    return {
      ...noCall,
      cancel: () => end(() => {}),
      grant(bytes) {
        waiting -= bytes
        if (waiting < limits.window) line?.connection.hold('dialect', false)
      },
    }
  }

  subscribe(event: string): Promise<void> {
    const [method, operation] = this.operationOf(event)
    let begun = !this.ours
    return new Promise((resolve, reject) => {
      const ended = (error: TalkwireError): void => {
        reject(error)
        if (this.events.delete(event)) this.line.connection.abort(error)
      }
      const call = this.stream(
        { method, parameters: {}, more: true },
        operation,
        {
          item: (value) => {
            if (begun) this.options.onEvent(event, value)
            begun = true
            resolve()
            return 0
          },
          result: () => ended(new TalkwireError('CONNECTION_LOST', `the events "${event}" ended`)),
          error: ended,
        },
        () => {
          if (!this.ours) resolve()
        },
      )
      this.events.set(event, call)
    })
  }

  unsubscribe(event: string): void {
    const call = this.events.get(event)
    this.events.delete(event)
    call?.cancel()
  }
}

/** Throws INVALID_INPUT for what is not what the contract has. */
function resultOf({ output }: Operation, parameters: unknown): unknown {
  if (!output) return undefined
  if (fieldsOf(output)) return valueOf(output, parameters)
  const { [RESULT]: value } = parameters as Record<string, unknown>
  return value === undefined && output.optional ? undefined : valueOf(output, value)
}

/** A foreign error of a name that the contract declares. */
function declaredOf({ errors }: Operation, error: TalkwireError): TalkwireError {
  const { error: name, parameters } = (error.details ?? {}) as { error?: unknown; parameters?: unknown }
  const short = typeof name === 'string' ? name.slice(name.lastIndexOf('.') + 1) : ''
  if (error.code !== 'UNKNOWN' || !errors.includes(short)) return error
  return new TalkwireError(short, plainMessage(error), { outcome: 'ran', declared: true, details: parameters })
}
