import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { mqtt } from '../../../src/hub/drivers/mqtt.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testTls } from './broker-tls.js'
import { MOSQUITTO } from './brokers.js'

const broker = await startBroker(MOSQUITTO)
const module = new URL('../../../src/hub/drivers/mqtt.js', import.meta.url).href
const nobody = `mqtt://${ownHost}:${freshPort()}`
const address = `mqtt://${broker.host}:${broker.port}?prefix=suite`

testHubDriver({ test, driver: mqtt, module, address, nobody, restart: broker.restart })

/** What a connection of 3.1.1 has. */
const less = mqtt.traits.filter((trait) => ['topics', 'wildcards', 'confirmed', 'retained'].includes(trait))
testHubDriver({
  test,
  driver: { ...mqtt, traits: less },
  module,
  address: `${address}&version=3.1.1`,
  nobody: `${nobody}?version=3.1.1`,
  restart: broker.restart,
})

testTls('MQTT', broker, (place) => `mqtts://${place}`)
