import assert from 'node:assert/strict'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('money is lost by reading and writing back, and not by depositing', async (t) => {
  const { start, run } = programs(t, import.meta.url)
  const bank = start('node', 'bank.mjs')
  await bank.line(/^the bank is open: unix:bank$/)
  const [careless, careful, event, error, ...rest] = (await run('node', 'main.mjs', '4', '100')).split('\n')

  const [, there, lost] = /^read and write back: 400 put in, (\d+) there, (\d+) lost$/.exec(careless) ?? []
  assert.equal(Number(there) + Number(lost), 400)
  assert.ok(Number(lost) > 0, careless)
  assert.equal(careful, 'deposit:             400 put in, 400 there, 0 lost')
  assert.equal(event, 'event overdrawn:     careful -50')
  assert.match(error, /^AccountClosed: {7}since \d{4}-\d\d-\d\d$/)
  assert.deepEqual(rest, [])

  bank.child.kill('SIGTERM')
  assert.equal((await bank.end()).code, 0, 'it closes and ends by itself')
})

test('without the bank, main says what is missing', async (t) => {
  const { start } = programs(t, import.meta.url)
  const { code, err } = await start('node', 'main.mjs').end()
  assert.equal(code, 1)
  assert.match(err, /\[PEER_NOT_FOUND\].*bank/)
})
