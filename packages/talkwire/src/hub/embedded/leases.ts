/** Leases: permits, fencing tokens, waiters in order, time to live. Sans I/O. */
import { visibleInput } from './checks.js'
import type { BodyReader } from './bodies.js'
import { Deadlines } from './deadlines.js'
import { Kind, type Effects } from './effects.js'
import { within, type HubLimits } from './limits.js'
import type { Place } from './log-types.js'

export interface Holder {
  readonly name: string
  readonly token: number
  readonly holder: string
  readonly label: string
  ttl: number
  due: number
  readonly stamp: number
  place: Place
}

export interface Ask {
  readonly holder: string
  readonly label: string
  readonly ttl: number
  readonly wait: number
  readonly permits: number
}

export interface Waiter {
  readonly name: string
  readonly ask: Ask
  due: number
  /** Called once: granted, or undefined when the time is over. */
  readonly settle: (holder: Holder | undefined) => void
}

interface Lease {
  readonly name: string
  permits: number
  readonly holders: Map<number, Holder>
  readonly waiters: Set<Waiter>
}

export class Leases {
  private readonly leases = new Map<string, Lease>()
  private readonly deadlines = new Deadlines<Holder | Waiter>()
  /** Of the last holder that went: who sees a free lease waits for it. */
  private freed = 0

  constructor(
    private readonly effects: Effects,
    private readonly limits: HubLimits,
  ) {}

  get next(): number {
    return this.deadlines.next
  }

  get size(): number {
    return this.leases.size
  }

  /** Granted, queued (a waiter), or undefined: it is held, and nobody waits. Throws INVALID_INPUT for another number of permits, LIMIT_EXCEEDED. */
  acquire(name: string, ask: Ask, now: number, settle: Waiter['settle']): Holder | Waiter | undefined {
    this.expire(now)
    const lease = this.leases.get(name) ?? this.create(name, ask.permits)
    if (lease.permits !== ask.permits)
      throw visibleInput(`"${name}" is held with ${lease.permits} permits; all who ask for it say the same`)
    if (lease.holders.size < lease.permits && lease.waiters.size === 0) return this.grant(lease, ask, now)
    if (ask.wait <= 0) return undefined
    within(lease.waiters.size + 1, this.limits, 'waiters', `waiters for "${name}"`)
    const waiter: Waiter = { name, ask, due: now + ask.wait, settle }
    lease.waiters.add(waiter)
    this.deadlines.add(waiter)
    return waiter
  }

  /** It waits no longer. False: it was settled already. */
  cancel(waiter: Waiter): boolean {
    waiter.due = NaN
    const lease = this.leases.get(waiter.name)
    if (!lease?.waiters.delete(waiter)) return false
    this.tidy(lease)
    return true
  }

  /** False: nobody holds it with this token. */
  renew(name: string, token: number, ttl: number, now: number): boolean {
    this.expire(now)
    const holder = this.leases.get(name)?.holders.get(token)
    if (!holder) return false
    holder.due = now + ttl
    this.deadlines.add(holder)
    if (ttl !== holder.ttl) {
      holder.ttl = ttl
      this.write(holder)
    }
    return true
  }

  release(name: string, token: number, now: number): boolean {
    this.expire(now)
    const lease = this.leases.get(name)
    const holder = lease?.holders.get(token)
    if (!lease || !holder) return false
    this.free(lease, holder)
    this.serve(lease, now)
    return true
  }

  inspect(name: string, now: number): { holders: readonly Holder[]; waiters: number; stamp: number } {
    this.expire(now)
    const lease = this.leases.get(name)
    const holders = lease ? [...lease.holders.values()] : []
    const stamp = holders.reduce((most, holder) => Math.max(most, holder.stamp), this.freed)
    return { holders, waiters: lease?.waiters.size ?? 0, stamp }
  }

  expire(now: number): void {
    for (let item = this.deadlines.take(now); item; item = this.deadlines.take(now)) {
      const lease = this.leases.get(item.name)
      if (!lease) continue
      if ('settle' in item) {
        if (this.cancel(item)) item.settle(undefined)
        continue
      }
      this.free(lease, item)
      this.serve(lease, now)
    }
  }

  replayLease(reader: BodyReader, place: Place): void {
    const name = reader.text()
    const permits = reader.number()
    const token = reader.number()
    this.effects.met(token)
    const ttl = reader.number()
    const lease = this.leases.get(name) ?? this.create(name, permits)
    lease.holders.set(token, { name, token, holder: reader.text(), label: reader.text(), ttl, due: Infinity, stamp: 0, place })
  }

  replayFree(reader: BodyReader): void {
    const lease = this.leases.get(reader.text())
    const token = reader.number()
    this.effects.met(token)
    if (!lease) return
    lease.holders.delete(token)
    this.tidy(lease)
  }

  /** Whoever holds one has its whole time again: nobody could renew while we were away. */
  replayed(now: number): void {
    for (const { holders } of this.leases.values())
      for (const holder of holders.values()) {
        holder.due = now + holder.ttl
        this.deadlines.add(holder)
      }
  }

  live(reader: BodyReader, place: Place): ((to: Place) => void) | undefined {
    const name = reader.text()
    reader.number()
    const holder = this.leases.get(name)?.holders.get(reader.number())
    return holder?.place === place ? (to) => (holder.place = to) : undefined
  }

  private create(name: string, permits: number): Lease {
    within(this.leases.size + 1, this.limits, 'leases', 'leases')
    const lease: Lease = { name, permits, holders: new Map(), waiters: new Set() }
    this.leases.set(name, lease)
    return lease
  }

  private grant(lease: Lease, { holder, label, ttl }: Ask, now: number): Holder {
    const granted = { name: lease.name, token: this.effects.number(), holder, label, ttl, due: now + ttl, stamp: 0, place: -1 }
    lease.holders.set(granted.token, granted)
    this.deadlines.add(granted)
    granted.stamp = this.write(granted)
    return granted
  }

  private write(holder: Holder): number {
    const { permits } = this.leases.get(holder.name)!
    return this.effects.write(
      Kind.lease,
      (writer) => writer.text(holder.name).number(permits).number(holder.token).number(holder.ttl).text(holder.holder).text(holder.label),
      (place) => (holder.place = place),
    )
  }

  private free(lease: Lease, holder: Holder): void {
    holder.due = NaN
    if (!lease.holders.delete(holder.token)) return
    this.freed = this.effects.write(Kind.free, (writer) => writer.text(lease.name).number(holder.token))
    this.tidy(lease)
  }

  private serve(lease: Lease, now: number): void {
    for (const waiter of lease.waiters) {
      if (lease.holders.size >= lease.permits) return
      lease.waiters.delete(waiter)
      waiter.due = NaN
      waiter.settle(this.grant(lease, waiter.ask, now))
    }
  }

  private tidy(lease: Lease): void {
    if (lease.holders.size === 0 && lease.waiters.size === 0) this.leases.delete(lease.name)
  }
}
