/** The calls that the peer made and that this side handles. */
import { closeGiven, closeReceived, type Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import { fromWireError, Kind, type Id, type Meta } from '../protocols/message.js'
import { closeAll, weightOf } from './descriptors.js'
import { deadlinePassed, Incoming, NOBODY, runInput, runWith, within } from './incoming.js'
import { inputOf, notFound, type Method } from './service.js'
import type { ServerCall, Session } from './session.js'
import { Credit, isIterable, pump, StreamReader } from './stream.js'
import { isVisible, validate, visibleError } from './validate.js'

const EMPTY: unknown[] = []
const EMPTY_DESCRIPTORS: readonly Descriptor[] = []
/** Milliseconds that the timers of one deadline, in several processes, may be apart. */
const SAME_DEADLINE = 10

export class Serving {
  private incoming: Map<Id, Incoming> | undefined
  /** Notifications whose handlers still run. */
  private notes = 0

  constructor(private readonly session: Session) {}

  get size(): number {
    return this.incoming?.size ?? 0
  }

  isRunning(id: Id): boolean {
    return this.incoming?.has(id) === true
  }

  /** Whether the peer still waits for an answer. Handlers that were told to stop may run on. */
  get owes(): boolean {
    if (this.incoming) for (const call of this.incoming.values()) if (!call.aborted) return true
    return false
  }

  onCall(id: Id, method: string, params: unknown, meta: Meta | undefined, descriptors?: readonly Descriptor[]): void {
    const refusal = this.refusal(id)
    if (refusal) {
      closeAll(descriptors)
      return this.refuse(id, refusal)
    }
    const target = this.session.options.service?.methods.get(method) ?? this.special(method, params)
    if (target === undefined) {
      closeAll(descriptors)
      return this.session.answerError(id, notFound(this.session.options.service, method))
    }
    const call = new Incoming(this.session, id, target, meta)
    call.descriptors = descriptors
    this.run(call, params, meta)
  }

  /** A notification to a method; false: there is no such method. Run while we close, too: nobody could be told that it was refused. */
  onNotify(method: string, params: unknown, descriptors?: readonly Descriptor[]): boolean {
    const target = this.session.options.service?.methods.get(method)
    if (!target) return false
    const call = new Incoming(this.session, NOBODY, target, undefined)
    call.descriptors = descriptors
    this.run(call, params, undefined)
    return true
  }

  onInput(id: Id, value: unknown, size: number, descriptors: readonly Descriptor[] = EMPTY_DESCRIPTORS): void {
    const { session } = this
    const reader = this.incoming?.get(id)?.input
    if (reader?.push(value, size + weightOf(descriptors.length, session.limits.window))) return
    closeAll(descriptors)
    if (reader) session.violated(new TalkwireError('INVALID_MESSAGE', 'a stream element without credit'))
  }

  onInputEnd(id: Id, error: unknown): void {
    const reader = this.incoming?.get(id)?.input
    if (error === undefined || error === null) reader?.end()
    else reader?.fail(new TalkwireError('CANCELLED', "the caller's input stream failed", { cause: fromWireError(error) }))
  }

  onCredit(id: Id, bytes: unknown): void {
    this.incoming?.get(id)?.credit?.add(bytes)
  }

  onCancel(id: Id): void {
    const call = this.incoming?.get(id)
    if (call) this.stop(call, new TalkwireError('CANCELLED', 'the caller cancelled', { outcome: 'maybe-ran' }))
  }

  /** Streams may be endless: they are told to stop, other calls finish. */
  stopStreams(reason: TalkwireError): void {
    if (this.incoming) for (const call of this.incoming.values()) if (call.credit) this.stop(call, reason)
  }

  /** Nobody will read an answer any more. */
  abandon(): void {
    if (this.size === 0) return
    const reason = new TalkwireError('CANCELLED', 'the caller is gone', { cause: this.session.cause })
    for (const call of this.incoming!.values()) call.abort(reason)
  }

  private refusal(id: Id): TalkwireError | undefined {
    const { incoming, session } = this
    if (session.state === 'closing')
      return new TalkwireError('UNAVAILABLE', 'this side is closing and takes no new calls; connect and call again')
    if (session.reading.overfull)
      return new TalkwireError(
        'LIMIT_EXCEEDED',
        `more than ${session.limits.outgoing} bytes wait to be read by the caller; read faster, or raise limits.outgoing`,
      )
    if (incoming === undefined) return undefined
    if (incoming.has(id)) return new TalkwireError('INVALID_REQUEST', `a call with the id ${JSON.stringify(id)} is in flight`)
    if (incoming.size >= session.limits.calls)
      return new TalkwireError(
        'LIMIT_EXCEEDED',
        `${session.limits.calls} calls are in flight on this connection; wait for some, or raise limits.calls`,
      )
    return undefined
  }

  private refuse(id: Id, refusal: TalkwireError): void {
    this.session.answerError(id, refusal)
    // A Talkwire peer counts its ids; one that uses an id twice has lost its way.
    if (refusal.code === 'INVALID_REQUEST' && this.session.wire.extended) this.session.violated(refusal)
  }

  private special(method: string, params: unknown): Method | undefined {
    if (method.startsWith('#')) {
      const handler = this.session.references.find(method)
      return handler && referenceMethod(method, handler)
    }
    const answer = method.startsWith('rpc.') ? this.session.builtin(method) : undefined
    return answer && builtinMethod(method, () => answer(params))
  }

  private run(call: Incoming, params: unknown, meta: Meta | undefined): void {
    const { target } = call
    let result: unknown
    try {
      if (target.inputStream) {
        this.openInput(call, meta)
        result = this.invoke(call, call.input)
      } else if (target.input === undefined) result = this.invoke(call, target.positional ? params : inputOf(params))
      else {
        const input = validate(target.input, inputOf(params, target.parameters), target.name, 'INVALID_INPUT', 'not-sent')
        result = input instanceof Promise ? input.then((valid) => this.invoke(call, valid)) : this.invoke(call, input)
      }
    } catch (reason) {
      return this.answerFailure(call, reason)
    }
    if (!(result instanceof Promise)) return this.finished(call, result)
    if (call.id === NOBODY) return this.awaitNote(call, result)
    this.track(call)
    result.then(
      (value) => this.finished(call, value),
      (reason) => this.answerFailure(call, reason),
    )
  }

  private invoke(call: Incoming, input: unknown): unknown {
    const { interceptors } = this.session.options
    if (interceptors === undefined || call.target.builtin)
      return call.target.positional ? runWith(call, asArguments(input)) : runInput(call, input)
    const chain = interceptors.reduceRight<(call: ServerCall) => unknown>((next, interceptor) => (each) => interceptor(each, next), direct)
    return chain({ method: call.method, input, ctx: call })
  }

  /** Notifications cannot be refused: when too many run, the peer is not read from. */
  private awaitNote(call: Incoming, result: Promise<unknown>): void {
    const { session } = this
    if (++this.notes >= session.limits.calls) session.reading.hold('notes')
    const done = (): void => {
      if (--this.notes === session.limits.calls >> 1) session.reading.unhold('notes')
    }
    result.then(done, (reason) => {
      this.answerFailure(call, reason)
      done()
    })
  }

  private track(call: Incoming): void {
    if (call.tracked || call.id === NOBODY) return
    call.tracked = true
    ;(this.incoming ??= new Map()).set(call.id, call)
  }

  private release(call: Incoming): void {
    call.settle()
    if (this.session.descriptors) void call.input?.return()
    if (!call.tracked) return
    call.tracked = false
    this.incoming!.delete(call.id)
    this.session.checkIdle()
  }

  private finished(call: Incoming, value: unknown): void {
    if (typeof value === 'object' && value !== null && isIterable(value)) return void this.pumpOutput(call, value)
    if (call.aborted) {
      closeGiven(value)
      return this.answerFailure(call, call.aborted)
    }
    this.release(call)
    call.answered = true
    if (call.id === NOBODY || this.session.state === 'closed') closeGiven(value)
    else this.answer(call, value)
    closeAll(call.descriptors)
  }

  private answer(call: Incoming, value: unknown): void {
    try {
      this.session.post(Kind.result, call.id, '', value)
    } catch (reason) {
      closeGiven(value)
      this.unsendable(call, reason)
    }
  }

  /** The handler's value could not be sent: the caller must still get an answer. */
  private unsendable(call: Incoming, reason: unknown): void {
    const error =
      reason instanceof TalkwireError
        ? reason.withOutcome('ran')
        : new TalkwireError('INVALID_OUTPUT', 'the result cannot be sent; the service was told why', { cause: reason, outcome: 'ran' })
    this.session.options.onError?.(reason, call.method)
    this.session.answerError(call.id, error)
  }

  private answerFailure(call: Incoming, reason: unknown): void {
    this.release(call)
    closeAll(call.descriptors)
    if (call.answered) return
    call.answered = true
    if (call.id === NOBODY) return void this.session.options.onError?.(reason, call.method)
    this.session.answerError(call.id, this.asAnswer(call, reason))
  }

  /**
   * Tells a handler to stop. A stream is answered at once, because its generator may be waiting for something
   * that never comes. The call still counts against the limit until the handler has really ended:
   * else calling and cancelling would start any number of them.
   */
  private stop(call: Incoming, reason: TalkwireError): void {
    if (call.aborted) return
    call.abort(reason)
    if (call.credit && !call.answered) {
      call.answered = true
      this.session.answerError(call.id, reason)
    }
    this.session.checkIdle()
  }

  /** What the peer may know of an error: what is declared, and what is ours. */
  private asAnswer(call: Incoming, reason: unknown): TalkwireError {
    if (call.aborted) return call.aborted
    if (reason instanceof TalkwireError) {
      const { errors, builtin } = call.target
      if (reason.declared && (errors === undefined || errors.has(reason.code))) return reason.withOutcome('ran')
      if (builtin || isVisible(reason)) return reason
      // A call made with `from` has our deadline, and its timer may be the first.
      if (reason.code === 'DEADLINE_EXCEEDED' && call.deadline !== undefined && call.deadline - performance.now() < SAME_DEADLINE)
        return deadlinePassed(call)
    }
    this.session.options.onError?.(reason, call.method)
    return new TalkwireError('INTERNAL', 'internal error', { outcome: 'ran' })
  }

  private async pumpOutput(call: Incoming, source: AsyncIterable<unknown> | Iterable<unknown>): Promise<void> {
    const { session } = this
    this.track(call)
    const credit = (call.credit = new Credit(call.initialCredit ?? session.peerWindow ?? Infinity))
    try {
      if (call.id === NOBODY) throw new TalkwireError('INVALID_REQUEST', 'a stream was asked for in a notification')
      const ended = await pump(source, {
        credit,
        stopped: () => call.aborted !== undefined || session.state === 'closed',
        full: () => session.full(),
        // A generator's body runs here, not when it was called.
        next: (iterator) => within(call, () => iterator.next()),
        send: (value) => session.postElement(Kind.item, call.id, value, call.initialCredit ?? session.peerWindow),
        drop: closeGiven,
      })
      if (!ended) return this.answerFailure(call, call.aborted)
      this.release(call)
      closeAll(call.descriptors)
      call.answered = true
      session.hint(Kind.result, call.id, null)
    } catch (reason) {
      this.answerFailure(call, reason)
    }
  }

  private openInput(call: Incoming, meta: Meta | undefined): void {
    const { session } = this
    const { id, target } = call
    const { input } = target
    if (!meta?.input)
      throw visibleError(
        'INVALID_INPUT',
        `"${target.name}" takes a stream as its input; pass an iterable (on the wire: meta.input, then $/input and $/end)`,
      )
    call.input = new StreamReader({
      window: session.limits.window,
      grant: (bytes) => {
        if (call.tracked) session.hint(Kind.inputCredit, id, bytes)
      },
      stop: () => {},
      validate: input && ((value) => validate(input, value, target.name, 'INVALID_INPUT', 'maybe-ran')),
      drop: (value) => session.descriptors && closeReceived(value),
    })
    this.track(call)
  }
}

function direct({ input, ctx }: ServerCall): unknown {
  return ctx.target.positional ? runWith(ctx, asArguments(input)) : runInput(ctx, input)
}

const asArguments = (params: unknown): unknown[] => (Array.isArray(params) ? params : params === undefined ? EMPTY : [params])

const ownMethod = { positional: true, inputStream: false, outputStream: false, oneway: false, input: undefined, errors: undefined }
const referenceMethod = (name: string, handler: (...args: unknown[]) => unknown): Method => ({ name, handler, ...ownMethod })
const builtinMethod = (name: string, handler: () => unknown): Method => ({ name, handler, ...ownMethod, builtin: true })
