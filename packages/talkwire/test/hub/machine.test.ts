/** The machine of the embedded hub alone: random commands beside a simple model, and the log cut after every append and replayed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LogRecord } from '../../src/hub/embedded/log-types.js'
import { hubLimitsOf } from '../../src/hub/embedded/limits.js'
import { createMachine, type Machine } from '../../src/hub/embedded/machine.js'
import type { Consumer, Queue } from '../../src/hub/embedded/queue.js'
import { SortedKeys } from '../../src/hub/embedded/sorted-keys.js'
import { Deadlines } from '../../src/hub/embedded/deadlines.js'
import { NumberHeap } from '../../src/hub/embedded/number-heap.js'
import { Trie } from '../../src/hub/embedded/trie.js'
import { pack } from '../../src/hub/packed.js'
import { matchesPattern } from '../../src/hub/topic-names.js'

const SEED = Number(process.env['TALKWIRE_SEED'] ?? 20261122)
const limits = hubLimitsOf()
const instant = { hub: 0, monotonic: 0, wall: 0, boot: 'b' }

/** Numbers from 0 up to `below`, the same for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

/** A log in memory: appends in pieces, as the machine made them. */
function shelf(machine: Machine) {
  const appends: LogRecord[][] = []
  let place = 0
  return {
    appends,
    flush() {
      machine.effects.flush((records) => {
        appends.push(records.map(({ kind, body }) => ({ kind, body: Buffer.from(body) })))
        return records.map(() => place++)
      })
    },
  }
}

function replayed(appends: readonly (readonly LogRecord[])[], now: number): Machine {
  const machine = createMachine(limits, true)
  let place = 0
  for (const { kind, body } of appends.flat()) machine.replay(kind, body, place++)
  machine.begin(now, () => instant)
  return machine
}

/** What users can see of keys, counters, jobs and leases. */
function seen(machine: Machine, now: number): unknown {
  // One without jobs and settings of its own is as good as none.
  const used = machine.queues.names.filter((name) => machine.queues.find(name)!.jobs.size > 0).toSorted()
  const jobs = used.map((name) => {
    const queue = machine.queues.find(name)!
    return [
      name,
      queue.settings,
      [...queue.jobs.values()].map(({ id, at, attempts, priority, reason }) => [
        id,
        at === 3 ? 'dead' : 'there',
        attempts,
        priority,
        reason,
      ]),
    ]
  })
  return {
    keys: machine.state.list('', undefined, 1e6, now).map(({ key, value, revision, type }) => [key, String(value), revision, type]),
    counters: machine.counters.list('', undefined, 1e6, now).map(({ key, value }) => [key, Buffer.from(value).readDoubleLE()]),
    jobs,
    leases: ['l0', 'l1', 'l2'].map((name) => machine.leases.inspect(name, now).holders.map(({ token, holder }) => [token, holder])),
  }
}

const consumer = (queue: Queue, want: number): Consumer => ({ queue, want, out: new Set(), late: new Set(), given: [], wake() {} })

/** One random command. What is answered is checked against what the model says. */
function step(
  machine: Machine,
  model: Map<string, { value: string; revision: number; due: number }>,
  now: number,
  random: (below: number) => number,
): void {
  const key = `k${random(8)}`
  const queue = machine.queues.open(`q${random(2)}`)
  for (const [name, { due }] of model) if (due <= now) model.delete(name)
  const kind = random(12)
  if (kind < 4) {
    const value = String(random(1000))
    const known = model.get(key)
    const wanted = [undefined, 0, known?.revision ?? 0, 77_777_777][random(4)]
    const ttl = random(3) === 0 ? 1 + random(50) : undefined
    const revision = machine.state.change({ key, value: Buffer.from(value), type: 1, ttl, revision: wanted }, now)
    assert.equal(revision !== undefined, wanted === undefined || wanted === (known?.revision ?? 0))
    if (revision !== undefined) {
      assert.ok(revision > (known?.revision ?? 0))
      model.set(key, { value, revision, due: ttl === undefined ? Infinity : now + ttl })
    }
  } else if (kind === 4) {
    assert.equal(
      machine.state.change({ key, value: undefined, type: 0, ttl: undefined, revision: undefined }, now) !== undefined,
      model.delete(key),
    )
  } else if (kind === 5) {
    const value = Buffer.alloc(8)
    value.writeDoubleLE(random(100))
    machine.counters.change({ key: 'c', value, type: 0, ttl: undefined, revision: undefined }, now)
  } else if (kind === 6)
    queue.push(
      Array.from({ length: 1 + random(3) }, () => ({
        body: Buffer.from('job'),
        type: 1,
        headers: undefined,
        delay: random(2) * random(40),
        priority: random(3),
        key: undefined,
      })),
      now,
      0,
    )
  else if (kind < 10) work(queue, now, random)
  else if (kind === 10)
    machine.leases.acquire(
      `l${random(3)}`,
      { holder: `h${random(9)}`, label: '', ttl: 20 + random(50), wait: 0, permits: 1 },
      now,
      () => {},
    )
  else {
    const [holder] = machine.leases.inspect(`l${random(3)}`, now).holders
    if (holder) machine.leases.release(holder.name, holder.token, now)
  }
}

function work(queue: Queue, now: number, random: (below: number) => number): void {
  const taker = consumer(queue, 1 + random(3))
  queue.consumers.add(taker)
  queue.dispatch(now)
  queue.leaveConsumer(taker)
  taker.want = 0
  for (const { job, receipt } of taker.given.splice(0)) {
    const what = random(5)
    if (what < 2) assert.deepEqual(queue.ack([[job.id, receipt]], now), [true])
    else if (what === 2) queue.nack(job, random(30), now)
    else if (what === 3) queue.bury(job, 'because', now)
    if (what < 4) assert.deepEqual(queue.ack([[job.id, receipt]], now), [false], 'a receipt is good once')
  }
  if (random(6) === 0)
    queue.revive(
      queue.deadLetters(2).map(({ id }) => id),
      now,
    )
}

test(`random commands: answers as a model says, and any piece of the log gives the state it had (seed ${SEED})`, () => {
  for (let round = 0; round < 6; round++) {
    const random = randomOf(SEED + round)
    const machine = createMachine(limits, true)
    const { appends, flush } = shelf(machine)
    machine.begin(0, () => instant)
    flush()
    const model = new Map<string, { value: string; revision: number; due: number }>()
    const states: { readonly appended: number; readonly now: number; readonly state: unknown }[] = []
    for (let now = 1; now < 250; now += 1 + random(3)) {
      machine.tick(now)
      step(machine, model, now, random)
      flush()
      for (const [key, { due }] of model) if (due <= now) model.delete(key)
      assert.deepEqual(
        machine.state.list('', undefined, 1e6, now).map(({ key, value }) => [key, String(value)]),
        [...model].map(([key, { value }]) => [key, value]).toSorted(([one], [other]) => (one! < other! ? -1 : 1)),
      )
      states.push({ appended: appends.length, now, state: seen(machine, now) })
    }
    for (const { appended, now, state } of states)
      assert.deepEqual(seen(replayed(appends.slice(0, appended), now), now), state, `after ${appended} appends`)
  }
})

test('what the log moved behind later records, once or twice, gives the same state', () => {
  const random = randomOf(SEED)
  const machine = createMachine(limits, true)
  const { appends, flush } = shelf(machine)
  machine.begin(0, () => instant)
  flush()
  const model = new Map<string, { value: string; revision: number; due: number }>()
  for (let now = 1; now < 400; now += 2) {
    machine.tick(now)
    step(machine, model, now, random)
    flush()
  }
  machine.tick(400)
  flush()
  const records = appends.flat()
  for (const cut of [0.2, 0.5, 0.9].map((part) => Math.floor(records.length * part))) {
    const order = records.map((record, place) => ({ ...record, place }))
    const live = order.slice(0, cut).filter(({ kind, body, place }) => {
      if (!machine.live(kind, body, place)) return false
      machine.moved(place, place)
      return true
    })
    for (const all of [
      [...order.slice(cut), ...live],
      [...order, ...live],
    ])
      assert.deepEqual(keysOf(replayed([all], 400)), keysOf(machine))
  }
})

const keysOf = (machine: Machine): unknown => {
  const { jobs, ...rest } = seen(machine, 400) as { jobs: [string, unknown, unknown[][]][] }
  // In the order of their ids: they were moved.
  return {
    ...rest,
    jobs: jobs.map(([name, settings, list]) => [name, settings, list.toSorted(([one], [other]) => Number(one) - Number(other))]).toSorted(),
  }
}

test('numbers are never given twice, whatever was lost', () => {
  const machine = createMachine(limits, true)
  const { appends, flush } = shelf(machine)
  machine.begin(0, () => instant)
  flush()
  const given = Array.from({ length: 1000 }, () => machine.effects.number())
  assert.ok(replayed(appends.slice(0, 1), 0).effects.number() > Math.max(...given))
})

test('numbers are never given twice, also when the record that reserved them is damaged', () => {
  const meta = 1
  const makers: Record<string, (machine: Machine) => unknown> = {
    'a set': ({ state }) => state.change({ key: 'k', value: Buffer.from('1'), type: 1, ttl: undefined, revision: undefined }, 0),
    'a deletion': ({ state }) => {
      state.change({ key: 'k', value: Buffer.from('1'), type: 1, ttl: undefined, revision: undefined }, 0)
      state.change({ key: 'k', value: undefined, type: 0, ttl: undefined, revision: undefined }, 0)
    },
    'a lease': ({ leases }) => leases.acquire('l', { holder: 'a', label: '', ttl: 100, wait: 0, permits: 1 }, 0, () => {}),
    'a job that was handed out': ({ queues }) => {
      queues.open('q').push([{ body: Buffer.from('1'), type: 1, headers: undefined, delay: 0, priority: 0, key: undefined }], 0, 0)
      const taker = consumer(queues.open('q'), 1)
      queues.open('q').consumers.add(taker)
      queues.open('q').dispatch(0)
    },
    'a message': ({ topics }) => {
      topics.keeper.keep({ pattern: 't', messages: 10, bytes: Infinity, age: Infinity }, 0)
      topics.publish(pack(1, 't', {}, Buffer.from('1')), 0, 0, () => {})
    },
  }
  for (const [name, make] of Object.entries(makers)) {
    const machine = createMachine(limits, true)
    const { appends, flush } = shelf(machine)
    machine.begin(0, () => instant)
    make(machine)
    flush()
    const left = appends.map((records) => records.filter(({ kind }) => kind !== meta))
    assert.ok(replayed(left, 0).effects.number() > machine.effects.last, name)
  }
})

test('what is kept is shown from its beginning on, and not before it is on disk', () => {
  const machine = createMachine(limits, true)
  const { flush } = shelf(machine)
  machine.begin(0, () => instant)
  const { topics, effects } = machine
  topics.keeper.keep({ pattern: 't', messages: 10, bytes: Infinity, age: Infinity }, 0)
  const publish = (body: string): number => topics.publish(pack(1, 't', {}, Buffer.from(body)), 0, 0, () => {}).stamp
  const first = publish('1')
  publish('2')
  flush()
  const reading = topics.subscribe({ pattern: 't', from: 'all', group: undefined, slow: 'wait', requests: false })
  const taken = (synced: number): number => (reading.take(synced) as readonly unknown[] | undefined)?.length ?? 0
  assert.deepEqual([taken(first - 1), taken(first), taken(first), taken(effects.count)], [0, 1, 0, 1])
})

test('a rule that the log moved behind the messages that it keeps', () => {
  const machine = createMachine(limits, true)
  const { appends, flush } = shelf(machine)
  machine.begin(0, () => instant)
  machine.topics.keeper.keep({ pattern: 't', messages: 10, bytes: Infinity, age: Infinity }, 0)
  flush()
  for (const body of ['1', '2']) machine.topics.publish(pack(1, 't', {}, Buffer.from(body)), 0, 0, () => {})
  flush()
  const [first, ...rest] = appends
  assert.equal(replayed([...rest, first!], 0).topics.keeper.listOf('t')?.size, 2)
})

test('of two records about one key the one with the larger number wins, whatever their order', () => {
  const machine = createMachine(limits, true)
  const { appends, flush } = shelf(machine)
  machine.begin(0, () => instant)
  flush()
  for (const value of ['old', 'new']) {
    machine.state.change({ key: 'k', value: Buffer.from(value), type: 1, ttl: undefined, revision: undefined }, 0)
    flush()
  }
  const [meta, old, newer] = appends as [LogRecord[], LogRecord[], LogRecord[]]
  for (const order of [
    [meta, old, newer],
    [meta, newer, old],
  ])
    assert.equal(String(replayed(order, 0).state.get('k', 0)?.value), 'new')
})

test('a key that expired: who finds nothing waits for what set it, not for what says that it is gone', () => {
  const machine = createMachine(limits, true)
  const { flush } = shelf(machine)
  machine.begin(0, () => instant)
  const { state, effects } = machine
  const set = (ttl: number | undefined, now: number): number => {
    state.change({ key: 'k', value: Buffer.from('1'), type: 1, ttl, revision: undefined }, now)
    return effects.count
  }
  set(undefined, 0)
  flush()
  const watcher = state.watchers.watch('')
  const overwritten = set(5, 0)
  watcher.take(1)
  machine.tick(5)
  assert.ok(overwritten < effects.count, 'that it is gone was not written')
  assert.equal(state.get('k', 5), undefined)
  assert.deepEqual([state.stampOf('k'), state.goneStamp], [overwritten, overwritten])
  assert.deepEqual(watcher.take(1), { changes: [{ key: 'k', entry: undefined }], stamp: overwritten })
  set(undefined, 5)
  state.change({ key: 'k', value: undefined, type: 0, ttl: undefined, revision: undefined }, 5)
  assert.deepEqual([state.stampOf('k'), state.goneStamp], [effects.count, effects.count])
})

test('after a restart who holds a lease has its whole time again', () => {
  const machine = createMachine(limits, true)
  const { appends, flush } = shelf(machine)
  machine.begin(0, () => instant)
  machine.leases.acquire('l', { holder: 'a', label: '', ttl: 100, wait: 0, permits: 1 }, 0, () => {})
  flush()
  const again = replayed(appends, 99)
  again.tick(150)
  assert.equal(again.leases.inspect('l', 198).holders.length, 1)
  again.tick(199)
  assert.equal(again.leases.inspect('l', 199).holders.length, 0)
})

test('waiters for a lease are served in order, with tokens that grow', () => {
  const machine = createMachine(limits, false)
  const served: (string | undefined)[] = []
  const tokens: number[] = []
  const ask = (holder: string, wait: number) => ({ holder, label: '', ttl: 10, wait, permits: 1 })
  const first = machine.leases.acquire('l', ask('a', 0), 0, () => {})
  assert.ok(first && 'token' in first)
  for (const holder of ['b', 'c', 'd'])
    machine.leases.acquire('l', ask(holder, holder === 'c' ? 5 : 100), 0, (granted) => {
      served.push(granted?.holder)
      tokens.push(granted?.token ?? -1)
    })
  machine.tick(5)
  assert.deepEqual(served, [undefined])
  machine.tick(10)
  machine.tick(20)
  assert.deepEqual(served, [undefined, 'b', 'd'])
  assert.ok(first.token < tokens[1]! && tokens[1]! < tokens[2]!)
})

test(`sorted keys, deadlines and the heap do what a sorted list does (seed ${SEED})`, () => {
  const random = randomOf(SEED)
  const keys = new SortedKeys()
  const known = new Set<string>()
  for (let index = 0; index < 5000; index++) {
    const key = `${'ab'[random(2)]}${random(2000)}`
    if (random(3) === 0) {
      keys.delete(key)
      known.delete(key)
    } else {
      keys.add(key)
      known.add(key)
    }
  }
  const sorted = [...known].toSorted()
  assert.deepEqual(keys.list('', undefined, 1e6), sorted)
  assert.deepEqual(
    keys.list('b1', 'b15', 1e6),
    sorted.filter((key) => key.startsWith('b1') && key > 'b15'),
  )
  const heap = new NumberHeap()
  const numbers = Array.from({ length: 3000 }, () => random(1e6))
  for (const number of numbers) heap.push(number)
  assert.deepEqual(
    Array.from({ length: 3000 }, () => heap.pop()),
    numbers.toSorted((one, two) => one - two),
  )
  const deadlines = new Deadlines<{ due: number }>()
  const items = Array.from({ length: 3000 }, () => ({ due: random(1000) }))
  for (const item of items) deadlines.add(item)
  for (const [index, item] of items.entries())
    if (index % 2 === 0) {
      item.due = random(1000)
      deadlines.add(item)
    }
  const met: number[] = []
  for (let item = deadlines.take(1000); item; item = deadlines.take(1000)) {
    met.push(item.due)
    item.due = NaN
  }
  assert.equal(met.length, 3000)
  assert.deepEqual(
    met,
    met.toSorted((one, two) => one - two),
  )
})

test(`the trie finds what the patterns match (seed ${SEED})`, () => {
  const random = randomOf(SEED)
  const part = (): string => ['a', 'b', 'c', '*'][random(4)]!
  const patterns = Array.from({ length: 200 }, () =>
    [...Array.from({ length: 1 + random(3) }, part), ...(random(3) === 0 ? ['>'] : [])].join('.'),
  )
  const trie = new Trie<number>()
  for (const [index, pattern] of patterns.entries()) trie.add(pattern, index)
  const gone = new Set([...patterns.keys()].filter((index) => index % 3 === 0))
  for (const index of gone) trie.delete(patterns[index]!, index)
  for (const topic of ['a', 'b.c', 'a.b.c', 'c.c.c.c', 'a.a.b.b.c'])
    assert.deepEqual(
      trie.match(topic).toSorted((one, two) => one - two),
      [...patterns.keys()].filter((index) => !gone.has(index) && matchesPattern(patterns[index]!, topic)),
    )
})
