/** Rows 20, 21, half-open, and SIGSTOP: peers that are silent, slow, stopped or gone without a word. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import net from 'node:net'
import { afterEach, beforeEach, test } from 'node:test'
import { connect } from '../../src/index.js'
import { fails } from '../session/harness.js'
import { dial, hello, pause, staysHealthy, startVictim, until, type Victim } from './attack.js'
import { startSubscriber } from './subscriber.js'

let victim: Victim
beforeEach(async () => {
  victim = await startVictim()
})
afterEach(() => victim.end())

test('row 20: 500 silent clients and 500 with a byte a second, on unix and on tcp: all are sent away, an honest one is served beside them', async (t) => {
  const { descriptors } = await staysHealthy(t, victim, async () => {
    const sockets: net.Socket[] = []
    const start = performance.now()
    let gone = 0
    for (const address of [victim.unix, victim.tcp]) {
      for (let i = 0; i < 1000; i++) {
        const socket = await dial(address)
        socket
          .on('error', () => {})
          .once('close', () => gone++)
          .resume()
        sockets.push(socket)
      }
    }
    const opened = performance.now()
    const text = Buffer.from('Content-Length: 60\r\n\r\n{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}')
    const lengths = Buffer.concat([Buffer.from([0, 0, 0, 60]), text.subarray(22)])
    let second = 0
    const drip = setInterval(() => {
      for (let i = 0; i < sockets.length; i += 2)
        if (!sockets[i]!.destroyed) sockets[i]!.write((i % 4 ? text : lengths).subarray(second, second + 1))
      second++
    }, 1000)
    const connecting = performance.now()
    const client = await connect<{ add(a: number, b: number): number }>(victim.unix)
    const took = performance.now() - connecting
    assert.equal(await client.add(1, 2), 3)
    assert.ok(gone < 2000, 'it is served beside them')
    await client.close()
    // A message of theirs would take a minute.
    await until('all are gone', () => gone === 2000, 30_000)
    clearInterval(drip)
    const last = performance.now() - opened
    t.diagnostic(
      `2000 connected in ${Math.round(opened - start)} ms; honest connect ${Math.round(took)} ms; the last was gone after ${Math.round(last)} ms`,
    )
  })
  assert.equal((await victim.health()).ends['UNAUTHENTICATED'], 2000, 'each is counted')
  assert.ok(descriptors[1] <= descriptors[0] + 1)
})

test('row 21: one of 10 subscribers is stopped under 25 MB/s: memory stays within the limit, the others get all, the stopped one learns how much it lost', async (t) => {
  const subscribers = await Promise.all(Array.from({ length: 10 }, (_, i) => startSubscriber(i % 2 ? victim.tcp : victim.unix)))
  const stopped = subscribers[0]!
  const { memory } = await staysHealthy(t, victim, async () => {
    await victim.tell('publish', '400')
    await pause(500)
    for (const each of subscribers) await each.sample()
    process.kill(stopped.pid, 'SIGSTOP')
    await pause(2500)
    const others = await Promise.all(subscribers.slice(1).map((each) => each.sample()))
    for (const { events, lost, p99 } of others) {
      assert.ok(events > 100, `${events} events`)
      assert.equal(lost, 0)
      assert.ok(p99 < 500, `latency p99 ${p99} ms`)
    }
    assert.ok((await victim.health()).buffered < 17.5 * 1024 * 1024, 'limits.outgoing and one event')
    process.kill(stopped.pid, 'SIGCONT')
    await victim.tell('publish', '40')
    await until('the stopped one has heard what it lost', async () => (await stopped.sample()).lost > 0, 10_000)
    await victim.tell('publish', '0')
    t.diagnostic(`others' latency p99 ${others.map(({ p99 }) => Math.round(p99)).join(' ')} ms`)
  })
  t.diagnostic(`memory ${memory.join(' -> ')} MiB`)
  assert.ok(memory[1] - memory[0] < 64, `${memory.join(' -> ')}`)
  for (const each of subscribers) await each.end()
})

test('SIGSTOP and SIGCONT of the server: calls wait, one with a deadline ends in time, nothing is lost', async () => {
  const client = await connect<{ add(a: number, b: number): number }>(victim.unix)
  process.kill(victim.pid, 'SIGSTOP')
  const { withOptions } = await import('../../src/index.js')
  const waiting = Array.from({ length: 100 }, (_, i) => client.add(i, 1))
  const start = performance.now()
  await assert.rejects(withOptions(client, { timeout: 200 }).add(1, 1), fails('DEADLINE_EXCEEDED', 'maybe-ran'))
  const took = performance.now() - start
  assert.ok(took >= 199 && took < 15_000, `${took} ms`)
  process.kill(victim.pid, 'SIGCONT')
  assert.deepEqual(
    await Promise.all(waiting),
    Array.from({ length: 100 }, (_, i) => i + 1),
  )
  await client.close()
})

test('SIGSTOP of the server with a heartbeat: it is given up after two beats, the calls say maybe-ran', async () => {
  await victim.end()
  victim = await startVictim({ heartbeat: 150 })
  const client = await connect<{ hang(note: string): unknown }>(victim.tcp, { heartbeat: 150, reconnect: false })
  const hanging = client.hang('stopped')
  await victim.running.line('hang stopped')
  const start = performance.now()
  process.kill(victim.pid, 'SIGSTOP')
  await assert.rejects(hanging, fails('CONNECTION_LOST', 'maybe-ran'))
  const took = performance.now() - start
  process.kill(victim.pid, 'SIGCONT')
  // Without the heartbeat of both it would be that of TCP, half a minute.
  assert.ok(took < 15_000, `${took} ms`)
  await client.close()
})

test('half-open: a peer that vanished without a packet is found by the heartbeat; its call is cancelled, its descriptor free', async () => {
  await victim.end()
  victim = await startVictim({ heartbeat: 150 })
  const peer = await hello(victim.tcp, { heartbeat: 150 })
  peer.send({ jsonrpc: '2.0', id: 2, method: 'hang', params: ['half-open'] })
  await victim.running.line('hang half-open')
  // As after a pulled cable: the socket is there, and nothing is answered any more.
  peer.socket.pause()
  await until('it is given up', async () => (await victim.health()).peers === 0, 15_000)
  assert.equal((await victim.health()).ends['CONNECTION_LOST'], 1)
  peer.socket.destroy()
})

test('half-open: a connection reset by the network is an end like any other', async () => {
  const client = await connect<{ hang(note: string): unknown; add(a: number, b: number): number }>(victim.tcp, { reconnect: false })
  const hanging = client.hang('reset')
  await victim.running.line('hang reset')
  const { port } = new URL(victim.tcp)
  const killed = spawnSync('ss', ['-K', 'dport', '=', port])
  // Kernels without INET_DIAG_DESTROY do not know `ss -K`; then the peer is killed instead.
  if (killed.status !== 0 || !String(killed.stdout).includes(port)) process.kill(victim.pid, 'SIGKILL')
  await assert.rejects(
    hanging,
    (error: { code: string; outcome: string }) => error.code.startsWith('CONNECTION_') && error.outcome === 'maybe-ran',
  )
  await client.close()
  if (victim.running.child.exitCode !== null || victim.running.child.signalCode !== null) victim = await startVictim()
})
