/**
 * One partition, read by as many as want it. Those who stand at the same place share one request that waits at the broker; who is behind, or
 * was held back, reads on a connection of its own kind until it stands there, too.
 */
import type { FetchOptions } from '@platformatic/kafka'
import { TalkwireError } from '../../../error.js'
import type { From } from '../../driver.js'
import { pauses } from '../broker.js'
import { idsOf, isUnknown, passes, type Kafka, type Place, type Reader } from './connection.js'

export interface Entry {
  readonly offset: number
  /** Milliseconds since 1970. */
  readonly time: number
  readonly key: Buffer | undefined
  readonly value: Buffer
  readonly headers: readonly (readonly [Buffer, Buffer])[]
}

export interface Follower {
  /** False: enough for now, until `resume`. */
  entry(entry: Entry): boolean
  lost(count: number): void
}

export interface Following {
  resume(): void
  /** Nothing comes afterwards. */
  close(): void
}

export interface Log {
  /** Where somebody begins who wants this: an offset. */
  begin(from: From): Promise<number>
  /** Without room it begins when it is resumed. */
  follow(offset: number, follower: Follower, room?: boolean): Following
}

/** Milliseconds that the broker waits for something new. */
const WAIT = 5_000
const BYTES = 4 * 1024 * 1024
const NEWEST = -1n
const OLDEST = -2n
const CONTROL = 1 << 5
/** The broker's time instead of the producer's. */
const APPEND_TIME = 1 << 3

interface Read {
  readonly asked: number
  /** Later than what was asked for: what was before is cut off. Earlier: the log began anew. */
  readonly begin: number
  readonly entries: readonly Entry[]
  /** Where to go on. */
  readonly next: number
}

interface Seat {
  readonly follower: Follower
  at: number
  /** It is told by those who wait for all. */
  live: boolean
  room: boolean
  closed: boolean
  catching: boolean
}

export function openLog(kafka: Kafka, place: Place): Log {
  const { topic } = place
  const seats = new Set<Seat>()
  const clients = new Map<'ahead' | 'behind', Reader>()
  let closed = false
  /** Where those stand who are live; undefined: nobody is. */
  let head: number | undefined
  const client = (which: 'ahead' | 'behind'): Reader => {
    const known = clients.get(which)
    if (known) return known
    if (closed) throw new TalkwireError('CLOSED', 'the hub was closed')
    const made = kafka.reader()
    clients.set(which, made)
    return made
  }
  kafka.closing(async () => {
    closed = true
    await Promise.all([...clients.values()].map((each) => each.close()))
  })
  const edge = async (timestamp: bigint): Promise<number> => {
    const reader = client('behind')
    for (const pause = pauses(); ;) {
      try {
        const offsets = await reader.listOffsets({ topics: [topic], timestamp })
        return Number(offsets.get(topic)![0])
      } catch (reason) {
        // What the library knows may be of before a restart.
        reader.clearMetadata()
        if (closed || !passes(reason)) throw reason
        // Whoever begins would wait for somebody who publishes.
        if (isUnknown(reason)) await kafka.ensure(place, true)
        await kafka.again(pause, reason, topic)
      }
    }
  }
  const read = async (reader: Reader, offset: number, wait: number): Promise<Read> => {
    const { topics } = await reader.metadata({ topics: [topic] })
    const { id, partitions } = topics.get(topic)!
    const part = { partition: 0, currentLeaderEpoch: -1, fetchOffset: BigInt(offset), lastFetchedEpoch: -1, partitionMaxBytes: BYTES }
    const plan: FetchOptions<Buffer, Buffer, Buffer, Buffer> = {
      node: partitions[0]!.leader,
      maxWaitTime: wait,
      topics: [{ topicId: id, partitions: [part] }],
    }
    try {
      const { responses } = await reader.fetch(plan)
      return readOf(responses[0]?.partitions[0]?.records ?? [], offset)
    } catch (reason) {
      reader.clearMetadata()
      if (!idsOf(reason).includes('OFFSET_OUT_OF_RANGE')) throw reason
      const begin = await edge(OLDEST)
      return { asked: offset, begin, entries: [], next: begin }
    }
  }
  const give = (seat: Seat, { asked, begin, entries, next }: Read): void => {
    if (begin > seat.at) seat.follower.lost(begin - seat.at)
    if (begin > seat.at || begin < asked) seat.at = begin
    for (const entry of entries) {
      if (!seat.room || seat.closed) return
      if (entry.offset < seat.at) continue
      seat.at = entry.offset + 1
      seat.room = seat.follower.entry(entry)
    }
    if (seat.room) seat.at = Math.max(seat.at, next)
  }
  const lives = (): Seat[] => [...seats].filter(({ live }) => live)
  /** Reads for all who are live, as long as there are some. */
  const lead = async (): Promise<void> => {
    let pause = pauses()
    while (!closed && lives().length > 0) {
      try {
        const found = await read(client('ahead'), head!, WAIT)
        pause = pauses()
        head = found.next
        for (const seat of lives()) {
          give(seat, found)
          if (!seat.room) seat.live = false
        }
      } catch (reason) {
        if (!closed) await kafka.again(pause, reason, topic)
      }
    }
    head = undefined
  }
  const join = (seat: Seat): boolean => {
    if (head !== undefined && seat.at < head) return false
    seat.live = true
    if (head === undefined) {
      head = seat.at
      void lead()
    }
    return true
  }
  /** Until it stands where the others do. */
  const catchUp = async (seat: Seat): Promise<void> => {
    if (seat.catching || seat.live) return
    seat.catching = true
    let pause = pauses()
    while (!closed && !seat.closed && seat.room && !join(seat)) {
      try {
        const found = await read(client('behind'), seat.at, 0)
        pause = pauses()
        give(seat, found)
      } catch (reason) {
        if (!closed) await kafka.again(pause, reason, topic)
      }
    }
    seat.catching = false
  }
  return {
    async begin(from) {
      try {
        if (from === 'new') return await edge(NEWEST)
        if (from === 'all') return await edge(OLDEST)
        if ('after' in from) return Number(from.after) + 1
        const found = await edge(BigInt(Math.ceil(Math.max(0, from.time))))
        return found >= 0 ? found : await edge(NEWEST)
      } catch (reason) {
        throw kafka.errorOf(reason)
      }
    },
    follow(offset, follower, room = true) {
      const seat: Seat = { follower, at: offset, live: false, room, closed: false, catching: false }
      seats.add(seat)
      void catchUp(seat)
      return {
        resume() {
          seat.room = true
          void catchUp(seat)
        },
        close() {
          seat.closed = true
          seat.live = false
          seats.delete(seat)
        },
      }
    },
  }
}

type Batches = NonNullable<Awaited<ReturnType<Reader['fetch']>>['responses'][number]['partitions'][number]['records']>

/** A batch comes whole, also when only its end was asked for. */
function readOf(batches: Batches, offset: number): Read {
  const entries: Entry[] = []
  let next = offset
  for (const { attributes, firstOffset, firstTimestamp, maxTimestamp, lastOffsetDelta, records } of batches) {
    next = Number(firstOffset) + lastOffsetDelta + 1
    if (attributes & CONTROL) continue
    for (const { key, value, headers, offsetDelta, timestampDelta } of records) {
      const at = Number(firstOffset) + offsetDelta
      if (at < offset) continue
      const time = Number(attributes & APPEND_TIME ? maxTimestamp : firstTimestamp + timestampDelta)
      entries.push({ offset: at, time, key: key ?? undefined, value: value ?? EMPTY, headers: headers as Entry['headers'] })
    }
  }
  return { asked: offset, begin: offset, entries, next }
}
const EMPTY = Buffer.alloc(0)
