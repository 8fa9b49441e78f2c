import assert from 'node:assert/strict'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('three clients at the same moment, one core', async (t) => {
  const { start, run } = programs(t, import.meta.url)
  const screen = start('node', 'screen.mjs')
  const [about, report, [, pid]] = await Promise.all([
    run('node', 'cli.mjs', 'about'),
    run('python', 'report.py'),
    screen.line(/^--- process (\d+)$/),
  ])
  assert.equal(about, `the core is process ${pid}`)
  assert.deepEqual(report.split('\n'), [`0 of 0 done, says process ${pid}`, "task 99: NoSuchTask, {'id': 99}"])

  assert.equal(await run('node', 'cli.mjs', 'add', 'buy', 'milk'), '[ ] 1 buy milk')
  await screen.line(/^\* \[ \] 1 buy milk$/)
  screen.type('sleep')
  await screen.line(/^\* \[ \] 2 sleep$/)
  screen.type('1')
  await screen.line(/^\* \[x\] 1 buy milk$/)
  screen.type('3')
  await screen.line(/^! NoSuchTask$/)
  assert.equal(await run('node', 'cli.mjs', 'list'), '[x] 1 buy milk\n[ ] 2 sleep')
  assert.match(await run('python', 'report.py'), new RegExp(`^1 of 2 done, says process ${pid}\n`))

  assert.equal(await run('node', 'cli.mjs', 'quit'), '')
  const { code, out, err } = await screen.end()
  assert.equal(out.split('\n').at(-1), `--- process ${pid} has ended`)
  assert.deepEqual([code, err], [0, ''])
})

test('a wrong command is an error, and the core goes on', async (t) => {
  const { start, run } = programs(t, import.meta.url)
  const unknown = await start('node', 'cli.mjs', 'finish', '7').end()
  assert.deepEqual([unknown.code, unknown.err], [1, 'there is no task 7\n'])
  const invalid = await start('node', 'cli.mjs', 'add', '').end()
  assert.equal(invalid.code, 1)
  assert.match(invalid.err, /\[INVALID_INPUT\]/)
  assert.match(await run('node', 'cli.mjs', 'about'), /^the core is process \d+$/)
  await run('node', 'cli.mjs', 'quit')
})
