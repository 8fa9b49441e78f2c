import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { nats } from '../../../src/hub/drivers/nats.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testStorm } from './broker-storm.js'
import { NATS } from './brokers.js'

const broker = await startBroker(NATS)

testHubDriver({
  test,
  driver: nats,
  module: new URL('../../../src/hub/drivers/nats.js', import.meta.url).href,
  address: `nats://${broker.host}:${broker.port}?prefix=suite`,
  nobody: `nats://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

testStorm(5, { driver: nats, address: `nats://${broker.host}:${broker.port}?prefix=storm`, broker, again: true })
