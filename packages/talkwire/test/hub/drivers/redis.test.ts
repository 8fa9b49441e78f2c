import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { redis } from '../../../src/hub/drivers/redis.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testStorm } from './broker-storm.js'
import { REDIS } from './brokers.js'

const broker = await startBroker(REDIS)

testHubDriver({
  test,
  driver: redis,
  module: new URL('../../../src/hub/drivers/redis.js', import.meta.url).href,
  address: `redis://${broker.host}:${broker.port}/0?prefix=suite`,
  nobody: `redis://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

testStorm(5, { driver: redis, address: `redis://${broker.host}:${broker.port}/0?prefix=storm`, broker })
