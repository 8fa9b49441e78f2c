import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openHub } from 'talkwire/hub'
import { startBroker } from '../../packages/talkwire/dist/test/helpers/broker.js'
import { NATS, REDIS } from '../../packages/talkwire/dist/test/hub/drivers/brokers.js'
import { programs } from '../harness.mjs'
import { startHub } from '../hub.mjs'

const [nats, redis] = await Promise.all([startBroker(NATS), startBroker(REDIS)])

test('on the hub of this machine, on NATS and on Redis one program says the same', async (t) => {
  const own = programs(t, import.meta.url)
  await startHub(own)
  const hubs = ['hub:', `nats://${nats.host}:${nats.port}`, `redis://${redis.host}:${redis.port}`]
  const said = await Promise.all(hubs.map((hub) => own.run('node', 'warehouse.mjs', hub)))
  const expected = [
    'order 1, tea: warehouse.packed',
    'order 2, coffee: warehouse.packed',
    'order 3, tea: warehouse.packed',
    'order 4, tea: warehouse.sold-out',
    '0 tea left, opened 1 times',
  ]
  assert.deepEqual(
    said.map((text) => text.split('\n')),
    hubs.map(() => expected),
  )

  const hub = await openHub(hubs[1])
  t.after(() => hub.close())
  assert.ok(await hub.lease('warehouse').tryAcquire())
  assert.equal(await own.run('node', 'warehouse.mjs', hubs[1] ?? ''), 'another warehouse is open')
})
