import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as z from 'zod'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { hubKit, json, valueOf, Waiting } from '../../../compliance/hub-kit.js'
import { redis } from '../../../src/hub/drivers/redis.js'
import { connect, contract, rpc, serve } from '../../../src/index.js'
import { openHub } from '../../../src/hub/index.js'
import { fails } from '../../helpers/expect.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { testStorm } from './broker-storm.js'
import { front, testTls } from './broker-tls.js'
import { REDIS } from './brokers.js'
import { authority, client, server } from './certificates.js'

const broker = await startBroker(REDIS)

testHubDriver({
  test,
  driver: redis,
  module: new URL('../../../src/hub/drivers/redis.js', import.meta.url).href,
  address: `redis://${broker.host}:${broker.port}/0?prefix=suite`,
  nobody: `redis://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

const kit = hubKit({ driver: redis, module: '', address: `redis://${broker.host}:${broker.port}/0?prefix=own` }, () => true)

testStorm(5, { driver: redis, address: `redis://${broker.host}:${broker.port}/0?prefix=storm`, broker })

test('what a Redis that knows no script is asked at once is not refused first: asked again, it would come behind what others ask', async () => {
  const { createClient } = await import('@redis/client')
  const bare = await createClient({ url: `redis://${broker.host}:${broker.port}` }).connect()
  const connection = new Waiting()
  let connected = true
  const hub = await redis.open(`redis://${broker.host}:${broker.port}/0?prefix=scripts`, {
    credentials: undefined,
    onConnection: ({ state }) => ((connected = state === 'connected'), connection.happened()),
    onError: assert.fail,
    signal: undefined,
  })
  const publishTwo = async (): Promise<void> => {
    await bare.scriptFlush()
    await bare.configResetStat()
    const publish = () => hub.topics!.publish('order', json(1), { retain: false })
    await Promise.all([publish(), publish()])
    assert.doesNotMatch(await bare.info('errorstats'), /NOSCRIPT/)
  }
  try {
    await publishTwo()
    connected = false
    await bare.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal'])
    await connection.until('the connection', () => connected || undefined)
    await publishTwo()
  } finally {
    await hub.close()
    bare.destroy()
  }
})

test('jobs that were on their way to who wants no more go to others, and were not tried', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const [one, two] = [await kit.worker(hub, 'wanted'), await kit.worker(hub, 'wanted')]
    const jobs = [1, 2, 3].map((value) => ({ ...json(value), delay: 0, priority: 0, key: undefined }))
    await hub.queues!.push('wanted', jobs)
    one.consumption.want(3)
    one.consumption.want(0)
    two.consumption.want(3)
    const came = await two.until(3)
    assert.deepEqual([came.map(valueOf), came.map(({ attempt }) => attempt), one.jobs], [[1, 2, 3], [1, 1, 1], []])
    await Promise.all(came.map((each) => each.ack()))
  }))

test('what asks for TLS where there is none, or for TLS that trusts anybody, is refused', async () => {
  const place = `${broker.host}:${broker.port}`
  await assert.rejects(openHub(`redis://${place}`, { credentials: { tls: {} } }), /INVALID_ADDRESS.*take rediss:/)
  await assert.rejects(openHub('hub:', { credentials: { tls: {} } }), fails('INVALID_ADDRESS'))
  const blind = { rejectUnauthorized: false }
  await assert.rejects(openHub(`rediss://${place}`, { credentials: { tls: blind } }), TypeError)
  await assert.rejects(connect(`rediss://${place}`, { tls: blind }), TypeError)
})

const doubling = contract('doubling/1', { double: rpc({ input: z.object({ number: z.number() }), output: z.number() }) })

test('calls go over TLS, too, with what connect and serve are given', async () => {
  const listen = `rediss://${await front(broker, server)}?prefix=calls`
  const settings = { ca: authority.cert, ...client }
  await using _service = await serve(doubling, { double: ({ number }) => 2 * number }, { listen, tls: settings })
  await using doubler = await connect(doubling, listen, { tls: settings })
  assert.equal(await doubler.double({ number: 4 }), 8)
  await assert.rejects(connect(listen), fails('UNAUTHENTICATED'))
})

testTls('Redis', broker, (place) => `rediss://${place}`)
