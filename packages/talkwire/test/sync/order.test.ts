/** `Mutex.ordered`: the second order of two locks is reported before anybody waits for ever. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TalkwireError } from '../../src/error.js'
import { Condition, Mutex } from '../../src/sync/index.js'
import { want, type Task } from '../../src/sync/order.js'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'

const mutexes = (count: number): Mutex[] => Array.from({ length: count }, () => new Mutex(freshName()))

/** Takes them one after the other as one task, and lets go of all. */
const inOrder = (...all: readonly Mutex[]): Promise<void> =>
  Mutex.ordered(async () => {
    const held = []
    try {
      for (const mutex of all) held.push(await mutex.acquire())
    } finally {
      for (const lock of held) lock.release()
    }
  })

test('the second order is refused, with both places, while nobody waits', async () => {
  const [a, b] = mutexes(2) as [Mutex, Mutex]
  await Mutex.ordered(async function transfer() {
    using _ = await a.acquire()
    using __ = await b.acquire()
  })
  const contradicts = Mutex.ordered(async function audit() {
    using _ = await b.acquire()
    using __ = await a.acquire()
  })
  await assert.rejects(contradicts, (reason: TalkwireError) => {
    assert.equal(reason.code, 'LOCK_ORDER')
    assert.match(
      reason.message,
      /is held, at audit \(file:.*order\.test\.js:\d+:\d+\); before, .* was held, at transfer \(file:.*order\.test\.js:\d+:\d+\)\. /,
    )
    return true
  })
  assert.deepEqual([a.inspect().holder, b.inspect().holder], [undefined, undefined])
  await inOrder(a, b)
})

test('also over a third one, and when it would block the thread', async () => {
  const [a, b, c] = mutexes(3) as [Mutex, Mutex, Mutex]
  await inOrder(a, b)
  await inOrder(b, c)
  await assert.rejects(inOrder(c, a), fails('LOCK_ORDER'))
  Mutex.ordered(() => {
    using _ = c.acquireSync()
    assert.throws(() => a.acquireSync(), fails('LOCK_ORDER'))
    using taken = a.tryAcquire()
    assert.ok(taken, 'who does not wait hangs nobody')
  })
})

test('two tasks that hold one each are no order, nor is what was let go of, nor what is not watched', async () => {
  const [a, b] = mutexes(2) as [Mutex, Mutex]
  const first = await Mutex.ordered(() => a.acquire())
  const second = await Mutex.ordered(() => b.acquire())
  first.release()
  second.release()
  await Mutex.ordered(async () => {
    ;(await a.acquire()).release()
    ;(await b.acquire()).release()
  })
  {
    using _ = await a.acquire()
    using __ = await b.acquire()
  }
  await inOrder(b, a)
  await assert.rejects(inOrder(a, b), fails('LOCK_ORDER'))
})

test('what was taken without waiting counts as held', async () => {
  const [a, b] = mutexes(2) as [Mutex, Mutex]
  await Mutex.ordered(async () => {
    using _ = a.tryAcquire()!
    using __ = await b.acquire()
  })
  await assert.rejects(inOrder(b, a), fails('LOCK_ORDER'))
})

test('the same one twice is a deadlock of one task', async () => {
  const [a] = mutexes(1) as [Mutex]
  await assert.rejects(inOrder(a, a), fails('DEADLOCK'))
  const condition = new Condition(freshName())
  // Not held while it waits; held again afterwards.
  await Mutex.ordered(async () => {
    using lock = await a.acquire()
    await assert.rejects(condition.wait(lock, { timeout: 1 }), fails('DEADLINE_EXCEEDED'))
    await assert.rejects(a.acquire(), fails('DEADLOCK'))
  })
})

test('it returns what the work returns, and throws what it throws', async () => {
  assert.equal(
    Mutex.ordered(() => 5),
    5,
  )
  await assert.rejects(
    Mutex.ordered(() => Promise.reject(new Error('in vain'))),
    /in vain/,
  )
})

test('what is remembered is bounded: what came first is forgotten', () => {
  const holding = (title: string): Task => [{ title, isHeld: () => true }]
  const prefix = freshName()
  want(holding(`${prefix} a`), `${prefix} b`)
  assert.throws(() => want(holding(`${prefix} b`), `${prefix} a`), fails('LOCK_ORDER'))
  for (let i = 0; i < 10_000; i++) want(holding(`${prefix} ${i}`), `${prefix} next`)
  want(holding(`${prefix} b`), `${prefix} a`)
  assert.throws(() => want(holding(`${prefix} next`), `${prefix} 9999`), fails('LOCK_ORDER'))
})
