import { test } from 'node:test'
import { storm } from './storm.js'

/** The long form is `npm run soak:locks`. */
test('eight processes add within a mutex while they are killed one after the other: nothing is lost, nothing hangs', async (t) => {
  const { kills, additions } = await storm((count) => count >= 150)
  t.diagnostic(`${kills} kills, ${additions} additions`)
})
