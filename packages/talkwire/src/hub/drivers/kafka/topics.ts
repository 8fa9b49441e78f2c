/** Topics are the keys of one topic of Kafka, `PREFIX.topics`, with one partition: all messages have one order, and a pattern hears it. */
import { TalkwireError } from '../../../error.js'
import type { Incoming, Outgoing, SubscribeOptions, Subscription, TopicMessage, TopicSink, TopicsDriver } from '../../driver.js'
import { matchesPattern } from '../../topic-names.js'
import { bodyTypeOf, CONTENT_TYPES } from '../broker.js'
import type { Kafka, NewRecord } from './connection.js'
import { member } from './groups.js'
import { openLog, type Entry, type Log } from './log.js'

const TYPE = 'content-type'

export function topics(kafka: Kafka): TopicsDriver {
  const topic = `${kafka.prefix}.topics`
  const log = openLog(kafka, { topic })
  return {
    async publish(key, message, { retain }) {
      if (retain)
        throw new TalkwireError(
          'UNSUPPORTED',
          'kafka has no retained values: who subscribes would have to read a whole log for one; embedded and redis have them',
        )
      await kafka.produce({ topic }, recordOf(key, message))
    },
    async subscribe(pattern, options, sink) {
      if (typeof options.from === 'object' && 'after' in options.from && !/^\d{1,15}$/.test(options.from.after))
        throw new TalkwireError('INVALID_INPUT', `"${options.from.after}" is no position of this hub`)
      await kafka.ensure({ topic })
      return options.group === undefined
        ? follow(kafka, log, pattern, options, sink)
        : member(
            kafka,
            {
              log,
              topic,
              group: `${kafka.prefix}:${encodeURIComponent(options.group)}:${pattern}`,
              from: options.from,
              hear: hear(pattern, options, sink),
            },
            sink,
          )
    },
  }
}

async function follow(kafka: Kafka, log: Log, pattern: string, options: SubscribeOptions, sink: TopicSink): Promise<Subscription> {
  const following = log.follow(await log.begin(options.from), { entry: hear(pattern, options, sink), lost: (count) => sink.lost(count) })
  let closed = false
  const end = (): void => {
    if (closed) return
    closed = true
    forget()
    following.close()
    sink.ended()
  }
  const forget = kafka.closing(end)
  return { resume: () => following.resume(), close: async () => end() }
}

/** Returns false when there is enough. */
function hear(pattern: string, { from }: SubscribeOptions, sink: TopicSink): (entry: Entry) => boolean {
  const since = typeof from === 'object' && 'time' in from ? from.time : 0
  return (entry) => {
    const message = messageOf(entry)
    if (!message || !matchesPattern(pattern, message.topic) || entry.time < since) return true
    return sink.message(message)
  }
}

export function recordOf(key: string, { body, type, headers }: Outgoing): NewRecord {
  const pairs = Object.entries({ ...headers }).map(([name, value]) => [Buffer.from(name), Buffer.from(value)] as const)
  return {
    key: Buffer.from(key),
    value: Buffer.from(body.buffer, body.byteOffset, body.byteLength),
    headers: new Map([...pairs, [Buffer.from(TYPE), Buffer.from(CONTENT_TYPES[type])]]),
  }
}

/** Undefined: it has no key, so it belongs to no topic. */
function messageOf(entry: Entry): TopicMessage | undefined {
  const { key, offset, time } = entry
  return key && { ...incomingOf(entry), topic: String(key), position: String(offset), time, retained: false }
}

/** Without the headers that are the driver's own. */
export function incomingOf({ value, headers: pairs }: Entry, own: readonly string[] = []): Incoming {
  const type = pairs.findLastIndex(([name]) => String(name) === TYPE)
  const headers: Record<string, string> = {}
  for (const [index, [name, said]] of pairs.entries())
    if (index !== type && !own.includes(String(name))) headers[String(name)] = String(said ?? '')
  // The answer that it came in belongs to all.
  return { body: Buffer.from(value), headers, type: bodyTypeOf(String(pairs[type]?.[1] ?? '')) }
}
