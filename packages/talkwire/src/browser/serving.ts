/** What a page answers: functions that it passed on, and what it serves to its service. */
import type { Context } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import type { Id, Meta } from '../protocols/message.js'
import { after } from '../timers.js'
import { asInput } from '../session/params.js'
import type { Method } from '../session/service.js'
import { Credit, isIterable, pump, StreamReader } from '../session/stream.js'
import { isVisible, validate, visibleError } from '../session/validate.js'
import { fromWire, toWire } from './errors.js'
import type { BrowserSession } from './session.js'

/** A call being handled. */
interface Running {
  readonly id: Id | undefined
  readonly target: Method
  readonly meta: Meta
  readonly stop: AbortController
  input?: StreamReader
  credit?: Credit
}

export type CallContext = Pick<Context, 'method' | 'signal' | 'deadline' | 'metadata' | 'peer' | 'caller' | 'progress' | 'error'>

export class Serving {
  private readonly running = new Map<Id, Running>()

  constructor(private readonly session: BrowserSession) {}

  get size(): number {
    return this.running.size
  }

  onCall(id: Id, method: string, params: unknown, meta: Meta = {}): void {
    const { session } = this
    const { limits, service } = session.options
    if (session.state !== 'open') return this.refuse(id, new TalkwireError('UNAVAILABLE', 'this side is closing'))
    if (this.size >= limits.calls) return this.refuse(id, new TalkwireError('LIMIT_EXCEEDED', `${limits.calls} calls are in flight`))
    const handler = session.references.find(method)
    const target = service?.methods.get(method) ?? (handler && ({ name: method, handler, positional: true } as Method))
    if (!target) return this.refuse(id, new TalkwireError('METHOD_NOT_FOUND', `the page has no ${method}`))
    const call: Running = { id, target, meta, stop: new AbortController() }
    this.running.set(id, call)
    void this.run(call, params)
  }

  /** False: there is no such method. */
  onNotify(method: string, params: unknown): boolean {
    const target = this.session.options.service?.methods.get(method)
    if (target) void this.run({ id: undefined, target, meta: {}, stop: new AbortController() }, params)
    return target !== undefined
  }

  onControl(what: string, id: Id, value: unknown, bytes: unknown, error: unknown, size: number): void {
    const call = this.running.get(id)
    if (!call) return
    if (what === 'credit') call.credit?.add(bytes)
    else if (what === 'cancelRequest') stop(call, new TalkwireError('CANCELLED', 'the caller cancelled', { outcome: 'maybe-ran' }))
    else if (what === 'end') {
      if (error === undefined || error === null) call.input?.end()
      else call.input?.fail(new TalkwireError('CANCELLED', "the caller's input stream failed", { cause: fromWire(error) }))
    } else if (what === 'input' && call.input?.push(value, size) === false)
      throw new TalkwireError('INVALID_MESSAGE', 'a stream element without credit')
  }

  stopStreams(): void {
    for (const call of this.running.values())
      if (call.credit) stop(call, new TalkwireError('UNAVAILABLE', 'this side is closing', { outcome: 'maybe-ran' }))
  }

  abandon(): void {
    for (const call of this.running.values()) stop(call, new TalkwireError('CANCELLED', 'the caller is gone'))
    this.running.clear()
  }

  private async run(call: Running, params: unknown): Promise<void> {
    const { session } = this
    const { id, meta, stop: stopping } = call
    const timer = after(meta.timeout, () =>
      stop(call, new TalkwireError('DEADLINE_EXCEEDED', 'the deadline has passed', { outcome: 'maybe-ran' })),
    )
    try {
      const value = await this.invoke(call, params)
      if (isIterable(value)) await this.pump(call, value)
      stopping.signal.throwIfAborted()
      if (id !== undefined) session.answer(id, 'result', isIterable(value) ? null : value)
    } catch (reason) {
      const error = this.visible(call, reason)
      if (id !== undefined) this.refuse(id, error)
    }
    clearTimeout(timer)
    this.running.delete(id!)
    session.look()
  }

  private contextOf({ id, target, meta, stop: { signal } }: Running): CallContext {
    const { session } = this
    return {
      method: target.name,
      peer: session.peer,
      signal,
      deadline: meta.timeout === undefined ? undefined : performance.now() + meta.timeout,
      metadata: meta.metadata ?? {},
      get caller() {
        return session.options.callerOf(session, this)
      },
      progress: (value) => session.progress(id, value),
      error: (name, details, message = name) => new TalkwireError(name, message, { declared: true, outcome: 'ran', details }),
    }
  }

  private async invoke(call: Running, params: unknown): Promise<unknown> {
    const { session } = this
    const { handler, positional, input, inputStream, name } = call.target
    if (positional) return handler(...(Array.isArray(params) ? params : params === undefined ? [] : [params]))
    const ctx = this.contextOf(call)
    if (!inputStream)
      return handler(input ? await validate(input, asInput(params), name, 'INVALID_INPUT', 'not-sent') : asInput(params), ctx)
    if (!call.meta.input) throw visibleError('INVALID_INPUT', `"${name}" takes a stream as its input`)
    call.input = new StreamReader({
      window: session.options.limits.window,
      grant: (bytes) => session.hint(call.id!, 'inputCredit', 'bytes', bytes),
      stop: () => {},
      validate: input && ((value) => validate(input, value, name, 'INVALID_INPUT', 'maybe-ran')),
    })
    return handler(call.input, ctx)
  }

  private async pump(call: Running, source: AsyncIterable<unknown> | Iterable<unknown>): Promise<void> {
    const { session } = this
    await pump(source, {
      credit: (call.credit = new Credit(call.meta.credit ?? session.peerWindow)),
      stopped: () => call.stop.signal.aborted || session.state === 'closed',
      full: () => session.full(),
      send: (value) => session.about(call.id!, 'item', 'value', value),
    })
  }

  /** What the caller may see of it. */
  private visible({ stop: { signal }, target }: Running, reason: unknown): TalkwireError {
    if (signal.aborted) return signal.reason as TalkwireError
    const error = reason instanceof TalkwireError ? reason : undefined
    if (error && (isVisible(error) || (error.declared && (target.errors?.has(error.code) ?? true)))) return error
    this.session.options.onError(reason, target.name)
    return new TalkwireError('INTERNAL', 'internal error', { outcome: 'ran' })
  }

  private refuse(id: Id, error: TalkwireError): void {
    this.session.guarded('answer', () => this.session.answer(id, 'error', toWire(error)))
  }
}

/** Tells the handler, once. */
function stop(call: Running, reason: TalkwireError): void {
  call.stop.abort(reason)
  call.input?.fail(reason)
  call.credit?.notify()
}
