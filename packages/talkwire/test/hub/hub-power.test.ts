/** The whole hub on a disk that remembers: whatever instant the power is cut at, what it had answered is so, and nothing is there by halves. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clocks } from '../../src/hub/embedded/clock.js'
import { hubLimitsOf } from '../../src/hub/embedded/limits.js'
import { openLogOn } from '../../src/hub/embedded/log.js'
import type { Consumer } from '../../src/hub/embedded/queue.js'
import { openShell, type Shell } from '../../src/hub/embedded/shell.js'
import { pack } from '../../src/hub/packed.js'
import { Disk } from './log-disk.js'
import { randomOf, seedOf, type Random } from './random.js'

const SEGMENT = 4096
const TTL = 3_600_000
const limits = hubLimitsOf()
const KEYS = ['a', 'b', 'c']

/** What was asked for, and when the answer left, in the disk's time. */
interface Done {
  readonly asked: number
  answered: number
}
interface Write extends Done {
  readonly key: string
  readonly value: string | undefined
}
interface Made extends Done {
  readonly id: number
  /** It was acknowledged, or given back. */
  end?: Done
}

interface History {
  readonly writes: Write[]
  readonly counts: Done[]
  readonly jobs: Made[]
  readonly grants: Made[]
  readonly messages: Done[]
}

const hubOn = (disk: Disk, boot: string): Promise<Shell> => {
  const clocks: Clocks = { monotonic: () => 5_000_000, wall: () => 1_700_000_000_000, boot }
  return openShell({ limits, openLog: (options) => openLogOn(disk, options, SEGMENT), clocks })
}

/** One command; what it answers is held until it is on disk. */
function ask<T extends object>(shell: Shell, disk: Disk, run: () => T): T & Done {
  const done: T & Done = Object.assign(run(), { asked: disk.time, answered: Infinity })
  const stamp = shell.machine.effects.count
  shell.flush()
  const answered = (): void => void (done.answered = disk.time)
  const held = shell.after(stamp)
  if (held) void held.then(answered, () => {})
  else answered()
  return done
}

const set = (shell: Shell, key: string, value: string | undefined): void => {
  shell.machine.state.change(
    { key, value: value === undefined ? value : Buffer.from(value), type: 1, ttl: undefined, revision: undefined },
    shell.now(),
  )
}

function step(shell: Shell, disk: Disk, random: Random, { writes, counts, jobs, grants, messages }: History, number: number): void {
  const { machine } = shell
  const queue = machine.queues.open('q')
  const kind = random.below(8)
  const key = KEYS[random.below(KEYS.length)]!
  if (kind < 2) {
    const value = random.below(5) === 0 ? undefined : `${number}`.padEnd(random.below(60), ' ')
    if (value !== undefined || machine.state.get(key, shell.now()))
      writes.push(ask(shell, disk, () => (set(shell, key, value), { key, value })))
  } else if (kind === 2) {
    // Two keys at once.
    const both = ask(shell, disk, () => {
      const one = (name: string) => ({ key: name, value: Buffer.from(`${number}`), type: 1, ttl: undefined, revision: undefined })
      machine.state.batch([one('both/1'), one('both/2')], shell.now())
      return { key: 'both/1', value: `${number}` }
    })
    writes.push(both)
  } else if (kind === 3) {
    const value = Buffer.alloc(8)
    value.writeDoubleLE(counts.length + 1)
    counts.push(
      ask(shell, disk, () => (machine.counters.change({ key: 'c', value, type: 0, ttl: undefined, revision: undefined }, shell.now()), {})),
    )
  } else if (kind === 4) {
    const job = { body: Buffer.alloc(random.below(200)), type: 1, headers: undefined, delay: 0, priority: 0, key: undefined }
    jobs.push(ask(shell, disk, () => ({ id: queue.push([job], shell.now(), 0).ids[0]! })))
  } else if (kind === 5) {
    const taker: Consumer = { queue, want: 1, out: new Set(), late: new Set(), given: [], wake() {} }
    queue.consumers.add(taker)
    queue.dispatch(shell.now())
    queue.leaveConsumer(taker)
    for (const { job, receipt } of taker.given)
      jobs.find(({ id }) => id === job.id)!.end = ask(shell, disk, () => (queue.ack([[job.id, receipt]], shell.now()), {}))
  } else if (kind === 6) {
    const [holder] = machine.leases.inspect('l', shell.now()).holders
    const wish = { holder: 'h', label: '', ttl: TTL, wait: 0, permits: 1 }
    if (holder) grants.at(-1)!.end = ask(shell, disk, () => (machine.leases.release('l', holder.token, shell.now()), {}))
    else
      grants.push(
        ask(shell, disk, () => ({ id: (machine.leases.acquire('l', wish, shell.now(), () => {}) as { readonly token: number }).token })),
      )
  } else {
    const message = pack(1, `t.${messages.length}`, {}, Buffer.alloc(random.below(100)))
    messages.push(ask(shell, disk, () => (machine.topics.publish(message, shell.now(), 0, () => {}), {})))
  }
}

async function lived(disk: Disk, random: Random): Promise<History> {
  const history: History = { writes: [], counts: [], jobs: [], grants: [], messages: [] }
  for (let session = 0, number = 0; session < 3; session++) {
    const shell = await hubOn(disk, 'one')
    if (session === 0) shell.machine.topics.keeper.keep({ pattern: 't.>', messages: 1e6, bytes: 1e9, age: Infinity }, shell.now())
    shell.flush()
    for (let turn = 0; turn < 60; turn++) {
      for (let count = 1 + random.below(4); count > 0; count--) step(shell, disk, random, history, number++)
      if (random.below(3) === 0) await shell.after(shell.machine.effects.count)
      else await new Promise(setImmediate)
    }
    await shell.close()
  }
  return history
}

/** How many of them may be there: all that were answered, none that was not yet asked for. */
const between = (all: readonly Done[], time: number, count: number): boolean =>
  count >= all.filter(({ answered }) => answered <= time).length && count <= all.filter(({ asked }) => asked <= time).length

function keyFits(writes: readonly Write[], time: number, seen: string | undefined): boolean {
  const last = writes.findLastIndex(({ answered }) => answered <= time)
  if (last < 0 && seen === undefined) return true
  return writes.some(({ value, asked }, index) => value === seen && index >= last && asked <= time)
}

/** Whether something is there that has an end. */
const fits = ({ asked, answered, end }: Made, time: number, there: boolean): boolean =>
  there ? asked <= time && !(end && end.answered <= time) : answered > time || (end !== undefined && end.asked <= time)

function check(shell: Shell, { writes, counts, jobs, grants, messages }: History, time: number): void {
  const { state, counters, queues, leases, topics } = shell.machine
  const valueOf = (key: string): string | undefined => state.get(key, shell.now())?.value.toString()
  for (const key of [...KEYS, 'both/1']) {
    const seen = valueOf(key)
    assert.ok(
      keyFits(
        writes.filter((write) => write.key === key),
        time,
        seen,
      ),
      `the key ${key} is ${seen}`,
    )
  }
  assert.equal(valueOf('both/2'), valueOf('both/1'), 'of two keys that were set at once')
  const count = counters.get('c', shell.now())
  assert.ok(between(counts, time, count ? Buffer.from(count.value).readDoubleLE() : 0), 'the counter')
  const there = queues.find('q')?.jobs
  for (const job of jobs) assert.ok(fits(job, time, there?.has(job.id) ?? false), `the job ${job.id}`)
  const tokens = leases.inspect('l', shell.now()).holders.map(({ token }) => token)
  for (const grant of grants) assert.ok(fits(grant, time, tokens.includes(grant.id)), `the grant ${grant.id}`)
  const known = Math.max(0, ...grants.filter(({ answered }) => answered <= time).map(({ id }) => id))
  const next = leases.acquire('other', { holder: 'h', label: '', ttl: TTL, wait: 0, permits: 1 }, shell.now(), () => {})
  assert.ok((next as { readonly token: number }).token > known, 'tokens only grow')
  if (topics.keeper.listsFor('t.>').length === 0) return assert.ok(between(messages, time, 0), 'what is kept')
  const reading = topics.subscribe({ pattern: 't.>', from: 'all', group: undefined, slow: 'wait', requests: false })
  const kept: string[] = []
  for (let part = reading.take(Infinity); Array.isArray(part); part = reading.take(Infinity)) for (const { topic } of part) kept.push(topic)
  reading.close()
  assert.deepEqual(
    kept,
    kept.map((_, index) => `t.${index}`),
  )
  assert.ok(between(messages, time, kept.length), `${kept.length} messages are kept`)
}

test('power cut at any instant under a hub: what was answered is so, and nothing is there by halves', async () => {
  const seed = seedOf()
  const random = randomOf(seed)
  const disk = new Disk(random)
  const history = await lived(disk, random)
  for (const [what, all] of Object.entries(history)) assert.ok(all.length > 10, `seed ${seed}: ${all.length} ${what}`)
  for (const all of Object.values(history) as Done[][]) assert.ok(all.every(({ answered }) => answered < Infinity))
  for (let time = 0; time <= disk.time; time++) {
    const shell = await hubOn(Disk.of(random, disk.after(time, random)), 'two')
    try {
      check(shell, history, time)
    } catch (reason) {
      throw new Error(`seed ${seed}, cut at ${time}: ${(reason as Error).message}`, { cause: reason })
    }
    await shell.close()
  }
})
