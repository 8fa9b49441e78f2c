import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { hubKit, json, valueOf, Waiting } from '../../../compliance/hub-kit.js'
import { TalkwireError } from '../../../src/error.js'
import type { HubTrait, OpenDriver, TopicMessage } from '../../../src/hub/driver.js'
import { nats } from '../../../src/hub/drivers/nats.js'
import { openHub } from '../../../src/hub/index.js'
import { startBroker, type Broker, type BrokerPlan } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { endsBefore } from '../../helpers/place.js'
import { testStorm } from './broker-storm.js'
import { isTrusted } from './broker-tls.js'
import { NATS, NATS_TLS } from './brokers.js'

/** Since which version a server has it. */
const LATER: readonly HubTrait[] = ['ttl', 'batch']

/** Who gives no name may everything. */
const USERS = `no_auth_user: all
authorization { users: [
  { user: all, password: all }
  { user: few, password: few, permissions: { publish: { deny: "few.secret" } } }
] }`

const withUsers = (plan: BrokerPlan): BrokerPlan => ({
  ...plan,
  command(host, port, folder) {
    const config = join(folder, 'users.conf')
    writeFileSync(config, USERS)
    return [...plan.command(host, port, folder), '-c', config]
  },
})
const broker = await startBroker(withUsers(NATS))

testHubDriver({
  test,
  driver: { ...nats, traits: nats.traits.filter((trait) => !LATER.includes(trait)) },
  module: new URL('../../../src/hub/drivers/nats.js', import.meta.url).href,
  address: `nats://${broker.host}:${broker.port}?prefix=suite`,
  nobody: `nats://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

/** Without JetStream nothing is kept. */
const plain = await startBroker({
  ...NATS,
  command: (host, port) => ['nats-server', '-a', host, '-p', String(port)],
})
const core = nats.traits.filter((trait) =>
  ['topics', 'wildcards', 'headers', 'confirmed', 'groups', 'requests', 'unanswered'].includes(trait),
)
testHubDriver({
  test,
  driver: { ...nats, traits: core },
  module: new URL('../../../src/hub/drivers/nats.js', import.meta.url).href,
  address: `nats://${plain.host}:${plain.port}?prefix=core&topics=core`,
  nobody: `nats://${ownHost}:${freshPort()}?topics=core`,
  restart: plain.restart,
})

testStorm(5, { driver: nats, address: `nats://${broker.host}:${broker.port}?prefix=storm`, broker, again: true })

const quiet = { credentials: undefined, onConnection() {}, signal: undefined }
const PLAIN = { retain: false }

test('nats: before 2.11 there are no replicas', () =>
  assert.rejects(openHub(`nats://${broker.host}:${broker.port}?replicas=2`), /UNSUPPORTED.*replicas=2 wants NATS 2\.11/))

test('nats: many hubs begin with the same queue at once', async () => {
  const { host, port } = await startBroker(NATS)
  const open = (): Promise<OpenDriver> => nats.open(`nats://${host}:${port}`, { ...quiet, onError: assert.ifError })
  const hubs = await Promise.all(Array.from({ length: 12 }, open))
  try {
    // The server says now and then to one of them that the stream overlaps with itself: of a thousand to two or three.
    for (let round = 0; round < 100; round++)
      await Promise.all(hubs.map(({ queues }) => queues!.declare(`q${round}`, { visibility: 1_000, attempts: 3, dedupe: 0 })))
  } finally {
    await Promise.all(hubs.map((hub) => hub.close()))
  }
})

for (const topics of ['stream', 'core'])
  test(`nats: where the user may not publish is refused at once, and others go on (topics=${topics})`, async () => {
    const errors: unknown[] = []
    const options = { ...quiet, onError: (reason: unknown) => errors.push(reason) }
    const hub = await nats.open(`nats://few:few@${broker.host}:${broker.port}?prefix=few&topics=${topics}`, options)
    try {
      const publish = (topic: string) => hub.topics!.publish(topic, json(1), PLAIN)
      const [secret, open] = await Promise.allSettled([publish('secret'), publish('open')])
      assert.equal(secret.status === 'rejected' && TalkwireError.from(secret.reason).code, 'UNAUTHENTICATED')
      assert.equal(open.status, 'fulfilled')
      assert.deepEqual(errors, [])
    } finally {
      await hub.close()
    }
  })

test('nats: topics with and without a stream are the same topics', async () => {
  const kit = hubKit({ driver: nats, module: '', address: `nats://${broker.host}:${broker.port}?prefix=both` }, () => true)
  await kit.within(async () => {
    const stream = await kit.open()
    const core = await nats.open(`nats://${broker.host}:${broker.port}?prefix=both&topics=core`, { ...quiet, onError: assert.ifError })
    try {
      const heard: TopicMessage[] = []
      const sink = {
        message: (message: TopicMessage) => heard.push(message) > 0,
        lost: (count: number) => assert.fail(`${count} lost`),
        ended() {},
      }
      await core.topics!.subscribe('a.*', { from: 'new', group: undefined, buffer: 10 }, sink)
      const ear = await kit.listener(stream, 'a.*')
      await core.topics!.publish('a.1', json('by core'), PLAIN)
      await ear.until(1)
      await stream.topics!.publish('a.2', json('by the stream'), PLAIN)
      await ear.until(2)
      await core.topics!.publish('a.3', json('the last'), PLAIN)
      assert.deepEqual(heard.map(valueOf), ['by core', 'by the stream', 'the last'])
      assert.deepEqual((await ear.until(3)).map(valueOf), ['by core', 'by the stream', 'the last'])
      // Queues and state are the server's streams as ever.
      await core.state!.set('key', Buffer.from('1'), 'json', {})
      assert.equal(String((await stream.state!.get('key'))!.value), '1')
    } finally {
      await core.close()
    }
  })
})

test('nats: without JetStream a hub wants topics=core', async () => {
  await assert.rejects(openHub(`nats://${plain.host}:${plain.port}`), /start nats-server with -js, or take \?topics=core/)
  await assert.rejects(openHub(`nats://${plain.host}:${plain.port}?topics=kern`), { code: 'INVALID_ADDRESS' })
  const hub = await openHub(`nats://${plain.host}:${plain.port}?topics=core`)
  try {
    await assert.rejects(hub.queue('jobs').push(1), /UNSUPPORTED.* NATS without JetStream/s)
    await assert.rejects(hub.topic('a').subscribe({ from: 'all' }), { code: 'UNSUPPORTED' })
  } finally {
    await hub.close()
  }
})

/** Between a hub and the server: what the server says is held back, or nobody gets through. */
async function between({ host, port }: Broker) {
  const sockets = new Set<net.Socket>()
  let [held, shut] = [false, false]
  let asked = (): void => {}
  const server = net.createServer((near) => {
    const far = net.connect(port, host)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {}).on('close', () => other.destroy())
    }
    near.on('data', (chunk) => {
      far.write(chunk)
      if (held && chunk.includes('PING')) asked()
    })
    far.on('data', (chunk) => held || near.write(chunk))
    if (shut) near.destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, ownHost, resolve))
  endsBefore(() => new Promise<void>((resolve) => void server.close(() => resolve())))
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
  }
  return {
    place: `${ownHost}:${(server.address() as net.AddressInfo).port}`,
    /** Resolves when the hub has asked for something that is not answered. */
    hold: () => new Promise<void>((resolve) => ([held, asked] = [true, resolve])),
    shut() {
      shut = true
      cut()
    },
    open: () => void ([held, shut] = [false, false]),
  }
}

/** What a hub says of its connection. */
function seen() {
  const waiting = new Waiting()
  const states: string[] = []
  return {
    onConnection({ state }: { readonly state: string }): void {
      states.push(state)
      waiting.happened()
    },
    until: (state: string) => waiting.until(state, () => (states.includes(state) ? true : undefined)),
  }
}

test('nats: who subscribed where nothing was is told what came while it was away', () => {
  const kit = hubKit({ driver: nats, module: '', address: `nats://${broker.host}:${broker.port}?prefix=first` }, () => true)
  return kit.within(async () => {
    const proxy = await between(broker)
    const { onConnection, until } = seen()
    const far = await nats.open(`nats://${proxy.place}?prefix=first`, { ...quiet, onConnection, onError: assert.ifError })
    try {
      const [hub, ear] = [await kit.open(), await kit.listener(far, 'a')]
      proxy.shut()
      await until('lost')
      await hub.topics!.publish('a', json('the first'), PLAIN)
      proxy.open()
      assert.deepEqual((await ear.until(1)).map(valueOf), ['the first'])
    } finally {
      await far.close()
    }
  })
})

test('nats: what topics without a stream lose with the connection is told to who publishes and to who hears', () => {
  const kit = hubKit({ driver: nats, module: '', address: `nats://${plain.host}:${plain.port}?prefix=lost&topics=core` }, () => true)
  return kit.within(async () => {
    const proxy = await between(plain)
    const { onConnection, until } = seen()
    const address = `nats://${proxy.place}?prefix=lost&topics=core`
    const [hub, far] = [await kit.open(), await nats.open(address, { ...quiet, onConnection, onError: assert.ifError })]
    try {
      const ear = await kit.listener(far, 'a')
      await hub.topics!.publish('a', { body: Buffer.from('1'), type: 'bytes', headers: { said: 'yes' } }, PLAIN)
      const [first] = await ear.until(1)
      assert.deepEqual([String(first!.body), first!.type, { ...first!.headers }], ['1', 'bytes', { said: 'yes' }])
      const asked = proxy.hold()
      const sent = far.topics!.publish('a', json(2), PLAIN)
      await asked
      proxy.shut()
      await assert.rejects(sent, { code: 'CONNECTION_LOST', outcome: 'maybe-ran' })
      await until('lost')
      await assert.rejects(far.topics!.publish('a', json(3), PLAIN), { code: 'UNAVAILABLE', outcome: 'not-sent' })
      assert.equal(ear.listener.lostCount, 0)
      proxy.open()
      await until('connected')
      await far.topics!.publish('a', json(4), PLAIN)
      assert.deepEqual((await ear.until(2)).slice(1).map(valueOf), [4])
      assert.equal(ear.listener.lostCount, 1)
    } finally {
      await far.close()
    }
  })
})

test('nats over TLS: with a certificate of ours, and only to one whose certificate is of whom we trust', async () => {
  const { host, port } = await startBroker(NATS_TLS)
  await isTrusted(`nats://${host}:${port}`)
  await assert.rejects(openHub(`nats://${plain.host}:${plain.port}?topics=core`, { credentials: { tls: {} } }), /does not support 'tls'/)
})

test('nats: before 2.11 nothing expires, so nobody is found by name', async () => {
  const hub = await openHub(`nats://${broker.host}:${broker.port}?prefix=old`)
  try {
    await assert.rejects(hub.state('s').set('a', 1, { ttl: 1000 }), /UNSUPPORTED.* NATS before 2\.11 has no ttl.*nats/s)
    await assert.rejects(hub.register({ name: 'bank', addresses: ['tcp://127.0.0.1:1'] }), { code: 'UNSUPPORTED' })
  } finally {
    await hub.close()
  }
})

test('nats: who it is may be said in the credentials, in our words and in those of the library', async () => {
  const guarded = (...words: string[]): Promise<Broker> =>
    startBroker({ command: (...at) => [...NATS.command(...at), ...words], answers: NATS_TLS.answers })
  const { host, port } = await guarded('--user', 'ann', '--pass', 's3cret')
  const enter = async (who: string, credentials: Readonly<Record<string, unknown>>): Promise<void> => {
    await (await openHub(`nats://${who}${host}:${port}`, { credentials })).close()
  }
  await enter('', { user: 'ann', password: 's3cret' })
  await enter('', { user: 'ann', pass: 's3cret' })
  await enter('ann@', { password: 's3cret' })
  await enter('ann@', { pass: 's3cret' })
  await enter('ann:wrong@', { pass: 's3cret' })
  await enter('ann:s3cret@', {})
  for (const credentials of [{}, { user: 'ann' }, { pass: 's3cret' }, { user: 'ann', pass: 'wrong' }])
    await assert.rejects(enter('', credentials), { code: 'UNAUTHENTICATED' })
  const other = await guarded('--auth', 'token')
  for (const [who, credentials] of [
    ['token@', {}],
    ['', { token: 'token' }],
  ] as const)
    await (await openHub(`nats://${who}${other.host}:${other.port}`, { credentials })).close()
})
