/** Keys and values with revisions. */
import type { InputOf, OutputOf, StandardSchema } from '../contract/standard-schema.js'
import { TalkwireError } from '../error.js'
import type { Base } from './base.js'
import type { Change, Revision, SetOptions, StateDriver, Stored, Subscription as DriverSubscription } from './driver.js'
import { closable, Inbox, type Closable } from './inbox.js'
import { validateTopic } from './topic-names.js'
import { valuesOf, type ValueOptions, type Values } from './values.js'

export interface StateOptions<S extends StandardSchema<any, any> = StandardSchema<any, any>> extends ValueOptions<S> {
  /** Milliseconds until a value is gone, where `set` does not say otherwise. Without it values stay. */
  readonly ttl?: number
}

export interface Value<T = unknown> {
  readonly key: string
  readonly value: T
  /** Opaque: equal, or not. */
  readonly revision: Revision
}

export type StateChange<T = unknown> = (Value<T> & { readonly gone: false }) | { readonly key: string; readonly gone: true }

export interface State<In = unknown, Out = In> {
  get(key: string): Promise<Value<Out> | undefined>
  /** With a revision: only if it is the value's, `null` only if there is none; else undefined, and nothing is changed. */
  set(key: string, value: In, options?: SetOptions): Promise<Revision | undefined>
  /** False: there was none, or not at this revision. */
  delete(key: string, options?: { readonly revision?: Revision }): Promise<boolean>
  /** Changes what is there, again as often as somebody else was faster. `change` gets undefined for nothing, returns undefined to delete. */
  update(
    key: string,
    change: (value: Out | undefined) => In | undefined | Promise<In | undefined>,
    options?: { readonly ttl?: number },
  ): Promise<Out | undefined>
  /** All of them or, undefined, none: one of the revisions was another. */
  batch(changes: readonly StateWrite<In>[]): Promise<readonly Revision[] | undefined>
  /** What begins with the prefix, in the order of the keys. */
  entries(prefix?: string): AsyncIterableIterator<Value<Out>>
  /** What is there, then what changes. Somebody slow gets each key's last value, and not all between. */
  watch(prefix?: string, options?: { readonly signal?: AbortSignal }): Promise<Watch<Out>>
}

export type StateWrite<T> =
  | { readonly set: string; readonly value: T; readonly revision?: Revision | null; readonly ttl?: number }
  | { readonly delete: string; readonly revision?: Revision }

export type Watch<T = unknown> = Closable<StateChange<T>>

export type StateOf<S> = State<unknown extends InputOf<S> ? any : InputOf<S>, unknown extends OutputOf<S> ? any : OutputOf<S>>

const LONGEST_KEY = 512

export function state(base: Base, name: string, options: StateOptions<any>): State<any, any> {
  validateTopic(name)
  const values = valuesOf(options, `the state "${name}"`)
  const before = `${name}.`
  const full = (key: string): string => before + validKey(key)
  const own = (key: string): string => key.slice(before.length)
  const driver = (): StateDriver => base.driver.state!
  const setting = async ({ revision, ttl = options.ttl }: SetOptions): Promise<SetOptions> => {
    if (revision !== undefined) await base.need('cas')
    if (ttl !== undefined) await base.need('ttl')
    return { ...(revision !== undefined && { revision }), ...(ttl !== undefined && { ttl: milliseconds(ttl) }) }
  }
  const read = async (stored: Stored): Promise<Value> => ({
    key: own(stored.key),
    value: await readValue(values, stored),
    revision: stored.revision,
  })
  const get = async (key: string): Promise<Value | undefined> => {
    await base.need('state')
    const stored = await driver().get(full(key))
    return stored && read(stored)
  }
  const set = async (key: string, value: unknown, wish: SetOptions = {}): Promise<Revision | undefined> => {
    await base.need('state')
    const { body, type } = await values.write(value)
    return driver().set(full(key), body, type, await setting(wish))
  }
  return {
    get,
    set,
    async delete(key, { revision } = {}) {
      await base.need('state')
      if (revision !== undefined) await base.need('cas')
      return driver().delete(full(key), revision)
    },
    async update(key, change, wish = {}) {
      await base.need('cas')
      for (;;) {
        const now = await get(key)
        const next = await change(now?.value)
        if (next === undefined) {
          if (!now || (await driver().delete(full(key), now.revision))) return undefined
        } else if ((await set(key, next, { ...wish, revision: now?.revision ?? null })) !== undefined) return next
      }
    },
    async batch(changes) {
      await base.need('state', 'batch')
      const written = await Promise.all(
        changes.map(async (each): Promise<Change> => {
          if ('delete' in each)
            return { op: 'delete', key: full(each.delete), ...(each.revision !== undefined && { revision: each.revision }) }
          const { body, type } = await values.write(each.value)
          return { op: 'set', key: full(each.set), value: body, type, options: await setting(each) }
        }),
      )
      return driver().batch!(written)
    },
    async *entries(prefix = '') {
      await base.need('list')
      for await (const stored of driver().list!(before + prefix)) yield await read(stored)
    },
    watch: (prefix = '', { signal } = {}) => watch(base, before, prefix, values, signal),
  }
}

async function watch(base: Base, before: string, prefix: string, values: Values, signal: AbortSignal | undefined): Promise<Watch> {
  signal?.throwIfAborted()
  await base.need('watch')
  /** Each key's last change, in the order of the first: what came later for the same key replaces it. */
  const waiting = new Map<string, Stored | { readonly key: string; readonly gone: true }>()
  let under: DriverSubscription | undefined
  const bell = new Inbox<string>(Infinity, 'wait', { room() {}, stop: async () => under?.close() }, (item) => item)
  under = await base.driver.state!.watch!(before + prefix, {
    changed(change) {
      const known = waiting.has(change.key)
      waiting.set(change.key, change)
      if (!known) bell.push(change.key)
      return true
    },
    ended: (error) => bell.end(error),
  })
  const abort = (): void => bell.end(TalkwireError.from(signal!.reason, 'CANCELLED'))
  signal?.addEventListener('abort', abort, { once: true })
  const close = async (): Promise<void> => {
    signal?.removeEventListener('abort', abort)
    waiting.clear()
    await bell.return()
  }
  const next = async (): Promise<IteratorResult<StateChange>> => {
    for (;;) {
      const { value: full, done } = await bell.next()
      if (done) return { value: undefined, done: true }
      const change = waiting.get(full)!
      waiting.delete(full)
      const key = full.slice(before.length)
      if ('gone' in change) return { value: { key, gone: true }, done: false }
      try {
        return { value: { key, value: await readValue(values, change), revision: change.revision, gone: false }, done: false }
      } catch (reason) {
        base.onError(reason, full)
      }
    }
  }
  return closable(next, close)
}

const readValue = (values: Values, { value, type }: Stored): unknown => values.read({ body: value, type, headers: {} })

function validKey(key: string): string {
  if (typeof key === 'string' && key !== '' && key.length <= LONGEST_KEY && !/[\p{Cc}\ud800-\udfff]/u.test(key)) return key
  throw new TalkwireError(
    'INVALID_INPUT',
    `${JSON.stringify(key)?.slice(0, 80)} is no key: 1 to ${LONGEST_KEY} characters, none of them a control character`,
  )
}

function milliseconds(ttl: number): number {
  if (Number.isFinite(ttl) && ttl > 0) return ttl
  throw new TypeError('ttl is a number of milliseconds above 0')
}
