/** ActiveMQ Classic, 5.17 and later, over AMQP 1.0. docs/hub/amqp1.md */
import type { HubDriver } from '../driver.js'
import { openLink } from './activemq/link.js'
import { mqPlace } from './activemq/place.js'
import { queues } from './activemq/queues.js'
import { requests } from './activemq/requests.js'
import { topics } from './activemq/topics.js'
import { openAmqp1 } from './amqp1/line.js'
import { packageOf } from './broker.js'
import { brokerAddress } from './broker-address.js'

const FORM =
  'ActiveMQ over AMQP 1.0 is amqp1://user:password@host:5672?prefix=shop, or amqp1s: for TLS; the prefix has letters, digits, "_" and "-"'

export const amqp1: HubDriver = {
  name: 'amqp1',
  traits: [
    ...(['topics', 'wildcards', 'headers', 'confirmed', 'groups', 'resume', 'backpressure', 'requests'] as const),
    ...(['queues', 'ordered', 'durable', 'nack', 'receipts', 'attempts', 'dead', 'delay', 'priority'] as const),
  ],
  async open(address, options) {
    const found = brokerAddress(address, ['amqp1', 'amqp1s'], /^\/?$/, FORM)
    const { default: rhea } = await packageOf('amqp1', 'rhea', () => import('rhea'))
    const { credentials = {}, signal } = options
    signal?.throwIfAborted()
    const place = mqPlace(found, { plain: 5672, secure: 5671 }, credentials)
    const link = await openLink({ name: 'amqp1', prefix: found.prefix, dial: (from, lost) => openAmqp1(rhea, place, from, lost) }, options)
    return { topics: topics(link), requests: requests(link), queues: queues(link), close: () => link.close() }
  },
}
