import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { beanstalk } from '../../../src/hub/drivers/beanstalk.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { BEANSTALKD } from './brokers.js'

const broker = await startBroker(BEANSTALKD)

testHubDriver({
  test,
  driver: beanstalk,
  module: new URL('../../../src/hub/drivers/beanstalk.js', import.meta.url).href,
  address: `beanstalk://${broker.host}:${broker.port}?prefix=suite`,
  nobody: `beanstalk://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})
