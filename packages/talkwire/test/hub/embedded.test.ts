/** The embedded hub in memory, served and reached by its driver. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { valueOf } from '../../compliance/hub-kit.js'
import { connect } from '../../src/connect.js'
import { TalkwireError } from '../../src/error.js'
import { hubContract } from '../../src/hub/contract.js'
import type { Consumption, Job, OpenDriver, TopicMessage } from '../../src/hub/driver.js'
import { embedded } from '../../src/hub/drivers/embedded.js'
import { serveHub, type HubServeOptions } from '../../src/hub/embedded/serve.js'

const json = (value: unknown) => ({ body: Buffer.from(JSON.stringify(value)), type: 'json' as const, headers: {} })
const PLAIN = { retain: false }

async function withHub(options: HubServeOptions, body: (open: () => Promise<OpenDriver>, name: string) => Promise<void>): Promise<void> {
  const name = `hub-${randomBytes(6).toString('hex')}`
  const errors: unknown[] = []
  const opened: OpenDriver[] = []
  await using hub = await serveHub({ name, durability: 'memory', onError: (error) => errors.push(error), ...options })
  void hub
  const open = async (): Promise<OpenDriver> => {
    const driver = await embedded.open(`hub:unix:${name}`, {
      credentials: undefined,
      onConnection() {},
      onError: (error) => errors.push(error),
      signal: undefined,
    })
    opened.push(driver)
    return driver
  }
  try {
    await body(open, name)
  } finally {
    await Promise.all(opened.map((driver) => driver.close()))
  }
  assert.deepEqual(errors, [])
}

/** Messages as they come, and who waits for so many. */
function gather() {
  const messages: TopicMessage[] = []
  let look = (): void => {}
  return {
    messages,
    sink: {
      message(message: TopicMessage) {
        messages.push(message)
        look()
        return true
      },
      lost() {},
      ended() {},
    },
    until: (count: number) =>
      new Promise<TopicMessage[]>((resolve) => {
        look = () => messages.length >= count && resolve(messages)
        look()
      }),
  }
}

test('a plain call publishes what a driver subscribed to, and reads what it set', () =>
  withHub({}, async (open, name) => {
    const driver = await open()
    const { sink, until } = gather()
    await driver.topics!.subscribe('orders.*', { from: 'new', group: undefined, buffer: 10 }, sink)
    await using client = await connect(hubContract, `unix:${name}`, { codecs: ['json'] })
    await client.publish({ topic: 'orders.eu', data: { amount: 5 } })
    const [message] = await until(1)
    assert.deepEqual([message!.topic, valueOf(message!), message!.type], ['orders.eu', { amount: 5 }, 'json'])
    await driver.state!.set('a', Buffer.from('"x"'), 'json', {})
    assert.equal(((await client.get({ key: 'a' })) as { data: unknown }).data, 'x')
  }))

test('what is published in one turn may be more than a message may have, and stays in order', () =>
  withHub({}, async (open) => {
    const [publisher, reader] = [await open(), await open()]
    const { sink, until } = gather()
    await reader.topics!.subscribe('bulk', { from: 'new', group: undefined, buffer: 1000, wait: true }, sink)
    const body = (number: number): Buffer => Buffer.alloc(1024 * 1024, number)
    const publish = (number: number) => publisher.topics!.publish('bulk', { body: body(number), type: 'bytes', headers: {} }, PLAIN)
    await Promise.all(Array.from({ length: 70 }, (_, number) => publish(number)))
    assert.deepEqual(
      (await until(70)).map(({ body: [first], body: { length } }) => [first, length]),
      Array.from({ length: 70 }, (_, number) => [number, 1024 * 1024]),
    )
  }))

test('topics of one turn go each to those who hear it, in order', () =>
  withHub({}, async (open) => {
    const [publisher, reader] = [await open(), await open()]
    const [odd, every] = [gather(), gather()]
    const wish = { from: 'new', group: undefined, buffer: 1000, wait: true } as const
    await reader.topics!.subscribe('a.1', wish, odd.sink)
    await reader.topics!.subscribe('a.*', wish, every.sink)
    const numbers = Array.from({ length: 100 }, (_, number) => number)
    await Promise.all(numbers.map((number) => publisher.topics!.publish(`a.${number % 2}`, json(number), PLAIN)))
    const values = (messages: readonly TopicMessage[]): unknown[] => messages.map(valueOf)
    assert.deepEqual(values(await every.until(100)), numbers)
    assert.deepEqual(
      every.messages.map(({ topic }) => topic),
      numbers.map((number) => `a.${number % 2}`),
    )
    assert.deepEqual(
      values(await odd.until(50)),
      numbers.filter((number) => number % 2),
    )
  }))

test('a job that is too large is refused, and not those that were pushed in the same turn', () =>
  withHub({ limits: { message: 1000 } }, async (open) => {
    const { queues } = await open()
    await queues!.declare('mail', { visibility: 1000, attempts: 5, dedupe: 1000 })
    const push = (length: number): Promise<unknown> =>
      queues!.push('mail', [{ body: Buffer.alloc(length), type: 'bytes', headers: {}, delay: 0, priority: 0, key: undefined }])
    const pushed = await Promise.allSettled([push(10), push(1001), push(20)])
    assert.deepEqual(
      pushed.map((each) => (each.status === 'fulfilled' ? each.value : TalkwireError.from(each.reason).code)),
      [['1'], 'LIMIT_EXCEEDED', ['2']],
    )
    assert.equal((await queues!.counts!('mail')).ready, 2)
  }))

test('a job that is on its way to a consumption that closes goes to another, and was no attempt', () =>
  withHub({}, async (open) => {
    const [pusher, one, two] = [await open(), await open(), await open()]
    const settings = { visibility: 3_600_000, attempts: 1, dedupe: 1000 }
    await pusher.queues!.declare('mail', settings)
    const take = async (driver: OpenDriver) => {
      const jobs: Job[] = []
      let came = (): void => {}
      const sink = { job: (job: Job) => (jobs.push(job), came()), ended() {} }
      const consumption = await driver.queues!.consume('mail', sink)
      consumption.want(100)
      return {
        jobs,
        consumption,
        until: (count: number) => new Promise<void>((resolve) => (came = () => jobs.length >= count && resolve())),
      }
    }
    const first = await take(one)
    // Answered behind what is wanted.
    await one.queues!.counts!('mail')
    const pushed = pusher.queues!.push(
      'mail',
      Array.from({ length: 10 }, (_, number) => ({ ...json(number), delay: 0, priority: 0, key: undefined })),
    )
    await first.consumption.close()
    await pushed
    assert.deepEqual(first.jobs, [])
    assert.deepEqual(await pusher.queues!.counts!('mail'), { ready: 10, delayed: 0, taken: 0, dead: 0 })
    const second = await take(two)
    await second.until(10)
    assert.deepEqual(
      second.jobs.map(({ attempt }) => attempt),
      Array(10).fill(1),
    )
    await Promise.all(second.jobs.map((each) => each.ack()))
  }))

test('a consumer that closes at the first of several jobs gives the others back', () =>
  withHub({}, async (open) => {
    const [pusher, taker] = [await open(), await open()]
    await pusher.queues!.declare('mail', { visibility: 3_600_000, attempts: 1, dedupe: 1000 })
    const jobs = Array.from({ length: 10 }, (_, number) => ({ ...json(number), delay: 0, priority: 0, key: undefined }))
    await pusher.queues!.push('mail', jobs)
    const seen: Job[] = []
    let consumption: Consumption | undefined
    const closed = new Promise<void>((resolve) => {
      const job = (each: Job): void => {
        seen.push(each)
        void consumption!.close().then(resolve)
      }
      void taker.queues!.consume('mail', { job, ended() {} }).then((made) => (consumption = made).want(10))
    })
    await closed
    assert.equal(seen.length, 1)
    assert.deepEqual(await pusher.queues!.counts!('mail'), { ready: 9, delayed: 0, taken: 1, dead: 0 })
    await seen[0]!.ack()
  }))

test('one who subscribes without end is refused, and others go on', () =>
  withHub({ limits: { subscriptions: 5 } }, async (open) => {
    const [greedy, other] = [await open(), await open()]
    const wish = { from: 'new', group: undefined, buffer: 10 } as const
    const ears = Array.from({ length: 100 }, () => greedy.topics!.subscribe('a', wish, gather().sink))
    const refused = (await Promise.allSettled(ears)).filter((each) => each.status === 'rejected')
    assert.equal(refused.length, 95)
    assert.ok(refused.every(({ reason }) => reason instanceof TalkwireError && reason.code === 'LIMIT_EXCEEDED'))
    const { sink, until } = gather()
    await other.topics!.subscribe('a', wish, sink)
    await other.topics!.publish('a', json(1), PLAIN)
    await until(1)
  }))
