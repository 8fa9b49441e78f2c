/**
 * Several hubs use a broker as fast as they can, and it is killed at any moment and started again with what it has on disk. Afterwards
 * what they were told fits together, and is still there, as far as their driver says that the broker keeps it.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { soon } from '../../../compliance/ends.js'
import { json, valueOf, Waiting } from '../../../compliance/hub-kit.js'
import { TalkwireError } from '../../../src/error.js'
import type { HubDriver, Job, OpenDriver } from '../../../src/hub/driver.js'
import type { Broker } from '../../helpers/broker.js'
import { faultsIn, type Note, type Away } from '../crash-history.js'
import type { KeyCall } from '../linear.js'
import { randomOf, seedOf, type Random } from '../random.js'

const HUBS = 3
/** Of keys, of which there are new ones each time: a lost answer makes a key's history hard to check. */
const WINDOW = 200
const TTL = 250
const SETTINGS = { visibility: 2_000, attempts: 1_000_000, dedupe: 0 }
/** Who is told that there is no connection asks again. */
const PAUSE = 5

export interface BrokerStorm {
  readonly driver: HubDriver
  readonly address: string
  readonly broker: Broker
  /** What was acknowledged just before a kill may be handed out again after it. */
  readonly again?: boolean
}

export interface Storm {
  readonly kills: number
  readonly notes: readonly Note[]
  readonly faults: readonly string[]
}

/** A test of the short form; the long one is `npm run soak:hub -- --engine NAME`. */
export function testStorm(kills: number, storm: BrokerStorm): void {
  const seed = seedOf()
  void test(`${storm.driver.name}: a broker that is killed ${kills} times under load keeps what it said (seed ${seed})`, async (t) => {
    const { notes, faults } = await stormOf(storm, seed, (count) => count >= kills)
    t.diagnostic(`${notes.length} notes`)
    assert.deepEqual(faults.slice(0, 10), [])
  })
}

/** `done`: whether there were enough kills. */
export async function stormOf(
  { driver, address, broker, again = false }: BrokerStorm,
  seed: number,
  done: (kills: number) => boolean,
): Promise<Storm> {
  const random = randomOf(seed)
  const notes: Note[] = []
  const errors: unknown[] = []
  const waiting = new Waiting()
  const open = (): Promise<OpenDriver> =>
    driver.open(address, { credentials: undefined, onConnection() {}, onError: (error) => void errors.push(error), signal: undefined })
  const hubs = await Promise.all(Array.from({ length: HUBS }, open))
  const stop = new AbortController()
  const aways: Away[] = []
  try {
    const users = await Promise.all(
      hubs.map(async (hub, number) => {
        const kinds = new Set<Note['kind']>()
        const note = (one: Note): void => {
          notes.push(one)
          kinds.add(one.kind)
          waiting.happened()
        }
        return { kinds, ...(await use(hub, driver.traits.includes('replay'), number, randomOf(seed + number + 1), stop.signal, note)) }
      }),
    )
    /** Everybody has done something of each kind. */
    const everybody = async (): Promise<void> => {
      for (const { kinds } of users) kinds.clear()
      const idle = (): string[] =>
        users.flatMap(({ kinds, does }, number) => does.filter((kind) => !kinds.has(kind)).map((kind) => `${number}: ${kind}`))
      await waiting.until(
        () => `hubs that go on; not ${idle().join()}; ${String(errors[0])}`,
        () => (idle().length === 0 ? true : undefined),
      )
    }
    try {
      while (!done(aways.length)) {
        await everybody()
        await delay(random.below(20))
        const from = now()
        await broker.kill()
        await delay(random.below(50))
        await broker.start()
        aways.push({ from, to: now() })
      }
      await everybody()
      stop.abort()
      await Promise.all(users.map(({ loops }) => loops))
      await waiting.until(
        () => `jobs; of those that were pushed ${leftOf(notes).length} do not come`,
        () => (leftOf(notes).length === 0 ? true : undefined),
      )
    } catch (reason) {
      // What does not come is a fault, too; the history says more.
      errors.push(reason)
      stop.abort()
    }
    notes.push(...(await leftBehind(hubs[0]!, driver.traits.includes('replay'))))
  } finally {
    stop.abort()
    await soon(Promise.all(hubs.map((hub) => hub.close())), 'close()')
  }
  return { kills: aways.length, notes, faults: [...errors.map(String), ...faultsIn(notes, again ? aways : [])] }
}

/** The ids of jobs that were pushed, and that nobody has certainly or perhaps acknowledged. */
function leftOf(notes: readonly Note[]): readonly (number | string)[] {
  const settled = new Set(notes.flatMap((note) => (note.kind === 'ack' && (note.end === null || note.done === true) ? [note.id] : [])))
  return notes.flatMap((note) => (note.kind === 'push' ? (note.ids ?? []) : [])).filter((id) => !settled.has(id))
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6

interface Asked<T> {
  readonly begin: number
  readonly end: number | null
  readonly answer: T | undefined
}

/** Undefined: it certainly did not run. Without an end: nobody knows. */
async function asked<T>(ask: () => Promise<T>): Promise<Asked<T> | undefined> {
  const begin = now()
  try {
    const answer = await ask()
    return { begin, end: now(), answer }
  } catch (reason) {
    const { code, outcome } = TalkwireError.from(reason)
    if (code !== 'CONNECTION_LOST' && code !== 'UNAVAILABLE') throw reason
    await delay(PAUSE)
    return outcome === 'not-sent' ? undefined : { begin, end: null, answer: undefined }
  }
}

interface User {
  readonly does: readonly Note['kind'][]
  readonly loops: Promise<unknown>
}

async function use(
  hub: OpenDriver,
  keeps: boolean,
  number: number,
  random: Random,
  signal: AbortSignal,
  note: (note: Note) => void,
): Promise<User> {
  const does: Note['kind'][] = []
  const loops: (() => Promise<void>)[] = []
  let bodies = 0
  const fresh = (): string => `${number}-${bodies++}`
  if (hub.state) {
    does.push('key')
    const one = keys(hub.state, random, fresh, note)
    loops.push(one, one)
  }
  if (hub.queues) {
    does.push('push', 'given', 'ack')
    loops.push(await jobs(hub.queues, random, fresh, note))
  }
  if (hub.counters) {
    does.push('add')
    loops.push(async () => {
      const call = await asked(() => hub.counters!.add('c', 1))
      if (call) note({ kind: 'add', begin: call.begin, end: call.end, ...(call.answer !== undefined && { value: call.answer }) })
      await delay(random.below(5))
    })
  }
  if (hub.leases) {
    does.push('grant')
    loops.push(hold(hub.leases, number, random, note))
  }
  if (hub.topics)
    loops.push(await (keeps ? listened(hub.topics, number, random, fresh, note, does) : shared(hub.topics, random, fresh, note)))
  const until = async (step: () => Promise<void>): Promise<void> => {
    while (!signal.aborted) await step()
  }
  return { does, loops: Promise.all(loops.map(until)) }
}

type Noter = (note: Note) => void

function keys(state: NonNullable<OpenDriver['state']>, random: Random, fresh: () => string, note: Noter): () => Promise<void> {
  /** What was read of a key last: what is expected to be there. */
  const revisions = new Map<string, number>()
  return async () => {
    const key = `k.${Math.floor(now() / WINDOW)}-${random.below(2)}`
    const expected = random.below(2) === 0 ? revisions.get(key) : undefined
    const what = random.below(5)
    const told = (call: Asked<unknown>, answer: KeyCall): void => note({ kind: 'key', key, begin: call.begin, end: call.end, what: answer })
    const known = expected !== undefined && { expected }
    if (what < 2) {
      const call = await asked(() => state.get(key))
      if (!call || call.end === null) return
      const revision = Number(call.answer?.revision ?? 0)
      revisions.set(key, revision)
      told(call, call.answer ? { op: 'get', value: String(call.answer.value), revision } : { op: 'get', value: null })
    } else if (what < 4) {
      const value = fresh()
      const wish = expected === undefined ? {} : { revision: expected === 0 ? null : String(expected) }
      const call = await asked(() => state.set(key, Buffer.from(value), 'text', wish))
      if (!call) return
      const revision = call.answer === undefined ? null : Number(call.answer)
      if (revision !== null) revisions.set(key, revision)
      told(call, { op: 'set', value, ...known, ...(call.end !== null && { revision }) })
    } else {
      const call = await asked(() => (expected ? state.delete(key, String(expected)) : state.delete(key)))
      if (call) told(call, { op: 'delete', ...(expected && { expected }), ...(call.end !== null && { done: call.answer! }) })
    }
  }
}

/** Consumes until the hub is closed; pushes as often as it is called. */
async function jobs(
  queues: NonNullable<OpenDriver['queues']>,
  random: Random,
  fresh: () => string,
  note: Noter,
): Promise<() => Promise<void>> {
  const settle = async (job: Job): Promise<void> => {
    note({ kind: 'given', id: job.id, at: now(), body: valueOf(job) as string })
    const isBack = random.below(20) === 0
    const call = await asked(() => (isBack ? job.nack(0) : job.ack())).catch(isLate)
    if (call && !isBack) note({ kind: 'ack', id: job.id, begin: call.begin, end: call.end, ...(call.end !== null && { done: true }) })
  }
  await queues.declare('q', SETTINGS)
  const consumption = await queues.consume('q', { job: (job) => void settle(job), ended() {} })
  consumption.want(8)
  return async () => {
    const texts = Array.from({ length: 1 + random.below(3) }, fresh)
    const call = await asked(() =>
      queues.push(
        'q',
        texts.map((text) => ({ ...json(text), delay: 0, priority: 0, key: undefined })),
      ),
    )
    if (call) note({ kind: 'push', begin: call.begin, end: call.end, bodies: texts, ...(call.answer && { ids: call.answer }) })
    await delay(random.below(5))
  }
}

/** Its time was over, or the connection that it came on. */
function isLate(reason: unknown): undefined {
  if (TalkwireError.from(reason).code !== 'NOT_FOUND') throw reason
}

function hold(leases: NonNullable<OpenDriver['leases']>, number: number, random: Random, note: Noter): () => Promise<void> {
  let asks = 0
  return async () => {
    const name = `l${random.below(2)}`
    const ask = { holder: `${number}-${asks++}`, label: undefined, ttl: TTL, wait: random.below(2) * 100, permits: 1 }
    const call = await asked(() => leases.acquire(name, ask, undefined))
    if (!call?.answer) return delay(random.below(20))
    const { token } = call.answer
    note({ kind: 'grant', begin: call.begin, end: call.end, name, token, ttl: TTL })
    for (let rounds = random.below(4); rounds > 0; rounds--) {
      await delay(random.below(30))
      const renewal = await asked(() => leases.renew(name, call.answer!, TTL))
      if (renewal?.answer === false) return
      if (renewal?.answer) note({ kind: 'renew', begin: renewal.begin, end: renewal.end, name, token, ttl: TTL })
    }
    // Some are left to their time.
    if (random.below(10) === 0) return
    note({ kind: 'release', begin: now(), name, token })
    await asked(() => leases.release(name, call.answer!))
  }
}

const END = 'log.end'
type Topics = NonNullable<OpenDriver['topics']>

/** The last part of what a driver says: it counts the messages. */
const placeOf = (position: string | undefined): number => Number(position!.split('/').at(-1))

async function publish(topics: Topics, topic: string, body: string, random: Random): Promise<Asked<void> | undefined> {
  const call = await asked(() => topics.publish(topic, json(body), { retain: false }))
  await delay(random.below(10))
  return call
}

/** One that subscribed once hears everything, whatever happens to the broker. */
async function listened(
  topics: Topics,
  number: number,
  random: Random,
  fresh: () => string,
  note: Noter,
  does: Note['kind'][],
): Promise<() => Promise<void>> {
  does.push('publish', 'heard')
  const stream = String(number)
  await topics.subscribe(
    'log.>',
    { from: 'new', group: undefined, buffer: 1000 },
    {
      message(message) {
        if (message.topic !== END) note({ kind: 'heard', stream, position: placeOf(message.position), body: valueOf(message) as string })
        return true
      },
      lost: (count) => assert.fail(`${count} messages were lost on the way to ${stream}`),
      ended() {},
    },
  )
  return async () => {
    const body = fresh()
    const call = await publish(topics, `log.${number}`, body, random)
    if (call) note({ kind: 'publish', begin: call.begin, end: call.end, body })
  }
}

/** Where nothing is kept, a group gets each message, some of them twice: as a queue does. */
async function shared(topics: Topics, random: Random, fresh: () => string, note: Noter): Promise<() => Promise<void>> {
  await topics.subscribe(
    'log',
    { from: 'new', group: 'g', buffer: 1000 },
    {
      message(message) {
        const body = valueOf(message) as string
        note({ kind: 'given', id: body, at: now(), body })
        note({ kind: 'ack', id: body, begin: now(), end: now(), done: true })
        return true
      },
      lost: (count) => assert.fail(`${count} messages were lost on the way to the group`),
      ended() {},
    },
  )
  return async () => {
    const body = fresh()
    const call = await publish(topics, 'log', body, random)
    if (call) note({ kind: 'push', begin: call.begin, end: call.end, bodies: [body], ...(call.end !== null && { ids: [body] }) })
  }
}

/** What is still there when nobody does anything any more. */
async function leftBehind(hub: OpenDriver, keeps: boolean): Promise<Note[]> {
  const notes: Note[] = []
  if (hub.state) {
    const begin = now()
    for await (const { key, value, revision } of hub.state.list!('k.'))
      notes.push({ kind: 'key', key, begin, end: now(), what: { op: 'get', value: String(value), revision: Number(revision) } })
  }
  if (hub.counters) notes.push({ kind: 'counted', value: await hub.counters.add('c', 0) })
  if (!hub.topics || !keeps) return notes
  await hub.topics.publish(END, json('end'), { retain: false })
  const end = new Promise<void>((resolve) => {
    void hub.topics!.subscribe(
      'log.>',
      { from: 'all', group: undefined, buffer: 1000 },
      {
        message(message) {
          if (message.topic === END) resolve()
          else notes.push({ kind: 'kept', position: placeOf(message.position), body: valueOf(message) as string })
          return true
        },
        lost: (count) => assert.fail(`${count} kept messages were lost`),
        ended() {},
      },
    )
  })
  await soon(end, 'the last message that is kept')
  return notes
}
