import assert from 'node:assert/strict'
import { test } from 'node:test'
import { programs } from '../harness.mjs'

test('NumPy computes the eigenvalues of a small matrix', async (t) => {
  const { run } = programs(t, import.meta.url)
  assert.deepEqual((await run('node', 'main.mjs', '5')).split('\n'), [
    '200 bytes there, a Float64Array of 5 back',
    'eigenvalues: 0.267949 1.000000 2.000000 3.000000 3.732051',
    'largest error: less than 1e-12',
  ])
})

test('and of a large one', async (t) => {
  const { run } = programs(t, import.meta.url)
  const [size, values, error] = (await run('node', 'main.mjs', '300')).split('\n')
  assert.equal(size, '720000 bytes there, a Float64Array of 300 back')
  assert.match(values, /^eigenvalues: 0\.000109 0\.000436 .*…$/)
  assert.equal(error, 'largest error: less than 1e-12')
})
