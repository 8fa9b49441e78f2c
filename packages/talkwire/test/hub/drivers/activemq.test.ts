import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { stomp } from '../../../src/hub/drivers/stomp.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testStorm } from './broker-storm.js'
import { testTls } from './broker-tls.js'
import { ACTIVEMQ } from './brokers.js'

const broker = await startBroker(ACTIVEMQ)

testHubDriver({
  test,
  driver: stomp,
  module: new URL('../../../src/hub/drivers/stomp.js', import.meta.url).href,
  address: `stomp://${broker.host}:${broker.port}?prefix=suite`,
  nobody: `stomp://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

testStorm(1, { driver: stomp, address: `stomp://${broker.host}:${broker.port}?prefix=storm`, broker, again: true })

testTls('STOMP', broker, (place) => `stomps://${place}`)
