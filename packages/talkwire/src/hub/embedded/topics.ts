/** Topics: who gets what, the retained last value, what is kept and replayed, groups. Sans I/O. */
import { visibleError } from '../../session/validate.js'
import { isPattern, matchesPattern } from '../topic-names.js'
import * as packed from '../packed.js'
import { visibleInput } from './checks.js'
import { Cursor, Keeper } from './keeper.js'
import type { Effects } from './effects.js'
import type { KeptMessage } from './kept.js'
import { within, type HubLimits } from './limits.js'
import type { State } from './state.js'
import { Subscriber, type Portion, type Slow } from './subscriber.js'
import { Trie } from './trie.js'

export type Start = 'new' | 'all' | { readonly after: number } | { readonly time: number }

export interface Subscribe {
  readonly pattern: string
  readonly from: Start
  readonly group: string | undefined
  readonly slow: Slow
  /** Only requests, which others do not see. */
  readonly requests: boolean
}

/** What one subscriber gets. */
export interface Reading {
  /** Something may be there, or it ended. */
  wake: () => void
  readonly subscriber: Subscriber
  /** What may leave by now. Messages whose bytes are in the log: read them. */
  take(synced: number): Portion | readonly KeptMessage[] | undefined
  close(): void
}

interface Group {
  readonly key: string
  readonly pattern: string
  readonly subscriber: Subscriber
  readonly members: Set<Reading>
  /** Those that have room and got nothing, the longest waiting first. */
  readonly hungry: Set<Reading>
  /** Where it stands in what is kept; undefined: it only gets what is new. */
  readonly cursor: Cursor
}

interface Route {
  readonly subscribers: readonly Subscriber[]
  readonly kept: boolean
}

export interface Published {
  readonly stamp: number
  /** Subscribers that want to be waited for and have no room. */
  readonly slow: readonly Subscriber[]
  /** Which of the requests nobody takes, by their number. */
  readonly unheard: readonly number[]
}

/** Routes that are remembered. */
const ROUTES = 10_000

export class Topics {
  private readonly tries = { messages: new Trie<Subscriber>(), requests: new Trie<Subscriber>() }
  private readonly routes = { messages: new Map<string, Route>(), requests: new Map<string, Route>() }
  private readonly groups = new Map<string, Group>()
  readonly keeper: Keeper

  constructor(
    private readonly effects: Effects,
    private readonly limits: HubLimits,
    private readonly retained: State,
  ) {
    this.keeper = new Keeper(effects, () => this.routes.messages.clear())
  }

  /** `wall`: milliseconds since 1970. `may`: throws for a topic that the client may not use; asked once for each run of messages. */
  publish(bytes: Buffer, now: number, wall: number, may: (topic: string, isKept: boolean) => void): Published {
    const slow = new Set<Subscriber>()
    const unheard: number[] = []
    let stamp = 0
    let number = 0
    const runs = packed.runsOf(bytes, (size) => size > this.limits.message && within(size, this.limits, 'message', 'bytes of a message'))
    // Nothing is taken before all of it was looked at.
    for (const { topic, flags } of runs) may(topic, isKept(this.route(topic, flags), flags))
    for (const run of runs) {
      const route = this.route(run.topic, run.flags)
      if (isKept(route, run.flags)) stamp = Math.max(stamp, this.keep(bytes, run, route, now, wall, slow))
      else {
        if (run.flags & packed.REQUEST && route.subscribers.length === 0)
          for (let each = 0; each < run.count; each++) unheard.push(number + each)
        for (const subscriber of route.subscribers) this.offer(subscriber, bytes, run.start, run.end, run.count, 0, slow)
      }
      number += run.count
    }
    return { stamp, slow: [...slow], unheard }
  }

  subscribe(wish: Subscribe): Reading {
    const { pattern, from, group, slow, requests } = wish
    if (from !== 'new' && this.keeper.listsFor(pattern).length === 0)
      throw visibleError(
        'UNSUPPORTED',
        `nothing is kept of "${pattern}"; tell the hub to: keep({ pattern: "${pattern}", messages: 10000 })`,
      )
    if (group !== undefined) return this.join(wish, group)
    const subscriber = new Subscriber(pattern, slow, this.limits)
    this.add(subscriber, requests)
    if (from === 'new') this.offerRetained(subscriber, requests)
    const cursor = new Cursor(this.keeper, pattern, from, subscriber)
    return this.reading(subscriber, cursor, () => this.remove(subscriber, requests))
  }

  get next(): number {
    return this.keeper.next
  }

  private reading(subscriber: Subscriber, cursor: Cursor, close: () => void): Reading {
    const reading: Reading = {
      wake: () => {},
      subscriber,
      take: (synced) => cursor.take(synced) ?? (subscriber.replaying ? undefined : subscriber.take(synced)),
      close,
    }
    subscriber.wake = () => reading.wake()
    return reading
  }

  private join({ pattern, from, slow, requests }: Subscribe, name: string): Reading {
    const key = `${requests ? 'r' : 'm'}${pattern}\0${name}`
    const group = this.groups.get(key) ?? this.found(key, pattern, from, slow, requests)
    const reading: Reading = {
      wake: () => {},
      subscriber: group.subscriber,
      take: (synced) => {
        const portion = this.share(group, synced)
        if (portion === undefined) group.hungry.add(reading)
        else group.hungry.delete(reading)
        return portion
      },
      close: () => {
        group.members.delete(reading)
        group.hungry.delete(reading)
        if (group.members.size === 0) this.leave(group, requests)
        else group.subscriber.wake()
      },
    }
    group.members.add(reading)
    return reading
  }

  private found(key: string, pattern: string, from: Start, slow: Slow, requests: boolean): Group {
    const subscriber = new Subscriber(pattern, slow, this.limits)
    const members = new Set<Reading>()
    const hungry = new Set<Reading>()
    const cursor = new Cursor(this.keeper, pattern, requests ? 'new' : this.keeper.groupStart(key, pattern, from), subscriber)
    const group: Group = { key, pattern, subscriber, members, hungry, cursor }
    // One is woken for each message: who waits longest gets it.
    subscriber.wake = () => {
      const [longest] = hungry
      if (longest) hungry.delete(longest)
      longest?.wake()
    }
    this.groups.set(key, group)
    this.add(subscriber, requests)
    return group
  }

  /** One member's part: not everything, while others have room too. */
  private share(group: Group, synced: number): Portion | readonly KeptMessage[] | undefined {
    const { cursor, subscriber, members, hungry } = group
    const kept = cursor.take(synced, members.size)
    if (kept) {
      this.keeper.groupAt(group.key, cursor.position)
      if (hungry.size > 0) queueMicrotask(subscriber.wake)
      return kept
    }
    if (subscriber.replaying) return undefined
    const portion = subscriber.take(synced, Math.max(1, Math.ceil(subscriber.size / members.size)))
    if (portion && subscriber.size > 0) queueMicrotask(subscriber.wake)
    if (portion && this.keeper.listsFor(group.pattern).length > 0)
      this.keeper.groupAt(group.key, lastPosition(portion.bytes, cursor.position))
    return portion
  }

  private leave(group: Group, requests: boolean): void {
    this.groups.delete(group.key)
    this.remove(group.subscriber, requests)
    group.subscriber.end(visibleInput('the group has no members'))
  }

  private add(subscriber: Subscriber, requests: boolean): void {
    const which = requests ? 'requests' : 'messages'
    this.tries[which].add(subscriber.pattern, subscriber)
    this.routes[which].clear()
  }

  private remove(subscriber: Subscriber, requests: boolean): void {
    const which = requests ? 'requests' : 'messages'
    this.tries[which].delete(subscriber.pattern, subscriber)
    this.routes[which].clear()
  }

  private route(topic: string, flags: number): Route {
    const which = flags & packed.REQUEST ? 'requests' : 'messages'
    const routes = this.routes[which]
    const known = routes.get(topic)
    if (known) return known
    if (routes.size >= ROUTES) routes.clear()
    const route = { subscribers: this.tries[which].match(topic), kept: this.keeper.listOf(topic) !== undefined }
    routes.set(topic, route)
    return route
  }

  private keep(bytes: Buffer, run: packed.Run, route: Route, now: number, wall: number, slow: Set<Subscriber>): number {
    let stamp = 0
    for (let at = run.start, end; at < run.end; at = end) {
      end = packed.endOf(bytes, at)
      stamp = Math.max(stamp, this.keepOne(bytes, at, end, route, now, wall, slow))
    }
    return stamp
  }

  private keepOne(bytes: Buffer, at: number, end: number, route: Route, now: number, wall: number, slow: Set<Subscriber>): number {
    const { flags, topic, headers, body } = packed.readAt(bytes, at, end)
    const position = this.effects.number()
    const stamped = packed.pack(flags & packed.TYPE_MASK, topic, headers, body, { position, time: wall })
    let stamp = 0
    if (flags & packed.RETAIN) {
      const last = packed.pack((flags & packed.TYPE_MASK) | packed.RETAIN, topic, headers, body, { position, time: wall })
      this.retained.change({ key: topic, value: last, type: 0, ttl: undefined, revision: undefined }, now)
      stamp = this.retained.stampOf(topic)
    }
    if (route.kept) stamp = this.keeper.add(topic, stamped, position, now, wall)
    for (const subscriber of route.subscribers)
      if (route.kept && subscriber.replaying) subscriber.wake()
      else this.offer(subscriber, stamped, 0, stamped.length, 1, stamp, slow)
    return stamp
  }

  private offer(
    subscriber: Subscriber,
    bytes: Buffer,
    start: number,
    end: number,
    count: number,
    stamp: number,
    slow: Set<Subscriber>,
  ): void {
    subscriber.offer(bytes, start, end, count, stamp)
    if (subscriber.full && subscriber.slow === 'wait' && !subscriber.ended) slow.add(subscriber)
  }

  private offerRetained(subscriber: Subscriber, requests: boolean): void {
    if (requests) return
    const { pattern } = subscriber
    const prefix = isPattern(pattern) ? pattern.slice(0, pattern.search(/[*>]/)) : pattern
    for (let after: string | undefined; ;) {
      const entries = this.retained.list(prefix, after, 1024, 0)
      if (entries.length === 0) return
      for (const { key, value, stamp } of entries)
        if (matchesPattern(pattern, key)) subscriber.offer(value as Buffer, 0, value.length, 1, stamp)
      after = entries.at(-1)!.key
    }
  }
}

/** It is written, and not only handed on. */
const isKept = ({ kept }: Route, flags: number): boolean => (kept && !(flags & packed.REQUEST)) || (flags & packed.RETAIN) > 0

function lastPosition(bytes: Uint8Array, otherwise: number): number {
  let position = otherwise
  packed.unpack(bytes, (message) => {
    if (message.position > position) ({ position } = message)
  })
  return position
}
