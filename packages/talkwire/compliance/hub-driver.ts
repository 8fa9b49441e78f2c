/**
 * What every driver of the hub promises (src/hub/driver.ts), as tests against a real broker:
 *
 *   testHubDriver({ test, driver, module, address, nobody, restart })
 *
 * A trait that is declared is tested; one that is not is checked to be absent.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { TalkwireError } from '../src/error.js'
import type { HubDriver, HubTrait, OpenDriver, OpenOptions } from '../src/hub/driver.js'
import { soon } from './ends.js'
import { testHubLeases, testHubCounters } from './hub-leases.js'
import { testHubQueues } from './hub-queues.js'
import { fresh, hubKit, json, valueOf, type HubChangeSeen, type HubKit } from './hub-kit.js'
import { testHubRequests } from './hub-requests.js'
import { testHubState } from './hub-state.js'
import { testHubTopics } from './hub-topics.js'
import type { Test } from './transport.js'

export interface HubDriverSuite {
  readonly test: Test
  readonly driver: HubDriver
  /** The URL of the module that exports the driver under its name: other processes load it. */
  readonly module: string
  /** Of the broker. */
  readonly address: string
  /** Where none is. */
  readonly nobody: string
  /** One that is none. Default: the scheme alone. */
  readonly none?: string
  /** Ends the broker without a warning, and starts it anew with what it has on disk. Absent: nothing can be restarted. */
  readonly restart?: () => Promise<void>
}

export function testHubDriver(suite: HubDriverSuite): void {
  const { driver, test } = suite
  const has = (trait: HubTrait): boolean => driver.traits.includes(trait)
  const kit = hubKit(suite, has)
  const group = (name: string, traits: readonly HubTrait[], body: () => Promise<void>): void => {
    if (traits.every(has)) test(`${driver.name}: ${name}`, body)
  }
  const all: HubKit = { ...kit, group }
  testOpening(suite, all)
  testHubTopics(all)
  testHubRequests(all)
  testHubQueues(all)
  testHubState(all)
  testHubLeases(all)
  testHubCounters(all)
  testRestart(suite, all)
}

/** Which member stands for a trait. */
const MEMBERS: Partial<Record<HubTrait, (hub: OpenDriver) => unknown>> = {
  topics: (hub) => hub.topics,
  requests: (hub) => hub.requests,
  queues: (hub) => hub.queues,
  inspect: (hub) => hub.queues?.counts,
  purge: (hub) => hub.queues?.purge,
  dead: (hub) => hub.queues?.deadLetters,
  state: (hub) => hub.state,
  batch: (hub) => hub.state?.batch,
  list: (hub) => hub.state?.list,
  watch: (hub) => hub.state?.watch,
  leases: (hub) => hub.leases,
  counters: (hub) => hub.counters,
}

function testOpening(
  { driver, module, address, nobody, none = `${address.split(':')[0]}:`, test }: HubDriverSuite,
  { open, within, has, far }: HubKit,
): void {
  const options: OpenOptions = { credentials: undefined, onConnection() {}, onError() {}, signal: undefined }

  test(`${driver.name}: a member is there where its trait is declared, and nowhere else`, () =>
    within(async () => {
      const hub = await open()
      for (const [trait, member] of Object.entries(MEMBERS))
        assert.equal(member(hub) !== undefined, has(trait as HubTrait), `${trait} is declared or has a member, not both`)
    }))

  test(`${driver.name}: what is not declared is refused with UNSUPPORTED`, () =>
    within(async () => {
      const hub = await open()
      const refused = async (trait: HubTrait, needs: HubTrait, run: () => Promise<unknown>): Promise<void> => {
        if (has(trait) || !has(needs)) return
        await assert.rejects(
          soon(run(), trait),
          (reason: unknown) => reason instanceof TalkwireError && reason.code === 'UNSUPPORTED',
          trait,
        )
      }
      const sink = { message: () => true, lost() {}, ended() {} }
      const from = { from: 'new', group: undefined, buffer: 1 } as const
      const topic = fresh()
      await refused('retained', 'topics', () => hub.topics!.publish(topic, json(1), { retain: true }))
      await refused('headers', 'topics', () => hub.topics!.publish(topic, { ...json(1), headers: { a: 'b' } }, { retain: false }))
      await refused('wildcards', 'topics', () => hub.topics!.subscribe(`${topic}.*`, from, sink))
      await refused('replay', 'topics', () => hub.topics!.subscribe(topic, { ...from, from: 'all' }, sink))
      await refused('groups', 'topics', () => hub.topics!.subscribe(topic, { ...from, group: 'g' }, sink))
      const queue = fresh()
      if (has('queues'))
        await hub.queues!.declare(queue, { visibility: 30_000, attempts: has('attempts') ? 3 : 0, dedupe: has('dedupe') ? 1000 : 0 })
      const job = { ...json(1), delay: 0, priority: 0, key: undefined }
      await refused('delay', 'queues', () => hub.queues!.push(queue, [{ ...job, delay: 1000 }]))
      await refused('priority', 'queues', () => hub.queues!.push(queue, [{ ...job, priority: 9 }]))
      await refused('dedupe', 'queues', () => hub.queues!.push(queue, [{ ...job, key: 'k' }]))
      await refused('cas', 'state', () => hub.state!.set(fresh(), Buffer.from('1'), 'json', { revision: null }))
      await refused('ttl', 'state', () => hub.state!.set(fresh(), Buffer.from('1'), 'json', { ttl: 1000 }))
      const ask = { holder: fresh(), label: undefined, ttl: 1000, wait: 0, permits: 2 }
      await refused('permits', 'leases', () => hub.leases!.acquire(fresh(), ask, undefined))
    }))

  test(`${driver.name}: an address where nobody is fails with UNAVAILABLE, one that is none with INVALID_ADDRESS`, async () => {
    const code = (where: string): Promise<unknown> =>
      soon(driver.open(where, options), 'an error').then(
        () => 'opened',
        (reason: unknown) => (reason instanceof TalkwireError ? reason.code : reason),
      )
    assert.equal(await code(nobody), 'UNAVAILABLE')
    assert.equal(await code(none), 'INVALID_ADDRESS')
  })

  test(`${driver.name}: an aborted opening rejects with the signal's reason`, async () => {
    const reason = new Error('no more')
    await assert.rejects(soon(driver.open(address, { ...options, signal: AbortSignal.abort(reason) }), 'an error'), (is) => is === reason)
  })

  test(`${driver.name}: after close a process ends by itself`, async () => {
    const child = spawn(process.execPath, [far, module, driver.name, address, 'everything', fresh()], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
    const code = await soon(
      new Promise((resolve) => child.once('close', resolve)),
      () => `the end of a process that closed its hub; it said ${said}`,
    )
    assert.equal(code, 0, said)
  })

  test(`${driver.name}: closing twice is closing once; a closed hub says CLOSED`, () =>
    within(async () => {
      const hub = await open()
      await hub.close()
      await hub.close()
      const call: Promise<unknown> | undefined = hub.topics
        ? hub.topics.publish(fresh(), json(1), { retain: false })
        : (hub.queues?.push(fresh(), [{ ...json(1), delay: 0, priority: 0, key: undefined }]) ?? hub.state?.get('a'))
      if (call)
        await assert.rejects(soon(call, 'an error'), (reason: unknown) => reason instanceof TalkwireError && reason.code === 'CLOSED')
    }))
}

function testRestart({ driver, test, restart }: HubDriverSuite, { open, within, has, listener, worker, watcher }: HubKit): void {
  if (!restart) return
  test(`${driver.name}: after a restart of the broker everything goes on`, () =>
    within(async () => {
      const unhandled: unknown[] = []
      const note = (reason: unknown): void => void unhandled.push(reason)
      process.on('unhandledRejection', note)
      try {
        const seen: HubChangeSeen[] = []
        const changed = new Set<() => void>()
        const hub = await open({
          onConnection(change) {
            seen.push(change.state)
            for (const look of changed) look()
          },
        })
        const until = (state: HubChangeSeen): Promise<void> =>
          soon(
            new Promise((resolve) => {
              const look = (): void => {
                if (!seen.includes(state)) return
                changed.delete(look)
                resolve()
              }
              changed.add(look)
              look()
            }),
            `onConnection(${state}); it said ${seen.join()}`,
          )
        const [topic, queue, key] = [fresh(), fresh(), fresh()]
        const ear = has('topics') ? await listener(hub, topic) : undefined
        const work = has('queues') ? await worker(hub, queue) : undefined
        const pushed = fresh()
        if (has('durable')) {
          await hub.queues!.declare(pushed, work!.settings)
          await hub.queues!.push(
            pushed,
            Array.from({ length: 20 }, (_, index) => ({ ...json(index), delay: 0, priority: 0, key: undefined })),
          )
        }
        if (has('state')) await hub.state!.set(key, Buffer.from('"before"'), 'json', {})
        const watched = has('watch') ? await watcher(hub, key) : undefined
        work?.consumption.want(10)
        await restart()
        await until('lost')
        await until('connected')
        assert.deepEqual(seen, ['lost', 'connected'])
        // Published by somebody else, so that nothing but the subscription has to have come back.
        const other = await open()
        if (ear) {
          // Where nothing is kept, what was published before the subscription was back is lost, honestly: publish until one comes.
          let sent = 0
          do await other.topics!.publish(topic, json(sent++), { retain: false })
          while (!(has('replay') || (await ear.something())))
          await ear.until(1)
        }
        if (work) {
          await other.queues!.push(queue, [{ ...json('after'), delay: 0, priority: 0, key: undefined }])
          const [job] = await work.until(1)
          assert.equal(valueOf(job!), 'after')
          await job!.ack()
        }
        if (has('durable')) {
          const again = await worker(other, pushed)
          again.consumption.want(100)
          const jobs = await again.until(20)
          assert.deepEqual(
            jobs.map((each) => Number(valueOf(each))).toSorted((one, two) => one - two),
            Array.from({ length: 20 }, (_, index) => index),
          )
          await Promise.all(jobs.map((job) => job.ack()))
        }
        if (has('state')) {
          await other.state!.set(key, Buffer.from('"after"'), 'json', {})
          assert.equal(String((await hub.state!.get(key))?.value), '"after"')
          if (watched) await watched.until(key, '"after"')
        }
      } finally {
        process.off('unhandledRejection', note)
      }
      assert.deepEqual(unhandled, [])
    }))
}
