/** Redis, 7.0 and later, and what speaks like it: pub/sub and a stream for topics, scripts for all that must be one step. docs/hub/redis.md */
import type { HubDriver } from '../driver.js'
import { connectRedis } from './redis/connection.js'
import { counters } from './redis/counters.js'
import { leases } from './redis/leases.js'
import { queues } from './redis/queues.js'
import { requests } from './redis/requests.js'
import { state } from './redis/state.js'
import { topics } from './redis/topics.js'

export const redis: HubDriver = {
  name: 'redis',
  traits: [
    ...([
      'topics',
      'wildcards',
      'headers',
      'confirmed',
      'retained',
      'replay',
      'groups',
      'resume',
      'backpressure',
      'requests',
      'unanswered',
    ] as const),
    ...([
      'queues',
      'ordered',
      'durable',
      'nack',
      'visibility',
      'receipts',
      'extend',
      'attempts',
      'dead',
      'delay',
      'priority',
      'dedupe',
    ] as const),
    ...(['inspect', 'purge', 'state', 'cas', 'ttl', 'batch', 'list', 'watch'] as const),
    ...(['leases', 'fencing', 'waiters', 'permits', 'counters'] as const),
  ],
  async open(address, options) {
    const connection = await connectRedis(address, options)
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
