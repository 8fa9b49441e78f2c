/** Topics are ZeroMQ's own: the first frame. What only begins like a topic, or does not fit the pattern, is left out here. */
import { TalkwireError } from '../../../error.js'
import type { TopicsDriver } from '../../driver.js'
import { matchesPattern } from '../../topic-names.js'
import type { Zmq } from './connection.js'
import { beginningOf, fromZmq, messageOf } from './frames.js'

export function topics(zmq: Zmq): TopicsDriver {
  return {
    async publish(topic, message, { retain }) {
      if (retain)
        throw new TalkwireError('UNSUPPORTED', 'zmq has no retained values: nothing keeps them; embedded, mqtt and redis have them')
      await zmq.publish(topic, message)
    },
    async subscribe(pattern, { from, group }, sink) {
      if (from !== 'new') throw new TalkwireError('UNSUPPORTED', 'zmq has no replay: nothing is kept; embedded, nats and redis have it')
      if (group !== undefined)
        throw new TalkwireError(
          'UNSUPPORTED',
          'zmq has no groups: every subscriber gets everything; embedded, amqp, mqtt, nats and redis have them',
        )
      let closed = false
      const ear = await zmq.listen(beginningOf(pattern), (frames) => {
        const topic = fromZmq(frames[0]!)
        if (topic === undefined || !matchesPattern(pattern, topic)) return
        const message = messageOf(frames)
        if (message) sink.message({ ...message, topic, position: undefined, time: undefined, retained: false })
      })
      const end = async (): Promise<void> => {
        if (closed) return
        closed = true
        forget()
        await ear.close()
        sink.ended()
      }
      const forget = zmq.closing(end)
      return { resume() {}, close: end }
    },
  }
}
