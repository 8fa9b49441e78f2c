/** What the machine refuses: no room, no descriptors, another user. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { fails } from '../helpers/expect.js'
import { run } from '../session/processes.js'
import { freshSegment, program, python } from './actors.js'

const node = process.execPath

test('a full /dev/shm is NO_SPACE, nothing is left of it, and small memory still fits', () => {
  const script = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && "$0" "$1" && ls -A /dev/shm'
  const { stdout, stderr } = spawnSync('unshare', ['-rm', 'sh', '-c', script, node, program('full')], { encoding: 'utf8' })
  assert.equal(
    stdout,
    'NO_SPACE names the fix\nNO_SPACE names the fix\nfits\nNO_SPACE names the fix\nfits again\nholes: NO_SPACE\n',
    stderr,
  )
})

test('without free descriptors everything is LIMIT_EXCEEDED; with one again, it works', () => {
  const stdout = execFileSync('prlimit', ['--nofile=40:40', node, program('descriptors'), freshSegment()], { encoding: 'utf8' })
  assert.equal(stdout, 'LIMIT_EXCEEDED\n'.repeat(5) + 'works\n')
})

// Only root can become somebody else.
if (process.getuid?.() === 0)
  test('another user is refused, whichever of the two made it', () => {
    const [ours, open, theirs] = [freshSegment(), freshSegment(), freshSegment()]
    using _memory = SharedMemory.create(ours, 100)
    using _readable = SharedMemory.create(open, 100, { mode: 0o666 })
    using hidden = SharedMemory.anonymous(100)
    const home = mkdtempSync(join(tmpdir(), 'tw-'))
    chownSync(home, 65534, 65534)
    const env = { ...process.env, TALKWIRE_RUNTIME_DIR: join(home, 'run') }
    const stdout = execFileSync(node, [program('stranger'), ours, open, hidden.path, theirs], { encoding: 'utf8', env })
    assert.deepEqual(stdout.split('\n'), [
      'open: PERMISSION_DENIED',
      'open what all may: PERMISSION_DENIED',
      'create: ALREADY_EXISTS',
      'unlink: PERMISSION_DENIED',
      'attach: PERMISSION_DENIED',
      'its own: ok',
      '',
    ])
    assert.throws(() => SharedMemory.open(theirs), fails('PERMISSION_DENIED'))
    assert.equal(SharedMemory.list().find(({ name }) => name === theirs)?.uid, 65534)
    for (const name of [ours, open, theirs]) SharedMemory.unlink(name)
    rmSync(home, { recursive: true, force: true })
  })

test('signals at two thousand a second: memory is made all the same', async () => {
  const stormed = run(node, [program('stormed'), String(64 << 20)])
  await stormed.line('ready')
  const storm = run(python, [
    '-c',
    'import os, sys, time\nwhile True:\n    os.kill(int(sys.argv[1]), 12)\n    time.sleep(0.0005)',
    String(stormed.pid),
  ])
  await stormed.line('made')
  await storm.kill()
})
