/** NATS with JetStream, 2.9 and later: streams for topics and queues, buckets for state, leases and counters. docs/hub/nats.md */
import type { HubDriver, HubTrait } from '../driver.js'
import { connectNats } from './nats/connection.js'
import { counters, leases } from './nats/leases.js'
import { queues } from './nats/queues.js'
import { requests } from './nats/requests.js'
import { state } from './nats/state.js'
import { coreTopics } from './nats/core-topics.js'
import { topics } from './nats/topics.js'

/** Of core NATS, which keeps nothing. */
const CORE: readonly HubTrait[] = ['topics', 'wildcards', 'headers', 'confirmed', 'groups', 'requests', 'unanswered']
/** Topics have these by their stream. */
const BY_STREAM: readonly HubTrait[] = ['replay', 'resume', 'backpressure']
const STORED: readonly HubTrait[] = [
  ...(['queues', 'ordered', 'durable', 'nack', 'visibility', 'extend', 'attempts', 'dead', 'dedupe', 'inspect'] as const),
  ...(['state', 'cas', 'list', 'watch', 'leases', 'fencing', 'counters'] as const),
]

export const nats: HubDriver = {
  name: 'nats',
  traits: [...CORE, ...BY_STREAM, ...STORED],
  async open(address, options) {
    const connection = await connectNats(address, options)
    const { core, jetStream } = connection
    return {
      topics: core ? coreTopics(connection) : topics(connection),
      requests: requests(connection),
      ...(jetStream && {
        queues: queues(connection),
        state: state(connection),
        leases: leases(connection),
        counters: counters(connection),
      }),
      ...(core && {
        only: { name: jetStream ? 'nats with topics=core' : 'NATS without JetStream', traits: [...CORE, ...(jetStream ? STORED : [])] },
      }),
      close: () => connection.close(),
    }
  },
}
