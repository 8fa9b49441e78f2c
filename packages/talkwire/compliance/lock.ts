/**
 * What every lock promises (docs/sync), as tests:
 *
 *   testLock({ test, name: 'mutex', traits: { robust: true, … }, place, open, holder })
 *
 * `holder` starts another process, in whatever language, that does with the same lock what lines tell it.
 */
import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TalkwireError } from '../src/error.js'
import { letGo, stop } from './lock-pairs.js'
import type { Test } from './transport.js'

/** What is held. */
export interface Held extends Disposable, AsyncDisposable {
  release(): void
  /** Of locks with the trait `fence`. */
  readonly fence?: number
}

export interface LockWaitOptions {
  readonly timeout?: number
  readonly signal?: AbortSignal
  /** For locks with the trait `shared` only. */
  readonly shared?: boolean
}

export interface LockUnderTest {
  acquire(options?: LockWaitOptions): Promise<Held>
  acquireSync(options?: Pick<LockWaitOptions, 'timeout' | 'shared'>): Held
  tryAcquire(options?: Pick<LockWaitOptions, 'shared'>): Held | undefined
}

/** Each declaration is tested. */
export interface LockTraits {
  /** It is free again when its holder was killed. */
  readonly robust: boolean
  /** Who came first gets it first; needs `waiting`. */
  readonly fair: boolean
  /** `{ shared: true }` */
  readonly shared: boolean
  /** Each grant has a larger `fence` than the one before. */
  readonly fence: boolean
  /** Blocking the thread that has it is refused as DEADLOCK. */
  readonly knowsOwner: boolean
}

/**
 * Another process. It answers `try`, `acquire [MS]` and `acquireSync [MS]` with `acquired`, `busy` or an error's code; `release`
 * with `released`; with the trait `shared` also `tryShared`; `count FILE TIMES` reads the number in a file, adds one and writes
 * it, each time within the lock, and answers `counted`.
 */
export interface LockHolder {
  readonly pid: number
  tell(command: string): Promise<string>
  kill(signal?: NodeJS.Signals): Promise<void>
  /** Ends it in good order. */
  end(): Promise<void>
  /** Its scene went well: it lets go of what it has, and another scene may be given it by `holder`. Without this it is killed. */
  dismiss?(): Promise<void>
}

export interface LockSuite {
  readonly test: Test
  readonly name: string
  readonly traits: LockTraits
  /** A new one that nobody uses; `remove` takes away what is left of it. */
  readonly place: () => { readonly place: string; remove(): void }
  readonly open: (place: string) => LockUnderTest
  readonly holder: (place: string) => Promise<LockHolder>
  /** Whether the lock's own words tell that this pid has it. */
  readonly isHolder?: (place: string, pid: number) => boolean
  /** How many wait. */
  readonly waiting?: (place: string) => number
  /** Makes it forget that one has waited for long, which keeps others from it as fairness does. */
  readonly calm?: (place: string) => void
}

interface Scene {
  readonly suite: LockSuite
  readonly place: string
  readonly lock: LockUnderTest
  start(): Promise<LockHolder>
}

const hasCode =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof TalkwireError && error.code === code

export function testLock(suite: LockSuite): void {
  const { test, name, traits } = suite
  /** With everything that was started ended, whatever the body does. */
  const scene = (what: string, body: (scene: Scene) => Promise<void>): void =>
    void test(`${name}: ${what}`, async () => {
      const { place, remove } = suite.place()
      const holders: LockHolder[] = []
      const start = async (): Promise<LockHolder> => {
        const holder = await suite.holder(place)
        holders.push(holder)
        return holder
      }
      let well = false
      try {
        await body({ suite, place, lock: suite.open(place), start })
        well = true
      } finally {
        await letGo(holders, well)
        remove()
      }
    })
  scene('one at a time, whoever has it', excludes)
  scene('whoever waits gets it when it is let go of', handsOver)
  scene('a wait that is given up leaves nothing', givesUp)
  scene('tasks of a thread take turns in the order in which they came', takesTurns)
  scene('let go of by `using`, and twice', disposes)
  scene('four processes count within: nothing is lost', counts)
  scene(traits.robust ? 'a killed holder frees it' : 'a killed holder keeps it', dies)
  scene('a stopped holder keeps it', stops)
  scene(traits.knowsOwner ? 'blocking the thread that has it is refused' : 'blocking the thread that has it ends in time', blocks)
  if (suite.isHolder) scene('it tells who has it', tells)
  if (traits.shared) scene('shared: together, and never beside one who is alone', shares)
  if (traits.fence) scene('each grant has a larger fence', fences)
  if (traits.fair && suite.waiting) scene('who waits gets it before who comes when it is free', isFair)
}

async function excludes({ lock, start }: Scene): Promise<void> {
  const other = await start()
  assert.match(await other.tell('try'), /^acquired/)
  assert.equal(lock.tryAcquire(), undefined)
  await assert.rejects(lock.acquire({ timeout: 30 }), hasCode('DEADLINE_EXCEEDED'))
  await assert.rejects(lock.acquire({ timeout: 0 }), hasCode('DEADLINE_EXCEEDED'))
  assert.throws(() => lock.acquireSync({ timeout: 30 }), hasCode('DEADLINE_EXCEEDED'))
  await other.tell('release')
  const held = lock.tryAcquire()!
  assert.ok(held)
  for (const command of ['try', 'acquire 30', 'acquireSync 30'])
    assert.match(await other.tell(command), command === 'try' ? /^busy/ : /^DEADLINE_EXCEEDED/)
  held.release()
  assert.match(await other.tell('try'), /^acquired/)
}

async function handsOver({ lock, start }: Scene): Promise<void> {
  const other = await start()
  for (const how of ['acquire', 'acquireSync']) {
    const held = how === 'acquire' ? await lock.acquire() : lock.acquireSync()
    const wanting = other.tell(how)
    held.release()
    assert.match(await wanting, /^acquired/)
    const mine = lock.acquire()
    await other.tell('release')
    ;(await mine).release()
  }
}

async function givesUp({ lock, start }: Scene): Promise<void> {
  const other = await start()
  await other.tell('try')
  const stop = new AbortController()
  const wanting = lock.acquire({ signal: stop.signal })
  stop.abort(new Error('not any more'))
  await assert.rejects(wanting, /not any more/)
  await assert.rejects(lock.acquire({ signal: AbortSignal.abort(new Error('before')) }), /before/)
  await other.tell('release')
  assert.match(await other.tell('try'), /^acquired/, 'nobody took it for one who gave up')
}

async function takesTurns({ lock, start }: Scene): Promise<void> {
  const other = await start()
  const first = await lock.acquire()
  assert.equal(lock.tryAcquire(), undefined)
  const order: number[] = []
  const stop = new AbortController()
  const tasks = [1, 2, 3].map(async (task) => {
    using _ = await lock.acquire(task === 2 ? { signal: stop.signal } : {})
    order.push(task)
    assert.equal(await other.tell('try'), 'busy')
  })
  const late = assert.rejects(lock.acquire({ timeout: 5 }), hasCode('DEADLINE_EXCEEDED'))
  stop.abort(new Error('not any more'))
  await assert.rejects(tasks[1]!, /not any more/)
  await late
  first.release()
  await Promise.all([tasks[0], tasks[2]])
  assert.deepEqual(order, [1, 3])
  assert.match(await other.tell('try'), /^acquired/)
}

async function disposes({ lock, start }: Scene): Promise<void> {
  const other = await start()
  {
    using _ = await lock.acquire()
    assert.equal(await other.tell('try'), 'busy')
  }
  assert.match(await other.tell('try'), /^acquired/)
  await other.tell('release')
  {
    await using held = await lock.acquire()
    held.release()
    assert.match(await other.tell('try'), /^acquired/)
  }
  assert.equal(lock.tryAcquire(), undefined, 'what was let go of before is not let go of twice')
}

let files = 0

async function counts({ start }: Scene): Promise<void> {
  const file = join(tmpdir(), `tw-count-${process.pid}-${files++}`)
  writeFileSync(file, '0')
  try {
    const holders = await Promise.all([start(), start(), start(), start()])
    await Promise.all(holders.map((holder) => holder.tell(`count ${file} 100`)))
    assert.equal(readFileSync(file, 'utf8'), '400')
  } finally {
    rmSync(file)
  }
}

async function dies({ suite, lock, start }: Scene): Promise<void> {
  for (const how of ['before', 'while'] as const) {
    const other = await start()
    assert.match(await other.tell('try'), /^acquired/)
    const waiting = how === 'while' ? lock.acquire(suite.traits.robust ? {} : { timeout: 100 }) : undefined
    waiting?.catch(() => {})
    await other.kill()
    if (!suite.traits.robust) {
      await assert.rejects(waiting ?? lock.acquire({ timeout: 100 }), hasCode('DEADLINE_EXCEEDED'))
      return
    }
    const held = await (waiting ?? lock.acquire())
    ;(held as { repaired?(): void }).repaired?.()
    held.release()
    const again = lock.acquireSync()
    again.release()
  }
}

async function stops({ lock, start }: Scene): Promise<void> {
  const other = await start()
  assert.match(await other.tell('try'), /^acquired/)
  process.kill(other.pid, 'SIGSTOP')
  await assert.rejects(lock.acquire({ timeout: 150 }), hasCode('DEADLINE_EXCEEDED'))
  assert.throws(() => lock.acquireSync({ timeout: 150 }), hasCode('DEADLINE_EXCEEDED'))
  process.kill(other.pid, 'SIGCONT')
  const wanting = lock.acquire()
  await other.tell('release')
  ;(await wanting).release()
}

async function blocks({ suite, lock }: Scene): Promise<void> {
  const held = await lock.acquire()
  assert.throws(() => lock.acquireSync({ timeout: 50 }), hasCode(suite.traits.knowsOwner ? 'DEADLOCK' : 'DEADLINE_EXCEEDED'))
  held.release()
  lock.acquireSync().release()
}

async function tells({ suite, place, lock, start }: Scene): Promise<void> {
  const other = await start()
  assert.match(await other.tell('try'), /^acquired/)
  assert.equal(suite.isHolder!(place, other.pid), true)
  assert.equal(suite.isHolder!(place, process.pid), false)
  await other.tell('release')
  assert.equal(suite.isHolder!(place, other.pid), false)
  using _ = await lock.acquire()
  assert.equal(suite.isHolder!(place, process.pid), true)
}

async function shares({ lock, start }: Scene): Promise<void> {
  const other = await start()
  const shared = await lock.acquire({ shared: true })
  assert.match(await other.tell('tryShared'), /^acquired/)
  shared.release()
  assert.equal(lock.tryAcquire(), undefined)
  await assert.rejects(lock.acquire({ timeout: 30 }), hasCode('DEADLINE_EXCEEDED'))
  lock.acquireSync({ shared: true }).release()
  const alone = lock.acquire()
  await other.tell('release')
  const held = await alone
  assert.equal(await other.tell('tryShared'), 'busy')
  held.release()
  // Who waits behind one who wanted it shared, and gave up, gets what it wants itself.
  await other.tell('try')
  const stop = new AbortController()
  const gaveUp = assert.rejects(lock.acquire({ shared: true, signal: stop.signal }), /not any more/)
  const next = lock.acquire()
  stop.abort(new Error('not any more'))
  await gaveUp
  await other.tell('release')
  const last = await next
  assert.equal(await other.tell('tryShared'), 'busy')
  last.release()
}

async function fences({ lock, start }: Scene): Promise<void> {
  const other = await start()
  const seen: number[] = []
  for (let round = 0; round < 3; round++) {
    const held = await lock.acquire()
    seen.push(held.fence!)
    held.release()
    seen.push(Number((await other.tell('acquire')).split(' ')[1]))
    await other.tell('release')
  }
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  )
  assert.equal(new Set(seen).size, seen.length)
}

/** Those who wait are stopped, so that nothing but fairness keeps others from what is free. */
async function isFair({ suite, place, lock, start }: Scene): Promise<void> {
  const held = await lock.acquire()
  const holders = [await start(), await start()]
  const wanting: Promise<unknown>[] = []
  for (const [index, holder] of holders.entries()) {
    wanting.push(holder.tell('acquire').then(() => holder.tell('release')))
    while (suite.waiting!(place) <= index) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(holders.map(stop))
  suite.calm?.(place)
  held.release()
  assert.equal(lock.tryAcquire(), undefined, 'free, but promised')
  for (const { pid } of holders) process.kill(pid, 'SIGCONT')
  await Promise.all(wanting)
  lock.tryAcquire()!.release()
}
