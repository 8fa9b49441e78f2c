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
/** By the level of JetStream's API: what the server has that one before it has not. */
const LATER: readonly { readonly version: string; readonly traits: readonly HubTrait[] }[] = [
  { version: '2.11', traits: ['ttl'] },
  { version: '2.12', traits: ['batch'] },
]

export const nats: HubDriver = {
  name: 'nats',
  traits: [...CORE, ...BY_STREAM, ...STORED, ...LATER.flatMap(({ traits }) => traits)],
  async open(address, options) {
    const connection = await connectNats(address, options)
    const { core, jetStream, level } = connection
    return {
      topics: core ? coreTopics(connection) : topics(connection),
      requests: requests(connection),
      ...(jetStream && {
        queues: queues(connection),
        state: state(connection),
        leases: leases(connection),
        counters: counters(connection),
      }),
      ...((core || LATER[level]) && { only: onlyOf(core, jetStream, level) }),
      close: () => connection.close(),
    }
  },
}

function onlyOf(core: boolean, jetStream: boolean, level: number): { name: string; traits: HubTrait[] } {
  if (!jetStream) return { name: 'NATS without JetStream', traits: [...CORE] }
  const lacking = LATER[level]
  const name = `${lacking ? `NATS before ${lacking.version}` : 'nats'}${core ? ' with topics=core' : ''}`
  const later = LATER.slice(0, level).flatMap(({ traits }) => traits)
  return { name, traits: [...CORE, ...(core ? [] : BY_STREAM), ...STORED, ...later] }
}
