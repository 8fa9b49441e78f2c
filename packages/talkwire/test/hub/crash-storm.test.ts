/** The short form; the long one is `npm run soak:hub`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { storm } from './crash-storm.js'
import { seedOf } from './random.js'

const KILLS = 10

const seed = seedOf()
test(`a hub that is killed ${KILLS} times under load keeps what it said (seed ${seed})`, async (t) => {
  const { notes, faults } = await storm(seed, (kills) => kills >= KILLS)
  t.diagnostic(`${notes.length} notes`)
  assert.deepEqual(faults.slice(0, 10), [])
  for (const kind of ['key', 'push', 'given', 'ack', 'add', 'grant', 'renew', 'publish', 'heard', 'kept'])
    assert.ok(notes.filter((note) => note.kind === kind).length >= 10, `too little of ${kind} was done`)
})
