/**
 * A lease is a key of a bucket: the holder, and what its last write is, by the revision at which it was written, the fence. No clock is compared
 * with another: a waiter takes over what has not changed for the time that its holder asked for, as the waiter's own clock counts it; who only
 * asks once is told by the server's time of the record and of one that is written to be compared.
 */
import { setTimeout } from 'node:timers/promises'
import { TalkwireError } from '../../../error.js'
import type { CountersDriver, LeaseAsk, LeaseHolder, LeasesDriver } from '../../driver.js'
import type { Nats } from './connection.js'
import { bucket, type Bucket } from './bucket.js'

interface Held {
  readonly holder: string
  readonly label?: string
  readonly ttl: number
  /** The revision of the grant; absent in the grant itself, whose revision is it. */
  readonly token?: number
}

/** How often a waiter looks, milliseconds. */
const LOOK = 50

export function leases(nats: Nats): LeasesDriver {
  const kv = bucket(nats, `${nats.prefix}-leases`)
  const clock = bucket(nats, `${nats.prefix}-clock`)
  /** What this hub holds, and until when by this clock, counted from before it was asked for. */
  const mine = new Map<string, number>()
  const read = async (name: string): Promise<{ seq: number; held: Held | undefined; left: number } | undefined> => {
    const found = await kv.last(name)
    if (!found) return undefined
    if (found.gone) return { seq: found.seq, held: undefined, left: 0 }
    const held = JSON.parse(Buffer.from(found.stored.value).toString()) as Held
    await clock.put('now', Buffer.alloc(0), 'bytes', undefined)
    const now = (await clock.last('now'))!.time
    return { seq: found.seq, held, left: held.ttl - (now - found.time) }
  }
  const attempt = async (name: string, { holder, label, ttl, permits }: LeaseAsk): Promise<LeaseHolder | number> => {
    if (permits !== 1) throw new TalkwireError('UNSUPPORTED', 'nats has no permits: a lease has one holder; embedded and redis have them')
    const now = await read(name)
    if (now?.held && now.left > 0) return now.left
    const since = performance.now()
    const body = Buffer.from(JSON.stringify({ holder, ...(label !== undefined && { label }), ttl } satisfies Held))
    const seq = await kv.put(name, body, 'json', now?.seq ?? 0)
    if (seq === undefined) return 0
    mine.set(`${name} ${holder}`, since + ttl)
    return { token: seq, holder, label, left: ttl }
  }
  const own = async (name: string, { holder, token }: LeaseHolder): Promise<{ seq: number; held: Held } | undefined> => {
    const until = mine.get(`${name} ${holder}`)
    const found = await kv.last(name)
    if (!found || found.gone) return undefined
    const held = JSON.parse(Buffer.from(found.stored.value).toString()) as Held
    if (held.holder !== holder || (held.token ?? found.seq) !== token) return undefined
    if (until === undefined || until <= performance.now()) return undefined
    return { seq: found.seq, held }
  }
  return {
    async acquire(name, ask, signal) {
      signal?.throwIfAborted()
      const until = performance.now() + ask.wait
      for (;;) {
        const got = await attempt(name, ask)
        if (signal?.aborted) {
          if (typeof got !== 'number') await this.release(name, got)
          signal.throwIfAborted()
        }
        if (typeof got !== 'number') return got
        const left = until - performance.now()
        if (left <= 0) return undefined
        await setTimeout(Math.min(left, LOOK, got + 1), undefined, signal && { signal }).catch(() => signal?.throwIfAborted())
      }
    },
    async renew(name, holder, ttl) {
      const since = performance.now()
      const found = await own(name, holder)
      if (!found) return false
      const body = Buffer.from(JSON.stringify({ ...found.held, ttl, token: holder.token }))
      if ((await kv.put(name, body, 'json', found.seq)) === undefined) return false
      mine.set(`${name} ${holder.holder}`, since + ttl)
      return true
    },
    async release(name, holder) {
      const found = await own(name, holder)
      mine.delete(`${name} ${holder.holder}`)
      return found !== undefined && (await kv.remove(name, found.seq))
    },
    async inspect(name) {
      const now = await read(name)
      if (!now?.held || now.left <= 0) return { holders: [], waiters: 0 }
      const { holder, label, token } = now.held
      return { holders: [{ holder, label, token: token ?? now.seq, left: now.left }], waiters: 0 }
    },
  }
}

export function counters(nats: Nats): CountersDriver {
  const kv: Bucket = bucket(nats, `${nats.prefix}-counters`)
  /** One after the other here; others are told apart by the revision. */
  let before: Promise<unknown> = Promise.resolve()
  const add = async (name: string, amount: number): Promise<number> => {
    for (;;) {
      const found = await kv.last(name)
      const now = found && !found.gone ? Number(Buffer.from(found.stored.value).toString()) : 0
      if (amount === 0) return now
      if ((await kv.put(name, Buffer.from(String(now + amount)), 'json', found?.seq ?? 0)) !== undefined) return now + amount
    }
  }
  return {
    add(name, amount) {
      const run = before.then(() => add(name, amount))
      before = run.catch(() => {})
      return run
    },
  }
}
