import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('four processes sum one array', async (t) => {
  const { start } = programs(t, import.meta.url)
  const main = start('node', 'main.mjs', '1000001')
  const { code, out, err } = await main.end()
  assert.deepEqual(out.split('\n'), [
    'part 1: 31249875000',
    'part 2: 93749875000',
    'part 3: 156249875000',
    'part 4: 218750875000',
    'together 500000500000, expected 500000500000',
  ])
  assert.deepEqual([code, err], [0, ''])
  assert.deepEqual(
    readdirSync('/dev/shm').filter((name) => name === `parallel-sum-${main.child.pid}`),
    [],
  )
})
