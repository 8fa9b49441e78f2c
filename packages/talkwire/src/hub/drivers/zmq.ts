/** ZeroMQ: topics without a broker. Who comes first holds the two doors that publishers and subscribers connect to. docs/hub/zmq.md */
import type { HubDriver } from '../driver.js'
import { connectZmq } from './zmq/connection.js'
import { topics } from './zmq/topics.js'

export const zmq: HubDriver = {
  name: 'zmq',
  traits: ['topics', 'wildcards', 'headers'],
  async open(address, options) {
    const connection = await connectZmq(address, options)
    return { topics: topics(connection), close: () => connection.close() }
  },
}
