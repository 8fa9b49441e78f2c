/** Leases and counters. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { LeaseAsk, LeaseHolder, OpenDriver } from '../src/hub/driver.js'
import { soon } from './ends.js'
import { fresh, upTo, type HubKit } from './hub-kit.js'

const LONG = 3_600_000
const ask = (wish: Partial<LeaseAsk> = {}): LeaseAsk => ({ holder: fresh(), label: undefined, ttl: LONG, wait: 0, permits: 1, ...wish })
const acquire = (hub: OpenDriver, name: string, wish: Partial<LeaseAsk> = {}, signal?: AbortSignal): Promise<LeaseHolder | undefined> =>
  soon(hub.leases!.acquire(name, ask(wish), signal), 'acquire()')

async function waiters(hub: OpenDriver, name: string, count: number): Promise<void> {
  const seen = async (): Promise<void> => {
    while ((await hub.leases!.inspect(name)).waiters !== count);
  }
  await soon(seen(), `${count} waiters`)
}

export function testHubLeases({ group, within, open, has, far, words }: HubKit): void {
  group('one holds a lease, and inspect says who', ['leases'], () =>
    within(async () => {
      const [one, two] = [await open(), await open()]
      const name = fresh()
      const held = await acquire(one, name, { label: 'the first, 世界' })
      assert.equal(await acquire(two, name), undefined)
      const { holders, waiters: waiting } = await two.leases!.inspect(name)
      assert.deepEqual([holders.length, waiting], [1, 0])
      assert.deepEqual([holders[0]!.holder, holders[0]!.label, holders[0]!.token], [held!.holder, 'the first, 世界', held!.token])
      assert.ok(holders[0]!.left > 0 && holders[0]!.left <= LONG)
      assert.equal(await one.leases!.renew(name, held!, LONG), true)
      assert.equal(await one.leases!.release(name, held!), true)
      assert.equal(await one.leases!.release(name, held!), false)
      assert.equal(await one.leases!.renew(name, held!, LONG), false)
      const next = await acquire(two, name)
      assert.ok(next)
      assert.equal(await one.leases!.release(name, held!), false)
      assert.equal((await one.leases!.inspect(name)).holders[0]!.holder, next.holder)
    }),
  )

  group('of many who ask at once, one has it at a time, and its fence grows', ['leases', 'fencing'], () =>
    within(async () => {
      const hubs = await Promise.all([open(), open(), open()])
      const name = fresh()
      const tokens: number[] = []
      let inside = 0
      await Promise.all(
        hubs.flatMap((hub) =>
          upTo(3).map(async () => {
            for (const _ of upTo(3)) {
              const held = await acquire(hub, name, { wait: LONG })
              assert.equal(++inside, 1)
              tokens.push(held!.token)
              await new Promise((resolve) => setImmediate(resolve))
              inside--
              assert.equal(await hub.leases!.release(name, held!), true)
            }
          }),
        ),
      )
      assert.equal(tokens.length, 27)
      for (const [index, token] of tokens.entries())
        if (index > 0) assert.ok(token > tokens[index - 1]!, `${token} after ${tokens[index - 1]}`)
    }),
  )

  group('who waits gets it when it is free; who gives up does not', ['leases'], () =>
    within(async () => {
      const [one, two] = [await open(), await open()]
      const name = fresh()
      const held = await acquire(one, name)
      assert.equal(await acquire(two, name, { wait: 50 }), undefined)
      const giveUp = new AbortController()
      const reason = new Error('no more')
      const given = assert.rejects(acquire(two, name, { wait: LONG }, giveUp.signal), (is) => is === reason)
      if (has('waiters')) await waiters(one, name, 1)
      giveUp.abort(reason)
      await given
      if (has('waiters')) await waiters(one, name, 0)
      const next = acquire(two, name, { wait: LONG })
      if (has('waiters')) await waiters(one, name, 1)
      await one.leases!.release(name, held!)
      assert.ok(await next)
    }),
  )

  group('waiters are served in order', ['leases', 'waiters'], () =>
    within(async () => {
      const hubs = await Promise.all([open(), open()])
      const name = fresh()
      let held = await acquire(hubs[0]!, name)
      const order: number[] = []
      const all: Promise<void>[] = []
      for (const index of upTo(5)) {
        const hub = hubs[index % 2]!
        all.push(
          acquire(hub, name, { wait: LONG }).then(async (lease) => {
            order.push(index)
            await hub.leases!.release(name, lease!)
          }),
        )
        await waiters(hub, name, index + 1)
      }
      // Who comes now stands behind them, also without waiting.
      await hubs[0]!.leases!.release(name, held!)
      await Promise.all(all)
      assert.deepEqual(order, upTo(5))
      held = await acquire(hubs[0]!, name)
      assert.ok(held)
    }),
  )

  group('what its killed holder had is free when its time is over, not before; renewing comes too late', ['leases'], () =>
    within(async () => {
      const hub = await open()
      const name = fresh()
      const child = spawn(process.execPath, [far, ...words, 'hold', name, '400'], { stdio: ['ignore', 'pipe', 'inherit'] })
      const [line] = await soon(
        new Promise<string[]>((resolve) => createInterface(child.stdout).once('line', (text) => resolve([text]))),
        'another process that holds the lease',
      )
      const before = JSON.parse(line!) as LeaseHolder
      const gone = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await gone
      const next = await acquire(hub, name, { wait: LONG })
      assert.ok(next)
      if (has('fencing')) assert.ok(next.token > before.token)
      assert.equal(await hub.leases!.renew(name, before, LONG), false)
      assert.equal(await hub.leases!.release(name, before), false)
      assert.deepEqual(
        (await hub.leases!.inspect(name)).holders.map(({ holder }) => holder),
        [next.holder],
      )
    }),
  )

  group('a lease that is renewed lasts; one whose time is over cannot be renewed', ['leases'], () =>
    within(async () => {
      const [one, two] = [await open(), await open()]
      const name = fresh()
      // A machine that is busy may need longer for the way to the renewal than a short lease lasts: then a longer one is tried.
      for (let ttl = 300; ; ttl *= 4) {
        const held = await acquire(one, name, { ttl })
        if (!(await one.leases!.renew(name, held!, LONG)) && ttl < LONG) continue
        const waiting = two.leases!.acquire(name, ask({ wait: ttl * 2 }), undefined)
        assert.equal(await soon(waiting, 'acquire()'), undefined)
        break
      }
      const short = fresh()
      const over = await acquire(one, short, { ttl: 100 })
      const seen = async (): Promise<void> => {
        while ((await two.leases!.inspect(short)).holders.length > 0);
      }
      await soon(seen(), 'the end of a lease')
      assert.equal(await one.leases!.renew(short, over!, LONG), false)
    }),
  )

  group('a lease of several permits has as many holders', ['leases', 'permits'], () =>
    within(async () => {
      const hubs = await Promise.all([open(), open()])
      const name = fresh()
      const tries = await Promise.all(upTo(8).map((index) => acquire(hubs[index % 2]!, name, { permits: 3 })))
      const held = tries.filter((each) => each !== undefined)
      assert.equal(held.length, 3)
      assert.equal(new Set(held.map(({ token }) => token)).size, 3)
      assert.equal((await hubs[0]!.leases!.inspect(name)).holders.length, 3)
      const next = acquire(hubs[0]!, name, { permits: 3, wait: LONG })
      assert.equal(await hubs[1]!.leases!.release(name, held[1]!), true)
      assert.ok(await next)
      assert.equal(await acquire(hubs[1]!, name, { permits: 3 }), undefined)
    }),
  )
}

export function testHubCounters({ group, within, open }: HubKit): void {
  group('counters count exactly', ['counters'], () =>
    within(async () => {
      const hubs = await Promise.all([open(), open(), open()])
      const name = fresh()
      assert.equal(await soon(hubs[0]!.counters!.add(name, 0), 'add()'), 0)
      const all = await Promise.all(hubs.flatMap((hub) => upTo(40).map(() => soon(hub.counters!.add(name, 1), 'add()'))))
      assert.deepEqual(
        all.toSorted((a, b) => a - b),
        upTo(120).map((index) => index + 1),
      )
      assert.equal(await hubs[1]!.counters!.add(name, -20), 100)
      assert.equal(await hubs[2]!.counters!.add(name, 0), 100)
    }),
  )
}
