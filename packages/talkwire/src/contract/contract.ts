/** What a service offers: methods, events, declared errors, schemas. Plain data that both ends import. */
import { isName } from '../address.js'
import { TalkwireError } from '../error.js'
import type { InputOf, OutputOf, StandardSchema } from './standard-schema.js'

type Schema = StandardSchema<any, any>

export interface Stream<S extends Schema = Schema> {
  readonly kind: 'stream'
  readonly item: S
}

export interface Rpc<
  I extends Schema | Stream | undefined = Schema | Stream | undefined,
  O extends Schema | Stream | undefined = Schema | Stream | undefined,
  E extends Record<string, Schema> = Record<string, Schema>,
  W extends boolean = boolean,
> {
  readonly kind: 'rpc'
  readonly input: I
  readonly output: O
  readonly errors: E
  /** Running it twice does what running it once does: it may be repeated after a lost connection. */
  readonly idempotent: boolean
  /** Nobody waits for an answer, and there is none. */
  readonly oneway: W
  /** The members of the input, in the order in which they go as parameters of their own. Absent: the input is one value. */
  readonly parameters?: readonly string[]
}

export interface Event<S extends Schema = Schema> {
  readonly kind: 'event'
  readonly payload: S
}

export type Members = Record<string, Rpc | Event>

export interface Contract<M extends Members = Members> {
  readonly kind: 'contract'
  /** As written: `bank/1`. */
  readonly id: string
  readonly name: string
  readonly version: number
  readonly members: M
  /** Made of what a service told of itself (`discover`): nobody is asked for it by its id. What it has no place for, with the reason. */
  readonly foreign?: { readonly leftOut: Readonly<Record<string, string>> }
}

/** Names that a client object uses itself. */
const RESERVED = new Set([
  'on',
  'once',
  'close',
  'closed',
  'then',
  'constructor',
  'prototype',
  '__proto__',
  'toJSON',
  'toString',
  'valueOf',
])
const CONTRACT_ID = /^(.+)\/(\d{1,9})$/
const DECLARED_ERROR = /^[A-Z][A-Za-z0-9]{0,63}$/

/**
 * A contract. `id` is a name and a number, `bank/1`; the number changes when old peers would misunderstand.
 * Throws TypeError for names that cannot be served.
 */
export function contract<const M extends Members>(id: string, members: M): Contract<M> {
  const match = CONTRACT_ID.exec(id)
  if (!match || !isName(match[1]!))
    throw new TypeError(`${JSON.stringify(id)} is no contract id; write a name and a number, such as "bank/1"`)
  for (const [name, member] of Object.entries(members)) {
    validateMethodName(name)
    if (member.kind === 'rpc') for (const error of Object.keys(member.errors)) validateErrorName(name, error)
  }
  return { kind: 'contract', id, name: match[1]!, version: Number(match[2]), members }
}

/** Throws TypeError for a name that is taken by the client object or by the protocol. */
export function validateMethodName(name: string): void {
  if (RESERVED.has(name)) throw new TypeError(`"${name}" cannot be a method's or event's name: the client object needs it; choose another`)
  if (name === '' || name.length > 128 || /^(rpc\.|\$|#)/.test(name) || /[\0-\x20\x7f]/.test(name))
    throw new TypeError(
      `${JSON.stringify(name)} cannot be a method's name: not empty, at most 128 characters, no white space, not beginning with "rpc.", "$" or "#"`,
    )
}

function validateErrorName(method: string, name: string): void {
  if (!DECLARED_ERROR.test(name))
    throw new TypeError(`the error ${JSON.stringify(name)} of "${method}" is no PascalCase name, such as "AccountClosed"`)
}

export interface RpcOptions<I, O, E, W> {
  input?: I
  output?: O
  errors?: E
  idempotent?: boolean
  oneway?: W
  /** For services that take their parameters by position, as functions do: the names of the input's members, in that order. */
  parameters?: readonly string[]
}

// NoInfer: inside `contract({ … })` the expected type of a member would otherwise become the input and output of `rpc()`.
/** A method. Without `input` it takes nothing, without `output` it returns nothing. Throws TypeError when `oneway` has an answer, or `parameters` no input to take apart. */
export function rpc<
  I extends Schema | Stream | undefined = undefined,
  O extends Schema | Stream | undefined = undefined,
  E extends Record<string, Schema> = {},
  W extends boolean = false,
>(options: RpcOptions<I, O, E, W> = {}): Rpc<NoInfer<I>, NoInfer<O>, NoInfer<E>, NoInfer<W>> {
  const { input, output, errors, idempotent = false, oneway = false, parameters } = options
  if (oneway && (output !== undefined || errors !== undefined))
    throw new TypeError('a oneway method has no output and no errors: nobody would receive them')
  if (parameters && (input === undefined || isStream(input)))
    throw new TypeError('parameters are members of the input: give it one that is an object')
  return { kind: 'rpc', input, output, errors: errors ?? {}, idempotent, oneway, ...(parameters && { parameters }) } as Rpc<I, O, E, W>
}

/** Many values instead of one, as a method's input, output or both. */
export function stream<S extends Schema>(item: S): Stream<S> {
  return { kind: 'stream', item }
}

/** Something that a service tells whoever listens. */
export function event<S extends Schema>(payload: S): Event<S> {
  return { kind: 'event', payload }
}

export const isStream = (value: unknown): value is Stream =>
  typeof value === 'object' && value !== null && (value as Stream).kind === 'stream'
export const isContract = (value: unknown): value is Contract =>
  typeof value === 'object' && value !== null && (value as Contract).kind === 'contract'

// ── types: what a caller writes, and what a handler is ─────────────────────────────────────────────

/** What every call can be given beside its input. */
export interface CallOptions {
  /** Cancels: the call rejects with the signal's reason, the handler's `ctx.signal` aborts. */
  signal?: AbortSignal
  /** Milliseconds until the call fails with DEADLINE_EXCEEDED, here and at the handler. None by default. */
  timeout?: number
  /** Text that reaches the handler as `ctx.metadata`. */
  metadata?: Record<string, string>
  /** What the handler reports with `ctx.progress`. */
  onProgress?: (value: unknown) => void
  /** The call being handled: its signal, its deadline and its trace context go on into this call. */
  from?: Pick<Context, 'signal' | 'deadline' | 'metadata'>
  /** For a service without a contract: this call may be repeated after a lost connection. */
  idempotent?: boolean
}

/** What a handler knows of its call. May be taken apart: `const { signal, progress, caller } = ctx`. */
export interface Context<Caller = unknown, Errors extends Record<string, Schema> = Record<string, Schema>> {
  readonly method: string
  /** Who calls, as the kernel or the handshake vouches for. */
  readonly peer: import('../transports/transport.js').Peer
  /** Aborts when the caller cancels, the deadline passes, the connection ends or the service closes. */
  readonly signal: AbortSignal
  /** When the caller stops waiting, on the clock of `performance.now()`; undefined: never. */
  readonly deadline: number | undefined
  readonly metadata: Readonly<Record<string, string>>
  /** A client for what the caller serves on this connection. */
  readonly caller: Caller
  /** Reaches `onProgress` of the caller, if it reads fast enough: what it is too slow for is left out. */
  progress(this: void, value: unknown): void
  /** A declared error: `throw ctx.error('AccountClosed', { since })`. */
  error<K extends keyof Errors & string>(this: void, name: K, details: InputOf<Errors[K]>, message?: string): TalkwireError
}

type Sent<S> = S extends Stream<infer T> ? AsyncIterable<InputOf<T>> | Iterable<InputOf<T>> : S extends Schema ? InputOf<S> : void
type Received<S> = S extends Stream<infer T> ? AsyncIterable<OutputOf<T>> : S extends Schema ? OutputOf<S> : void
type Returned<S> =
  S extends Stream<infer T>
    ? AsyncIterable<InputOf<T>> | Iterable<InputOf<T>>
    : S extends Schema
      ? InputOf<S> | Promise<InputOf<S>>
      : void | Promise<void>

/** With nothing to pass, the input may be left out. */
type Arguments<I> = 0 extends 1 & I
  ? [input: I, options?: CallOptions]
  : [I] extends [void]
    ? [input?: undefined, options?: CallOptions]
    : undefined extends I
      ? [input?: I, options?: CallOptions]
      : [input: I, options?: CallOptions]

type Method<R> =
  R extends Rpc<infer I, infer O, any, any>
    ? O extends Stream<infer T>
      ? (...args: Arguments<Sent<I>>) => AsyncIterableIterator<OutputOf<T>>
      : (...args: Arguments<Sent<I>>) => Promise<Received<O>>
    : never

export type MethodNames<C extends Contract> = {
  [K in keyof C['members']]: C['members'][K] extends Rpc<any, any, any, any> ? K : never
}[keyof C['members']] &
  string
export type EventNames<C extends Contract> = {
  [K in keyof C['members']]: C['members'][K] extends Event<any> ? K : never
}[keyof C['members']] &
  string
export type EventPayload<C extends Contract, K> = K extends keyof C['members']
  ? C['members'][K] extends Event<infer S>
    ? OutputOf<S>
    : never
  : never
export type EventInput<C extends Contract, K> = K extends keyof C['members']
  ? C['members'][K] extends Event<infer S>
    ? InputOf<S>
    : never
  : never
export type ErrorsOf<R> = R extends Rpc<any, any, infer E, any> ? E : {}

/** What every client has beside the service's methods. */
export interface ClientBase {
  /** Calls in flight finish, then the connection ends; what is left after 5 s is aborted. */
  close(): Promise<void>
  /**
   * Resolves when the connection has ended for good: with the reason, or undefined where a side closed on purpose. Never rejects.
   * A client that connects again ends only by `close()`; `connect(…, { onConnection })` tells of each connection.
   */
  readonly closed: Promise<TalkwireError | undefined>
  [Symbol.asyncDispose](): Promise<void>
}

/** For `once`; without them it waits as long as the client lasts. */
export type WaitOptions = Pick<CallOptions, 'signal' | 'timeout'>
/** Called for each event; `lost` counts those that this subscriber was too slow for since the last one. */
export type Listener<T> = (payload: T, info: { readonly lost: number }) => void
/** Ends the subscription. */
export type Unsubscribe = (() => Promise<void>) & { [Symbol.asyncDispose](): Promise<void> }

/** The caller's typed view of a service with a contract. */
export type ContractClient<C extends Contract> = { readonly [K in MethodNames<C>]: Method<C['members'][K]> } & ClientBase & {
    on<K extends EventNames<C>>(event: K, listener: Listener<EventPayload<C, K>>): Promise<Unsubscribe>
    /** The next event. Those that come between two calls of it are missed: `on` gets them all. */
    once<K extends EventNames<C>>(event: K, options?: WaitOptions): Promise<EventPayload<C, K>>
  }

/** A function over the wire: asynchronous, its iterables asynchronous, its function arguments as they are. */
export type Remote<F> = F extends (...args: infer A) => infer R ? (...args: A) => Result<R> : never

declare const referred: unique symbol
/** What `ref` marks: the receiver gets its methods, not its data. */
export interface Referred<T extends object> {
  readonly [referred]: T
}
/** An object of the other side: its methods; released by `using`. */
export type RemoteObject<T> = {
  readonly [K in keyof T as T[K] extends (...args: never[]) => unknown ? K : never]: Remote<T[K]>
} & { [Symbol.dispose](): void }

/** `never` and `any` would pass for anything, also for a stream. */
type Result<R> = [R] extends [never]
  ? Promise<never>
  : 0 extends 1 & R
    ? Promise<any>
    : Awaited<R> extends Referred<infer T>
      ? Promise<RemoteObject<T>>
      : Awaited<R> extends (...args: never[]) => unknown
        ? Promise<Remote<Awaited<R>> & { [Symbol.dispose](): void }>
        : Many<R>

type Many<R> =
  Awaited<R> extends AsyncIterable<infer T>
    ? AsyncIterableIterator<T>
    : Awaited<R> extends Generator<infer T>
      ? AsyncIterableIterator<T>
      : Promise<Awaited<R>>

/** The caller's typed view of plain functions: `connect<typeof calc>('calc')`. */
export type FunctionsClient<F> = {
  readonly [K in keyof F as F[K] extends (...args: never[]) => unknown ? K : never]: Remote<F[K]>
} & ClientBase & {
    on(event: string, listener: Listener<any>): Promise<Unsubscribe>
    /** The next event. Those that come between two calls of it are missed: `on` gets them all. */
    once(event: string, options?: WaitOptions): Promise<any>
  }

export type Client<T> = T extends Contract ? ContractClient<T> : FunctionsClient<T>

/** One handler for each method of the contract: no more, no fewer. */
export type Handlers<C extends Contract, Caller = unknown> = {
  readonly [K in MethodNames<C>]: C['members'][K] extends Rpc<infer I, infer O, infer E, any>
    ? (input: Received<I>, ctx: Context<Caller, E>) => Returned<O>
    : never
}

/**
 * `Handlers<C>`, and a compile error that names each key of `H` that is no method: TypeScript itself rejects excess
 * keys of object literals only. For `serve<C extends Contract, H extends Handlers<C>>(contract: C, handlers: H & ExactHandlers<C, H>)`.
 */
export type ExactHandlers<C extends Contract, H, Caller = unknown> = Handlers<C, Caller> & {
  readonly [K in Exclude<keyof H, MethodNames<C>>]: `"${K & string}" is no method of the contract`
}

/** A service's functions without a contract. */
export type Functions = Record<string, (...args: any[]) => unknown>

/**
 * Whether a caught value is a declared error of a method, and which: `if (isError(e, bank, 'deposit', 'AccountClosed')) e.details.since`.
 */
export function isError<C extends Contract, M extends MethodNames<C>, E extends keyof ErrorsOf<C['members'][M]> & string>(
  value: unknown,
  of: C,
  method: M,
  name: E,
): value is TalkwireError & { readonly code: E; readonly details: OutputOf<ErrorsOf<C['members'][M]>[E]> } {
  const member = Object.hasOwn(of.members, method) ? of.members[method] : undefined
  if (member?.kind !== 'rpc' || !Object.hasOwn(member.errors, name))
    throw new TypeError(`${of.id} declares no error "${name}" for "${method}"`)
  return value instanceof TalkwireError && value.declared && value.code === name
}
