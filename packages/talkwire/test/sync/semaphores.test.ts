import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { PosixSemaphore } from '../../src/sync/posix-semaphore.js'
import { SystemVSemaphore } from '../../src/sync/system-v-semaphore.js'
import { fails } from '../helpers/expect.js'
import { MAY_BE_OTHERS, NOBODY_ID } from '../helpers/other-user.js'
import { freshKey, freshName, freshPath, place } from '../helpers/place.js'
import { python, run } from '../session/processes.js'
import { startLockHolder } from './holders.js'

const names: string[] = []
/** Removed with the test, if it is still there. */
function name(): string {
  const fresh = `tw-test-${freshName()}`
  names.push(fresh)
  return fresh
}

test.after(() => {
  for (const each of names) rmSync(`/dev/shm/sem.${each}`, { force: true })
})

test('posix: it is made with its permits, or must be there; the name may have its slash', () => {
  const at = name()
  assert.throws(() => new PosixSemaphore(at), fails('NOT_FOUND'))
  const semaphore = new PosixSemaphore(at, { permits: 2 })
  assert.equal(statSync(`/dev/shm/sem.${at}`).mode & 0o777, 0o600)
  const same = new PosixSemaphore(`/${at}`, { permits: 9 })
  const grants = [semaphore.tryAcquire(), same.tryAcquire()]
  assert.deepEqual([semaphore.inspect().value, semaphore.tryAcquire()], [0, undefined])
  for (const grant of grants) grant!.release()
  assert.equal(same.value, 2)
  PosixSemaphore.unlink(at)
  assert.throws(() => PosixSemaphore.unlink(at), fails('NOT_FOUND'))
  assert.equal(semaphore.tryAcquire() !== undefined, true, 'who has it open keeps it')
})

test('posix: a signal from another process; as many permits as can be', async () => {
  const at = name()
  const ready = new PosixSemaphore(at, { permits: 0 })
  const waiting = ready.acquire()
  assert.equal(spawnSync(python, ['-c', POST, at]).status, 0)
  await waiting
  assert.equal(ready.value, 0)
  const full = new PosixSemaphore(name(), { permits: 2 ** 31 - 1 })
  assert.throws(() => full.post(), fails('LIMIT_EXCEEDED'))
})

const POST = `
import ctypes, sys
c = ctypes.CDLL(None)
c.sem_open.restype = ctypes.c_void_p
sys.exit(c.sem_post(ctypes.c_void_p(c.sem_open(f"/{sys.argv[1]}".encode(), 0))))
`

test("posix: Python's multiprocessing.Semaphore, by its name", async () => {
  const script = `
import multiprocessing, sys
semaphore = multiprocessing.get_context("spawn").Semaphore(1)
print("name", semaphore._semlock.name, flush=True)
for line in sys.stdin:
    word = line.strip()
    print(word, semaphore.acquire(block=False) if word == "take" else semaphore.release(), flush=True)
`
  const partner = run(python, ['-c', script])
  const semaphore = new PosixSemaphore((await partner.line('name ')).slice('name '.length))
  const grant = semaphore.acquireSync()
  partner.child.stdin!.write('take\n')
  assert.equal(await partner.line('take '), 'take False')
  const waiting = semaphore.acquire()
  grant.release()
  ;(await waiting).release()
  partner.child.stdin!.write('take\n')
  await partner.line('take True')
  assert.equal(semaphore.tryAcquire(), undefined)
  partner.child.stdin!.write('give\n')
  await partner.line('give ')
  semaphore.acquireSync().release()
  partner.child.stdin!.end()
  await once(partner.child, 'exit')
})

test('posix: what is no semaphore is not mapped; wrong names and numbers are refused', () => {
  const small = name()
  writeFileSync(`/dev/shm/sem.${small}`, 'x')
  assert.throws(() => new PosixSemaphore(small, { permits: 1 }), fails('INVALID_MEMORY'))
  const link = name()
  symlinkSync(freshPath(), `/dev/shm/sem.${link}`)
  assert.throws(() => new PosixSemaphore(link, { permits: 1 }), fails('INVALID_MEMORY'))
  for (const wrong of ['', '/', 'a/b', '../x', 'a\0b', 'x'.repeat(300)])
    assert.throws(() => new PosixSemaphore(wrong, { permits: 1 }), fails('INVALID_ADDRESS'))
  for (const permits of [-1, 0.5, 2 ** 31, NaN]) assert.throws(() => new PosixSemaphore(name(), { permits }), RangeError)
})

for (const [word, open, remove, at] of [
  ['posix-semaphore', (place: string) => new PosixSemaphore(place, { permits: 0 }), (place: string) => PosixSemaphore.unlink(place), name],
  [
    'system-v-semaphore',
    (place: string) => new SystemVSemaphore(Number(place), { permits: 0 }),
    (place: string) => SystemVSemaphore.remove(Number(place)),
    () => String(freshKey()),
  ],
] as const) {
  test(`${word}: a process with 16 waits pending ends at once when it wants to`, async () => {
    const where = at()
    open(where)
    const holder = await startLockHolder(word, where)
    for (let i = 0; i < 16; i++) await holder.tell('start')
    const ended = once(holder.running.child, 'exit')
    holder.running.child.stdin!.write('#99 exit\n')
    await ended
    assert.equal(holder.running.child.exitCode, 0)
    remove(where)
  })

  if (MAY_BE_OTHERS)
    test(`${word}: another user is refused`, async () => {
      const where = at()
      const mine = open(where)
      mine.post()
      // Its registry is its own.
      const runtime = freshPath()
      mkdirSync(runtime, { mode: 0o700 })
      chownSync(runtime, NOBODY_ID, NOBODY_ID)
      chmodSync(place, 0o755)
      const holder = await startLockHolder(word, where)
      const opened = await holder.tell(`drop ${runtime}`)
      assert.equal(opened === 'dropped' ? await holder.tell('acquire') : opened, 'PERMISSION_DENIED')
      await holder.kill()
      assert.equal(mine.value, 1)
      remove(where)
    })
}

test('system v: ipcs(1) lists it, and the key of a path is that of ftok(3)', () => {
  const path = freshPath()
  writeFileSync(path, '')
  const semaphore = new SystemVSemaphore({ path, project: 7 }, { permits: 3 })
  try {
    const key = spawnSync(python, [
      '-c',
      'import ctypes, sys; print(ctypes.CDLL(None).ftok(sys.argv[1].encode(), 7))',
      path,
    ]).stdout.toString()
    assert.equal(semaphore.key, Number(key))
    const listed = spawnSync('ipcs', ['-s', '-i', String(semaphore.id)]).stdout.toString()
    assert.match(listed, /mode=0600.*nsems = 1/s)
    assert.deepEqual([semaphore.inspect().value, semaphore.inspect().last!.pid], [3, process.pid])
  } finally {
    SystemVSemaphore.remove({ path, project: 7 })
  }
  assert.throws(() => SystemVSemaphore.remove({ path, project: 7 }), fails('NOT_FOUND'))
  assert.throws(() => new SystemVSemaphore({ path, project: 7 }), fails('NOT_FOUND'))
})

test('system v: removed while somebody waits', async () => {
  const key = freshKey()
  const semaphore = new SystemVSemaphore(key, { permits: 1 })
  const grant = semaphore.acquireSync()
  const waiting = [semaphore.acquire(), semaphore.acquire()]
  SystemVSemaphore.remove(key)
  for (const each of waiting) await assert.rejects(each, fails('NOT_FOUND'))
  assert.throws(() => semaphore.acquireSync(), fails('NOT_FOUND'))
  assert.throws(() => grant.release(), fails('NOT_FOUND'))
  assert.throws(() => semaphore.value, fails('NOT_FOUND'))
})

test('system v: what was taken is given back at the end; signals that were given stay', async () => {
  const key = freshKey()
  const semaphore = new SystemVSemaphore(key, { permits: 1 })
  try {
    const holder = await startLockHolder('system-v-semaphore', String(key))
    await holder.tell('try')
    await holder.end()
    assert.equal(semaphore.value, 1)
    const signaller = await startLockHolder('system-v-semaphore-without-undo', String(key))
    await signaller.tell('try')
    await signaller.tell('release')
    await signaller.tell('try')
    await signaller.end()
    assert.equal(semaphore.value, 0)
  } finally {
    SystemVSemaphore.remove(key)
  }
})

test('system v: as many permits as can be; wrong keys and numbers', () => {
  const key = freshKey()
  const full = new SystemVSemaphore(key, { permits: 32_767, undo: false })
  assert.throws(() => full.post(), fails('LIMIT_EXCEEDED'))
  SystemVSemaphore.remove(key)
  for (const wrong of [0, 1.5, 2 ** 31, NaN]) assert.throws(() => new SystemVSemaphore(wrong), RangeError)
  assert.throws(() => new SystemVSemaphore(freshKey(), { permits: 32_768 }), RangeError)
  assert.throws(() => new SystemVSemaphore({ path: freshPath(), project: 1 }), fails('NOT_FOUND'))
})

const maker = fileURLToPath(new URL('fixtures/semaphore-maker.js', import.meta.url))

test('system v: its maker is killed before each change: the next one finds it with its permits', async () => {
  for (let at = 1; ; at++) {
    const key = freshKey()
    const running = run(process.execPath, [maker, String(key), String(at)])
    await once(running.child, 'exit')
    assert.equal(new SystemVSemaphore(key, { permits: 3 }).value, 3, `change ${at}`)
    SystemVSemaphore.remove(key)
    if (running.child.signalCode === null) {
      assert.equal(at, 4)
      break
    }
  }
})

test('system v: eight make it at the same time, and take from it at once: it is made once', async () => {
  const key = freshKey()
  const holders = await Promise.all(Array.from({ length: 8 }, () => startLockHolder('system-v-semaphore', String(key))))
  const said = await Promise.all(holders.map((holder) => holder.tell('try')))
  assert.equal(said.filter((each) => each.startsWith('acquired')).length, 1)
  await Promise.all(holders.map((holder) => holder.end()))
  const semaphore = new SystemVSemaphore(key)
  while (semaphore.value !== 1) await delay(1)
  SystemVSemaphore.remove(key)
  assert.ok(!existsSync(`/dev/shm/sem.${key}`))
})
