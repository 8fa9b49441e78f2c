/** Row 4, 10,000 connections, and the faults of TRAPS §4: peer death, EMFILE, what a child inherits. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import net from 'node:net'
import { afterEach, beforeEach, test } from 'node:test'
import { connect, TalkwireError } from '../../src/index.js'
import { freshPath } from '../helpers/place.js'
import { fixture, type Running } from '../session/processes.js'
import {
  descriptorsOf,
  dial,
  frame,
  hello,
  memoryOf,
  peerOn,
  raw,
  staysHealthy,
  startHonest,
  startVictim,
  until,
  type Raw,
  type Victim,
} from './attack.js'
import type { Victim as Functions } from './fixtures/victim.js'

let victim: Victim
let helpers: Running[] = []
beforeEach(async () => {
  victim = await startVictim()
})
afterEach(async () => {
  for (const helper of helpers) await helper.kill()
  helpers = []
  await victim.running.kill()
})

/** Descriptors of a process and what they are: `3 socket:[4711]`. */
function openIn(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`]
    } catch {
      // Closed since.
      return []
    }
  })
}

/** Addresses that a process listens on: /proc/net/tcp*, by the inodes of its descriptors. */
function listening(pid: number): string[] {
  const inodes = new Set(openIn(pid).map((each) => /socket:\[(\d+)\]/.exec(each)?.[1]))
  return ['tcp', 'tcp6'].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, 'utf8')
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === '0A' && inodes.has(fields[9]))
      .map((fields) => fields[1]!.split(':')[0]!),
  )
}
const LOOPBACK = new Set(['0100007F', '00000000000000000000000001000000'])

test('row 4: no listener is reachable beyond loopback unless told: by name, by path, abstract, and on every loopback host', async () => {
  await victim.end()
  victim = await startVictim({
    listen: [
      `unix:${freshPath('.sock')}`,
      `unix:@t${process.pid}`,
      'tcp://127.0.0.1:0',
      'tcp://localhost:0',
      'tcp://[::1]:0',
      'tcp://127.9.9.9:0',
    ],
  })
  const bound = listening(victim.pid)
  assert.equal(bound.length, 4)
  for (const each of bound) assert.ok(LOOPBACK.has(each) || each.endsWith('7F'), each)
  const { serve } = await import('../../src/index.js')
  for (const address of ['tcp://0.0.0.0:0', 'tcp://[::]:0', 'tcp://[::ffff:0.0.0.0]:0']) {
    await assert.rejects(
      async () => serve('open', { add: (a: number) => a }, { listen: address }),
      (error: TalkwireError) => error.code === 'PERMISSION_DENIED' || error.code === 'INVALID_ADDRESS',
      address,
    )
  }
  assert.deepEqual(listening(process.pid), [])
})

test('10,000 connections from two processes: all up to the limit are served, more are refused and counted, an honest client goes on, all is back afterwards', async (t) => {
  await victim.end()
  victim = await startVictim({ limits: { connections: 9_000 } })
  const { descriptors, memory } = await staysHealthy(t, victim, async () => {
    helpers = [fixture(import.meta.url, 'crowd.js', victim.unix, '5000'), fixture(import.meta.url, 'crowd.js', victim.tcp, '5000')]
    const told = await Promise.all(helpers.map((helper) => helper.line('crowd ')))
    const [served, refused] = told
      .map((line) => line.split(' ').slice(1).map(Number))
      .reduce(([a, b], [c, d]) => [a! + c!, b! + d!], [0, 0])
    t.diagnostic(`${served} served, ${refused} refused; ${Math.round(memoryOf(victim.pid))} MiB, ${descriptorsOf(victim.pid)} descriptors`)
    assert.equal(served! + refused!, 10_000)
    // The honest one is among them.
    assert.equal(served, 8_999)
    for (const helper of helpers) await helper.kill()
    await until('all are gone', async () => (await victim.health()).peers <= 1)
  })
  assert.ok(descriptors[1] <= descriptors[0], `descriptors ${descriptors.join(' -> ')}`)
  t.diagnostic(`memory ${memory.join(' -> ')} MiB`)
  assert.equal((await victim.health()).ends['LIMIT_EXCEEDED'], 1001)
})

const CLOSED = new Set(['CONNECTION_LOST', 'CONNECTION_CLOSED'])
/** While the victim has not noticed the relief, what it cannot accept is closed at once, or reset if our hello has arrived. */
async function connectAfter(relief: number) {
  for (;;) {
    try {
      return await connect<Functions>(victim.tcp)
    } catch (reason) {
      if (!CLOSED.has((reason as TalkwireError).code) || performance.now() - relief > 20_000) throw reason
    }
  }
}

test('EMFILE: with ulimit -n 64 the listener survives 300 connections, those served go on, and it serves anew after the relief', async (t) => {
  await victim.end()
  victim = await startVictim({}, 64)
  const honest = await startHonest(victim.unix)
  const crowd: net.Socket[] = []
  for (let i = 0; i < 300; i++) {
    const socket = net.connect(i % 2 ? { path: victim.unix.slice(5) } : { port: Number(new URL(victim.tcp).port), host: '127.0.0.1' })
    socket.on('error', () => {}).resume()
    crowd.push(socket)
  }
  await until('the limit is reached', () => descriptorsOf(victim.pid) >= 62)
  await honest.sample()
  await until('calls that are served', async () => (await honest.count()) > 10)
  const { errors, calls } = await honest.sample()
  assert.deepEqual(errors, [])
  for (const socket of crowd) socket.destroy()
  const start = performance.now()
  const client = await connectAfter(start)
  assert.equal(await client.add(1, 2), 3)
  t.diagnostic(`${calls} calls served meanwhile; new connection ${Math.round(performance.now() - start)} ms after relief`)
  await client.close()
  await honest.end()
  await until('the descriptors are back', () => descriptorsOf(victim.pid) < 40)
})

test('a listener whose queue is full: a Unix socket refuses with EAGAIN, and our client waits its turn', async () => {
  const sockets: net.Socket[] = []
  process.kill(victim.pid, 'SIGSTOP')
  for (let full = false; !full;) {
    const socket = net.connect(victim.unix.slice('unix:'.length))
    sockets.push(socket.resume())
    full = await new Promise<boolean>((resolve) => socket.once('connect', () => resolve(false)).once('error', () => resolve(true)))
    assert.ok(sockets.length < 10_000)
  }
  const connecting = connect<Functions>(victim.unix)
  const first = await Promise.race([connecting.then(() => 'connected'), new Promise((resolve) => setTimeout(resolve, 100, 'waits'))])
  assert.equal(first, 'waits')
  process.kill(victim.pid, 'SIGCONT')
  const client = await connecting
  assert.equal(await client.add(1, 2), 3)
  await client.close()
  for (const socket of sockets) socket.on('error', () => {}).destroy()
})

test('exec leak: a child that the service spawns with connections open has descriptors 0 to 2 only', async () => {
  const peers = [await raw(victim.unix), await raw(victim.tcp), await raw(victim.unix)]
  for (const peer of peers) await peer.call('add', [1, 2])
  // What whoever started these tests left open for all its children is no doing of ours.
  const inherited = openIn(process.pid)
  const open = ((await peers[0]!.call('child', [])).result as string[]).filter((each) => !inherited.includes(each))
  assert.deepEqual(open.map((each) => each.split(' ')[0]).sort(), ['0', '1', '2'], open.join('; '))
  for (const { socket } of peers) socket.destroy()
})

test('peer death: a server killed with 100 calls, a stream and a callback in flight: each settles once, maybe-ran; the end is seen in milliseconds', async (t) => {
  for (const wire of ['unix', 'tcp'] as const) {
    const client = await connect<Functions>(victim[wire], { reconnect: false })
    const settled = new Map<number, number>()
    const errors: TalkwireError[] = []
    const note = (i: number) => (error: TalkwireError) => {
      settled.set(i, (settled.get(i) ?? 0) + 1)
      errors.push(error)
    }
    for (let i = 0; i < 100; i++) void client.hang(i).then(() => assert.fail(), note(i))
    void client.callBack(() => new Promise(() => {})).then(() => assert.fail(), note(100))
    const stream = client.endless() as unknown as AsyncIterator<Uint8Array>
    await stream.next()
    await victim.running.line('hang 99')
    const start = performance.now()
    const died = victim.running.kill()
    await until('all have settled', () => settled.size === 101)
    const seen = performance.now() - start
    await died
    await assert.rejects(
      async () => {
        for (;;)
          await stream.next().then(({ done }) => {
            if (done) throw new Error('ended as if complete')
          })
      },
      (error) => error instanceof TalkwireError,
    )
    t.diagnostic(`${wire}: all settled ${Math.round(seen)} ms after the kill`)
    assert.ok([...settled.values()].every((times) => times === 1))
    for (const error of errors) assert.deepEqual([error.code.startsWith('CONNECTION_'), error.outcome], [true, 'maybe-ran'], error.message)
    await client.close()
    victim = await startVictim()
  }
})

test('peer death: a client killed while the service works for it and calls it back: the work is told to stop, nothing of it remains', async () => {
  const before = descriptorsOf(victim.pid)
  for (let round = 0; round < 3; round++) {
    const doomed = fixture(import.meta.url, 'doomed.js', round % 2 ? victim.tcp : victim.unix)
    await doomed.line('asked')
    await victim.running.line(`hang doomed ${doomed.pid}`)
    await doomed.kill()
    await until('it is gone', async () => (await victim.health()).peers === 0)
  }
  assert.ok(descriptorsOf(victim.pid) <= before)
})

test('peer killed mid-frame while it is answered: 50 rounds, the service goes on', async (t) => {
  await staysHealthy(t, victim, async () => {
    for (let round = 0; round < 50; round++) {
      const peer: Raw = await hello(round % 2 ? victim.unix : victim.tcp)
      peer.socket.pause()
      peer.send({ jsonrpc: '2.0', id: 1, method: 'big', params: [8 * 1024 * 1024] })
      peer.socket.write(frame('{"jsonrpc":"2.0","id":2,"method":"big","params":[100]}').subarray(0, 10))
      await new Promise((resolve) => setTimeout(resolve, 5))
      peer.socket.destroy()
    }
    await until('all are gone', async () => (await victim.health()).peers <= 1)
  })
})

test('events go on while a subscriber that broke the protocol is being cut off', async () => {
  const { serve } = await import('../../src/index.js')
  const path = freshPath('.sock')
  const service = await serve('events', { add: (a: number) => a }, { listen: `unix:${path}` })
  const socket = net.connect({ path, allowHalfOpen: true })
  const peer = peerOn(socket, 'length')
  await peer.call('rpc.hello', { wire: 1, codecs: ['json'], contract: null }, 1)
  await peer.call('rpc.on', { event: 'tick' }, 2)
  service.emit('tick', 1)
  assert.equal((await peer.next()).method, 'tick')
  peer.send({ jsonrpc: '2.0', id: 99, result: 1 })
  // It says the end, and we do not: the connection is closing for a while.
  await new Promise((resolve) => socket.once('end', resolve))
  assert.equal(service.peers.length, 1)
  service.emit('tick', 2)
  socket.destroy()
  await service.close()
})

test('a connection that is refused tells a Talkwire client why: a typed error, no wait', async () => {
  await victim.end()
  victim = await startVictim({ limits: { connections: 1 } })
  const first = await dial(victim.unix)
  await until('it is in', async () => (await victim.health()).peers === 1)
  await assert.rejects(
    connect(victim.unix, { reconnect: false, limits: { handshake: 3_600_000 } }),
    (error: TalkwireError) => error instanceof TalkwireError && error.outcome === 'not-sent',
  )
  first.destroy()
})
