/** Topics on MongoDB, where the suite cannot look: the documents, several publishers, what is taken away. SecantusDB stands in for it. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import type { Collection } from 'mongodb'
import { soon, turns } from '../../../compliance/ends.js'
import { fresh, hubKit, json, Listener, upTo, valueOf, Waiting, type Ear } from '../../../compliance/hub-kit.js'
import { TalkwireError } from '../../../src/error.js'
import type { OpenOptions } from '../../../src/hub/driver.js'
import { mongodb } from '../../../src/hub/drivers/mongodb.js'
import { connectMongo, type Mongo } from '../../../src/hub/drivers/mongodb/connection.js'
import { member } from '../../../src/hub/drivers/mongodb/groups.js'
import { entryOf, openLog } from '../../../src/hub/drivers/mongodb/log.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { cuttable, MONGODB } from './brokers.js'
import { startPymongo } from './pymongo.js'

const broker = await startBroker(MONGODB)
const place = `${broker.host}:${broker.port}`
const address = `mongodb://${place}/shop`
const module = new URL('../../../src/hub/drivers/mongodb.js', import.meta.url).href
const kit = hubKit({ driver: mongodb, module, address }, (trait) => mongodb.traits.includes(trait))
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
const { run, say } = startPymongo(address)
const PLAIN = { retain: false }

run('from datetime import datetime, timezone')
run('from pymongo.errors import DuplicateKeyError')
run('topics = db["talkwire.topics"]')
run('now = lambda: datetime.now(timezone.utc)')
run('size = lambda d: max(1, len(d["messages"]) if isinstance(d.get("messages"), list) else 1)')
run('ends = lambda: next((d["_id"] + size(d) for d in topics.find({"_id": {"$gt": 0}}).sort("_id", -1).limit(1)), 1)')
run('put = lambda **doc: topics.insert_one({"_id": ends(), **doc}).inserted_id')
/** As on the page. */
const PUBLISH = `
def publish(*messages):
    while True:
        last = next(topics.find({'_id': {'$gt': 0}}).sort('_id', -1).limit(1), {'_id': 0, 'messages': []})
        place = last['_id'] + max(1, len(last['messages']))
        try:
            return topics.insert_one({'_id': place, 'time': datetime.now(timezone.utc), 'messages': messages})
        except DuplicateKeyError:
            pass
`
run(`exec(${JSON.stringify(PUBLISH)}, globals())`)
/** Everything before it has run. */
const ran = (): Promise<unknown> => say('1')
const last = (ear: Ear, value: unknown): Promise<unknown> =>
  ear.listener.until(String(value), () => (ear.values().includes(value) ? true : undefined))

test('pymongo publishes documents that we hear, and hears what we publish', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const ear = await kit.listener(hub, 'orders.>')
    run('stream = topics.watch().__enter__()')
    await ran()
    await Promise.all([
      hub.topics!.publish('orders.new', { ...json({ id: 1 }), headers: { said: 'yes' } }, PLAIN),
      hub.topics!.publish('orders.text', { body: Buffer.from('größe'), type: 'text', headers: {} }, PLAIN),
    ])
    const [position, messages] = (await say('[(d := stream.next()["fullDocument"])["_id"], d["messages"]]')) as [number, unknown]
    assert.deepEqual(messages, [
      { topic: 'orders.new', value: { id: 1 }, headers: { said: 'yes' } },
      { topic: 'orders.text', value: 'größe', type: 'text' },
    ])
    assert.equal(await say('abs((now().replace(tzinfo=None) - d["time"]).total_seconds()) < 60 and len(d["token"]) == 24'), true)
    run('_ = publish({"topic": "orders.theirs", "value": {"id": 2}, "headers": {"a": "b", "n": 1}}, {"topic": "other", "value": 1})')
    // Those that are none take their place, and nobody hears them.
    run('_ = put(messages=[{"topic": "orders.bytes", "value": b"\\x01"}, 7, None, {"value": 1}, {"topic": 8}, {"topic": "orders.none"}])')
    run('_ = put(messages="none")')
    run('_ = put(time=now())')
    run('_ = put(messages=[])')
    run('_ = topics.insert_one({"_id": "text", "messages": [{"topic": "orders.never", "value": 0}]})')
    assert.equal(await say('ends()'), position + 2 + 2 + 6 + 3)
    await hub.topics!.publish('orders.last', json('last'), PLAIN)
    const came = await ear.until(6)
    assert.deepEqual(
      came.map(({ topic, body, type, headers }) => [topic, type, { ...headers }, [...body].length]),
      [
        ['orders.new', 'json', { said: 'yes' }, 8],
        ['orders.text', 'text', {}, 7],
        ['orders.theirs', 'json', { a: 'b' }, 8],
        ['orders.bytes', 'bytes', {}, 1],
        ['orders.none', 'json', {}, 4],
        ['orders.last', 'json', {}, 6],
      ],
    )
    assert.deepEqual(
      came.map((each) => each.position),
      [`${position}-0`, `${position}-1`, `${position + 2}-0`, `${position + 4}-0`, `${position + 4}-5`, `${position + 13}-0`],
    )
    assert.deepEqual(
      came.map(({ time }) => typeof time),
      ['number', 'number', 'number', 'undefined', 'undefined', 'number'],
    )
    assert.equal(ear.listener.lostCount, 0)
    // One that does not say when it was published is none of a time.
    const since = await kit.listener(hub, 'orders.>', { from: { time: came[0]!.time! } })
    await since.listener.until('the last', () => (since.messages.at(-1)?.topic === 'orders.last' ? true : undefined))
    assert.ok(since.messages.every(({ time }) => time! >= came[0]!.time!))
    const all = await kit.listener(hub, 'orders.>', { from: 'all' })
    await all.until(6)
    assert.deepEqual(
      all.messages.map((each) => each.position),
      came.map((each) => each.position),
    )
    run('stream.close()')
  }))

test('three processes and pymongo publish at once, one is killed: nothing is lost, nothing twice, each in its order', () =>
  kit.within(async () => {
    const topic = fresh()
    const ear = await kit.listener(await kit.open(), topic)
    const COUNT = 100
    const start = () => {
      const child = spawn(process.execPath, [kit.far, ...kit.words, 'publish', topic, `${COUNT}`], { stdio: ['ignore', 'pipe', 'inherit'] })
      const known = { child, said: 0, gone: once(child, 'exit') }
      createInterface(child.stdout).on('line', (line) => {
        known.said = Number(line)
        if (known === killed && known.said >= COUNT / 2) child.kill('SIGKILL')
      })
      return known
    }
    const all = [start(), start(), start()] as const
    const killed = all[0]
    const theirs = 20
    run(`_ = [publish({"topic": "${topic}", "value": [0, index]}) for index in range(${theirs})]`)
    await soon(Promise.all(all.map(({ gone }) => gone)), 'the end of who publishes')
    assert.equal(killed.child.signalCode, 'SIGKILL')
    await ran()
    await (await kit.open()).topics!.publish(topic, json(['last']), PLAIN)
    await ear.listener.until('the last', () => (String(ear.values().at(-1)) === 'last' ? true : undefined))
    const of = (pid: number): unknown[] =>
      ear.values().flatMap((value) => ((value as unknown[])[0] === pid ? [(value as unknown[])[1]] : []))
    for (const { child } of all.slice(1)) assert.deepEqual(of(child.pid!), upTo(COUNT))
    const half = of(killed.child.pid!)
    assert.deepEqual(half, upTo(half.length))
    assert.ok(half.length >= killed.said, `${half.length} of ${killed.said} that were taken`)
    assert.deepEqual(of(0), upTo(theirs))
    assert.equal(ear.listener.lostCount, 0)
  }))

test('an answer that was not heard: the second attempt finds what the first one made', async () => {
  const way = await cuttable(broker)
  const [seen, waiting] = [[] as string[], new Waiting()]
  const onConnection: OpenOptions['onConnection'] = ({ state }) => {
    seen.push(state)
    waiting.happened()
  }
  const hub = await mongodb.open(`mongodb://${way.place}/shop?directConnection=true`, { ...options, onConnection })
  const other = await mongodb.open(address, options)
  try {
    const topic = fresh()
    const ear = await kit.listener(other, topic)
    await hub.topics!.publish(topic, json(1), PLAIN)
    way.deafen()
    const published = hub.topics!.publish(topic, json(2), PLAIN)
    await last(ear, 2)
    way.cut()
    await soon(published, 'what was published')
    await waiting.until('connected', () => (seen.includes('connected') ? true : undefined))
    await hub.topics!.publish(topic, json(3), PLAIN)
    await last(ear, 3)
    assert.deepEqual(ear.values(), [1, 2, 3])
  } finally {
    await hub.close()
    await other.close()
  }
})

test('who was away longer than the library waits hears what was published meanwhile', async () => {
  const refused = Object.assign(new Waiting(), { count: 0 })
  let isShut = false
  const way = await cuttable(broker, (take) =>
    net.createServer((near) => {
      if (!isShut) return take(near)
      near.destroy()
      refused.count++
      refused.happened()
    }),
  )
  const hub = await mongodb.open(`mongodb://${way.place}/shop?directConnection=true&serverSelectionTimeoutMS=100`, options)
  const other = await mongodb.open(address, options)
  try {
    const topic = fresh()
    const ears = [await kit.listener(hub, topic), await kit.listener(hub, topic, { group: 'g' })]
    await other.topics!.publish(topic, json(1), PLAIN)
    for (const ear of ears) await last(ear, 1)
    isShut = true
    way.cut()
    await other.topics!.publish(topic, json(2), PLAIN)
    // Who went on from now on would hear this one.
    await other.state!.set(topic, Buffer.from('1'), 'json', {})
    await refused.until('three refusals', () => (refused.count >= 3 ? true : undefined))
    isShut = false
    for (const ear of ears) {
      await last(ear, 2)
      assert.deepEqual(ear.values(), [1, 2])
    }
  } finally {
    await hub.close()
    await other.close()
  }
})

test('what one turn publishes is one document, unless it is too large; of what fits into none nothing is there', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    const ear = await kit.listener(hub, topic)
    const bytes = (size: number) => ({ body: Buffer.alloc(size), type: 'bytes', headers: {} }) as const
    const sizes = [10, 20, 100_000, 100_000, 100_000, 300_000, 30]
    const sent = sizes.map((size) => hub.topics!.publish(topic, bytes(size), PLAIN))
    const refused = assert.rejects(
      hub.topics!.publish(topic, bytes(17_000_000), PLAIN),
      (reason: unknown) => fails('MESSAGE_TOO_LARGE')(reason) && (reason as { outcome: string }).outcome === 'not-sent',
    )
    await Promise.all([...sent, refused])
    const came = await ear.until(sizes.length)
    assert.deepEqual(
      came.map(({ body }) => body.length),
      sizes,
    )
    const each = await say(`[len(d["messages"]) for d in topics.find({"messages.topic": "${topic}"}).sort("_id", 1)]`)
    assert.deepEqual(each, [4, 1, 1, 1])
    await Promise.all(upTo(1500).map((index) => hub.topics!.publish(topic, json(index), PLAIN)))
    await ear.until(sizes.length + 1500)
    assert.deepEqual(await say(`[n for d in topics.find({"messages.topic": "${topic}"}) if (n := len(d["messages"])) > 4]`), [1000, 500])
    await hub.topics!.publish(topic, bytes(16_000_000), PLAIN)
    assert.equal((await ear.until(sizes.length + 1501)).at(-1)!.body.length, 16_000_000)
    await assert.rejects(hub.topics!.publish(topic, json(1), { retain: true }), fails('UNSUPPORTED'))
    await assert.rejects(kit.listener(hub, topic, { from: { after: '12' } }), fails('INVALID_INPUT'))
  }))

test('who stood where everything was taken away is told how many it lost, alone and in a group', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const topic = fresh()
    const slow = await kit.listener(hub, topic, {}, 1)
    const members = await kit.listener(hub, topic, { group: 'g' }, 1)
    for (const value of upTo(4)) await hub.topics!.publish(topic, json(value), PLAIN)
    await Promise.all([slow.until(1), members.until(1)])
    const doc = Number(slow.messages[0]!.position!.split('-')[0])
    run(`_ = topics.delete_many({"_id": {"$gte": ${doc + 1}, "$lte": ${doc + 2}}})`)
    await ran()
    for (const ear of [slow, members]) {
      ear.listener.room = Infinity
      ear.listener.subscription.resume()
      await last(ear, 3)
      assert.equal(ear.listener.lostCount, 2)
    }
    // In the middle of a document.
    const narrow = await kit.listener(hub, topic, {}, 2)
    await Promise.all(upTo(5).map((value) => hub.topics!.publish(topic, json(value + 10), PLAIN)))
    await last(slow, 14)
    await narrow.until(2)
    await turns()
    assert.deepEqual(narrow.values(), [10, 11])
    narrow.listener.room = Infinity
    narrow.listener.subscription.resume()
    await last(narrow, 14)
    assert.deepEqual(narrow.values(), [10, 11, 12, 13, 14])
    const middle = slow.messages.find((each) => valueOf(each) === 12)!.position!
    run(`_ = topics.delete_one({"_id": ${middle.split('-')[0]}})`)
    await ran()
    await hub.topics!.publish(topic, json(15), PLAIN)
    const late = await kit.listener(hub, topic, { from: { after: middle } })
    await last(late, 15)
    assert.deepEqual([late.values(), late.listener.lostCount], [[15], 2])
  }))

test('two members have each message once, also of a hub that closes at once', () =>
  kit.within(async () => {
    const [hub, other] = [await kit.open(), await kit.open()]
    const topic = fresh()
    const members = [await kit.listener(hub, topic, { group: 'g' }), await kit.listener(await kit.open(), topic, { group: 'g' })]
    for (const value of upTo(10)) await other.topics!.publish(topic, json(value), PLAIN)
    const sent = upTo(10).map((value) => other.topics!.publish(topic, json(10 + value), PLAIN))
    await other.close()
    await Promise.all(sent)
    const came = (): unknown[] => members.flatMap((each) => each.values())
    const all = async (): Promise<void> => {
      while (came().length < 20) await turns()
    }
    await soon(all(), () => `20 messages; ${came().length} came`)
    assert.deepEqual(
      came().toSorted((one, two) => Number(one) - Number(two)),
      upTo(20),
    )
    const late = await kit.listener(hub, topic)
    await hub.topics!.publish(topic, json(20), PLAIN)
    await late.until(1)
    assert.deepEqual(late.values(), [20])
  }))

test('the log of a collection that was dropped begins anew, for who listens and for groups', () =>
  kit.within(async () => {
    const [hub, other] = [await kit.open(), await kit.open()]
    const topic = fresh()
    const ears = [await kit.listener(hub, topic), await kit.listener(hub, topic, { group: 'g' })]
    await hub.topics!.publish(topic, json(1), PLAIN)
    for (const ear of ears) await ear.until(1)
    run('_ = db.drop_collection("talkwire.topics")')
    await ran()
    await other.topics!.publish(topic, json(2), PLAIN)
    for (const ear of ears) await last(ear, 2)
    assert.deepEqual(await say('[d["_id"] for d in topics.find({"_id": {"$gt": 0}})]'), [1])
    // The next one is longer than what was heard of the one before.
    run(`_ = (db.drop_collection("talkwire.topics"), [publish({"topic": "${topic}", "value": value}) for value in (3, 4, 5)])`)
    for (const ear of ears) {
      await last(ear, 5)
      assert.deepEqual(ear.values(), [1, 2, 3, 4, 5])
      assert.equal(ear.listener.lostCount, 0)
    }
  }))

test('what is old and more than is kept is taken away, what is young is not', () =>
  kit.within(async () => {
    run('_ = topics.delete_many({})')
    run('old = datetime(2026, 1, 1)')
    run('_ = topics.insert_many([{"_id": 1}, {"_id": 2, "time": old}, {"_id": 3, "time": now()}, {"_id": 40_000, "time": old}])')
    run('_ = topics.insert_one({"_id": 129_995, "time": now()})')
    await ran()
    const hub = await kit.open()
    const topic = fresh()
    const publish = (count: number) => Promise.all(upTo(count).map((index) => hub.topics!.publish(topic, json(index), PLAIN)))
    await publish(1)
    assert.equal(await say('topics.count_documents({"_id": {"$lte": 2}})'), 2)
    await publish(10)
    await hub.close()
    assert.deepEqual(await say('[d["_id"] for d in topics.find().sort("_id", 1)]'), [3, 40_000, 129_995, 129_996, 129_997])
    run('_ = topics.delete_many({})')
    await ran()
  }))

/** The same, with one of its collections whose call is another. */
function meddled(
  mongo: Mongo,
  name: string,
  call: 'updateOne' | 'findOneAndUpdate' | 'findOne',
  with_: (real: () => Promise<unknown>) => Promise<unknown>,
): Mongo {
  const docs = mongo.collection(name)
  const real = (docs[call] as (...words: unknown[]) => Promise<unknown>).bind(docs)
  const other = Object.create(docs, { [call]: { value: (...words: unknown[]) => with_(() => real(...words)) } }) as Collection
  return { ...mongo, collection: ((which: string) => (which === name ? other : mongo.collection(which))) as Mongo['collection'] }
}

test('a publisher that slept while its place was taken, read and taken away publishes behind all others', async () => {
  const mongo = await connectMongo(address, options)
  try {
    const topic = fresh()
    let slept = false
    const sleeps = meddled(mongo, 'topics', 'findOneAndUpdate', async (real) => {
      if (slept || !known) return real()
      slept = true
      run(`_ = topics.delete_many({})`)
      run(`_ = topics.insert_one({"_id": ${known + 500}, "time": now(), "messages": []})`)
      await ran()
      return { ...((await real()) as object), time: new Date(Date.now() + 3_600_000) }
    })
    let known = 0
    const log = openLog(sleeps)
    const entry = (value: unknown) => entryOf(mongo, topic, json(value)).entry
    await log.append([entry(1)])
    known = Number(await say('ends()'))
    await log.append([entry(2)])
    assert.ok(slept)
    assert.deepEqual(await say('[d["_id"] for d in topics.find().sort("_id", 1)]'), [known + 500, known + 501])
  } finally {
    await mongo.close()
  }
})

test('what is published while somebody looks for the first message is behind where they begin', async () => {
  const mongo = await connectMongo(address, options)
  try {
    const topic = fresh()
    const log = openLog(mongo)
    await log.begin('new')
    run('_ = topics.delete_many({"_id": {"$gt": 0}})')
    await ran()
    const late = meddled(mongo, 'topics', 'findOne', async (real) => {
      const found = await real()
      if (!found) await log.append([entryOf(mongo, topic, json(1)).entry])
      return found
    })
    const { doc } = await openLog(late).begin('all')
    assert.deepEqual(
      (await log.read(doc)).map(({ messages }) => messages),
      [[{ topic, value: 1 }]],
    )
  } finally {
    await mongo.close()
  }
})

test('a member that does not hear that it has moved the group has what it took, once', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const mongo = await connectMongo(address, options)
    try {
      const topic = fresh()
      let moved = 0
      const deaf = meddled(mongo, 'groups', 'updateOne', async (real) => {
        const answer = await real()
        if (moved++ === 0) throw new TalkwireError('CONNECTION_LOST', 'not heard', { outcome: 'maybe-ran' })
        return answer
      })
      const listener = new Listener()
      await member({ ...openLog(mongo), mongo: deaf }, 'g', topic, { from: 'new', group: 'g', buffer: 10 }, listener)
      await hub.topics!.publish(topic, json(1), PLAIN)
      await listener.until_(1)
      await hub.topics!.publish(topic, json(2), PLAIN)
      await listener.until_(2)
      assert.deepEqual(listener.values, [1, 2])
      assert.ok(moved >= 3)
    } finally {
      await mongo.close()
    }
  }))
