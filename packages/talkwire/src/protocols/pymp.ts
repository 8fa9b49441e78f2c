/**
 * Python's multiprocessing.connection and multiprocessing.managers: `pymp://host:port`, `pymp:/path`; a manager's object is
 * `pymp://host:port#bank`. Calls are pickled tuples, answered in their order. docs/protocols/pymp.md.
 */
import { TalkwireError } from '../error.js'
import type { Service } from '../session/service.js'
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
import { methodOf, ManagedObject } from './pymp-manager.js'
import { Handshake, isChallenge, MAX_HANDSHAKE } from './pymp-auth.js'
import { answerLimits, callOf, errorOf, paramsFrom, readCall, resultOf, tracebackOf, valueOf, type PythonCall } from './pymp-calls.js'
import { framed, LengthReader } from './pymp-frames.js'
import { pickle, unpickle, type Tuple } from './pickle.js'
import { dialSocket, InOrder, isPath, listenSockets, lost, Pace, Pending, SocketConnection, type Meet, type Turn } from './socket-site.js'
import type { Socket } from 'node:net'

const traits: DialectTraits = {
  inputStream: false,
  outputStream: false,
  duplex: false,
  events: false,
  oneway: true,
  progress: false,
  deadline: false,
  metadata: false,
  cancellation: false,
  untyped: true,
  crossHost: true,
}

export const pymp: Dialect = {
  scheme: 'pymp',
  speaks: 'calls',
  traits,
  tokens: true,
  provesKey: true,

  listen(address, service, admit, options) {
    if (address.includes('#'))
      throw new TalkwireError('INVALID_ADDRESS', `a service has one name, "${service.name}"; listen on ${address.replace(/#.*/s, '')}`)
    const key = keyOf(address, options)
    const managed = new ManagedObject(service)
    return listenSockets(address, key !== undefined, options, (socket, peer, meet) => {
      // What is garbage ends its own connection, and nothing else.
      new Served(socket, peer, key, service, managed, admit, options).start(meet)
    })
  },

  async connect(address, options) {
    const mark = address.indexOf('#')
    if (mark < 0) return connectPlain(address, options)
    return connectManager(address.slice(0, mark), address.slice(mark + 1), options)
  },
}

/** Others may reach a port; a socket's path only who we let in. */
const keyOf = (
  address: string,
  { authkey, token }: { authkey?: string | Uint8Array; token?: string | false },
): string | Uint8Array | undefined => authkey ?? (isPath(address) ? undefined : token || undefined)

/** Calls of one connection that may wait for their turn before it is read on. */
const WAITING = 1024

const noCall: OpenCall = { cancel() {}, grant() {}, input: () => 0, endInput() {} }

// ── one connection, whoever calls ────────────────────────────────────────────────────────────────

/** Cuts what arrives into messages; the first of them are the handshake's. */
class Wire {
  private readonly reader: LengthReader
  private handshake: Handshake | undefined

  constructor(
    readonly socket: Socket,
    role: 'listener' | 'client',
    key: string | Uint8Array | undefined,
    limit: number,
    private readonly on: { open(): void; message(message: Buffer): void; broken(error: TalkwireError): void; read?(): void },
  ) {
    this.reader = new LengthReader(key === undefined ? limit : MAX_HANDSHAKE)
    if (key !== undefined)
      this.handshake = new Handshake(role, key, (message) => {
        // The last word of the listener's, or the client's: what follows is of any size.
        this.send(message)
      })
    socket.on('data', (chunk: Buffer) => {
      try {
        for (const message of this.reader.push(chunk)) {
          if (socket.destroyed) return
          if (this.handshake) this.agree(message, limit)
          else on.message(message)
        }
        on.read?.()
      } catch (reason) {
        on.broken(TalkwireError.from(reason, 'INVALID_MESSAGE'))
      }
    })
    if (key === undefined) on.open()
  }

  send(message: Buffer): void {
    if (this.socket.writable) this.socket.write(framed(message))
  }

  /** Bytes of a message that is not whole. */
  get partial(): number | undefined {
    return this.reader.partial
  }

  private agree(message: Buffer, limit: number): void {
    this.handshake!.take(message)
    if (!this.handshake!.done) return
    this.handshake = undefined
    this.reader.limit = limit
    this.on.open()
  }
}

// ── serving ──────────────────────────────────────────────────────────────────────────────────────

class Served {
  private wire!: Wire
  private caller: Caller | undefined
  private connection!: SocketConnection
  private readonly answers = new InOrder((bytes) => this.wire.send(bytes))
  private pace!: Pace

  constructor(
    private readonly socket: Socket,
    private readonly peer: Peer,
    private readonly key: string | Uint8Array | undefined,
    private readonly service: Service,
    private readonly managed: ManagedObject,
    private readonly admit: Admit,
    private readonly options: DialectServerOptions,
  ) {}

  start(meet: Meet): void {
    const { socket, options } = this
    const peer = this.key === undefined ? this.peer : { ...this.peer, identity: 'authkey' }
    const met = meet()
    this.connection = new SocketConnection(socket, peer, (cause) => this.caller?.closed(cause))
    this.pace = new Pace(this.connection, options.limits.handshake, () => this.wire.partial)
    socket.on('drain', () => this.caller?.drained())
    this.wire = new Wire(socket, 'listener', this.key, options.limits.message, {
      open: () => {
        met()
        this.caller = this.admit(this.connection)
      },
      message: (message) => this.message(message),
      read: () => this.caller && this.pace.look(),
      broken: (error) => {
        if (this.caller) this.connection.abort(error)
        // FAILURE is on its way to who has another key.
        else socket.destroySoon()
      },
    })
  }

  private message(message: Buffer): void {
    const { limits } = this.options
    this.pace.whole()
    const turn = this.answers.next()
    let manager = false
    try {
      const call = readCall(unpickle(message, limits))
      manager = call.ident !== undefined
      if (call.ident === null) this.end(turn, this.managed.answer(call))
      else this.call(call, turn)
    } catch (reason) {
      const error = TalkwireError.from(reason)
      this.end(turn, manager && this.managed.isOwn(error) ? tracebackOf(error) : errorOf(manager, error))
    }
    this.hold()
  }

  private call(call: PythonCall, turn: Turn): void {
    const { method, ident } = call
    const manager = ident !== undefined
    if (manager) {
      const told = this.managed.describe(call)
      if (told) return this.end(turn, told)
    }
    // Names of the session's own are no methods here.
    const target = methodOf(this.service, method)
    this.caller!.call(method, paramsFrom(call), undefined, {
      result: (value) => {
        // Throws for what has no pickle; `error` follows.
        turn.end(pickle(resultOf(manager, value), this.options.limits))
        this.hold()
      },
      error: (error) => this.end(turn, errorOf(manager, error)),
      item: () => 0,
    })
    if (target.oneway) this.end(turn, resultOf(manager, null))
  }

  private end(turn: Turn, message: Tuple): void {
    turn.end(this.packed(message))
    this.hold()
  }

  /** Details of an error may be what cannot be pickled. */
  private packed(message: Tuple): Buffer {
    try {
      return pickle(message, this.options.limits)
    } catch (reason) {
      const manager = String(message.items[0]).startsWith('#')
      return pickle(errorOf(manager, TalkwireError.from(reason, 'INTERNAL', 'ran')))
    }
  }

  private hold(): void {
    this.connection.hold('dialect', this.answers.length >= WAITING)
  }
}

// ── calling ──────────────────────────────────────────────────────────────────────────────────────

interface Opened {
  readonly connection: SocketConnection
  readonly callee: PythonCallee
}

/** Resolves when both sides have shown that they know the key, where there is one. */
async function openWire(address: string, options: DialectClientOptions, onClosed: (cause?: TalkwireError) => void): Promise<Opened> {
  const socket = await dialSocket(address, options)
  const key = keyOf(address, options)
  return new Promise((resolve, reject) => {
    let opened = false
    const refuse = (error: TalkwireError): void => {
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', onAbort)
      reject((options.signal?.aborted ? (options.signal.reason as Error) : error.withOutcome('not-sent')) as Error)
      // What we said last, such as FAILURE, is to arrive.
      socket.destroySoon()
    }
    const onAbort = (): void => refuse(new TalkwireError('CANCELLED', 'connecting was cancelled'))
    const silent = `${address} sent no challenge within ${options.limits.handshake} ms: it wants no authkey, or serves one client at a time; leave authkey out, or raise limits.handshake`
    const timer = setTimeout(() => refuse(new TalkwireError('UNAUTHENTICATED', silent)), options.limits.handshake)
    options.signal?.addEventListener('abort', onAbort, { once: true })
    const connection: SocketConnection = new SocketConnection(socket, { address }, (cause) => {
      if (!opened)
        return refuse(cause ?? new TalkwireError('UNAUTHENTICATED', `${address} ended the connection: the authkey is another, or none`))
      callee.fail(lost(cause))
      onClosed(cause)
    })
    const callee = new PythonCallee(connection, options, (message) => wire.send(message))
    const wire: Wire = new Wire(socket, 'client', key, options.limits.message, {
      open() {
        opened = true
        clearTimeout(timer)
        options.signal?.removeEventListener('abort', onAbort)
        resolve({ connection, callee })
      },
      message: (message) => callee.message(message),
      broken: (error) => (opened ? connection.abort(error) : refuse(error)),
    })
  })
}

async function connectPlain(address: string, options: DialectClientOptions): Promise<{ connection: ConnectionBase; callee: Callee }> {
  return openWire(address, options, options.onClosed)
}

class PythonCallee implements Callee {
  private readonly pending = new Pending()
  /** The object of a manager that is called, and its methods; undefined: calls are plain. */
  object: { readonly ident: string; readonly exposed: ReadonlySet<unknown> } | undefined

  constructor(
    private readonly connection: SocketConnection,
    private readonly options: DialectClientOptions,
    private readonly send: (message: Buffer) => void,
  ) {}

  call(method: string, params: unknown, _meta: unknown, answer: Answer): OpenCall {
    if (this.object && !this.object.exposed.has(method))
      throw new TalkwireError('METHOD_NOT_FOUND', `the manager's object exposes no ${JSON.stringify(method.slice(0, 100))}`)
    return this.say(callOf(method, params, this.object?.ident), answer)
  }

  /** A call to the manager itself. */
  ask(method: string, ...args: unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.say(callOf(method, args, null), { result: resolve, error: reject, item: () => 0 })
    })
  }

  private say(call: Tuple, answer: Answer): OpenCall {
    const { limits } = this.options
    const message = pickle(call, limits)
    if (message.length > limits.message)
      throw new TalkwireError('MESSAGE_TOO_LARGE', `a call of ${message.length} bytes, the limit is ${limits.message}; send less at a time`)
    this.pending.add(answer)
    this.send(message)
    return noCall
  }

  message(message: Buffer): void {
    const answer = this.pending.shift()
    if (!answer)
      return this.connection.abort(
        isChallenge(message)
          ? new TalkwireError('UNAUTHENTICATED', 'the service wants an authkey; pass it as authkey')
          : new TalkwireError('INVALID_MESSAGE', 'an answer to no call'),
      )
    if (isChallenge(message)) {
      const error = new TalkwireError('UNAUTHENTICATED', 'the service wants an authkey; pass it as authkey')
      answer.error(error)
      return this.connection.abort(error)
    }
    let value: unknown
    try {
      value = valueOf(this.read(message))
    } catch (reason) {
      return answer.error(TalkwireError.from(reason, 'INVALID_MESSAGE'))
    }
    answer.result(value ?? undefined)
  }

  /** Whatever stands in an answer, the call has run. */
  private read(message: Buffer): unknown {
    try {
      return unpickle(message, answerLimits(this.options.limits))
    } catch (reason) {
      throw TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('ran')
    }
  }

  fail(cause: TalkwireError): void {
    this.pending.fail(cause)
  }

  subscribe(event: string): Promise<void> {
    return Promise.reject(new TalkwireError('UNSUPPORTED', `pymp: carries no events, so nobody tells of "${event}"`))
  }

  unsubscribe(): void {}
}

/** The object `typeid` of a manager: made for us, and let go when we close. */
async function connectManager(
  address: string,
  typeid: string,
  options: DialectClientOptions,
): Promise<{ connection: ConnectionBase; callee: Callee }> {
  const once = async (method: string, ...args: unknown[]): Promise<unknown> => {
    const { connection, callee } = await openWire(address, options, () => {})
    try {
      return await callee.ask(method, ...args)
    } finally {
      await connection.close()
    }
  }
  const made = await once('create', typeid).catch((reason: unknown) => {
    const error = TalkwireError.from(reason)
    throw error.code === 'UNKNOWN'
      ? new TalkwireError('CONTRACT_MISMATCH', `the manager at ${address} makes no "${typeid.slice(0, 100)}": ${error.message}`)
      : error
  })
  const [ident, exposed] = Array.isArray(made) ? (made as unknown[]) : []
  if (typeof ident !== 'string' || !Array.isArray(exposed))
    throw new TalkwireError('CONTRACT_MISMATCH', `${address} is no manager of Python's; for a plain connection leave #${typeid} out`)
  const missing = Object.entries(options.contract?.members ?? {}).find(([name, { kind }]) => kind === 'rpc' && !exposed.includes(name))
  if (missing) {
    await once('decref', ident)
    throw new TalkwireError('CONTRACT_MISMATCH', `"${typeid}" of the manager at ${address} exposes no "${missing[0]}"`)
  }
  const { connection, callee } = await openWire(address, options, options.onClosed)
  await callee.ask('accept_connection', 'talkwire')
  callee.object = { ident, exposed: new Set(exposed) }
  const close = connection.close.bind(connection)
  connection.close = async () => {
    // A manager that is gone has let go already.
    await once('decref', ident).catch(() => {})
    await close()
  }
  return { connection, callee }
}
