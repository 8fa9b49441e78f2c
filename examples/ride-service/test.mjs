import assert from 'node:assert/strict'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('a deadline and a cancellation travel through the ride service to the path service', async (t) => {
  const { start, run } = programs(t, import.meta.url)
  const paths = start('node', 'paths.mjs')
  await paths.line(/^paths: ready$/)
  const rides = start('node', 'rides.mjs')
  await rides.line(/^rides: ready$/)

  assert.deepEqual((await run('node', 'customer.mjs')).split('\n'), [
    'station, market, bridge, park, stadium, airport: 9 km, 19.70 euros',
    'no ride: no street leads to the island',
    'no ride: where is "moon"?',
    'too slow: DEADLINE_EXCEEDED',
    'cancelled: I take the bus',
  ])

  rides.child.kill('SIGTERM')
  paths.child.kill('SIGTERM')
  assert.equal((await rides.end()).code, 0)
  const { code, out } = await paths.end()
  assert.equal(code, 0)
  const said = out.split('\n')
  assert.equal(said[0], 'paths: ready')
  assert.deepEqual(
    said.filter((line) => line.startsWith('paths: station')).map((line) => line.replace(/0\.\d s/, '0.x s')),
    [
      'paths: station to airport, no deadline',
      'paths: station to island, no deadline',
      'paths: station to airport, 0.x s left',
      'paths: station to airport, no deadline',
    ],
  )
  const stopped = said.filter((line) => line.startsWith('paths: stopped'))
  assert.equal(stopped.length, 2)
  assert.match(stopped[0], /at crossing \d$/)
  assert.match(stopped[1], /at crossing 1$/)
})
