/** Named locks across processes and machines, for a time, with a token that tells later holders from earlier ones; and counters. */
import { randomUUID } from 'node:crypto'
import { TalkwireError } from '../error.js'
import type { Base } from './base.js'
import type { LeaseHolder } from './driver.js'
import { validateTopic } from './topic-names.js'
import { MAX_TIMER } from '../timers.js'

export interface LeaseOptions {
  /** Milliseconds after which a holder who says nothing has lost it. It is renewed while we hold it. Default 10,000. */
  readonly ttl?: number
  /** How many may hold it at once; all who use it say the same. Default 1. */
  readonly permits?: number
  /** What others see in `inspect()`. */
  readonly label?: string
}

export interface AcquireOptions {
  /** Milliseconds until waiting fails with DEADLINE_EXCEEDED. Without it, and without `signal`, it waits for good. */
  readonly timeout?: number
  readonly signal?: AbortSignal
}

/** What a holder has. */
export interface Grant extends AsyncDisposable {
  /** Larger than that of every holder before, where the broker fences; else 0. Whoever is written to refuses smaller ones than it has seen. */
  readonly token: number
  /** Aborts when it is lost: it was not renewed in time, or somebody else holds it. */
  readonly signal: AbortSignal
  /** False: it was lost before. */
  release(): Promise<boolean>
}

export interface Lease {
  /** Leader election is this without a timeout. Rejects with DEADLINE_EXCEEDED, or the signal's reason. */
  acquire(options?: AcquireOptions): Promise<Grant>
  tryAcquire(): Promise<Grant | undefined>
  inspect(): Promise<{ readonly holders: readonly LeaseHolder[]; readonly waiters: number }>
}

export interface Counter {
  /** Adds, and resolves with what it is then. */
  add(amount?: number): Promise<number>
  get(): Promise<number>
}

const TTL = 10_000
/** The shortest that a renewal, with a full hub or a collected heap between, can be hoped to hold. */
const SHORTEST = 50
/** Milliseconds that one question waits: a day, as timers and brokers go. After it the place in the queue is a new one. */
const LONGEST_WAIT = 86_400_000

export function lease(base: Base, name: string, { ttl = TTL, permits = 1, label }: LeaseOptions): Lease {
  validateTopic(name)
  if (!(ttl >= SHORTEST) || !Number.isFinite(ttl)) throw new TypeError(`ttl is a number of milliseconds, ${SHORTEST} at least`)
  if (!Number.isSafeInteger(permits) || permits < 1) throw new TypeError('permits is a whole number above 0')
  const acquire = async (wait: number, signal: AbortSignal | undefined): Promise<Grant | undefined> => {
    signal?.throwIfAborted()
    await base.need('leases')
    if (permits > 1) await base.need('permits')
    if (wait > 0) await base.need('waiters')
    // Unique each time: whoever lost a lease and asks again must not be taken for who still holds it.
    const ask = { holder: randomUUID(), label, ttl, wait, permits }
    const asked = performance.now()
    const holder = await base.driver.leases!.acquire(name, ask, signal)
    // While it waited the time did not run; it began at the grant, which was no earlier than `left` says.
    return holder && grantOf(base, name, holder, ttl, Math.max(asked, performance.now() - (ttl - holder.left)))
  }
  return {
    async acquire({ timeout = Infinity, signal } = {}) {
      if (!(timeout >= 0)) throw new TypeError('timeout is a number of milliseconds')
      const end = performance.now() + timeout
      do {
        const grant = await acquire(Math.max(0, Math.min(end - performance.now(), LONGEST_WAIT)), signal)
        if (grant) return grant
      } while (performance.now() < end)
      throw new TalkwireError('DEADLINE_EXCEEDED', `the lease "${name}" was not free within ${timeout} ms`)
    },
    tryAcquire: () => acquire(0, undefined),
    async inspect() {
      await base.need('leases')
      return base.driver.leases!.inspect(name)
    },
  }
}

function grantOf(base: Base, name: string, holder: LeaseHolder, ttl: number, from: number): Grant {
  const lost = new AbortController()
  let until = from + ttl
  let timer: NodeJS.Timeout
  let released: Promise<boolean> | undefined
  const lose = (why: string): void => {
    clearTimeout(timer)
    lost.abort(new TalkwireError('NOT_FOUND', `the lease "${name}" was lost: ${why}; what was done since may have been done by two`))
  }
  const renew = async (): Promise<void> => {
    const began = performance.now()
    // Stopped, or a blocked event loop: others may hold it by now, whatever the hub would answer.
    if (began >= until) return lose('it was not renewed in time')
    const ours = await base.driver.leases!.renew(name, holder, ttl).catch((reason: unknown) => {
      base.onError(reason, name)
      return undefined
    })
    if (released) return
    if (ours === false) return lose('somebody else holds it, or it ran out')
    if (ours) until = began + ttl
    next()
  }
  const next = (): void => {
    const left = until - performance.now()
    timer = setTimeout(() => void renew(), Math.max(0, Math.min(ttl / 3, left, MAX_TIMER)))
    timer.unref()
  }
  next()
  const release = (): Promise<boolean> => {
    clearTimeout(timer)
    return (released ??= lost.signal.aborted ? Promise.resolve(false) : base.driver.leases!.release(name, holder))
  }
  return {
    token: holder.token,
    signal: lost.signal,
    release,
    async [Symbol.asyncDispose]() {
      await release()
    },
  }
}

export function counter(base: Base, name: string): Counter {
  validateTopic(name)
  const add = async (amount = 1): Promise<number> => {
    if (!Number.isSafeInteger(amount)) throw new TypeError('a counter counts in whole numbers')
    await base.need('counters')
    return base.driver.counters!.add(name, amount)
  }
  return { add, get: () => add(0) }
}
