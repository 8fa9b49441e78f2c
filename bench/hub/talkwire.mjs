// The hub's own words, on any of its engines. The address of an embedded hub of this bench is its name.
import { openHub } from 'talkwire/hub'

/** @param {string} address @returns {Promise<import('./index.mjs').End>} */
export async function open(address) {
  const hub = await openHub(address, {
    onError(reason) {
      process.nextTick(() => {
        throw reason
      })
    },
  })
  const topic = hub.topic('bench.fan', { type: 'bytes' })
  const queue = hub.queue('bench', { type: 'bytes' })
  const state = hub.state('bench', { type: 'bytes' })
  const lease = hub.lease('bench', { ttl: 10_000 })
  return {
    publish: (body) => topic.publish(body),
    async subscribe(take) {
      await topic.listen(({ data }) => take(/** @type {Uint8Array} */ (data)), {
        slow: hub.traits.has('backpressure') ? 'wait' : 'disconnect',
        buffer: 100_000,
      })
    },
    push: (body) => queue.push(body),
    async work(take) {
      await queue.consume(({ data }) => take(/** @type {Uint8Array} */ (data)), { concurrency: 256 })
    },
    set: (key, value) => state.set(key, value),
    get: async (key) => (await state.get(key))?.value,
    async turn() {
      const grant = await lease.acquire()
      await grant.release()
    },
    pushAll: (bodies) => queue.pushAll(bodies.map((data) => ({ data }))),
    close: () => hub.close(),
  }
}
