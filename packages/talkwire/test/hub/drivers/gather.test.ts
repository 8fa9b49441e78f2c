/** Requests of one turn in one: who gets what, and who pays for whose fault. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TalkwireError } from '../../../src/error.js'
import { gather } from '../../../src/hub/drivers/gather.js'

const tooLarge = new TalkwireError('MESSAGE_TOO_LARGE', 'too large')

/** Doubles numbers, refuses all of a request that has one above 100, and fails for a queue that is "gone". */
function doubling(bytes?: (item: number) => number) {
  const sent: [queue: string, items: readonly number[]][] = []
  const ask = gather<number, number>({
    async send(queue, items) {
      sent.push([queue, items])
      if (queue === 'gone') throw new TalkwireError('CONNECTION_LOST', 'gone', { outcome: 'maybe-ran' })
      if (items.some((item) => item > 100)) throw tooLarge
      return items.map((item) => 2 * item)
    },
    tookNone: (reason) => reason === tooLarge,
    ...(bytes && { bytes }),
  })
  return { sent, ask }
}

test('callers of one turn share a request for each queue, and each gets its own answers', async () => {
  const { sent, ask } = doubling()
  const answers = await Promise.all([ask('a', [1, 2]), ask('b', [3]), ask('a', []), ask('a', [4])])
  assert.deepEqual(answers, [[2, 4], [6], [], [8]])
  assert.deepEqual(sent, [
    ['a', [1, 2, 4]],
    ['b', [3]],
  ])
  assert.deepEqual(await ask('a', [5]), [10])
  assert.equal(sent.length, 3, 'what is asked later goes by itself')
})

test('who is at fault is refused, and nobody else', async () => {
  const { ask } = doubling()
  const [one, wrong, other] = await Promise.allSettled([ask('a', [1]), ask('a', [2, 200]), ask('a', [3])])
  assert.deepEqual(one, { status: 'fulfilled', value: [2] })
  assert.deepEqual(wrong, { status: 'rejected', reason: tooLarge })
  assert.deepEqual(other, { status: 'fulfilled', value: [6] })
})

test('what may have been done is not done again: all are told', async () => {
  const { sent, ask } = doubling()
  const told = await Promise.allSettled([ask('gone', [1]), ask('gone', [2])])
  assert.deepEqual(
    told.map((each) => each.status === 'rejected' && TalkwireError.from(each.reason).code),
    ['CONNECTION_LOST', 'CONNECTION_LOST'],
  )
  assert.deepEqual(sent, [['gone', [1, 2]]])
})

test('a request has 256 KiB and a thousand items at most, unless one caller has more', async () => {
  const { sent, ask } = doubling((item) => item * 1024)
  await Promise.all([ask('a', [100, 100]), ask('a', [50]), ask('a', [60]), ask('a', [100, 100, 100, 100])])
  assert.deepEqual(
    sent.map(([, items]) => items),
    [[100, 100, 50], [60], [100, 100, 100, 100]],
  )
  sent.length = 0
  await Promise.all(Array.from({ length: 1500 }, () => ask('a', [0])))
  assert.deepEqual(
    sent.map(([, items]) => items.length),
    [1000, 500],
  )
})
