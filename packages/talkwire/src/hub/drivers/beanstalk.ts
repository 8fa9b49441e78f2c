/** beanstalkd, 1.12 and later: its tubes as queues. docs/hub/beanstalk.md */
import type { HubDriver } from '../driver.js'
import { connectBeanstalk } from './beanstalk/connection.js'
import { queues } from './beanstalk/queues.js'

export const beanstalk: HubDriver = {
  name: 'beanstalk',
  traits: [
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
    'inspect',
    'purge',
  ],
  async open(address, options) {
    const connection = await connectBeanstalk(address, options)
    return { queues: queues(connection), close: () => connection.close() }
  },
}
