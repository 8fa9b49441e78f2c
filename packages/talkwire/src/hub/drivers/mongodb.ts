/** MongoDB, 6.0 and later, as a replica set or sharded: plain documents, change streams for who listens. docs/hub/mongodb.md */
import type { HubDriver } from '../driver.js'
import { connectMongo } from './mongodb/connection.js'
import { counters } from './mongodb/counters.js'
import { leases } from './mongodb/leases.js'
import { queues } from './mongodb/queues.js'
import { state } from './mongodb/state.js'
import { topics } from './mongodb/topics.js'

export const mongodb: HubDriver = {
  name: 'mongodb',
  traits: [
    ...(['topics', 'wildcards', 'headers', 'confirmed', 'replay', 'groups', 'resume', 'backpressure'] as const),
    ...(['queues', 'ordered', 'durable', 'nack', 'visibility', 'receipts', 'extend', 'attempts', 'dead', 'delay'] as const),
    ...(['priority', 'dedupe', 'inspect', 'purge'] as const),
    ...(['state', 'cas', 'ttl', 'batch', 'list', 'watch', 'leases', 'fencing', 'waiters', 'permits', 'counters'] as const),
  ],
  async open(address, options) {
    const connection = await connectMongo(address, options)
    return {
      topics: topics(connection),
      queues: queues(connection),
      state: state(connection),
      leases: leases(connection),
      counters: counters(connection),
      close: () => connection.close(),
    }
  },
}
