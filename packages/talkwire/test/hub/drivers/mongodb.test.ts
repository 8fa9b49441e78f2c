/** The suite. SecantusDB stands in for MongoDB: docs/hub/mongodb.md. */
import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { mongodb } from '../../../src/hub/drivers/mongodb.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testTls } from './broker-tls.js'
import { MONGODB } from './brokers.js'

const broker = await startBroker(MONGODB)

testHubDriver({
  test,
  driver: mongodb,
  module: new URL('../../../src/hub/drivers/mongodb.js', import.meta.url).href,
  address: `mongodb://${broker.host}:${broker.port}/hub?prefix=suite`,
  nobody: `mongodb://${ownHost}:${freshPort()}/?serverSelectionTimeoutMS=100`,
  restart: broker.restart,
})

testTls('MongoDB', broker, (place) => `mongodb://${place}/hub?tls=true&directConnection=true&serverSelectionTimeoutMS=2000`)
