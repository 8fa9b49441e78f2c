import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { amqp } from '../../../src/hub/drivers/amqp.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testStorm } from './broker-storm.js'
import { testTls } from './broker-tls.js'
import { RABBITMQ } from './brokers.js'

const broker = await startBroker(RABBITMQ)

testHubDriver({
  test,
  driver: amqp,
  module: new URL('../../../src/hub/drivers/amqp.js', import.meta.url).href,
  address: `amqp://${broker.host}:${broker.port}?prefix=suite`,
  nobody: `amqp://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

testStorm(1, { driver: amqp, address: `amqp://${broker.host}:${broker.port}?prefix=storm`, broker, again: true })

testTls('RabbitMQ', broker, (place) => `amqps://${place}`)
