import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { TalkwireError } from '../../../src/error.js'
import { nats } from '../../../src/hub/drivers/nats.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testStorm } from './broker-storm.js'
import { NATS } from './brokers.js'

/** Who gives no name may everything. */
const USERS = `no_auth_user: all
authorization { users: [
  { user: all, password: all }
  { user: few, password: few, permissions: { publish: { deny: "few.secret" } } }
] }`

const broker = await startBroker({
  ...NATS,
  command(host, port, folder) {
    const config = join(folder, 'users.conf')
    writeFileSync(config, USERS)
    return [...NATS.command(host, port, folder), '-c', config]
  },
})

testHubDriver({
  test,
  driver: nats,
  module: new URL('../../../src/hub/drivers/nats.js', import.meta.url).href,
  address: `nats://${broker.host}:${broker.port}?prefix=suite`,
  nobody: `nats://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

testStorm(5, { driver: nats, address: `nats://${broker.host}:${broker.port}?prefix=storm`, broker, again: true })

test('nats: where the user may not publish is refused at once, and others go on', async () => {
  const errors: unknown[] = []
  const options = { credentials: undefined, onConnection() {}, onError: (reason: unknown) => errors.push(reason), signal: undefined }
  const hub = await nats.open(`nats://few:few@${broker.host}:${broker.port}?prefix=few`, options)
  try {
    const publish = (topic: string) => hub.topics!.publish(topic, { body: Buffer.from('1'), type: 'json', headers: {} }, { retain: false })
    const [secret, open] = await Promise.allSettled([publish('secret'), publish('open')])
    assert.equal(secret.status === 'rejected' && TalkwireError.from(secret.reason).code, 'UNAUTHENTICATED')
    assert.equal(open.status, 'fulfilled')
    assert.deepEqual(errors, [])
  } finally {
    await hub.close()
  }
})
