import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ownIdentity, processStat } from '../../src/discovery/identity.js'
import { tidy } from '../../src/sync/lock-file-steps.js'
import { LockFile } from '../../src/sync/lock-file.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { python, run, type Running } from '../session/processes.js'
import { lockHolder, start, startLockHolder } from './holders.js'

const sweep = fileURLToPath(new URL('fixtures/lock-file-sweep.js', import.meta.url))

/** A lock file in a folder of its own. */
function fresh(): { folder: string; path: string } {
  const folder = freshPath()
  mkdirSync(folder)
  return { folder, path: join(folder, 'bank.lock') }
}

let tokens = 0
/** What somebody left who had this very pid before us. */
function leave(path: string, text: object = {}): string {
  const token = (++tokens).toString(16).padStart(24, '0')
  const { host } = inspected(path)
  writeFileSync(path, JSON.stringify({ talkwire: 1, token, ...ownIdentity(), start: '1', host, since: 1, ...text }))
  return token
}

function inspected(path: string): { host: string } {
  const lock = new LockFile(`${path}.probe`)
  using _ = lock.acquireSync()
  return JSON.parse(readFileSync(lock.path, 'utf8')) as { host: string }
}

/** What may be there before: nothing, a dead one's lock, and one whose breaker died, too, with its claim. */
const scenes: Record<string, (path: string) => void> = {
  free: () => {},
  stale: (path) => void leave(path),
  'stale, and its breaker died': (path) => {
    const token = leave(path)
    leave(`${path}.other`)
    renameSync(`${path}.other`, join(path, '..', `.bank.lock.${token}.1`))
  },
}

/** Takes it and lets go; nothing but that remains. */
async function isWhole(path: string, folder: string): Promise<void> {
  const lock = new LockFile(path)
  const held = await lock.acquire({ timeout: 5000 })
  assert.equal(new LockFile(path).tryAcquire(), undefined)
  held.release()
  // An empty draft, of which nobody can know whose it is, goes later.
  const left = readdirSync(folder).filter((file) => !file.endsWith('.draft') || readFileSync(join(folder, file), 'utf8') !== '')
  assert.deepEqual(left, [])
}

for (const [name, prepare] of Object.entries(scenes))
  test(`${name}: killed before each change of the folder, the next one gets it`, async (t) => {
    for (let at = 1; ; at++) {
      const { folder, path } = fresh()
      prepare(path)
      const running = run(process.execPath, [sweep, path, String(at), 'SIGKILL'])
      const ended = once(running.child, 'exit')
      running.child.stdin!.on('error', () => {})
      running.child.stdin!.write('\n')
      await ended
      await isWhole(path, folder)
      if (running.child.signalCode === null) {
        t.diagnostic(running.lines.join(', '))
        assert.ok(at > 5)
        break
      }
    }
  })

/** Waits until it is stopped, or has said what came of it. */
async function stoppedOrDone(running: Running): Promise<boolean> {
  for (;;) {
    if (processStat(running.pid)?.state === 'T') return true
    if (running.lines.length > 0) return false
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

/** What others do while one is stopped in the middle. Returns whether somebody holds it when that one goes on. */
const others: Record<string, (path: string) => Promise<{ held: boolean; end(): void }>> = {
  'another takes it and holds it': async (path) => {
    const held = new LockFile(path).tryAcquire()
    return { held: held !== undefined, end: () => held?.release() }
  },
  'another takes it and lets go, a third one makes it anew': async (path) => {
    new LockFile(path).tryAcquire()?.release()
    const held = new LockFile(path).tryAcquire()
    return { held: held !== undefined, end: () => held?.release() }
  },
  'another takes it and dies': async (path) => {
    const other = await startLockHolder('lock-file', path)
    const said = await other.tell('try')
    await other.kill()
    const held = said.startsWith('acquired') ? new LockFile(path).tryAcquire() : undefined
    return { held: held !== undefined, end: () => held?.release() }
  },
}

for (const [name, prepare] of Object.entries(scenes))
  for (const [what, act] of Object.entries(others))
    test(`${name}: stopped before each change while ${what}: never two`, async () => {
      for (let at = 1; ; at++) {
        const { folder, path } = fresh()
        prepare(path)
        const running = run(process.execPath, [sweep, path, String(at), 'SIGSTOP'])
        const stopped = await stoppedOrDone(running)
        const other = stopped ? await act(path) : undefined
        if (stopped) process.kill(running.pid, 'SIGCONT')
        const ended = once(running.child, 'exit')
        const acquired = await running.line('')
        if (other?.held) assert.equal(acquired, 'busy', `change ${at}`)
        if (other && !other.held) assert.match(acquired, /^acquired/, `change ${at}: it kept others out, so it has it`)
        other?.end()
        running.child.stdin!.write('\n')
        await ended
        await isWhole(path, folder)
        if (!stopped) break
      }
    })

test('who takes it from a dead one is told; who gets it in good order is not', async () => {
  const { path } = fresh()
  const lock = new LockFile(path)
  const other = await startLockHolder('lock-file', path)
  await other.tell('try')
  const waiting = lock.acquire()
  await other.kill()
  const held = await waiting
  assert.equal(held.abandoned, true)
  held.release()
  assert.equal((await lock.acquire()).abandoned, false)
})

test('a pid that was given to another process is not the owner', () => {
  const { path } = fresh()
  leave(path)
  const lock = new LockFile(path)
  assert.equal(lock.inspect().holder!.alive, false)
  assert.equal(lock.acquireSync({ timeout: 0 }).abandoned, true)
})

test('of another machine, of another pid namespace, and of who wrote no identity nobody can know whether they live', () => {
  for (const text of [{ host: 'elsewhere' }, { pidns: 'pid:[1]' }]) {
    const { path } = fresh()
    leave(path, text)
    assert.equal(new LockFile(path).tryAcquire(), undefined)
    assert.equal(new LockFile(path).inspect().holder!.alive, true)
  }
  for (const content of ['', '4711\n', '{"talkwire":1,', '[]', 'null', '{"talkwire":1,"token":"../../x","pid":1}', 'x'.repeat(5000)]) {
    const { path } = fresh()
    writeFileSync(path, content)
    assert.equal(new LockFile(path).tryAcquire(), undefined)
    assert.deepEqual(new LockFile(path).inspect(), { holder: { alive: true }, waiters: [] })
  }
})

test('a symbolic link in its place is a lock of somebody unknown, and is not followed', () => {
  const { folder, path } = fresh()
  symlinkSync(join(folder, 'target'), path)
  assert.equal(new LockFile(path).tryAcquire(), undefined)
  assert.ok(!existsSync(join(folder, 'target')))
})

test('a shell script takes part by exclusive creation', async () => {
  const { path } = fresh()
  const script = 'set -o noclobber; : > "$0"'
  const lock = new LockFile(path)
  const held = lock.acquireSync()
  assert.notEqual(spawnSync('bash', ['-c', script, path], { stdio: 'ignore' }).status, 0)
  held.release()
  assert.equal(spawnSync('bash', ['-c', script, path]).status, 0)
  assert.equal(lock.tryAcquire(), undefined)
  const waiting = lock.acquire()
  spawnSync('rm', [path])
  ;(await waiting).release()
})

test('it needs no native code', async () => {
  const { path } = fresh()
  const withoutKoffi = fileURLToPath(new URL('../../../test/transports/fixtures/without-koffi.cjs', import.meta.url))
  const holder = await start(process.execPath, '--require', withoutKoffi, lockHolder, 'lock-file', path)
  const lock = new LockFile(path)
  const held = lock.acquireSync()
  assert.equal(await holder.tell('acquire 20'), 'DEADLINE_EXCEEDED')
  for (const how of ['acquire', 'acquireSync']) {
    const wanting = holder.tell(how)
    if (how === 'acquire') held.release()
    assert.match(await wanting, /^acquired/)
    await holder.tell('release')
  }
  await holder.end()
})

test('a missing folder and a folder in its place are errors that say so', () => {
  assert.throws(() => new LockFile(freshPath('/a/b')).tryAcquire(), fails('NOT_FOUND'))
  const { folder } = fresh()
  assert.equal(new LockFile(folder).tryAcquire(), undefined)
})

const IN_PYTHON = `
import json, os, socket, sys
path, mine = sys.argv[1], sys.argv[1] + ".mine"
text = lambda name: open(name).read()
try:
    machine = text("/etc/machine-id").strip()
except OSError:
    machine = ""
holder = {
    "talkwire": 1, "token": os.urandom(12).hex(), "pid": os.getpid(), "since": 1,
    "start": text("/proc/self/stat").rpartition(")")[2].split()[19],
    "boot": text("/proc/sys/kernel/random/boot_id").strip(), "pidns": os.readlink("/proc/self/ns/pid"),
    "host": f"{socket.gethostname()} {machine}".strip(),
}
with open(mine, "x") as file:
    json.dump(holder, file)
os.link(mine, path)
os.unlink(mine)
print("held", flush=True)
sys.stdin.readline()
`

test('a Python program that writes who it is has it, and loses it when it dies', async () => {
  const { path } = fresh()
  const lock = new LockFile(path)
  const partner = run(python, ['-c', IN_PYTHON, path])
  await partner.line('held')
  assert.equal(lock.tryAcquire(), undefined)
  assert.deepEqual([lock.inspect().holder!.pid, lock.inspect().holder!.alive], [partner.pid, true])
  const waiting = lock.acquire()
  await partner.kill()
  assert.equal((await waiting).abandoned, true)
})

test('a lock file that somebody made anew after ours was removed by hand stays', () => {
  const { path } = fresh()
  const held = new LockFile(path).acquireSync()
  rmSync(path)
  writeFileSync(path, 'somebody')
  held.release()
  assert.equal(readFileSync(path, 'utf8'), 'somebody')
})

test('who tidies late, when the lock is stale again, leaves the claims on it, and removes those on what is gone', () => {
  const { folder, path } = fresh()
  const claims = [leave(`${path}.a`), leave(path)].map((token) => `.bank.lock.${token}.1`)
  rmSync(`${path}.a`)
  for (const claim of claims) writeFileSync(join(folder, claim), '')
  tidy(path)
  assert.deepEqual(readdirSync(folder).toSorted(), [claims[1], 'bank.lock'])
})
