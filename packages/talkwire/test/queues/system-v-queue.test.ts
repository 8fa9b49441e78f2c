/** System V message queues, alone and with programs in C; ipcs(1) sees them. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { after, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { turns } from '../../compliance/ends.js'
import { largestMessage } from '../../src/kernel/system-v-queue.js'
import { SystemVQueue } from '../../src/queues/system-v-queue.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import { freshKey, freshPath } from '../helpers/place.js'
import { run } from '../session/processes.js'

const made: SystemVQueue[] = []
/** Taken away with the test, if it is still there. */
function create(key = freshKey()): SystemVQueue {
  made.push(SystemVQueue.create(key))
  return made.at(-1)!
}
after(() => {
  for (const queue of made) queue.remove()
})

const text = ({ type, bytes }: { type: number; bytes: Buffer }): string => `${type} ${bytes.toString()}`

test('messages of a type, of the lowest types, or of any, oldest first', async () => {
  const queue = create()
  for (const [word, type] of [
    ['b', 2],
    ['a', 1],
    ['e', 2 ** 40],
    ['b2', 2],
    ['c', 3],
  ] as const)
    await queue.send(word, { type })
  assert.equal(queue.inspect().waiting, 5)
  const got = [
    queue.tryReceive({ type: 3 })!,
    await queue.receive({ type: -2 }),
    queue.receiveSync(),
    queue.receiveSync({ type: -9 }),
    queue.tryReceive()!,
  ]
  assert.deepEqual(got.map(text), ['3 c', '1 a', '2 b', '2 b2', `${2 ** 40} e`])
  assert.equal(queue.tryReceive(), undefined)
})

test('it is made, opened or both, by a key, a path and a number, or without either', () => {
  const key = freshKey()
  assert.throws(() => SystemVQueue.open(key), fails('NOT_FOUND'))
  const queue = SystemVQueue.openOrCreate(key)
  made.push(queue)
  assert.throws(() => SystemVQueue.create(key), fails('ALREADY_EXISTS'))
  assert.equal(SystemVQueue.openOrCreate(key).id, queue.id)
  assert.equal(SystemVQueue.attach(queue.id).trySend('x'), true)
  assert.equal(SystemVQueue.open(key).tryReceive()!.bytes.toString(), 'x')
  const path = freshPath()
  writeFileSync(path, '')
  const placed = SystemVQueue.create({ path, project: 65 })
  assert.equal(SystemVQueue.open({ path, project: 65 }).id, placed.id)
  placed.remove()
  placed.remove()
  const nameless = SystemVQueue.create(undefined)
  assert.equal(SystemVQueue.attach(nameless.id).id, nameless.id)
  nameless.remove()
  assert.throws(() => SystemVQueue.attach(nameless.id), fails('NOT_FOUND'))
  SystemVQueue.remove(key)
  assert.throws(() => SystemVQueue.remove(key), fails('NOT_FOUND'))
  for (const wrong of [0, 0.5, 2 ** 32, NaN]) assert.throws(() => SystemVQueue.create(wrong), RangeError)
})

test('a full queue: trySend says so; those who wait go in the order in which they came', async () => {
  const queue = create()
  const large = 'x'.repeat(queue.inspect().capacity / 2)
  assert.deepEqual([queue.trySend(large), queue.trySend(large), queue.trySend('no')], [true, true, false])
  const sending = ['1', '2', '3', '4', '5'].map((word) => queue.send(word))
  await turns()
  const got: string[] = []
  for (let index = 0; index < 7; index++) got.push((await queue.receive()).bytes.toString())
  await Promise.all(sending)
  assert.deepEqual(got.slice(2), ['1', '2', '3', '4', '5'])
  for (let index = 0; index < 2; index++) await queue.send(large)
  const first = queue.send('first')
  queue.receiveSync()
  await Promise.all([first, queue.send('late')])
  queue.receiveSync()
  assert.deepEqual([queue.receiveSync(), queue.receiveSync()].map(text), ['1 first', '1 late'])
})

test('one who gives up does not keep those behind it waiting', async () => {
  const queue = create()
  const large = Buffer.alloc(queue.inspect().capacity / 2)
  for (let index = 0; index < 2; index++) await queue.send(large)
  const given = assert.rejects(queue.send('never', { timeout: 10 }), fails('DEADLINE_EXCEEDED'))
  const next = queue.send('next')
  await given
  queue.receiveSync()
  await next
  assert.equal(queue.inspect().waiting, 2)
})

test('waiting ends with its time, its signal, or when the queue is removed', async () => {
  const queue = create()
  await assert.rejects(queue.receive({ timeout: 10 }), fails('DEADLINE_EXCEEDED'))
  assert.throws(() => queue.receiveSync({ timeout: 10 }), fails('DEADLINE_EXCEEDED'))
  await assert.rejects(queue.receive({ signal: AbortSignal.abort('before') }), (reason) => reason === 'before')
  const controller = new AbortController()
  const given = assert.rejects(queue.receive({ signal: controller.signal }), (reason) => reason === 'enough')
  controller.abort('enough')
  await given
  const waiting = assert.rejects(queue.receive({ type: 99 }), fails('NOT_FOUND'))
  const got: string[] = []
  const reading = (async () => {
    for await (const message of queue) got.push(text(message))
  })()
  await queue.send('one', { type: 4 })
  while (got.length === 0) await delay(1)
  queue.remove()
  await Promise.all([waiting, reading])
  await assert.rejects(queue.send('x'), fails('NOT_FOUND'))
})

test('what is empty, of the largest size, and one byte too large', async () => {
  const queue = create()
  await queue.send(new Uint8Array(0))
  assert.equal(queue.tryReceive()!.bytes.length, 0)
  await queue.send(Buffer.alloc(largestMessage(), 'x'))
  assert.equal(queue.tryReceive()!.bytes.toString(), 'x'.repeat(largestMessage()))
  await assert.rejects(queue.send(Buffer.alloc(largestMessage() + 1)), fails('MESSAGE_TOO_LARGE'))
  for (const type of [0, -1, 0.5, 2 ** 53]) assert.throws(() => queue.trySend('x', { type }), RangeError)
  assert.throws(() => queue.tryReceive({ type: 0.5 }), RangeError)
})

if (HAS_CC) {
  const program = compileC(import.meta.url, 'msgqueue')
  const c = (...words: (string | number)[]): string => execFileSync(program, words.map(String), { encoding: 'utf8' })

  test('a queue that a C program made, in both directions and with types; ipcs sees it', async () => {
    const key = freshKey()
    c('create', key)
    const queue = SystemVQueue.open(key)
    made.push(queue)
    c('send', key, 2, 'second', 'third')
    c('send', key, 1, 'first')
    assert.deepEqual([await queue.receive({ type: -5 }), await queue.receive(), queue.receiveSync()].map(text), [
      '1 first',
      '2 second',
      '2 third',
    ])
    await queue.send('for nobody', { type: 9 })
    await queue.send('for you', { type: 7 })
    const hex = `0x${(key >>> 0).toString(16).padStart(8, '0')}`
    assert.match(execFileSync('ipcs', ['-q'], { encoding: 'utf8' }), new RegExp(`^${hex} +${queue.id} .* 600 +17 +2 *$`, 'm'))
    assert.equal(c('receive', key, 7, 1), '7 for you\n')
    c('remove', key)
    assert.throws(() => queue.tryReceive(), fails('NOT_FOUND'))
  })

  test('who waits here gets what a C program sends, and one that waits there what we send', async () => {
    const queue = create()
    const waiting = queue.receive({ type: 3 })
    c('send', queue.key!, 3, 'wake up')
    assert.equal(text(await waiting), '3 wake up')
    const receiver = run(program, ['receive', String(queue.key), '0', '3'])
    for (const word of ['a', 'b', 'c']) await queue.send(word, { type: 5 })
    assert.equal(await receiver.line('5 c'), '5 c')
  })
}
