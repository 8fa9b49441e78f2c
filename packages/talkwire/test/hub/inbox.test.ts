/** What came and was not yet asked for: the policies, exactly. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TalkwireError } from '../../src/error.js'
import { Inbox, type SlowPolicy } from '../../src/hub/inbox.js'

interface Item {
  readonly n: number
  readonly lost: number
}

function inboxOf(limit: number, policy: SlowPolicy) {
  const told = { room: 0, stopped: 0 }
  const inbox = new Inbox<Item>(
    limit,
    policy,
    {
      room: () => void told.room++,
      stop: async () => void told.stopped++,
    },
    (item, lost) => ({ ...item, lost }),
  )
  const push = (n: number): boolean => inbox.push({ n, lost: 0 })
  const read = async (): Promise<Item | undefined> => (await inbox.next()).value as Item | undefined
  return { inbox, told, push, read }
}

test('drop-oldest: the newest are kept, the first that is read says how many went', async () => {
  const { push, read, inbox } = inboxOf(3, 'drop-oldest')
  for (let n = 0; n < 10; n++) assert.equal(push(n), true)
  assert.deepEqual(
    [await read(), await read(), await read()],
    [
      { n: 7, lost: 7 },
      { n: 8, lost: 0 },
      { n: 9, lost: 0 },
    ],
  )
  inbox.lost(2)
  push(10)
  assert.deepEqual(await read(), { n: 10, lost: 2 })
})

test('wait: false when it is full, room when half of it was read, and nothing is lost', async () => {
  const { push, read, told } = inboxOf(4, 'wait')
  assert.deepEqual([0, 1, 2, 3].map(push), [true, true, true, false])
  // Who does not stop at once loses nothing for it.
  assert.equal(push(4), false)
  for (let n = 0; n < 2; n++) await read()
  assert.equal(told.room, 0)
  await read()
  assert.equal(told.room, 1)
  assert.deepEqual([(await read())!.n, (await read())!.n], [3, 4])
  assert.equal(told.room, 1)
})

test('disconnect: what came is read, then LIMIT_EXCEEDED; nothing more is taken', async () => {
  const { push, read, told } = inboxOf(2, 'disconnect')
  for (let n = 0; n < 3; n++) push(n)
  assert.equal(push(9), false)
  assert.equal(told.stopped, 1)
  for (let n = 0; n < 3; n++) assert.equal((await read())!.n, n)
  await assert.rejects(read(), (error: TalkwireError) => error.code === 'LIMIT_EXCEEDED')
})

test('who waits gets the next; the end ends it, and leaving a loop stops what brings them', async () => {
  const { push, read, inbox, told } = inboxOf(2, 'wait')
  const waiting = [read(), read()]
  push(1)
  inbox.end()
  assert.deepEqual([(await waiting[0])!.n, await waiting[1], await read()], [1, undefined, undefined])
  const other = inboxOf(2, 'wait')
  other.push(1)
  for await (const item of other.inbox) {
    assert.equal(item.n, 1)
    break
  }
  assert.equal(other.told.stopped, 1)
  assert.equal(told.stopped, 0)
})

test('many: what was taken does not stay', async () => {
  const { push, read, inbox } = inboxOf(100_000, 'wait')
  for (let n = 0; n < 5_000; n++) push(n)
  for (let n = 0; n < 5_000; n++) assert.equal((await read())!.n, n)
  assert.equal(inbox.size, 0)
})
