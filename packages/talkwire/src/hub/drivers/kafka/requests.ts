/**
 * Requests are the topic `PREFIX.requests`, with the hub's topics as keys; replies go where `kafka_replyTopic` says, with the
 * `kafka_correlationId` of the request, as Spring has it: for us that is `PREFIX.replies`. Each reply but the last has `talkwire_more`.
 */
import { randomUUID } from 'node:crypto'
import type { Incoming, Outgoing, RequestsDriver, Subscription } from '../../driver.js'
import { matchesPattern } from '../../topic-names.js'
import { asking, pauses } from '../broker.js'
import type { Kafka, NewRecord, Place } from './connection.js'
import { member } from './groups.js'
import { openLog, type Entry, type Log } from './log.js'
import { incomingOf, recordOf } from './topics.js'

const REPLY_TOPIC = 'kafka_replyTopic'
const REPLY_PARTITION = 'kafka_replyPartition'
const CORRELATION = 'kafka_correlationId'
const MORE = 'talkwire_more'
const MARK = 'talkwire_mark'
const OWN = [REPLY_TOPIC, REPLY_PARTITION, CORRELATION, MORE]
/** What nobody took for so many milliseconds is not answered any more. */
const STALE = 60_000
/** Milliseconds: nobody reads what is older, but who stood still for a while. */
const KEPT = 300_000

type Extra = readonly (readonly [name: string, value: string | Buffer])[]

export function requests(kafka: Kafka): RequestsDriver {
  const place: Place = { topic: `${kafka.prefix}.requests`, kept: KEPT }
  const replies: Place = { topic: `${kafka.prefix}.replies`, kept: KEPT }
  const log = openLog(kafka, place)
  const replyLog = openLog(kafka, replies)
  const youth = ages(kafka, place, log)
  const { ask, replied } = asking()
  const entry = (each: Entry): boolean => {
    const id = headerOf(each, CORRELATION)
    if (id) replied(String(id), () => ({ ...incoming(each), more: headerOf(each, MORE) !== undefined }))
    return true
  }
  let hearing: Promise<void> | undefined
  const hear = async (): Promise<void> => {
    await kafka.ensure(replies)
    replyLog.follow(await replyLog.begin('new'), { entry, lost() {} })
  }
  const heard = (): Promise<void> => {
    hearing ??= hear()
    hearing.catch(() => (hearing = undefined))
    return hearing
  }
  const placeOf = (topic: string, partition: Buffer | undefined): Place =>
    topic === replies.topic ? replies : { topic, partition: numberOf(partition) }
  return {
    request: (topic, message, onReply) =>
      ask(topic, onReply, async (id) => {
        await heard()
        const extra: Extra = [
          [REPLY_TOPIC, replies.topic],
          [CORRELATION, id],
        ]
        await kafka.produce(place, withHeaders(recordOf(topic, message), extra))
        return true
      }),
    async respond(pattern, group, onRequest) {
      await kafka.ensure(place)
      const young = youth((each) => {
        const topic = String(each.key)
        const [to, id] = [headerOf(each, REPLY_TOPIC), headerOf(each, CORRELATION)]
        const back = to && placeOf(String(to), headerOf(each, REPLY_PARTITION))
        const reply = async (out: Outgoing, more: boolean): Promise<void> => {
          if (!back) return
          const extra: Extra = [...(id ? [[CORRELATION, id] as const] : []), ...(more ? [[MORE, 'true'] as const] : [])]
          await kafka.produce(back, withHeaders(recordOf(topic, out), extra))
        }
        onRequest({ ...incoming(each), topic, position: undefined, time: undefined, retained: false, reply })
      })
      const take = (each: Entry): boolean => {
        if (each.key && matchesPattern(pattern, String(each.key))) young(each)
        return true
      }
      if (group === undefined) return follow(kafka, log, take)
      const name = `${kafka.prefix}:requests:${encodeURIComponent(group)}:${pattern}`
      return member(kafka, { log, topic: place.topic, group: name, from: 'new', hear: take, once: true }, { lost() {}, ended() {} })
    },
  }
}

async function follow(kafka: Kafka, log: Log, entry: (entry: Entry) => boolean): Promise<Subscription> {
  const following = log.follow(await log.begin('new'), { entry, lost() {} })
  const end = async (): Promise<void> => {
    forget()
    following.close()
  }
  const forget = kafka.closing(end)
  return { resume() {}, close: end }
}

/**
 * Lets through, in their order, what is not stale. Kafka tells its time to nobody but in what is written, so a mark is written where
 * the time that is known says that something is old.
 */
function ages(kafka: Kafka, place: Place, log: Log): (take: (entry: Entry) => void) => (entry: Entry) => void {
  /** Between the broker's clock and ours, which does not jump. */
  let ahead: number | undefined
  let marking: Promise<void> | undefined
  let closed = false
  kafka.closing(() => (closed = true))
  const isYoung = ({ time }: Entry): boolean => {
    if (ahead === undefined) return false
    ahead = Math.max(ahead, time - performance.now())
    return performance.now() + ahead - time < STALE
  }
  const mark = async (): Promise<void> => {
    const id = randomUUID()
    const offset = await log.begin('new')
    await kafka.produce(place, { value: Buffer.alloc(0), headers: new Map([[Buffer.from(MARK), Buffer.from(id)]]) })
    ahead = await new Promise<number>((resolve) => {
      const following = log.follow(offset, {
        entry(each) {
          if (String(headerOf(each, MARK)) !== id) return true
          following.close()
          resolve(each.time - performance.now())
          return false
        },
        lost() {},
      })
    })
  }
  const marked = async (): Promise<void> => {
    for (const pause = pauses(); !closed;)
      try {
        return await mark()
      } catch (reason) {
        if (!closed) await kafka.again(pause, reason, place.topic)
      }
  }
  return (take) => {
    const held: Entry[] = []
    const goOn = async (): Promise<void> => {
      await (marking ??= marked().finally(() => (marking = undefined)))
      for (const each of held.splice(0)) if (isYoung(each)) take(each)
    }
    return (entry) => {
      if (held.length === 0 && isYoung(entry)) take(entry)
      else if (held.push(entry) === 1) void goOn()
    }
  }
}

/** The last one counts, as in Spring. */
const headerOf = ({ headers }: Entry, name: string): Buffer | undefined => headers.findLast(([key]) => String(key) === name)?.[1]

/** Four bytes in Spring, digits in Nest. */
function numberOf(partition: Buffer | undefined): number {
  if (partition?.length === 4 && partition[0] === 0) return partition.readUInt32BE()
  const said = Number(partition ?? 0)
  return Number.isInteger(said) && said >= 0 ? said : 0
}

const incoming = (entry: Entry): Incoming => incomingOf(entry, OWN)

function withHeaders({ key, value, headers }: NewRecord, extra: Extra): NewRecord {
  return {
    key: key!,
    value,
    headers: new Map([...headers, ...extra.map(([name, said]) => [Buffer.from(name), Buffer.from(said)] as const)]),
  }
}
