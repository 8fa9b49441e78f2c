// zeromq.js over ipc: one publisher, its subscribers connect to it.
import { Subscriber, XPublisher } from 'zeromq'

/** @param {string} address a folder @returns {Promise<import('./index.mjs').End>} */
export async function open(address) {
  const path = `ipc://${address}/fan.zmq`
  /** @type {XPublisher | undefined} */
  let publisher
  /** One at a time, as the library wants it. */
  let sent = Promise.resolve()
  return {
    async listen() {
      publisher = new XPublisher({ sendHighWaterMark: 0, verbosity: 'allSubs' })
      await publisher.bind(path)
    },
    async joined(count) {
      for (let n = 0; n < count; n++) await publisher?.receive()
    },
    publish(body) {
      sent = sent.then(() => publisher?.send(body))
    },
    settled: () => sent,
    async subscribe(take) {
      const subscriber = new Subscriber({ receiveHighWaterMark: 0 })
      subscriber.connect(path)
      subscriber.subscribe()
      void (async () => {
        for await (const [body] of subscriber) take(body)
      })()
    },
    async close() {
      publisher?.close()
    },
  }
}
