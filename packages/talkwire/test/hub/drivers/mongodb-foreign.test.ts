/** Programs that know nothing of us: pymongo beside the driver; and what MongoDB does beside its best. SecantusDB stands in for it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MongoClient } from 'mongodb'
import { soon } from '../../../compliance/ends.js'
import { hubKit, upTo, Waiting } from '../../../compliance/hub-kit.js'
import type { OpenOptions } from '../../../src/hub/driver.js'
import { mongodb } from '../../../src/hub/drivers/mongodb.js'
import { connectMongo } from '../../../src/hub/drivers/mongodb/connection.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { cuttable, mongoWith } from './brokers.js'
import { startPymongo } from './pymongo.js'

const words: string[] = []
const broker = await startBroker(mongoWith(words))
const place = `${broker.host}:${broker.port}`
const address = `mongodb://${place}/shop`
const module = new URL('../../../src/hub/drivers/mongodb.js', import.meta.url).href
const kit = hubKit({ driver: mongodb, module, address }, (trait) => mongodb.traits.includes(trait))
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }

const { run, say: pymongo } = startPymongo(address)
const values = 'db["talkwire.state"]'
const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

test('pymongo reads what we set as it would have written it, and we what it wrote', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const revision = await hub.state!.set('session/ann', text({ user: 'ann', tags: ['a', { b: 1.5 }], $x: undefined }), 'json', {})
    assert.deepEqual(await pymongo(`${values}.find_one({"_id": "session/ann"})`), {
      _id: 'session/ann',
      value: { user: 'ann', tags: ['a', { b: 1.5 }] },
      revision,
    })
    await hub.state!.set('text', Buffer.from('größe'), 'text', {})
    const told = await hub.state!.get('text')
    assert.deepEqual([String(told!.value), told!.type], ['größe', 'text'])
    await hub.state!.set('bytes', Buffer.from([0, 255]), 'bytes', {})
    assert.deepEqual(
      await pymongo(`[(d["value"], d.get("type")) for d in ${values}.find({"_id": {"$in": ["text", "bytes"]}}).sort("_id")]`),
      [
        ["b'\\x00\\xff'", null],
        ['größe', 'text'],
      ],
    )
    run('import bson, datetime')
    const when = 'datetime.datetime(2026, 1, 2)'
    run(`_ = ${values}.replace_one({"_id": "theirs"}, {"value": {"big": bson.Int64(2**60), "when": ${when}, "n": [1, None]}}, upsert=True)`)
    run(`_ = ${values}.insert_many([{"_id": "raw", "value": b"\\x01"}, {"_id": "none"}, {"_id": 7, "value": 1}])`)
    assert.equal(await pymongo('1'), 1)
    const theirs = await hub.state!.get('theirs')
    assert.deepEqual(JSON.parse(String(theirs!.value)), { big: String(2n ** 60n), when: '2026-01-02T00:00:00.000Z', n: [1, null] })
    const raw = await hub.state!.get('raw')
    assert.deepEqual([[...raw!.value], raw!.type], [[1], 'bytes'])
    assert.equal(String((await hub.state!.get('none'))!.value), 'null')
    const keys: string[] = []
    for await (const { key } of hub.state!.list!('')) keys.push(key)
    assert.deepEqual(keys, ['bytes', 'none', 'raw', 'session/ann', 'text', 'theirs'])
  }))

test('what somebody else wrote is compared as it is, and set only if it still is', () =>
  kit.within(async () => {
    const hub = await kit.open()
    run(`_ = ${values}.replace_one({"_id": "count"}, {"value": {"n": 1}}, upsert=True)`)
    assert.equal(await pymongo('1'), 1)
    const { revision } = (await hub.state!.get('count'))!
    run(`_ = ${values}.replace_one({"_id": "count"}, {"value": {"n": 2}})`)
    assert.equal(await pymongo('1'), 1)
    assert.equal(await hub.state!.set('count', text({ n: 3 }), 'json', { revision }), undefined)
    assert.equal(await hub.state!.delete('count', revision), false)
    const newer = (await hub.state!.get('count'))!.revision
    const ours = await hub.state!.set('count', text({ n: 3 }), 'json', { revision: newer })
    assert.equal((await hub.state!.get('count'))!.revision, ours)
    assert.equal(await hub.state!.set('count', text({ n: 4 }), 'json', { revision: newer }), undefined)
    assert.deepEqual(await pymongo(`${values}.find_one({"_id": "count"})["value"]`), { n: 3 })
  }))

test('a batch of which MongoDB refuses one change leaves nothing, and a prefix is no pattern', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const change = (key: string, value: string) => ({ op: 'set', key, value: text(value), type: 'json', options: {} }) as const
    run('rule = lambda rule: db.command("collMod", "talkwire.state", validator=rule)')
    run('_ = rule({"value": {"$ne": "refused"}})')
    assert.equal(await pymongo('1'), 1)
    await assert.rejects(hub.state!.batch!([change('all.or', 'taken'), change('all.nothing', 'refused')]), fails('UNKNOWN'))
    run('_ = rule({})')
    assert.equal(await pymongo('1'), 1)
    assert.equal(await hub.state!.get('all.or'), undefined)
    await hub.state!.batch!([change('all.or', 'taken'), change('all-or', 'taken')])
    const keys: string[] = []
    for await (const { key } of hub.state!.list!('all.')) keys.push(key)
    assert.deepEqual(keys, ['all.or'])
  }))

test('a socket that the server ended is a lost connection, also where the library writes before it knows', async () => {
  const mongo = await connectMongo(address, options)
  const ended = mongo.errorOf(Object.assign(new Error('This socket has been ended by the other party'), { code: 'EPIPE' }))
  assert.deepEqual([ended.code, ended.outcome], ['CONNECTION_LOST', 'maybe-ran'])
  await mongo.close()
})

test('a watch of pymongo sees what we do, and ours what pymongo does', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const watched = await kit.watcher(hub, 'w/')
    run(`stream = ${values}.watch([{"$match": {"documentKey._id": {"$regex": "^w/"}}}]).__enter__()`)
    run(`_ = ${values}.insert_one({"_id": "w/1", "value": "theirs"})`)
    assert.deepEqual(await pymongo('stream.next()["fullDocument"]["value"]'), 'theirs')
    await watched.until('w/1', '"theirs"')
    await hub.state!.set('w/1', text('ours'), 'json', {})
    assert.deepEqual(await pymongo('stream.next()["fullDocument"]["value"]'), 'ours')
    run(`_ = ${values}.update_one({"_id": "w/1"}, {"$set": {"value": 3}, "$unset": {"revision": 1}})`)
    await watched.until('w/1', '3')
    run(`_ = ${values}.delete_one({"_id": "w/1"})`)
    await watched.until('w/1', undefined)
    run('stream.close()')
  }))

test('pymongo adds to our counters, sees who holds a lease, and lets the next one have it', () =>
  kit.within(async () => {
    const hub = await kit.open()
    assert.equal(await hub.counters!.add('visits', 2), 2)
    run('_ = db["talkwire.counters"].update_one({"_id": "visits"}, {"$inc": {"value": 2**40}})')
    run('_ = db["talkwire.counters"].update_one({"_id": "theirs"}, {"$inc": {"value": 1}}, upsert=True)')
    assert.equal(await pymongo('db["talkwire.counters"].find_one({"_id": "visits"})["value"]'), 2 ** 40 + 2)
    assert.equal(await hub.counters!.add('visits', -1), 2 ** 40 + 1)
    assert.equal(await hub.counters!.add('theirs', 1), 2)
    const ask = { label: '$label', ttl: 3_600_000, wait: 0, permits: 1 }
    // Words of MongoDB's are words like any other.
    const held = await hub.leases!.acquire('job', { ...ask, holder: '$fence' }, undefined)
    run('lease = lambda: db["talkwire.leases"].find_one({"_id": "job"})')
    assert.deepEqual(await pymongo('[[h["holder"], h["label"], h["token"]] for h in lease()["holders"]]'), [
      ['$fence', '$label', held!.token],
    ])
    assert.equal(await pymongo('(lease()["holders"][0]["until"] - lease()["now"]).total_seconds()'), 3600)
    assert.equal(await hub.leases!.renew('job', held!, 60_000), true)
    assert.equal((await hub.leases!.inspect('job')).holders[0]!.left <= 60_000, true)
    const next = hub.leases!.acquire('job', { ...ask, holder: 'next', wait: 3_600_000 }, undefined)
    const waits = async (): Promise<void> => {
      while ((await hub.leases!.inspect('job')).waiters === 0);
    }
    await soon(waits(), 'a waiter')
    assert.deepEqual(await pymongo('[w["holder"] for w in lease()["waiting"]]'), ['next'])
    run('_ = db["talkwire.leases"].update_one({"_id": "job"}, {"$set": {"holders": []}, "$inc": {"freed": 1}})')
    assert.equal((await soon(next, 'the lease'))!.token, held!.token + 1)
    assert.equal(await hub.leases!.renew('job', held!, 60_000), false)
    // Who died while it waited.
    run('import datetime')
    run('past = datetime.datetime(2026, 1, 1)')
    run('_ = db["talkwire.leases"].insert_one({"_id": "left", "fence": 7, "waiting": [{"holder": "gone", "until": past}]})')
    assert.equal(await pymongo('1'), 1)
    assert.equal((await hub.leases!.acquire('left', { ...ask, holder: 'x' }, undefined))?.token, 8)
  }))

test('who waits for a lease when its hub is closed hears CLOSED, and stands in nobody’s way', () =>
  kit.within(async () => {
    const [one, two] = [await kit.open(), await kit.open()]
    const ask = { label: undefined, ttl: 3_600_000, wait: 3_600_000, permits: 1 }
    const held = await one.leases!.acquire('closing', { ...ask, holder: 'first' }, undefined)
    const refused = assert.rejects(two.leases!.acquire('closing', { ...ask, holder: 'second' }, undefined), fails('CLOSED'))
    const waits = async (count: number): Promise<void> => {
      while ((await one.leases!.inspect('closing')).waiters !== count);
    }
    await soon(waits(1), 'a waiter')
    await two.close()
    await soon(refused, 'an error')
    assert.equal((await one.leases!.inspect('closing')).waiters, 0)
    assert.equal(await one.leases!.release('closing', held!), true)
  }))

test('JSON that MongoDB would give back otherwise comes back as it went', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const deep = '['.repeat(120) + ']'.repeat(120)
    const bodies = [
      '{"$id":1,"$ref":"a"}',
      '{"_bsontype":"ObjectId"}',
      '{"__proto__":1}',
      '"\\ud800"',
      '-0',
      '1e999',
      '{"a\\u0000b":1}',
      deep,
      'no JSON',
    ]
    for (const [index, body] of bodies.entries()) {
      await hub.state!.set(`odd/${index}`, Buffer.from(body), 'json', {})
      const found = await hub.state!.get(`odd/${index}`)
      assert.deepEqual([String(found!.value), found!.type], [body, 'json'])
    }
    const broken = Buffer.from([0x22, 0xff, 0x22])
    await hub.state!.set('odd/text', broken, 'text', {})
    const found = await hub.state!.get('odd/text')
    assert.deepEqual([Buffer.from(found!.value), found!.type], [broken, 'text'])
    const plain = ['{"a.b":{"":[]},"10":1,"2":2}', '"$x"', '12345678901234567000', '1.5e300', '""', 'null', 'true']
    for (const [index, body] of plain.entries()) {
      await hub.state!.set(`plain/${index}`, Buffer.from(body), 'json', { ttl: 3_600_000 })
      assert.deepEqual(JSON.parse(String((await hub.state!.get(`plain/${index}`))!.value)), JSON.parse(body))
    }
    const binary = '"value": {"$type": "binData"}'
    assert.equal(await pymongo(`${values}.count_documents({"_id": {"$regex": "^odd/"}, ${binary}})`), bodies.length + 1)
    assert.equal(await pymongo(`${values}.count_documents({"_id": {"$regex": "^plain/"}, ${binary}})`), 0)
    await assert.rejects(hub.state!.set('large', Buffer.alloc(17_000_000), 'bytes', {}), fails('MESSAGE_TOO_LARGE'))
    await assert.rejects(hub.state!.set('large', Buffer.alloc(40_000_000), 'bytes', {}), fails('MESSAGE_TOO_LARGE'))
  }))

test('a watch that was cut off hears once what happened meanwhile, also where the collection was dropped', async () => {
  const way = await cuttable(broker)
  const [seen, waiting] = [[] as string[], new Waiting()]
  const onConnection: OpenOptions['onConnection'] = ({ state }) => {
    seen.push(state)
    waiting.happened()
  }
  const hub = await mongodb.open(`mongodb://${way.place}/shop?directConnection=true`, { ...options, onConnection })
  const other = await mongodb.open(address, options)
  const set = (key: string, value: number): Promise<unknown> => other.state!.set(key, text(value), 'json', {})
  try {
    await set('cut/a', 1)
    const watched = await kit.watcher(hub, 'cut/')
    await watched.until('cut/a', '1')
    for (const round of upTo(3)) {
      way.cut()
      await set('cut/b', round)
      await waiting.until('connected', () => (seen.filter((state) => state === 'connected').length > round ? true : undefined))
      await watched.until('cut/b', String(round))
    }
    assert.deepEqual(
      watched.told.map((change) => ('gone' in change ? change : String(change.value))),
      ['1', '0', '1', '2'],
    )
    run('_ = db.drop_collection("talkwire.state")')
    await watched.until('cut/a', undefined)
    await watched.until('cut/b', undefined)
    await set('cut/a', 9)
    await watched.until('cut/a', '9')
    assert.ok(
      seen.every((state, index) => state === (index % 2 === 0 ? 'lost' : 'connected')),
      seen.join(),
    )
  } finally {
    await hub.close()
    await other.close()
  }
})

test('what was sent when MongoDB was killed may have run, what is sent after that is not sent, and what was set is there again', async () => {
  const way = await cuttable(broker)
  const [seen, waiting] = [[] as string[], new Waiting()]
  const until = (state: string): Promise<true> => waiting.until(state, () => (seen.includes(state) ? true : undefined))
  const onConnection: OpenOptions['onConnection'] = ({ state }) => {
    seen.push(state)
    waiting.happened()
  }
  const hub = await mongodb.open(`mongodb://${way.place}/shop?directConnection=true&serverSelectionTimeoutMS=100`, {
    ...options,
    onConnection,
  })
  const other = await mongodb.open(address, options)
  try {
    await hub.state!.set('before', text(0), 'json', {})
    way.deafen()
    const refused = assert.rejects(
      hub.state!.set('unheard', text(1), 'json', {}),
      (reason: unknown) => fails('CONNECTION_LOST')(reason) && (reason as { outcome: string }).outcome === 'maybe-ran',
    )
    const there = async (): Promise<void> => {
      while (!(await other.state!.get('unheard')));
    }
    await soon(there(), 'a value whose answer is not heard')
    await broker.kill()
    // Who does not hear anything does not hear the end.
    way.cut()
    await refused
    await until('lost')
    await assert.rejects(
      hub.state!.set('after', text(2), 'json', {}),
      (reason: unknown) => fails('UNAVAILABLE')(reason) && (reason as { outcome: string }).outcome === 'not-sent',
    )
    await broker.start()
    await until('connected')
    assert.equal(String((await hub.state!.get('unheard'))?.value), '1')
    assert.equal(await hub.state!.get('after'), undefined)
  } finally {
    await hub.close()
    await other.close()
  }
})

test('addresses that are none; a MongoDB that stands alone', async () => {
  for (const wrong of [
    'mongodb:',
    `mongodb://${place}/a?prefix=a.b`,
    `mongodb://${place}/?other=1`,
    'mongodb://h:x/',
    'mongodb+srv://a,b/',
  ])
    await assert.rejects(mongodb.open(wrong, options), fails('INVALID_ADDRESS'), wrong)
  words.push('--standalone')
  await broker.restart()
  await assert.rejects(mongodb.open(address, options), fails('UNAVAILABLE'))
})

test('a password that is wrong, or none, fails with UNAUTHENTICATED; addresses and credentials say it', async () => {
  words.splice(0)
  await broker.restart()
  const admin = await MongoClient.connect(`mongodb://${place}/`)
  await admin.db('admin').command({ createUser: 'ann', pwd: 'se/cret', roles: [{ role: 'readWrite', db: 'shop' }] })
  await admin.close()
  words.push('--auth')
  await broker.restart()
  for (const wrong of [address, `mongodb://ann:wrong@${place}/shop?authSource=admin`])
    await assert.rejects(mongodb.open(wrong, options), fails('UNAUTHENTICATED'))
  await assert.rejects(mongodb.open(`mongodb://ann:se%2Fcret@${place}/other?authSource=admin`, options), fails('PERMISSION_DENIED'))
  const one = await mongodb.open(`mongodb://ann:se%2Fcret@${place}/shop?authSource=admin`, options)
  await one.state!.set('a', text(1), 'json', {})
  await one.close()
  const two = await mongodb.open(`${address}?authSource=admin`, { ...options, credentials: { user: 'ann', password: 'se/cret' } })
  assert.equal(String((await two.state!.get('a'))?.value), '1')
  await two.close()
})
