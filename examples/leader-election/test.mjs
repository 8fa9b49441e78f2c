import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { programs } from '../harness.mjs'
import { startHub } from '../hub.mjs'

test('of five one leads; it is killed, and another one does, with a later term', async (t) => {
  const own = programs(t, import.meta.url)
  await startHub(own)
  const members = ['a', 'b', 'c', 'd', 'e'].map((name) => own.start('node', 'member.mjs', name))
  await Promise.all(members.map((each) => each.line(/takes part$/)))
  const terms = new Map(members.map((member) => [member, member.line(/leads, term (\d+)$/)]))
  for (const each of terms.values()) each.catch(() => {})
  let term = 0
  for (let round = 0; round < 3; round++) {
    const leads = [...terms].map(async ([member, line]) => ({ member, now: Number((await line)[1]) }))
    const { member, now } = await Promise.any(leads)
    assert.ok(now > term)
    term = now
    terms.delete(member)
    member.child.kill('SIGKILL')
    await once(member.child, 'exit')
  }
})
