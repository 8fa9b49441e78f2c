/** Where waiting runs in a circle, and where it only looks so. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deadlocksIn, lasting, type Wait } from '../../src/sync/lock-waits.js'

const wait = (who: number, lock: string, holders: readonly number[], any = false, stamp = ''): Wait => ({ who, lock, holders, any, stamp })
const pids = (waits: readonly Wait[]): number[][] => deadlocksIn(waits).map((members) => members.map(({ pid }) => pid))

test('each member with what it holds and what it wants; those who only wait for it are none', () => {
  const waits = [wait(9, 'a', [1]), wait(1, 'b', [2]), wait(2, 'c', [3]), wait(3, 'a', [1])]
  assert.deepEqual(deadlocksIn(waits), [
    [
      { pid: 1, holds: 'a', wants: 'b' },
      { pid: 2, holds: 'b', wants: 'c' },
      { pid: 3, holds: 'c', wants: 'a' },
    ],
  ])
})

test('a chain is no circle; two circles are two; nobody waits for itself', () => {
  assert.deepEqual(pids([wait(1, 'a', [2]), wait(2, 'b', [3])]), [])
  assert.deepEqual(pids([wait(1, 'a', [2]), wait(2, 'b', [1]), wait(3, 'c', [4]), wait(4, 'd', [3])]), [
    [1, 2],
    [3, 4],
  ])
  assert.deepEqual(pids([wait(1, 'a', [1])]), [])
})

test('a permit of one who does not wait may come back; all readers have to go', () => {
  const other = wait(2, 'b', [1])
  assert.deepEqual(pids([wait(1, 'a', [2, 3], true), other]), [])
  assert.deepEqual(pids([wait(1, 'a', [2, 3]), other]), [[1, 2]])
  assert.deepEqual(pids([wait(1, 'a', [2, 1], true), other]), [[1, 2]], 'its own does not come back while it waits')
  assert.deepEqual(pids([wait(1, 'a', [2, 3], true), other, wait(3, 'c', [2])]), [[1, 2]])
})

test('only what is the same in two looks was there at one moment', () => {
  const first = [wait(1, 'a', [2], false, '7 100'), wait(2, 'b', [1], false, '8 200')]
  assert.equal(deadlocksIn(lasting(first, first)).length, 1)
  for (const changed of [
    wait(1, 'a', [2], false, '9 100'),
    wait(1, 'a', [2], false, '7 101'),
    wait(1, 'a', [3], false, '7 100'),
    wait(1, 'c', [2], false, '7 100'),
  ])
    assert.deepEqual(deadlocksIn(lasting(first, [changed, first[1]!])), [])
})
