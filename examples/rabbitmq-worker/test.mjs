import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { startBroker } from '../../packages/talkwire/dist/test/helpers/broker.js'
import { RABBITMQ } from '../../packages/talkwire/dist/test/hub/drivers/brokers.js'
import { programs } from '../harness.mjs'

const broker = await startBroker(RABBITMQ)

test('a worker in Python prints what a shop pushes; one that is killed leaves its order to the next', async (t) => {
  const own = programs(t, import.meta.url)
  own.env['HUB'] = `amqp://${broker.host}:${broker.port}`
  const shop = own.start('node', 'shop.mjs')
  await shop.line(/^pushed 4 orders$/)
  own.env['SECONDS_A_LABEL'] = '60'
  const slow = own.start('python', 'worker.py')
  // The one with the priority was pushed last.
  await slow.line(/^has order 4$/)
  slow.child.kill('SIGKILL')
  await once(slow.child, 'exit')
  own.env['SECONDS_A_LABEL'] = '0'
  const worker = own.start('python', 'worker.py')
  await worker.line(/^has order 4 again$/)
  const { code, out, err } = await shop.end()
  assert.equal(code, 0, err)
  assert.deepEqual(out.split('\n'), [
    'pushed 4 orders',
    'order 4 is printed: To Eve',
    'order 1 is printed: To Ann',
    'order 3 is printed: To Bob',
    'order 2 is not: rejected',
  ])
})
