/** Python's own `multiprocessing.shared_memory`, unmodified, and the Python client. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { fails } from '../helpers/expect.js'
import { eventually } from '../transports/fixtures/support.js'
import { exists, freshSegment, python, remove, startPython } from './actors.js'

const text = (memory: SharedMemory, length: number): string => Buffer.from(memory.bytes.subarray(0, length)).toString()

/** Python 3.13 can be told not to track; before, it tracks whatever it opens. */
const CAN_UNTRACK = spawnSync(python, ['-c', 'import sys; sys.exit(sys.version_info < (3, 13))']).status === 0

for (const how of ['tracked', 'untracked', 'talkwire'] as const) {
  test(`${how}: Python opens ours`, async () => {
    const name = freshSegment()
    using memory = SharedMemory.create(name, 100)
    memory.bytes.set(Buffer.from('node'))
    const other = await startPython(how)
    assert.equal(await other.tell(`open ${name}`), '100')
    assert.equal(await other.tell('read 4'), 'node')
    await other.tell('write python')
    assert.equal(text(memory, 6), 'python')
    await other.tell('close')
    await other.end()
    const tracked = how === 'tracked' || (how === 'untracked' && !CAN_UNTRACK)
    // The tracker is a process of its own, which takes the names away after Python has ended.
    if (tracked) await eventually(() => !exists(name), "Python's tracker takes the name away")
    // What was mapped stays, and stays ours.
    memory.bytes[0] = 0x50
    assert.equal(text(memory, 6), 'Python')
    if (tracked) assert.throws(() => SharedMemory.open(name), fails('NOT_FOUND'))
    else SharedMemory.open(name).close()
    remove(name)
  })

  test(`${how}: we open Python's`, async () => {
    const name = freshSegment()
    const other = await startPython(how)
    assert.equal(await other.tell(`create ${name} 64`), '64')
    await other.tell('write python')
    using memory = SharedMemory.open(name)
    assert.deepEqual([memory.size, text(memory, 6)], [64, 'python'])
    memory.bytes.set(Buffer.from('node'))
    assert.equal(await other.tell('read 6'), 'nodeon')
    assert.throws(() => SharedMemory.create(name, 64), fails('ALREADY_EXISTS'))
    assert.equal(await other.tell(`create ${name} 64`), how === 'talkwire' ? 'ALREADY_EXISTS' : 'FileExistsError')
    await other.tell('unlink')
    assert.ok(!exists(name))
    await other.tell('close')
    await other.end()
    assert.equal(text(memory, 6), 'nodeon')
  })
}

test("the Python client's memory neither goes with Python nor makes it complain", () => {
  const name = freshSegment()
  using memory = SharedMemory.create(name, 10)
  const script = [
    'import sys',
    'from talkwire.memory import SharedMemory',
    'with SharedMemory.open(sys.argv[1]) as memory:',
    '    memory.buf[:2] = b"hi"',
    'kept = SharedMemory.open(sys.argv[1])',
    'view = kept.buf[1:]',
    'kept.close()',
    'print(bytes(view[:1]))',
  ].join('\n')
  const { status, stdout, stderr } = spawnSync(python, ['-c', script, name], { encoding: 'utf8' })
  assert.deepEqual([status, stdout, stderr], [0, "b'i'\n", ''])
  assert.equal(text(memory, 2), 'hi')
  assert.ok(exists(name))
  memory.unlink()
})

test('what a Python process left by a crash is taken away here, and the other way round; what it closed is kept', async () => {
  const [name, kept, ours] = [freshSegment(), freshSegment(), freshSegment()]
  const other = await startPython('talkwire')
  await other.tell(`create ${kept} 10`)
  await other.tell('close')
  await other.tell(`create ${name} 10`)
  assert.throws(() => SharedMemory.create(name, 10), fails('ALREADY_EXISTS'))
  await other.running.kill()
  assert.throws(() => SharedMemory.open(name), fails('NOT_FOUND'))
  SharedMemory.open(kept).unlink()

  const script = 'import { SharedMemory } from "talkwire/memory"; SharedMemory.create(process.argv[1], 10); process.kill(process.pid, 9)'
  spawnSync(process.execPath, ['--input-type=module', '-e', script, ours])
  assert.ok(exists(ours))
  const next = await startPython('talkwire')
  assert.equal(await next.tell(`open ${ours}`), 'NOT_FOUND')
  assert.ok(!exists(ours))
  assert.equal(await next.tell(`create ${ours} 20`), '20')
  assert.equal(await next.tell('unlink'), 'unlinked')
  await next.end()
})

test('Python refuses the names that we refuse, and says why', () => {
  const script = [
    'from talkwire.memory import SharedMemory',
    'for name in ["", "/", "..", "../x", "a/b", "a\\0b", "a\\nb", "a\\x85", "a\\ud800", "sem.x", "x" * 201]:',
    '    try: SharedMemory.create(name, 1)',
    '    except Exception as error: assert error.code == "INVALID_ADDRESS", error',
    '    else: raise SystemExit(name)',
  ].join('\n')
  assert.equal(spawnSync(python, ['-c', script], { stdio: 'inherit' }).status, 0)
})
