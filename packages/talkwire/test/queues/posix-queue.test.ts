/** POSIX message queues, alone and with programs in C. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { PosixQueue, type PosixQueueOptions } from '../../src/queues/posix-queue.js'
import { turns } from '../../compliance/ends.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import { MAY_BE_OTHERS } from '../helpers/other-user.js'
import { freshName } from '../helpers/place.js'
import { fixture, run } from '../session/processes.js'

const names: string[] = []
/** Taken away with the test, if it is still there. */
function name(): string {
  names.push(`tw-test-${freshName()}`)
  return names.at(-1)!
}
after(() => {
  for (const each of names)
    try {
      PosixQueue.unlink(each)
    } catch {}
})

/** Small ones: all tests of this user share what queues may take. */
const SMALL: PosixQueueOptions = { messages: 4, messageSize: 64 }
const create = (options = SMALL): PosixQueue => PosixQueue.create(name(), options)
const text = ({ bytes, priority }: { bytes: Buffer; priority: number }): string => `${priority} ${bytes.toString()}`

test('the highest priority comes first, equal ones in the order sent', async () => {
  using queue = create()
  for (const [word, priority] of [
    ['low', 0],
    ['high', 7],
    ['low too', 0],
    ['highest', 32_767],
  ] as const)
    await queue.send(word, { priority })
  assert.equal(queue.waiting, 4)
  const got = [queue.tryReceive()!, queue.receiveSync(), await queue.receive(), queue.tryReceive()!]
  assert.deepEqual(got.map(text), ['32767 highest', '7 high', '0 low', '0 low too'])
  assert.deepEqual([queue.tryReceive(), queue.waiting], [undefined, 0])
})

test('it is made, opened or both, with its size; the name may have its slash', () => {
  const at = name()
  assert.throws(() => PosixQueue.open(at), fails('NOT_FOUND'))
  using made = PosixQueue.openOrCreate(at, SMALL)
  assert.throws(() => PosixQueue.create(`/${at}`), fails('ALREADY_EXISTS'))
  using same = PosixQueue.openOrCreate(`/${at}`, { messages: 2 })
  assert.deepEqual([same.name, same.messages, same.messageSize], [at, 4, 64])
  assert.equal(same.tryReceive(), undefined, 'what was only opened does not block either')
  assert.equal(made.trySend('x'), true)
  PosixQueue.unlink(at)
  assert.throws(() => PosixQueue.unlink(at), fails('NOT_FOUND'))
  assert.equal(same.tryReceive()!.bytes.toString(), 'x', 'who has it open keeps it')
})

test('a full queue: trySend says so, send waits; those who wait go in the order in which they came', async () => {
  using queue = create({ messages: 2, messageSize: 8 })
  for (let index = 0; index < 2; index++) assert.equal(queue.trySend(String(index)), true)
  assert.equal(queue.trySend('no'), false)
  const sending = [queue.send('2'), queue.send('3'), queue.send('4')]
  await turns()
  const got: string[] = []
  for (let index = 0; index < 5; index++) got.push((await queue.receive()).bytes.toString())
  await Promise.all(sending)
  assert.deepEqual(got, ['0', '1', '2', '3', '4'])
  for (const word of ['a', 'b']) await queue.send(word)
  const first = queue.send('first')
  queue.receiveSync()
  const late = queue.send('late')
  await Promise.race([first, late])
  assert.deepEqual([queue.receiveSync(), queue.receiveSync()].map(text), ['0 b', '0 first'])
  await Promise.all([first, late])
})

test('those who wait for messages get one each, in the order in which they came', async () => {
  using queue = create()
  const waiting = Array.from({ length: 3 }, () => queue.receive())
  await turns()
  using other = PosixQueue.open(queue.name)
  for (const word of ['a', 'b', 'c', 'd']) await other.send(word)
  assert.deepEqual((await Promise.all(waiting)).map(text), ['0 a', '0 b', '0 c'])
  assert.equal((await queue.receive()).bytes.toString(), 'd')
  const first = queue.receive()
  await turns()
  // It is there before the one that waits looks, and another one comes.
  other.trySend('e')
  const late = queue.receive()
  other.trySend('f')
  assert.deepEqual((await Promise.all([first, late])).map(text), ['0 e', '0 f'])
})

test('waiting ends with its time, its signal, or close()', async () => {
  const queue = create({ messages: 1, messageSize: 8 })
  await assert.rejects(queue.receive({ timeout: 20 }), fails('DEADLINE_EXCEEDED'))
  assert.throws(() => queue.receiveSync({ timeout: 20 }), fails('DEADLINE_EXCEEDED'))
  const controller = new AbortController()
  const given = assert.rejects(queue.receive({ signal: controller.signal }), (reason) => reason === 'enough')
  controller.abort('enough')
  await given
  await assert.rejects(queue.receive({ signal: AbortSignal.abort('before') }), (reason) => reason === 'before')
  await queue.send('x')
  await assert.rejects(queue.send('y', { timeout: 20 }), fails('DEADLINE_EXCEEDED'))
  const sending = assert.rejects(queue.send('y'), fails('CLOSED'))
  await turns()
  queue.close()
  await sending
  await assert.rejects(queue.receive(), fails('CLOSED'))
  assert.throws(() => queue.trySend('x'), fails('CLOSED'))
  assert.throws(() => queue.waiting, fails('CLOSED'))
})

test('an iterator takes what comes until the queue is closed here', async () => {
  const queue = create()
  const got: string[] = []
  const reading = (async () => {
    for await (const message of queue) got.push(text(message))
  })()
  await queue.send('one')
  await queue.send('two', { priority: 1 })
  while (got.length < 2) await turns()
  queue.close()
  await reading
  assert.equal(got.length, 2)
})

test('what is empty, of the largest size, and one byte too large', async () => {
  using queue = create()
  await queue.send(new Uint8Array(0))
  assert.equal((await queue.receive()).bytes.length, 0)
  const bytes = Buffer.alloc(64, 'x')
  await queue.send(bytes)
  bytes.fill(0)
  assert.equal((await queue.receive()).bytes.toString(), 'x'.repeat(64))
  await assert.rejects(queue.send('x'.repeat(65)), fails('MESSAGE_TOO_LARGE'))
  for (const priority of [-1, 32_768, 0.5]) assert.throws(() => queue.trySend('x', { priority }), RangeError)
})

test('wrong names and sizes, and more than the kernel allows, are refused with what to do', () => {
  for (const wrong of ['', '/', 'a/b', '../x', '.', 'a\0b', 'a\nb', 'x'.repeat(256)])
    assert.throws(() => PosixQueue.create(wrong), fails('INVALID_ADDRESS'))
  for (const messages of [0, -1, 1.5]) assert.throws(() => PosixQueue.create(name(), { messages }), RangeError)
  assert.throws(() => PosixQueue.create(name(), { messages: 100_000 }), /LIMIT_EXCEEDED.*msg_max/)
})

const refused = (what: string, at: string, ...before: string[]): string => {
  const words = [...before, process.execPath, fileURLToPath(new URL('fixtures/refused.js', import.meta.url)), what, at]
  return execFileSync(words[0]!, words.slice(1), { encoding: 'utf8' })
}

test('a user whose queues take all they may is told how much that is', () => {
  assert.match(refused('limit', name(), 'prlimit', '--msgqueue=1000'), /LIMIT_EXCEEDED.*ulimit -q/)
})

if (MAY_BE_OTHERS)
  test('another user is not let in, unless the mode says so', () => {
    using queue = create()
    assert.match(refused('other-user', queue.name), /PERMISSION_DENIED/)
  })

test('messages of one queue go to each of several processes, and to nobody twice', async () => {
  using queue = create()
  const takers = await Promise.all(
    Array.from({ length: 3 }, async () => {
      const taker = fixture(import.meta.url, 'taker.js', queue.name)
      await taker.line('ready')
      return taker
    }),
  )
  for (let index = 0; index < 300; index++) await queue.send(String(index))
  for (let index = 0; index < 3; index++) await queue.send('end')
  let sum = 0
  for (const taker of takers) sum += Number((await taker.line('taken ')).split(' ')[1])
  assert.equal(sum, 300)
})

test('no descriptor is left behind, and nobody who waits for nothing keeps a process alive', async () => {
  const round = async (): Promise<void> => {
    for (let index = 0; index < 10; index++) {
      using queue = create({ messages: 1, messageSize: 8 })
      const waiting = queue.receive()
      await queue.send('x')
      await waiting
      await queue.send('x')
      const full = queue.send('y')
      queue.receiveSync()
      await full
    }
  }
  const open = (): number => readdirSync('/proc/self/fd').length
  await round()
  await turns()
  const before = open()
  await round()
  while (open() > before) await turns()
  const at = name()
  const code = `import { PosixQueue } from ${JSON.stringify(new URL('../../src/queues/index.js', import.meta.url).href)}
    const queue = PosixQueue.create(${JSON.stringify(at)}, { messages: 1, messageSize: 8 })
    setTimeout(() => queue.trySend('x'), 10)
    await queue.receive()
    process.stdout.write('over\\n')`
  const child = run(process.execPath, ['--input-type=module', '-e', code])
  const [status] = (await once(child.child, 'exit')) as [number]
  assert.equal(status, 0)
  assert.deepEqual(child.lines, ['over'])
})

if (HAS_CC) {
  const program = compileC(import.meta.url, 'mqueue')
  const c = (...words: string[]): string => execFileSync(program, words, { encoding: 'utf8' })

  test('a queue that a C program made, in both directions and with priorities', async () => {
    const at = name()
    c('create', `/${at}`, '4', '32')
    using queue = PosixQueue.open(at)
    assert.deepEqual([queue.messages, queue.messageSize], [4, 32])
    c('send', `/${at}`, '0', 'slow', 'slower')
    c('send', `/${at}`, '9', 'now')
    assert.deepEqual([await queue.receive(), await queue.receive(), queue.receiveSync()].map(text), ['9 now', '0 slow', '0 slower'])
    await queue.send('plain')
    await queue.send('urgent', { priority: 5 })
    assert.equal(c('receive', `/${at}`, '2'), '5 urgent\n0 plain\n')
    c('unlink', `/${at}`)
    assert.throws(() => PosixQueue.open(at), fails('NOT_FOUND'))
  })

  test('who waits here is woken by a C program, and one that waits there by us', async () => {
    using queue = create({ messages: 1, messageSize: 32 })
    const waiting = queue.receive()
    await turns()
    c('send', `/${queue.name}`, '3', 'wake up')
    assert.equal(text(await waiting), '3 wake up')
    const receiver = run(program, ['receive', `/${queue.name}`, '3'])
    for (const word of ['a', 'b', 'c']) await queue.send(word, { priority: 1 })
    assert.equal(await receiver.line('1 c'), '1 c')
    await queue.send('there is no room')
    const sending = queue.send('now there is')
    assert.equal(c('receive', `/${queue.name}`, '1'), '0 there is no room\n')
    await sending
  })
}
