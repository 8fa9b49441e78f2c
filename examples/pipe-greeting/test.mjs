import assert from 'node:assert/strict'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('two processes greet each other over two anonymous pipes', async (t) => {
  const { start } = programs(t, import.meta.url)
  const { code, out, err } = await start('python', 'start.py').end()
  assert.deepEqual(err.trimEnd().split('\n'), [
    'Ann hears that Bob is here, and greets',
    'Ann is told: Hello Ann, I am Bob',
    'Bob is told: Hello Bob, I am Ann',
  ])
  assert.deepEqual([code, out], [0, ''])
})
