import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { ownIdentity, processStat } from '../../src/discovery/identity.js'
import { SignalGroup } from '../../src/signals/group.js'
import { judge, membersOf, removeFile } from '../../src/signals/registry.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import { MAY_BE_OTHERS, NOBODY_ID } from '../helpers/other-user.js'
import { freshPath, place } from '../helpers/place.js'
import { fixture, python, run, type Running } from '../session/processes.js'

const signals = { up: 'SIGUSR1', down: 'SIGUSR2', level: 'SIGRTMIN+3' } as const
const inPython = fileURLToPath(new URL('../../../test/signals/fixtures/member.py', import.meta.url))
const nothing = { told: [], gone: [], unready: [], others: [], refused: [], full: [] }

interface Scene {
  readonly directory: string
  readonly group: SignalGroup<keyof typeof signals>
  member(how: 'node' | 'python' | 'c'): Promise<Running>
}

const inC: () => string = (() => {
  let program: string | undefined
  return () => (program ??= compileC(import.meta.url, 'member'))
})()

/** A registry of its own; its members end with the test. */
function scene(t: TestContext): Scene {
  const directory = freshPath('.members')
  const group = new SignalGroup(directory, { signals })
  const member = async (how: 'node' | 'python' | 'c'): Promise<Running> => {
    const started =
      how === 'node'
        ? fixture(import.meta.url, 'member.js', directory)
        : how === 'c'
          ? run(inC(), [directory])
          : run(python, [inPython, directory])
    t.after(() => started.kill())
    await started.line('ready')
    return started
  }
  return { directory, group, member }
}

/** When `times` of them have come. */
async function hears(member: Running, line: string, times = 1): Promise<void> {
  while (member.lines.filter((each) => each === line).length < times) await new Promise((resolve) => setTimeout(resolve, 1))
}

for (const how of ['node', 'python', ...(HAS_CC ? ['c' as const] : [])] as const) {
  test(`${how}: a member is told, until it dies; then its file is removed`, async (t) => {
    const { directory, group, member } = scene(t)
    const [a, b] = await Promise.all([member(how), member(how)])
    const sorted = (pids: readonly number[]): number[] => pids.toSorted((x, y) => x - y)
    const { told, ...rest } = group.notify('up')
    assert.deepEqual({ ...rest, told: sorted(told) }, { ...nothing, told: sorted([a.pid, b.pid]) })
    await Promise.all([hears(a, 'up'), hears(b, 'up')])
    group.notify('down')
    await Promise.all([hears(a, 'down'), hears(b, 'down')])
    await a.kill()
    assert.deepEqual(group.notify('up'), { ...nothing, told: [b.pid], gone: [a.pid] })
    assert.deepEqual(readdirSync(directory), [String(b.pid)])
    await hears(b, 'up', 2)
  })

  test(`${how}: a member may be told by kill(1) alone`, async (t) => {
    const { directory, member } = scene(t)
    const a = await member(how)
    const sent = spawn('bash', ['-c', 'for file in "$0"/*; do kill -USR1 "${file##*/}"; done', directory])
    await once(sent, 'exit')
    await hears(a, 'up')
  })
}

for (const how of ['node', ...(HAS_CC ? ['c' as const] : [])] as const)
  test(`${how}: values of real-time signals come all, and in order`, async (t) => {
    const { group, member } = scene(t)
    const a = await member(how)
    const values = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), ...Array.from({ length: 200 }, (_, i) => i + 10)]
    for (const value of values) assert.deepEqual(group.notify('level', value), { ...nothing, told: [a.pid] })
    await a.line('level 209')
    assert.deepEqual(
      a.lines.filter((line) => line.startsWith('level')),
      values.map((value) => `level ${value}`),
    )
  })

if (HAS_CC)
  test('a value that a C program queues for the whole process may pass a Node member by, and does not kill it', async (t) => {
    const { group, member } = scene(t)
    const [c, node] = await Promise.all([member('c'), member('node')])
    c.child.stdin!.write(`queue ${node.pid} 7\n`)
    await c.line('queued 0')
    group.notify('level', 8)
    await node.line('level 8')
    assert.equal(node.child.exitCode, null)
  })

if (HAS_CC)
  test('a full queue is told of', async (t) => {
    const { directory, group } = scene(t)
    const member = run('bash', ['-c', 'ulimit -i 0; exec "$0" "$1"', inC(), directory])
    t.after(() => member.kill())
    await member.line('ready')
    assert.deepEqual(group.notify('level', 1), { ...nothing, full: [member.pid] })
    assert.deepEqual(group.notify('up'), { ...nothing, told: [member.pid] })
    await hears(member, 'up')
  })

test('this process is a member, too; what comes together is one; a listener may go', async (t) => {
  const { directory, group } = scene(t)
  let ups = 0
  const off = group.on('up', () => ups++)
  assert.deepEqual(group.notify('up'), nothing, 'not joined')
  group.join()
  group.join()
  const { start, boot } = ownIdentity()
  assert.equal(readFileSync(join(directory, String(process.pid)), 'utf8'), `${start} ${boot}\n`)
  for (let i = 0; i < 5; i++) assert.deepEqual(group.notify('up').told, [process.pid])
  let downs = 0
  group.on('down', () => downs++)
  group.notify('down')
  // Being a member keeps no process alive.
  while (downs === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  assert.equal(ups, 1)
  off()
  group.leave()
  group.leave()
  assert.deepEqual([readdirSync(directory), group.notify('up')], [[], nothing])
})

test('a burst of 100,000 signals ends nobody, and the last word is heard', async (t) => {
  const { group, member } = scene(t)
  const a = await member('node')
  const burst = run(python, [
    '-c',
    'import os, signal, sys\nfor _ in range(100000): os.kill(int(sys.argv[1]), signal.SIGUSR1)',
    String(a.pid),
  ])
  await once(burst.child, 'exit')
  group.notify('down')
  await hears(a, 'down')
  const ups = a.lines.filter((line) => line === 'up').length
  t.diagnostic(`${ups} of 100,000 were told`)
  assert.ok(ups >= 1)
})

const CARELESS = `
import signal, sys
signal.signal(signal.SIGRTMIN + 3, signal.SIG_DFL)
print("ready", flush=True)
sys.stdin.readline()
print("still there")
`

test('a process that would die of it is not signalled', async (t) => {
  const { directory, group } = scene(t)
  // A child of a member ignores signals of real time, because Node does.
  const careless = run(python, ['-c', CARELESS])
  t.after(() => careless.kill())
  await careless.line('ready')
  writeFileSync(join(directory, String(careless.pid)), '')
  for (const name of ['up', 'down', 'level'] as const) assert.deepEqual(group.notify(name), { ...nothing, unready: [careless.pid] })
  careless.child.stdin!.write('\n')
  await careless.line('still there')
})

test('a pid that was given to another process is never signalled', async (t) => {
  const { directory, group, member } = scene(t)
  const a = await member('python')
  const path = join(directory, String(a.pid))
  // Its file says exactly whom it means.
  for (const text of [`1 ${ownIdentity().boot}`, `${processStat(a.pid)!.start} 00000000-0000-0000-0000-000000000000`]) {
    writeFileSync(path, `${text}\n`)
    assert.deepEqual(group.notify('up'), { ...nothing, gone: [a.pid] })
    assert.equal(existsSync(path), false)
  }
  // Its file only exists, and did before the process began.
  writeFileSync(path, '')
  utimesSync(path, new Date(), new Date(Date.now() - 3_600_000))
  assert.deepEqual(group.notify('up'), { ...nothing, others: [a.pid] })
  assert.equal(existsSync(path), true)
  writeFileSync(path, `${processStat(a.pid)!.start} ${ownIdentity().boot}\n`)
  assert.deepEqual(group.notify('down'), { ...nothing, told: [a.pid] })
  await hears(a, 'down')
  assert.deepEqual(
    a.lines.filter((line) => line === 'up'),
    [],
  )
})

test('a file that was judged once is judged the same when the clock was set since', (t) => {
  const { directory, group } = scene(t)
  group.join()
  writeFileSync(join(directory, String(process.pid)), 'whatever a script writes\n')
  const [member] = membersOf(directory)
  assert.equal(judge(member!), 'member')
  const { now } = Date
  t.after(() => void (Date.now = now))
  Date.now = () => now() + 86_400_000
  assert.equal(judge(member!), 'member')
  group.leave()
})

test('a zombie is gone', async (t) => {
  const { directory, group } = scene(t)
  const parent = run(python, [
    '-c',
    'import os, sys, time\npid = os.fork()\nif pid == 0: os._exit(0)\nos.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)\nprint("zombie", pid, flush=True)\ntime.sleep(600)',
  ])
  t.after(() => parent.kill())
  const pid = Number((await parent.line('zombie ')).split(' ')[1])
  writeFileSync(join(directory, String(pid)), '')
  assert.deepEqual(group.notify('up'), { ...nothing, gone: [pid] })
})

test('the file of a new process with the same pid is not removed in place of the old one', (t) => {
  const { directory } = scene(t)
  const path = join(directory, '4711')
  writeFileSync(path, 'old')
  const [old] = membersOf(directory)
  writeFileSync(`${path}.new`, 'new')
  utimesSync(`${path}.new`, 1, 1)
  removeFile({ ...old!, inode: old!.inode + 1n })
  assert.equal(readFileSync(path, 'utf8'), 'old')
  removeFile(old!)
  removeFile(old!)
  assert.deepEqual(readdirSync(directory), ['4711.new'])
})

test('who leaves or ends takes its file along; a signal that comes late kills nobody', async (t) => {
  const { directory, group, member } = scene(t)
  const [a, b] = await Promise.all([member('node'), member('node')])
  a.child.stdin!.write('leave\n')
  await a.line('done leave')
  assert.deepEqual(readdirSync(directory), [String(b.pid)])
  for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) process.kill(a.pid, signal)
  a.child.stdin!.write('still there\n')
  await a.line('done still there')
  assert.deepEqual(
    a.lines.filter((line) => line === 'up' || line === 'down'),
    [],
  )
  b.child.stdin!.write('exit\n')
  await once(b.child, 'exit')
  assert.deepEqual([readdirSync(directory), group.notify('up')], [[], nothing])
})

test('what is no plain file with a pid for a name is nobody', (t) => {
  const { directory, group } = scene(t)
  for (const name of ['0', '-1', '1x', '01', 'README', '99999999999', '.1']) writeFileSync(join(directory, name), '')
  mkdirSync(join(directory, String(process.pid)))
  symlinkSync(join(directory, 'README'), join(directory, '1'))
  assert.deepEqual(group.notify('up'), nothing)
})

test('wrong names, signals and values', (t) => {
  const { directory, group } = scene(t)
  assert.throws(() => group.notify('sideways' as never), TypeError)
  assert.throws(() => group.on('sideways' as never, () => {}), TypeError)
  assert.throws(() => group.notify('up', 1), RangeError)
  for (const value of [0.5, 2 ** 31, NaN]) assert.throws(() => group.notify('level', value), RangeError)
  for (const word of ['SIGKILL', 'SIGTERM', 'SIGRTMIN', 'SIGRTMIN+31', 'SIGRTMIN+-1'])
    assert.throws(() => new SignalGroup(directory, { signals: { a: word as never } }), TypeError)
  assert.throws(() => new SignalGroup(directory, { signals: { a: 'SIGUSR1', b: 'SIGUSR1' } }), TypeError)
})

test('a worker cannot join', async (t) => {
  const { directory } = scene(t)
  const worker = new Worker(new URL('fixtures/worker.js', import.meta.url), { workerData: directory })
  assert.deepEqual(await once(worker, 'message'), ['UNSUPPORTED'])
  assert.deepEqual(readdirSync(directory), [])
})

test('a registry that others can write is refused', (t) => {
  const open = freshPath()
  mkdirSync(open)
  chmodSync(open, 0o777)
  assert.throws(() => new SignalGroup(open), fails('PERMISSION_DENIED'))
  const link = freshPath()
  symlinkSync(scene(t).directory, link)
  assert.throws(() => new SignalGroup(link), fails('PERMISSION_DENIED'))
  assert.throws(() => new SignalGroup(freshPath('/a/b')), fails('PERMISSION_DENIED'))
})

if (MAY_BE_OTHERS)
  test("another user's registry is refused, and so are its signals by the kernel", async (t) => {
    const { directory, group, member } = scene(t)
    const victim = await member('node')
    chmodSync(place, 0o755)
    const theirs = freshPath()
    mkdirSync(theirs, { mode: 0o700 })
    chownSync(theirs, NOBODY_ID, NOBODY_ID)
    assert.throws(() => new SignalGroup(theirs), fails('PERMISSION_DENIED'))
    const other = fixture(import.meta.url, 'other-user.js', theirs, String(victim.pid))
    assert.deepEqual(JSON.parse(await other.line('{')), { ...nothing, refused: [victim.pid] })
    group.notify('down')
    await hears(victim, 'down')
    assert.equal(victim.lines.includes('up'), false)
    assert.deepEqual(readdirSync(directory), [String(victim.pid)])
  })
