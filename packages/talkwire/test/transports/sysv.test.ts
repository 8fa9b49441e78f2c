import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { LocalEnd } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve } from '../../src/index.js'
import { SystemVQueue } from '../../src/queues/index.js'
import { sysv } from '../../src/transports/sysv.js'
import { compileC, HAS_CC } from '../helpers/c.js'
import { fails } from '../helpers/expect.js'
import { freshKey } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { functions, testQueueWire } from './fixtures/queue-scenes.js'
import { eventually } from './fixtures/support.js'

const address = (): string => `sysv:${freshKey()}`
const keyOf = (at: string): number => Number(at.slice('sysv:'.length))
const isThere = (key: string | number): boolean => {
  try {
    return SystemVQueue.open(Number(key)) !== undefined
  } catch (reason) {
    fails('NOT_FOUND')(reason)
    return false
  }
}

testTransport({ test, transport: sysv, address })
testQueueWire({
  transport: sysv,
  address,
  isThere,
  remove: (key) => SystemVQueue.remove(Number(key)),
  foreign(key) {
    const queue = SystemVQueue.create(Number(key))
    return { send: (text) => queue.send(text), receive: () => queue.receive(), end: () => queue.remove() }
  },
  // key msqid perms cbytes qnum lspid lrpid …
  pairsOf: (_owner, pid) =>
    readFileSync('/proc/sysvipc/msg', 'latin1')
      .split('\n')
      .filter((line) => line.trim().split(/\s+/).slice(5, 7).includes(String(pid))),
})

test('sysv: a key in decimal or hexadecimal digits, of 32 bits', async () => {
  const key = keyOf(address())
  await using _service = await serve('calc', functions, { listen: `sysv:0x${key.toString(16)}` })
  await using client = await connect<typeof functions>(`sysv:${key}`)
  assert.equal(await client.add(2, 5), 7)
  for (const where of [
    'sysv:',
    'sysv:0',
    'sysv:0x0',
    'sysv:x',
    'sysv:1.5',
    'sysv:4294967296',
    'sysv:-2147483649',
    'sysv:0x100000000',
    'sysv://1',
  ]) {
    await assert.rejects(sysv.connect!(where, new LocalEnd()), fails('INVALID_ADDRESS'))
    await assert.rejects(
      sysv.listen!(where, () => new LocalEnd()),
      fails('INVALID_ADDRESS'),
    )
  }
})

test('sysv: what is no hello is ignored', async () => {
  const at = address()
  await using service = await serve('calc', functions, { listen: at })
  const queue = SystemVQueue.open(keyOf(at))
  const me = `talkwire 1 ${BigInt(process.pid) << 42n}`
  for (const text of ['', 'talkwire 1 1 5 6 -', `${me} 1 2`, `${me} x y -`, `${me} 2147483648 1 -`, 'x'.repeat(5000)])
    await queue.send(text)
  const client = await connect<typeof functions>(at)
  assert.equal(await client.add(1, 2), 3)
  await client.close()
  assert.deepEqual(service.ends, {})
})

test('sysv: a pair that somebody takes away is a loss, on both sides', async () => {
  const at = address()
  const far = new LocalEnd()
  const listener = await sysv.listen!(at, (connection) => far.accepted(connection))
  const before = ids()
  const near = new LocalEnd()
  near.connection = await sysv.connect!(at, near)
  const pair = ids().filter((id) => !before.includes(id))
  for (const id of pair) {
    try {
      SystemVQueue.attach(id).remove()
    } catch {
      // Another test's, which is over.
    }
  }
  await near.do({ do: 'send', sizes: [2] }).catch(() => {})
  assert.equal(await near.ending(), 'CONNECTION_LOST')
  assert.equal(await far.ending(), 'CONNECTION_LOST')
  await listener.close()
})

/** Of queues that this process has used. */
const ids = (): number[] =>
  readFileSync('/proc/sysvipc/msg', 'latin1')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields.slice(5, 7).includes(String(process.pid)))
    .map((fields) => Number(fields[1]))

if (HAS_CC)
  test('sysv: a plain C program calls, by the specification, and rings nobody', async () => {
    const at = address()
    await using service = await serve('calc', functions, { listen: at })
    const client = compileC(import.meta.url, 'system-v-client')
    for (let round = 0; round < 2; round++) {
      const running = run(client, [String(keyOf(at)), 'add', `[2,${round}]`])
      assert.deepEqual(JSON.parse(await running.line('{')), { jsonrpc: '2.0', id: 1, result: 2 + round })
      if (running.child.exitCode === null) await once(running.child, 'exit')
      assert.equal(running.child.exitCode, 0)
      await eventually(() => service.peers.length === 0, 'it has left')
    }
  })
