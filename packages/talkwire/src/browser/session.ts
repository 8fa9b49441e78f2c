/**
 * A session in a page: what session/ is in Node, for the side that connects by WebSocket to a Talkwire service. Left out is what
 * pages never meet: accepting, plain peers, batches, descriptors, other codecs, wires that lose messages. spec/wire.md.
 */
import type { CodecContext } from '../codecs/codec.js'
import { revive, tagged } from '../codecs/json-values.js'
import type { CallOptions } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { Id, Meta } from '../protocols/message.js'
import type { Pending } from '../session/calls.js'
import { inheritMetadata, remaining } from '../session/deadline.js'
import { after } from '../timers.js'
import { asInput } from '../session/params.js'
import type { Service } from '../session/service.js'
import { Credit, pump, StreamReader } from '../session/stream.js'
import { LOST } from '../session/subscriptions.js'
import { validate } from '../session/validate.js'
import { fromWire, toWire } from './errors.js'
import { ReferenceTable } from './references.js'
import { Serving, type CallContext } from './serving.js'
import type { Socket, SocketSink } from './socket.js'

/** As in Node, as far as they matter to a page. */
export type Limits = Pick<
  import('../session/limits.js').Limits,
  'message' | 'depth' | 'calls' | 'references' | 'window' | 'outgoing' | 'handshake'
>

export interface BrowserSessionOptions {
  readonly limits: Limits
  readonly service: Service | undefined
  readonly callerOf: (session: BrowserSession, call: CallContext) => unknown
  readonly onEvent: (event: string, payload: unknown, lost: number) => void
  readonly onError: (error: unknown, what: string) => void
  readonly onClosed: (session: BrowserSession, cause: TalkwireError | undefined) => void
}

/** Bytes that may wait in the browser before streams wait, and milliseconds between looks: nothing tells when they have left. */
const HIGH = 256 * 1024
const LOOK = 10
/** Milliseconds for the peer to say that it sends no more calls. */
const FAREWELL = 1000
const EMPTY: unknown[] = []

export class BrowserSession implements SocketSink {
  state: 'open' | 'closing' | 'closed' = 'open'
  cause: TalkwireError | undefined
  peerStreams: Set<string> | undefined
  /** Of its hello: bytes of input that it takes before it grants more. */
  peerWindow = Infinity
  onUnfinished: ((call: Pending) => void) | undefined
  socket!: Socket
  readonly references: ReferenceTable
  readonly peer: { readonly address: string }
  private readonly context: CodecContext
  private readonly serving: Serving
  private readonly pending = new Map<Id, Pending>()
  private lastId = 0
  private peerClosing = false
  private closing: Promise<void> | undefined
  private changed: (() => void) | undefined
  private heard = 0
  private heartbeat: ReturnType<typeof setInterval> | undefined

  constructor(
    address: string,
    readonly options: BrowserSessionOptions,
  ) {
    const { limits } = options
    this.peer = { address }
    this.references = new ReferenceTable(this, limits.references)
    this.context = { depth: limits.depth, extended: false, binary: false, references: this.references }
    this.serving = new Serving(this)
  }

  get isOpen(): boolean {
    return this.state === 'open' && !this.peerClosing
  }

  /** Agreed by hello. */
  agree(hello: { codec?: unknown; attachments?: unknown; window?: unknown; heartbeat?: unknown; streams?: unknown }): void {
    this.context.extended = true
    this.context.binary = hello.attachments === true
    if (typeof hello.window === 'number') this.peerWindow = hello.window
    if (Array.isArray(hello.streams)) this.peerStreams = new Set(hello.streams as string[])
    const silence = Number(hello.heartbeat)
    if (silence > 0) this.heartbeat = setInterval(() => this.beat(), silence)
  }

  private beat(): void {
    if (++this.heard > 2) this.abort(new TalkwireError('CONNECTION_LOST', 'the peer is silent', { outcome: 'maybe-ran' }))
    else if (this.heard > 1) this.tell('$/ping', {})
  }

  // ── sending ──────────────────────────────────────────────────────────────────────────────────────

  /** One message, with `value` under `key`. Returns its bytes. */
  post(head: string, key: string, value: unknown, tail = ''): number {
    const beside = { attachments: [] as Uint8Array[] }
    const text = JSON.stringify(tagged(value, 1, beside, this.context))
    return this.socket.send(`{"jsonrpc":"2.0",${head},"${key}":${text}${tail}}`, beside.attachments)
  }

  /** One of a call's own messages. */
  about(id: Id, what: string, key: string, value: unknown): number {
    return this.post(`"method":"$/${what}","params":{"${what === 'progress' ? 'token' : 'id'}":${JSON.stringify(id)}`, key, value, '}')
  }

  /** As `about`, where it does not matter any more once the connection is gone. */
  hint(id: Id, what: string, key: string, value: unknown): void {
    try {
      if (this.state !== 'closed') this.about(id, what, key, value)
    } catch {}
  }

  tell(method: string, params: unknown): void {
    if (this.state !== 'closed') this.post(`"method":${JSON.stringify(method)}`, 'params', params ?? EMPTY)
  }

  full(): Promise<void> | undefined {
    if (this.socket.buffered <= HIGH || this.state === 'closed') return undefined
    return new Promise((resolve) => setTimeout(resolve, LOOK))
  }

  private checkRoom(): void {
    const { outgoing } = this.options.limits
    if (this.socket.buffered > outgoing)
      throw new TalkwireError('LIMIT_EXCEEDED', `more than ${outgoing} bytes wait for the peer (limits.outgoing)`)
  }

  async notify(method: string, params: unknown): Promise<void> {
    this.checkRoom()
    if (!this.isOpen) throw this.closedError()
    this.tell(method, params)
    await this.full()
  }

  // ── calling ──────────────────────────────────────────────────────────────────────────────────────

  /** One answer; with `input` as a stream where there is one. */
  call(call: CallRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.start({ ...call, resolve, reject } as Pending)
    })
  }

  /** Without a schema: reserved methods and references. */
  ask(method: string, params: unknown, options?: CallOptions): Promise<unknown> {
    return this.call({ method, params, options })
  }

  /** What goes wrong is thrown where it is iterated. */
  stream(request: CallRequest): AsyncIterableIterator<unknown> {
    const { method, schema } = request
    const reader = new StreamReader({
      window: this.options.limits.window,
      grant: (bytes) => {
        if (this.pending.has(call.sequence)) this.hint(call.sequence, 'credit', 'bytes', bytes)
      },
      stop: () => this.giveUp(call.sequence, new TalkwireError('CANCELLED', 'the consumer of the stream stopped')),
      validate: schema && ((value) => validate(schema, value, method, 'INVALID_OUTPUT', 'ran')),
    })
    const call = { ...request, reader } as Pending
    this.start(call)
    return reader
  }

  /** Never throws: the call is rejected. */
  start(call: Pending): void {
    try {
      const meta = JSON.stringify(this.prepare(call))
      const id = ++this.lastId
      const head = `"id":${id},"method":${JSON.stringify(call.method)}`
      this.post(meta === '{}' ? head : `${head},"meta":${meta}`, 'params', call.params ?? EMPTY)
      call.sequence = id
      this.pending.set(id, call)
      if (call.options) this.watch(id, call)
      if (call.input) void this.pumpInput(id, call, call.input)
    } catch (reason) {
      settleFailed(call, reason)
    }
  }

  private prepare(call: Pending): { readonly [K in keyof Meta]: Meta[K] | undefined } {
    const { method, input, reader, options } = call
    this.checkRoom()
    if (!this.isOpen) throw this.closedError()
    for (const signal of signalsOf(options)) signal.throwIfAborted()
    if (input !== undefined && !(Object(input) === input && (Symbol.asyncIterator in input || Symbol.iterator in input)))
      throw new TypeError(`"${method}" takes a stream as its input; pass an iterable`)
    const timeout = remaining(options)
    if (timeout !== undefined && timeout <= 0) throw new TalkwireError('DEADLINE_EXCEEDED', 'the deadline passed before the call was sent')
    if (timeout !== undefined) call.deadline ??= performance.now() + timeout
    return {
      timeout,
      metadata: options && inheritMetadata(options),
      input: input && true,
      credit: reader && this.options.limits.window,
    }
  }

  private watch(id: number, call: Pending): void {
    const left = remaining(call.options)
    const timer = after(left, () =>
      this.giveUp(
        id,
        new TalkwireError('DEADLINE_EXCEEDED', `"${call.method}" did not answer within ${Math.round(left!)} ms; raise timeout`, {
          outcome: 'maybe-ran',
        }),
      ),
    )
    const signals = signalsOf(call.options)
    const onAbort = ({ target }: Event): void => this.giveUp(id, (target as AbortSignal).reason)
    for (const each of signals) each.addEventListener('abort', onAbort)
    call.cleanup = () => {
      clearTimeout(timer)
      for (const each of signals) each.removeEventListener('abort', onAbort)
    }
  }

  private giveUp(id: Id, reason: unknown): void {
    const call = this.take(id)
    if (!call) return
    this.hint(id, 'cancelRequest', 'reason', null)
    settleFailed(call, reason)
  }

  private async pumpInput(id: number, call: Pending, input: NonNullable<Pending['input']>): Promise<void> {
    const credit = (call.credit = new Credit(this.peerWindow))
    const stopped = (): boolean => !this.pending.has(id)
    try {
      const send = (value: unknown): number => this.about(id, 'input', 'value', value)
      if ((await pump(input, { credit, stopped, full: () => this.full(), send })) && !stopped()) this.hint(id, 'end', 'error', null)
    } catch (reason) {
      this.hint(id, 'end', 'error', toWire(new TalkwireError('CANCELLED', 'the input stream failed')))
      const failed = this.take(id)
      if (failed) settleFailed(failed, reason)
    }
  }

  private take(id: Id): Pending | undefined {
    const call = this.pending.get(id)
    if (this.pending.delete(id)) this.changed?.()
    return call
  }

  // ── receiving ────────────────────────────────────────────────────────────────────────────────────

  message(text: string, attachments: readonly Uint8Array[], size: number): void {
    this.heard = 0
    if (this.state === 'closed') return
    const message = JSON.parse(text) as { id?: Id; method?: unknown; params?: unknown; result?: unknown; error?: unknown; meta?: Meta }
    const read = (value: unknown): unknown => revive(value, 1, { all: attachments, taken: 0 }, this.context)
    const { id, method, meta } = message
    if (typeof method !== 'string') return this.onAnswer(id!, message, read)
    const params = read(message.params)
    if (id !== undefined) this.serving.onCall(id, method, params, meta)
    else if (method.startsWith('$/')) this.onControl(method.slice(2), (params ?? {}) as Control, size)
    else if (!this.serving.onNotify(method, params)) this.guarded(method, () => this.options.onEvent(method, asInput(params), 0))
  }

  private onAnswer(id: Id, message: { result?: unknown; error?: unknown }, read: (value: unknown) => unknown): void {
    const call = this.take(id)
    if (!call) return
    try {
      if (message.error) {
        const error = fromWire(read(message.error) as object)
        // It crossed with the peer's `$/close`.
        const repeat = error.code === 'UNAVAILABLE' && error.outcome === 'not-sent' && !this.isOpen && this.isRepeatable(call)
        if (!repeat) throw error
        call.cleanup?.()
        return this.onUnfinished!(call)
      }
      const value = read(message.result)
      call.cleanup?.()
      if (call.reader) call.reader.end()
      else call.resolve(call.schema ? validate(call.schema, value, call.method, 'INVALID_OUTPUT', 'ran') : value)
    } catch (reason) {
      const unreadable = !message.error && reason instanceof TalkwireError
      settleFailed(call, unreadable ? reason.withOutcome('ran') : reason)
    }
  }

  private onControl(what: string, params: Control, size: number): void {
    const { id = null, token = null, value, bytes, error, event, count, refs } = params
    const call = this.pending.get(id)
    if (what === 'item') {
      if (!call) return
      if (!call.reader)
        return this.giveUp(
          id,
          new TalkwireError('INVALID_OUTPUT', `"${call.method}" answers with a stream; iterate it`, { outcome: 'ran' }),
        )
      if (!call.reader.push(value, size)) throw new TalkwireError('INVALID_MESSAGE', 'a stream element without credit')
    } else if (what === 'inputCredit') call?.credit?.add(bytes)
    else if (what === 'progress') this.guarded(what, () => this.pending.get(token)?.options?.onProgress?.(value))
    else if (what === 'ping') this.tell('$/pong', {})
    else if (what === 'release') this.references.released(refs)
    else if (what === 'lost') this.options.onEvent(String(event), LOST, Number(count))
    else if (what === 'close') this.onPeerClosing()
    else this.serving.onControl(what, id, value, bytes, error, size)
  }

  guarded(what: string, action: () => void): void {
    try {
      action()
    } catch (reason) {
      this.options.onError(reason, what)
    }
  }

  // ── for handlers ────────────────────────────────────────────────────────────

  answer(id: Id, what: 'result' | 'error', value: unknown): void {
    if (this.state !== 'closed') this.post(`"id":${JSON.stringify(id)}`, what, value)
  }

  /** What the peer is too slow for is left out. */
  progress(id: Id | undefined, value: unknown): void {
    if (id !== undefined && this.socket.buffered <= HIGH) this.hint(id, 'progress', 'value', value)
  }

  // ── ending ───────────────────────────────────────────────────────────────────────────────────────

  private onPeerClosing(): void {
    const first = !this.peerClosing
    this.peerClosing = true
    this.changed?.()
    if (first) void this.close()
  }

  close(timeout?: number): Promise<void> {
    return (this.closing ??= this.closeNow(timeout))
  }

  private async closeNow(timeout: number | undefined): Promise<void> {
    if (this.state === 'closed') return
    this.tell('$/close', {})
    this.state = 'closing'
    this.serving.stopStreams()
    const timer = after(timeout, () =>
      this.abort(new TalkwireError('CONNECTION_CLOSED', 'calls were still in flight', { outcome: 'maybe-ran' })),
    )
    await this.until(() => this.pending.size === 0 && this.serving.size === 0)
    const farewell = setTimeout(() => this.onPeerClosing(), FAREWELL)
    await this.until(() => this.peerClosing)
    clearTimeout(farewell)
    // What was waited for may have been its end.
    if ((this.state as string) !== 'closed') this.socket.close()
    await this.until(() => false)
    clearTimeout(timer)
  }

  /** Something may be as it is waited for. */
  look(): void {
    this.changed?.()
  }

  /** Resolves when it is so, or the connection is closed. */
  private until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.changed = () => {
        if (this.state === 'closed' || condition()) resolve()
      }
      this.changed()
    })
  }

  abort(cause: TalkwireError): void {
    this.socket.abort(cause)
  }

  closed(cause?: TalkwireError): void {
    if (this.state === 'closed') return
    // A Talkwire peer that closes on purpose says $/close first.
    if (!cause && !this.peerClosing && this.state === 'open')
      cause = new TalkwireError('CONNECTION_LOST', 'the peer is gone, and did not say so')
    this.state = 'closed'
    this.cause = cause
    clearInterval(this.heartbeat)
    this.options.onClosed(this, cause)
    const calls = [...this.pending.values()]
    this.pending.clear()
    for (const call of calls)
      if (call.idempotent && this.isRepeatable(call)) {
        call.cleanup?.()
        this.onUnfinished!(call)
      } else settleFailed(call, (cause ?? this.closedError()).withOutcome('maybe-ran'))
    this.serving.abandon()
    this.references.clear()
    this.changed?.()
  }

  private isRepeatable(call: Pending): boolean {
    return this.onUnfinished !== undefined && !call.reader && !call.input
  }

  private closedError(): TalkwireError {
    return new TalkwireError('CONNECTION_CLOSED', 'the connection was closed', { cause: this.cause })
  }
}

/** A call as its client makes it. */
export type CallRequest = Pick<Pending, 'method' | 'params'> & Partial<Pick<Pending, 'input' | 'options' | 'schema' | 'idempotent'>>

interface Control {
  readonly id?: Id
  readonly token?: Id
  readonly value?: unknown
  readonly bytes?: unknown
  readonly error?: unknown
  readonly event?: unknown
  readonly count?: unknown
  readonly refs?: unknown
}

const signalsOf = (options: CallOptions | undefined): AbortSignal[] =>
  [options?.signal, options?.from?.signal].filter((each) => each !== undefined)

function settleFailed(call: Pending, reason: unknown): void {
  call.cleanup?.()
  call.credit?.notify()
  if (call.reader) call.reader.fail(reason)
  else call.reject?.(reason)
}
