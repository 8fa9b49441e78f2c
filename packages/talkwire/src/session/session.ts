/**
 * One connection as both ends see it: who is asked, who answers, when it ends.
 * Knows no transport, protocol or codec by name.
 */
import type { CallOptions } from '../contract/contract.js'
import type { StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError } from '../error.js'
import { Kind, toWireError, type Id, type Meta, type Receiver, type Wire } from '../protocols/message.js'
import type { ConnectionBase, Peer, Sink } from '../transports/transport.js'
import { closeGiven, Descriptor } from '../descriptor.js'
import type { AuthServer } from './auth.js'
import { Calls } from './calls.js'
import { after, MAX_TIMER } from '../timers.js'
import { NOBODY, type Host, type Incoming } from './incoming.js'
import type { Limits } from './limits.js'
import { closeAll, weightOf, type DescriptorHost, type DescriptorTable } from './descriptors.js'
import { later } from './pace.js'
import { Answers } from './lossy.js'
import { Reading } from './reading.js'
import { ReferenceTable, type ReferenceHost, type ReferenceReport } from './references.js'
import { inputOf, type Service } from './service.js'
import { Serving } from './serving.js'
import { LOST, Subscriptions } from './subscriptions.js'

/** What a session is told by whoever made it. */
export interface SessionOptions {
  readonly side: 'connector' | 'acceptor'
  readonly limits: Limits
  readonly service?: Service | undefined
  /** Makes what asks the peer for a key before anything else. */
  readonly auth?: (() => AuthServer) | undefined
  /** Milliseconds of silence after which the peer is asked whether it lives; 0: never. */
  readonly heartbeat?: number
  /** Answers `rpc.hello` and other reserved methods that are not the session's own. */
  readonly builtin?: (session: Session, method: string, params: unknown) => unknown
  readonly interceptors?: readonly ServerInterceptor[]
  readonly callerOf?: (session: Session, call: Incoming) => unknown
  readonly onEvent?: (event: string, payload: unknown, lost: number, descriptors?: readonly Descriptor[]) => void
  /** An error that a handler did not declare, or that a listener threw: the peer sees "internal error" only. */
  readonly onError?: (error: unknown, method: string) => void
  readonly onClosed?: (session: Session, cause: TalkwireError | undefined) => void
  /** This connection wants to be the channel for the descriptors of another one. */
  readonly onChannel?: (session: Session, token: unknown) => void
}

/** A call on its way to a handler. */
export interface ServerCall {
  readonly method: string
  readonly input: unknown
  readonly ctx: Incoming
}
export type ServerInterceptor = (call: ServerCall, next: (call: ServerCall) => unknown) => unknown

export interface SessionStats {
  readonly pending: number
  readonly handling: number
  readonly buffered: number
  /** References held by the peer: the leak report. */
  readonly exported: readonly ReferenceReport[]
  readonly imported: number
  /** Proxies that were never disposed and that the garbage collector released. */
  readonly collected: number
  /** Descriptors that were received and are neither closed nor taken. */
  readonly descriptors: number
}

const DONE = Promise.resolve()
/** Messages that a hand-written peer may get wrong. */
const PATIENCE = 100
/** Milliseconds for the last answer to a peer that is being cut off. */
const GRACE = 1000
/** Milliseconds that close() waits for a Talkwire peer to say that it sends no more calls, and for a plain one to end. */
const FAREWELL = 1000
/** Milliseconds between looks whether a plain peer that ended its half still waits. */
const PROBE = 1000
/** Pings without an answer, where messages may be lost, until the peer counts as gone. */
const PINGS = 3
/** Milliseconds: a peer may not ask for a timer that keeps us busy. */
const MIN_HEARTBEAT = 10

const DOLLAR = 0x24

export class Session implements Receiver, Sink, Host, ReferenceHost, DescriptorHost {
  connection!: ConnectionBase
  wire!: Wire
  state: 'handshake' | 'open' | 'closing' | 'closed' = 'handshake'
  /** Agreed by hello, else undefined: a plain JSON-RPC peer. */
  peerWindow: number | undefined
  /** Methods of the peer that are known to stream. */
  peerStreams: Set<string> | undefined
  /** The peer said that it knows no hello: a JSON-RPC server that is not Talkwire. */
  strange = false
  readonly references: ReferenceTable
  /** Agreed by hello, and the channel is there. */
  descriptors: DescriptorTable | undefined
  /** Somebody waits for the peer to have the channel. */
  onChannelReady: (() => void) | undefined
  readonly limits: Limits
  readonly calls: Calls
  /** Messages sent so far. */
  sequence = 0
  /** Whether the peer is read from. */
  readonly reading: Reading
  /** Only where messages may be lost, and so questions come again. */
  private answers: Answers | undefined
  private readonly serving: Serving
  private readonly subscriptions: Subscriptions
  private congested = false
  private drain: { promise: Promise<void>; resolve: () => void } | undefined
  private peerClosing = false
  private saidClose = false
  private closing: Promise<void> | undefined
  /** Somebody waits for the peer's `$/close` or end. */
  private onPeerClosing: (() => void) | undefined
  private idle: (() => void) | undefined
  private handshakeTimer: NodeJS.Timeout | undefined
  private heartbeatTimer: NodeJS.Timeout | undefined
  private probeTimer: NodeJS.Timeout | undefined
  /** Whole periods in which nothing was heard; -1 when something was in this one. */
  private silent = -1
  private auth: AuthServer | undefined
  private closeCause: TalkwireError | undefined
  private deaf = false
  private misunderstandings = 0

  constructor(readonly options: SessionOptions) {
    this.limits = options.limits
    this.references = new ReferenceTable(this)
    this.calls = new Calls(this)
    this.reading = new Reading(this)
    this.serving = new Serving(this)
    this.subscriptions = new Subscriptions(this)
  }

  /** Takes the connection. Call in the turn in which it came to be. */
  open(connection: ConnectionBase, wire: Wire): this {
    this.connection = connection
    this.wire = wire
    if (connection.lossy === true) this.answers = new Answers()
    const { side, auth, limits } = this.options
    if (connection.oneWay !== undefined) this.state = 'open'
    else if (side === 'acceptor') {
      this.state = 'open'
      this.auth = auth?.()
      this.handshakeTimer = setTimeout(
        () => this.abort(new TalkwireError('UNAUTHENTICATED', `no whole message within ${limits.handshake} ms (limits.handshake)`)),
        limits.handshake,
      )
      this.handshakeTimer.unref()
    }
    return this
  }

  get peer(): Peer {
    return this.connection.peer
  }

  /** Why it ended; undefined while it has not, and where a side closed on purpose. */
  get cause(): TalkwireError | undefined {
    return this.closeCause
  }

  get isOpen(): boolean {
    return this.state === 'open' && !this.peerClosing
  }

  stats(): SessionStats {
    const { references } = this
    return {
      pending: this.calls.size,
      handling: this.serving.size,
      buffered: this.connection.buffered,
      exported: references.report(),
      imported: references.held,
      collected: references.collected,
      descriptors: this.descriptors?.held ?? 0,
    }
  }

  // ── calling ────────────────────────────────────────────────────────────────────────────────────

  /** A unary call. `params` as in JSON-RPC. */
  call(method: string, params: unknown, options?: CallOptions, schema?: StandardSchema, idempotent = false): Promise<unknown> {
    return this.calls.unary(method, params, options, schema, idempotent)
  }

  /** A notification. The promise resolves when the connection takes more. Throws LIMIT_EXCEEDED, `not-sent`. */
  notify(method: string, params: unknown): Promise<void> {
    try {
      if (this.congested) this.checkRoom()
      if (this.state !== 'open') throw this.closedError()
      this.post(Kind.notify, null, method, params)
    } finally {
      if (this.descriptors) closeGiven(params)
    }
    return this.full() ?? DONE
  }

  /** Sends an event to this peer if it subscribed. */
  emit(event: string, payload: unknown): void {
    this.subscriptions.emit(event, payload)
  }

  // ── receiving ──────────────────────────────────────────────────────────────────────────────────

  message(bytes: Buffer, start: number, end: number, owned: boolean): void {
    this.silent = -1
    if (!this.deaf) this.wire.read(bytes, start, end, owned)
  }

  value(value: unknown): void {
    this.silent = -1
    this.wire.readValue(value)
  }

  receive(kind: Kind, id: Id, method: string, value: unknown, meta: Meta | undefined, size: number): void {
    const descriptors = this.descriptors?.arrivals()
    if (this.state === 'closed' || this.deaf) return closeAll(descriptors)
    if (this.handshakeTimer !== undefined) this.admit()
    // Whoever knows the token has been authenticated.
    if (kind === Kind.notify && method === '$/channel' && this.options.onChannel)
      return this.options.onChannel(this, (value as { token?: unknown } | undefined)?.token)
    if (kind === Kind.call && this.answers !== undefined && this.isRepeated(id, this.answers)) return
    if (this.auth !== undefined && !this.auth.done) return this.authenticate(kind, id, method, value)
    if (descriptors) return this.receiveWith(descriptors, kind, id, method, value, meta, size)
    const { calls, serving } = this
    switch (kind) {
      case Kind.result:
        return calls.onResult(id, value)
      case Kind.call:
        return serving.onCall(id, method, value, meta)
      case Kind.notify:
        return this.onNotify(method, value)
      case Kind.error:
        return calls.onFailure(id, value)
      case Kind.item:
        return calls.onItem(id, value, size)
      case Kind.progress:
        return calls.onProgress(id, value)
      case Kind.inputCredit:
        return calls.onInputCredit(id, value)
      case Kind.input:
        return serving.onInput(id, value, size)
      case Kind.end:
        return serving.onInputEnd(id, value)
      case Kind.credit:
        return serving.onCredit(id, value)
      case Kind.cancel:
        return serving.onCancel(id)
    }
  }

  private receiveWith(
    descriptors: readonly Descriptor[],
    kind: Kind,
    id: Id,
    method: string,
    value: unknown,
    meta: Meta | undefined,
    size: number,
  ): void {
    const { calls, serving } = this
    switch (kind) {
      case Kind.call:
        return serving.onCall(id, method, value, meta, descriptors)
      case Kind.result:
        return calls.onResult(id, value, descriptors)
      case Kind.item:
        return calls.onItem(id, value, size, descriptors)
      case Kind.input:
        return serving.onInput(id, value, size, descriptors)
      case Kind.progress:
        return calls.onProgress(id, value, descriptors)
      case Kind.notify:
        return this.onNotify(method, value, descriptors)
      default:
        closeAll(descriptors)
        this.violated(new TalkwireError('INVALID_MESSAGE', 'descriptors with what carries no value'))
    }
  }

  /** A call that came before: it is answered as it was, or its handler still runs. */
  private isRepeated(id: Id, answers: Answers): boolean {
    const answer = answers.of(id)
    if (answer) this.unlessEnding(() => this.wire.send(answer.kind, id, '', answer.value))
    return answer !== undefined || this.serving.isRunning(id)
  }

  misunderstood(error: TalkwireError, id: Id, ofResponse = false): void {
    closeAll(this.descriptors?.arrivals())
    if (this.state === 'closed' || this.deaf) return
    if (this.handshakeTimer !== undefined) this.admit()
    if (ofResponse && id !== null && this.calls.has(id)) return this.calls.onUnusable(id, error)
    // Both sides number their calls from 1: the id of a response is not one of the peer's.
    this.answerError(ofResponse ? null : id, error)
    if (++this.misunderstandings > PATIENCE) return this.violated(error)
    // A peer that agreed on the protocol and breaks it cannot be reasoned with; a hand-written one gets to try again.
    if (this.wire.extended && (error.code === 'INVALID_MESSAGE' || id === null || ofResponse)) this.violated(error)
  }

  drained(): void {
    this.congested = false
    this.reading.drained()
    const { drain } = this
    this.drain = undefined
    drain?.resolve()
  }

  ended(why?: TalkwireError): void {
    // A Talkwire peer that closes on purpose says $/close first; without it, it was cut off.
    const orderly = this.peerClosing || this.state === 'closing' || !this.wire.extended
    this.peerCloses()
    if (!orderly)
      this.closeCause ??=
        why ?? new TalkwireError('CONNECTION_LOST', 'the peer is gone, and did not say so: it was killed, or its connection was cut')
    // Nobody will answer any more. What a plain peer asked is still answered.
    this.calls.fail(() => why ?? this.closeCause ?? new TalkwireError('CONNECTION_CLOSED', 'the peer closed the connection'))
    if (this.wire.extended) this.serving.abandon()
    else if (this.serving.owes) this.watchHalf()
    // Thousands of peers may go at once, and letting go of one costs as much as a call.
    later(() => void this.finish())
  }

  /** A plain peer may end its half and wait for its answers, or may have been killed: the end looks the same. */
  private watchHalf(): void {
    this.connection.probe?.()
    this.probeTimer ??= setInterval(() => this.connection.probe?.(), PROBE)
    this.probeTimer.unref()
  }

  closed(cause?: TalkwireError): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    const reason = (this.closeCause ??= cause)
    clearTimeout(this.handshakeTimer)
    clearInterval(this.heartbeatTimer)
    clearInterval(this.probeTimer)
    this.options.onClosed?.(this, reason)
    this.calls.fail(() => reason ?? new TalkwireError('CONNECTION_CLOSED', 'the connection was closed'))
    this.serving.abandon()
    this.references.clear()
    this.descriptors?.close()
    this.drained()
    this.checkIdle()
    this.onPeerClosing?.()
    this.onChannelReady?.()
  }

  /** The first message is there, or a protocol of its own has let the peer in; with an authkey only the whole authentication counts. */
  admit(): void {
    if (this.auth && !this.auth.done) return
    clearTimeout(this.handshakeTimer)
    this.handshakeTimer = undefined
  }

  private authenticate(kind: Kind, id: Id, method: string, params: unknown): void {
    try {
      if (kind !== Kind.call || method !== 'rpc.auth')
        throw new TalkwireError('UNAUTHENTICATED', 'this service wants rpc.auth first; give the client its authkey')
      this.post(Kind.result, id, '', this.auth!.answer(params))
      this.admit()
    } catch (reason) {
      const error = TalkwireError.from(reason)
      this.answerError(kind === Kind.call ? id : null, error)
      this.violated(error)
    }
  }

  /** The peer could not even tell which of our messages it refuses. */
  refused(error: TalkwireError): void {
    this.abort(new TalkwireError('CONNECTION_LOST', `the peer refused a message: ${error.message}`, { cause: error, outcome: 'maybe-ran' }))
  }

  /** The bytes that arrive are no messages any more. */
  broken(error: TalkwireError): void {
    this.answerError(null, error)
    this.violated(error)
  }

  /** Stops listening, lets what was answered arrive, and ends. */
  violated(error: TalkwireError): void {
    if (this.deaf) return
    this.deaf = true
    this.closeCause ??= new TalkwireError('CONNECTION_LOST', `the peer broke the protocol: ${error.message}`, {
      cause: error,
      outcome: 'maybe-ran',
    })
    const cause = this.closeCause
    setTimeout(() => this.connection.abort(cause), GRACE).unref()
    void this.connection.close()
  }

  /** What answers a reserved method, if anything does. */
  builtin(method: string): ((params: unknown) => unknown) | undefined {
    if (method === 'rpc.on') return (params) => this.subscriptions.add(params)
    if (method === 'rpc.off') return (params) => this.subscriptions.remove(params)
    const { builtin } = this.options
    return builtin && ((params) => builtin(this, method, params))
  }

  private onNotify(method: string, params: unknown, descriptors?: readonly Descriptor[]): void {
    if (method.charCodeAt(0) === DOLLAR && method.startsWith('$/')) {
      closeAll(descriptors)
      return this.onControl(method, params)
    }
    if (this.serving.onNotify(method, params, descriptors)) return
    const { onEvent } = this.options
    if (onEvent) this.guarded(method, () => onEvent(method, inputOf(params), 0, descriptors))
    else closeAll(descriptors)
  }

  private onControl(method: string, params: unknown): void {
    switch (method) {
      case '$/ping':
        return this.tell('$/pong', {})
      case '$/channel':
        return this.onChannelReady?.()
      case '$/release':
        return this.references.released((params as { refs?: unknown } | undefined)?.refs)
      case '$/lost':
        return this.onLost(params)
      case '$/close':
        this.peerCloses()
        this.sayClose()
        return void this.finish()
      default:
    }
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
    this.sayClose()
    this.state = 'closing'
    const unavailable = new TalkwireError('UNAVAILABLE', 'the service is closing', { outcome: 'maybe-ran' })
    this.serving.stopStreams(unavailable)
    const timer = after(timeout, () =>
      this.abort(
        new TalkwireError('CONNECTION_CLOSED', `calls were still in flight ${timeout} ms after close()`, { outcome: 'maybe-ran' }),
      ),
    )
    await this.quiet()
    await this.farewell()
    await this.end()
    clearTimeout(timer)
  }

  /** A Talkwire peer ends when we do. A plain one may not know that it should, and gets so long once it has all of ours. */
  private async end(): Promise<void> {
    if (this.state === 'closed') return
    let since = performance.now()
    const look = (): void => {
      if (this.connection.buffered > 0) since = performance.now()
      else if (performance.now() - since >= FAREWELL) this.abort(new TalkwireError('CONNECTION_CLOSED', 'the peer did not end its side'))
    }
    const timer = this.wire.extended || this.options.side === 'connector' ? undefined : setInterval(look, FAREWELL / 5)
    await this.connection.close()
    clearInterval(timer)
  }

  /** To a Talkwire peer, once: no calls follow, and none are taken. */
  private sayClose(): void {
    if (this.saidClose || !this.wire.extended) return
    this.saidClose = true
    this.tell('$/close', {})
  }

  private peerCloses(): void {
    this.peerClosing = true
    this.onPeerClosing?.()
  }

  /**
   * Calls that left the peer before it knew of our closing are still on their way, and an end that overtakes their
   * refusal would leave the caller guessing. After the peer's `$/close` or end there are none.
   */
  private farewell(): Promise<void> {
    if (!this.wire.extended || this.peerClosing || this.state === 'closed') return DONE
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, FAREWELL)
      this.onPeerClosing = () => {
        clearTimeout(timer)
        resolve()
      }
    })
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

  /** For the parts: something has settled. */
  checkIdle(): void {
    const { idle } = this
    if (idle === undefined || (this.state !== 'closed' && (this.calls.size > 0 || this.serving.owes))) return
    this.idle = undefined
    idle()
  }

  // ── heartbeat ──────────────────────────────────────────────────────────────────────────────────

  /** Both sides' hello agreed on it. */
  startHeartbeat(milliseconds: number): void {
    // What was agreed may have been agreed with a peer that is gone by now.
    if (milliseconds <= 0 || this.heartbeatTimer || this.state === 'closed') return
    const period = Math.min(MAX_TIMER, Math.max(MIN_HEARTBEAT, milliseconds))
    // Later than what came while this process stood still, which is read after the timers.
    this.heartbeatTimer = setInterval(() => setTimeout(() => this.beat(period), MIN_HEARTBEAT), period)
    this.heartbeatTimer.unref()
  }

  private beat(milliseconds: number): void {
    if (++this.silent < 1 || this.state === 'closed') return
    // A single ping may be lost.
    if (this.silent <= (this.connection.lossy === true ? PINGS : 1)) return this.tell('$/ping', {})
    this.abort(
      new TalkwireError(
        'CONNECTION_LOST',
        `nothing was heard from the peer for ${this.silent * milliseconds} ms; check whether it runs and the network, or raise heartbeat`,
        { outcome: 'maybe-ran' },
      ),
    )
  }

  // ── for the parts ──────────────────────────────────────────────────────────────────────────────

  get referenceLimit(): number {
    return this.limits.references
  }

  get descriptorLimit(): number {
    return this.limits.descriptors
  }

  exportDescriptor(value: unknown): number | undefined {
    if (!(value instanceof Descriptor)) return undefined
    if (this.descriptors) return this.descriptors.export(value)
    throw new TalkwireError(
      'UNSUPPORTED',
      'this connection carries no descriptors; take unix: and pass { descriptors: true } to serve and to connect, on Linux with koffi',
    )
  }

  importDescriptor(number: number): Descriptor {
    if (this.descriptors) return this.descriptors.import(number)
    throw new TalkwireError('INVALID_MESSAGE', 'a descriptor on a connection that carries none')
  }

  giveBack(refs: [id: number, count: number][]): void {
    this.tell('$/release', { refs })
  }

  progress(id: Id, value: unknown): void {
    try {
      if (id !== NOBODY && this.state !== 'closed' && !this.congested) this.post(Kind.progress, id, '', value)
    } finally {
      if (this.descriptors) closeGiven(value)
    }
  }

  /** Sends an element of a stream; what it takes of the credit. */
  postElement(kind: Kind, id: Id, value: unknown, window: number | undefined): number {
    try {
      this.post(kind, id, '', value)
    } catch (reason) {
      closeGiven(value)
      throw reason
    }
    return this.wire.sent + weightOf(this.descriptors?.inMessage ?? 0, window ?? 0)
  }

  callerOf(call: Incoming): unknown {
    return this.options.callerOf?.(this, call)
  }

  /** Sends a message. Throws what the wire throws. */
  post(kind: Kind, id: Id, method: string, value: unknown, meta?: Meta): void {
    this.sequence++
    this.descriptors?.begin(kind !== Kind.error, kind === Kind.notify)
    if (this.answers && (kind === Kind.result || kind === Kind.error)) this.answers.keep(id, kind, value)
    try {
      if (!this.wire.send(kind, id, method, value, meta)) {
        this.congested = true
        if (this.connection.buffered > this.limits.outgoing) this.reading.outgrown(this.connection.buffered)
      }
    } catch (reason) {
      this.sequence--
      throw reason
    }
  }

  /** A message about a call whose loss changes nothing when the connection is ending. */
  hint(kind: Kind, id: Id, value: unknown): void {
    this.unlessEnding(() => this.post(kind, id, '', value))
  }

  /** A notification whose loss changes nothing when the connection is ending. */
  tell(method: string, params: unknown): void {
    this.unlessEnding(() => this.post(Kind.notify, null, method, params))
  }

  answerError(id: Id, error: TalkwireError): void {
    this.unlessEnding(() => {
      try {
        this.post(Kind.error, id, '', toWireError(error))
      } catch (reason) {
        if (isEnding(reason)) throw reason
        // Details that cannot be sent must not cost the caller its answer.
        this.post(
          Kind.error,
          id,
          '',
          toWireError(new TalkwireError('INVALID_OUTPUT', 'the error cannot be sent', { outcome: error.outcome })),
        )
      }
    })
  }

  unlessEnding(send: () => void): void {
    if (this.state === 'closed') return
    try {
      send()
    } catch (reason) {
      if (!isEnding(reason)) throw reason
    }
  }

  /** Whether a call may be made. Throws CONNECTION_CLOSED or LIMIT_EXCEEDED, `not-sent`. */
  checkRoom(): void {
    const { limits } = this
    if (this.state !== 'open' || this.peerClosing) throw this.closedError()
    if (this.calls.size >= limits.calls)
      throw new TalkwireError(
        'LIMIT_EXCEEDED',
        `${limits.calls} calls are in flight on this connection; wait for some, or raise limits.calls`,
      )
    if (this.congested && this.connection.buffered > limits.outgoing)
      throw new TalkwireError('LIMIT_EXCEEDED', `${this.connection.buffered} bytes wait for a peer that reads too slowly (limits.outgoing)`)
  }

  private closedError(): TalkwireError {
    if (this.state === 'handshake') return new TalkwireError('UNAVAILABLE', 'the connection is not open yet; await connect() first')
    return new TalkwireError('CONNECTION_CLOSED', 'the connection is closed; connect() makes a new one', { cause: this.closeCause })
  }

  /** A promise while the connection takes no more. */
  full(): Promise<void> | undefined {
    if (!this.congested) return undefined
    if (!this.drain) {
      let resolve!: () => void
      const promise = new Promise<void>((done) => {
        resolve = done
      })
      this.drain = { promise, resolve }
    }
    return this.drain.promise
  }

  guarded(what: string, action: () => void): void {
    try {
      action()
    } catch (reason) {
      this.options.onError?.(reason, what)
    }
  }
}

const isEnding = (reason: unknown): boolean => reason instanceof TalkwireError && reason.code.startsWith('CONNECTION_')
