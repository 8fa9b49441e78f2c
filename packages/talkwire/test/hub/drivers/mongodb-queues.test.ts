/** Queues on MongoDB, where the suite cannot look: what the documents are, who is quicker, what a kill -9 leaves. SecantusDB stands in for it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { soon } from '../../../compliance/ends.js'
import { fresh, hubKit, json, upTo, valueOf, Waiting } from '../../../compliance/hub-kit.js'
import type { Job, NewJob, OpenOptions } from '../../../src/hub/driver.js'
import { mongodb } from '../../../src/hub/drivers/mongodb.js'
import { connectMongo } from '../../../src/hub/drivers/mongodb/connection.js'
import { jobsOf, take } from '../../../src/hub/drivers/mongodb/jobs.js'
import { startBroker } from '../../helpers/broker.js'
import { fails } from '../../helpers/expect.js'
import { MONGODB } from './brokers.js'
import { startPymongo } from './pymongo.js'

const broker = await startBroker(MONGODB)
const address = `mongodb://${broker.host}:${broker.port}/shop`
const module = new URL('../../../src/hub/drivers/mongodb.js', import.meta.url).href
const kit = hubKit({ driver: mongodb, module, address }, (trait) => mongodb.traits.includes(trait))
const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }
const { run, say } = startPymongo(address)

const job = (value: unknown, wish: Partial<NewJob> = {}): NewJob => ({ ...json(value), delay: 0, priority: 0, key: undefined, ...wish })
const HOUR = 3_600_000

run('jobs, queues = db["talkwire.jobs"], db["talkwire.queues"]')
run('from pymongo import ReturnDocument')
run(
  'counted = lambda q: queues.find_one_and_update({"_id": q}, {"$inc": {"seq": 1}}, upsert=True, return_document=ReturnDocument.AFTER)["seq"]',
)
run('push = lambda q, v: jobs.insert_one({"queue": q, "state": "ready", "priority": 0, "seq": counted(q), "value": v}).inserted_id')
run('taking = {"state": "taken", "token": "mine", "at": {"$add": ["$$NOW", 30000]}, "tries": {"$add": [{"$ifNull": ["$tries", 0]}, 1]}}')
run('first = [("priority", -1), ("seq", 1)]')
run('after = {"sort": first, "return_document": ReturnDocument.AFTER}')
run('take = lambda q: jobs.find_one_and_update({"queue": q, "state": "ready"}, [{"$set": taking}], **after)')

test('pymongo pushes a job that we do, and takes one of ours as a document, each in its turn', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const one = await kit.worker(hub, queue)
    await hub.queues!.push(queue, [job({ to: 'ada' }, { headers: { said: 'yes' }, priority: 3 })])
    run(`_ = push("${queue}", {"to": "grace"})`)
    const theirs = await say(`[(d := take("${queue}"))["value"], d["tries"], d["headers"]]`)
    assert.deepEqual(theirs, [{ to: 'ada' }, 1, { said: 'yes' }])
    assert.deepEqual(await hub.queues!.counts!(queue), { ready: 1, delayed: 0, taken: 1, dead: 0 })
    one.consumption.want(1)
    const [grace] = await one.until(1)
    assert.deepEqual([valueOf(grace!), grace!.attempt, grace!.time, { ...grace!.headers }], [{ to: 'grace' }, 1, undefined, {}])
    await grace!.ack()
    assert.equal(await say(`jobs.delete_one({"_id": d["_id"], "token": "mine"}).deleted_count`), 1)
    assert.equal(await say(`jobs.count_documents({"queue": "${queue}"})`), 0)
    // Of those without a place or a time, and with headers that are none.
    run(`_ = jobs.insert_one({"_id": "named", "queue": "${queue}", "state": "ready", "value": "last", "headers": {"a": 1, "b": "c"}})`)
    run(`_ = jobs.insert_one({"queue": "${queue}", "state": "taken", "value": "nobody knows until when"})`)
    const [, named] = await one.until(2)
    assert.deepEqual([named!.id, valueOf(named!), { ...named!.headers }], ['named', 'last', { b: 'c' }])
    await named!.dead('$no')
    assert.equal((await hub.queues!.deadLetters!(queue, 1))[0]!.reason, '$no')
    assert.equal(await hub.queues!.revive!(queue, ['named']), 1)
    await (await one.until(3))[2]!.ack()
    assert.deepEqual(await hub.queues!.counts!(queue), { ready: 0, delayed: 0, taken: 1, dead: 0 })
  }))

test('headers are what they were, also where no document has such names', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const one = await kit.worker(hub, queue)
    const all = [{ plain: 'größe' }, { $x: 'y', 'a.b': '' }, { half: '\ud800' }]
    await hub.queues!.push(
      queue,
      all.map((headers) => job(0, { headers })),
    )
    one.consumption.want(3)
    const jobs = await one.until(3)
    assert.deepEqual(
      jobs.map(({ headers }) => ({ ...headers })),
      all,
    )
    assert.deepEqual(await say(`jobs.find_one({"queue": "${queue}"}, sort=first)["headers"]`), { plain: 'größe' })
  }))

test('who waits in another hub hears of what is pushed, and of what comes back', (context) =>
  kit.within(async () => {
    const [hub, other] = [await kit.open(), await kit.open()]
    const queue = 'q'
    const [waits, frees] = [await kit.worker(hub, queue, { attempts: 9 }), await kit.worker(other, queue, { attempts: 9 })]
    // Nobody looks by himself: where he would, he waits.
    const [real, waiting] = [setTimeout, new Waiting()]
    let looks = 0
    const later = (what: () => void, time: number): NodeJS.Timeout => {
      if (what.name !== 'look') return real(what, time)
      looks++
      waiting.happened()
      return real(() => {}, time)
    }
    context.mock.method(globalThis, 'setTimeout', later as typeof setTimeout)
    const untilItWaits = async (): Promise<void> => {
      const before = looks
      waits.consumption.want(1)
      await waiting.until('a consumer that waits', () => (looks > before ? true : undefined))
    }
    await untilItWaits()
    await other.queues!.push(queue, [job('pushed')])
    await (await waits.until(1))[0]!.ack()
    waits.consumption.want(0)
    // So small that each change of it is told as a new document.
    run(`_ = jobs.insert_one({"_id": "", "queue": "${queue}", "state": "ready"})`)
    assert.equal(await say('1'), 1)
    const comesBack = async (round: number, free: (mine: Job) => Promise<unknown>): Promise<void> => {
      frees.consumption.want(1)
      const mine = (await frees.until(round))[round - 1]!
      frees.consumption.want(0)
      await untilItWaits()
      await free(mine)
      const theirs = (await waits.until(round + 1))[round]!
      waits.consumption.want(0)
      await theirs.nack(0)
    }
    const backAndForth = async (from: number): Promise<void> => {
      await comesBack(from, (mine) => mine.nack(0))
      await comesBack(from + 1, (mine) => mine.nack(0))
      await comesBack(from + 2, async (mine) => {
        await mine.dead('for now')
        await other.queues!.revive!(queue, [mine.id])
      })
    }
    await backAndForth(1)
    assert.equal(await say(`jobs.delete_one({"queue": "${queue}"}).deleted_count`), 1)
    await other.queues!.push(queue, [job('of some more words than it has fields'.repeat(10))])
    await backAndForth(4)
  }))

test('what somebody else took between looking and taking is not taken', async () => {
  const mongo = await connectMongo(address, options)
  try {
    const all = jobsOf(mongo)
    const hub = await mongodb.open(address, options)
    const queue = fresh()
    await hub.queues!.push(
      queue,
      upTo(4).map((index) => job(index)),
    )
    let quick: readonly { readonly value?: unknown }[] = []
    let looked = 0
    const slow: typeof all = {
      ...all,
      mongo: {
        ...mongo,
        async run(what) {
          const answer = await mongo.run(what)
          if (looked++ === 0) quick = await take(all, queue, 3, HOUR)
          return answer
        },
      },
    }
    const rest = await take(slow, queue, 4, HOUR)
    assert.deepEqual(
      [quick, rest].map((taken) => taken.map(({ value }) => value)),
      [[0, 1, 2], [3]],
    )
    await hub.close()
  } finally {
    await mongo.close()
  }
})

test('what a consumer took while it closed was never handed out', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const [one, two] = [await kit.worker(hub, queue), await kit.worker(hub, queue)]
    await hub.queues!.push(
      queue,
      upTo(3).map((index) => job(index)),
    )
    one.consumption.want(3)
    await one.consumption.close()
    assert.equal(one.jobs.length, 0)
    two.consumption.want(3)
    const jobs = await two.until(3)
    assert.deepEqual(jobs.map(valueOf), [0, 1, 2])
    assert.deepEqual(
      jobs.map(({ attempt }) => attempt),
      [1, 1, 1],
    )
    await Promise.all(jobs.map((each) => each.ack()))
  }))

test('a job that its consumers die of is a dead letter in the end; one that lives on may still say that it is done', () =>
  kit.within(async () => {
    const [hub, other] = [await kit.open(), await kit.open()]
    const queue = fresh()
    const one = await kit.worker(hub, queue, { visibility: 50, attempts: 2 })
    await other.queues!.push(queue, [job('deadly')])
    one.consumption.want(2)
    const [, second] = await one.until(2)
    const dead = async (): Promise<void> => {
      while ((await other.queues!.counts!(queue)).dead === 0);
    }
    await soon(dead(), 'a dead letter')
    const [letter] = await other.queues!.deadLetters!(queue, 10)
    assert.deepEqual([valueOf(letter!), letter!.attempts, letter!.reason], ['deadly', 2, 'was handed out 2 times'])
    await second!.ack()
    assert.deepEqual(await other.queues!.counts!(queue), { ready: 0, delayed: 0, taken: 0, dead: 0 })
  }))

test('a key is known after its job is done or purged, and forgotten when its time is over', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    const one = await kit.worker(hub, queue, { dedupe: HOUR })
    const push = async (...jobs: NewJob[]): Promise<readonly string[]> => hub.queues!.push(queue, jobs)
    const [done] = await push(job('done', { key: 'done' }))
    one.consumption.want(1)
    await (await one.until(1))[0]!.ack()
    one.consumption.want(0)
    const left = await say(
      `{k: type(v).__name__ for k, v in jobs.find_one({"queue": "${queue}"}).items() if k in ("state", "value", "gone")}`,
    )
    assert.deepEqual(left, { state: 'str', gone: 'datetime' })
    const [later] = await push(job('later', { key: 'later', delay: HOUR }), job('plain'))
    assert.equal(await hub.queues!.purge!(queue), 2)
    assert.deepEqual(await hub.queues!.counts!(queue), { ready: 0, delayed: 0, taken: 0, dead: 0 })
    const ids = await push(
      job(0),
      job(1, { key: 'done' }),
      job(2),
      job(3, { key: 'new' }),
      job(4, { key: 'later' }),
      job(5, { key: 'new' }),
    )
    assert.deepEqual([ids[1], ids[4], ids[5]], [done, later, ids[3]])
    one.consumption.want(10)
    const jobs = [...(await one.until(4))].slice(1)
    assert.deepEqual(jobs.map(valueOf), [0, 2, 3])
    assert.deepEqual(
      jobs.map(({ id }) => id),
      [ids[0], ids[2], ids[3]],
    )
    for (const each of jobs) await each.ack()
    assert.equal(await say('"gone_1" in jobs.index_information() and jobs.index_information()["gone_1"]["expireAfterSeconds"]'), 0)
    // By the clock of MongoDB, whoever wrote it.
    run(`_ = jobs.update_many({"queue": "${queue}"}, [{"$set": {"until": {"$subtract": ["$$NOW", 1]}}}])`)
    assert.equal(await say('1'), 1)
    const [again] = await push(job('again', { key: 'done' }))
    assert.notEqual(again, done)
    assert.deepEqual(await push(job('again', { key: 'done' })), [again])
  }))

test('of what does not fit into a document nothing is there, and others are not in its way', () =>
  kit.within(async () => {
    const hub = await kit.open()
    const queue = fresh()
    await kit.worker(hub, queue)
    const large = job(0, { body: Buffer.alloc(17_000_000), type: 'bytes' })
    const refused = assert.rejects(
      hub.queues!.push(queue, [job('first'), large]),
      (reason: unknown) => fails('MESSAGE_TOO_LARGE')(reason) && (reason as { outcome: string }).outcome === 'not-sent',
    )
    const small = hub.queues!.push(queue, [job('small')])
    await refused
    assert.equal((await small).length, 1)
    assert.equal((await hub.queues!.counts!(queue)).ready, 1)
  }))

test('after a kill -9 everything is where it was: done, taken, later, dead, and whose key is known', () =>
  kit.within(async () => {
    const queue = fresh()
    const before = await mongodb.open(address, options)
    const settings = { visibility: 500, attempts: 3, dedupe: HOUR }
    await before.queues!.declare(queue, settings)
    const waiting: { ack(): Promise<void>; dead(reason: string): Promise<void> }[] = []
    const { consumption, until } = await kit.worker(before, queue, settings)
    await before.queues!.push(queue, [job('done'), job('dead'), job('taken')])
    consumption.want(3)
    waiting.push(...(await until(3)))
    consumption.want(0)
    await waiting[0]!.ack()
    await waiting[1]!.dead('of it')
    const [known] = await before.queues!.push(queue, [job('key', { key: 'key' })])
    await before.queues!.push(queue, [job('later', { delay: HOUR }), job('sooner', { priority: 9 })])
    await broker.kill()
    await broker.start()
    await before.close()
    const hub = await kit.open()
    assert.deepEqual(await hub.queues!.push(queue, [job('key', { key: 'key' })]), [known])
    const one = await kit.worker(hub, queue, settings)
    one.consumption.want(10)
    const jobs = await one.until(3)
    assert.equal(valueOf(jobs[0]!), 'sooner')
    const seen = jobs.map((each) => [valueOf(each), each.attempt])
    assert.deepEqual(seen.toSorted(), [
      ['key', 1],
      ['sooner', 1],
      ['taken', 2],
    ])
    for (const each of jobs) await each.ack()
    assert.deepEqual(await hub.queues!.counts!(queue), { ready: 0, delayed: 1, taken: 0, dead: 1 })
    assert.equal((await hub.queues!.deadLetters!(queue, 9))[0]!.reason, 'of it')
  }))
