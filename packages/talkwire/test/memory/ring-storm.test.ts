/** The short form; the long one is `npm run soak:locks`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ringStorm } from './ring-storm.js'

const KILLS = 30

test(`many producers and a consumer, ${KILLS} kills`, async (t) => {
  const { kills, sections } = await ringStorm(KILLS)
  t.diagnostic(`${kills} kills, ${sections} messages`)
  assert.ok(kills > KILLS)
})
