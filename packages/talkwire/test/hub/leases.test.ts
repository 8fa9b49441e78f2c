/** A grant, over a driver that answers as it is told to: what the holder knows, and when. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TalkwireError } from '../../src/error.js'
import type { Base } from '../../src/hub/base.js'
import type { LeaseAsk } from '../../src/hub/driver.js'
import { lease } from '../../src/hub/leases.js'

const code = (wanted: string) => (reason: unknown) => reason instanceof TalkwireError && reason.code === wanted

/** `answers`: to each renewal in turn; then true for ever. `held`: nobody is granted anything. */
function hubOf(answers: (boolean | Error)[] = [], held = false) {
  const asks: LeaseAsk[] = []
  const errors: unknown[] = []
  const told = { renewals: 0, releases: 0 }
  const renewed: (() => void)[] = []
  const base = {
    need: async () => {},
    onError: (reason: unknown) => errors.push(reason),
    driver: {
      leases: {
        async acquire(_name: string, ask: LeaseAsk) {
          asks.push(ask)
          return held ? undefined : { token: asks.length, holder: ask.holder, label: undefined, left: ask.ttl }
        },
        async renew() {
          told.renewals++
          const answer = answers.shift() ?? true
          for (const resolve of renewed.splice(0)) resolve()
          if (answer instanceof Error) throw answer
          return answer
        },
        async release() {
          told.releases++
          return true
        },
      },
    },
  } as unknown as Base
  const renewal = (): Promise<void> => new Promise((resolve) => renewed.push(resolve))
  return { base, asks, errors, told, renewal }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })))

/** Timers of leases keep no process alive. */
async function alive(body: () => Promise<void>): Promise<void> {
  const timer = setInterval(() => {}, 1000)
  try {
    await body()
  } finally {
    clearInterval(timer)
  }
}

test('it is renewed again and again, also after a renewal that failed', () =>
  alive(async () => {
    const { base, errors, told, renewal } = hubOf([true, new Error('away'), true])
    const grant = await lease(base, 'l', { ttl: 3000 }).acquire()
    for (let count = 0; count < 4; count++) await renewal()
    assert.equal(grant.signal.aborted, false)
    assert.equal(errors.length, 1)
    assert.ok(await grant.release())
    assert.deepEqual([told.releases, told.renewals], [1, 4])
  }))

test('somebody else holds it: its signal says so, and nothing is released', () =>
  alive(async () => {
    const { base, told, renewal } = hubOf([false])
    const grant = await lease(base, 'l', { ttl: 60 }).acquire()
    await Promise.race([aborted(grant.signal), renewal().then(renewal)])
    assert.ok(code('NOT_FOUND')(grant.signal.reason))
    assert.equal(await grant.release(), false)
    assert.equal(told.releases, 0)
  }))

test('a process that stood still for longer than it held it has lost it, whatever the hub would say', () =>
  alive(async () => {
    const { base, renewal } = hubOf()
    const grant = await lease(base, 'l', { ttl: 60 }).acquire()
    for (const end = performance.now() + 120; performance.now() < end;);
    await Promise.race([aborted(grant.signal), renewal()])
    assert.ok(grant.signal.aborted)
  }))

test('each question is of somebody new, and a timeout is one', () =>
  alive(async () => {
    const { base, asks } = hubOf()
    const one = await lease(base, 'l', {}).tryAcquire()
    const two = await lease(base, 'l', {}).tryAcquire()
    assert.notEqual(asks[0]!.holder, asks[1]!.holder)
    await Promise.all([one!.release(), two!.release()])
    const { base: busy } = hubOf([], true)
    await assert.rejects(lease(busy, 'l', {}).acquire({ timeout: 5 }), code('DEADLINE_EXCEEDED'))
    assert.equal(await lease(busy, 'l', {}).tryAcquire(), undefined)
  }))
