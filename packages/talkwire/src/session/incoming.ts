import type { Context } from '../contract/contract.js'
import type { Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import type { Id, Meta } from '../protocols/message.js'
import type { Peer } from '../transports/transport.js'
import { MAX_TIMER } from '../timers.js'
import type { Method } from './service.js'
import type { Credit, StreamReader } from './stream.js'

/** What a call being handled needs of its session. */
export interface Host {
  readonly peer: Peer
  progress(id: Id, value: unknown): void
  callerOf(call: Incoming): unknown
}

/** The id of a notification: there is nobody to answer. */
export const NOBODY = Symbol('nobody') as unknown as Id

const noMetadata: Readonly<Record<string, string>> = Object.freeze({})

/** A call being handled: the session's account of it, and the handler's context. Everything costly is made on demand. */
export class Incoming implements Context<any, any> {
  input: StreamReader | undefined
  credit: Credit | undefined
  /** Where the call is kept while it is in flight. */
  tracked = false
  answered = false
  /** Came with the call, and are closed with it. */
  descriptors: readonly Descriptor[] | undefined
  private controller: AbortController | undefined
  private reason: TalkwireError | undefined
  private timer: NodeJS.Timeout | undefined
  readonly deadline: number | undefined

  constructor(
    private readonly host: Host,
    readonly id: Id,
    readonly target: Method,
    private readonly meta: Meta | undefined,
  ) {
    if (meta?.timeout !== undefined) {
      this.deadline = performance.now() + meta.timeout
      this.timer = setTimeout(expire, Math.min(meta.timeout, MAX_TIMER), this)
    } else this.deadline = undefined
  }

  get method(): string {
    return this.target.name
  }

  get peer(): Peer {
    return this.host.peer
  }

  /** Bytes of output that the caller takes before it grants more, where it said so. */
  get initialCredit(): number | undefined {
    return this.meta?.credit
  }

  get metadata(): Readonly<Record<string, string>> {
    return this.meta?.metadata ?? noMetadata
  }

  get aborted(): TalkwireError | undefined {
    return this.reason
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    if (this.reason && !this.controller.signal.aborted) this.controller.abort(this.reason)
    return this.controller.signal
  }

  get caller(): any {
    return this.host.callerOf(this)
  }

  // A getter, so that `const { progress } = ctx` works, and nothing is made for handlers that do not ask.
  get progress(): Context['progress'] {
    return (value) => this.host.progress(this.id, value)
  }

  error(this: void, name: string, details?: unknown, message = name): TalkwireError {
    return new TalkwireError(name, message, { declared: true, outcome: 'ran', details })
  }

  /** Tells the handler to stop, once. */
  abort(reason: TalkwireError): void {
    if (this.reason) return
    this.reason = reason
    this.settle()
    this.input?.fail(reason)
    this.controller?.abort(reason)
    this.credit?.notify()
  }

  settle(): void {
    if (this.timer) clearTimeout(this.timer)
    this.timer = undefined
  }
}

export const deadlinePassed = (call: Incoming): TalkwireError =>
  new TalkwireError('DEADLINE_EXCEEDED', `the deadline of "${call.method}" has passed`, { outcome: 'maybe-ran' })
const expire = (call: Incoming): void => call.abort(deadlinePassed(call))

let active: Incoming | undefined

/** Runs what belongs to a call with `context()` in place; only until it first awaits. */
export function within<T>(call: Incoming, action: () => T): T {
  const outer = active
  active = call
  try {
    return action()
  } finally {
    active = outer
  }
}

/** The same for a handler of arguments by position, without a closure. */
export function runWith(call: Incoming, args: unknown[]): unknown {
  const outer = active
  active = call
  try {
    const { handler } = call.target
    return args.length === 2 ? handler(args[0], args[1]) : handler(...args)
  } finally {
    active = outer
  }
}

/** The same for a handler of `(input, ctx)`. */
export function runInput(call: Incoming, input: unknown): unknown {
  const outer = active
  active = call
  try {
    return call.target.handler(input, call)
  } finally {
    active = outer
  }
}

/**
 * The call that a plain function is handling. To be asked for before its first `await` (in a generator: `yield`);
 * a contract's handlers get the same as their second argument. `Caller` is what the caller serves in return:
 * `context<Client<typeof ui>>().caller`. Throws TypeError outside of a call.
 */
export function context<Caller = unknown>(): Context<Caller> {
  if (!active)
    throw new TypeError('context() is for the first, synchronous part of a function that is being called; keep its result for later')
  return active
}
