/** The hub as users have it: values, schemas, policies, over the embedded driver. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { connect } from '../../src/connect.js'
import { openHub } from '../../src/hub/index.js'
import type { Message, Subscription } from '../../src/hub/index.js'
import { TalkwireError } from '../../src/error.js'
import { withHub } from '../helpers/hub.js'

async function take<T>(subscription: AsyncIterableIterator<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  while (taken.length < count) {
    const { value, done } = await subscription.next()
    if (done) break
    taken.push(value)
  }
  return taken
}
const dataOf = async (subscription: Subscription<any>, count: number): Promise<unknown[]> =>
  (await take<Message<any>>(subscription, count)).map(({ data }) => data)
const code = (wanted: string) => (error: unknown) => error instanceof TalkwireError && error.code === wanted

test('several hubs side by side: each under its own name, and none under that of all hubs', () =>
  withHub((hub, { address }) =>
    withHub(async (other, { address: second }) => {
      await hub.state('s').set('k', 'one')
      await other.state('s').set('k', 'other')
      for (const [place, value] of [
        [address, 'one'],
        [second, 'other'],
      ] as const) {
        await using again = await openHub(place.replace('hub:unix:', 'hub:'))
        assert.equal((await again.state('s').get('k'))?.value, value)
      }
      await assert.rejects(connect('hub', { reconnect: false }), code('PEER_NOT_FOUND'))
    }),
  ))

test('a topic: everybody who subscribed gets it, and nobody before or after', () =>
  withHub(async (hub, { open }) => {
    const other = await open()
    await hub.topic('orders.eu').publish({ n: 0 })
    await using all = await hub.topic('orders.>').subscribe()
    await using some = await other.topic('orders.eu').subscribe()
    await hub.topic('orders.eu').publish({ n: 1 })
    await other.topic('orders.*').publish({ n: 2 }, { to: 'orders.us' })
    await hub.topic('orders.eu').publish({ n: 3 }, { headers: { from: 'ada' } })
    assert.deepEqual(await dataOf(all, 3), [{ n: 1 }, { n: 2 }, { n: 3 }])
    const [first, last] = await take<Message<any>>(some, 2)
    assert.equal(first!.topic, 'orders.eu')
    assert.deepEqual([first!.data, last!.data, last!.headers], [{ n: 1 }, { n: 3 }, { from: 'ada' }])
  }))

test('a schema: what does not fit is not sent, and what others send is left out and told of', () =>
  withHub(async (hub, { errors }) => {
    const orders = hub.topic('orders', { schema: z.object({ n: z.number() }) })
    await using messages = await orders.subscribe()
    await assert.rejects(orders.publish({ n: 'one' } as never), code('INVALID_INPUT'))
    await hub.topic('orders').publish('foreign')
    await hub.topic('orders', { type: 'bytes' }).publish(Buffer.from('{'))
    await orders.publish({ n: 7 })
    assert.deepEqual(await dataOf(messages, 1), [{ n: 7 }])
    assert.deepEqual(
      errors.splice(0).map((error) => (error as TalkwireError).code),
      ['INVALID_MESSAGE', 'INVALID_MESSAGE'],
    )
  }))

test('text and bytes travel as they are', () =>
  withHub(async (hub) => {
    await using texts = await hub.topic('t', { type: 'text' }).subscribe()
    await using bytes = await hub.topic('b', { type: 'bytes' }).subscribe()
    await hub.topic('t', { type: 'text' }).publish('12 € \u{1f600}')
    await hub.topic('b', { type: 'bytes' }).publish(Uint8Array.of(0, 255, 10, 13))
    assert.deepEqual(await dataOf(texts, 1), ['12 € \u{1f600}'])
    assert.deepEqual(
      (await dataOf(bytes, 1)).map((each) => [...(each as Uint8Array)]),
      [[0, 255, 10, 13]],
    )
    await assert.rejects(hub.topic('t', { type: 'text' }).publish(12), TypeError)
    await assert.rejects(hub.topic('j').publish(undefined), TypeError)
  }))

test('a slow reader is told how many it lost: what it read and what it lost is all there was', () =>
  withHub(async (hub, { open }) => {
    const other = await open()
    await using ticks = await hub.topic('ticks').subscribe({ buffer: 4 })
    for (let n = 0; n < 1000; n++) await other.topic('ticks').publish(n)
    let [count, missed, last] = [0, 0, -1]
    while (last < 999) {
      const [message] = await take<Message<any>>(ticks, 1)
      count++
      missed += message!.lost
      last = message!.data as number
    }
    assert.equal(count + missed, 1000)
  }))

test('listen: a handler gets what comes, also what is kept; what it throws is told, and what does not fit', () =>
  withHub(async (hub, { open, errors }) => {
    const other = await open()
    const schema = z.object({ n: z.number() }).refine(async () => true)
    const got: unknown[] = []
    let enough = (): void => {}
    const all = new Promise<void>((resolve) => (enough = resolve))
    const handler = async ({ data, topic, retained }: Message<{ n: number }>): Promise<void> => {
      got.push([topic, data.n, retained])
      if (data.n === 1) throw new Error('not today')
      if (data.n === 3) enough()
    }
    await other.topic('orders.eu').publish({ n: 0 }, { retain: true })
    await using listener = await hub.topic('orders.*', { schema }).listen(handler)
    await other.topic('orders.eu').publish({ n: 1 })
    await other.topic('orders.us').publish('foreign')
    await other.topic('orders.us').publish({ n: 3 })
    await all
    assert.deepEqual(got, [
      ['orders.eu', 0, true],
      ['orders.eu', 1, false],
      ['orders.us', 3, false],
    ])
    const [thrown, unfit] = errors.splice(0)
    assert.match(String(thrown), /not today/)
    assert.equal((unfit as TalkwireError).code, 'INVALID_MESSAGE')
    await listener.close()
    await listener.closed
    await other.topic('orders.eu').publish({ n: 4 })
    assert.equal(got.length, 3)
  }))

test('listen: a handler that closes its own listener gets no more; a signal and the end of the hub end it', () =>
  withHub(async (hub, { open }) => {
    const other = await open()
    let got = 0
    const once = await hub.topic('ticks').listen(() => {
      got++
      void once.close()
    })
    const stop = new AbortController()
    const stopped = await hub.topic('ticks').listen(() => {}, { signal: stop.signal })
    const last = await other.topic('ticks').listen(() => {})
    // One piece: the others stand behind the first one.
    await Promise.all([1, 2, 3].map((n) => other.topic('ticks').publish(n)))
    await once.closed
    assert.equal(got, 1)
    stop.abort(new Error('enough'))
    await assert.rejects(stopped.closed, code('CANCELLED'))
    await other.close()
    await last.closed
    await assert.rejects(
      hub.topic('ticks').listen(() => {}, { buffer: 0 }),
      TypeError,
    )
  }))

test('listen: with "wait" a handler that takes its time gets everything, in order', () =>
  withHub(async (hub, { open }) => {
    const other = await open()
    const got: number[] = []
    let enough = (): void => {}
    const all = new Promise<void>((resolve) => (enough = resolve))
    await using listener = await hub.topic('n').listen(
      async ({ data }) => {
        await new Promise((resolve) => setImmediate(resolve))
        if (got.push(data as number) === 500) enough()
      },
      { slow: 'wait', buffer: 4 },
    )
    for (let n = 0; n < 500; n++) void other.topic('n').publish(n)
    await Promise.race([all, listener.closed])
    assert.deepEqual(
      got,
      Array.from({ length: 500 }, (_, n) => n),
    )
  }))

test('request: one reply, everybody, an error with its code, and nobody there', () =>
  withHub(async (hub, { open, errors }) => {
    const other = await open()
    const sum = { schema: z.object({ a: z.number(), b: z.number() }), reply: z.number() }
    await using adder = await other.topic('math.add', sum).respond(({ a, b }) => a + b, { group: 'adders' })
    assert.equal(await hub.topic('math.add', sum).request({ a: 2, b: 5 }), 7)
    const failing = await other.topic('fail').respond((data) => {
      if (data === 'known') throw new TalkwireError('NOT_FOUND', 'no such thing')
      throw new Error('secret')
    })
    await assert.rejects(hub.topic('fail').request('known'), (error: TalkwireError) => {
      assert.deepEqual([error.code, error.outcome, /no such thing/.test(error.message)], ['NOT_FOUND', 'ran', true])
      return true
    })
    await assert.rejects(hub.topic('fail').request('other'), (error: TalkwireError) => {
      assert.deepEqual([error.code, /secret/.test(error.message)], ['INTERNAL', false])
      return true
    })
    assert.equal((errors.splice(0)[0] as Error).message, 'secret')
    await failing.close()
    await using one = await hub.topic('who').respond(() => 'one')
    await using two = await other.topic('who').respond(() => 'two')
    void [adder, one, two]
    const replies = []
    for await (const reply of hub.topic('who').gather(null, { count: 2 })) replies.push(reply)
    assert.deepEqual(replies.sort(), ['one', 'two'])
    await assert.rejects(hub.topic('nobody').request(1, { timeout: 60_000 }), code('PEER_NOT_FOUND'))
    const abort = new AbortController()
    await using never = await other.topic('never').respond(() => {
      abort.abort(new Error('enough'))
      return new Promise(() => {})
    })
    void never
    await assert.rejects(hub.topic('never').request(1, { signal: abort.signal }), /enough/)
  }))

test('replay of what is kept: from the oldest, after a position, from a time; the last value', () =>
  withHub(
    async (hub) => {
      for (const n of [1, 2, 3]) await hub.topic('log.a').publish(n)
      const [first] = await take<Message<any>>(await hub.topic('log.>').subscribe({ from: 'all' }), 1)
      assert.equal(first!.data, 1)
      assert.deepEqual(await dataOf(await hub.topic('log.>').subscribe({ from: { after: first!.position! } }), 2), [2, 3])
      assert.deepEqual(await dataOf(await hub.topic('log.a').subscribe({ from: first!.time! }), 3), [1, 2, 3])
      await hub.topic('lamp').publish('on', { retain: true })
      const [lamp] = await take<Message<any>>(await hub.topic('lamp').subscribe(), 1)
      assert.deepEqual([lamp!.data, lamp!.retained], ['on', true])
    },
    { keep: [{ pattern: 'log.>' }] },
  ))

test('a queue: each job once, results, progress, tries with pauses, dead letters', () =>
  withHub(async (hub, { open, errors }) => {
    const options = { schema: z.object({ to: z.string() }), attempts: 2, backoff: { first: 1 }, results: 60_000 }
    const mail = hub.queue('mail', options)
    const other = await open()
    const tried: string[] = []
    await using worker = await other.queue('mail', options).consume(
      async (job) => {
        tried.push(`${job.data.to} ${job.attempt}`)
        if (job.data.to === 'nobody') throw new Error('no such address')
        if (job.data.to === 'never') return job.dead('not today')
        await job.progress('half')
        return `sent to ${job.data.to}`
      },
      { concurrency: 2 },
    )
    void worker
    const ada = await mail.push({ to: 'ada' })
    assert.equal(await mail.result(ada), 'sent to ada')
    const bad = await mail.push({ to: 'nobody' })
    await assert.rejects(mail.result(bad), /no such address/)
    const never = await mail.push({ to: 'never' })
    await assert.rejects(mail.result(never), /not today/)
    assert.deepEqual(tried, ['ada 1', 'nobody 1', 'nobody 2', 'never 1'])
    const dead = await mail.deadLetters()
    assert.deepEqual(
      dead.map(({ id, reason, data }) => ({ id, reason, data })),
      [
        { id: bad, reason: 'no such address', data: { to: 'nobody' } },
        { id: never, reason: 'not today', data: { to: 'never' } },
      ],
    )
    assert.deepEqual(await mail.counts(), { ready: 0, delayed: 0, taken: 0, dead: 2 })
    await assert.rejects(mail.push({ to: 7 } as never), code('INVALID_INPUT'))
    assert.deepEqual(
      errors.splice(0).map((error) => (error as Error).message),
      ['no such address', 'no such address'],
    )
  }))

test('a queue: keys, priorities, a worker that closes has finished what it began, purge', () =>
  withHub(async (hub) => {
    const jobs = hub.queue('jobs')
    const first = await jobs.push('a', { key: 'once' })
    assert.equal(await jobs.push('b', { key: 'once' }), first)
    await jobs.push('later')
    await jobs.push('sooner', { priority: 9 })
    const done: unknown[] = []
    let began: () => void = () => {}
    const started = new Promise<void>((resolve) => (began = resolve))
    let end: () => void = () => {}
    const wait = new Promise<void>((resolve) => (end = resolve))
    const worker = await jobs.consume(async ({ data }) => {
      began()
      await wait
      done.push(data)
    })
    await started
    const closing = worker.close()
    end()
    await closing
    assert.deepEqual(done, ['sooner'])
    await worker.closed
    assert.equal(await jobs.purge(), 2)
    assert.deepEqual(await jobs.counts(), { ready: 0, delayed: 0, taken: 0, dead: 0 })
  }))

test('state: revisions, update by several, batches, entries in order, watch', () =>
  withHub(async (hub, { open }) => {
    const accounts = hub.state('accounts', { schema: z.number() })
    const other = (await open()).state('accounts')
    await using changes = await accounts.watch('a')
    const revision = await accounts.set('ada', 1)
    assert.equal(await accounts.set('ada', 9, { revision: null }), undefined)
    assert.equal(await accounts.set('ada', 2, { revision: revision! }), (await accounts.get('ada'))!.revision)
    assert.equal(await accounts.set('ada', 9, { revision: revision! }), undefined)
    await Promise.all(Array.from({ length: 20 }, (_, n) => (n % 2 ? accounts : other).update('ada', (value) => (value ?? 0) + 1)))
    assert.equal((await accounts.get('ada'))!.value, 22)
    assert.equal(
      await accounts.batch([
        { set: 'bob', value: 1 },
        { set: 'ada', value: 0, revision: revision! },
      ]),
      undefined,
    )
    assert.equal(await accounts.get('bob'), undefined)
    assert.equal((await accounts.batch([{ set: 'zoe', value: 1 }, { set: 'bob', value: 2 }, { delete: 'ada' }]))!.length, 3)
    const entries = []
    for await (const { key, value } of accounts.entries()) entries.push([key, value])
    assert.deepEqual(entries, [
      ['bob', 2],
      ['zoe', 1],
    ])
    let last
    for await (const change of changes) {
      last = change
      if (change.gone) break
    }
    assert.deepEqual(last, { key: 'ada', gone: true })
    await assert.rejects(accounts.set('ada', 'one' as never), code('INVALID_INPUT'))
    await assert.rejects(accounts.set('', 1), code('INVALID_INPUT'))
  }))

test('a lease: one holder, tokens that grow, waiters, permits; counters', () =>
  withHub(async (hub, { open }) => {
    const lease = hub.lease('nightly', { label: 'one' })
    const rival = (await open()).lease('nightly', { label: 'two' })
    const first = await lease.acquire()
    assert.equal(await rival.tryAcquire(), undefined)
    await assert.rejects(rival.acquire({ timeout: 20 }), code('DEADLINE_EXCEEDED'))
    const waiting = rival.acquire()
    assert.equal(await first.release(), true)
    const second = await waiting
    assert.ok(second.token > first.token)
    assert.deepEqual(
      (await lease.inspect()).holders.map(({ label, token }) => [label, token]),
      [['two', second.token]],
    )
    const abort = new AbortController()
    const given = lease.acquire({ signal: abort.signal })
    abort.abort(new Error('enough'))
    await assert.rejects(given, /enough/)
    assert.equal(await second.release(), true)
    assert.equal(await second.release(), true)
    const permits = Array.from({ length: 3 }, () => hub.lease('builds', { permits: 2 }).tryAcquire())
    assert.equal((await Promise.all(permits)).filter((each) => each).length, 2)
    const counter = hub.counter('hits')
    await Promise.all(Array.from({ length: 50 }, () => counter.add()))
    assert.equal(await counter.get(), 50)
  }))

test('what is wrong is said before anything is sent', () =>
  withHub(async (hub) => {
    assert.throws(() => hub.topic('a b'), code('INVALID_INPUT'))
    assert.throws(() => hub.topic('a.>.b'), code('INVALID_INPUT'))
    assert.throws(() => hub.queue('a.*'), code('INVALID_INPUT'))
    assert.throws(() => hub.lease('x', { ttl: 1 }), TypeError)
    await assert.rejects(async () => hub.topic('a.*').publish(1), TypeError)
    await assert.rejects(async () => hub.topic('a.*').publish(1, { to: 'b.c' }), TypeError)
    assert.throws(() => hub.topic('a').gather(1), TypeError)
    await assert.rejects(hub.topic('a').publish(1, { headers: { 'a b': 'c' } }), code('INVALID_INPUT'))
    await assert.rejects(openHub('carrier-pigeon://x'), code('INVALID_ADDRESS'))
    await hub.close()
    await assert.rejects(hub.topic('a').publish(1), code('CLOSED'))
  }))
