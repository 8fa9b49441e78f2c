// What tests leave behind in the kernel is found, and told from what others have there.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'node:test'
import { followRun, pidsIn } from '../lib/leftovers.mjs'
import { runFile } from '../lib/node-tests.mjs'
import { privateFolder } from '../lib/private-folder.mjs'
import { root } from '../lib/repository.mjs'

const dist = path.join(root, 'packages/talkwire/dist/src')
const here = existsSync('/dev/shm') && existsSync('/proc/sysvipc')

/** One of each, in the way that tests name them. */
const LEAVES = `
import test from 'node:test'
import { writeFileSync } from 'node:fs'
import { SharedMemory } from '${dist}/memory/index.js'
import { PosixQueue, SystemVQueue } from '${dist}/queues/index.js'
import { Mutex, PosixSemaphore, SystemVSemaphore } from '${dist}/sync/index.js'
test('leaves', () => {
  const name = \`t\${process.pid}-1\`
  SharedMemory.create('tw-test-' + name, 10, { persist: true }).close()
  new PosixSemaphore('tw-test-' + name, { permits: 1 })
  PosixQueue.create('tw-test-' + name, { messages: 1, messageSize: 64 }).close()
  SystemVQueue.create(process.pid * 500 + 7)
  new SystemVSemaphore(process.pid * 500 + 8, { permits: 1 })
  console.log('left by ' + process.pid)
})
`

/** @param {import('node:test').TestContext} t @param {string} code */
function testFile(t, code) {
  const folder = privateFolder()
  t.after(folder.remove)
  const file = path.join(folder.path, 'a.test.mjs')
  writeFileSync(file, code)
  return file
}

/** @param {import('node:test').TestContext} t */
function follow(t) {
  const run = followRun()
  t.after(run.end)
  return run
}

if (here)
  test('each thing that a test left is named, with the file that ran', async (t) => {
    const run = follow(t)
    const file = testFile(t, LEAVES)
    const { output, passed } = await runFile(file, process.env, run)
    assert.equal(passed, 1, output)
    const pid = Number(/left by (\d+)/.exec(output)?.[1])
    t.after(() => takeAway(pid))
    const left = run.left()
    assert.deepEqual([...new Set(left.map(({ of }) => of))], [path.relative(root, file)])
    const what = left.map((each) => each.what).join('\n')
    const expected = [`/dev/shm/tw-test-t${pid}-1`, `/dev/shm/sem.tw-test-t${pid}-1`, `key ${pid * 500 + 7}`, `key ${pid * 500 + 8}`]
    if (process.getuid?.() === 0 || existsSync('/dev/mqueue')) expected.push(`queue /tw-test-t${pid}-1`)
    for (const each of expected) assert.ok(what.includes(each), `${each} is not in ${what}`)
    assert.equal(left.length, expected.length, what)
    // For the next run it was there before.
    assert.deepEqual(follow(t).left(), [])
  })

if (here)
  test('what has nobody’s id is of whose process maps it; what another process makes is not of the run', async (t) => {
    const run = follow(t)
    const [mine, others] = ['tw-nobody-mine', 'tw-nobody-others'].map(
      (name) => `/dev/shm/${name}-${String.fromCharCode(97 + (process.pid % 26))}`,
    )
    t.after(() => [mine, others].forEach((each) => rmSync(String(each), { force: true })))
    const end = run.begin('a file', 'MARK=of-a-file', undefined)
    const maps = (/** @type {string} */ name) => `import { SharedMemory } from '${dist}/memory/index.js'
      const memory = SharedMemory.create('${path.basename(name)}', 10, { persist: true })
      process.stdout.write('made')
      process.stdin.on('end', () => process.exit()).resume()`
    const children = [mine, others].map((name, n) =>
      spawn(process.execPath, ['--input-type=module', '-e', maps(String(name))], {
        env: { ...process.env, ...(n === 0 ? { MARK: 'of-a-file' } : {}) },
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    )
    await Promise.all(children.map(({ stdout }) => once(stdout, 'data')))
    run.look()
    const ends = children.map((child) => once(child, 'exit'))
    for (const { stdin } of children) stdin.end()
    await Promise.all(ends)
    end()
    assert.deepEqual(run.left(), [{ of: 'a file', what: mine }])
    assert.deepEqual(
      run.unclear().filter(({ what }) => what === others),
      [{ of: ['a file'], what: others }],
    )
  })

test('whose a name is', () => {
  /** @type {[string, number[]][]} */
  const names = [
    ['tw-test-t123-45', [123]],
    ['talkwire-0-mutex-t123-45', [123]],
    ['sem.tw-test-t123-45', [123]],
    ['tw-test-py123-45', [123]],
    ['bank-in-memory-123', [123]],
    [`talkwire-${((123n << 42n) | 99n).toString(36)}-7.c2s`, [123]],
    ['psm_1a2b3c4d', []],
    ['talkwire-0-mutex-bank', []],
  ]
  for (const [name, pids] of names) assert.deepEqual(pidsIn(name), pids, name)
})

/** @param {number} pid */
function takeAway(pid) {
  const script = `
    import { SharedMemory } from '${dist}/memory/index.js'
    import { PosixQueue, SystemVQueue } from '${dist}/queues/index.js'
    import { PosixSemaphore, SystemVSemaphore } from '${dist}/sync/index.js'
    const name = 'tw-test-t${pid}-1'
    SharedMemory.unlink(name)
    PosixSemaphore.unlink(name)
    PosixQueue.unlink(name)
    SystemVQueue.remove(${pid * 500 + 7})
    SystemVSemaphore.remove(${pid * 500 + 8})`
  execFileSync(process.execPath, ['--input-type=module', '-e', script])
}
