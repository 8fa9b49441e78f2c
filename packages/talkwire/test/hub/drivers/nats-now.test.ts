/** NATS as it is now, beside Debian's 2.9 in nats.test.ts: what later versions have. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect as connectTo, headers, type NatsConnection } from '@nats-io/transport-node'
import { testHubDriver } from '../../../compliance/hub-driver.js'
import { turns } from '../../../compliance/ends.js'
import { fresh, hubKit, json } from '../../../compliance/hub-kit.js'
import type { Change, OpenDriver, SetOptions, Stored } from '../../../src/hub/driver.js'
import { TalkwireError } from '../../../src/error.js'
import { nats } from '../../../src/hub/drivers/nats.js'
import { openHub } from '../../../src/hub/index.js'
import { connect, contract, rpc } from '../../../src/index.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { freshName } from '../../helpers/place.js'
import { run } from '../../session/processes.js'
import { anything } from '../fixtures/who.js'
import { testStorm } from './broker-storm.js'
import { cuttable, NATS_NOW } from './brokers.js'

/** Who gives no name may everything; `few` may not change streams. */
const USERS = `no_auth_user: all
authorization { users: [
  { user: all, password: all }
  { user: few, password: few, permissions: { publish: { deny: "$JS.API.STREAM.UPDATE.>" } } }
] }`

const broker = await startBroker({
  ...NATS_NOW,
  command(host, port, folder) {
    const config = join(folder, 'users.conf')
    writeFileSync(config, USERS)
    return [...NATS_NOW.command(host, port, folder), '-c', config]
  },
})
const module = new URL('../../../src/hub/drivers/nats.js', import.meta.url).href
const place = `${broker.host}:${broker.port}`
const address = `nats://${place}`

testHubDriver({
  test,
  driver: nats,
  module,
  address: `${address}?prefix=suite`,
  nobody: `nats://${ownHost}:${freshPort()}`,
  restart: broker.restart,
})

testStorm(3, { driver: nats, address: `${address}?prefix=storm`, broker, again: true })

const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

/** Hubs of a prefix of their own, and a stranger who knows NATS. */
async function within(
  body: (place: { prefix: string; open: () => Promise<OpenDriver>; stranger: Stranger }) => Promise<void>,
): Promise<void> {
  const prefix = fresh()
  const kit = hubKit({ driver: nats, module, address: `${address}?prefix=${prefix}` }, () => true)
  const connection = await connectTo({ servers: place })
  try {
    await kit.within(() => body({ prefix, open: () => kit.open(), stranger: strangerOf(connection, prefix) }))
  } finally {
    await connection.close()
  }
}

type Stranger = ReturnType<typeof strangerOf>
function strangerOf(connection: NatsConnection, prefix: string) {
  const api = async (subject: string, body: object = {}): Promise<any> => {
    const answer = (await connection.request(`$JS.API.${subject}`, JSON.stringify(body))).json<any>()
    assert.equal(answer.error, undefined)
    return answer
  }
  return {
    api,
    /** Resolves with its place in the stream. `ttl` counts for us, `Nats-TTL` for the server: it keeps the value for an hour. */
    async put(key: string, value: unknown, ttl: number): Promise<number> {
      const said = headers()
      said.set('Nats-TTL', '3600')
      said.set('Talkwire-TTL', String(ttl))
      const answer = (await connection.request(`$KV.${prefix}.${key}`, JSON.stringify(value), { headers: said, timeout: 5000 })).json<any>()
      assert.equal(answer.error, undefined)
      return answer.seq as number
    },
    make: (config: object) =>
      api(`STREAM.CREATE.KV_${prefix}`, {
        name: `KV_${prefix}`,
        subjects: [`$KV.${prefix}.>`],
        num_replicas: 1,
        allow_rollup_hdrs: true,
        ...config,
      }),
    purge: (key: string) => api(`STREAM.PURGE.KV_${prefix}`, { filter: `$KV.${prefix}.${key}` }),
  }
}

const keysOf = async (hub: OpenDriver): Promise<string[]> => {
  const found: Stored[] = []
  for await (const each of hub.state!.list!('')) found.push(each)
  return found.map(({ key }) => key).toSorted()
}

test('nats: what counts is the time to the millisecond; the server would keep it for longer', () =>
  within(async ({ open, stranger }) => {
    const hub = await open()
    await hub.state!.set('stays', text(0), 'json', {})
    const kit = hubKit({ driver: nats, module, address: '' }, () => true)
    const watched = await kit.watcher(hub, '')
    const seqs = [
      await stranger.put('a', 1, 3_600_000),
      await stranger.put('b', 1, 50),
      await stranger.put('c', 1, 50),
      await stranger.put('d', 1, 50),
    ]
    for (const key of 'abcd') await watched.until(key, '1')
    while ((await keysOf(hub)).includes('d'));
    assert.deepEqual(await keysOf(hub), ['a', 'stays'])
    assert.equal(await hub.state!.set('b', text(2), 'json', { revision: `${seqs[1]}t` }), undefined)
    assert.notEqual(await hub.state!.set('c', text(2), 'json', { revision: null }), undefined)
    assert.equal(await hub.state!.delete('d'), false)
    assert.equal(await hub.state!.get('d'), undefined)
    // Who was told that it is gone was the first to know, and who watches the next.
    await watched.until('b', undefined)
    await watched.until('d', undefined)
    assert.equal((await hub.state!.get('a'))!.revision, `${seqs[0]}t`)
    const changed = await hub.state!.set('a', text(2), 'json', { revision: `${seqs[0]}t` })
    assert.deepEqual((await hub.state!.get('a'))!.revision, changed)
    assert.equal(await hub.state!.set('a', text(3), 'json', { revision: 'none' }), undefined)
  }))

test('nats: who came between a look and a writing that wants nothing there is told apart from a mark that went', () =>
  within(async ({ open }) => {
    const hubs = await Promise.all([open(), open(), open()])
    for (let round = 0; round < 20; round++) {
      await hubs[0]!.state!.set('key', text(0), 'json', { ttl: 60_000 })
      // Deleted while it is made: one of them makes it, unless the deletion is the last.
      const [deleted, ...made] = await Promise.all([
        hubs[0]!.state!.delete('key'),
        ...hubs.map((hub) => hub.state!.set('key', text(1), 'json', { revision: null })),
      ])
      assert.equal(deleted, true)
      const isThere = (await hubs[1]!.state!.get('key')) !== undefined
      assert.equal(made.filter((revision) => revision !== undefined).length, isThere ? 1 : 0)
      await hubs[0]!.state!.delete('key')
    }
  }))

test('nats: a bucket of before is changed so that values expire; where that cannot be the reason is told', () =>
  within(async ({ prefix, open, stranger }) => {
    await stranger.make({ max_msgs_per_subject: 1, deny_delete: true, discard: 'new', allow_direct: true })
    const few = await nats.open(`nats://few:few@${place}?prefix=${prefix}`, {
      credentials: undefined,
      signal: undefined,
      onConnection() {},
      onError() {},
    })
    await assert.rejects(few.state!.set('a', text(1), 'json', { ttl: 1000 }), {
      code: 'UNSUPPORTED',
      message: /does not let us change it/,
    })
    await few.state!.set('a', text(1), 'json', {})
    assert.equal(await few.state!.delete('a'), true)
    await few.close()
    const hub = await open()
    await hub.state!.set('b', text(1), 'json', { ttl: 1_500 })
    const { message } = await stranger.api(`STREAM.MSG.GET.KV_${prefix}`, { last_by_subj: `$KV.${prefix}.b` })
    assert.match(String(Buffer.from(message.hdrs, 'base64')), /Nats-TTL: 2\r\nTalkwire-TTL: 1500\r\n/)
    const { config } = await stranger.api(`STREAM.INFO.KV_${prefix}`)
    assert.deepEqual([config.allow_msg_ttl, config.deny_delete, config.discard], [true, true, 'new'])
    await hub.state!.set('c', text(1), 'json', { ttl: 100 })
    while ((await hub.state!.get('c')) !== undefined);
  }))

const put = (key: string, value: unknown, options: SetOptions = {}): Change => ({
  op: 'set',
  key,
  value: text(value),
  type: 'json',
  options,
})

test('nats: a batch that names a key twice compares with what was there before', () =>
  within(async ({ open }) => {
    const { state } = await open()
    const first = (await state!.set('a', text(1), 'json', {}))!
    const done = await state!.batch!([put('a', 2), put('b', 1, { revision: null, ttl: 60_000 }), put('a', 3, { revision: first })])
    assert.deepEqual([String((await state!.get('a'))!.value), (await state!.get('a'))!.revision], ['3', done![2]])
    assert.equal((await state!.get('b'))!.revision, done![1])
    assert.equal(await state!.batch!([put('a', 4, { revision: first }), put('c', 1)]), undefined)
    assert.equal(await state!.batch!([put('a', 4, { revision: done![2]! }), put('c', 1), put('a', 5, { revision: null })]), undefined)
    assert.equal(await state!.batch!([put('a', 4, { revision: first }), put('a', 5, { revision: done![2]! })]), undefined)
    assert.deepEqual([String((await state!.get('a'))!.value), await state!.get('c')], ['3', undefined])
    assert.deepEqual(await state!.batch!([]), [])
    const alone = await state!.batch!([{ op: 'delete', key: 'a', revision: done![2]! }])
    assert.deepEqual([alone, await state!.get('a')], [[''], undefined])
    const many = Array.from({ length: 1001 }, (_, index) => put(`many/${index}`, index))
    await assert.rejects(state!.batch!(many), { code: 'LIMIT_EXCEEDED', outcome: 'not-sent' })
    assert.equal((await state!.batch!(many.slice(1)))!.length, 1000)
  }))

test('nats: a batch that wants nothing there has it although the mark of what was there goes meanwhile', () =>
  within(async ({ prefix, open, stranger }) => {
    const near = await open()
    const other = (await near.state!.set('other', text(1), 'json', {}))!
    await near.state!.set('key', text(1), 'json', {})
    await near.state!.delete('key')
    const way = await before(`HPUB $KV.${prefix}.key`, () => stranger.purge('key'))
    const kit = hubKit({ driver: nats, module, address: `nats://${way}?prefix=${prefix}` }, () => true)
    await kit.within(async () => {
      const { state } = await kit.open()
      const done = await state!.batch!([put('key', 2, { revision: null }), put('other', 2, { revision: other })])
      assert.equal((await near.state!.get('key'))!.revision, done![0])
      assert.equal((await near.state!.get('other'))!.revision, done![1])
    })
  }))

test('nats: a batch takes what expired for nothing', () =>
  within(async ({ open, stranger }) => {
    const { state } = await open()
    await state!.set('there', text(1), 'json', {})
    const seq = await stranger.put('key', 1, 50)
    while ((await state!.get('key')) !== undefined);
    assert.equal(await state!.batch!([put('there', 2), put('key', 2, { revision: `${seq}t` })]), undefined)
    assert.notEqual(await state!.batch!([put('there', 2), put('key', 2, { revision: null })]), undefined)
    assert.equal(String((await state!.get('key'))!.value), '2')
  }))

test('nats: of batches that are written at once each is whole', () =>
  within(async ({ open }) => {
    const hubs = await Promise.all([open(), open(), open()])
    for (let round = 0; round < 10; round++)
      await Promise.all(
        hubs.flatMap(({ state }, who) =>
          [1, 2, 3, 4].map((time) => state!.batch!(['a', 'b', 'c'].map((key) => put(key, `${who} ${time}`)))),
        ),
      )
    const values = await Promise.all(['a', 'b', 'c'].map(async (key) => String((await hubs[0]!.state!.get(key))!.value)))
    assert.equal(new Set(values).size, 1)
  }))

test('nats: a batch is whole after kill -9, and there if it was acknowledged', () =>
  within(async ({ open }) => {
    const { state } = await open()
    let [acked, running] = [0, true]
    const write = async (): Promise<void> => {
      for (let n = 1; running; n++)
        try {
          await state!.batch!(['a', 'b', 'c'].map((key) => put(key, n)))
          acked = n
        } catch (reason) {
          assert.ok(['UNAVAILABLE', 'CONNECTION_LOST'].includes(TalkwireError.from(reason).code), String(reason))
          await new Promise((resolve) => setImmediate(resolve))
        }
    }
    const writing = write()
    const more = async (): Promise<void> => {
      for (const before = acked; acked < before + 20;) await new Promise((resolve) => setImmediate(resolve))
    }
    for (let kill = 0; kill < 3; kill++) {
      await more()
      await broker.restart()
      await more()
    }
    running = false
    await writing
    const values = await Promise.all(['a', 'b', 'c'].map(async (key) => Number(String((await state!.get(key))!.value))))
    assert.equal(new Set(values).size, 1)
    assert.ok(values[0]! >= acked)
  }))

test('nats: where older values are kept none expires: they would come back', () =>
  within(async ({ open, stranger }) => {
    await stranger.make({ max_msgs_per_subject: 5 })
    const hub = await open()
    await assert.rejects(hub.state!.set('a', text(1), 'json', { ttl: 1000 }), { code: 'UNSUPPORTED', message: /keeps older values/ })
    await hub.state!.set('a', text(1), 'json', {})
    assert.equal(String((await hub.state!.get('a'))!.value), '1')
  }))

test('nats: what went without a trace while a watcher was away is told; what is there is not told again', () =>
  within(async ({ prefix, open, stranger }) => {
    const way = await cuttable(broker)
    const seen: string[] = []
    const kit = hubKit({ driver: nats, module, address: `nats://${way.place}?prefix=${prefix}` }, () => true)
    await kit.within(async () => {
      const far = await kit.open({ onConnection: ({ state }) => void seen.push(state) })
      const near = await open()
      for (const key of ['gone', 'also', 'stays']) await near.state!.set(key, text(1), 'json', {})
      const watched = await kit.watcher(far, '')
      await watched.until('stays', '1')
      await stranger.purge('gone')
      await stranger.purge('also')
      way.cut()
      await watched.until('gone', undefined)
      await watched.until('also', undefined)
      assert.equal(watched.known.get('stays'), '1')
      assert.equal(watched.told.filter(({ key }) => key === 'stays').length, 1)
      assert.deepEqual(seen, ['lost', 'connected'])
    })
  }))

/** Between a hub and the server: before the first request with this word gets through, something else happens. */
async function before(
  word: string,
  what: () => Promise<unknown>,
  pinged: (chunk: Buffer, near: net.Socket) => void = () => {},
): Promise<string> {
  let happening: Promise<unknown> | undefined
  const server = net.createServer((one) => {
    const far = net.connect(broker.port, broker.host)
    let order = Promise.resolve<unknown>(undefined)
    one.on('data', (chunk) => {
      pinged(chunk, one)
      if (chunk.includes(word)) order = order.then(() => (happening ??= what()))
      order = order.then(() => far.write(chunk))
    })
    far.on('data', (chunk) => one.write(chunk))
    for (const [socket, other] of [
      [one, far],
      [far, one],
    ] as const)
      socket.on('error', () => {}).on('close', () => other.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, ownHost, resolve))
  after(() => server.close())
  return `${ownHost}:${(server.address() as net.AddressInfo).port}`
}

test('nats: a list ends although what was counted is not there any more', () =>
  within(async ({ prefix, open, stranger }) => {
    const near = await open()
    for (const key of ['a', 'b', 'c']) await near.state!.set(key, text(1), 'json', {})
    const way = await before('CONSUMER.MSG.NEXT', () => stranger.purge('b'))
    const kit = hubKit({ driver: nats, module, address: `nats://${way}?prefix=${prefix}` }, () => true)
    await kit.within(async () => assert.deepEqual(await keysOf(await kit.open()), ['a', 'c']))
  }))

test('nats: who wants nothing there has it although the mark of what was there goes meanwhile', () =>
  within(async ({ prefix, open, stranger }) => {
    const near = await open()
    await near.state!.set('key', text(1), 'json', {})
    await near.state!.delete('key')
    const way = await before(`HPUB $KV.${prefix}.key`, () => stranger.purge('key'))
    const kit = hubKit({ driver: nats, module, address: `nats://${way}?prefix=${prefix}` }, () => true)
    await kit.within(async () => {
      const revision = await (await kit.open()).state!.set('key', text(2), 'json', { revision: null })
      assert.equal((await near.state!.get('key'))!.revision, revision)
    })
  }))

test('nats: what was published is answered before a hub is closed, also by a stream that answers later than the server', () =>
  within(async ({ prefix }) => {
    let isPinged!: () => void
    const answered = new Promise<void>((resolve) => (isPinged = resolve))
    const way = await before(
      `${prefix}.late`,
      () => answered.then(turns),
      (chunk, near) => {
        if (chunk.includes('PING\r\n')) near.write('PONG\r\n', isPinged)
      },
    )
    const far = await nats.open(`nats://${way}?prefix=${prefix}`, {
      credentials: undefined,
      signal: undefined,
      onConnection() {},
      onError() {},
    })
    await far.topics!.publish('first', json(0), { retain: false })
    const sent = far.topics!.publish('late', json(1), { retain: false })
    await Promise.all([far.close(), sent])
  }))

test('nats: services are found by name, and who is killed is out when its time is over', async () => {
  const hubAddress = `${address}?prefix=${fresh()}`
  await using hub = await openHub(hubAddress)
  const name = freshName()
  const start = async (who: string) => {
    const started = run(process.execPath, [fileURLToPath(new URL('../fixtures/instance.js', import.meta.url)), hubAddress, name, who])
    await started.line(`ready ${who}`)
    return started
  }
  const [one, two] = await Promise.all(['one', 'two'].map(start))
  await using client = await connect(contract(`${name}/1`, { who: rpc({ output: anything, idempotent: true }) }), { hub })
  const asked = async (): Promise<unknown[]> => [...new Set(await Promise.all([1, 2, 3, 4].map(() => client.who())))].toSorted()
  assert.deepEqual(await asked(), ['one', 'two'])
  let heard!: () => void
  const left = new Promise<void>((resolve) => (heard = resolve))
  const following = await hub.follow(name, (there) => void (there.length === 1 && heard()))
  await one!.kill()
  assert.deepEqual(await asked(), ['two'])
  await left
  assert.deepEqual(
    (await hub.instances(name)).map(({ metadata }) => metadata['who']),
    ['two'],
  )
  await following.close()
  await two!.kill()
})

test('nats: an intent reaches who handles it', async () => {
  const hubAddress = `${address}?prefix=${fresh()}`
  await using hub = await openHub(hubAddress)
  await assert.rejects(hub.intents.send({ action: 'share', type: 'image/png' }), { code: 'NOT_FOUND' })
  const handler = run(process.execPath, [
    fileURLToPath(new URL('../fixtures/handler.js', import.meta.url)),
    hubAddress,
    'messenger',
    'image/*',
  ])
  await handler.line('ready')
  const answer = await hub.intents.send({ action: 'share', type: 'image/png', data: { to: 'ada' } })
  assert.deepEqual(answer, { label: 'messenger', data: { to: 'ada' }, pid: process.pid })
  await handler.kill()
})

test('nats: a job has its result', async () => {
  await using hub = await openHub(`${address}?prefix=${fresh()}`)
  const mail = hub.queue('mail', { results: 60_000 })
  await using worker = await mail.consume((job) => `sent to ${(job.data as { to: string }).to}`)
  assert.equal(await mail.result(await mail.push({ to: 'ada' })), 'sent to ada')
  void worker
})
