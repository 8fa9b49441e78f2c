/** The short form of `npm run soak:memory`: wrong values and our errors may come of what others write into shared memory, nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { changeOne, claimTooMuch, readWhileChanged } from './hostile.js'
import { ALL, READ } from './hostile-targets.js'

for (const [name, target] of Object.entries(ALL))
  test(`${name}: one byte or one word is another one`, async (t) => {
    const counts = await changeOne(target, 3000)
    t.diagnostic(JSON.stringify(counts))
    assert.ok(counts.done > 0 && counts.refused > 0)
  })

for (const [name, target] of Object.entries(ALL))
  test(`${name}: it is read while another process changes it`, async (t) => {
    const counts = await readWhileChanged(target, 10_000)
    t.diagnostic(JSON.stringify(counts))
    assert.ok(counts.flips > 0)
  })

for (const [name, target] of Object.entries(READ))
  test(`${name}: a word claims almost 2 GiB`, () => {
    assert.ok(claimTooMuch(target).refused > 0)
  })
