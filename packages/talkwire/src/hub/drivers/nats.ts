/** NATS with JetStream, 2.9 and later: streams for topics and queues, buckets for state, leases and counters. docs/hub/nats.md */
import type { HubDriver } from '../driver.js'
import { connectNats } from './nats/connection.js'
import { counters, leases } from './nats/leases.js'
import { queues } from './nats/queues.js'
import { requests } from './nats/requests.js'
import { state } from './nats/state.js'
import { topics } from './nats/topics.js'

export const nats: HubDriver = {
  name: 'nats',
  traits: [
    ...(['topics', 'wildcards', 'headers', 'confirmed', 'replay', 'groups', 'resume', 'backpressure', 'requests', 'unanswered'] as const),
    ...(['queues', 'ordered', 'durable', 'nack', 'visibility', 'extend', 'attempts', 'dead', 'dedupe', 'inspect'] as const),
    ...(['state', 'cas', 'list', 'watch', 'leases', 'fencing', 'counters'] as const),
  ],
  async open(address, options) {
    const connection = await connectNats(address, options)
    return {
      topics: topics(connection),
      requests: requests(connection),
      queues: queues(connection),
      state: state(connection),
      leases: leases(connection),
      counters: counters(connection),
      close: () => connection.close(),
    }
  },
}
