/** `talkwire doctor`: what works, and what crashed processes left behind. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { SharedMemory } from '../../src/memory/shared-memory.js'
import { PosixQueue } from '../../src/queues/index.js'
import { fails } from '../helpers/expect.js'
import { freshName, place } from '../helpers/place.js'
import { exists, freshSegment, source, startNode } from '../memory/actors.js'
import { fixture } from '../session/processes.js'
import { startKeeper, type Holder } from '../sync/holders.js'
import { lines, talkwire } from './program.js'

const records = (): string[] => readdirSync(join(place, 'run/memory')).filter((file) => file !== 'lock')

test('it tells of what crashes left behind, and with --clean removes that and nothing else', async () => {
  const [crashed, persistent, used, closed] = [freshSegment(), freshSegment(), freshSegment(), freshSegment()]
  const live = SharedMemory.create(freshSegment(), 10)
  const makers = await Promise.all([startNode(), startNode(), startNode(), startNode()])
  await makers[0].tell(`create ${crashed} 5000`)
  await makers[1].tell(`create ${persistent} 10 600 persist`)
  await makers[2].tell(`create ${used} 10`)
  await makers[3].tell(`create ${closed} 10`)
  await makers[3].tell('close')
  const user = await startNode()
  await user.tell(`open ${used}`)
  for (const maker of makers) await maker.running.kill()
  // Of one that died before its segment had a name.
  const folder = join(place, 'run/memory')
  const [record] = records().filter((file) => file.startsWith(`${crashed}.`)) as [string]
  const gone = freshSegment()
  writeFileSync(join(folder, `${gone}.1.json`), readFileSync(join(folder, record), 'utf8').replace(/"inode":\d+/, '"inode":1'))

  const looked = await talkwire(['doctor'])
  assert.deepEqual([looked.code, looked.stderr], [0, ''])
  assert.match(looked.stdout, /^Node +v\d+\.\d+\.\d+, linux /m)
  assert.match(looked.stdout, /^shared memory +works$/m)
  const tail = lines(looked.stdout).slice(-2)
  assert.deepEqual(tail, [
    `left behind: shared memory ${crashed}, 5000 bytes, of process ${makers[0].pid}`,
    'talkwire doctor --clean removes what was left behind',
  ])
  assert.ok(exists(crashed), 'looking removes nothing')

  const cleaned = JSON.parse((await talkwire(['doctor', '--clean', '--json'])).stdout) as Record<string, unknown>
  assert.deepEqual([cleaned['removed'], cleaned['shared memory']], [[crashed], 'works'])
  assert.deepEqual([crashed, persistent, used, closed, live.name!].map(exists), [false, true, true, true, true])
  assert.ok(!records().some((file) => file.startsWith(gone) || file.startsWith(crashed)))
  await user.end()
  assert.match((await talkwire(['doctor', '--clean'])).stdout, new RegExp(`^removed: shared memory ${used}, 10 bytes`, 'm'))
  for (const name of [persistent, closed, live.name!]) SharedMemory.unlink(name)
  live.close()
  assert.deepEqual(records(), [])
})

test('queues of a service that crashed are told of, and removed', async () => {
  const name = `tw-test-${freshName()}`
  const server = fixture(import.meta.url, '../../transports/fixtures/calc-server.js', `mq:${name}`)
  await server.line('ready')
  assert.ok(!(await talkwire(['doctor', '--clean'])).stdout.includes(name), 'what lives is left alone')
  await server.kill()
  assert.match((await talkwire(['doctor'])).stdout, new RegExp(`^left behind: queue mq:${name}, of process ${server.pid}$`, 'm'))
  assert.match((await talkwire(['doctor', '--clean'])).stdout, new RegExp(`^removed: queue mq:${name}, of process ${server.pid}$`, 'm'))
  assert.throws(() => PosixQueue.open(name), fails('NOT_FOUND'))
  assert.ok(!(await talkwire(['doctor'])).stdout.includes(name))
})

test('locks that nobody uses any more are told of, and removed', async () => {
  const name = freshName()
  const [left, live] = (await Promise.all([startKeeper(), startKeeper()])) as [Holder, Holder]
  await left.tell(`open ${name}`)
  await live.tell(`open ${name}-live`)
  await left.kill()
  assert.match((await talkwire(['doctor'])).stdout, new RegExp(`^left behind: mutex ${name}, which nobody uses$`, 'm'))
  const { locks, removedLocks } = JSON.parse((await talkwire(['doctor', '--clean', '--json'])).stdout) as Record<string, { name: string }[]>
  for (const list of [locks!, removedLocks!])
    assert.deepEqual(
      list.filter((lock) => lock.name.startsWith(name)),
      [{ kind: 'mutex', name }],
    )
  assert.doesNotMatch((await talkwire(['doctor'])).stdout, new RegExp(name))
  await live.end()
})

test('without koffi it says what to install', async () => {
  const { code, stdout } = await talkwire(['doctor'], {
    env: { NODE_OPTIONS: `--require ${source('../../transports/fixtures/without-koffi.cjs')}` },
  })
  assert.equal(code, 0)
  assert.match(stdout, /^shared memory +\[MISSING_PACKAGE\] .*npm install koffi/m)
})
