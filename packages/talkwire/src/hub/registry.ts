/** Every engine a hub runs on: from an address's scheme to its driver, loaded when it is first used. */
import { TalkwireError } from '../error.js'
import { suggestion } from '../suggest.js'
import type { HubDriver, HubTrait } from './driver.js'
import { HUB_TRAITS } from './driver.js'

export const drivers: Readonly<Record<string, () => Promise<HubDriver>>> = {
  beanstalk: async () => (await import('./drivers/beanstalk.js')).beanstalk,
  hub: async () => (await import('./drivers/embedded.js')).embedded,
  mqtt: async () => (await import('./drivers/mqtt.js')).mqtt,
  mqtts: async () => (await import('./drivers/mqtt.js')).mqtt,
  amqp: async () => (await import('./drivers/amqp.js')).amqp,
  amqps: async () => (await import('./drivers/amqp.js')).amqp,
  amqp1: async () => (await import('./drivers/amqp1.js')).amqp1,
  amqp1s: async () => (await import('./drivers/amqp1.js')).amqp1,
  couchdb: async () => (await import('./drivers/couchdb.js')).couchdb,
  couchdbs: async () => (await import('./drivers/couchdb.js')).couchdb,
  kafka: async () => (await import('./drivers/kafka.js')).kafka,
  kafkas: async () => (await import('./drivers/kafka.js')).kafka,
  mongodb: async () => (await import('./drivers/mongodb.js')).mongodb,
  'mongodb+srv': async () => (await import('./drivers/mongodb.js')).mongodb,
  nats: async () => (await import('./drivers/nats.js')).nats,
  redis: async () => (await import('./drivers/redis.js')).redis,
  rediss: async () => (await import('./drivers/redis.js')).redis,
  stomp: async () => (await import('./drivers/stomp.js')).stomp,
  stomps: async () => (await import('./drivers/stomp.js')).stomp,
  'sqs+http': async () => (await import('./drivers/sqs.js')).sqs,
  'sqs+https': async () => (await import('./drivers/sqs.js')).sqs,
  'zmq+ipc': async () => (await import('./drivers/zmq.js')).zmq,
  'zmq+tcp': async () => (await import('./drivers/zmq.js')).zmq,
}

/** Throws INVALID_ADDRESS for a scheme that no driver has. */
export async function driverFor(scheme: string): Promise<HubDriver> {
  const load = Object.hasOwn(drivers, scheme) ? drivers[scheme] : undefined
  if (load) return load()
  const schemes = Object.keys(drivers).map((each) => `${each}:`)
  throw new TalkwireError('INVALID_ADDRESS', `"${scheme}:" is no address of a hub${suggestion(`${scheme}:`, schemes, Infinity)}`)
}

/** What a driver lacks is refused with the reason, and with the drivers that have it. */
export async function lacks(driver: HubDriver, trait: HubTrait): Promise<TalkwireError> {
  const all = await Promise.all(Object.values(drivers).map((load) => load()))
  const able = [...new Set(all.filter(({ traits }) => traits.includes(trait)).map(({ name }) => name))]
  const others = able.length > 0 ? `; ${able.join(', ')} ${able.length === 1 ? 'has' : 'have'} it` : ''
  return new TalkwireError('UNSUPPORTED', `${driver.name} has no ${trait} (${HUB_TRAITS[trait]})${others}`)
}
