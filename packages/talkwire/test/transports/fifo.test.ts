import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, lstatSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { LocalEnd, soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve, TalkwireError } from '../../src/index.js'
import { fifo } from '../../src/transports/fifo.js'
import type { Connection, Listener } from '../../src/transports/transport.js'
import { fails } from '../helpers/expect.js'
import '../helpers/place.js'
import { python, run } from '../session/processes.js'
import { fifoSpeaksFirst } from './fixtures/speaks-first.js'
import { eventually, gone, printed, program, script, start } from './fixtures/support.js'

const directory = mkdtempSync(join(tmpdir(), 'tw-fifo-'))
after(() => rmSync(directory, { recursive: true, force: true }))
let next = 0
const address = (): string => `fifo:${directory}/${next++}`

testTransport({
  test,
  transport: fifoSpeaksFirst,
  address,
  remote: async (stage) => {
    start(process.execPath, program('speaks-first'), stage.control, address())
    return stage.listening()
  },
})

const functions = { add: (a: number, b: number) => a + b }
const clients = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))

test('fifo: the Python client calls a TypeScript service', async () => {
  const at = address()
  await using _service = await serve('calc', functions, { listen: at })
  const script = `import talkwire\nwith talkwire.connect(${JSON.stringify(at)}) as c: print(c.add(2, 5))`
  const { stdout } = await promisify(execFile)(python, ['-c', script], { env: { ...process.env, PYTHONPATH: clients } })
  assert.equal(stdout.trim(), '7')
})

test('fifo: a TypeScript client calls a Python service, and notices its death', async () => {
  const at = address()
  const script = `import sys, time, talkwire\ns = talkwire.serve("calc", {"add": lambda a, b: a + b, "hang": lambda: time.sleep(1000)}, listen=[${JSON.stringify(at)}])\nprint("ready", flush=True)\ns.wait()`
  const server = run(python, ['-c', script], { env: { PYTHONPATH: clients } })
  await server.line('ready')
  const client = (await connect(at, { reconnect: false })) as any
  assert.equal(await client.add(2, 5), 7)
  const hanging = client.hang()
  const settled = assert.rejects(hanging, (error: { outcome: string }) => error.outcome === 'maybe-ran')
  await server.kill()
  await settled
  await client.close()
})

test('fifo: opening what nobody answers takes no thread of the pool', async () => {
  const attempts = Array.from({ length: 8 }, () => connect(address()).catch((error: unknown) => error))
  const text = await readFile(fileURLToPath(import.meta.url), 'utf8')
  assert.ok(text.length > 0)
  for (const attempt of await Promise.all(attempts)) fails('PEER_NOT_FOUND')(attempt)
})

test('fifo: the pipes are for their owner only, and gone after close', async () => {
  const at = address()
  const service = await serve('calc', functions, { listen: at })
  const path = at.slice('fifo:'.length)
  for (const end of ['c2s', 's2c']) {
    const stat = lstatSync(`${path}.${end}`)
    assert.ok(stat.isFIFO())
    assert.equal(stat.mode & 0o777, 0o600)
  }
  await service.close()
  for (const end of ['c2s', 's2c']) assert.throws(() => readFileSync(`${path}.${end}`), { code: 'ENOENT' })
})

test('fifo: one client at a time; the next is served when it has left', async () => {
  const at = address()
  await using _service = await serve('calc', functions, { listen: at })
  const first = await connect<typeof functions>(at)
  await assert.rejects(connect(at), fails('ADDRESS_IN_USE'))
  await first.close()
  const second = await connect<typeof functions>(at)
  assert.equal(await second.add(1, 1), 2)
  await second.close()
})

const pathOf = (at: string): string => at.slice('fifo:'.length)

test('fifo: a plain script of another language takes part', async () => {
  const at = address()
  await using service = await serve('calc', functions, { listen: at })
  for (let round = 0; round < 3; round++) {
    const { stdout } = await promisify(execFile)(python, [script('fifo-client.py'), pathOf(at)])
    assert.deepEqual(JSON.parse(stdout), { jsonrpc: '2.0', id: 1, result: 7 })
    // It says nothing when it goes; the server finds out, and its pipes are new.
    await eventually(() => service.peers.length === 0, 'the service notices')
  }
})

test('fifo: a client that is killed is noticed, and the next is served', async () => {
  const at = address()
  await using service = await serve('calc', { ...functions, pid: () => process.pid }, { listen: at })
  for (let round = 0; round < 3; round++) {
    const client = start(process.execPath, program('parent'), at)
    await soon(printed(client), 'the client has called')
    assert.equal(service.peers[0]!.pid, client.pid)
    client.kill('SIGKILL')
    await eventually(() => service.peers.length === 0, 'the service notices')
    // Its files are closed before it is dead, and as long it has the place.
    await gone(client.pid!)
    await using next = await connect<typeof functions>(at)
    assert.equal(await next.add(round, 1), round + 1)
  }
})

test('fifo: nobody gets into the session of a client that is gone, while the service has not noticed', async () => {
  const at = address()
  const server = start(process.execPath, program('calc-server'), at)
  await soon(printed(server), 'the service listens')
  const client = start(process.execPath, program('parent'), at)
  await soon(printed(client), 'the client has called')
  server.kill('SIGSTOP')
  client.kill('SIGKILL')
  await gone(client.pid!)
  const reason = await connect(at, { reconnect: false, limits: { handshake: 200 } }).catch((error: TalkwireError) => error)
  assert.match(String((reason as TalkwireError).message), /PEER_NOT_FOUND.*still holds the session of a client that is gone/)
  server.kill('SIGCONT')
  await using next = await connect<typeof functions>(at)
  assert.equal(await next.add(2, 5), 7)
})

test('fifo: a service that is killed is noticed, another takes its pipes over, and the client heals', async () => {
  const at = address()
  const first = start(process.execPath, program('calc-server'), at)
  await soon(printed(first), 'the service listens')
  await using client = await connect<{ add(a: number, b: number): number; hang(): void }>(at, { reconnect: { initial: 10, max: 50 } })
  assert.equal(await client.add(2, 5), 7)
  const calls = Array.from({ length: 50 }, () => client.hang())
  first.kill('SIGKILL')
  for (const result of await soon(Promise.allSettled(calls), 'every call settles')) {
    assert.equal(result.status, 'rejected')
    assert.equal((result.reason as TalkwireError).outcome, 'maybe-ran')
  }
  await assert.rejects(connect(at, { reconnect: false }), fails('PEER_NOT_FOUND', 'ADDRESS_IN_USE'))
  const second = start(process.execPath, program('calc-server'), at)
  await soon(printed(second), 'the service listens again')
  assert.equal(await soon(client.add(2, 6), 'the client heals'), 8)
})

test('fifo: a server that dies before it has answered is noticed, though nothing was ever read from it', async () => {
  const at = address()
  const server = start(process.execPath, program('calc-server'), at)
  await soon(printed(server), 'the service listens')
  const end = new LocalEnd()
  end.connection = await fifo.connect!(at, end)
  server.kill('SIGKILL')
  assert.equal(await end.ending(), 'CONNECTION_LOST')
})

test('fifo: one more client is told so, and what is in the way is not touched', async () => {
  const at = address()
  const path = pathOf(at)
  writeFileSync(`${path}.c2s`, 'mine')
  await assert.rejects(serve('calc', functions, { listen: at }), fails('ADDRESS_IN_USE'))
  assert.equal(readFileSync(`${path}.c2s`, 'utf8'), 'mine')
  rmSync(`${path}.c2s`)
  writeFileSync(`${path}.target`, 'theirs')
  symlinkSync(`${path}.target`, `${path}.s2c`)
  await assert.rejects(serve('calc', functions, { listen: at }), fails('ADDRESS_IN_USE'))
  assert.equal(readFileSync(`${path}.target`, 'utf8'), 'theirs')
})

test('fifo: pipes that others may use are refused', async () => {
  const at = address()
  await using _service = await serve('calc', functions, { listen: at })
  chmodSync(`${pathOf(at)}.s2c`, 0o666)
  await assert.rejects(connect(at), fails('PERMISSION_DENIED'))
})

test('fifo: malformed addresses and folders that are not there', async () => {
  for (const where of ['fifo:', 'fifo:relative', 'fifo:./x']) {
    await assert.rejects(fifo.connect!(where, new LocalEnd()), fails('INVALID_ADDRESS'))
    await assert.rejects(
      fifo.listen!(where, () => new LocalEnd()),
      fails('INVALID_ADDRESS'),
    )
  }
  await assert.rejects(connect(`fifo:${directory}/nowhere/x`), fails('INVALID_ADDRESS'))
  await assert.rejects(serve('calc', functions, { listen: `fifo:${directory}/nowhere/x` }), fails('INVALID_ADDRESS'))
})

test('fifo: without koffi the pipes are made by the program mkfifo', async () => {
  const at = address()
  const server = start(process.execPath, '--require', script('without-koffi.cjs'), program('calc-server'), at)
  await soon(printed(server), 'the service listens')
  await using client = await connect<typeof functions>(at)
  assert.equal(await client.add(2, 5), 7)
  assert.equal(lstatSync(`${pathOf(at)}.c2s`).mode & 0o777, 0o600)
})

test('fifo: pipes with a writer that never says anything take no thread of the pool', async () => {
  const opened: [Listener, Connection][] = []
  for (let count = 0; count < 8; count++) {
    const at = address()
    opened.push([await fifo.listen!(at, () => new LocalEnd()), await fifo.connect!(at, new LocalEnd())])
  }
  await soon(readFile(fileURLToPath(import.meta.url)), 'a thread')
  for (const [listener, connection] of opened) {
    connection.abort(new TalkwireError('CONNECTION_LOST', 'the test is over'))
    await listener.close()
  }
})
