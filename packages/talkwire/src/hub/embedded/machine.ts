/** The hub without its files, sockets and timers: topics, queues, state, leases and counters, and what the log says of them. */
import { BodyReader } from './bodies.js'
import type { Instant } from './clock.js'
import { Effects, Kind } from './effects.js'
import type { HubLimits } from './limits.js'
import { Leases } from './leases.js'
import type { Place } from './log-types.js'
import { Queues } from './queues.js'
import { Space, State } from './state.js'
import { Topics } from './topics.js'

/** What a record costs in the log beside its body, roughly; for `liveBytes`. */
const BESIDE = 64

export interface Machine {
  readonly effects: Effects
  readonly state: State
  readonly counters: State
  readonly topics: Topics
  readonly queues: Queues
  readonly leases: Leases
  /** The hub's last start, as the log says; undefined: there was none. */
  readonly last: Instant | undefined
  replay(this: void, kind: number, body: Uint8Array, place: Place): void
  /** After the last record: hub time begins. */
  begin(now: number, describe: () => Instant): void
  live(this: void, kind: number, body: Uint8Array, place: Place): boolean
  moved(this: void, from: Place, to: Place): void
  liveBytes(this: void): number
  /** When `tick` has something to do; Infinity: never, by now. */
  next(): number
  tick(now: number): void
}

/** `logged`: false, nothing is written, and nothing waits. */
export function createMachine(limits: HubLimits, logged: boolean): Machine {
  const effects = new Effects(logged)
  const state = new State(effects, limits, Space.state, 'keys')
  const retained = new State(effects, limits, Space.retained, 'retained')
  const counters = new State(effects, limits, Space.counter, 'counters')
  const tables = [state, retained, counters]
  const topics = new Topics(effects, limits, retained)
  const queues = new Queues(effects, limits)
  const leases = new Leases(effects, limits)
  let last: Instant | undefined
  /** What `live` said yes to, until it is told where that stands. */
  let moving: ((to: Place) => void) | undefined

  const replay = (kind: number, body: Uint8Array, place: Place): void => {
    const reader = new BodyReader(body)
    if (kind === Kind.meta) {
      effects.replayed(reader.number(), place)
      last = { hub: reader.number(), monotonic: reader.number(), wall: reader.number(), boot: reader.text() }
    } else if (kind === Kind.set) tables[reader.byte()]?.replaySet(reader, place)
    else if (kind === Kind.gone) tables[reader.byte()]?.replayGone(reader)
    else if (kind === Kind.lease) leases.replayLease(reader, place)
    else if (kind === Kind.free) leases.replayFree(reader)
    else if (kind === Kind.keep) topics.keeper.replayRule(reader, place)
    else if (kind === Kind.message) topics.keeper.replayMessage(reader, place)
    else if (kind === Kind.group) topics.keeper.replayGroup(reader, place)
    else queues.replay(kind, reader, place)
  }

  const mover = (kind: number, body: Uint8Array, place: Place): ((to: Place) => void) | undefined => {
    const reader = new BodyReader(body)
    if (kind === Kind.meta) return effects.metaPlace === place ? (to) => (effects.metaPlace = to) : undefined
    if (kind === Kind.set) return tables[reader.byte()]?.live(reader, place)
    if (kind === Kind.lease) return leases.live(reader, place)
    if (kind === Kind.keep) return topics.keeper.liveRule(reader, place)
    if (kind === Kind.message) return topics.keeper.liveMessage(reader, place)
    if (kind === Kind.group) return topics.keeper.liveGroup(reader, place)
    if (kind === Kind.gone || kind === Kind.free) return undefined
    return queues.live(kind, reader, place)
  }

  const tick = (now: number): void => {
    for (const table of tables) table.expire(now)
    queues.expire(now)
    leases.expire(now)
    topics.keeper.trim(now)
  }

  return {
    effects,
    state,
    counters,
    topics,
    queues,
    leases,
    get last() {
      return last
    },
    replay,
    begin(now, describe) {
      queues.ready(now)
      leases.replayed(now)
      topics.keeper.replayed(now)
      effects.begin((writer) => {
        const { hub, monotonic, wall, boot } = describe()
        writer.number(hub).number(monotonic).number(wall).text(boot)
      })
    },
    live: (kind, body, place) => (moving = mover(kind, body, place)) !== undefined,
    moved(_from, to) {
      moving?.(to)
      moving = undefined
    },
    liveBytes: () => {
      let bytes = queues.liveBytes + topics.keeper.liveBytes + leases.size * BESIDE
      for (const table of tables) bytes += table.liveBytes
      return bytes
    },
    next: () => Math.min(...tables.map((table) => table.next), queues.next, leases.next, topics.next),
    tick,
  }
}
