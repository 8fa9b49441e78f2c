/**
 * Calls, streams, references, deadlines and credits over one connection; both ends call and serve.
 * Knows no transport, protocol or codec by name.
 */
import type { CallOptions } from '../contract/contract.js'
import { describeIssues, type StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError, type Outcome } from '../error.js'
import { Kind, fromWireError, toWireError, type Id, type Meta, type Receiver, type Wire } from '../protocols/message.js'
import type { Connection, Peer, Sink } from '../transports/transport.js'
import { authServer, type AuthKey } from './auth.js'
import { Incoming, inheritMetadata, MAX_TIMER, runInput, runWith, type Host } from './incoming.js'
import type { Limits } from './limits.js'
import { ReferenceTable, type ReferenceHost, type ReferenceReport } from './references.js'
import { inputOf, notFound, type Method, type Service } from './service.js'
import { Credit, isIterable, pump, StreamReader } from './stream.js'

/** What a session is told by whoever made it. */
export interface SessionOptions {
  readonly side: 'connector' | 'acceptor'
  readonly limits: Limits
  readonly service?: Service | undefined
  readonly authkey?: AuthKey | undefined
  /** Milliseconds of silence after which the peer is asked whether it lives; 0: never. */
  readonly heartbeat?: number
  /** Answers `rpc.hello` and other reserved methods that are not the session's own. */
  readonly builtin?: (session: Session, method: string, params: unknown) => unknown
  readonly interceptors?: readonly ServerInterceptor[]
  readonly callerOf?: (session: Session, call: Incoming) => unknown
  readonly onEvent?: (event: string, payload: unknown, lost: number) => void
  /** An error that a handler did not declare, or that a listener threw: the peer sees "internal error" only. */
  readonly onError?: (error: unknown, method: string) => void
  readonly onClosed?: (session: Session, cause: TalkwireError | undefined) => void
}

/** A call on its way to a handler. */
export interface ServerCall {
  readonly method: string
  readonly input: unknown
  readonly ctx: Incoming
}
export type ServerInterceptor = (call: ServerCall, next: (call: ServerCall) => unknown) => unknown

/** A call waiting for its answer. It outlives its session when it may be repeated on the next. */
export interface Pending {
  readonly method: string
  readonly params: unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
  readonly schema: StandardSchema | undefined
  readonly idempotent: boolean
  options: CallOptions | undefined
  /** For calls whose output is a stream. */
  reader: StreamReader | undefined
  /** For calls whose input is a stream. */
  input: AsyncIterable<unknown> | Iterable<unknown> | undefined
  credit: Credit | undefined
  /** Position among all messages sent. */
  sequence: number
  cleanup: (() => void) | undefined
}

export interface SessionStats {
  readonly pending: number
  readonly handling: number
  readonly buffered: number
  /** References held by the peer: the leak report. */
  readonly exported: readonly ReferenceReport[]
  readonly imported: number
  /** Proxies that were never disposed and that the garbage collector released. */
  readonly collected: number
}

const DONE = Promise.resolve()
const EMPTY: unknown[] = []
/** Of all sessions that only serve. */
const NO_CALLS = new Map<Id, Pending>()
/** Messages that a hand-written peer may get wrong. */
const PATIENCE = 100
/** Milliseconds for a peer with `limits.outgoing` unread to read something. */
const STALL = 10_000
const NOT_HELD: { notes?: true; outgoing?: NodeJS.Timeout } = Object.freeze({})
/** Milliseconds for the last answer to a peer that is being cut off. */
const GRACE = 1000

export class Session implements Receiver, Sink, Host, ReferenceHost {
  connection!: Connection
  wire!: Wire
  state: 'handshake' | 'open' | 'closing' | 'closed' = 'handshake'
  /** Agreed by hello, else undefined: a plain JSON-RPC peer. */
  peerWindow: number | undefined
  /** Methods of the peer that are known to stream. */
  peerStreams: Set<string> | undefined
  readonly references: ReferenceTable
  readonly limits: Limits
  private lastId = 0
  private sequence = 0
  private congested = false
  private drain: { promise: Promise<void>; resolve: () => void } | undefined
  private pending: Map<Id, Pending> = NO_CALLS
  private incoming: Map<Id, Incoming> | undefined
  private subscriptions: Map<string, number> | undefined
  private streams = 0
  private peerClosing = false
  private closing: Promise<void> | undefined
  private idle: (() => void) | undefined
  private handshakeTimer: NodeJS.Timeout | undefined
  private heartbeatTimer: NodeJS.Timeout | undefined
  private heard = true
  private silent = 0
  private auth: ReturnType<typeof authServer> | undefined
  private closeCause: TalkwireError | undefined
  private deaf = false
  private misunderstandings = 0
  /** Notifications whose handlers still run. */
  private notes = 0
  /** Why nothing is read from the peer at the moment. */
  private held: { notes?: true; outgoing?: NodeJS.Timeout } = NOT_HELD

  constructor(readonly options: SessionOptions) {
    this.limits = options.limits
    this.references = new ReferenceTable(this)
  }

  get referenceLimit(): number {
    return this.limits.references
  }

  /** References that this side needs no more. */
  giveBack(refs: [id: number, count: number][]): void {
    if (this.state === 'open' || this.state === 'closing') this.tell('$/release', { refs })
  }

  /** Takes the connection. Call in the turn in which it came to be. */
  open(connection: Connection, wire: Wire): this {
    this.connection = connection
    this.wire = wire
    const { side, authkey, limits } = this.options
    if (side === 'acceptor') {
      this.state = 'open'
      if (authkey !== undefined) this.auth = authServer(authkey)
      this.handshakeTimer = setTimeout(() => this.abort(new TalkwireError('UNAUTHENTICATED', `no whole message within ${limits.handshake} ms (limits.handshake)`)), limits.handshake)
      this.handshakeTimer.unref()
    }
    return this
  }

  get peer(): Peer {
    return this.connection.peer
  }

  get isOpen(): boolean {
    return this.state === 'open' && !this.peerClosing
  }

  stats(): SessionStats {
    const { references } = this
    return {
      pending: this.pending.size,
      handling: this.incoming?.size ?? 0,
      buffered: this.connection.buffered,
      exported: references.report(),
      imported: references.held,
      collected: references.collected,
    }
  }

  // ── calling ────────────────────────────────────────────────────────────────────────────────────

  /** A unary call. `params` as in JSON-RPC. */
  call(method: string, params: unknown, options?: CallOptions, schema?: StandardSchema, idempotent = false): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.start({ method, params, resolve, reject, schema, idempotent, options, reader: undefined, input: undefined, credit: undefined, sequence: 0, cleanup: undefined })
    })
  }

  /** Sends a call, its own or one that another session could not finish. Never throws: the call is rejected. */
  start(call: Pending): void {
    try {
      const meta = call.options || call.input || call.reader ? this.prepare(call) : undefined
      this.checkRoom()
      const id = ++this.lastId
      this.post(Kind.call, id, call.method, call.params, meta)
      call.sequence = this.sequence
      if (this.pending === NO_CALLS) this.pending = new Map()
      this.pending.set(id, call)
      if (call.options) this.watch(id, call)
      if (call.input || call.reader) this.countStream(call)
      if (call.input) void this.pumpInput(id, call)
    } catch (reason) {
      this.settleFailed(call, reason)
    }
  }

  /** A notification. Undefined: the connection takes more; a promise: wait for it. Throws LIMIT_EXCEEDED, `not-sent`. */
  notify(method: string, params: unknown): Promise<void> {
    if (this.congested) this.checkRoom()
    if (this.state !== 'open') throw this.closedError()
    this.post(Kind.notify, null, method, params)
    return this.congested ? this.drained$() : DONE
  }

  private prepare(call: Pending): Meta | undefined {
    const { options } = call
    options?.signal?.throwIfAborted()
    options?.from?.signal.throwIfAborted()
    const timeout = remaining(options)
    if (timeout !== undefined && timeout <= 0) throw new TalkwireError('DEADLINE_EXCEEDED', 'the deadline had passed before the call was sent')
    const metadata = options ? inheritMetadata(options) : undefined
    if ((call.input || call.reader) && this.streams >= this.limits.streams) throw new TalkwireError('LIMIT_EXCEEDED', `${this.limits.streams} streams are open on this connection (limits.streams)`)
    const meta: { timeout?: number; metadata?: Record<string, string>; input?: true; credit?: number } = {}
    if (timeout !== undefined) meta.timeout = timeout
    if (metadata) meta.metadata = metadata
    if (call.input) meta.input = true
    if (call.reader && this.wire.extended) meta.credit = this.limits.window
    return timeout !== undefined || metadata || call.input || call.reader ? meta : undefined
  }

  private countStream(call: Pending): void {
    const { cleanup } = call
    this.streams++
    call.cleanup = () => {
      this.streams--
      cleanup?.()
    }
  }

  /** Cancellation and deadline of a call in flight. */
  private watch(id: number, call: Pending): void {
    const { signal, from, timeout } = call.options!
    const left = remaining(call.options)
    const timer = left === undefined ? undefined : setTimeout(() => this.giveUp(id, new TalkwireError('DEADLINE_EXCEEDED', `"${call.method}" did not answer within ${timeout ?? Math.round(left)} ms`, { outcome: 'maybe-ran' })), Math.min(left, MAX_TIMER))
    const signals = [signal, from?.signal].filter((each) => each !== undefined)
    const onAbort = (event: globalThis.Event): void => this.giveUp(id, (event.target as AbortSignal).reason)
    for (const each of signals) each.addEventListener('abort', onAbort, { once: true })
    if (timer === undefined && signals.length === 0) return
    call.cleanup = () => {
      clearTimeout(timer)
      for (const each of signals) each.removeEventListener('abort', onAbort)
    }
  }

  /** Cancels a call in flight: it rejects now, and the peer is told to stop. */
  giveUp(id: number, reason: unknown): void {
    const call = this.take(id)
    if (!call) return
    if (this.state !== 'closed') this.post(Kind.cancel, id, '', undefined)
    this.settleFailed(call, reason)
  }

  /** The output of a call as a stream. The call is sent now; what goes wrong is thrown where it is iterated. */
  stream(method: string, params: unknown, input: Pending['input'], options?: CallOptions, schema?: StandardSchema): AsyncIterableIterator<unknown> {
    let id: number | undefined
    const reader = new StreamReader({
      window: this.limits.window,
      grant: (bytes) => {
        if (id !== undefined && this.pending.has(id) && this.wire.extended) this.post(Kind.credit, id, '', bytes)
      },
      stop: () => {
        if (id !== undefined) this.giveUp(id, new TalkwireError('CANCELLED', 'the consumer of the stream stopped'))
      },
      validate: schema && ((value) => validate(schema, value, method, 'INVALID_OUTPUT', 'ran')),
    })
    const call: Pending = {
      method, params, input, options, reader, schema: undefined, idempotent: false, credit: undefined, sequence: 0, cleanup: undefined, resolve: ignore, reject: ignore,
    }
    this.start(call)
    if (call.sequence > 0) id = this.lastId
    return reader
  }

  /** A call whose input is a stream and whose output is one value. */
  upload(method: string, input: NonNullable<Pending['input']>, options?: CallOptions, schema?: StandardSchema): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.start({ method, params: EMPTY, resolve, reject, schema, idempotent: false, options, reader: undefined, input, credit: undefined, sequence: 0, cleanup: undefined })
    })
  }

  private async pumpInput(id: number, call: Pending): Promise<void> {
    const credit = (call.credit = new Credit(this.peerWindow ?? Infinity))
    const stopped = (): boolean => !this.pending.has(id)
    try {
      const ended = await pump(call.input!, {
        credit,
        stopped,
        full: () => this.full(),
        send: (value) => {
          this.post(Kind.input, id, '', value)
          return this.wire.sent
        },
      })
      if (ended && !stopped()) this.post(Kind.end, id, '', undefined)
    } catch (reason) {
      if (stopped()) return
      this.post(Kind.end, id, '', toWireError(new TalkwireError('CANCELLED', 'the input stream failed')))
      const failed = this.take(id)
      if (failed) this.settleFailed(failed, reason)
    }
  }

  // ── receiving ──────────────────────────────────────────────────────────────────────────────────

  message(bytes: Buffer, start: number, end: number, owned: boolean): void {
    this.heard = true
    this.wire.read(bytes, start, end, owned)
  }

  value(value: unknown): void {
    this.heard = true
    this.wire.readValue(value)
  }

  receive(kind: Kind, id: Id, method: string, value: unknown, meta: Meta | undefined, size: number): void {
    if (this.state === 'closed' || this.deaf) return
    if (this.handshakeTimer !== undefined) this.admit()
    if (this.auth !== undefined && !this.auth.done) return this.authenticate(kind, id, method, value)
    switch (kind) {
      case Kind.result: return this.onResult(id, value)
      case Kind.call: return this.onCall(id, method, value, meta)
      case Kind.notify: return this.onNotify(method, value)
      case Kind.error: return this.onFailure(id, value)
      case Kind.item: return this.onItem(id, value, size)
      case Kind.progress: return this.onProgress(id, value)
      case Kind.inputCredit: return this.pending.get(id)?.credit?.add(value)
      case Kind.input: return this.onInput(id, value, size)
      case Kind.end: return this.onInputEnd(id, value)
      case Kind.credit: return this.incoming?.get(id)?.credit?.add(value)
      case Kind.cancel: return this.stop(this.incoming?.get(id), new TalkwireError('CANCELLED', 'the caller cancelled', { outcome: 'maybe-ran' }))
    }
  }

  misunderstood(error: TalkwireError, id: Id): void {
    if (this.state === 'closed' || this.deaf) return
    if (this.handshakeTimer !== undefined) this.admit()
    if (id !== null && this.pending.has(id)) return this.onUnusable(id, error)
    this.answerError(id, error)
    if (++this.misunderstandings > PATIENCE) return this.violated(error)
    // A peer that agreed on the protocol and breaks it cannot be reasoned with; a hand-written one gets to try again.
    if (this.wire.extended && (error.code === 'INVALID_MESSAGE' || id === null)) this.violated(error)
  }

  drained(): void {
    this.congested = false
    if (this.held.outgoing) {
      clearTimeout(this.held.outgoing)
      this.unhold('outgoing')
    }
    const { drain } = this
    this.drain = undefined
    drain?.resolve()
  }

  ended(reason = new TalkwireError('CONNECTION_CLOSED', 'the peer closed the connection')): void {
    this.peerClosing = true
    // Nobody will answer any more; what the peer asked is still answered.
    this.failPending(reason)
    void this.finish()
  }

  closed(cause?: TalkwireError): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    const reason = this.closeCause ?? cause
    clearTimeout(this.handshakeTimer)
    clearInterval(this.heartbeatTimer)
    this.options.onClosed?.(this, reason)
    this.failPending(reason ?? new TalkwireError('CONNECTION_CLOSED', 'the connection was closed'))
    for (const call of this.inFlight()) call.abort(new TalkwireError('CANCELLED', 'the caller is gone', { cause: reason }))
    this.references.clear()
    this.drained()
    this.checkIdle()
  }

  /** The first message is there; with an authkey only the whole authentication counts. */
  private admit(): void {
    if (this.auth && !this.auth.done) return
    clearTimeout(this.handshakeTimer)
    this.handshakeTimer = undefined
  }

  private authenticate(kind: Kind, id: Id, method: string, params: unknown): void {
    try {
      if (kind !== Kind.call || method !== 'rpc.auth') throw new TalkwireError('UNAUTHENTICATED', 'this service wants rpc.auth first; give the client its authkey')
      this.post(Kind.result, id, '', this.auth!.answer(params))
      this.admit()
    } catch (reason) {
      const error = TalkwireError.from(reason)
      this.answerError(kind === Kind.call ? id : null, error)
      this.violated(error)
    }
  }

  private onResult(id: Id, value: unknown): void {
    const call = this.take(id)
    if (call === undefined) return this.stray(id)
    if (call.cleanup !== undefined) cleanUp(call)
    if (call.reader !== undefined) return call.reader.end()
    if (call.schema === undefined) return call.resolve(value)
    this.validated(call, call.schema, value)
  }

  private validated(call: Pending, schema: StandardSchema, value: unknown): void {
    try {
      const result = validate(schema, value, call.method, 'INVALID_OUTPUT', 'ran')
      if (result instanceof Promise) result.then(call.resolve, call.reject)
      else call.resolve(result)
    } catch (reason) {
      call.reject(reason)
    }
  }

  private onFailure(id: Id, value: unknown): void {
    const error = fromWireError(value)
    if (id === null) return this.onNullId(error)
    const call = this.take(id)
    if (call === undefined) return this.stray(id)
    this.settleFailed(call, error)
  }

  /** The peer could not even tell which of our messages it refuses. */
  private onNullId(error: TalkwireError): void {
    this.abort(new TalkwireError('CONNECTION_LOST', `the peer refused a message: ${error.message}`, { cause: error, outcome: 'maybe-ran' }))
  }

  /** A response whose value cannot be read: the call ran, its answer is of no use. */
  private onUnusable(id: Id, error: TalkwireError): void {
    const call = this.take(id)!
    this.settleFailed(call, error.withOutcome('ran'))
  }

  private onItem(id: Id, value: unknown, size: number): void {
    const call = this.pending.get(id)
    if (call === undefined) return this.stray(id)
    if (!call.reader) return this.giveUp(id as number, new TalkwireError('INVALID_OUTPUT', `"${call.method}" answers with a stream; iterate it, or declare it with stream(…)`, { outcome: 'ran' }))
    if (!call.reader.push(value, this.wire.extended ? size : 0)) this.violated(new TalkwireError('INVALID_MESSAGE', 'a stream element without credit'))
  }

  private onProgress(id: Id, value: unknown): void {
    const onProgress = this.pending.get(id)?.options?.onProgress
    if (onProgress) this.guarded('progress', () => onProgress(value))
  }

  private stray(id: Id): void {
    if (typeof id === 'number' && Number.isInteger(id) && id > 0 && id <= this.lastId) return
    this.violated(new TalkwireError('INVALID_MESSAGE', `a response to ${JSON.stringify(id)}, which was never asked`))
  }

  /** The bytes that arrive are no messages any more. */
  broken(error: TalkwireError): void {
    this.answerError(null, error)
    this.violated(error)
  }

  /** Stops listening, lets what was answered arrive, and ends. */
  private violated(error: TalkwireError): void {
    if (this.deaf) return
    this.deaf = true
    this.closeCause ??= new TalkwireError('CONNECTION_LOST', `the peer broke the protocol: ${error.message}`, { cause: error, outcome: 'maybe-ran' })
    const cause = this.closeCause
    setTimeout(() => this.connection.abort(cause), GRACE).unref()
    void this.connection.close()
  }

  // ── serving ────────────────────────────────────────────────────────────────────────────────────

  private onCall(id: Id, method: string, params: unknown, meta: Meta | undefined): void {
    const target = this.options.service?.methods.get(method)
    if (target === undefined) return this.onSpecialCall(id, method, params, meta)
    const refusal = this.refusal(id)
    if (refusal) return this.answerError(id, refusal)
    this.run(new Incoming(this, id, target, meta), params, meta)
  }

  private refusal(id: Id): TalkwireError | undefined {
    const { incoming } = this
    if (this.state === 'closing') return new TalkwireError('UNAVAILABLE', 'this side is closing and takes no new calls')
    if (incoming === undefined) return undefined
    if (incoming.has(id)) return this.duplicate(id)
    if (incoming.size >= this.limits.calls) return new TalkwireError('LIMIT_EXCEEDED', `${this.limits.calls} calls are in flight on this connection (limits.calls)`)
    return undefined
  }

  private duplicate(id: Id): TalkwireError {
    const error = new TalkwireError('INVALID_REQUEST', `a call with the id ${JSON.stringify(id)} is in flight`)
    if (this.wire.extended) this.violated(error)
    return error
  }

  private run(call: Incoming, params: unknown, meta: Meta | undefined): void {
    const { target } = call
    let result: unknown
    try {
      if (target.inputStream) this.openInput(call, meta)
      if (target.input !== undefined && !target.inputStream) {
        const input = validate(target.input, inputOf(params), target.name, 'INVALID_INPUT', 'not-sent')
        if (input instanceof Promise) result = input.then((valid) => this.invoke(call, valid))
        else result = this.invoke(call, input)
      } else result = this.invoke(call, target.inputStream ? call.input : target.positional ? params : inputOf(params))
    } catch (reason) {
      return this.answerFailure(call, reason)
    }
    if (result instanceof Promise) {
      if (call.id === NOBODY) return this.awaitNote(call, result)
      this.track(call)
      result.then((value) => this.finished(call, value), (reason) => this.answerFailure(call, reason))
    } else this.finished(call, result)
  }

  /** Notifications cannot be refused: when too many run, the peer is not read from. */
  private awaitNote(call: Incoming, result: Promise<unknown>): void {
    if (++this.notes >= this.limits.calls) this.hold({ notes: true })
    const done = (): void => {
      if (--this.notes === this.limits.calls >> 1) this.unhold('notes')
    }
    result.then(done, (reason) => {
      this.answerFailure(call, reason)
      done()
    })
  }

  private hold(why: { notes?: true; outgoing?: NodeJS.Timeout }): void {
    this.held = { ...this.held, ...why }
    this.connection.pause()
  }

  private unhold(why: 'notes' | 'outgoing'): void {
    if (!(why in this.held)) return
    const { [why]: _, ...rest } = this.held
    this.held = rest
    if (Object.keys(rest).length === 0 && this.state !== 'closed') this.connection.resume()
  }

  private invoke(call: Incoming, input: unknown): unknown {
    const { interceptors } = this.options
    if (interceptors === undefined || call.target.builtin) return call.target.positional ? runWith(call, asArguments(input)) : runInput(call, input)
    const chain = interceptors.reduceRight<(call: ServerCall) => unknown>((next, interceptor) => (each) => interceptor(each, next), direct)
    return chain({ method: call.method, input, ctx: call })
  }

  private track(call: Incoming): void {
    if (call.tracked || call.id === NOBODY) return
    call.tracked = true
    ;(this.incoming ??= new Map()).set(call.id, call)
  }

  private finished(call: Incoming, value: unknown): void {
    if (typeof value === 'object' && value !== null && isIterable(value)) return void this.pumpOutput(call, value)
    if (call.aborted && !call.target.oneway) return this.answerFailure(call, call.aborted)
    this.release(call)
    call.answered = true
    if (call.id === NOBODY || this.state === 'closed') return
    try {
      this.post(Kind.result, call.id, '', value)
    } catch (reason) {
      this.unsendable(call, reason)
    }
  }

  /** The handler's value could not be sent: the caller must still get an answer. */
  private unsendable(call: Incoming, reason: unknown): void {
    if (this.state === 'closed') return
    const error = reason instanceof TalkwireError ? reason.withOutcome('ran') : new TalkwireError('INVALID_OUTPUT', 'the result cannot be sent', { cause: reason, outcome: 'ran' })
    this.options.onError?.(reason, call.method)
    this.answerError(call.id, error)
  }

  private answerFailure(call: Incoming, reason: unknown): void {
    this.release(call)
    if (call.answered) return
    call.answered = true
    if (call.id === NOBODY) return void this.options.onError?.(reason, call.method)
    this.answerError(call.id, this.asAnswer(call, reason))
  }

  /**
   * Tells a handler to stop. A stream is answered at once, because its generator may be waiting for something
   * that never comes. The call still counts against the limit until the handler has really ended:
   * else calling and cancelling would start any number of them.
   */
  private stop(call: Incoming | undefined, reason: TalkwireError): void {
    if (!call || call.aborted) return
    call.abort(reason)
    if (call.credit && !call.answered && this.state !== 'closed') {
      call.answered = true
      this.answerError(call.id, reason)
    }
    this.checkIdle()
  }

  /** What the peer may know of an error: what is declared, and what is ours. */
  private asAnswer(call: Incoming, reason: unknown): TalkwireError {
    if (call.aborted) return call.aborted
    if (reason instanceof TalkwireError) {
      const { errors } = call.target
      if (reason.declared && (errors === undefined || errors.has(reason.code))) return reason.withOutcome('ran')
      if (visible.has(reason) || call.target.builtin) return reason
    }
    this.options.onError?.(reason, call.method)
    return new TalkwireError('INTERNAL', 'internal error', { outcome: 'ran' })
  }

  private async pumpOutput(call: Incoming, source: AsyncIterable<unknown> | Iterable<unknown>): Promise<void> {
    this.track(call)
    const credit = (call.credit = new Credit(call.initialCredit ?? (this.wire.extended ? this.peerWindow! : Infinity)))
    try {
      if (call.id === NOBODY) throw new TalkwireError('INVALID_REQUEST', 'a stream was asked for in a notification')
      const ended = await pump(source, {
        credit,
        stopped: () => call.aborted !== undefined || this.state === 'closed',
        full: () => this.full(),
        send: (value) => {
          this.post(Kind.item, call.id, '', value)
          return this.wire.sent
        },
      })
      if (!ended) return this.answerFailure(call, call.aborted)
      this.release(call)
      if (call.answered) return
      call.answered = true
      this.post(Kind.result, call.id, '', null)
    } catch (reason) {
      this.answerFailure(call, reason)
    }
  }

  private openInput(call: Incoming, meta: Meta | undefined): void {
    const { id, target } = call
    const { input } = target
    call.input = new StreamReader({
      window: this.limits.window,
      grant: (bytes) => {
        if (call.tracked && this.state !== 'closed') this.post(Kind.inputCredit, id, '', bytes)
      },
      stop: () => {},
      validate: input && ((value) => validate(input, value, target.name, 'INVALID_INPUT', 'maybe-ran')),
    })
    if (meta?.input) this.track(call)
    else call.input.end()
  }

  private onInput(id: Id, value: unknown, size: number): void {
    const reader = this.incoming?.get(id)?.input
    if (reader && !reader.push(value, size)) this.violated(new TalkwireError('INVALID_MESSAGE', 'a stream element without credit'))
  }

  private onInputEnd(id: Id, error: unknown): void {
    const reader = this.incoming?.get(id)?.input
    if (error === undefined || error === null) reader?.end()
    else reader?.fail(new TalkwireError('CANCELLED', 'the caller\'s input stream failed', { cause: fromWireError(error) }))
  }

  private onSpecialCall(id: Id, method: string, params: unknown, meta: Meta | undefined): void {
    const refusal = this.refusal(id)
    if (refusal) return this.answerError(id, refusal)
    if (method.startsWith('#')) {
      const handler = this.references.find(method)
      if (!handler) return this.answerError(id, new TalkwireError('METHOD_NOT_FOUND', `the reference ${method.slice(0, 64)} was released`))
      return this.run(new Incoming(this, id, referenceMethod(method, handler), meta), params, meta)
    }
    const answer = this.builtin(method)
    if (!answer) return this.answerError(id, notFound(this.options.service, method))
    this.run(new Incoming(this, id, builtinMethod(method, () => answer(params, id)), meta), undefined, undefined)
  }

  private builtin(method: string): ((params: unknown, id: Id) => unknown) | undefined {
    if (method === 'rpc.on') return (params) => this.subscribe(params)
    if (method === 'rpc.off') return (params) => this.unsubscribe(params)
    const { builtin } = this.options
    if (!builtin || !method.startsWith('rpc.')) return undefined
    return (params) => builtin(this, method, params)
  }

  private onNotify(method: string, params: unknown): void {
    if (method.startsWith('$/')) return this.onControl(method, params)
    const target = this.options.service?.methods.get(method)
    if (target && this.state !== 'closing') return this.run(new Incoming(this, NOBODY, target, undefined), params, undefined)
    const { onEvent } = this.options
    if (onEvent) this.guarded(method, () => onEvent(method, inputOf(params), 0))
  }

  private onControl(method: string, params: unknown): void {
    switch (method) {
      case '$/ping': return this.tell('$/pong', {})
      case '$/release': return this.references.released((params as { refs?: unknown } | undefined)?.refs)
      case '$/lost': return this.onLost(params)
      case '$/close':
        this.peerClosing = true
        return void this.finish()
      default:
    }
  }

  // ── events ─────────────────────────────────────────────────────────────────────────────────────

  /** Sends an event to this peer if it subscribed. A peer that reads too slowly loses it, and is told how many. */
  emit(event: string, payload: unknown): void {
    const lost = this.subscriptions?.get(event)
    if (lost === undefined || this.state === 'closed') return
    if (this.connection.buffered > this.limits.outgoing) {
      this.subscriptions!.set(event, lost + 1)
      return
    }
    if (lost > 0) {
      this.tell('$/lost', { event, count: lost })
      this.subscriptions!.set(event, 0)
    }
    this.post(Kind.notify, null, event, payload)
  }

  private subscribe(params: unknown): null {
    const event = eventName(params)
    const { service } = this.options
    if (service?.events && !service.events.has(event)) throw visibleError('INVALID_INPUT', `"${service.name}" has no event ${JSON.stringify(event)}`)
    this.subscriptions ??= new Map()
    if (this.subscriptions.size >= 1000) throw visibleError('LIMIT_EXCEEDED', 'more than 1000 subscriptions on one connection')
    if (!this.subscriptions.has(event)) this.subscriptions.set(event, 0)
    return null
  }

  private unsubscribe(params: unknown): null {
    this.subscriptions?.delete(eventName(params))
    return null
  }

  private onLost(params: unknown): void {
    const { event, count } = (params ?? {}) as { event?: unknown; count?: unknown }
    if (typeof event === 'string' && Number.isSafeInteger(count)) this.options.onEvent?.(event, LOST, count as number)
  }

  // ── ending ─────────────────────────────────────────────────────────────────────────────────────

  /** No new calls, those in flight finish on both sides, then the connection ends. After `timeout` milliseconds what is left is aborted. */
  close(timeout = Infinity): Promise<void> {
    return (this.closing ??= this.closeNow(timeout))
  }

  private async closeNow(timeout: number): Promise<void> {
    if (this.state === 'closed') return
    if (this.state === 'open' && this.wire.extended && !this.peerClosing) this.tell('$/close', {})
    this.state = 'closing'
    const unavailable = new TalkwireError('UNAVAILABLE', 'the service is closing', { outcome: 'maybe-ran' })
    for (const call of this.inFlight()) if (call.credit) this.stop(call, unavailable)
    const timer = Number.isFinite(timeout) ? setTimeout(() => this.abort(new TalkwireError('CONNECTION_CLOSED', `calls were still in flight ${timeout} ms after close()`, { outcome: 'maybe-ran' })), timeout) : undefined
    await this.quiet()
    // In two steps of abort and close, so that a peer which never ends cannot keep us.
    if ((this.state as string) !== 'closed') await this.connection.close()
    clearTimeout(timer)
  }

  /** Ends now. Calls in flight are rejected with the cause. */
  abort(cause: TalkwireError): void {
    this.closeCause ??= cause
    this.connection.abort(cause)
  }

  /** After the peer's `$/close` or end: closes as soon as nothing is in flight. */
  private async finish(): Promise<void> {
    await this.quiet()
    if (this.state === 'closed') return
    this.state = 'closing'
    await this.connection.close()
  }

  /** Resolves when no answer is owed in either direction. Handlers that were told to stop may still run. */
  private quiet(): Promise<void> {
    return new Promise((resolve) => {
      const outer = this.idle
      this.idle = () => {
        outer?.()
        resolve()
      }
      this.checkIdle()
    })
  }

  private checkIdle(): void {
    const { idle } = this
    if (idle === undefined || (this.state !== 'closed' && (this.pending.size > 0 || this.inFlight().some((call) => !call.aborted)))) return
    this.idle = undefined
    idle()
  }

  private inFlight(): Incoming[] {
    return this.incoming ? [...this.incoming.values()] : []
  }

  /** Calls that may be repeated elsewhere are handed over instead of rejected. */
  onUnfinished: ((calls: Pending[]) => void) | undefined

  private failPending(reason: TalkwireError): void {
    if (this.pending.size === 0) return
    const calls = [...this.pending.values()]
    this.pending.clear()
    const lastSent = this.sequence - this.connection.unsent
    const repeat: Pending[] = []
    for (const call of calls) {
      const outcome = call.sequence > lastSent ? 'not-sent' : 'maybe-ran'
      if (this.onUnfinished && !call.reader && !call.input && (call.idempotent || outcome === 'not-sent')) {
        cleanUp(call)
        repeat.push(call)
      } else this.settleFailed(call, reason.withOutcome(outcome))
    }
    if (repeat.length > 0) this.onUnfinished!(repeat)
    this.checkIdle()
  }

  // ── heartbeat ──────────────────────────────────────────────────────────────────────────────────

  /** Both sides' hello agreed on it. */
  startHeartbeat(milliseconds: number): void {
    if (milliseconds <= 0 || this.heartbeatTimer) return
    this.heartbeatTimer = setInterval(() => this.beat(milliseconds), milliseconds)
    this.heartbeatTimer.unref()
  }

  private beat(milliseconds: number): void {
    if (this.heard) {
      this.heard = false
      this.silent = 0
      return
    }
    if (++this.silent === 1) return this.tell('$/ping', {})
    this.abort(new TalkwireError('CONNECTION_LOST', `nothing was heard from the peer for ${2 * milliseconds} ms`, { outcome: 'maybe-ran' }))
  }

  // ── shared ─────────────────────────────────────────────────────────────────────────────────────

  progress(id: Id, value: unknown): void {
    if (id !== NOBODY && this.state !== 'closed' && !this.congested) this.post(Kind.progress, id, '', value)
  }

  callerOf(call: Incoming): unknown {
    return this.options.callerOf?.(this, call)
  }

  private post(kind: Kind, id: Id, method: string, value: unknown, meta?: Meta): void {
    this.sequence++
    try {
      if (!this.wire.send(kind, id, method, value, meta)) {
        this.congested = true
        if (this.connection.buffered > this.limits.outgoing && !this.held.outgoing) this.holdUntilRead()
      }
    } catch (reason) {
      this.sequence--
      throw reason
    }
  }

  /** A peer that asks and does not read the answers: it is not read from until it does, and not for ever. */
  private holdUntilRead(): void {
    const timer = setTimeout(() => this.abort(new TalkwireError('LIMIT_EXCEEDED', `the peer left more than ${this.limits.outgoing} bytes unread for ${STALL} ms (limits.outgoing)`, { outcome: 'maybe-ran' })), STALL)
    this.hold({ outgoing: timer.unref() })
  }

  /** A message whose loss changes nothing when the connection is ending. */
  private tell(method: string, params: object): void {
    if (this.state === 'closed') return
    try {
      this.post(Kind.notify, null, method, params)
    } catch (reason) {
      if (!(reason instanceof TalkwireError && reason.code.startsWith('CONNECTION_'))) throw reason
    }
  }

  private answerError(id: Id, error: TalkwireError): void {
    if (this.state === 'closed') return
    try {
      this.post(Kind.error, id, '', toWireError(error))
    } catch (reason) {
      // Details that cannot be sent must not cost the caller its answer.
      if (reason instanceof TalkwireError && reason.code.startsWith('CONNECTION_')) return
      this.post(Kind.error, id, '', toWireError(new TalkwireError('INVALID_OUTPUT', 'the error cannot be sent', { outcome: error.outcome })))
    }
  }

  private release(call: Incoming): void {
    call.settle()
    if (!call.tracked) return
    call.tracked = false
    this.incoming!.delete(call.id)
    this.checkIdle()
  }

  private take(id: Id): Pending | undefined {
    const call = this.pending.get(id)
    if (call === undefined) return undefined
    this.pending.delete(id)
    if (this.idle !== undefined) this.checkIdle()
    return call
  }

  private settleFailed(call: Pending, reason: unknown): void {
    cleanUp(call)
    call.credit?.notify()
    if (call.reader) call.reader.fail(reason)
    else call.reject(reason)
  }

  private checkRoom(): void {
    if (this.state !== 'open' || this.peerClosing) throw this.closedError()
    if (this.pending.size >= this.limits.calls) throw new TalkwireError('LIMIT_EXCEEDED', `${this.limits.calls} calls are in flight on this connection (limits.calls)`)
    if (this.congested && this.connection.buffered > this.limits.outgoing) throw new TalkwireError('LIMIT_EXCEEDED', `${this.connection.buffered} bytes wait for a peer that reads too slowly (limits.outgoing)`)
  }

  private closedError(): TalkwireError {
    if (this.state === 'handshake') return new TalkwireError('UNAVAILABLE', 'the connection is not open yet')
    return new TalkwireError('CONNECTION_CLOSED', 'the connection is closed', { cause: this.closeCause })
  }

  private full(): Promise<void> | undefined {
    return this.congested ? this.drained$() : undefined
  }

  private drained$(): Promise<void> {
    if (!this.drain) {
      let resolve!: () => void
      const promise = new Promise<void>((done) => {
        resolve = done
      })
      this.drain = { promise, resolve }
    }
    return this.drain.promise
  }

  private guarded(what: string, action: () => void): void {
    try {
      action()
    } catch (reason) {
      this.options.onError?.(reason, what)
    }
  }
}

/** In place of a payload: only a count of lost events. */
export const LOST = Symbol('lost')

/** The id of a notification: there is nobody to answer. */
const NOBODY = Symbol('nobody') as unknown as Id

/** Errors about the caller's input, which the caller may see as they are. */
const visible = new WeakSet<TalkwireError>()
function visibleError(...args: ConstructorParameters<typeof TalkwireError>): TalkwireError {
  const error = new TalkwireError(...args)
  visible.add(error)
  return error
}

/** The validated value, or a promise of it. Throws (or rejects with) `code`. */
function validate(schema: StandardSchema, value: unknown, method: string, code: 'INVALID_INPUT' | 'INVALID_OUTPUT', outcome: Outcome): unknown {
  const result = schema['~standard'].validate(value)
  if (result instanceof Promise) return result.then((each) => checked(each, method, code, outcome))
  return checked(result, method, code, outcome)
}

function checked(result: Awaited<ReturnType<StandardSchema['~standard']['validate']>>, method: string, code: 'INVALID_INPUT' | 'INVALID_OUTPUT', outcome: Outcome): unknown {
  if (!result.issues) return result.value
  const what = code === 'INVALID_INPUT' ? 'input' : 'output'
  throw visibleError(code, `the ${what} of "${method}" does not fit its schema: ${describeIssues(result.issues)}`, {
    outcome,
    details: result.issues.map(({ message, path }) => ({ message, path: path?.map((part) => String(typeof part === 'object' ? part.key : part)) ?? [] })),
  })
}

function remaining(options: CallOptions | undefined): number | undefined {
  const inherited = options?.from?.deadline === undefined ? undefined : options.from.deadline - performance.now()
  if (options?.timeout === undefined) return inherited
  if (!(options.timeout > 0)) throw new TypeError(`timeout is a positive number of milliseconds, not ${String(options.timeout)}`)
  return inherited === undefined ? options.timeout : Math.min(options.timeout, inherited)
}

function direct({ input, ctx }: ServerCall): unknown {
  return ctx.target.positional ? runWith(ctx, asArguments(input)) : runInput(ctx, input)
}

const asArguments = (params: unknown): unknown[] => (Array.isArray(params) ? params : params === undefined ? EMPTY : [params])

const anyErrors = { inputStream: false, outputStream: false, oneway: false, input: undefined, errors: undefined }
const referenceMethod = (name: string, handler: (...args: unknown[]) => unknown): Method => ({ name, handler, positional: true, ...anyErrors })
const builtinMethod = (name: string, handler: () => unknown): Method => ({ name, handler, positional: true, ...anyErrors, builtin: true })

function eventName(params: unknown): string {
  const event = Array.isArray(params) ? (params[0] as unknown) : (params as { event?: unknown } | undefined)?.event
  if (typeof event !== 'string' || event.length > 128) throw visibleError('INVALID_INPUT', 'give the name of an event: {"event": "…"}')
  return event
}

const ignore = (): void => {}

function cleanUp(call: Pending): void {
  const { cleanup } = call
  call.cleanup = undefined
  cleanup?.()
}
