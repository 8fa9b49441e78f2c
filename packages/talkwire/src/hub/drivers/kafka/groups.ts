/** A group is a group of Kafka: with one partition one member has all messages, and another when it goes. How far they are is kept by Kafka. */
import type { From, Subscription, TopicSink } from '../../driver.js'
import { isAway, pauses } from '../broker.js'
import { passes, type Kafka, type Reader } from './connection.js'
import type { Entry, Following, Log } from './log.js'

export interface Membership {
  readonly log: Log
  /** Of Kafka. */
  readonly topic: string
  readonly group: string
  /** Where a group begins that is nowhere yet. */
  readonly from: From
  /** False: enough for now. */
  readonly hear: (entry: Entry) => boolean
  /** Kafka knows of each before it is heard, so it is heard once or, if this member is killed in between, never. */
  readonly once?: boolean
}

export async function member(
  kafka: Kafka,
  { log, topic, group, from, hear, once = false }: Membership,
  sink: Pick<TopicSink, 'lost' | 'ended'>,
): Promise<Subscription> {
  let closed = false
  let room = true
  let reader: Reader
  let following: Following | undefined
  /** Changes whenever somebody else may have the messages. */
  let term = 0
  let taking: Promise<void> = Promise.resolve()
  /** What comes next, of what this member was given. */
  let next = -1
  let said = -1
  let saying: Promise<void> | undefined
  /** What is heard when it was said. */
  let held: Entry[] = []
  const first = await log.begin(from)

  const say = async (): Promise<void> => {
    // Those of one turn at once.
    await new Promise<void>((resolve) => setImmediate(resolve))
    while (said < next) {
      const offset = next
      const entries = held
      held = []
      await reader.commit({ offsets: [{ topic, partition: 0, offset: BigInt(offset), leaderEpoch: -1 }] })
      said = offset
      for (const each of entries) hear(each)
    }
  }
  const commit = (): void => {
    saying ??= say()
      .catch((reason: unknown) => {
        // Whoever has the messages next begins a little earlier.
        if (!isAway(kafka.errorOf(reason)) && !passes(reason)) kafka.onError(kafka.errorOf(reason), group)
        if (once) unsaid(reason)
      })
      .finally(() => (saying = undefined))
  }
  const stop = (): void => {
    term++
    following?.close()
    following = undefined
  }
  /** Another may have them by now, or this one again. */
  const unsaid = (reason: unknown): void => {
    held = []
    if (!following) return
    stop()
    const mine = term
    taking = kafka.again(pauses(), reason, group).then(() => (mine === term ? assigned() : undefined))
  }
  const committed = async (): Promise<number> =>
    Number((await reader.listCommittedOffsets({ topics: [{ topic, partitions: [0] }] })).get(topic)![0])
  const take = async (mine: number): Promise<void> => {
    if (once) {
      await saying
      held = []
      next = -1
    }
    const known = await committed()
    if (mine !== term) return
    said = known
    next = Math.max(known < 0 ? first : known, next)
    commit()
    await saying
    if (mine !== term) return
    const entry = (each: Entry): boolean => {
      if (once) held.push(each)
      else room = hear(each)
      next = each.offset + 1
      commit()
      return room
    }
    following = log.follow(next, { entry, lost: (count) => sink.lost(count) }, room)
  }
  /** The messages are this member's, or nobody said so. */
  const assigned = async (): Promise<void> => {
    stop()
    const mine = term
    const pause = pauses()
    while (mine === term && reader.assignments?.some((each) => each.topic === topic)) {
      try {
        return await take(mine)
      } catch (reason) {
        if (mine === term) await kafka.again(pause, reason, group)
      }
    }
  }
  const join = async (): Promise<void> => {
    const made = (reader = kafka.reader(group))
    made.topics.track(topic)
    made
      .on('consumer:group:rebalance', stop)
      .on('consumer:group:join', () => (taking = assigned()))
      .on('error', (reason) => void anew(made, reason))
      // The library says nothing more to the group afterwards, and never looks for another coordinator.
      .on('consumer:heartbeat:error', ({ error }) => void anew(made, error))
    try {
      await made.joinGroup({})
    } catch (reason) {
      await leave(made)
      throw reason
    }
  }
  const anew = async (which: Reader, cause: unknown): Promise<void> => {
    const pause = pauses()
    let reason = cause
    while (reason !== undefined && !closed && which === reader) {
      stop()
      await kafka.again(pause, reason, group)
      await leave(which)
      if (closed || which !== reader) return
      reason = await failureOf(join())
      which = reader
    }
  }
  /** Whoever has the messages says where the group begins. */
  const begun = async (): Promise<void> => {
    for (const pause = pauses(); !closed;) {
      await taking
      let offset = -1
      const reason = await failureOf(committed().then((known) => (offset = known)))
      if (offset >= 0) return
      await (reason === undefined ? pause.next() : kafka.again(pause, reason, group))
    }
  }
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    stop()
    await saying
    sink.ended()
    await leave(reader)
  }
  for (const pause = pauses(); ;) {
    const reason = await failureOf(join())
    if (reason === undefined) break
    if (!passes(reason)) throw kafka.errorOf(reason)
    await kafka.again(pause, reason, group)
  }
  const forget = kafka.closing(end)
  await begun()
  return {
    resume() {
      room = true
      following?.resume()
    },
    close: end,
  }
}

/** Where nobody is there is nobody to say goodbye to. */
const leave = (reader: Reader): Promise<void> => reader.close().catch(() => reader.connections.close())
const failureOf = (what: Promise<unknown>): Promise<unknown> =>
  what.then(
    () => undefined,
    (reason: unknown) => reason,
  )
