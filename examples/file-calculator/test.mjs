import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('plain Python and a typed client calculate through one file', async (t) => {
  const { start, run, folder } = programs(t, import.meta.url)
  const file = path.join(folder, 'calc.json')
  const service = start('node', 'service.mjs', file)
  await service.line(/^calculating in file:/)
  assert.equal(await run('python', 'client.py', file, 'divide', '{"a": 6, "b": 3}'), '2')
  assert.equal(await run('python', 'client.py', file, 'divide', '{"a": 6, "b": 0}'), 'DivisionByZero {"dividend": 6}')
  assert.equal(await run('python', 'client.py', file, 'add', '{"a": "six"}').then((text) => text.split(' ')[0]), 'INVALID_INPUT')
  assert.equal(await run('node', 'client.mjs', file, '6', '3'), '2')
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), { commands: {} })
  service.child.kill('SIGTERM')
  assert.equal((await service.end()).code, 0)
  const nobody = start('node', 'client.mjs', file)
  const { code, err } = await nobody.end()
  assert.equal(code, 1)
  assert.match(err, /PEER_NOT_FOUND/)
})
