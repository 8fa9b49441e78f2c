import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { programs } from '../harness.mjs'
import { startHub } from '../hub.mjs'

test('three services, one session: also when all add to it at once, and when the hub starts anew', async (t) => {
  const own = programs(t, import.meta.url)
  const hub = await startHub(own)
  const shops = ['catalogue', 'cart', 'checkout'].map((name) => own.start('node', 'shop.mjs', name, '0'))
  const ports = await Promise.all(shops.map(async (shop) => (await shop.line(/on (\d+)$/))[1]))
  /** @param {number} index @param {string} query @returns {Promise<{ visits: number, cart: string[] }>} */
  const visit = async (index, query = '') => {
    const answer = await fetch(`http://127.0.0.1:${ports[index % 3]}/${query}`, { headers: { cookie: 'visitor=ada' } })
    return /** @type {any} */ (await answer.json())
  }
  await Promise.all(Array.from({ length: 30 }, (_, n) => visit(n, `?add=item${n}`)))
  const session = await visit(0)
  assert.equal(session.visits, 31)
  assert.equal(new Set(session.cart).size, 30)

  hub.child.kill('SIGKILL')
  await once(hub.child, 'exit')
  await startHub(own)
  const after = await visit(1)
  assert.deepEqual([after.visits, after.cart.length], [32, 30])
})
