// Redis through its own client: pub/sub, a stream with a group, keys, and the lock of its documentation.
import { createClient } from '@redis/client'

const RELEASE = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0`
const GROUP = 'workers'

/** @param {string} address @returns {Promise<import('./index.mjs').End>} */
export async function open(address) {
  const client = /** @type {any} */ (createClient({ url: address, RESP: 2, commandOptions: { typeMapping: { 36: Buffer } } }))
  const reader = client.duplicate()
  await Promise.all([client.connect(), reader.connect()])
  const release = await client.scriptLoad(RELEASE)
  let turns = 0
  return {
    publish: (body) => client.publish('fan', body),
    subscribe: (take) => reader.subscribe('fan', take, true),
    push: (body) => client.xAdd('jobs', '*', { body }),
    async work(take) {
      await client.xGroupCreate('jobs', GROUP, '0', { MKSTREAM: true })
      void (async () => {
        for (;;) {
          const found = await reader.xReadGroup(GROUP, 'one', { key: 'jobs', id: '>' }, { COUNT: 256, BLOCK: 0 })
          const messages = found[0].messages
          for (const { message } of messages) take(message.body)
          void client.xAck(
            'jobs',
            GROUP,
            messages.map((/** @type {any} */ { id }) => id),
          )
        }
      })().catch(() => {}) // ends with the connection
    },
    set: (key, value) => client.set(key, value),
    get: (key) => client.get(key),
    async turn() {
      const token = String(++turns)
      if (!(await client.set('lock', token, { NX: true, PX: 10_000 }))) throw new Error('the lock is held')
      await client.evalSha(release, { keys: ['lock'], arguments: [token] })
    },
    async close() {
      client.destroy()
      reader.destroy()
    },
  }
}
