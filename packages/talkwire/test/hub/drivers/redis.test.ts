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

test('what is published in one turn is told apart again: topics, headers, positions, the last value', () =>
  kit.within(async () => {
    const [hub, other] = [await kit.open(), await kit.open()]
    const ear = await kit.listener(other, 'turn.*')
    const told: [topic: string, value: unknown, headers: Record<string, string>][] = [
      ['turn.a', 1, {}],
      ['turn.a', 2, {}],
      ['turn.a.b', 3, {}],
      ['turn.b', 4, {}],
      ['turn.b', 5, { to: 'all' }],
      ['turn.a', 6, {}],
      ['turn.a', 7, {}],
    ]
    await Promise.all(told.map(([topic, value, headers]) => hub.topics!.publish(topic, { ...json(value), headers }, { retain: true })))
    const came = await ear.until(6)
    const seen = (messages: typeof came) => messages.map((each) => [each.topic, valueOf(each), { ...each.headers }])
    const wanted = told.filter(([topic]) => topic !== 'turn.a.b')
    assert.deepEqual(seen(came), wanted)
    const late = await kit.listener(hub, 'turn.*', { from: { after: came[0]!.position! } })
    const again = await late.until(5)
    assert.deepEqual([seen(again), again.map(({ position }) => position)], [wanted.slice(1), came.slice(1).map(({ position }) => position)])
    const newcomer = await kit.listener(hub, 'turn.*')
    assert.deepEqual(seen(await newcomer.until(2)), [wanted[3], wanted[5]])
  }))

test('what was published and not waited for leaves before the hub closes', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const ear = await kit.listener(await kit.open(), 'leaving')
    const published = hub.topics!.publish('leaving', json(1), { retain: false })
    await hub.close()
    await published
    assert.deepEqual((await ear.until(1)).map(valueOf), [1])
  }))

test('who gets a lease at once asked once, and listened to nothing', () =>
  kit.within(async () => {
    const { createClient } = await import('@redis/client')
    const bare = await createClient({ url: `redis://${broker.host}:${broker.port}` }).connect()
    try {
      const hub = await kit.open()
      const ask = { holder: 'one', label: undefined, ttl: 60_000, wait: 60_000, permits: 1 }
      await bare.configResetStat()
      const held = await hub.leases!.acquire('quick', ask, undefined)
      assert.equal(await hub.leases!.release('quick', held!), true)
      assert.doesNotMatch(await bare.info('commandstats'), /subscribe/)
    } finally {
      bare.destroy()
    }
  }))

test("a lease whose time is over is nobody's, also before somebody else asks for it", () =>
  kit.within(async () => {
    const hub = await kit.open()
    const hold = (name: string, ttl: number) =>
      hub.leases!.acquire(name, { holder: name, label: undefined, ttl, wait: 0, permits: 1 }, undefined)
    const [one, two] = [await hold('over', 50), await hold('renewing', 50)]
    await hold('later', 100)
    while ((await hub.leases!.inspect('later')).holders.length > 0);
    assert.equal(await hub.leases!.release('over', one!), false)
    assert.equal(await hub.leases!.renew('renewing', two!, 60_000), false)
  }))

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
