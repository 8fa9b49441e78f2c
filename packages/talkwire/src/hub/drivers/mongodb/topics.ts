/** Topics are in one log, that all read: log.ts. A change stream only says that there is something new. */
import { TalkwireError } from '../../../error.js'
import type { SubscribeOptions, Subscription, TopicSink, TopicsDriver } from '../../driver.js'
import type { Mongo } from './connection.js'
import { member } from './groups.js'
import { attend, tell, type Hearing } from './hearing.js'
import { entryOf, openLog, type Entry, type Log } from './log.js'

/** Messages and bytes of one document, unless one message has more. */
const MOST = 1000
const MOST_BYTES = 256 * 1024

export function topics(mongo: Mongo): TopicsDriver {
  const log = openLog(mongo)
  const publish = publishing(log)
  return {
    async publish(topic, message, { retain }) {
      if (retain)
        throw new TalkwireError(
          'UNSUPPORTED',
          'mongodb has no retained values: the log and the last value would be two writes, and who subscribes between them misses one; embedded and redis have them',
        )
      const { entry, bytes } = entryOf(mongo, topic, message)
      await publish(entry, bytes)
    },
    subscribe: (pattern, options, sink) =>
      options.group === undefined ? follow(log, pattern, options, sink) : member(log, options.group, pattern, options, sink),
  }
}

interface Waiting {
  readonly entry: Entry
  readonly bytes: number
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

/** One document at a time, so that they stand in their order; what comes meanwhile goes in the next one. */
function publishing({ mongo, append }: Log): (entry: Entry, bytes: number) => Promise<void> {
  const waiting: Waiting[] = []
  let running: Promise<void> | undefined
  const some = (): Waiting[] => {
    let bytes = 0
    const end = waiting.findIndex((each, index) => (bytes += each.bytes) > MOST_BYTES && index > 0)
    return waiting.splice(0, Math.min(MOST, end < 0 ? MOST : end))
  }
  const run = async (): Promise<void> => {
    await new Promise<void>((resolve) => process.nextTick(resolve))
    while (waiting.length > 0) {
      const going = some()
      try {
        await append(going.map(({ entry }) => entry))
        for (const { resolve } of going) resolve()
      } catch (reason) {
        for (const { reject } of going) reject(reason)
      }
    }
    running = undefined
  }
  mongo.closing(() => running)
  return (entry, bytes) =>
    new Promise((resolve, reject) => {
      waiting.push({ entry, bytes, resolve, reject })
      running ??= run()
    })
}

async function follow(log: Log, pattern: string, options: SubscribeOptions, sink: TopicSink): Promise<Subscription> {
  let place = await log.begin(options.from)
  let room = true
  const pass = async (over: () => boolean): Promise<void> => {
    const hearing: Hearing = {
      message: (message) => !over() && (room = sink.message(message)),
      lost: (count) => sink.lost(count),
    }
    while (room && !over()) {
      const found = await log.read(place.doc)
      if (found.length === 0) return
      if (!over()) place = tell(found, place, pattern, options.from, hearing)
    }
  }
  const attention = await attend(log, pattern, {
    pass,
    async anew() {
      place = await log.known(place)
    },
    ended: () => sink.ended(),
  })
  return {
    resume() {
      room = true
      attention.look()
    },
    close: attention.close,
  }
}
