/** `inspect()` of every kind: who holds, since when, who waits. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { freshKey, freshName, freshPath } from '../helpers/place.js'
import {
  Barrier,
  Condition,
  Event,
  FileLock,
  LockFile,
  Mutex,
  Once,
  PosixSemaphore,
  RwLock,
  Semaphore,
  SystemVSemaphore,
} from '../../src/sync/index.js'
import { WORD } from '../../src/sync/lock-layout.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { run } from '../session/processes.js'
import { startLockHolder, startParty, startPartyIn, type Holder } from './holders.js'
import './tidy.js'

const several = (count: number, ...args: string[]): Promise<Holder[]> =>
  Promise.all(Array.from({ length: count }, () => startParty(...args)))
const end = (parties: readonly Holder[]): Promise<unknown> => Promise.all(parties.map((party) => party.end()))
const pids = (parties: readonly { readonly pid: number }[]): number[] => parties.map(({ pid }) => pid)

/** Looks until so many wait. */
async function untilWaiting<T extends { readonly waiters: readonly object[] }>(inspect: () => T, count: number): Promise<T> {
  for (;;) {
    const info = inspect()
    if (info.waiters.length === count) return info
    await delay(1)
  }
}

/** Since when is between two moments, both of this machine's clock. */
const isBetween = (since: Date, before: number): boolean => since.getTime() >= before - 1 && since.getTime() <= Date.now() + 1

test('rwlock: the writer with its label, each reader, who waits', async () => {
  const name = freshName()
  const lock = new RwLock(name, { label: 'the ledger' })
  assert.deepEqual(lock.inspect(), { holder: undefined, waiters: [], abandoned: false, fence: 0, readers: [] })
  const parties = await several(3, 'rwlock', name)
  const [a, b, c] = parties as [Holder, Holder, Holder]
  const start = Date.now()
  await a.tell('read')
  await b.tell('upgradable')
  const read = lock.inspect().readers
  assert.ok(read.every(({ since }) => isBetween(since, start)))
  assert.deepEqual(pids(read), [a.pid, b.pid])
  assert.ok(read.every(({ command, alive }) => /party\.js rwlock/.test(command) && alive))
  await a.tell('release')
  await b.tell('release')
  const before = Date.now()
  const writer = lock.acquireWriteSync()
  const holder = lock.inspect().holder!
  assert.deepEqual([holder.pid, holder.label, holder.alive, isBetween(holder.since, before)], [process.pid, 'the ledger', true, true])
  const writing = c.tell('write')
  const { waiters } = await untilWaiting(() => lock.inspect(), 1)
  assert.deepEqual([waiters[0]!.pid, isBetween(waiters[0]!.since, before)], [c.pid, true])
  writer.release()
  await writing
  assert.deepEqual([lock.inspect().holder!.pid, lock.inspect().holder!.label], [c.pid, ''], 'the label before is not its own')
  await c.kill()
  assert.deepEqual([lock.inspect().holder!.alive, lock.inspect().abandoned], [false, true])
  await end([a, b])
  const last = lock.acquireWriteSync()
  last.repaired()
  last.release()
})

test('semaphore: each permit, the dead among them, who waits', async () => {
  const name = freshName()
  const parties = await several(3, 'semaphore', name, '2')
  const [a, b, c] = parties as [Holder, Holder, Holder]
  const semaphore = new Semaphore(name, { permits: 2 })
  assert.deepEqual(semaphore.inspect(), { holders: [], waiters: [], available: 2, fence: 0 })
  const start = Date.now()
  await a.tell('acquire')
  await b.tell('acquire')
  const waiting = c.tell('acquire')
  const { holders, waiters, available, fence } = await untilWaiting(() => semaphore.inspect(), 1)
  assert.ok(holders.every(({ since }) => isBetween(since, start)))
  assert.deepEqual([pids(holders), pids(waiters), available], [[a.pid, b.pid], [c.pid], 0])
  assert.ok(fence > Date.now() * 1000 - 60e6)
  waiting.catch(() => {})
  await c.kill()
  await b.kill()
  const after = semaphore.inspect()
  assert.deepEqual([after.holders.map(({ alive }) => alive), after.waiters, after.available], [[true, false], [], 1])
  await a.end()
  const [first, second] = [semaphore.acquireSync(), semaphore.acquireSync()]
  first.release()
  second.release()
  const signals = freshName()
  assert.deepEqual(new Semaphore(signals, { permits: 3, signalling: true }).inspect(), { holders: [], waiters: [], available: 3, fence: 0 })
  Semaphore.unlink(signals)
})

test('condition, event, barrier: who waits, and since when', async () => {
  const name = freshName()
  const before = Date.now()
  const kinds = [
    { object: new Condition(name), words: ['condition', name], begin: ['acquire', 'wait'], free: 'notify' },
    { object: new Event(name), words: ['event', name], begin: ['wait'], free: 'set' },
    { object: new Barrier(name, 2), words: ['barrier', name, '2'], begin: ['wait'], free: 'wait' },
  ]
  for (const { object, words, begin, free } of kinds) {
    const [party, other] = (await several(2, ...words)) as [Holder, Holder]
    const inspect = (): ReturnType<typeof object.inspect> => object.inspect()
    assert.deepEqual(inspect().waiters, [])
    for (const word of begin.slice(0, -1)) await party.tell(word)
    const waiting = party.tell(begin.at(-1)!)
    const [waiter] = (await untilWaiting(inspect, 1)).waiters
    assert.deepEqual([waiter!.pid, isBetween(waiter!.since, before)], [party.pid, true])
    assert.match(waiter!.command, /party\.js/)
    await other.tell(free)
    await waiting
    await untilWaiting(inspect, 0)
    await end([party, other])
  }
  assert.equal(new Event(name).inspect().isSet, true)
  Event.unlink(name)
})

test('barrier: broken as soon as a party is dead', async () => {
  const name = freshName()
  const barrier = new Barrier(name, 2)
  assert.deepEqual(barrier.inspect(), { parties: 2, waiters: [], broken: false })
  const party = await startParty('barrier', name, '2')
  const waiting = party.tell('wait')
  waiting.catch(() => {})
  // It takes its place in the queue first, and is counted then.
  using memory = SharedMemory.open(`talkwire-${process.getuid!()}-barrier-${name}`)
  while (Atomics.load(memory.array(Int32Array), WORD.value) === 0) await delay(1)
  assert.deepEqual([barrier.inspect().waiters.length, barrier.inspect().broken], [1, false])
  await party.kill()
  assert.deepEqual([barrier.inspect().broken, barrier.isBroken], [true, false], 'nobody has looked yet')
  await barrier.reset()
  assert.equal(barrier.inspect().broken, false)
  // Its memory is still shown by an array here.
  Barrier.unlink(name)
})

test('once: who does it, who waits, and when it is done', async () => {
  const name = freshName()
  const object = new Once(name)
  const [a, b] = (await several(2, 'once', name)) as [Holder, Holder]
  const doing = a.tell('run hang')
  doing.catch(() => {})
  while (object.inspect().holder === undefined) await delay(1)
  const waiting = b.tell('run')
  const info = await untilWaiting(() => object.inspect(), 1)
  assert.deepEqual([info.holder!.pid, pids(info.waiters), info.isDone], [a.pid, [b.pid], false])
  await a.kill()
  await waiting
  assert.deepEqual([object.inspect().holder, object.inspect().isDone], [undefined, true])
  await b.end()
  Once.unlink(name)
})

for (const kind of ['flock', 'ofd'] as const)
  test(`file lock, ${kind}: who waits here and in other processes, and who blocks in the kernel`, async () => {
    const path = freshPath('.lock')
    const lock = new FileLock(path, { kind })
    assert.deepEqual(lock.inspect(), { holders: [], waiters: [] })
    const [a, b] = await Promise.all([startLockHolder(kind, path), startLockHolder(kind, path)])
    await a.tell('try')
    const waiting = b.tell('acquire')
    const { holders } = await untilWaiting(() => lock.inspect(), 1)
    assert.deepEqual([pids(holders), pids(lock.inspect().waiters)], [[a.pid], [b.pid]])
    // Nobody is promised to be the first.
    const own = lock.acquire().then((grant) => grant.release())
    await untilWaiting(() => lock.inspect(), 2)
    // Of an open file description lock the kernel does not tell who blocks for it.
    const foreign = kind === 'flock' ? spawn('flock', [path, 'true']) : undefined
    if (foreign) assert.ok(pids((await untilWaiting(() => lock.inspect(), 3)).waiters).includes(foreign.pid!))
    await a.tell('release')
    await waiting
    await b.tell('release')
    await own
    if (foreign && foreign.exitCode === null) await once(foreign, 'exit')
    assert.deepEqual(lock.inspect(), { holders: [], waiters: [] })
    await end([a, b])
  })

test('file lock: a thread that blocks is seen to wait, too', async () => {
  const path = freshPath('.lock')
  const lock = new FileLock(path)
  const held = lock.acquireSync()
  const holder = await startLockHolder('flock', path)
  const blocked = holder.tell('acquireSync')
  assert.deepEqual(pids((await untilWaiting(() => lock.inspect(), 1)).waiters), [holder.pid])
  held.release()
  await blocked
  await holder.end()
})

test('lock file: who waits', async () => {
  const path = freshPath('.lock')
  const lock = new LockFile(path)
  const held = lock.acquireSync()
  const holder = await startLockHolder('lock-file', path)
  const waiting = holder.tell('acquire')
  assert.deepEqual(pids((await untilWaiting(() => lock.inspect(), 1)).waiters), [holder.pid])
  held.release()
  await waiting
  assert.deepEqual(lock.inspect().waiters, [])
  await holder.end()
})

test('semaphores of the kernel: who has it open; who changed it last and when, how many block', async () => {
  const name = `tw-test-${freshName()}`
  const posix = new PosixSemaphore(name, { permits: 1 })
  const user = await startLockHolder('posix-semaphore', name)
  assert.deepEqual(pids(posix.inspect().users).sort(), [process.pid, user.pid].sort())
  await user.end()
  PosixSemaphore.unlink(name)
  assert.deepEqual(posix.inspect(), { value: 1, users: [] })

  const key = freshKey()
  const systemV = new SystemVSemaphore(key, { permits: 1 })
  try {
    assert.deepEqual(systemV.inspect().waiting, 0)
    const before = Date.now()
    const holder = await startLockHolder('system-v-semaphore', String(key))
    await holder.tell('try')
    const { value, last } = systemV.inspect()
    assert.deepEqual([value, last!.pid], [0, holder.pid])
    // The kernel counts seconds.
    assert.ok(last!.since.getTime() >= before - 1000 && last!.since.getTime() <= Date.now())
    assert.match(last!.command, /lock-holder\.js/)
    const blocked = run('python3', ['-c', BLOCK, String(systemV.id)])
    while (systemV.inspect().waiting === 0) await delay(1)
    await blocked.kill()
    await holder.end()
  } finally {
    SystemVSemaphore.remove(key)
  }
})

/** Waits for a permit in the kernel, as C programs do. */
const BLOCK = `
import ctypes, sys
operation = (ctypes.c_short * 3)(0, -1, 0)
ctypes.CDLL(None).semop(int(sys.argv[1]), operation, 1)
`

test('the label of a holder in Python, here and there', async () => {
  const name = freshName()
  const holder = await startPartyIn('Python', 'mutex', name, '1', 'the ledger')
  const mutex = new Mutex(name, { label: 'here' })
  await holder.tell('acquire')
  assert.equal(mutex.inspect().holder!.label, 'the ledger')
  await holder.tell('release')
  const held = mutex.acquireSync()
  const seen = JSON.parse(await holder.tell('inspect')) as { holder: { pid: number; label: string; since: number; alive: boolean } }
  const { since, ...told } = seen.holder
  assert.deepEqual(told, { pid: process.pid, label: 'here', alive: true })
  assert.equal(since, mutex.inspect().holder!.since.getTime())
  held.release()
  await holder.end()
})
