/** RabbitMQ, 3.10 and later, over AMQP 0-9-1: exchanges for topics and requests, durable queues for groups and jobs. docs/hub/amqp.md */
import type { HubDriver } from '../driver.js'
import { connectAmqp } from './amqp/connection.js'
import { queues } from './amqp/queues.js'
import { requests } from './amqp/requests.js'
import { topics } from './amqp/topics.js'

export const amqp: HubDriver = {
  name: 'amqp',
  traits: [
    ...(['topics', 'wildcards', 'headers', 'confirmed', 'groups', 'resume', 'backpressure', 'requests', 'unanswered'] as const),
    ...(['queues', 'ordered', 'durable', 'nack', 'receipts', 'attempts', 'dead', 'delay', 'priority'] as const),
  ],
  async open(address, options) {
    const connection = await connectAmqp(address, options)
    return {
      topics: topics(connection),
      requests: requests(connection),
      queues: queues(connection),
      close: () => connection.close(),
    }
  },
}
