import assert from 'node:assert/strict'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('parent and child call each other', async (t) => {
  const { start } = programs(t, import.meta.url)
  const { code, out, err } = await start('node', 'parent.mjs').end()
  assert.deepEqual(out.split('\n'), [
    'reply from the child to "hello" of the parent',
    'the child was told: reply from the parent to "what the parent says"',
    'the child has ended',
  ])
  assert.deepEqual([code, err], [0, ''])
})
