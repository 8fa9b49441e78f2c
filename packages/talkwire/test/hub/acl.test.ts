/** Other users at a hub: real ones, known by the kernel. */
import assert from 'node:assert/strict'
import { chownSync, mkdirSync } from 'node:fs'
import { test } from 'node:test'
import { serveHub } from '../../src/hub/embedded/serve.js'
import { MAY_BE_OTHERS, NOBODY_ID } from '../helpers/other-user.js'
import { freshName, freshPath } from '../helpers/place.js'
import { fixture } from '../session/processes.js'
import type { AclRule } from '../../src/hub/embedded/acl.js'

async function asNobody(acl: readonly AclRule[]): Promise<Record<string, string>> {
  const [name, theirs] = [freshName(), freshPath()]
  mkdirSync(theirs, { mode: 0o700 })
  chownSync(theirs, NOBODY_ID, NOBODY_ID)
  // The socket of a path has mode 0600; an abstract one has none.
  const address = `unix:@${freshName()}`
  await using _hub = await serveHub({ name, durability: 'memory', listen: [address], acl })
  const other = fixture(import.meta.url, 'other-user.js', theirs, `hub:${address}`)
  return JSON.parse(await other.line('{')) as Record<string, string>
}

if (MAY_BE_OTHERS)
  test('another user may what a rule for the uid says, and nothing else', async () => {
    const said = await asNobody([{ uid: NOBODY_ID, topics: ['orders.*'], queues: ['mail'], keys: ['theirs'] }])
    const codes = Object.entries(said).map(([what, text]) => [what, /\[(\w+)\]/.exec(text)?.[1] ?? text])
    assert.deepEqual(Object.fromEntries(codes), {
      publishes: 'may',
      'publishes elsewhere': 'PERMISSION_DENIED',
      hears: 'may',
      'hears everything': 'PERMISSION_DENIED',
      pushes: 'may',
      'pushes elsewhere': 'PERMISSION_DENIED',
      sets: 'may',
      'sets elsewhere': 'PERMISSION_DENIED',
      counts: 'PERMISSION_DENIED',
      holds: 'PERMISSION_DENIED',
      'comes in': 'may',
    })
  })

if (MAY_BE_OTHERS)
  test('another user without a rule does not come in', async () => {
    const said = await asNobody([{ uid: 1, topics: ['>'] }])
    assert.deepEqual(Object.keys(said), ['comes in'])
    assert.match(said['comes in']!, /^\[UNAVAILABLE\] the hub at .* its acl has no rule for this user$/)
  })
