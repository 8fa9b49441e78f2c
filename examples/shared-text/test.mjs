import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('Python changes the text that Node shares, and Node sees it', async (t) => {
  const { start, run } = programs(t, import.meta.url)
  const name = `tw-test-board-${process.pid}`
  const board = start('node', 'board.mjs', name)
  await board.line(/^on the board: hello from Node$/)
  assert.equal(await run('python', 'write.py', name, 'grüße aus Python'), 'it said: hello from Node')
  await board.line(/^on the board: grüße aus Python$/)
  assert.equal(await run('python', 'write.py', name, 'bye'), 'it said: grüße aus Python')
  assert.equal((await board.end()).code, 0)
  assert.ok(!existsSync(`/dev/shm/${name}`))
})
