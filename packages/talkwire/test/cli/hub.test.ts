/** `talkwire hub`, `pub`, `sub`, `queue`, `state`, `lease`: as they are typed. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { freshName, freshPath } from '../helpers/place.js'
import { start, talkwire, type Running } from './program.js'

const name = freshName()
const at = ['--hub', `hub:unix:${name}`]
let hub: Running
before(async () => {
  hub = start(['hub', name, '--folder', freshPath(), '--keep', 'log.>'])
  await hub.said('serves')
})
after(() => hub.stop('SIGTERM'))

const said = async (...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await talkwire(args)
  assert.equal(code, 0, stderr)
  return stdout.trim()
}

test('pub and sub: the last value, what was kept, a count', async () => {
  await said('pub', 'lamp', 'on', '--retain', ...at)
  const lamp = JSON.parse(await said('sub', 'lamp', '--count', '1', ...at)) as Record<string, unknown>
  assert.deepEqual([lamp['topic'], lamp['data'], lamp['retained']], ['lamp', 'on', true])
  await said('pub', 'log.a', '{"n": 1}', '--header', 'from=ada', ...at)
  await said('pub', 'log.b', '2', ...at)
  const lines = (await said('sub', 'log.>', '--from', 'all', '--count', '2', ...at)).split('\n').map((line) => JSON.parse(line) as any)
  assert.deepEqual(
    lines.map(({ topic, data }) => [topic, data]),
    [
      ['log.a', { n: 1 }],
      ['log.b', 2],
    ],
  )
  assert.deepEqual(lines[0].headers, { from: 'ada' })
})

test('queue: push, counts, take, dead, purge', async () => {
  const id = await said('queue', 'push', 'mail', '{"to": "ada"}', ...at)
  await said('queue', 'push', 'mail', 'second', '--priority', '9', ...at)
  assert.deepEqual(JSON.parse(await said('queue', 'counts', 'mail', '--json', ...at)), { ready: 2, delayed: 0, taken: 0, dead: 0 })
  const taken = (await said('queue', 'take', 'mail', '--count', '2', ...at)).split('\n').map((line) => JSON.parse(line) as any)
  assert.deepEqual(
    taken.map(({ data }) => data),
    ['second', { to: 'ada' }],
  )
  assert.equal(taken[1].id, id)
  assert.equal(await said('queue', 'dead', 'mail', ...at), '')
  assert.equal(await said('queue', 'purge', 'mail', ...at), '0')
})

test('state: set, get, list, delete; another revision and an absent key have exit codes', async () => {
  const revision = await said('state', 'set', 'sessions', 'ada', '{"cart": 3}', ...at)
  assert.equal(await said('state', 'get', 'sessions', 'ada', ...at), '{"cart":3}')
  assert.equal((await talkwire(['state', 'set', 'sessions', 'ada', '1', '--revision', 'none', ...at])).code, 1)
  await said('state', 'set', 'sessions', 'ada', '1', '--revision', revision, ...at)
  assert.equal((JSON.parse(await said('state', 'list', 'sessions', ...at)) as { value: number }).value, 1)
  await said('state', 'delete', 'sessions', 'ada', ...at)
  assert.equal((await talkwire(['state', 'get', 'sessions', 'ada', ...at])).code, 3)
})

test('lease: a command while it is held, its token and its exit code; who holds it', async () => {
  const inner = `process.stdout.write(process.env.TALKWIRE_LEASE_TOKEN); process.exitCode = 7`
  const { code, stdout } = await talkwire(['lease', 'nightly', ...at, '--', process.execPath, '-e', inner])
  assert.deepEqual([code, Number(stdout) > 0], [7, true])
  const holder = start(['lease', 'nightly', ...at, '--', process.execPath, '-e', 'console.log("held"); setInterval(() => {}, 1e6)'])
  await holder.said('held')
  const { holders } = JSON.parse(await said('lease', 'nightly', '--json', ...at)) as { holders: { token: number }[] }
  assert.ok(holders[0]!.token > Number(stdout))
  assert.equal((await talkwire(['lease', 'nightly', '--timeout', '20', ...at, '--', 'true'])).code, 1)
  await holder.stop('SIGTERM')
  assert.deepEqual((JSON.parse(await said('lease', 'nightly', '--json', ...at)) as { holders: unknown[] }).holders, [])
})

test('status says what is there; typos and an absent hub are told', async () => {
  const told = JSON.parse(await said('hub', 'status', name, '--json')) as Record<string, unknown>
  assert.equal(told['durability'], 'disk')
  const typo = await talkwire(['queue', 'psh', 'mail', 'x', ...at])
  assert.deepEqual([typo.code, /push/.test(typo.stderr)], [2, true])
  assert.equal((await talkwire(['hub', 'status', freshName()])).code, 3)
  assert.equal((await talkwire(['pub', 'a', 'b', '--hub', `hub:unix:${freshName()}`])).code, 3)
  assert.equal((await talkwire(['pub', 'a b', 'c', ...at])).code, 1)
})
