import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { fstatSync } from 'node:fs'
import { test } from 'node:test'
import { LocalEnd, soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve } from '../../src/index.js'
import { cleanQueues, PosixQueue } from '../../src/queues/index.js'
import { mq } from '../../src/transports/mq.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import { freshName } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { functions, testQueueWire } from './fixtures/queue-scenes.js'
import { descriptorsOf } from '../helpers/descriptors.js'
import { eventually, gone, printed, program, start } from './fixtures/support.js'

const address = (): string => `mq:tw-test-${freshName()}`
const nameOf = (at: string): string => at.slice('mq:'.length)
const isThere = (name: string): boolean => {
  try {
    PosixQueue.open(name).close()
    return true
  } catch (reason) {
    fails('NOT_FOUND')(reason)
    return false
  }
}

testTransport({ test, transport: mq, address })
testQueueWire({
  transport: mq,
  address,
  isThere,
  remove: (name) => PosixQueue.unlink(name),
  foreign(name) {
    const queue = PosixQueue.create(name, { messages: 2, messageSize: 32 })
    return {
      send: (text) => queue.send(text),
      receive: () => queue.receive(),
      end() {
        queue.close()
        PosixQueue.unlink(name)
      },
    }
  },
  pairsOf: (owner) => ['c2s', 's2c'].map((way) => `talkwire-${owner}-1.${way}`).filter(isThere),
})

test('mq: an address may have the slash of C programs', async () => {
  const at = address()
  await using _service = await serve('calc', functions, { listen: at.replace(':', ':/') })
  await using client = await connect<typeof functions>(at)
  assert.equal(await client.add(2, 5), 7)
})

test('mq: its queues are this user alone’s, whatever the umask', async () => {
  const before = process.umask(0)
  try {
    const at = address()
    await using _service = await serve('calc', functions, { listen: at })
    await using client = await connect<typeof functions>(at)
    assert.equal(await client.add(2, 5), 7)
    const queues = Array.from(descriptorsOf('self')).filter(([, to]) => /^\/(tw-test-|talkwire-)[^/]+$/.test(to))
    const modes = queues.map(([fd]) => fstatSync(fd).mode & 0o777)
    assert.ok(modes.length >= 3, String(modes.length))
    assert.deepEqual(new Set(modes), new Set([0o600]))
  } finally {
    process.umask(before)
  }
})

test("mq: a stopped service's queue takes more hellos than it holds", async () => {
  const at = address()
  const server = start(process.execPath, program('calc-server'), at)
  await soon(printed(server), 'the service listens')
  server.kill('SIGSTOP')
  const clients = Array.from({ length: 15 }, () => connect<typeof functions>(at, { reconnect: false }))
  using queue = PosixQueue.open(nameOf(at))
  await eventually(() => queue.waiting === queue.messages, 'the queue is full')
  server.kill('SIGCONT')
  for (const client of await Promise.all(clients)) {
    assert.equal(await client.add(1, 2), 3)
    await client.close()
  }
  server.stdin!.end()
  await gone(server.pid!)
  cleanQueues()
})

test('mq: what is no hello is ignored, and nobody is let in by it', async () => {
  const at = address()
  await using service = await serve('calc', functions, { listen: at })
  using queue = PosixQueue.open(nameOf(at))
  const dead = run(process.execPath, ['-e', ''])
  await once(dead.child, 'exit')
  for (const text of [
    '',
    'talkwire',
    'talkwire 1',
    'talkwire 1 1 a b',
    `talkwire 1 ${(BigInt(dead.pid) << 42n) + 1n} a b`,
    `talkwire 1 ${BigInt(process.pid) << 42n} ../a b`,
    `talkwire 1 ${(BigInt(dead.pid) << 42n) + 1n} ${nameOf(at)} ${nameOf(at)}`,
    `talkwire 1 ${'9'.repeat(20)} a b c`,
    'x'.repeat(queue.messageSize),
  ])
    await queue.send(text)
  const client = await connect<typeof functions>(at)
  assert.equal(await client.add(1, 2), 3)
  assert.equal(service.peers.length, 1)
  await client.close()
  assert.deepEqual(service.ends, {}, 'nobody else was let in')
})

test('mq: malformed addresses', async () => {
  for (const where of ['mq:', 'mq:/', 'mq:a/b', 'mq://a', 'mq:../a', 'mq:a b', `mq:${'x'.repeat(65)}`]) {
    await assert.rejects(mq.connect!(where, new LocalEnd()), fails('INVALID_ADDRESS'))
    await assert.rejects(
      mq.listen!(where, () => new LocalEnd()),
      fails('INVALID_ADDRESS'),
    )
  }
})

test('mq: more connections than a user may have queues for: the next is refused with what to do, the others go on', async () => {
  const script = `
    import { connect, serve } from ${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)}
    const at = process.argv[1]
    const service = await serve('calc', { add: (a, b) => a + b }, { listen: at })
    const first = await connect(at)
    await connect(at).then((second) => second.close(), (reason) => console.log(reason.code))
    console.log(await first.add(2, 5))
    await first.close()
    await service.close()`
  const words = ['--msgqueue=30000', process.execPath, '--input-type=module', '-e', script, address()]
  // A user's queues are counted together: in a user name space of its own, nobody else's are.
  assert.equal(execFileSync('unshare', ['--user', 'prlimit', ...words], { encoding: 'utf8' }), 'LIMIT_EXCEEDED\n7\n')
})

if (HAS_CC)
  test('mq: a plain C program calls, by the specification', async () => {
    const at = address()
    await using service = await serve('calc', functions, { listen: at })
    const client = compileC(import.meta.url, 'queue-client')
    for (let round = 0; round < 2; round++) {
      const running = run(client, [nameOf(at), 'add', `[2,${round}]`])
      assert.deepEqual(JSON.parse(await running.line('{')), { jsonrpc: '2.0', id: 1, result: 2 + round })
      if (running.child.exitCode === null) await once(running.child, 'exit')
      assert.equal(running.child.exitCode, 0)
      await eventually(() => service.peers.length === 0, 'it has left')
      for (const end of ['c2s', 's2c']) assert.equal(isThere(`${nameOf(at)}.${running.pid}.${end}`), false)
    }
  })
