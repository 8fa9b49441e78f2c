/**
 * A request is a message at `PREFIX-requests/TOPIC` with MQTT 5's response topic and correlation data. Each reply but the last has the user
 * property `Talkwire-More`.
 */
import { randomUUID } from 'node:crypto'
import type { IPublishPacket } from 'mqtt'
import { TalkwireError } from '../../../error.js'
import { isPattern } from '../../topic-names.js'
import type { RequestsDriver } from '../../driver.js'
import { onceDone } from '../../once-done.js'
import { asking } from '../broker.js'
import type { Mqtt } from './connection.js'
import { filterOf, shareOf, toMqtt } from './names.js'
import { messageOf } from './topics.js'

const MORE = 'Talkwire-More'

export function requests(mqtt: Mqtt): RequestsDriver {
  const root = `${mqtt.prefix}-requests/`
  const mine = `${mqtt.prefix}-replies/${randomUUID()}`
  const { ask, replied } = asking()
  const hear = (packet: IPublishPacket): void => {
    const { correlationData, userProperties } = packet.properties ?? {}
    replied(String(correlationData), () => ({ ...mqtt.incoming(packet), more: userProperties !== undefined && MORE in userProperties }))
  }
  const listening = onceDone(async () => void (await mqtt.listen(mine, true, hear)))
  return {
    async request(topic, message, onReply) {
      await listening()
      return ask(topic, onReply, (id) =>
        mqtt.publish(root + toMqtt(topic), message, { properties: { responseTopic: mine, correlationData: Buffer.from(id) } }),
      )
    },
    async respond(pattern, group, onRequest) {
      if (isPattern(pattern)) mqtt.need('wildcards')
      if (group !== undefined) mqtt.need('groups')
      const filter = root + filterOf(pattern)
      let closed = false
      const ear = await mqtt.listen(group === undefined ? filter : shareOf(group, filter), false, (packet) => {
        const message = closed ? undefined : messageOf(mqtt, root, pattern, packet)
        if (!message) return
        const { responseTopic, correlationData } = packet.properties ?? {}
        onRequest({
          ...message,
          async reply(out, more) {
            if (responseTopic === undefined) return
            // A broker ends the connection of whoever publishes there.
            if (/[+#\0]/.test(responseTopic)) throw new TalkwireError('INVALID_MESSAGE', 'a request wants its reply at what is no topic')
            await mqtt.publish(responseTopic, out, {
              ...(correlationData && { properties: { correlationData } }),
              ...(more && { extra: { [MORE]: '1' } }),
            })
          },
        })
      })
      const end = async (): Promise<void> => {
        if (closed) return
        closed = true
        forget()
        await ear.close()
      }
      const forget = mqtt.closing(end)
      return { resume() {}, close: end }
    },
  }
}
