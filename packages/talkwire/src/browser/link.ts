/** What is under a client of a page: a session, and when that is lost the next one. session/link.ts in small. */
import type { CallOptions, Contract, Listener, Unsubscribe } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { Pending } from '../session/calls.js'
import { remaining } from '../session/deadline.js'
import type { ClientInterceptor, ConnectionChange, ReconnectOptions } from '../session/link.js'
import { LOST } from '../session/subscriptions.js'
import type { BrowserSession, CallRequest } from './session.js'

export type OnEvent = (event: string, payload: unknown, lost: number) => void
export type OnClosed = (session: BrowserSession, cause: TalkwireError | undefined) => void

export interface LinkOptions {
  /** Opens a session that has said hello. */
  open(onEvent: OnEvent, onClosed: OnClosed): Promise<BrowserSession>
  readonly reconnect: ReconnectOptions | false
  readonly contract: Contract | undefined
  readonly interceptors: readonly ClientInterceptor[]
  readonly onError: (error: unknown, what: string) => void
  readonly onConnection?: ((change: ConnectionChange) => void) | undefined
}

interface Subscription {
  readonly listeners: Set<Listener<any>>
  lost: number
  /** The service takes it. */
  accepted?: Promise<unknown>
}

/** Milliseconds that close() waits for calls in flight. */
const CLOSE_TIMEOUT = 5_000

export class BrowserLink {
  session: BrowserSession | undefined
  private opening: Promise<BrowserSession> | undefined
  private closed = false
  private state: ConnectionChange['state'] | undefined
  private cause: TalkwireError | undefined
  private readonly stop = new AbortController()
  private readonly endings = new Set<(cause: TalkwireError | undefined) => void>()
  private readonly subscriptions = new Map<string, Subscription>()

  constructor(readonly options: LinkOptions) {}

  /** One attempt; its error is the caller's. */
  async open(): Promise<this> {
    await this.attempt()
    this.tell('open')
    return this
  }

  async close(): Promise<void> {
    this.closed = true
    this.stop.abort()
    await this.session?.close(CLOSE_TIMEOUT)
    this.tell('closed')
  }

  get ended(): Promise<TalkwireError | undefined> {
    return new Promise((resolve) => this.onEnded(resolve))
  }

  onEnded(action: (cause: TalkwireError | undefined) => void): () => void {
    if (this.state === 'closed') action(this.cause)
    else this.endings.add(action)
    return () => this.endings.delete(action)
  }

  private tell(state: ConnectionChange['state'], cause?: TalkwireError): void {
    if (state === this.state || this.state === 'closed') return
    this.state = state
    this.cause = cause
    if (state === 'closed') for (const action of this.endings) action(cause)
    this.guarded('onConnection', () => this.options.onConnection?.({ state, cause }))
  }

  private guarded(what: string, action: () => unknown): void {
    try {
      action()
    } catch (reason) {
      this.options.onError(reason, what)
    }
  }

  // ── calls ────────────────────────────────────────────────────────────────────────────────────────

  call(call: CallRequest): Promise<unknown> {
    return this.run(call.options, (session, options) => session.call({ ...call, options }))
  }

  notify(method: string, params: unknown): Promise<void> {
    return this.run(undefined, (session) => session.notify(method, params))
  }

  stream(call: CallRequest): AsyncIterableIterator<unknown> {
    if (this.session?.isOpen) return this.session.stream(call)
    const coming = this.run(call.options, async (session, options) => session.stream({ ...call, options }))
    coming.catch(() => {})
    return {
      next: async () => (await coming).next(),
      return: async () => (await coming).return!(),
      [Symbol.asyncIterator]() {
        return this
      },
    }
  }

  /** Now, or on the next connection, within the deadline and the signals that the call has. */
  private async run<T>(
    options: CallOptions | undefined,
    action: (session: BrowserSession, left: CallOptions | undefined) => Promise<T>,
  ): Promise<T> {
    if (this.session?.isOpen) return action(this.session, options)
    const deadline = options?.timeout === undefined ? undefined : performance.now() + options.timeout
    const session = await this.readyFor(options)
    return action(session, until(deadline, options))
  }

  private readyFor(options: CallOptions | undefined): Promise<BrowserSession> {
    const left = remaining(options)
    return new Promise((resolve, reject) => {
      const late = (): void => reject(new TalkwireError('DEADLINE_EXCEEDED', `no connection within ${left} ms; raise timeout`))
      const timer = left === undefined ? undefined : setTimeout(late, left)
      for (const signal of [options?.signal, options?.from?.signal]) {
        if (signal?.aborted) reject(signal.reason)
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      }
      this.ready()
        .then(resolve, reject)
        .finally(() => clearTimeout(timer))
    })
  }

  private async repeat(call: Pending): Promise<void> {
    try {
      const session = await this.readyFor(until(call.deadline, call.options))
      call.options = until(call.deadline, call.options)
      session.start(call)
    } catch (reason) {
      call.reject(call.idempotent && reason instanceof TalkwireError ? reason.withOutcome('maybe-ran') : reason)
    }
  }

  // ── connections ──────────────────────────────────────────────────────────────────────────────────

  private async ready(): Promise<BrowserSession> {
    if (this.session?.isOpen) return this.session
    if (this.closed || this.options.reconnect === false)
      throw new TalkwireError('CONNECTION_CLOSED', 'the connection is gone; connect() makes a new one', { cause: this.cause })
    return (this.opening ??= this.reopen(this.options.reconnect).finally(() => (this.opening = undefined)))
  }

  private async reopen({ initial = 50, max = 2_000, giveUp = 30_000 }: ReconnectOptions): Promise<BrowserSession> {
    const start = performance.now()
    for (let pause = initial; ; pause = Math.min(max, pause * 2)) {
      try {
        const session = await this.attempt()
        await Promise.all([...this.subscriptions.keys()].map((event) => session.ask('rpc.on', { event })))
        if (session.isOpen) this.tell('open')
        return session
      } catch (reason) {
        const error = TalkwireError.from(reason)
        if (this.closed || error.code === 'CONTRACT_MISMATCH' || performance.now() - start + pause > giveUp)
          throw error.withOutcome('not-sent')
      }
      await this.sleep(pause * (0.5 + Math.random() / 2))
    }
  }

  private sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      setTimeout(resolve, milliseconds)
      this.stop.signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  private async attempt(): Promise<BrowserSession> {
    const session = await this.options.open(this.onEvent, this.onClosed)
    if (this.closed) {
      await session.close()
      throw new TalkwireError('CONNECTION_CLOSED', 'the connection was closed')
    }
    if (this.options.reconnect !== false) session.onUnfinished = (call) => void this.repeat(call)
    this.adopt(session)
    return session
  }

  adopt(session: BrowserSession): void {
    this.session = session
    // It may have ended in the moment between.
    if (session.state === 'closed') this.onClosed(session, session.cause)
  }

  readonly onClosed: OnClosed = (session, cause) => {
    if (session !== this.session) return
    const final = this.closed || this.options.reconnect === false
    this.tell(final ? 'closed' : 'lost', cause)
    if (!final && this.subscriptions.size > 0) this.ready().catch((reason: unknown) => this.options.onError(reason, 'reconnect'))
  }

  // ── events ───────────────────────────────────────────────────────────────────────────────────────

  async on(event: string, listener: Listener<any>): Promise<Unsubscribe> {
    const subscription = this.subscriptions.get(event) ?? { listeners: new Set(), lost: 0 }
    this.subscriptions.set(event, subscription)
    subscription.listeners.add(listener)
    const drop = (): boolean =>
      subscription.listeners.delete(listener) && subscription.listeners.size === 0 && this.subscriptions.delete(event)
    try {
      await (subscription.accepted ??= this.call({ method: 'rpc.on', params: { event }, idempotent: true }))
    } catch (reason) {
      drop()
      throw reason
    }
    const off = async (): Promise<void> => {
      if (drop() && this.session?.isOpen) await this.session.ask('rpc.off', { event })
    }
    return Object.assign(off, { [Symbol.asyncDispose]: off })
  }

  private readonly onEvent: OnEvent = (event, payload, lost) => {
    const subscription = this.subscriptions.get(event)
    if (!subscription) return
    if (payload === LOST) return void (subscription.lost += lost)
    const info = { lost: subscription.lost }
    subscription.lost = 0
    const member = this.options.contract?.members[event]
    const schema = member?.kind === 'event' ? member.payload : undefined
    const hand = (result: { value?: unknown; issues?: unknown }): void => {
      for (const listener of subscription.listeners)
        this.guarded(event, () => {
          if (result.issues) throw new TalkwireError('INVALID_MESSAGE', `"${event}" does not fit its schema`, { details: result.issues })
          listener(result.value, info)
        })
    }
    const result = schema ? schema['~standard'].validate(payload) : { value: payload }
    if (result instanceof Promise) result.then(hand, (reason: unknown) => this.options.onError(reason, event))
    else hand(result)
  }
}

/** The options with what is left of the time. Throws DEADLINE_EXCEEDED. */
function until(deadline: number | undefined, options: CallOptions | undefined): CallOptions | undefined {
  if (deadline === undefined) return options
  const timeout = deadline - performance.now()
  if (timeout <= 0) throw new TalkwireError('DEADLINE_EXCEEDED', 'the deadline passed before the call was sent')
  return { ...options, timeout }
}
