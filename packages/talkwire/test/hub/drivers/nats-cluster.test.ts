/** NATS on three servers, of which some are killed: what most of them have is kept, and hubs go on with the others. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectTo } from '@nats-io/transport-node'
import { fresh, hubKit, json, upTo, valueOf, Waiting, type HubKit } from '../../../compliance/hub-kit.js'
import type { HubChange, NewJob, OpenDriver, TopicMessage } from '../../../src/hub/driver.js'
import { TalkwireError } from '../../../src/error.js'
import { nats } from '../../../src/hub/drivers/nats.js'
import { openHub } from '../../../src/hub/index.js'
import { startBroker } from '../../helpers/broker.js'
import { freshPort, ownHost } from '../../helpers/loopback.js'
import { NATS_NOW } from './brokers.js'

const routes = upTo(3).map(() => `nats://${ownHost}:${freshPort()}`)
const servers = await Promise.all(
  routes.map((route, number) => {
    const words = ['-n', `s${number}`, '--cluster_name', 'c', '-cluster', route, '-routes', routes.join()]
    return startBroker({ ...NATS_NOW, command: (...at) => [...NATS_NOW.command(...at), ...words] })
  }),
)
const places = servers.map(({ host, port }) => `${host}:${port}`)
const [near, far, other] = [0, 1, 2] as const

const PLAIN = { retain: false }
const QUEUE = { visibility: 2_000, attempts: 0, dedupe: 0 }
const LEASE = { holder: 'me', label: undefined, ttl: 60_000, wait: 0, permits: 1 }
const job = (value: unknown): NewJob => ({ ...json(value), delay: 0, priority: 0, key: undefined })
const text = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

interface Place {
  readonly prefix: string
  /** For hubs that know one server by their address. */
  readonly kits: readonly HubKit[]
  /** What JetStream says, when somebody leads it. */
  readonly api: (subject: string, body?: object) => Promise<any>
}

/** Fails for errors that nobody waited for: a server that is away is none. */
async function within(body: (place: Place) => Promise<void>): Promise<void> {
  const prefix = fresh()
  const kits = places.map((place) =>
    hubKit({ driver: nats, module: '', address: `nats://${place}?prefix=${prefix}&replicas=3` }, () => true),
  )
  const connection = await connectTo({ servers: places })
  const api = async (subject: string, wish: object = {}): Promise<any> => {
    for (;;) {
      // While nobody leads it, it is silent, or says so.
      const answer = await connection.request(`$JS.API.${subject}`, JSON.stringify(wish), { timeout: 1000 }).catch(() => undefined)
      const said = answer?.json<any>()
      if (said && said.error?.code !== 503) return said
      await delay(20)
    }
  }
  try {
    await kits.reduce<() => Promise<void>>(
      (inner, kit) => () => kit.within(inner),
      () => body({ prefix, kits, api }),
    )()
    // Who was started again gets streams a moment later.
    const whole = { name: `${prefix}-whole`, subjects: [`${prefix}-whole`], num_replicas: 3 }
    while ((await api(`STREAM.CREATE.${prefix}-whole`, whole)).error) await delay(20)
  } finally {
    await connection.close()
  }
}

const HONEST = ['UNAVAILABLE/not-sent', 'UNAVAILABLE/maybe-ran', 'CONNECTION_LOST/maybe-ran']
/** Undefined: it is done. */
const saidOf = (work: Promise<unknown>): Promise<string | undefined> =>
  work.then(
    () => undefined,
    (reason: unknown) => {
      const { code, outcome } = TalkwireError.from(reason)
      assert.ok(HONEST.includes(`${code}/${outcome}`), `${outcome}: ${(reason as Error).stack}`)
      return outcome
    },
  )

/** Asks until it is done. Who has just made a stream may be told that its server knows of none yet. */
async function eventually<T>(run: () => Promise<T>): Promise<T> {
  for (;;) {
    const work = run()
    if ((await saidOf(work)) === undefined) return work
    await delay(20)
  }
}

function seen() {
  const waiting = new Waiting()
  const states: string[] = []
  return {
    onConnection({ state }: HubChange): void {
      states.push(state)
      waiting.happened()
    },
    until: (state: string) => waiting.until(state, () => (states.includes(state) ? true : undefined)),
  }
}

const allOf = async (hub: OpenDriver, kit: HubKit, count: number): Promise<TopicMessage[]> => {
  const ear = await kit.listener(hub, '>', { from: 'all' })
  return ear.until(count)
}

test('nats, cluster: many hubs begin at once, while it elects who leads it', () =>
  within(async ({ prefix, kits, api }) => {
    const hubs = await Promise.all(upTo(9).map((number) => kits[number % 3]!.open()))
    for (const round of upTo(5))
      await Promise.all(
        hubs.map(async (hub, number) => {
          await hub.queues!.declare(`q${round}`, QUEUE)
          await eventually(() => hub.queues!.push(`q${round}`, [job(number)]))
          await eventually(() => hub.topics!.publish(`t.${round}`, json(number), PLAIN))
          assert.ok(await eventually(() => hub.state!.set(`k${round}-${number}`, text(number), 'json', {})))
          await eventually(() => hub.counters!.add('c', 1))
          assert.ok(await eventually(() => hub.leases!.acquire(`l${round}-${number}`, LEASE, undefined)))
        }),
      )
    const [hub] = hubs
    assert.equal((await hub!.queues!.counts!('q4')).ready, 9)
    assert.equal(await hub!.counters!.add('c', 0), 45)
    assert.equal((await allOf(hub!, kits[0]!, 45)).length, 45)
    for (const what of [`STREAM.INFO.${prefix}-topics`, `STREAM.INFO.KV_${prefix}`, `CONSUMER.INFO.${prefix}-queue-q0.workers`])
      assert.equal((await api(what)).cluster.replicas.length, 2, what)
  }))

test('nats, cluster: the server of a hub is killed, and it goes on with another', () =>
  within(async ({ kits }) => {
    const change = seen()
    const hub = await kits[near]!.open({ onConnection: change.onConnection })
    const writer = await kits[far]!.open()
    const ear = await kits[near]!.listener(hub, 'a.*')
    const group = await kits[near]!.listener(hub, 'a.*', { group: 'g' })
    const watched = await kits[near]!.watcher(hub, '')
    const worker = await kits[near]!.worker(hub, 'q', QUEUE)
    await eventually(() => hub.queues!.push('q', [job('first')]))
    await eventually(() => hub.topics!.publish('first', json('first'), PLAIN))
    await hub.queues!.push('q', upTo(50).map(job))
    await Promise.all(upTo(50).map((number) => hub.topics!.publish(`a.${number}`, json(number), PLAIN)))
    const revision = await eventually(() => hub.state!.set('k', text(1), 'json', {}))
    const lease = await eventually(() => hub.leases!.acquire('l', LEASE, undefined))
    await hub.requests!.respond('double', undefined, (request) => void request.reply(json(Number(valueOf(request)) * 2), false))
    await ear.until(50)
    await servers[near]!.kill()
    try {
      await change.until('lost')
      await change.until('connected')
      await eventually(async () => {
        const found = await hub.state!.get('k')
        assert.equal(found?.revision, revision)
      })
      await eventually(() => hub.leases!.renew('l', lease!, 60_000))
      await eventually(() => hub.state!.set('after', text(2), 'json', {}))
      await watched.until('after', '2')
      await eventually(() => writer.topics!.publish('a.after', json('after'), PLAIN))
      await eventually(() => writer.queues!.push('q', [job('after')]))
      worker.consumption.want(50_000)
      await worker.until(52)
      assert.deepEqual(new Set(worker.jobs.map(valueOf)), new Set(['first', ...upTo(50), 'after']))
      // The writer may have been told that nobody knows, and publish it again.
      await ear.until(51)
      assert.deepEqual(ear.values().slice(0, 51), [...upTo(50), 'after'])
      assert.equal(ear.listener.lostCount, 0)
      await group.until(51)
      assert.deepEqual(new Set(group.values()), new Set([...upTo(50), 'after']))
      const answers: unknown[] = []
      await eventually(async () => {
        await writer.requests!.request('double', json(21), (reply) => void answers.push(valueOf(reply)))
      })
      await eventually(async () => {
        if (answers.length === 0) throw new TalkwireError('UNAVAILABLE', 'not yet')
      })
      assert.equal(answers[0], 42)
    } finally {
      await servers[near]!.start()
    }
  }))

/** Resolves when this server leads it. */
async function led(api: Place['api'], kind: 'STREAM' | 'CONSUMER', what: string, server: number): Promise<void> {
  for (;;) {
    const { leader } = (await api(`${kind}.INFO.${what}`)).cluster
    if (leader === `s${server}`) return
    if (leader) await api(`${kind}.LEADER.STEPDOWN.${what}`, { placement: { preferred: `s${server}` } })
    await delay(20)
  }
}

/** Resolves when all of these values have come, others beside them or not. */
async function all(what: { until(count: number): Promise<unknown> }, come: () => unknown[], values: readonly unknown[]): Promise<void> {
  for (let count = 1; !values.every((each) => come().includes(each)); count++) await what.until(count)
}

test('nats, cluster: who leads a stream is killed, and then another: nothing acknowledged is lost, and what is told is true', () =>
  within(async ({ prefix, kits, api }) => {
    const [hub, kit] = [await kits[near]!.open(), kits[near]!]
    const worker = await kit.worker(hub, 'q', QUEUE)
    worker.consumption.want(50_000)
    const ears: Awaited<ReturnType<HubKit['listener']>>[] = []
    const group = await kit.listener(hub, 'a', { group: 'g' })
    await eventually(() => hub.state!.set('k', text(0), 'json', {}))
    const watched = await kit.watcher(hub, '')
    const streams = [`${prefix}-topics`, `${prefix}-queue-q`, `KV_${prefix}`]
    for (const stream of streams) await led(api, 'STREAM', stream, far)
    await led(api, 'CONSUMER', `${prefix}-queue-q.workers`, far)
    const [shared] = (await api(`CONSUMER.LIST.${prefix}-topics`)).consumers
    await led(api, 'CONSUMER', `${prefix}-topics.${shared.name}`, far)
    // One of the subscriptions is on the server that is killed, and goes with it.
    const theirs = async (): Promise<boolean> =>
      (await api(`CONSUMER.LIST.${prefix}-topics`)).consumers.some(
        (each: any) => each.config.mem_storage && each.cluster.leader === `s${far}`,
      )
    do ears.push(await kit.listener(hub, 'a'))
    while (!(await theirs()))
    await eventually(() => hub.queues!.push('q', [job('first')]))
    await (await worker.until(1))[0]!.ack()
    const calls = upTo(200).map(async (number) => {
      await delay(number / 4)
      const [pushed, published, set] = [
        saidOf(hub.queues!.push('q', [job(number)])),
        saidOf(hub.topics!.publish('a', json(number), PLAIN)),
        saidOf(hub.state!.set(`k${number}`, text(number), 'json', {})),
      ]
      return { number, pushed: await pushed, published: await published, set: await set }
    })
    await delay(25)
    await servers[far]!.kill()
    try {
      const told = await Promise.all(calls)
      await eventually(() => hub.queues!.push('q', [job('last')]))
      await eventually(() => hub.topics!.publish('a', json('last'), PLAIN))
      await eventually(() => hub.state!.set('last', text('last'), 'json', {}))
      /** Of those that were done, all are there; of those that were not sent, none. */
      const fits = (what: 'pushed' | 'published' | 'set', values: readonly unknown[]): void => {
        const there = new Set(values)
        assert.deepEqual(
          told.filter((each) => there.has(each.number) !== (each[what] === undefined) && each[what] !== 'maybe-ran'),
          [],
          what,
        )
      }
      const done = (what: 'pushed' | 'published'): unknown[] => [
        'last',
        ...told.filter((each) => each[what] === undefined).map(({ number }) => number),
      ]
      const waiting = ears.map(async (ear) => {
        await all(ear, ear.values, ['last'])
        fits('published', ear.values())
      })
      await Promise.all(waiting)
      // Those on their way from who was killed come again when their time is over, to a group after later ones.
      await all(group, group.values, done('published'))
      fits('published', group.values())
      await watched.until('last', '"last"')
      const kept: unknown[] = []
      for await (const { value } of hub.state!.list!('')) kept.push(JSON.parse(Buffer.from(value).toString()))
      fits('set', kept)
      const taken = (): unknown[] => worker.jobs.map(valueOf)
      await all(worker, taken, done('pushed'))
      fits('pushed', taken())

      await servers[other]!.kill()
      const said = await Promise.all([
        saidOf(hub.queues!.push('q', [job('x')])),
        saidOf(hub.queues!.declare('q2', QUEUE)),
        saidOf(hub.topics!.publish('a', json('x'), PLAIN)),
        saidOf(hub.state!.set('k', text('x'), 'json', {})),
        saidOf(hub.counters!.add('c', 1)),
        saidOf(hub.leases!.acquire('l', LEASE, undefined)),
      ])
      assert.ok(!said.includes(undefined), said.join())

      await servers[other]!.start()
      await eventually(() => hub.queues!.push('q', [job('back')]))
      await eventually(() => hub.topics!.publish('a', json('back'), PLAIN))
      await eventually(() => hub.state!.set('back', text('back'), 'json', {}))
      await eventually(() => hub.queues!.declare('q2', QUEUE))
      await watched.until('back', '"back"')
      for (const ear of [...ears, group]) await all(ear, ear.values, ['back'])
      await all(worker, taken, ['back'])
      assert.deepEqual(
        ears.map((ear) => ear.listener.lostCount),
        ears.map(() => 0),
      )
    } finally {
      await Promise.all([servers[far]!.start(), servers[other]!.start()])
    }
  }))

test('nats, cluster: of the servers in an address one has to be there', async () => {
  const nobody = `${ownHost}:${freshPort()}`
  await (await openHub(`nats://${nobody}?servers=${nobody},${places[other]}`)).close()
  await assert.rejects(openHub(`nats://${nobody}?servers=${nobody}`), { code: 'UNAVAILABLE' })
  for (const words of ['servers=', 'servers=a,', 'servers=a/b', 'servers=me@a', 'replicas=0', 'replicas=6', 'replicas=three'])
    await assert.rejects(openHub(`nats://${nobody}?${words}`), { code: 'INVALID_ADDRESS' }, words)
})

test('nats, cluster: as many replicas as there are servers, and a stream that is there stays as it is', () =>
  within(async ({ prefix, kits, api }) => {
    const hub = await kits[near]!.open()
    await eventually(() => hub.topics!.publish('a', json(1), PLAIN))
    const five = await openHub(`nats://${places[near]}?prefix=${prefix}&replicas=5`)
    const alone = await startBroker(NATS_NOW)
    const three = await openHub(`nats://${alone.host}:${alone.port}?replicas=3`)
    try {
      await five.topic('a').publish(2)
      assert.equal((await api(`STREAM.INFO.${prefix}-topics`)).config.num_replicas, 3)
      await assert.rejects(five.queue('q').push(1), /UNAVAILABLE.*cannot have 5 replicas.*have 5 servers/s)
      await assert.rejects(three.queue('q').push(1), /UNSUPPORTED.*cannot have 3 replicas.*say fewer in \?replicas=/s)
    } finally {
      await Promise.all([five.close(), three.close()])
    }
  }))
