/** A process that appends is killed at each of its system calls that change the disk, or the call fails. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { describe, test } from 'node:test'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { filesIn } from '../../src/hub/embedded/log-files.js'
import { openLogOn } from '../../src/hub/embedded/log.js'
import { freshPath } from '../helpers/place.js'
import { onDisk, set, Shelf } from './log-shelf.js'
import { SEGMENT, stateAfter, STEPS } from './log-steps.js'

const writer = fileURLToPath(new URL('fixtures/log-writer.js', import.meta.url))

interface Ran {
  readonly folder: string
  readonly lines: string[]
  /** Steps that it said were on disk. */
  readonly acked: number
}

/** One thread does what libuv's pool does: strace counts the calls of each thread by itself. */
async function ran(call: string, injected: string): Promise<Ran> {
  const folder = freshPath()
  const strace = ['-f', '--seccomp-bpf', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:${injected}`]
  const child = spawn('strace', [...strace, process.execPath, writer, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  })
  const lines = (await text(child.stdout)).split('\n').filter(Boolean)
  return { folder, lines, acked: lines.filter((line) => line.startsWith('acked')).length }
}

/** What is there now; it can be written on. */
async function found({ folder }: Ran, what: string): Promise<string> {
  const shelf = new Shelf()
  const log = await openLogOn(await filesIn(folder), shelf, SEGMENT)
  assert.ok(
    shelf.complaints.every((complaint) => complaint.includes('not finished')),
    `${what}: ${shelf.complaints.join('; ')}`,
  )
  const state = shelf.state()
  await onDisk(shelf, shelf.write(log, [set(99, 'goes on')]))
  await log.close()
  assert.ok(!readdirSync(folder).some((name) => name === 'next' || name.endsWith('.new')), what)
  return state
}

describe('killed at each', { concurrency: 2 }, () => {
  for (const call of ['pwrite64', 'fsync', 'rename', 'unlink', 'ftruncate', 'mkdir'])
    test(call, async () => {
      for (let when = 1; ; when++) {
        const run = await ran(call, `signal=KILL:when=${when}`)
        const state = await found(run, `${call} ${when}`)
        assert.ok([stateAfter(run.acked), stateAfter(run.acked + 1)].includes(state), `${call} ${when}: ${run.lines.join(', ')}`)
        if (run.lines.at(-1) !== 'done') continue
        assert.ok(when > 1, `${call} is never called`)
        assert.equal(run.acked, STEPS)
        assert.ok(!run.lines.includes('moved 0'), 'it was cleaned')
        return
      }
    })
})

describe('fails', () => {
  for (const [error, code] of [
    ['EIO', 'UNAVAILABLE'],
    ['ENOSPC', 'NO_SPACE'],
  ] as const)
    test(`with ${error}: what was acknowledged is there, and nothing else`, async () => {
      const ends: string[] = []
      for (let when = 1; when <= 8; when++) {
        const run = await ran('pwrite64', `error=${error}:when=${when}`)
        ends.push(run.lines.at(-1)!)
        assert.equal(await found(run, `${error} ${when}`), stateAfter(run.acked), `${error} ${when}: ${run.lines.join(', ')}`)
      }
      // The zeros of the next segment are written anew when it is needed.
      assert.deepEqual([...new Set(ends)].sort(), ['done', `failed ${code}`], ends.join(', '))
      assert.ok(ends.filter((end) => end === 'done').length <= 3, ends.join(', '))
    })
})
