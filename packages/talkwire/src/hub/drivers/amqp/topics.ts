/** Topics are the exchange `PREFIX.topics`; a subscription is a queue of its connection, a group a durable one that all members read. */
import type { Channel, ConsumeMessage } from 'amqplib'
import { createHash } from 'node:crypto'
import { TalkwireError } from '../../../error.js'
import type { SubscribeOptions, Subscription, TopicSink, TopicsDriver } from '../../driver.js'
import { acknowledge, bindingOf, incoming, propertiesOf, short, type Amqp } from './connection.js'

/** How many are on their way to a subscriber at once. */
const AHEAD = 256
/** A member of a group has fewer, so that there are some for the others. */
const AHEAD_OF_MEMBER = 64
/** A group whose members are all away is forgotten after so many milliseconds. */
const FORGOTTEN = 7 * 24 * 3_600_000

export function topics(amqp: Amqp): TopicsDriver {
  const exchange = `${amqp.prefix}.topics`
  const ready = (): Promise<void> => amqp.ensure(exchange, (channel) => channel.assertExchange(exchange, 'topic', { durable: true }))
  return {
    async publish(topic, message, { retain }) {
      if (retain) throw new TalkwireError('UNSUPPORTED', 'amqp has no retained values; embedded and redis have them')
      await amqp.send({ exchange, key: topic, body: message.body, options: propertiesOf(message), ready })
    },
    async subscribe(pattern, options, sink) {
      if (options.from !== 'new')
        throw new TalkwireError('UNSUPPORTED', 'amqp has no replay: RabbitMQ keeps no messages of topics; embedded, nats and redis do')
      short(pattern, 'a pattern')
      await ready()
      return subscribe(amqp, exchange, pattern, options, sink)
    },
  }
}

/** The queue of a subscriber alone, or of a group; bound before it is read. */
export async function boundQueue(channel: Channel, exchange: string, pattern: string, shared: string | undefined): Promise<string> {
  const { queue } = await (shared === undefined
    ? channel.assertQueue('', { exclusive: true, autoDelete: true, durable: false })
    : channel.assertQueue(shared, { durable: true, arguments: { 'x-queue-type': 'classic', 'x-expires': FORGOTTEN } }))
  await channel.bindQueue(queue, exchange, bindingOf(pattern))
  return queue
}

/** A name that no other group and pattern has. */
export const groupName = (root: string, group: string, pattern: string): string =>
  `${root}.${createHash('sha1').update(`${group}\0${pattern}`).digest('hex')}`

async function subscribe(
  amqp: Amqp,
  exchange: string,
  pattern: string,
  { group, buffer }: SubscribeOptions,
  sink: TopicSink,
): Promise<Subscription> {
  let room = true
  let closed = false
  let given: ConsumeMessage | undefined
  let settling = false
  let held: ConsumeMessage[] = []
  const shared = group === undefined ? undefined : groupName(`${amqp.prefix}.group`, group, pattern)
  const ahead = Math.max(1, Math.min(buffer, group === undefined ? AHEAD : AHEAD_OF_MEMBER))
  /** What the sink has is acknowledged, all of a turn at once. */
  const settle = (): void => {
    settling = false
    if (given && under.channel) acknowledge(under.channel, given, true)
    given = undefined
  }
  const give = (): void => {
    while (room && !closed && held.length > 0) {
      given = held.shift()!
      const { routingKey: topic } = given.fields
      room = sink.message({ ...incoming(given), topic, position: undefined, time: undefined, retained: false })
    }
    if (given && !settling) {
      settling = true
      setImmediate(settle)
    }
  }
  const under = await amqp.standing({
    what: pattern,
    async setUp(channel) {
      const queue = await boundQueue(channel, exchange, pattern, shared)
      await channel.prefetch(ahead)
      await channel.consume(queue, (message) => {
        // Somebody removed the queue.
        if (!message) return void channel.close().catch(() => {})
        held.push(message)
        give()
      })
    },
    down() {
      held = []
      given = undefined
    },
  })
  const end = async (): Promise<void> => {
    if (closed) return
    closed = true
    forget()
    await under.end()
    settle()
    // What a member was sent and did not take goes to another with the end of the channel.
    await under.channel?.close().catch(() => {})
    sink.ended()
  }
  const forget = amqp.closing(end)
  return {
    resume() {
      room = true
      give()
    },
    close: end,
  }
}
