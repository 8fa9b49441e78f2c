/** Requests go to the exchange `PREFIX.requests`, replies to whom `reply-to` names, with the correlation id; each but the last has `talkwire-more`. */
import type { ConfirmChannel, ConsumeMessage } from 'amqplib'
import type { RequestsDriver } from '../../driver.js'
import { asking, isAway } from '../broker.js'
import { bindingOf, incoming, MORE, propertiesOf, short, type Amqp } from './connection.js'
import { groupName } from './topics.js'

/** The broker's own way back: no queue is made for it. */
const BACK = 'amq.rabbitmq.reply-to'
/** A group without responders is gone after so many milliseconds, also one that a restart of the broker left. */
const IDLE = 60_000
const IN_USE = 406

export function requests(amqp: Amqp): RequestsDriver {
  const exchange = `${amqp.prefix}.requests`
  const ready = (): Promise<void> => amqp.ensure(exchange, (channel) => channel.assertExchange(exchange, 'topic', { durable: true }))
  const { ask, replied } = asking()
  const listening = new WeakMap<ConfirmChannel, Promise<unknown>>()
  const hear = (message: ConsumeMessage | null): void => {
    if (!message) return
    const { correlationId, headers = {} } = message.properties
    replied(String(correlationId), () => ({ ...incoming(message), more: MORE in headers }))
  }
  /** Replies come on the channel that asked. */
  const askingChannel = async (): Promise<ConfirmChannel> => {
    const channel = await amqp.publisher()
    if (!listening.has(channel)) listening.set(channel, channel.consume(BACK, hear, { noAck: true }))
    await listening.get(channel)
    return channel
  }
  return {
    async request(topic, message, onReply) {
      const send = async (correlationId: string): Promise<boolean> => {
        await ready()
        const options = { ...propertiesOf(message), mandatory: true, replyTo: BACK, correlationId }
        return amqp.send({ exchange, key: topic, body: message.body, options, channel: await askingChannel() })
      }
      return ask(topic, onReply, (id) =>
        send(id).catch((reason: unknown) => {
          throw amqp.errorOf(reason)
        }),
      )
    },
    async respond(pattern, group, onRequest) {
      short(pattern, 'a pattern')
      await ready()
      const shared = group === undefined ? undefined : groupName(`${amqp.prefix}.responders`, group, pattern)
      let closed = false
      let name = ''
      const answer = (message: ConsumeMessage): void => {
        const { replyTo, correlationId } = message.properties
        onRequest({
          ...incoming(message),
          topic: message.fields.routingKey,
          position: undefined,
          time: undefined,
          retained: false,
          reply: async (out, more) => {
            if (typeof replyTo !== 'string') return
            const options = { ...propertiesOf(out, more ? { [MORE]: true } : {}), correlationId }
            await amqp.send({ exchange: '', key: replyTo, body: out.body, options })
          },
        })
      }
      const under = await amqp.standing({
        what: pattern,
        contested: shared !== undefined,
        async setUp(channel) {
          const { queue } = await (shared === undefined
            ? channel.assertQueue('', { exclusive: true, autoDelete: true, durable: false })
            : channel.assertQueue(shared, { durable: true, autoDelete: true, arguments: { 'x-queue-type': 'classic', 'x-expires': IDLE } }))
          name = queue
          await channel.bindQueue(queue, exchange, bindingOf(pattern))
          const heard = (message: ConsumeMessage | null): void => {
            if (!message) void channel.close().catch(() => {})
            else if (!closed) answer(message)
          }
          await channel.consume(queue, heard, { noAck: true })
        },
      })
      const end = async (): Promise<void> => {
        if (closed) return
        closed = true
        forget()
        await under.end()
        const { channel } = under
        if (!channel) return
        if (shared === undefined) await channel.deleteQueue(name).catch(() => {})
        await channel.close().catch(() => {})
        // The broker removes what nobody reads a moment later; whoever asks in that moment would not be told that nobody is there.
        if (shared !== undefined) await amqp.on((other) => other.deleteQueue(name, { ifUnused: true })).catch(unlessInUse)
      }
      const forget = amqp.closing(end)
      return { resume() {}, close: end }
    },
  }
}

function unlessInUse(reason: unknown): void {
  if (!isAway(reason) && (reason as { cause?: { code?: number } }).cause?.code !== IN_USE) throw reason
}
