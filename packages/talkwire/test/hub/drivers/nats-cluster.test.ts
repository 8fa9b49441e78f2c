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
import { NATS, NATS_NOW } from './brokers.js'

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
  /** What JetStream says. */
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
    const answer = (await connection.request(`$JS.API.${subject}`, JSON.stringify(wish), { timeout: 30_000 })).json<any>()
    assert.equal(answer.error, undefined)
    return answer
  }
  try {
    await kits.reduce<() => Promise<void>>(
      (inner, kit) => () => kit.within(inner),
      () => body({ prefix, kits, api }),
    )()
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

/** Asks until it is done. */
async function eventually(run: () => Promise<unknown>): Promise<void> {
  while ((await saidOf(run())) !== undefined) await delay(20)
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
          await hub.queues!.push(`q${round}`, [job(number)])
          await hub.topics!.publish(`t.${round}`, json(number), PLAIN)
          assert.ok(await hub.state!.set(`k${round}-${number}`, text(number), 'json', { revision: null }))
          await hub.counters!.add('c', 1)
          assert.ok(await hub.leases!.acquire(`l${round}-${number}`, LEASE, undefined))
        }),
      )
    const [hub] = hubs
    assert.equal((await hub!.queues!.counts!('q4')).ready, 9)
    assert.equal(await hub!.counters!.add('c', 0), 45)
    assert.equal((await allOf(hub!, kits[0]!, 45)).length, 45)
    for (const what of [`STREAM.INFO.${prefix}-topics`, `STREAM.INFO.KV_${prefix}`, `CONSUMER.INFO.${prefix}-queue-q0.workers`])
      assert.equal((await api(what)).cluster.replicas.length, 2, what)
  }))
