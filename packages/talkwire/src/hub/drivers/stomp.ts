/** ActiveMQ Classic, 5.17 and later, over STOMP 1.2. docs/hub/stomp.md */
import type { HubDriver } from '../driver.js'
import { openLink } from './activemq/link.js'
import { mqPlace } from './activemq/place.js'
import { queues } from './activemq/queues.js'
import { requests } from './activemq/requests.js'
import { topics } from './activemq/topics.js'
import { brokerAddress } from './broker-address.js'
import { openStomp } from './stomp/line.js'

const FORM =
  'ActiveMQ over STOMP is stomp://user:password@host:61613?prefix=shop, or stomps: for TLS; the prefix has letters, digits, "_" and "-"'

export const stomp: HubDriver = {
  name: 'stomp',
  traits: [
    ...(['topics', 'wildcards', 'headers', 'confirmed', 'groups', 'resume', 'backpressure', 'requests'] as const),
    ...(['queues', 'ordered', 'durable', 'nack', 'receipts', 'attempts', 'dead', 'delay', 'priority'] as const),
  ],
  async open(address, options) {
    const found = brokerAddress(address, ['stomp', 'stomps'], /^\/?$/, FORM)
    const { credentials = {}, signal } = options
    signal?.throwIfAborted()
    const place = mqPlace(found, { plain: 61613, secure: 61614 }, credentials)
    const link = await openLink({ name: 'stomp', prefix: found.prefix, dial: (from, lost) => openStomp(place, from, lost) }, options)
    return { topics: topics(link), requests: requests(link), queues: queues(link), close: () => link.close() }
  },
}
