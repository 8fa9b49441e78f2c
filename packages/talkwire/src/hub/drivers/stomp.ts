/** ActiveMQ Classic, 5.17 and later, over STOMP 1.2. docs/hub/stomp.md */
import type { HubDriver } from '../driver.js'
import { openLink } from './activemq/link.js'
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
    const { url, host, user, password, prefix } = brokerAddress(address, ['stomp', 'stomps'], /^\/?$/, FORM)
    const { credentials = {}, signal } = options
    signal?.throwIfAborted()
    const secure = url.protocol === 'stomps:'
    const place = {
      host,
      port: Number(url.port) || (secure ? 61614 : 61613),
      tls: secure ? ((credentials['tls'] as object | undefined) ?? {}) : undefined,
      user: typeof credentials['user'] === 'string' ? credentials['user'] : user,
      password: typeof credentials['password'] === 'string' ? credentials['password'] : password,
    }
    const link = await openLink({ name: 'stomp', prefix, dial: (from, lost) => openStomp(place, from, lost) }, options)
    return { topics: topics(link), requests: requests(link), queues: queues(link), close: () => link.close() }
  },
}
