/** The brokers that carry calls, and an address on each. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startBroker } from '../helpers/broker.js'
import { addressOf } from './broker-tests.js'
import { MOSQUITTO, NATS, REDIS } from '../hub/drivers/brokers.js'

export const LARGEST = 4 * 1024 * 1024
export const brokers = {
  nats: await startBroker({
    ...NATS,
    command(host, port, folder) {
      const file = join(folder, 'server.conf')
      writeFileSync(file, `max_payload: ${LARGEST}\n`)
      return [...NATS.command(host, port, folder), '-c', file]
    },
  }),
  mqtt: await startBroker(MOSQUITTO),
  redis: await startBroker(REDIS),
}
export const schemes = Object.keys(brokers) as (keyof typeof brokers)[]
export const at = (scheme: keyof typeof brokers, prefix: string): string => addressOf(scheme, brokers[scheme], prefix)
