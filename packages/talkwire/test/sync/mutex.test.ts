import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { stop } from '../../compliance/lock-pairs.js'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { Mutex } from '../../src/sync/mutex.js'
import { openLock } from '../../src/sync/place.js'
import { dequeue, enqueue } from '../../src/sync/queue.js'
import { self } from '../../src/memory/owner.js'
import { LOCK_BYTES, LONG, WORD } from '../../src/sync/lock-layout.js'
import { processStat } from '../../src/discovery/identity.js'
import { run } from '../session/processes.js'
import { script, startHolder } from './holders.js'

const PYTHON = process.env['TALKWIRE_PYTHON'] ?? 'python3'

/** A plain number that processes add to. */
function counter(): { memory: SharedMemory; name: string } {
  const name = `tw-test-${freshName()}`
  return { memory: SharedMemory.create(name, 64), name }
}

for (const how of ['sync', 'async'])
  for (const fair of ['', 'fair'])
    test(`four processes add to a plain number, ${how} ${fair}: nothing is lost`, async () => {
      const name = freshName()
      const { memory, name: segment } = counter()
      const times = fair ? 500 : 5000
      const holders = await Promise.all(Array.from({ length: 4 }, () => startHolder(name, fair)))
      await Promise.all(holders.map((holder) => holder.tell(`count ${segment} ${times} ${how}`)))
      assert.equal(memory.array(Int32Array)[0], 4 * times)
      for (const holder of holders) await holder.end()
      memory.unlink()
      memory.close()
    })

test('one at a time; the next one waits, and gets a larger fence', async () => {
  const name = freshName()
  const [a, b] = await Promise.all([startHolder(name), startHolder(name)])
  const first = await a.tell('try')
  assert.match(first, /^acquired \d+ false$/)
  assert.equal(await b.tell('try'), 'busy')
  assert.equal(await b.tell('acquire 30'), 'DEADLINE_EXCEEDED')
  assert.equal(await b.tell('acquireSync 30'), 'DEADLINE_EXCEEDED')
  const second = b.tell('acquire')
  await a.tell('release')
  assert.ok(Number((await second).split(' ')[1]) > Number(first.split(' ')[1]))
  const third = a.tell('acquireSync')
  await b.tell('release')
  assert.match(await third, /^acquired \d+ false$/)
  await a.tell('release')
  await Promise.all([a.end(), b.end()])
})

for (const how of ['acquire', 'acquireSync'])
  test(`${how}: the owner is killed: the next one has it, is told, and says when the data are whole`, async (t) => {
    const name = freshName()
    const times: number[] = []
    const b = await startHolder(name)
    for (let round = 0; round < 10; round++) {
      const a = await startHolder(name)
      await a.tell('acquire')
      const wanting = b.tell(how)
      const mutex = new Mutex(name)
      while (mutex.inspect().waiters.length === 0) await delay(1)
      // It is no news any more by the time it happens.
      await delay(round * 7)
      const start = performance.now()
      await a.kill()
      assert.match(await wanting, /^acquired \d+ true$/)
      times.push(performance.now() - start)
      await b.tell('release')
      assert.match(await b.tell('try'), /^acquired \d+ true$/, 'until it is repaired')
      await b.tell('repaired')
      await b.tell('release')
      assert.match(await b.tell('try'), /^acquired \d+ false$/)
      await b.tell('release')
    }
    t.diagnostic(`from the kill to the next owner: ${times.map((time) => time.toFixed(1)).join(', ')} ms`)
    await b.end()
  })

test('an owner that exits within is like one that was killed', async () => {
  const name = freshName()
  const [a, b] = await Promise.all([startHolder(name), startHolder(name)])
  await a.tell('acquire')
  const wanting = b.tell('acquire')
  a.running.child.stdin!.write('#9 exit\n')
  assert.match(await wanting, /^acquired \d+ true$/)
  await b.tell('repaired')
  await b.tell('release')
  await b.end()
})

test('an owner that is stopped keeps it', async () => {
  const name = freshName()
  const [a, b] = await Promise.all([startHolder(name), startHolder(name)])
  await a.tell('acquire')
  process.kill(a.pid, 'SIGSTOP')
  assert.equal(await b.tell('acquire 300'), 'DEADLINE_EXCEEDED')
  assert.equal(await b.tell('acquireSync 300'), 'DEADLINE_EXCEEDED')
  process.kill(a.pid, 'SIGCONT')
  const wanting = b.tell('acquire')
  await a.tell('release')
  assert.match(await wanting, /^acquired \d+ false$/)
  await b.tell('release')
  await Promise.all([a.end(), b.end()])
})

test('another process with the pid of the owner is not the owner', () => {
  using memory = SharedMemory.anonymous(LOCK_BYTES)
  const mutex = new Mutex({ memory })
  // This very pid, begun at another time.
  memory.array(BigInt64Array)[LONG.owner] = self() ^ 1n
  const lock = mutex.acquireSync({ timeout: 1000 })
  assert.equal(lock.abandoned, true)
  lock.release()
})

test('an owner that is a zombie is dead', async () => {
  const name = freshName()
  // Python starts the holder and never asks how it ended.
  const parent = run(PYTHON, [
    '-c',
    'import os, sys\nif os.fork() == 0: os.execv(sys.argv[1], sys.argv[1:])\nos.close(0)\nsys.stdin = None\nimport time\ntime.sleep(600)',
    process.execPath,
    script,
    name,
  ])
  await parent.line('ready')
  parent.child.stdin!.write('#1 acquire\n')
  await parent.line('#1 acquired')
  const mutex = new Mutex(name)
  const owner = mutex.inspect().holder!
  assert.notEqual(owner.pid, parent.pid)
  assert.equal(mutex.tryAcquire(), undefined)
  process.kill(owner.pid, 'SIGKILL')
  const lock = await mutex.acquire()
  assert.equal(lock.abandoned, true)
  assert.equal(processStat(owner.pid)?.state, 'Z')
  lock.repaired()
  lock.release()
  await parent.kill()
})

test('a worker that is terminated within frees it, and the process goes on', async () => {
  const name = freshName()
  const mutex = new Mutex(name)
  const worker = new Worker(new URL('fixtures/worker-holder.js', import.meta.url), { workerData: name })
  await once(worker, 'message')
  assert.equal(mutex.tryAcquire(), undefined)
  assert.notEqual(mutex.inspect().holder!.pid, process.pid)
  await worker.terminate()
  const lock = await mutex.acquire({ timeout: 10_000 })
  assert.equal(lock.abandoned, true)
  lock.repaired()
  lock.release()
  // What a terminated thread had open is open until the process ends, so that nobody takes the name away.
  Mutex.unlink(name)
  assert.throws(() => Mutex.unlink(name), fails('NOT_FOUND'))
})

test('tasks of one process take turns in the order in which they came; one may give up', async () => {
  const mutex = new Mutex(freshName())
  const first = await mutex.acquire()
  assert.throws(() => mutex.acquireSync(), fails('DEADLOCK'))
  assert.equal(mutex.tryAcquire(), undefined)
  const order: number[] = []
  const stop = new AbortController()
  const tasks = [1, 2, 3, 4].map(async (task) => {
    using _ = await mutex.acquire(task === 2 ? { signal: stop.signal } : {})
    order.push(task)
    await delay(1)
  })
  const late = assert.rejects(mutex.acquire({ timeout: 5 }), fails('DEADLINE_EXCEEDED'))
  stop.abort(new Error('not any more'))
  await assert.rejects(tasks[1]!, /not any more/)
  await late
  first.release()
  first.release()
  await Promise.all([tasks[0], tasks[2], tasks[3]])
  assert.deepEqual(order, [1, 3, 4])
  await assert.rejects(mutex.acquire({ signal: AbortSignal.abort(new Error('before')) }), /before/)
  assert.equal(mutex.inspect().holder, undefined)
  assert.throws(() => first.repaired(), fails('CLOSED'))
})

test('fair: who came first gets it first, also past somebody who comes when it is free', async () => {
  const name = freshName()
  const holders = await Promise.all(Array.from({ length: 3 }, () => startHolder(name, 'fair')))
  const mutex = new Mutex(name)
  const lock = await mutex.acquire()
  const wanting: Promise<unknown>[] = []
  for (const [index, holder] of holders.entries()) {
    wanting.push(holder.tell('acquire').then(() => holder.tell('release')))
    while (mutex.inspect().waiters.length <= index) await delay(1)
  }
  assert.deepEqual(
    mutex.inspect().waiters.map(({ pid }) => pid),
    holders.map(({ pid }) => pid),
  )
  // Stopped, so that nothing but fairness keeps this process from what is free.
  await Promise.all(holders.map(stop))
  Atomics.store(SharedMemory.open(`talkwire-${process.getuid!()}-mutex-${name}`).array(Int32Array), WORD.hungry, 0)
  lock.release()
  assert.equal(mutex.tryAcquire(), undefined, 'free, but promised')
  for (const { pid } of holders) process.kill(pid, 'SIGCONT')
  await Promise.all(wanting)
  for (const holder of holders) await holder.end()
  // The view keeps it in use for as long as this process lives.
  Mutex.unlink(name)
})

test('fair: one who waits and is not hungry yet goes before who comes when it is free; not fair: it does not', () => {
  for (const fair of [true, false]) {
    using memory = SharedMemory.anonymous(LOCK_BYTES)
    const mutex = new Mutex({ memory }, { fair })
    const block = openLock('mutex', { memory })
    // One who has come this moment, and never looks.
    const place = enqueue(block)!
    assert.equal(Atomics.load(block.word, WORD.hungry), 0)
    const passed = mutex.tryAcquire()
    assert.equal(passed === undefined, fair)
    passed?.release()
    dequeue(block, place)
    mutex.acquireSync().release()
  }
})

test('not fair: whoever has waited for long goes before all who come later', async () => {
  const name = freshName()
  const mutex = new Mutex(name)
  const lock = mutex.acquireSync()
  const holder = await startHolder(name)
  const wanting = holder.tell('acquire')
  const words = SharedMemory.open(`talkwire-${process.getuid!()}-mutex-${name}`).array(Int32Array)
  while (Atomics.load(words, WORD.hungry) === 0) await delay(1)
  lock.release()
  assert.equal(mutex.tryAcquire(), undefined)
  assert.match(await wanting, /^acquired/)
  await holder.tell('release')
  mutex.acquireSync().release()
  await holder.end()
  // `words` keeps it in use for as long as this process lives.
  Mutex.unlink(name)
})

test('inspect() tells who holds it, since when, and who waits', async () => {
  const name = freshName()
  const mutex = new Mutex(name)
  assert.deepEqual(mutex.inspect(), { holder: undefined, waiters: [], abandoned: false, fence: 0 })
  const holder = await startHolder(name)
  const before = Date.now()
  const fence = Number((await holder.tell('acquire')).split(' ')[1])
  const info = mutex.inspect()
  assert.deepEqual([info.fence, info.abandoned, info.waiters], [fence, false, []])
  assert.deepEqual([info.holder!.pid, info.holder!.label, info.holder!.alive], [holder.pid, 'a holder', true])
  assert.match(info.holder!.command, /holder\.js/)
  assert.ok(info.holder!.since.getTime() >= before - 1 && info.holder!.since.getTime() <= Date.now() + 1)
  await holder.kill()
  assert.deepEqual([mutex.inspect().holder!.alive, mutex.inspect().abandoned], [false, true])
  const lock = mutex.acquireSync()
  lock.repaired()
  lock.release()
})

test('a process with 16 waits pending ends at once when it wants to', async () => {
  const name = freshName()
  const mutex = new Mutex(name)
  const lock = mutex.acquireSync()
  const holder = await startHolder(name)
  for (let i = 1; i <= 16; i++) holder.running.child.stdin!.write(`#${i} start\n`)
  await holder.running.line('#16 ')
  while (mutex.inspect().waiters.length === 0) await delay(1)
  holder.running.child.stdin!.write('#17 exit\n')
  await once(holder.running.child, 'exit')
  assert.equal(holder.running.child.exitCode, 0)
  lock.release()
})

test('what is no mutex is refused, as are wrong names, places and labels', () => {
  using memory = SharedMemory.anonymous(2 * LOCK_BYTES)
  memory.array(Int32Array)[0] = 1
  assert.throws(() => new Mutex({ memory }), fails('INVALID_MEMORY'))
  const mutex = new Mutex({ memory, offset: LOCK_BYTES })
  mutex.acquireSync().release()
  assert.throws(() => new Mutex({ memory, offset: LOCK_BYTES + 8 }), RangeError)
  assert.throws(() => new Mutex({ memory, offset: 4 }), RangeError)
  assert.throws(() => new Mutex({} as never), TypeError)
  for (const name of ['', '../x', 'a/b', 'a\0b', 'x'.repeat(65)]) assert.throws(() => new Mutex(name), fails('INVALID_ADDRESS'))
  assert.throws(() => new Mutex({ memory, offset: LOCK_BYTES }, { label: 'x'.repeat(33) }), RangeError)
})
