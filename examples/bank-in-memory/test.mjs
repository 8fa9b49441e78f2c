import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('a teller that is killed in the middle of a transfer costs nobody a coin', async (t) => {
  const { start } = programs(t, import.meta.url)
  const bank = start('node', 'main.mjs', '200')
  const { code, out, err } = await bank.end()
  assert.equal(code, 0, err)
  assert.match(out, /^teller \d+ has taken 50, 3950 are left$/m)
  assert.equal(out.match(/was told of the death, and put 50 back/g)?.length, 1)
  assert.match(out, /^600 transfers later: 4000, expected 4000$/m)
  const left = readdirSync('/dev/shm').filter((name) => name.includes(`bank-in-memory-${bank.child.pid}`))
  assert.deepEqual(left, [])
})
