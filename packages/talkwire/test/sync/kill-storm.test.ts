/** The short form; the long one is `npm run soak:locks`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KINDS, storm } from './kill-storm.js'

const KILLS = 12

for (const kind of KINDS)
  test(`${kind}: ${KILLS} kills`, async (t) => {
    const { kills, sections } = await storm(kind, (count) => count >= KILLS)
    t.diagnostic(`${kills} kills, ${sections} sections`)
    assert.ok(kills >= KILLS)
  })
