/** Kafka, 3.1 and later: topics are one log, groups are Kafka's own. docs/hub/kafka.md */
import type { HubDriver } from '../driver.js'
import { connectKafka } from './kafka/connection.js'
import { topics } from './kafka/topics.js'

export const kafka: HubDriver = {
  name: 'kafka',
  traits: ['topics', 'wildcards', 'headers', 'confirmed', 'replay', 'groups', 'resume', 'backpressure'],
  async open(address, options) {
    const connection = await connectKafka(address, options)
    return { topics: topics(connection), close: () => connection.close() }
  },
}
