import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('a customer in Python asks for a ride over gRPC, follows the car and talks with the driver', async (t) => {
  const { start, run } = programs(t, import.meta.url)
  const proto = readFileSync(new URL('ride.proto', import.meta.url), 'utf8')
  assert.equal((await run('node', 'service.mjs', 'proto')).trim(), proto.trim())
  const service = start('node', 'service.mjs')
  const [, address] = await service.line(/^ride: grpc:\/\/(.+)$/)
  assert.deepEqual((await run('python', 'customer.py', String(address))).trim().split('\n'), [
    'Ada comes, 19.70 euros',
    'Station Road, 9 km left',
    'Market Square, 6 km left',
    'Bridge, 3 km left',
    'Airport, 0 km left',
    'Ada: Soon, Grace.',
    'Ada: Good.',
    'FAILED_PRECONDITION: nobody drives from station to the moon',
  ])
  service.child.kill('SIGTERM')
  assert.equal((await service.end()).code, 0)
})
