/** The calls that this side made and that wait for their answers. */
import type { CallOptions } from '../contract/contract.js'
import type { StandardSchema } from '../contract/standard-schema.js'
import { closeGiven, closeReceived, type Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import { fromWireError, Kind, toWireError, type Id, type Meta } from '../protocols/message.js'
import { closeAll, lend, weightOf } from './descriptors.js'
import { inheritMetadata, remaining } from './deadline.js'
import { after } from '../timers.js'
import type { Session } from './session.js'
import { insist, unanswered } from './lossy.js'
import { Credit, pump, StreamReader } from './stream.js'
import { validate } from './validate.js'

/** A call waiting for its answer. It outlives its session when it may be repeated on the next. */
export interface Pending {
  readonly method: string
  readonly params: unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
  readonly schema: StandardSchema | undefined
  readonly idempotent: boolean
  options: CallOptions | undefined
  /** On the clock of `performance.now()`, from when it was first sent. */
  deadline?: number
  /** For calls whose output is a stream. */
  reader: StreamReader | undefined
  /** For calls whose input is a stream. */
  input: AsyncIterable<unknown> | Iterable<unknown> | undefined
  credit: Credit | undefined
  /** Position among all messages sent. */
  sequence: number
  cleanup: (() => void) | undefined
}

/** Of all sessions that only serve. */
const NONE = new Map<Id, Pending>()
const EMPTY: unknown[] = []
const EMPTY_DESCRIPTORS: readonly Descriptor[] = []

export class Calls {
  /** Calls that may be repeated elsewhere are handed over instead of rejected. */
  onUnfinished: ((call: Pending) => void) | undefined
  private lastId = 0
  private pending: Map<Id, Pending> = NONE
  private streams = 0

  constructor(private readonly session: Session) {}

  get size(): number {
    return this.pending.size
  }

  has(id: Id): boolean {
    return this.pending.has(id)
  }

  unary(
    method: string,
    params: unknown,
    options: CallOptions | undefined,
    schema: StandardSchema | undefined,
    idempotent: boolean,
  ): Promise<unknown> {
    return this.promised(method, params, undefined, options, schema, idempotent)
  }

  /** A call whose input is a stream and whose output is one value. */
  upload(method: string, input: NonNullable<Pending['input']>, options?: CallOptions, schema?: StandardSchema): Promise<unknown> {
    return this.promised(method, EMPTY, input, options, schema, false)
  }

  private promised(
    method: string,
    params: unknown,
    input: Pending['input'],
    options: CallOptions | undefined,
    schema: StandardSchema | undefined,
    idempotent: boolean,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.start({
        method,
        params,
        resolve,
        reject,
        schema,
        idempotent,
        options,
        reader: undefined,
        input,
        credit: undefined,
        sequence: 0,
        cleanup: undefined,
      })
    })
  }

  /** The output of a call as a stream. The call is sent now; what goes wrong is thrown where it is iterated. */
  stream(
    method: string,
    params: unknown,
    input: Pending['input'],
    options?: CallOptions,
    schema?: StandardSchema,
  ): AsyncIterableIterator<unknown> {
    const { session } = this
    let id: number | undefined
    const reader = new StreamReader({
      window: session.limits.window,
      grant: (bytes) => {
        if (id !== undefined && this.pending.has(id) && session.wire.credits) session.hint(Kind.credit, id, bytes)
      },
      stop: () => {
        if (id !== undefined) this.giveUp(id, new TalkwireError('CANCELLED', 'the consumer of the stream stopped'))
      },
      validate: schema && ((value) => validate(schema, value, method, 'INVALID_OUTPUT', 'ran')),
      drop: (value) => session.descriptors && closeReceived(value),
    })
    const call: Pending = {
      method,
      params,
      input,
      options,
      reader,
      schema: undefined,
      idempotent: false,
      credit: undefined,
      sequence: 0,
      cleanup: undefined,
      resolve: ignore,
      reject: ignore,
    }
    this.start(call)
    if (call.sequence > 0) id = this.lastId
    return reader
  }

  /** Sends a call, its own or one that another session could not finish. Never throws: the call is rejected. */
  start(call: Pending): void {
    const { session } = this
    if (session.connection.oneWay !== undefined) return settleOneWay(call)
    try {
      const meta = call.options || call.input || call.reader ? this.prepare(call) : undefined
      session.checkRoom()
      const id = ++this.lastId
      session.post(Kind.call, id, call.method, call.params, meta)
      call.sequence = session.sequence
      if (this.pending === NONE) this.pending = new Map()
      this.pending.set(id, call)
      if (call.options) this.watch(id, call)
      if (session.connection.lossy === true) this.insist(id, call, meta)
      if (call.input || call.reader) this.countStream(call)
      if (call.input) void this.pumpInput(id, call)
    } catch (reason) {
      closeGiven(call.params)
      settleFailed(call, reason)
    }
  }

  /** Over a wire that loses messages: what may run twice is sent again until it is answered; nothing is waited for without end. */
  private insist(id: number, call: Pending, meta: Meta | undefined): void {
    const repeats = call.idempotent || call.method.startsWith('rpc.')
    const stop = insist(
      () => {
        if (repeats) this.session.unlessEnding(() => this.session.wire.send(Kind.call, id, call.method, call.params, meta))
      },
      call.deadline === undefined ? () => this.giveUp(id, unanswered(call.method, repeats)) : undefined,
    )
    const { cleanup } = call
    call.cleanup = () => {
      stop()
      cleanup?.()
    }
  }

  private prepare(call: Pending): Meta | undefined {
    const { options } = call
    const { limits, wire, connection } = this.session
    if (connection.lossy === true && (call.input || call.reader))
      throw new TalkwireError(
        'UNSUPPORTED',
        `"${call.method}" is a stream, and this wire loses messages and changes their order; take tcp:`,
      )
    options?.signal?.throwIfAborted()
    options?.from?.signal.throwIfAborted()
    if (call.input && !canBeSent(call.input))
      throw new TypeError(`"${call.method}" takes a stream as its input; pass an iterable, such as an array or a generator`)
    const timeout = remaining(options)
    if (timeout !== undefined && timeout <= 0)
      throw new TalkwireError('DEADLINE_EXCEEDED', 'the deadline had passed before the call was sent; give it more time')
    if (timeout !== undefined) call.deadline ??= performance.now() + timeout
    const metadata = options ? inheritMetadata(options) : undefined
    if ((call.input || call.reader) && this.streams >= limits.streams)
      throw new TalkwireError('LIMIT_EXCEEDED', `${limits.streams} streams are open on this connection; end some, or raise limits.streams`)
    const meta: { timeout?: number; metadata?: Record<string, string>; input?: true; credit?: number } = {}
    if (timeout !== undefined) meta.timeout = timeout
    if (metadata) meta.metadata = metadata
    if (call.input) meta.input = true
    if (call.reader && wire.credits) meta.credit = limits.window
    return Object.keys(meta).length > 0 ? meta : undefined
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
    const expire = (): void =>
      this.giveUp(
        id,
        new TalkwireError(
          'DEADLINE_EXCEEDED',
          `"${call.method}" did not answer within ${timeout ?? Math.round(left!)} ms; if it needs longer, raise timeout`,
          {
            outcome: 'maybe-ran',
          },
        ),
      )
    const timer = after(left, expire)
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
  private giveUp(id: Id, reason: unknown): void {
    const call = this.take(id)
    if (!call) return
    this.session.hint(Kind.cancel, id, undefined)
    settleFailed(call, reason)
  }

  private async pumpInput(id: number, call: Pending): Promise<void> {
    const { session } = this
    const credit = (call.credit = new Credit(session.peerWindow ?? Infinity))
    const stopped = (): boolean => !this.pending.has(id)
    try {
      const ended = await pump(call.input!, {
        credit,
        stopped,
        full: () => session.full(),
        send: (value) => session.postElement(Kind.input, id, value, session.peerWindow),
        drop: closeGiven,
      })
      if (ended && !stopped()) session.hint(Kind.end, id, undefined)
    } catch (reason) {
      const failed = this.take(id)
      if (!failed) return
      session.hint(Kind.end, id, toWireError(new TalkwireError('CANCELLED', 'the input stream failed')))
      settleFailed(failed, reason)
    }
  }

  onResult(id: Id, value: unknown, descriptors?: readonly Descriptor[]): void {
    const call = this.take(id)
    if (call === undefined || call.reader !== undefined) closeAll(descriptors)
    if (call === undefined) return this.stray(id)
    if (call.cleanup !== undefined) cleanUp(call)
    if (call.reader !== undefined) return call.reader.end()
    if (call.schema === undefined) return call.resolve(value)
    settleValidated(call, call.schema, value, descriptors)
  }

  onFailure(id: Id, value: unknown): void {
    const error = fromWireError(value)
    if (id === null) return this.session.refused(error)
    const call = this.take(id)
    if (call === undefined) return this.stray(id)
    // It crossed with the peer's `$/close`.
    const repeat = error.code === 'UNAVAILABLE' && error.outcome === 'not-sent' && !this.session.isOpen
    if (repeat && this.isRepeatable(call)) this.handOver(call)
    else settleFailed(call, error)
  }

  /** A response whose value cannot be read: the call ran, its answer is of no use. */
  onUnusable(id: Id, error: TalkwireError): void {
    const call = this.take(id)
    if (call) settleFailed(call, error.withOutcome('ran'))
  }

  onItem(id: Id, value: unknown, size: number, descriptors: readonly Descriptor[] = EMPTY_DESCRIPTORS): void {
    const call = this.pending.get(id)
    if (!call?.reader) closeAll(descriptors)
    if (call === undefined) return this.stray(id)
    if (!call.reader)
      return this.giveUp(
        id,
        new TalkwireError('INVALID_OUTPUT', `"${call.method}" answers with a stream; iterate it, or declare it with stream(…)`, {
          outcome: 'ran',
        }),
      )
    if (call.reader.push(value, this.session.wire.credits ? size + weightOf(descriptors.length, this.session.limits.window) : 0)) return
    closeAll(descriptors)
    this.session.violated(new TalkwireError('INVALID_MESSAGE', 'a stream element without credit'))
  }

  onProgress(id: Id, value: unknown, descriptors?: readonly Descriptor[]): void {
    const onProgress = this.pending.get(id)?.options?.onProgress
    let result: unknown
    if (onProgress) this.session.guarded('progress', () => (result = onProgress(value)))
    if (descriptors) lend(descriptors, [result])
  }

  onInputCredit(id: Id, bytes: unknown): void {
    this.pending.get(id)?.credit?.add(bytes)
  }

  /** Late answers are nobody's fault; answers to what was never asked are. */
  private stray(id: Id): void {
    if (typeof id === 'number' && Number.isInteger(id) && id > 0 && id <= this.lastId) return
    this.session.violated(new TalkwireError('INVALID_MESSAGE', `a response to ${JSON.stringify(id)}, which was never asked`))
  }

  /** The connection is gone: every call settles, and says whether it was sent. Without calls no error is built: thousands of peers may go at once. */
  fail(why: () => TalkwireError): void {
    if (this.pending.size === 0) return
    const reason = why()
    const calls = [...this.pending.values()]
    this.pending.clear()
    const { sequence, connection } = this.session
    const lastSent = sequence - connection.unsent
    const repeat: Pending[] = []
    for (const call of calls) {
      const outcome = call.sequence > lastSent ? 'not-sent' : 'maybe-ran'
      if ((call.idempotent || outcome === 'not-sent') && this.isRepeatable(call)) repeat.push(call)
      else settleFailed(call, reason.withOutcome(outcome))
    }
    for (const call of repeat) this.handOver(call)
    this.session.checkIdle()
  }

  private isRepeatable(call: Pending): boolean {
    return this.onUnfinished !== undefined && !call.reader && !call.input
  }

  private handOver(call: Pending): void {
    cleanUp(call)
    this.onUnfinished!(call)
  }

  private take(id: Id): Pending | undefined {
    const call = this.pending.get(id)
    if (call === undefined) return undefined
    this.pending.delete(id)
    this.session.checkIdle()
    return call
  }
}

function settleValidated(call: Pending, schema: StandardSchema, value: unknown, descriptors: readonly Descriptor[] | undefined): void {
  const reject = (reason: unknown): void => {
    closeAll(descriptors)
    call.reject(reason)
  }
  try {
    const result = validate(schema, value, call.method, 'INVALID_OUTPUT', 'ran')
    if (result instanceof Promise) result.then(call.resolve, reject)
    else call.resolve(result)
  } catch (reason) {
    reject(reason)
  }
}

/** On a wire of events there is nobody who answers. What subscribes is right already. */
function settleOneWay(call: Pending): void {
  if (call.method === 'rpc.on' || call.method === 'rpc.off') call.resolve(null)
  else
    settleFailed(
      call,
      new TalkwireError(
        'UNSUPPORTED',
        `"${call.method}" cannot be called: on this address a service only tells of events; connect to another one`,
      ),
    )
}

function settleFailed(call: Pending, reason: unknown): void {
  cleanUp(call)
  call.credit?.notify()
  if (call.reader) call.reader.fail(reason)
  else call.reject(reason)
}

function cleanUp(call: Pending): void {
  const { cleanup } = call
  call.cleanup = undefined
  cleanup?.()
}

const canBeSent = (input: unknown): boolean => typeof input === 'object' && (Symbol.asyncIterator in input! || Symbol.iterator in input!)

const ignore = (): void => {}
