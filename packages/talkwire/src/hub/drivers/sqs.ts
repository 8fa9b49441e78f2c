/** Amazon's SQS and what speaks like it: standard queues, with dead letters in another. docs/hub/sqs.md */
import type { HubDriver } from '../driver.js'
import { connectSqs } from './sqs/connection.js'
import { queues } from './sqs/queues.js'

export const sqs: HubDriver = {
  name: 'sqs',
  traits: ['queues', 'headers', 'durable', 'nack', 'visibility', 'extend', 'attempts', 'dead', 'delay', 'inspect'],
  async open(address, options) {
    const connection = await connectSqs(address, options)
    return { queues: queues(connection), close: () => connection.close() }
  },
}
