/** Topics are MQTT's own, at QoS 1. Groups are shared subscriptions. */
import { TalkwireError } from '../../../error.js'
import type { IPublishPacket } from 'mqtt'
import { isPattern, matchesPattern } from '../../topic-names.js'
import type { TopicMessage, TopicsDriver } from '../../driver.js'
import type { Mqtt } from './connection.js'
import { filterOf, fromMqtt, shareOf, toMqtt } from './names.js'

/** Undefined: it is none of this root, or of this pattern: `#` takes more than `>`. */
export function messageOf(mqtt: Mqtt, root: string, pattern: string, packet: IPublishPacket): TopicMessage | undefined {
  if (!packet.topic.startsWith(root)) return undefined
  const topic = fromMqtt(packet.topic.slice(root.length))
  if (!matchesPattern(pattern, topic)) return undefined
  return { ...mqtt.incoming(packet), topic, position: undefined, time: undefined, retained: packet.retain }
}

export function topics(mqtt: Mqtt): TopicsDriver {
  const root = `${mqtt.prefix}/`
  return {
    async publish(topic, message, { retain }) {
      await mqtt.publish(root + toMqtt(topic), message, { retain })
    },
    async subscribe(pattern, { from, group }, sink) {
      if (from !== 'new') throw new TalkwireError('UNSUPPORTED', 'MQTT keeps no messages to begin from: subscribe from now on')
      if (isPattern(pattern)) mqtt.need('wildcards')
      if (group !== undefined) mqtt.need('groups')
      const filter = root + filterOf(pattern)
      let closed = false
      const ear = await mqtt.listen(group === undefined ? filter : shareOf(group, filter), group === undefined, (packet) => {
        const message = closed ? undefined : messageOf(mqtt, root, pattern, packet)
        if (message) sink.message(message)
      })
      const end = async (): Promise<void> => {
        if (closed) return
        closed = true
        forget()
        await ear.close()
        sink.ended()
      }
      const forget = mqtt.closing(end)
      return { resume() {}, close: end }
    },
  }
}
