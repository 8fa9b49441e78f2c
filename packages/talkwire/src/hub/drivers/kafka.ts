/** Kafka, 3.1 and later: topics are one log, requests another with its replies in a third, groups are Kafka's own. docs/hub/kafka.md */
import type { HubDriver } from '../driver.js'
import { connectKafka } from './kafka/connection.js'
import { requests } from './kafka/requests.js'
import { topics } from './kafka/topics.js'

export const kafka: HubDriver = {
  name: 'kafka',
  traits: ['topics', 'wildcards', 'headers', 'confirmed', 'replay', 'groups', 'resume', 'backpressure', 'requests'],
  async open(address, options) {
    const connection = await connectKafka(address, options)
    return { topics: topics(connection), requests: requests(connection), close: () => connection.close() }
  },
}
