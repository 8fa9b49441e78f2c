import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { sqs } from '../../../src/hub/drivers/sqs.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { ELASTICMQ } from './brokers.js'

const broker = await startBroker(ELASTICMQ)

testHubDriver({
  test,
  driver: sqs,
  module: new URL('../../../src/hub/drivers/sqs.js', import.meta.url).href,
  address: `sqs+http://any:any@${broker.host}:${broker.port}?prefix=suite`,
  nobody: `sqs+http://any:any@${ownHost}:${freshPort()}`,
  restart: broker.restart,
})
