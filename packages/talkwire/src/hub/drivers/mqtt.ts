/** MQTT 5 and 3.1.1: its topics, shared subscriptions, retained values and response topics. docs/hub/mqtt.md */
import type { HubDriver } from '../driver.js'
import { connectMqtt, MQTT_TRAITS } from './mqtt/connection.js'
import { requests } from './mqtt/requests.js'
import { topics } from './mqtt/topics.js'

export const mqtt: HubDriver = {
  name: 'mqtt',
  traits: MQTT_TRAITS,
  async open(address, options) {
    const connection = await connectMqtt(address, options)
    const { traits, version } = connection
    return {
      topics: topics(connection),
      ...(traits.includes('requests') && { requests: requests(connection) }),
      ...(traits.length < MQTT_TRAITS.length && { only: { name: version === 5 ? 'this MQTT' : 'MQTT 3.1.1', traits } }),
      close: () => connection.close(),
    }
  },
}
