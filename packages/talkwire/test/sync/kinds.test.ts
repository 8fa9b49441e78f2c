/** Semaphore, read-write lock, condition, barrier, event, once: between processes, with death in each. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { processStat } from '../../src/discovery/identity.js'
import { changes, countChanges } from '../../src/memory/store.js'
import { Barrier, Condition, Event, Mutex, Once, RwLock, Semaphore } from '../../src/sync/index.js'
import { startParty, type Holder } from './holders.js'

const several = (count: number, ...args: string[]): Promise<Holder[]> =>
  Promise.all(Array.from({ length: count }, () => startParty(...args)))
const endAll = (parties: readonly Holder[]): Promise<unknown> => Promise.all(parties.map((party) => party.end()))
/** Whether it is still waiting, after everything that could let it pass has had its time. */
async function waits(answer: Promise<string>): Promise<void> {
  const first = await Promise.race([answer, delay(80, 'waits')])
  assert.equal(first, 'waits')
}

test('semaphore: two at a time; the third gets what one gives back', async () => {
  const parties = await several(3, 'semaphore', freshName(), '2')
  const [a, b, c] = parties as [Holder, Holder, Holder]
  assert.match(await a.tell('try'), /^acquired/)
  assert.match(await b.tell('acquireSync'), /^acquired/)
  assert.equal(await c.tell('try'), 'busy')
  assert.equal(await c.tell('acquire 20'), 'DEADLINE_EXCEEDED')
  assert.equal(await c.tell('acquireSync 20'), 'DEADLINE_EXCEEDED')
  const third = c.tell('acquire')
  await waits(third)
  await b.tell('release')
  assert.equal(await third, 'acquired false')
  assert.equal(await b.tell('available'), '0')
  await a.tell('release')
  await c.tell('release')
  await endAll(parties)
})

test('semaphore: what a process had when it was killed comes back', async () => {
  const name = freshName()
  const [a, b] = (await several(2, 'semaphore', name, '2')) as [Holder, Holder]
  await a.tell('acquire')
  await a.tell('acquire')
  const wanting = b.tell('acquire')
  await waits(wanting)
  await a.kill()
  assert.equal(await wanting, 'acquired true')
  assert.equal(await b.tell('available'), '1')
  assert.equal(await b.tell('acquire'), 'acquired true')
  await b.tell('release')
  await b.tell('release')
  await b.end()
})

test('semaphore: tasks of one process, each permit once, larger fences', async () => {
  const semaphore = new Semaphore(freshName(), { permits: 3 })
  let within = 0
  let most = 0
  const fences: number[] = []
  await Promise.all(
    Array.from({ length: 50 }, async () => {
      using permit = await semaphore.acquire()
      fences.push(permit.fence)
      most = Math.max(most, ++within)
      await delay(1)
      within--
    }),
  )
  assert.equal(most, 3)
  assert.equal(new Set(fences).size, 50)
  assert.deepEqual(
    fences,
    fences.toSorted((x, y) => x - y),
  )
  assert.equal(semaphore.available, 3)
  assert.throws(() => semaphore.post(), TypeError)
})

test('semaphore: all who use it say the same', () => {
  const name = freshName()
  new Semaphore(name, { permits: 3 })
  assert.throws(() => new Semaphore(name, { permits: 4 }), fails('INVALID_MEMORY'))
  assert.throws(() => new Semaphore(name, { permits: 3, signalling: true }), fails('INVALID_MEMORY'))
  for (const permits of [0, 129, 1.5, Number.NaN]) assert.throws(() => new Semaphore(freshName(), { permits }), RangeError)
})

test('semaphore for signalling: anyone posts; what the dead took does not come back', async () => {
  const name = freshName()
  const [a, b] = (await several(2, 'signals', name, '0')) as [Holder, Holder]
  const wanting = b.tell('acquire')
  await waits(wanting)
  await a.tell('post')
  assert.equal(await wanting, 'acquired false')
  await a.tell('post')
  await a.tell('post')
  assert.equal(await b.tell('available'), '2')
  assert.match(await b.tell('acquire'), /^acquired/)
  await b.kill()
  assert.equal(await a.tell('available'), '1')
  assert.match(await a.tell('try'), /^acquired/)
  assert.equal(await a.tell('try'), 'busy')
  await a.end()
  Semaphore.unlink(name)
})

test('rwlock: many read, one writes; a writer who waits keeps new readers out', async () => {
  const name = freshName()
  const parties = await several(4, 'rwlock', name)
  const [a, b, w, c] = parties as [Holder, Holder, Holder, Holder]
  assert.equal(await a.tell('read'), 'acquired false')
  assert.equal(await b.tell('readSync'), 'acquired false')
  assert.equal(await w.tell('tryWrite'), 'busy')
  assert.equal(await w.tell('write 20'), 'DEADLINE_EXCEEDED')
  assert.equal(await w.tell('writeSync 20'), 'DEADLINE_EXCEEDED')
  const writing = w.tell('write')
  await waits(writing)
  const reading = c.tell('read')
  await waits(reading)
  assert.equal(await b.tell('tryRead'), 'busy')
  await a.tell('release')
  await waits(writing)
  await b.tell('release')
  assert.equal(await writing, 'acquired false')
  await waits(reading)
  assert.equal(new RwLock(name).inspect().holder!.pid, w.pid)
  await w.tell('release')
  assert.equal(await reading, 'acquired false')
  await c.tell('release')
  await endAll(parties)
})

test('rwlock: dead readers are reaped; a dead writer is told of, to readers and writers, until it is repaired', async () => {
  const name = freshName()
  const parties = await several(4, 'rwlock', name)
  const [a, b, c, d] = parties as [Holder, Holder, Holder, Holder]
  await a.tell('read')
  const writing = b.tell('write')
  await waits(writing)
  await a.kill()
  assert.equal(await writing, 'acquired false')
  const reading = c.tell('read')
  await waits(reading)
  await b.kill()
  assert.equal(await reading, 'acquired true')
  assert.equal(await d.tell('read'), 'acquired true')
  await d.tell('release')
  await c.tell('release')
  assert.equal(await d.tell('write'), 'acquired true')
  await d.tell('repaired')
  await d.tell('release')
  assert.equal(await c.tell('write'), 'acquired false')
  await c.tell('release')
  await Promise.all([c.end(), d.end()])
})

test('rwlock: one reader may become the writer, past those who want to write', async () => {
  const parties = await several(4, 'rwlock', freshName())
  const [u, other, w, r] = parties as [Holder, Holder, Holder, Holder]
  assert.equal(await u.tell('upgradable'), 'acquired false')
  assert.equal(await other.tell('upgradable 20'), 'DEADLINE_EXCEEDED')
  assert.equal(await r.tell('read'), 'acquired false')
  const writing = w.tell('write')
  await waits(writing)
  const upgrading = u.tell('upgrade')
  await waits(upgrading)
  await r.tell('release')
  assert.equal(await upgrading, 'acquired false')
  assert.equal(await r.tell('tryRead'), 'busy')
  await u.tell('release')
  await waits(writing)
  assert.equal(await r.tell('read'), 'acquired false', 'it is a reader again')
  await r.tell('release')
  await u.tell('release')
  assert.equal(await writing, 'acquired false')
  await w.tell('release')
  await endAll(parties)
})

test('rwlock: readers never see half of what a writer does', async () => {
  const name = freshName()
  const segment = `tw-test-${name}`
  using memory = SharedMemory.create(segment, 64)
  const parties = await several(4, 'rwlock', name)
  const answers = await Promise.all(parties.map((party, index) => party.tell(`${index % 2 ? 'readMany' : 'writeMany'} ${segment} 1000`)))
  assert.deepEqual(answers, ['torn 0', 'torn 0', 'torn 0', 'torn 0'])
  assert.equal(memory.array(Int32Array)[0], 2000)
  memory.unlink()
  await endAll(parties)
})

test('rwlock: a writer that comes while a reader is about to have it keeps it out', async () => {
  const parties = await several(2, 'rwlock', freshName())
  const [reader, writer] = parties as [Holder, Holder]
  const reading = reader.tell('tryReadStopped')
  while (processStat(reader.pid)?.state !== 'T') await delay(1)
  assert.equal(await writer.tell('tryWrite'), 'acquired false')
  process.kill(reader.pid, 'SIGCONT')
  assert.equal(await reading, 'busy')
  await writer.tell('release')
  assert.equal(await reader.tell('tryRead'), 'acquired false')
  await reader.tell('release')
  await endAll(parties)
})

test('rwlock: a thread that would wait for itself is told', async () => {
  const lock = new RwLock(freshName())
  const reader = await lock.acquireRead()
  assert.throws(() => lock.acquireWriteSync(), fails('DEADLOCK'))
  reader.release()
  const writer = lock.acquireWriteSync()
  assert.throws(() => lock.acquireReadSync(), fails('DEADLOCK'))
  const later = lock.acquireRead()
  writer.release()
  ;(await later).release()
})

test('rwlock: a writer who waits for one who may upgrade sleeps', async () => {
  const name = freshName()
  const lock = new RwLock(name)
  const upgradable = await lock.acquireUpgradable()
  const writing = lock.acquireWrite()
  countChanges(0)
  await delay(100)
  // A few a look. Who rings for itself makes thousands.
  assert.ok(changes() < 200, `${changes()} changes`)
  upgradable.release()
  ;(await writing).release()
})

test('rwlock: who has let go neither becomes the writer nor says that the data are whole', async () => {
  const name = freshName()
  const lock = new RwLock(name)
  const [reader, upgradable] = [await lock.acquireRead(), await lock.acquireUpgradable()]
  const pending = upgradable.upgrade()
  upgradable.release()
  await assert.rejects(pending, fails('CLOSED'))
  const other = await lock.acquireUpgradable({ timeout: 5000 })
  await assert.rejects(upgradable.upgrade(), fails('CLOSED'))
  reader.release()
  other.release()
  const writer = await lock.acquireWrite({ timeout: 5000 })
  writer.release()
  assert.throws(() => writer.repaired(), fails('CLOSED'))
})

test('condition: one, then all; the lock is held again', async () => {
  const name = freshName()
  const parties = await several(4, 'condition', name)
  const [a, b, c, n] = parties as [Holder, Holder, Holder, Holder]
  const waiting = []
  for (const party of [a, b, c]) {
    await party.tell('acquire')
    waiting.push(party.tell('wait'))
  }
  // The mutex is free: all three have let go.
  await n.tell('acquire')
  await n.tell('notify')
  await Promise.all(waiting.map(waits))
  await n.tell('release')
  assert.equal(await waiting[0]!, 'woken false')
  await waits(waiting[1]!)
  await n.tell('notifyAll')
  await Promise.all(waiting.slice(1).map(waits))
  await a.tell('release')
  const second = await Promise.race([waiting[1]!.then(() => b), waiting[2]!.then(() => c)])
  await second.tell('release')
  await Promise.all(waiting)
  await (second === b ? c : b).tell('release')
  await endAll(parties)
})

test('condition: who is not notified in time has the lock again; who died waiting is passed over; the owner dies: all look', async () => {
  const name = freshName()
  const parties = await several(4, 'condition', name)
  const [a, b, c, d] = parties as [Holder, Holder, Holder, Holder]
  await a.tell('acquire')
  assert.equal(await a.tell('wait 20'), 'DEADLINE_EXCEEDED')
  assert.notEqual(new Mutex(name).inspect().holder, undefined)
  await a.tell('release')
  await a.tell('acquire')
  const dead = a.tell('wait')
  dead.catch(() => {})
  await b.tell('acquire')
  const waiting = b.tell('wait')
  await waits(waiting)
  await a.kill()
  await c.tell('notify')
  assert.equal(await waiting, 'woken false')
  const again = b.tell('wait')
  await d.tell('acquire')
  await d.kill()
  assert.equal(await again, 'woken true')
  await b.tell('repaired')
  await b.tell('release')
  await Promise.all([b.end(), c.end()])
})

test('barrier: all or nobody, again and again', async () => {
  const parties = await several(3, 'barrier', freshName(), '3')
  // More arrivals than there are slots.
  for (let round = 0; round < 50; round++) {
    const [a, b] = [parties[0]!.tell('wait'), parties[1]!.tell('wait')]
    if (round === 0) await Promise.all([waits(a), waits(b)])
    assert.deepEqual(await Promise.all([a, b, parties[2]!.tell('wait')]), ['passed', 'passed', 'passed'])
  }
  await endAll(parties)
})

test('barrier: one dies, or gives up: it breaks for all, until it is reset', async () => {
  const name = freshName()
  const parties = await several(3, 'barrier', name, '3')
  const [a, b, c] = parties as [Holder, Holder, Holder]
  for (const breaks of [() => a.tell('wait 50').then((answer) => assert.equal(answer, 'DEADLINE_EXCEEDED')), () => a.kill()]) {
    const others = [b.tell('wait')]
    if (breaks.toString().includes('kill')) a.tell('wait').catch(() => {})
    await Promise.all(others.map(waits))
    await breaks()
    assert.deepEqual(await Promise.all(others), ['BROKEN_BARRIER'])
    assert.equal(await c.tell('wait'), 'BROKEN_BARRIER')
    await c.tell('reset')
  }
  const barrier = new Barrier(name, 3)
  assert.deepEqual(await Promise.all([b.tell('wait'), c.tell('wait'), barrier.wait().then(() => 'passed')]), ['passed', 'passed', 'passed'])
  assert.throws(() => new Barrier(name, 4), fails('INVALID_MEMORY'))
  await Promise.all([b.end(), c.end()])
})

test('barrier: whoever resets it waits for those who have not learned that it broke; they do not pass', async () => {
  const name = freshName()
  const [a, b] = (await several(2, 'barrier', name, '3')) as [Holder, Holder]
  const barrier = new Barrier(name, 3)
  const waiting = b.tell('wait')
  await waits(waiting)
  process.kill(b.pid, 'SIGSTOP')
  assert.equal(await a.tell('wait 50'), 'DEADLINE_EXCEEDED')
  assert.equal(barrier.isBroken, true)
  await assert.rejects(barrier.reset({ timeout: 50 }), fails('DEADLINE_EXCEEDED'))
  const resetting = barrier.reset({ timeout: 5000 })
  process.kill(b.pid, 'SIGCONT')
  assert.equal(await waiting, 'BROKEN_BARRIER')
  await resetting
  await barrier.reset()
  assert.deepEqual(await Promise.all([a.tell('wait'), b.tell('wait'), barrier.wait().then(() => 'passed')]), ['passed', 'passed', 'passed'])
  await endAll([a, b])
})

test('event: all pass while it is set', async () => {
  const name = freshName()
  const parties = await several(3, 'event', name)
  const [a, b, c] = parties as [Holder, Holder, Holder]
  const waiting = [a.tell('wait'), b.tell('waitSync')]
  await Promise.all(waiting.map(waits))
  await c.tell('set')
  assert.deepEqual(await Promise.all(waiting), ['set', 'set'])
  assert.equal(await a.tell('wait'), 'set')
  await c.tell('reset')
  assert.equal(await a.tell('wait 20'), 'DEADLINE_EXCEEDED')
  await endAll(parties)
  const event = new Event(name)
  assert.equal(event.isSet, false)
  Event.unlink(name)
})

test('once: the first does it, the others wait; who fails or dies leaves it to the next', async () => {
  const name = freshName()
  const parties = await several(4, 'once', name)
  const [a, b, c, d] = parties as [Holder, Holder, Holder, Holder]
  assert.match(await a.tell('run fail'), /in vain/)
  const hanging = b.tell('run hang')
  hanging.catch(() => {})
  await waits(hanging)
  const [third, fourth] = [c.tell('run'), d.tell('run')]
  await Promise.all([waits(third), waits(fourth)])
  await b.kill()
  assert.deepEqual((await Promise.all([third, fourth])).toSorted(), ['ran false', 'ran true'])
  assert.equal(await a.tell('run'), 'ran false')
  await Promise.all([a.end(), c.end(), d.end()])
  assert.equal(new Once(name).isDone, true)
  Once.unlink(name)
})

test('what is another kind is refused', () => {
  using memory = SharedMemory.anonymous(3072)
  new Condition({ memory })
  assert.throws(() => new Event({ memory }), fails('INVALID_MEMORY'))
  assert.throws(() => new Semaphore({ memory, offset: 8 }, { permits: 1 }), RangeError)
})
