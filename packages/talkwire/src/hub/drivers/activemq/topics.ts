/** A topic is a virtual one: who subscribes alone hears the topic, a group reads a queue that the broker keeps for it. */
import { TalkwireError } from '../../../error.js'
import type { SubscribeOptions, Subscription, TopicSink, TopicsDriver } from '../../driver.js'
import { isPattern, matchesPattern } from '../../topic-names.js'
import { ownHeaders, type Arrived } from './line.js'
import type { ActiveMq } from './link.js'

/** How many are on their way to a subscriber at once. */
const AHEAD = 256
/** A member of a group has fewer, so that there are some for the others. */
const AHEAD_OF_MEMBER = 64

export function topics(mq: ActiveMq): TopicsDriver {
  const lacks = (what: string): TalkwireError => new TalkwireError('UNSUPPORTED', `${mq.name} has no ${what}`)
  return {
    async publish(topic, message, { retain }) {
      if (retain) throw lacks('retained values; embedded, mqtt and redis have them')
      await mq.send({ to: [mq.names.topic(topic)], ...message, persistent: true })
    },
    async subscribe(pattern, options, sink) {
      if (options.from !== 'new') throw lacks('replay: ActiveMQ keeps no messages of topics; embedded, nats and redis do')
      if (options.group !== undefined && isPattern(pattern))
        throw lacks(
          `groups of a pattern such as "${pattern}": ActiveMQ keeps a queue for each group of one topic alone; amqp, embedded, mqtt and nats have them`,
        )
      return subscribe(mq, pattern, options, sink)
    },
  }
}

async function subscribe(mq: ActiveMq, pattern: string, { group, buffer }: SubscribeOptions, sink: TopicSink): Promise<Subscription> {
  let room = true
  let closed = false
  let held: Arrived[] = []
  const from = group === undefined ? mq.names.topic(pattern) : mq.names.group(group, pattern)
  const window = Math.max(1, Math.min(buffer, group === undefined ? AHEAD : AHEAD_OF_MEMBER))
  /** Without a connection it goes to another member, or is lost with the subscription. */
  const accept = (message: Arrived): void => void message.accept().catch(() => {})
  const give = (): void => {
    while (room && !closed && held.length > 0) {
      const message = held.shift()!
      const topic = mq.names.topicOf(message.name)
      // ActiveMQ's ">" takes the topic before it, too.
      if (group !== undefined || matchesPattern(pattern, topic))
        room = sink.message({
          body: message.body,
          type: message.type,
          headers: ownHeaders(message.headers),
          topic: group === undefined ? topic : pattern,
          position: undefined,
          time: undefined,
          retained: false,
        })
      accept(message)
    }
  }
  const under = await mq.standing({
    what: pattern,
    setUp: (line) =>
      line.receive({
        from,
        window,
        arrived(message) {
          held.push(message)
          give()
        },
        ended: (reason) => under.failed(line, reason),
      }),
    down: () => (held = []),
  })
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    await under.end()
    // What a member was sent and did not take goes to another.
    await under.receiver?.close().catch(() => {})
    sink.ended()
  }
  const forget = mq.closing(end)
  return {
    resume() {
      room = true
      give()
    },
    close: end,
  }
}
