/** What a listener's handler gets, exactly. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { TalkwireError } from '../../src/error.js'
import { handingOf } from '../../src/hub/handing.js'
import { Inbox, type SlowPolicy } from '../../src/hub/inbox.js'

interface Item {
  readonly n: number
  readonly lost: number
}

type Read = (item: Item) => Item | undefined | Promise<Item | undefined>

/** `failed`: what was told of, and of which item. */
function handed(handler: (item: Item) => unknown, read: Read = (item) => item, limit = 100, policy: SlowPolicy = 'wait') {
  const failed: [unknown, number][] = []
  let rooms = 0
  const hooks = { room: () => void rooms++, stop: async () => {} }
  const inbox = new Inbox<Item>(limit, policy, hooks, (item, lost) => ({ ...item, lost }))
  const handing = handingOf(read, handler, (reason, { n }) => failed.push([reason, n]))
  return {
    ...handing,
    inbox,
    failed,
    rooms: () => rooms,
    came: (n: number) => handing.came(inbox, { n, lost: 0 }),
    end(error?: TalkwireError) {
      inbox.end(error)
      handing.over(inbox)
    },
  }
}

/** A handler that ends when it is told to. */
function slow() {
  const begun: Item[] = []
  let end = (): void => {}
  const handler = (item: Item): Promise<void> => {
    begun.push(item)
    return new Promise((resolve) => (end = resolve))
  }
  const next = async (): Promise<void> => {
    end()
    await turn()
  }
  return { begun, handler, next, numbers: () => begun.map(({ n }) => n) }
}

test('who keeps up is called at once, while it comes', () => {
  const got: number[] = []
  const { came, inbox } = handed(({ n }) => got.push(n))
  for (let n = 0; n < 3; n++) assert.equal(came(n), true)
  assert.deepEqual([got, inbox.size], [[0, 1, 2], 0])
})

test('the next one waits until what the handler returned has settled; what comes meanwhile is told when it is enough', async () => {
  const { numbers, handler, next } = slow()
  const { came, rooms } = handed(handler, undefined, 2)
  assert.deepEqual([0, 1, 2].map(came), [true, true, false])
  assert.deepEqual(numbers(), [0])
  await next()
  assert.deepEqual([numbers(), rooms()], [[0, 1], 1])
  await next()
  await next()
  assert.equal(came(3), true)
  assert.deepEqual(numbers(), [0, 1, 2, 3])
})

test('drop-oldest: who is slow is told how many went', async () => {
  const { begun, handler, next } = slow()
  const { came, inbox } = handed(handler, undefined, 2, 'drop-oldest')
  for (let n = 0; n < 6; n++) came(n)
  await next()
  assert.deepEqual(begun[1], { n: 4, lost: 3 })
  await next()
  await next()
  inbox.lost(2)
  came(6)
  assert.deepEqual(begun[3], { n: 6, lost: 2 })
})

test('what a handler throws is told, and the next one comes; so is what cannot be read', async () => {
  const now = new Error('now')
  const later = new Error('later')
  const unread = new Error('unread')
  const got: number[] = []
  const { came, failed } = handed(
    async ({ n }) => {
      got.push(n)
      await turn()
      if (n === 1) throw later
    },
    ({ n, lost }) => {
      if (n === 0) throw now
      if (n === 2) return Promise.reject(unread)
      return n === 3 ? undefined : Promise.resolve(n === 4 ? undefined : { n, lost })
    },
  )
  for (let n = 0; n < 6; n++) came(n)
  while (got.length < 2) await turn()
  assert.deepEqual(got, [1, 5])
  assert.deepEqual(failed, [
    [now, 0],
    [later, 1],
    [unread, 2],
  ])
})

test('closed: when nothing comes any more, what waited was handed over, and the last handler has ended', async () => {
  const { numbers, handler, next } = slow()
  const { came, end, closed } = handed(handler)
  let isClosed = false
  closed.then(
    () => (isClosed = true),
    () => {},
  )
  came(0)
  came(1)
  end()
  assert.equal(came(2), false)
  await next()
  assert.deepEqual([numbers(), isClosed], [[0, 1], false])
  await next()
  await closed
  assert.deepEqual(numbers(), [0, 1])
})

test('closed rejects with what ended it', async () => {
  const lost = new TalkwireError('LIMIT_EXCEEDED', 'too slow')
  const { came, end, closed } = handed(() => {})
  came(0)
  end(lost)
  await assert.rejects(closed, lost)
})

test('who closes while a handler runs gets nothing that waited', async () => {
  const { numbers, handler, next } = slow()
  const { came, over, closed, inbox } = handed(handler)
  came(0)
  came(1)
  await inbox.return()
  over(inbox)
  await next()
  await closed
  assert.deepEqual(numbers(), [0])
})
