import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { LocalEnd, soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve, TalkwireError } from '../../src/index.js'
import { abandonedQueues, cleanQueues, PosixQueue } from '../../src/queues/index.js'
import { mq } from '../../src/transports/mq.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import { freshName, place } from '../helpers/place.js'
import { fixture, run } from '../session/processes.js'
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

const functions = { add: (a: number, b: number) => a + b, echo: (bytes: Uint8Array) => bytes }

test('mq: a service by its address, with and without the slash; nothing stays', async () => {
  const at = address()
  const service = await serve('calc', functions, { listen: at.replace(':', ':/') })
  const client = await connect<typeof functions>(at)
  assert.equal(await client.add(2, 5), 7)
  const bytes = new Uint8Array(1_000_000).fill(7)
  assert.deepEqual(Buffer.compare(await client.echo(bytes), bytes), 0)
  assert.equal(service.peers[0]!.pid, process.pid)
  await client.close()
  await service.close()
  assert.equal(isThere(nameOf(at)), false)
  assert.deepEqual(abandonedQueues(), [])
})

test('mq: a service that is killed is noticed, another takes its queue over, and the client heals', async () => {
  const at = address()
  const first = start(process.execPath, program('calc-server'), at)
  await soon(printed(first), 'the service listens')
  await using client = await connect<{ add(a: number, b: number): number; hang(): void }>(at, { reconnect: { initial: 10, max: 50 } })
  const calls = Array.from({ length: 50 }, () => client.hang())
  assert.equal(await client.add(2, 5), 7)
  first.kill('SIGKILL')
  for (const result of await soon(Promise.allSettled(calls), 'every call settles')) {
    assert.equal(result.status, 'rejected')
    assert.equal((result.reason as TalkwireError).outcome, 'maybe-ran')
  }
  await assert.rejects(connect(at, { reconnect: false }), fails('PEER_NOT_FOUND'))
  const second = start(process.execPath, program('calc-server'), at)
  await soon(printed(second), 'the service listens again')
  assert.equal(await soon(client.add(2, 6), 'the client heals'), 8)
  second.stdin!.end()
  await gone(second.pid!)
  // It ended without close(): its queue is found, and goes.
  assert.deepEqual(
    cleanQueues().map(({ kind, name, pid }) => [kind, name, pid]),
    [['mq', nameOf(at), second.pid]],
  )
  assert.equal(isThere(nameOf(at)), false)
})

test('mq: a client that is killed is noticed', async () => {
  const at = address()
  await using service = await serve('calc', { ...functions, pid: () => process.pid }, { listen: at })
  const client = start(process.execPath, program('parent'), at)
  await soon(printed(client), 'the client has called')
  assert.equal(service.peers[0]!.pid, client.pid)
  client.kill('SIGKILL')
  await eventually(() => service.peers.length === 0, 'the service notices')
})

test('mq: a stopped service is not waited for without end, and a killed one is told at once', async () => {
  const at = address()
  const server = start(process.execPath, program('calc-server'), at)
  await soon(printed(server), 'the service listens')
  server.kill('SIGSTOP')
  await assert.rejects(mq.connect!(at, new LocalEnd(), { handshake: 100 }), /PEER_NOT_FOUND.*did not answer/)
  const waiting = assert.rejects(mq.connect!(at, new LocalEnd()), /PEER_NOT_FOUND.*ended before it answered/)
  server.kill('SIGKILL')
  await soon(waiting, 'the end is noticed')
  cleanQueues()
  assert.equal(isThere(nameOf(at)), false)
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

test("mq: another program's queue is not taken, and keeps what is in it", async () => {
  const at = address()
  using queue = PosixQueue.create(nameOf(at), { messages: 2, messageSize: 32 })
  await queue.send('mine')
  await assert.rejects(serve('calc', functions, { listen: at }), fails('ADDRESS_IN_USE'))
  await assert.rejects(connect(at), fails('PEER_NOT_FOUND'))
  assert.equal((await queue.receive()).bytes.toString(), 'mine')
  PosixQueue.unlink(nameOf(at))
})

test("mq: a queue that another program made under the name of a dead service's is not taken away", async () => {
  const at = address()
  const server = start(process.execPath, program('calc-server'), at)
  await soon(printed(server), 'the service listens')
  server.kill('SIGKILL')
  await gone(server.pid!)
  PosixQueue.unlink(nameOf(at))
  using queue = PosixQueue.create(nameOf(at), { messages: 2, messageSize: 32 })
  cleanQueues()
  assert.equal(isThere(queue.name), true)
  assert.deepEqual(abandonedQueues(), [])
  PosixQueue.unlink(queue.name)
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
    `talkwire 1 ${'9'.repeat(20)} a b c`,
    'x'.repeat(queue.messageSize),
  ])
    await queue.send(text)
  await using client = await connect<typeof functions>(at)
  assert.equal(await client.add(1, 2), 3)
  assert.equal(service.peers.length, 1)
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

test('mq: the end of a worker is noticed, though its process goes on', async () => {
  const at = address()
  await using service = await serve('calc', functions, { listen: at })
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.url).then(async ({ connect }) => {
      const client = await connect(workerData.at)
      parentPort.postMessage(await client.add(2, 5))
    })`
  const worker = new Worker(code, { eval: true, workerData: { at, url: new URL('../../src/index.js', import.meta.url).href } })
  assert.deepEqual(await once(worker, 'message'), [7])
  await worker.terminate()
  await eventually(() => service.peers.length === 0, 'the service notices')
})

test('mq: killed at each change of what outlives it, a service leaves nothing that stays', async (t) => {
  for (let at = 1; ; at++) {
    const where = address()
    const running = fixture(import.meta.url, 'queue-sweep.js', where, String(at))
    const ended = once(running.child, 'exit')
    const owner = (await running.line('owner ')).slice('owner '.length)
    await ended
    // Whoever listens next finds the name free.
    const listener = await mq.listen!(where, () => new LocalEnd())
    await listener.close()
    cleanQueues()
    assert.deepEqual(abandonedQueues(), [])
    for (const name of [nameOf(where), `talkwire-${owner}-1.c2s`, `talkwire-${owner}-1.s2c`])
      assert.equal(isThere(name), false, `${name} after change ${at}`)
    if (running.child.signalCode === 'SIGKILL') continue
    const points = Number((await running.line('changes ')).split(' ')[1])
    assert.deepEqual([running.child.exitCode, points], [0, at - 1])
    t.diagnostic(`${points} changes`)
    assert.ok(points >= 12, 'the changes were counted')
    break
  }
})

test('mq: its directory of records may go while it serves', async () => {
  const at = address()
  const service = await serve('calc', functions, { listen: at })
  rmSync(join(place, 'run', 'queues'), { recursive: true })
  await service.close()
  assert.equal(isThere(nameOf(at)), false)
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
