/**
 * Foreign protocols. What one carries are calls, not our messages: a dialect turns them into calls of a session, and those
 * of a session into its own. Everything else (validation, limits, deadlines, interceptors, closing) is the session's.
 *
 * Third parties write dialects against this file and prove them with `testDialect` of `talkwire/compliance`.
 */
import { tooDeep } from '../codecs/codec.js'
import { isDeeper } from '../codecs/depth.js'
import type { Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { Limits } from '../session/limits.js'
import { inputOf, type Service } from '../session/service.js'
import type { ConnectionBase, Listener, Peer, Sink } from '../transports/transport.js'
import { fromWireError, Kind, toWireError, type Id, type Meta, type Receiver, type Wire } from './message.js'

/** What a dialect can carry. What it cannot is refused when a contract is bound to it; `testDialect` tests every claim. */
export interface DialectTraits {
  /** An input that is a stream, an output that is one, and both at once with answers before the input ends. */
  readonly inputStream: boolean
  readonly outputStream: boolean
  readonly duplex: boolean
  readonly events: boolean
  /** Methods that nobody answers. */
  readonly oneway: boolean
  /** `ctx.progress` reaches the caller. */
  readonly progress: boolean
  /** The caller's deadline and metadata reach the handler, and so does that it has cancelled. */
  readonly deadline: boolean
  readonly metadata: boolean
  readonly cancellation: boolean
  /** A service without a contract can be served and called. */
  readonly untyped: boolean
  readonly crossHost: boolean
  /** Nobody tells that a service has ended: what is called afterwards is lost when nothing was heard for a while, `maybe-ran`. */
  readonly unheard?: true
}

/** What becomes of one call: any number of `item` and `progress`, then exactly one of `result` and `error`. */
export interface Answer {
  /** For a method whose output is a stream: its end. Throws for what cannot be sent; `error` follows then. */
  result(value: unknown): void
  error(error: TalkwireError): void
  /** An element of the output, which came as so many bytes. Returns the bytes that it takes on until they are granted again. */
  item(value: unknown, size: number): number
  progress?(value: unknown): void
  /** The callee takes so many more bytes of the input. */
  grantInput?(bytes: number): void
}

/** A call in flight, as its caller holds it. None of these throws; after its answer they do nothing. */
export interface OpenCall {
  cancel(): void
  /** The caller has taken so many bytes of the output. */
  grant(bytes: number): void
  /** An element of the input. Returns what it counts, in bytes, against what was granted. */
  input(value: unknown, size: number): number
  endInput(error?: TalkwireError): void
}

/** Whoever is called. */
export interface Callee {
  /**
   * `params` as in JSON-RPC: by name, or a list by position. Throws for what cannot be sent. A session answers
   * before this returns where its handler does; a dialect's client answers in a later turn.
   */
  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall
  /** Resolves when events arrive from now on. */
  subscribe(event: string): Promise<void>
  unsubscribe(event: string): void
}

/** What a dialect's listener is given for each peer. */
export interface Caller extends Callee {
  /** The connection takes more after `onEvent` returned false. */
  drained(): void
  /** The connection is over; the last call, exactly once. No `cause`: a side ended it on purpose. */
  closed(cause?: TalkwireError): void
}

/** How a dialect begins with a peer, at its first call at the latest. `onEvent` gets the events that it subscribed to, and returns false while the peer is too slow for more. */
export type Admit = (connection: ConnectionBase, onEvent?: (event: string, payload: unknown) => boolean) => Caller

/** Levels for what a protocol may put around a value, before the value itself is looked at. */
const AROUND = 8

/** `depth` holds for values, which are looked at here, once for all dialects; a dialect's codec lets `around` levels more pass. */
export interface DialectLimits extends Limits {
  readonly around?: number
}
export const dialectLimits = (limits: Limits): DialectLimits => ({ ...limits, around: AROUND })

export interface DialectServerOptions {
  readonly limits: DialectLimits
  /** Clients show it as the dialect's own idiom has it; false: none is wanted. */
  readonly token?: string | false
  /** A secret that both sides prove to know, for protocols that have such a proof. */
  readonly authkey?: string | Uint8Array
  readonly tls?: import('node:tls').TlsOptions
  readonly insecure: boolean
  /** Values of the kind `Descriptor` may travel. */
  readonly descriptors?: boolean
  readonly allow?: (peer: Peer) => boolean
  /** Names and origins, beside our own, under which browsers may call. */
  readonly hosts?: readonly string[]
  readonly origins?: readonly string[]
  readonly onError: (error: unknown, what: string) => void
  readonly signal?: AbortSignal
}

export interface DialectClientOptions {
  readonly limits: DialectLimits
  readonly contract: Contract | undefined
  readonly token?: string
  /** For services that want several secrets: by the names that their description has for them. */
  readonly tokens?: Readonly<Record<string, string>>
  readonly authkey?: string | Uint8Array
  readonly tls?: import('node:tls').ConnectionOptions
  /** Values of the kind `Descriptor` may travel. */
  readonly descriptors?: boolean
  /** For dialects that start whom they call. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly detached?: boolean
  readonly signal?: AbortSignal
  readonly onEvent: (event: string, payload: unknown) => void
  /** The connection is over; the last call, exactly once. */
  readonly onClosed: (cause?: TalkwireError) => void
}

/** As for `Dialect.connect`, before anything is known of who answers. */
export type DialectDiscoverOptions = Omit<DialectClientOptions, 'contract' | 'onEvent' | 'onClosed'>

export interface Dialect {
  /** The address scheme; also the name of the file and of the doc page. */
  readonly scheme: string
  readonly speaks: 'calls'
  readonly traits: DialectTraits
  /** Others than us reach it: clients show a token, and where browsers do, Host and Origin are checked. */
  readonly tokens?: true
  /** Whether its own handshake proves the authkey. Where not, a service with an authkey is refused at start. */
  readonly provesKey?: true
  /** Whether it carries descriptors, on Linux with koffi. */
  readonly descriptors?: true
  /** Rejects with ADDRESS_IN_USE, PERMISSION_DENIED, INVALID_ADDRESS, MISSING_PACKAGE, and UNSUPPORTED for what the contract has and the dialect not. */
  listen?(address: string, service: Service, admit: Admit, options: DialectServerOptions): Promise<Listener>
  /**
   * For `protocols` of serve, which is one listener for many. Over HTTP/1.1: its part of a site, by path. Rejects with MISSING_PACKAGE,
   * and UNSUPPORTED for what the contract has and the dialect not.
   */
  site?(service: Service, options: DialectServerOptions): Promise<import('./http-server.js').Site>
  /** The same for what shows itself in its first bytes, and takes over the socket. `address`: the listener's, as it was asked for. */
  guest?(address: string, service: Service, admit: Admit, options: DialectServerOptions): Promise<import('../transports/one-port.js').Guest>
  /** Rejects with PEER_NOT_FOUND, UNAUTHENTICATED, CONTRACT_MISMATCH, PERMISSION_DENIED, INVALID_ADDRESS, MISSING_PACKAGE. */
  connect?(address: string, options: DialectClientOptions): Promise<{ readonly connection: ConnectionBase; readonly callee: Callee }>
  /**
   * What the service at an address offers, by the protocol's own introspection: a contract by `foreignContract` that `connect` takes,
   * asking again for what a contract does not say. Leaves no connection open. Rejects as `connect`, and with UNSUPPORTED where the
   * service does not tell.
   */
  discover?(address: string, options: DialectDiscoverOptions): Promise<Contract>
}

abstract class DialectWire implements Wire {
  sent = 0
  readonly extended = false
  readonly credits = true
  readonly codecs = []
  readonly binary = false

  constructor(private readonly depth: number) {}

  protected tooDeep(value: unknown): TalkwireError | undefined {
    return isDeeper(value, this.depth) ? tooDeep(this.depth) : undefined
  }

  /** Throws TOO_DEEP. Of an error it is the details that are a value. */
  protected check(kind: Kind, value: unknown): void {
    const isError = kind === Kind.error || kind === Kind.end
    const error = this.tooDeep(isError ? (value as { data?: { details?: unknown } } | undefined)?.data?.details : value)
    if (error) throw error
  }

  abstract send(kind: Kind, id: Id, method: string, value: unknown, meta?: Meta): boolean
  extend(): void {}
  limitSend(): void {}
  read(): never {
    throw new TypeError('this wire carries calls')
  }
  readValue(): never {
    throw new TypeError('this wire carries calls')
  }
}

/** Objects with methods, here and in `CallingWire`: a closure for each thing that may happen to a call costs more than most calls. */
class ServedCall implements OpenCall {
  constructor(
    private readonly wire: ServedWire,
    private readonly id: Id,
  ) {}

  cancel(): void {
    this.wire.tell(this.id, Kind.cancel, undefined)
  }

  grant(bytes: number): void {
    this.wire.tell(this.id, Kind.credit, bytes)
  }

  input(value: unknown, size: number): number {
    this.wire.input(this.id, value, size)
    return size
  }

  endInput(error?: TalkwireError): void {
    this.wire.tell(this.id, Kind.end, error && toWireError(error))
  }
}

/** The session serves: what a dialect's peer calls. */
export class ServedWire extends DialectWire implements Caller {
  private lastId = 0
  private readonly answers = new Map<Id, Answer>()

  constructor(
    private readonly session: Receiver & Pick<Sink, 'drained' | 'closed'>,
    private readonly onEvent: ((event: string, payload: unknown) => boolean) | undefined,
    depth: number,
  ) {
    super(depth)
  }

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const id = ++this.lastId
    const error = this.tooDeep(params)
    if (error) answer.error(error)
    else {
      this.answers.set(id, answer)
      this.session.receive(Kind.call, id, method, params, meta, 0)
    }
    return new ServedCall(this, id)
  }

  input(id: Id, value: unknown, size: number): void {
    const error = this.tooDeep(value)
    if (error) this.tell(id, Kind.end, toWireError(error))
    else this.tell(id, Kind.input, value, size)
  }

  /** Of a call that is answered nothing is heard any more. */
  tell(id: Id, kind: Kind, value: unknown, size = 0): void {
    if (this.answers.has(id)) this.session.receive(kind, id, '', value, undefined, size)
  }

  drained(): void {
    this.session.drained()
  }

  closed(cause?: TalkwireError): void {
    this.session.closed(cause)
  }

  subscribe(event: string): Promise<void> {
    return this.reserved('rpc.on', event)
  }

  unsubscribe(event: string): void {
    this.reserved('rpc.off', event).catch(() => {})
  }

  private reserved(method: string, event: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.call(method, { event }, undefined, { result: () => resolve(), error: reject, item: () => 0 })
    })
  }

  send(kind: Kind, id: Id, method: string, value: unknown): boolean {
    this.check(kind, value)
    if (kind === Kind.notify) return this.onEvent?.(method, inputOf(value)) ?? true
    if (kind === Kind.call) throw new TalkwireError('UNSUPPORTED', `"${method}" cannot be called: on this wire only the other side calls`)
    const answer = this.answers.get(id)
    if (answer === undefined) return true
    if (kind === Kind.item) this.sent = answer.item(value, 0)
    else if (kind === Kind.progress) answer.progress?.(value)
    else if (kind === Kind.inputCredit) answer.grantInput?.(value as number)
    else if (kind === Kind.result) {
      answer.result(value)
      this.answers.delete(id)
    } else {
      answer.error(fromWireError(value))
      this.answers.delete(id)
    }
    return true
  }
}

/** What becomes of a call of the session. */
class Answered implements Answer {
  over = false

  constructor(
    private readonly open: Map<Id, OpenCall>,
    private readonly session: Receiver,
    private readonly id: Id,
    private readonly tooDeep: (value: unknown) => TalkwireError | undefined,
  ) {}

  result(value: unknown): void {
    const error = this.tooDeep(value)
    if (error) this.error(error.withOutcome('ran'))
    else this.last(Kind.result, value)
  }

  error(error: TalkwireError): void {
    this.last(Kind.error, toWireError(error))
  }

  item(value: unknown, size: number): number {
    const error = this.tooDeep(value)
    if (error) this.error(error.withOutcome('ran'))
    else this.tell(Kind.item, value, size)
    return size
  }

  progress(value: unknown): void {
    this.tell(Kind.progress, value)
  }

  grantInput(bytes: number): void {
    this.tell(Kind.inputCredit, bytes)
  }

  private tell(kind: Kind, value: unknown, size = 0): void {
    if (!this.over) this.session.receive(kind, this.id, '', value, undefined, size)
  }

  private last(kind: Kind, value: unknown): void {
    this.tell(kind, value)
    this.over = true
    this.open.delete(this.id)
  }
}

/** The session calls: what it says becomes calls of the dialect's client. */
export class CallingWire extends DialectWire {
  private readonly open = new Map<Id, OpenCall>()

  constructor(
    private readonly callee: Callee,
    private readonly session: Receiver,
    depth: number,
  ) {
    super(depth)
  }

  send(kind: Kind, id: Id, method: string, value: unknown, meta?: Meta): boolean {
    this.check(kind, value)
    if (kind === Kind.call) this.begin(id, method, value, meta)
    else if (kind === Kind.notify) this.tell(method, value)
    else if (kind === Kind.cancel) {
      this.open.get(id)?.cancel()
      this.open.delete(id)
    } else if (kind === Kind.credit) this.open.get(id)?.grant(value as number)
    else if (kind === Kind.input) this.sent = this.open.get(id)?.input(value, 0) ?? 0
    else if (kind === Kind.end) this.open.get(id)?.endInput(value === undefined ? undefined : fromWireError(value))
    return true
  }

  private begin(id: Id, method: string, params: unknown, meta: Meta | undefined): void {
    if (method === 'rpc.on' || method === 'rpc.off') return this.subscription(id, method, (params as { event: string }).event)
    const answer = new Answered(this.open, this.session, id, (value) => this.tooDeep(value))
    const call = this.callee.call(method, params, meta, answer)
    if (!answer.over) this.open.set(id, call)
  }

  private subscription(id: Id, method: string, event: string): void {
    const answer = (kind: Kind, value: unknown): void => this.session.receive(kind, id, '', value, undefined, 0)
    if (method === 'rpc.off') this.callee.unsubscribe(event)
    const done = method === 'rpc.off' ? Promise.resolve() : this.callee.subscribe(event)
    done.then(
      () => answer(Kind.result, null),
      (reason: unknown) => answer(Kind.error, toWireError(TalkwireError.from(reason))),
    )
  }

  private tell(method: string, params: unknown): void {
    // `$/close` and its like are between two Talkwire sessions.
    if (method.startsWith('$/')) return
    this.callee.call(method, params, undefined, { result: () => {}, error: () => {}, item: () => 0 })
  }
}
