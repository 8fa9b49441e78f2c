import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { makeFifo } from '../../src/kernel/fifo.js'
import { FileLock } from '../../src/sync/file-lock.js'
import { fails } from '../helpers/expect.js'
import { MAY_BE_OTHERS } from '../helpers/other-user.js'
import { descriptorsOf } from '../helpers/descriptors.js'
import { freshPath, place } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { lockHolder, start, startLockHolder, startPythonHolder } from './holders.js'

const kinds = ['flock', 'ofd'] as const

test('flock(1) and a FileLock exclude each other; its child keeps the lock, and is named', async () => {
  const path = freshPath('.lock')
  const lock = new FileLock(path)
  const held = lock.acquireSync()
  assert.equal(spawnSync('flock', ['--nonblock', path, 'true']).status, 1)
  assert.equal(spawnSync('flock', ['--nonblock', '--shared', path, 'true']).status, 1)
  held.release()
  // The lock belongs to the opening: the shell takes it, and leaves it to who comes after it.
  const shell = run('bash', ['-c', 'exec 9>"$0"; flock 9; echo taken; exec cat', path])
  await shell.line('taken')
  assert.equal(lock.tryAcquire(), undefined)
  assert.deepEqual(lock.inspect().holders, [{ pid: shell.pid, command: 'cat', shared: false }])
  const waiting = lock.acquire()
  await shell.kill()
  ;(await waiting).release()
  assert.deepEqual(lock.inspect().holders, [])
})

test("flock(2) and record locks do not meet; Python's lockf meets ofd, as documented", async () => {
  const path = freshPath('.lock')
  const lockf = await startPythonHolder('lockf', path)
  await lockf.tell('try')
  new FileLock(path).acquireSync().release()
  assert.equal(new FileLock(path, { kind: 'ofd' }).tryAcquire(), undefined)
  assert.equal(new FileLock(path, { kind: 'ofd' }).tryAcquire({ shared: true }), undefined)
  await lockf.end()
})

for (const kind of kinds) {
  test(`${kind}: closing another descriptor of the file does not lose it, as it would lose locks of POSIX`, async () => {
    const path = freshPath('.lock')
    const lock = new FileLock(path, { kind })
    using _ = lock.acquireSync()
    assert.equal(new FileLock(path, { kind }).tryAcquire(), undefined)
    const other = await startLockHolder(kind, path)
    assert.equal(await other.tell('try'), 'busy')
    await other.end()
  })

  test(`${kind}: a file that is replaced while somebody waits is waited for as it is now`, async () => {
    const path = freshPath('.lock')
    const [old, now] = await Promise.all([startLockHolder(kind, path), startLockHolder(kind, path)])
    await old.tell('try')
    const waiting = new FileLock(path, { kind }).acquire()
    writeFileSync(`${path}.new`, '')
    renameSync(`${path}.new`, path)
    const held = await waiting
    assert.equal(await now.tell('try'), 'busy')
    rmSync(path)
    assert.match(await now.tell('try'), /^acquired/, 'it is another file')
    held.release()
    await Promise.all([old.end(), now.end()])
  })

  test(`${kind}: a process with 16 waits pending ends at once when it wants to`, async () => {
    const path = freshPath('.lock')
    const lock = new FileLock(path, { kind })
    const held = lock.acquireSync()
    const holder = await startLockHolder(kind, path)
    for (let i = 0; i < 16; i++) await holder.tell('start')
    const ended = once(holder.running.child, 'exit')
    holder.running.child.stdin!.write('#99 exit\n')
    await ended
    assert.equal(holder.running.child.exitCode, 0)
    held.release()
  })

  test(`${kind}: a child of the holder inherits nothing`, async () => {
    const path = freshPath('.lock')
    using _ = new FileLock(path, { kind }).acquireSync()
    const child = spawn('sleep', ['600'], { stdio: 'ignore' })
    await once(child, 'spawn')
    assert.equal([...descriptorsOf(child.pid!).values()].includes(path), false)
    child.kill('SIGKILL')
    await once(child, 'exit')
  })

  test(`${kind}: nothing stays open, whatever came of it`, async () => {
    const path = freshPath('.lock')
    const lock = new FileLock(path, { kind })
    const open = (): number => readdirSync('/proc/self/fd').length
    await Promise.all([lock.acquire(), lock.acquire({ timeout: 5 }).catch(() => {})]).then(([held]) => held.release())
    const before = open()
    for (let i = 0; i < 20; i++) {
      using _ = await lock.acquire()
      assert.equal(lock.tryAcquire(), undefined)
      assert.throws(() => lock.acquireSync(), fails('DEADLOCK'))
      await assert.rejects(lock.acquire({ timeout: 1 }), fails('DEADLINE_EXCEEDED'))
    }
    assert.equal(open(), before)
  })
}

test('when no more files may be open, it says so; without a place for inotify it waits by the clock', async () => {
  const path = freshPath('.lock')
  const holder = await start('bash', '-c', 'ulimit -n 64; exec "$@"', 'bash', process.execPath, lockHolder, 'flock', path)
  await holder.tell('try')
  await holder.tell('release')
  await holder.tell('exhaust 0')
  assert.equal(await holder.tell('acquire'), 'LIMIT_EXCEEDED')
  assert.equal(await holder.tell('acquireSync'), 'LIMIT_EXCEEDED')
  await holder.kill()
  const second = await start('bash', '-c', 'ulimit -n 64; exec "$@"', 'bash', process.execPath, lockHolder, 'flock', path)
  const lock = new FileLock(path)
  for (const how of ['acquireSync', 'acquire']) {
    const held = lock.acquireSync()
    // The file itself, and nothing else.
    await second.tell('exhaust 1')
    const waiting = second.tell(how)
    held.release()
    assert.match(await waiting, /^acquired/)
    await second.tell('release')
  }
  await second.end()
})

test('the file is made for this user alone; what is no plain file is refused', async () => {
  const path = freshPath('.lock')
  new FileLock(path).acquireSync().release()
  assert.equal(statSync(path).mode & 0o777, 0o600)
  for (const kind of kinds) {
    const lock = (where: string): FileLock => new FileLock(where, { kind })
    assert.throws(() => lock(place).acquireSync(), fails('INVALID_ADDRESS'))
    const link = freshPath()
    symlinkSync(path, link)
    await assert.rejects(lock(link).acquire(), fails('INVALID_ADDRESS'))
    const fifo = freshPath()
    makeFifo(fifo)
    assert.throws(() => lock(fifo).tryAcquire(), fails('INVALID_ADDRESS'))
    assert.throws(() => lock(freshPath('/a/b')).tryAcquire(), fails('NOT_FOUND'))
    assert.ok(!existsSync(freshPath('/a')))
  }
  assert.throws(() => new FileLock(path, { kind: 'posix' as never }), TypeError)
})

if (MAY_BE_OTHERS)
  test("another user's file is refused; one that it may read is locked shared", async () => {
    const path = freshPath('.lock')
    chmodSync(place, 0o755)
    writeFileSync(path, '', { mode: 0o644 })
    const other = await startLockHolder('flock', path)
    assert.equal(await other.tell(`drop ${place}`), 'dropped')
    assert.equal(await other.tell('acquire'), 'PERMISSION_DENIED')
    assert.match(await other.tell('tryShared'), /^acquired/)
    assert.equal(new FileLock(path).tryAcquire(), undefined)
    await other.kill()
  })
