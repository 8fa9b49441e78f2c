import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { find } from '../../src/discovery/names.js'
import { connect, contract, rpc, serve, sessionOf, TalkwireError } from '../../src/index.js'
import { Session } from '../../src/session/session.js'
import { service } from './fixtures/server.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { fails, fence, freshAddress, number, turn, until } from './harness.js'
import { fixture } from './processes.js'

process.env['TALKWIRE_TEST_PID'] = String(process.pid)
const start = async (address: string, ...how: readonly string[]) => {
  const server = fixture(import.meta.url, 'server.js', address, ...how)
  await server.line('listening')
  return server
}

test('a peer killed mid-call: idempotent calls are repeated on the next, others fail as maybe-ran, events heal', async () => {
  const address = freshAddress('unix')
  let server = await start(address, 'hang')
  const client = await connect(service, address)
  const heard: unknown[] = []
  await client.on('heard', (value) => heard.push(value))
  const plain = client.hang('plain')
  const repeated = client.hangLook('again')
  const stream = client.ticks()
  await stream.next()
  await server.line('hang plain')
  await server.line('hangLook again')
  const rejected = assert.rejects(plain, fails('CONNECTION_LOST', 'maybe-ran'))
  await server.kill()
  await rejected
  await assert.rejects(async () => {
    for (;;) if ((await stream.next()).done) return
  })
  const waiting = client.look('asked while nobody is there')
  server = await start(address)
  assert.equal(await waiting, 'asked while nobody is there')
  assert.equal(await repeated, 'again')
  await client.shout('healed')
  await until(() => heard.length > 0)
  assert.deepEqual(heard, ['healed'])
  await client.close()
  await server.kill('SIGTERM')
})

test('calls that have certainly not been sent are made again, exactly once', async () => {
  const address = freshAddress('unix')
  let server = await start(address)
  const client = await connect(service, address)
  await server.kill()
  const calls = Array.from({ length: 20 }, (_, index) =>
    client.ran(index).then(
      () => 'ran',
      (error: TalkwireError) => error.outcome,
    ),
  )
  server = await start(address)
  const outcomes = await Promise.all(calls)
  // What it printed before this is here, too.
  await client.ran('last')
  await server.line('ran last')
  const ran = server.lines.filter((line) => /^ran \d/.test(line))
  assert.equal(ran.length, new Set(ran).size, 'a call ran twice')
  assert.equal(outcomes.filter((outcome) => outcome === 'ran').length, ran.length)
  assert.ok(
    outcomes.every((outcome) => outcome === 'ran' || outcome === 'maybe-ran'),
    String(outcomes),
  )
  await client.close()
  await server.kill('SIGTERM')
})

test('a service that restarts orderly costs nobody an error', async () => {
  const address = freshAddress('unix')
  let server = await start(address)
  const client = await connect(service, address)
  const first = await client.pid()
  await server.kill('SIGTERM')
  server = await start(address)
  assert.notEqual(await client.pid(), first)
  await client.close()
  await server.kill('SIGTERM')
})

test('a waiting call keeps its own deadline and signal', async () => {
  const address = freshAddress('unix')
  const server = await start(address)
  const client = await connect(service, address)
  await server.kill()
  await until(() => !sessionOf(client)?.isOpen)
  await assert.rejects(client.look(1, { timeout: 50 }), fails('DEADLINE_EXCEEDED', 'not-sent'))
  const reason = new Error('no more')
  const controller = new AbortController()
  const call = client.look(1, { signal: controller.signal })
  controller.abort(reason)
  await assert.rejects(call, (error) => error === reason)
  const last = client.look(1).catch((error: unknown) => error)
  await client.close()
  fails('CONNECTION_CLOSED', 'not-sent')(await last)
})

test('a call that is to be made again keeps the deadline and the signals that it had', async () => {
  const address = freshAddress('unix')
  const server = await start(address, 'hang')
  const client = await connect(service, address)
  const reason = new Error('no more')
  const [own, outer] = [new AbortController(), new AbortController()]
  const from = { signal: outer.signal, deadline: undefined, metadata: {} }
  const late = { signal: new AbortController().signal, deadline: performance.now() + 400, metadata: {} }
  const rejections = [
    assert.rejects(client.hangLook('timeout', { timeout: 300 }), fails('DEADLINE_EXCEEDED', 'maybe-ran')),
    assert.rejects(client.hangLook('deadline', { from: late }), fails('DEADLINE_EXCEEDED', 'maybe-ran')),
    assert.rejects(client.hangLook('signal', { signal: own.signal }), (error) => error === reason),
    assert.rejects(client.hangLook('from', { from }), (error) => error === reason),
  ]
  for (const name of ['timeout', 'deadline', 'signal', 'from']) await server.line(`hangLook ${name}`)
  await server.kill()
  await until(() => !sessionOf(client)?.isOpen)
  own.abort(reason)
  outer.abort(reason)
  await Promise.all(rejections)
  // One that is made while there is no connection, too.
  await assert.rejects(client.look(1, { from }), (error) => error === reason)
  await assert.rejects(
    client.look(1, { from: { ...from, signal: late.signal, deadline: performance.now() + 20 } }),
    fails('DEADLINE_EXCEEDED'),
  )
  await client.close()
})

test('a call that is made again is told what is left of its time, not all of it', async () => {
  const patient = contract('patient/1', { left: rpc({ output: number, idempotent: true }) })
  let asked = 0
  const running = await serve(
    patient,
    { left: (_, ctx) => (++asked === 1 ? new Promise<number>(() => {}) : ctx.deadline! - performance.now()) },
    { listen: freshAddress('unix') },
  )
  const client = await connect(patient, running.addresses[0]!, { reconnect: { initial: 1, max: 5 } })
  const began = performance.now()
  const call = client.left(undefined, { timeout: 60_000 })
  await until(() => asked === 1)
  await new Promise((resolve) => setTimeout(resolve, 20))
  const elapsed = performance.now() - began
  sessionOf(client)!.abort(new TalkwireError('CONNECTION_LOST', 'cut'))
  assert.ok((await call) <= 60_000 - elapsed)
  await client.close()
  await running.close()
})

test('a call that waited for its connection has only the rest of its time', async () => {
  const address = freshAddress('unix')
  let server = await start(address)
  const client = await connect(service, address, { reconnect: { initial: 1, max: 5 } })
  await server.kill()
  await until(() => !sessionOf(client)?.isOpen)
  const began = performance.now()
  const call = client.look(1, { timeout: 60_000 })
  let left: number | undefined
  const { call: original } = Session.prototype
  Session.prototype.call = function (...args) {
    if (args[0] === 'look') left = args[2]?.timeout
    return original.apply(this, args)
  }
  try {
    await new Promise((resolve) => setTimeout(resolve, 20))
    server = await start(address)
    await call
  } finally {
    Session.prototype.call = original
  }
  assert.ok(left! <= 60_000 - 20 && left! >= 60_000 - (performance.now() - began), `${left} ms`)
  await client.close()
  await server.kill('SIGTERM')
})

test('it gives up after a while, says so, and a later call tries anew', async () => {
  const address = freshAddress('unix')
  let server = await start(address)
  const client = await connect(service, address, { reconnect: { initial: 5, max: 10, giveUp: 60 } })
  await server.kill()
  await until(() => !sessionOf(client)?.isOpen)
  await assert.rejects(client.look(1), fails('PEER_NOT_FOUND', 'not-sent'))
  server = await start(address)
  assert.equal(await client.look(2), 2)
  await client.close()
  await server.kill('SIGTERM')
})

test('without reconnecting, a lost connection stays lost and says why', async () => {
  const address = freshAddress('unix')
  const server = await start(address)
  const client = await connect(service, address, { reconnect: false })
  await server.kill()
  await until(() => !sessionOf(client)?.isOpen)
  await assert.rejects(client.look(1), fails('CONNECTION_CLOSED', 'not-sent'))
  await client.close()
})

test('a stopped peer is not a dead one: calls wait, and are answered when it goes on', async () => {
  const address = freshAddress('unix')
  const server = await start(address)
  const client = await connect(service, address)
  process.kill(server.pid, 'SIGSTOP')
  const call = client.look('patience')
  await assert.rejects(client.look('impatience', { timeout: 50 }), fails('DEADLINE_EXCEEDED', 'maybe-ran'))
  process.kill(server.pid, 'SIGCONT')
  assert.equal(await call, 'patience')
  await client.close()
  await server.kill('SIGTERM')
})

test('a session that has ended beats no more', async () => {
  const address = freshAddress('unix')
  const server = await start(address)
  const client = await connect(service, address, { reconnect: false })
  const session = sessionOf(client)!
  await client.close()
  const { setInterval: original } = globalThis
  let started = 0
  globalThis.setInterval = ((...args: Parameters<typeof original>) => (started++, original(...args))) as typeof original
  try {
    session.startHeartbeat(1000)
  } finally {
    globalThis.setInterval = original
  }
  assert.equal(started, 0)
  await server.kill('SIGTERM')
})

test('with a heartbeat, a peer that is silent for twice as long is given up', async () => {
  const address = freshAddress('unix')
  const server = await start(address)
  const client = await connect(service, address, { heartbeat: 500, reconnect: false })
  assert.equal(await client.look(1), 1)
  const before = sessionOf(client)!
  await new Promise((resolve) => setTimeout(resolve, 2000))
  assert.equal(before.state, 'open', 'a living peer answers the ping')
  process.kill(server.pid, 'SIGSTOP')
  await assert.rejects(client.look(2), fails('CONNECTION_LOST', 'maybe-ran'))
  process.kill(server.pid, 'SIGCONT')
  await client.close()
  await server.kill('SIGTERM')
})

/** Bytes that have arrived for the client of a service on this port, and that it has not read. */
function unread(port: number): number {
  const ours = new RegExp(`^ *\\d+: \\S+ \\S+:${port.toString(16).toUpperCase().padStart(4, '0')} 01 \\w+:(\\w+)`, 'm')
  return parseInt(ours.exec(readFileSync('/proc/net/tcp', 'utf8'))![1]!, 16)
}

test('a process that stood still reads what has come meanwhile before it gives its peer up', async () => {
  const port = freshPort()
  const server = await start(`tcp://${ownHost}:${port}`, '', '300')
  const client = await connect(service, `tcp://${ownHost}:${port}`, { heartbeat: 300, reconnect: false })
  const session = sessionOf(client)!
  const { tell } = session
  const pinged = fence()
  session.tell = (method, params) => {
    tell.call(session, method, params)
    if (method === '$/ping') pinged.pass()
  }
  await pinged.passed
  await turn()
  const cell = new Int32Array(new SharedArrayBuffer(4))
  for (const end = performance.now() + 310; unread(port) === 0 || performance.now() < end;) Atomics.wait(cell, 0, 0, 5)
  // The next beat is due, and comes before what is read.
  const beat = fence()
  setTimeout(beat.pass, 0)
  await beat.passed
  await turn()
  assert.equal(session.state, 'open')
  await client.close()
  await server.kill('SIGTERM')
})

test('a service that ended is not started again for the sake of a subscription, but for a call', async () => {
  const start = [process.execPath, fileURLToPath(new URL('fixtures/server.js', import.meta.url)), 'unix:fixture']
  const client = await connect(service, { start, reconnect: { initial: 5, max: 20 } })
  await client.on('heard', () => {})
  const first = (await client.pid()) as number
  process.kill(first, 'SIGTERM')
  await until(() => !sessionOf(client)?.isOpen)
  await until(() => 'reason' in find('fixture'))
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    assert.ok('reason' in find('fixture'), 'nobody asked for it')
  }
  const second = (await client.pid()) as number
  assert.notEqual(second, first)
  await client.close()
  process.kill(second, 'SIGTERM')
  await until(() => 'reason' in find('fixture'))
})
