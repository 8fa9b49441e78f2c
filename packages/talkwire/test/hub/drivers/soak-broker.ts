/** For scripts/soak-hub.mjs: the storm of a broker that the tests start. */
import { amqp } from '../../../src/hub/drivers/amqp.js'
import { nats } from '../../../src/hub/drivers/nats.js'
import { redis } from '../../../src/hub/drivers/redis.js'
import { startBroker } from '../../helpers/broker.js'
import { stormOf, type Storm } from './broker-storm.js'
import { NATS, RABBITMQ, REDIS } from './brokers.js'

const ENGINES = {
  redis: { driver: redis, plan: REDIS, again: false },
  nats: { driver: nats, plan: NATS, again: true },
  amqp: { driver: amqp, plan: RABBITMQ, again: true },
} as const

export const engines = Object.keys(ENGINES)

export async function stormAt(engine: string, seed: number, done: (kills: number) => boolean): Promise<Storm> {
  const { plan, ...rest } = ENGINES[engine as keyof typeof ENGINES]
  const broker = await startBroker(plan)
  try {
    return await stormOf({ ...rest, broker, address: `${engine}://${broker.host}:${broker.port}?prefix=storm` }, seed, done)
  } finally {
    await broker.kill()
  }
}
