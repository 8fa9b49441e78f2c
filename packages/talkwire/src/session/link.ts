/** What is under a client: a session, and when that is lost the next one. */
import type { CallOptions, Contract, Listener, Unsubscribe } from '../contract/contract.js'
import type { StandardSchema } from '../contract/standard-schema.js'
import type { Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import type { Pending } from './calls.js'
import { remaining } from './deadline.js'
import { closeAll, lend } from './descriptors.js'
import { isKeeper } from './once.js'
import type { Session } from './session.js'
import { LOST } from './subscriptions.js'

export interface ReconnectOptions {
  /** Milliseconds before the first new attempt; doubled each time, with jitter. Default 50. */
  readonly initial?: number
  /** Longest pause between attempts. Default 2,000. */
  readonly max?: number
  /** Milliseconds after which waiting calls fail; a later call tries anew. Default 30,000. */
  readonly giveUp?: number
}

/** A call on its way to the connection. */
export interface ClientCall {
  readonly method: string
  /** The input, or for a service without a contract the array of arguments. */
  readonly input: unknown
  readonly options: CallOptions | undefined
}
export type ClientInterceptor = (call: ClientCall, next: (call: ClientCall) => any) => any

/** What became of a client's connection. */
export interface ConnectionChange {
  /**
   * `open`: it is there, for the first time or again, and subscriptions are healed. `lost`: it is gone, and will be made again
   * when a call or a subscription wants it. `closed`: it is gone for good.
   */
  readonly state: 'open' | 'lost' | 'closed'
  /** Why it is gone; undefined where a side closed on purpose. */
  readonly cause: TalkwireError | undefined
}

export interface LinkOptions {
  /** Opens a session that has said hello. Its events go to `onEvent`. `start`: somebody wants an answer, so the service may be started. */
  open(
    onEvent: (event: string, payload: unknown, lost: number, descriptors?: readonly Descriptor[]) => void,
    onClosed: (session: Session, cause: TalkwireError | undefined) => void,
    start: boolean,
  ): Promise<Session>
  readonly reconnect: ReconnectOptions | false
  readonly contract: Contract | undefined
  readonly interceptors: readonly ClientInterceptor[]
  readonly onError: (error: unknown, what: string) => void
  readonly onConnection?: ((change: ConnectionChange) => void) | undefined
}

/** What a client needs of what is under it. */
export type CallPath = Pick<Link, 'session' | 'unary' | 'stream' | 'upload' | 'notify' | 'on' | 'onEnded' | 'ended' | 'close'> & {
  readonly options: Pick<LinkOptions, 'contract' | 'interceptors'>
}

/** Milliseconds that close() waits for calls in flight and for the peer's own end. */
const CLOSE_TIMEOUT = 5_000

interface Subscription {
  readonly listeners: Set<Listener<any>>
  lost: number
  /** The service takes it. */
  accepted?: Promise<unknown>
}

export class Link {
  session: Session | undefined
  private opening: Promise<Session> | undefined
  private closed = false
  private told: ConnectionChange['state'] | undefined
  private end: { promise: Promise<TalkwireError | undefined>; resolve(cause: TalkwireError | undefined): void } | undefined
  private lastCause: TalkwireError | undefined
  /** A call waits, not only a subscription. */
  private wanted = true
  private stopWaiting: (() => void) | undefined
  private endings: Set<(cause: TalkwireError | undefined) => void> | undefined
  private readonly subscriptions = new Map<string, Subscription>()

  constructor(readonly options: LinkOptions) {}

  /** The open session, or the one that is being opened. Rejects with what kept it from opening. */
  ready(): Promise<Session> {
    if (this.session?.isOpen) return Promise.resolve(this.session)
    if (this.closed) return Promise.reject(new TalkwireError('CONNECTION_CLOSED', 'this client is closed; connect() makes a new one'))
    if (this.session && this.options.reconnect === false) return Promise.reject(this.lostError())
    this.wanted = true
    return this.reconnected()
  }

  private reconnected(): Promise<Session> {
    return (this.opening ??= this.reopen().finally(() => {
      this.opening = undefined
    }))
  }

  /** The first connection: one attempt, its error is the caller's. */
  async open(): Promise<this> {
    this.adopt(await this.attempt())
    this.tell('open')
    return this
  }

  async close(): Promise<void> {
    this.closed = true
    this.stopWaiting?.()
    await this.session?.close(CLOSE_TIMEOUT)
    this.tell('closed')
  }

  /** Resolves when there is no connection and will be none, with the reason unless a side closed on purpose. */
  get ended(): Promise<TalkwireError | undefined> {
    if (!this.end) {
      let resolve!: (cause: TalkwireError | undefined) => void
      const promise = new Promise<TalkwireError | undefined>((done) => (resolve = done))
      this.end = { promise, resolve }
      if (this.told === 'closed') resolve(this.lastCause)
    }
    return this.end.promise
  }

  /** As `ended`, for who may lose interest before: a promise would keep it. Returns how. */
  onEnded(action: (cause: TalkwireError | undefined) => void): () => void {
    const endings = (this.endings ??= new Set())
    if (this.told === 'closed') action(this.lastCause)
    else endings.add(action)
    return () => endings.delete(action)
  }

  /** The first `closed` is the last word. */
  private tell(state: ConnectionChange['state'], cause?: TalkwireError): void {
    if (state === this.told || this.told === 'closed') return
    this.told = state
    if (state === 'closed') {
      this.lastCause = cause
      this.end?.resolve(cause)
      for (const action of this.endings ?? []) action(cause)
    }
    try {
      this.options.onConnection?.({ state, cause })
    } catch (reason) {
      this.options.onError(reason, 'onConnection')
    }
  }

  unary(
    method: string,
    params: unknown,
    options: CallOptions | undefined,
    schema: StandardSchema | undefined,
    idempotent: boolean,
  ): Promise<unknown> {
    const { session } = this
    if (session !== undefined && session.isOpen)
      return session.call(method, params, options, schema, idempotent || options?.idempotent === true)
    return this.later(options, (ready, left) => ready.call(method, params, left, schema, idempotent || options?.idempotent === true))
  }

  /**
   * A call while there is no connection waits for the next, but not longer than its own deadline and signals, those of `from`
   * included. `action` gets the options with what is left of the time.
   */
  private async later<T>(
    options: CallOptions | undefined,
    action: (session: Session, options: CallOptions | undefined) => Promise<T>,
  ): Promise<T> {
    const deadline = options?.timeout === undefined ? undefined : performance.now() + options.timeout
    const session = await this.readyFor(options)
    return action(session, until(deadline, options))
  }

  private async readyFor(options: CallOptions | undefined): Promise<Session> {
    const signals = [options?.signal, options?.from?.signal].filter((each) => each !== undefined)
    for (const signal of signals) signal.throwIfAborted()
    const left = remaining(options)
    if (left === undefined && signals.length === 0) return this.ready()
    const stop = new AbortController()
    const waits = signals.map((signal) => rejectOn(signal, stop.signal))
    if (left !== undefined) waits.push(rejectAfter(left, stop.signal))
    try {
      return await Promise.race([this.ready(), ...waits])
    } finally {
      stop.abort()
    }
  }

  upload(
    method: string,
    input: NonNullable<Pending['input']>,
    options: CallOptions | undefined,
    schema: StandardSchema | undefined,
  ): Promise<unknown> {
    return this.later(options, (session, left) => session.calls.upload(method, input, left, schema))
  }

  stream(
    method: string,
    params: unknown,
    input: Pending['input'],
    options: CallOptions | undefined,
    schema: StandardSchema | undefined,
  ): AsyncIterableIterator<unknown> {
    if (this.session?.isOpen) return this.session.calls.stream(method, params, input, options, schema)
    return lazily(this.later(options, async (session, left) => session.calls.stream(method, params, input, left, schema)))
  }

  /** Undefined once the message is taken, a promise while the connection is full. */
  notify(method: string, params: unknown): Promise<void> {
    if (this.session?.isOpen) return this.session.notify(method, params)
    return this.later(undefined, (session) => session.notify(method, params))
  }

  async on(event: string, listener: Listener<any>): Promise<Unsubscribe> {
    if (typeof listener !== 'function') throw new TypeError('on(event, listener) takes a function')
    let subscription = this.subscriptions.get(event)
    if (!subscription) this.subscriptions.set(event, (subscription = { listeners: new Set(), lost: 0 }))
    subscription.listeners.add(listener)
    try {
      await (subscription.accepted ??= this.subscribed(event))
    } catch (reason) {
      this.dropListener(event, listener)
      throw reason
    }
    const off = async (): Promise<void> => {
      if (this.dropListener(event, listener) && this.session?.isOpen) await ask(this.session, 'rpc.off', event)
    }
    return Object.assign(off, { [Symbol.asyncDispose]: off })
  }

  private subscribed(event: string): Promise<unknown> {
    if (this.session?.isOpen) return ask(this.session, 'rpc.on', event)
    return this.later(undefined, (session) => ask(session, 'rpc.on', event))
  }

  /** True when it was the last. */
  private dropListener(event: string, listener: Listener<any>): boolean {
    const subscription = this.subscriptions.get(event)
    if (!subscription?.listeners.delete(listener) || subscription.listeners.size > 0) return false
    this.subscriptions.delete(event)
    return true
  }

  private readonly onEvent = (event: string, payload: unknown, lost: number, descriptors?: readonly Descriptor[]): void => {
    const subscription = this.subscriptions.get(event)
    if (!subscription) return closeAll(descriptors)
    if (payload === LOST) {
      subscription.lost += lost
      return
    }
    const info = { lost: subscription.lost }
    subscription.lost = 0
    const member = this.options.contract?.members[event]
    void this.deliver(event, payload, member?.kind === 'event' ? member.payload : undefined, subscription, info, descriptors)
  }

  private deliver(
    event: string,
    payload: unknown,
    schema: StandardSchema | undefined,
    { listeners }: Subscription,
    info: { lost: number },
    descriptors: readonly Descriptor[] | undefined,
  ): void {
    const hand = (valid: unknown): void => {
      const results: unknown[] = []
      const kept = descriptors !== undefined && [...listeners].some(isKeeper)
      for (const listener of listeners) {
        try {
          const result: unknown = listener(valid, info)
          if (descriptors) results.push(result)
        } catch (reason) {
          this.options.onError(reason, event)
        }
      }
      if (descriptors && !kept) lend(descriptors, results)
    }
    if (!schema) return hand(payload)
    const check = (result: { value?: unknown; issues?: unknown }): void => {
      if (result.issues) {
        closeAll(descriptors)
        this.options.onError(
          new TalkwireError('INVALID_MESSAGE', `the payload of the event "${event}" does not fit its schema`, { details: result.issues }),
          event,
        )
      } else hand(result.value)
    }
    const failed = (reason: unknown): void => {
      closeAll(descriptors)
      this.options.onError(reason, event)
    }
    const result = schema['~standard'].validate(payload)
    if (result instanceof Promise) result.then(check, failed)
    else check(result)
  }

  private async attempt(): Promise<Session> {
    const session = await this.options.open(this.onEvent, this.onClosed, this.wanted)
    this.wanted = false
    if (this.options.reconnect !== false) session.calls.onUnfinished = (call) => void this.repeat(call)
    if (this.closed) {
      await session.close()
      throw new TalkwireError('CONNECTION_CLOSED', 'this client was closed while it connected')
    }
    return session
  }

  private async reopen(): Promise<Session> {
    const { initial = 50, max = 2_000, giveUp = 30_000 } = this.options.reconnect || {}
    const start = performance.now()
    for (let pause = initial; ; pause = Math.min(max, pause * 2)) {
      try {
        const session = await this.attempt()
        this.adopt(session)
        await this.heal(session)
        if (session.isOpen) this.tell('open')
        return session
      } catch (reason) {
        if (this.closed)
          throw new TalkwireError('CONNECTION_CLOSED', 'this client was closed before the service was back', { cause: reason })
        const error = TalkwireError.from(reason)
        const hopeless = error.code === 'CONTRACT_MISMATCH' || error.code === 'UNAUTHENTICATED' || error.code === 'PERMISSION_DENIED'
        if (hopeless || performance.now() - start + pause > giveUp) throw error.withOutcome('not-sent')
      }
      await this.sleep(pause * (0.5 + Math.random() / 2))
    }
  }

  private sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds)
      this.stopWaiting = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  private async heal(session: Session): Promise<void> {
    await Promise.all([...this.subscriptions.keys()].map((event) => ask(session, 'rpc.on', event)))
  }

  /** A call that a lost connection left behind and that may run again, within the time and the signals that it had. */
  private async repeat(call: Pending): Promise<void> {
    try {
      const session = await this.readyFor(until(call.deadline, call.options))
      call.options = until(call.deadline, call.options)
      session.calls.start(call)
    } catch (reason) {
      call.reject(call.idempotent && reason instanceof TalkwireError ? reason.withOutcome('maybe-ran') : reason)
    }
  }

  adopt(session: Session): void {
    this.session = session
    // It may have ended in the moment between.
    if (session.state === 'closed') this.onClosed(session, session.cause)
  }

  private readonly onClosed = (session: Session, cause: TalkwireError | undefined): void => {
    this.lastCause = cause
    if (session !== this.session) return
    const final = this.closed || this.options.reconnect === false
    this.tell(final ? 'closed' : 'lost', cause)
    if (final) return
    // Subscriptions are a standing wish: they are healed without waiting for a call. But a service that ended is not started for them.
    if (this.subscriptions.size > 0) void this.reconnected().catch((reason: unknown) => this.options.onError(reason, 'reconnect'))
  }

  private lostError(): TalkwireError {
    return new TalkwireError(
      'CONNECTION_CLOSED',
      `the connection is gone${this.lastCause ? `: ${this.lastCause.message}` : ''}; connect() makes a new one`,
      {
        cause: this.lastCause,
      },
    )
  }
}

/** Begins or ends an event. Who knows no subscriptions tells everybody what it tells. */
async function ask(session: Session, method: 'rpc.on' | 'rpc.off', event: string): Promise<void> {
  try {
    await session.call(method, { event }, undefined, undefined, true)
  } catch (reason) {
    if (!session.strange || (reason as TalkwireError).code !== 'METHOD_NOT_FOUND') throw reason
  }
}

/** The options with what is left of the time. Throws DEADLINE_EXCEEDED. */
export function until(deadline: number | undefined, options: CallOptions | undefined): CallOptions | undefined {
  if (deadline === undefined) return options
  const timeout = deadline - performance.now()
  if (timeout <= 0) throw new TalkwireError('DEADLINE_EXCEEDED', 'the deadline passed before there was a connection')
  return { ...options, timeout }
}

function rejectOn(signal: AbortSignal, stop: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true, signal: stop }))
}

function rejectAfter(milliseconds: number, stop: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setTimeout(
      () => reject(new TalkwireError('DEADLINE_EXCEEDED', `no connection within ${milliseconds} ms; start the service, or raise timeout`)),
      milliseconds,
    )
    stop.addEventListener('abort', () => clearTimeout(timer), { once: true })
  })
}

/** An iterator that is still to come. */
export function lazily(coming: Promise<AsyncIterableIterator<unknown>>): AsyncIterableIterator<unknown> {
  coming.catch(() => {})
  return {
    next: async () => (await coming).next(),
    return: async () => (await coming).return!(),
    [Symbol.asyncIterator]() {
      return this
    },
  }
}

const ofSessions = new WeakMap<Session, Link>()

/** The other direction of a connection, for `ctx.caller`: it ends with that connection. */
export function linkOver(session: Session, contract: Contract | undefined, onError: LinkOptions['onError']): Link {
  let link = ofSessions.get(session)
  if (!link) {
    link = new Link({
      open: () =>
        Promise.reject(
          new TalkwireError('CONNECTION_CLOSED', 'the connection on which this was asked is gone; whoever connected can connect again'),
        ),
      reconnect: false,
      interceptors: [],
      contract,
      onError,
    })
    link.adopt(session)
    ofSessions.set(session, link)
  }
  return link
}

/** For whoever made the session: its link, where somebody asked for one, ends too. */
export const linkEnded = (session: Session): void => ofSessions.get(session)?.adopt(session)
