import assert from 'node:assert/strict'
import { execFile, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { codeOf } from '../../compliance/ends.js'
import { testSession, testTransport, type SessionSuite } from '../../compliance/index.js'
import { connect, context, serve, signalling as contractOfSignalling, withOptions, type Peer } from '../../src/index.js'
import { answersBy, callsBy, type SignallingClient } from '../../src/signalling.js'
import type { Signal } from '../../src/transports/webrtc-signals.js'
import { webrtc, type Signalling } from '../../src/transports/webrtc.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshName, freshPath } from '../helpers/place.js'
import { program, python, script } from './fixtures/support.js'

const signalling: Signalling = { ...callsBy(connect, {}, 30_000), ...answersBy(serve, {}, false) }
const rtc = { bindAddress: '127.0.0.1' }
const address = (): string => `webrtc:tcp://${ownHost}:${freshPort()}`

testTransport({
  test,
  // The far end in another process only: a connection costs as much here as anywhere, and the other way has nothing of its own.
  transport: { scheme: 'webrtc', traits: webrtc.traits, connect: webrtc.connect! },
  address,
  listenOptions: { signalling, rtc },
  connectOptions: { signalling, rtc },
  remote: (stage) => {
    spawn(process.execPath, [program('webrtc-far'), stage.control, address()], { stdio: ['ignore', 'inherit', 'inherit'] }).unref()
    return stage.listening()
  },
})

const overWebRtc: SessionSuite = {
  test,
  name: 'session over webrtc',
  address,
  listenOptions: { token: false, rtc },
  connectOptions: { rtc },
}
testSession(overWebRtc)

// ── two processes ────────────────────────────────────────────────────────────────────────────────

interface Bank {
  add(a: number, b: number): number
  never(): void
  size(bytes: Uint8Array): number
}

test('webrtc: calls in flight end as maybe-ran when the process at the other end is killed', async () => {
  const child = fork(program('webrtc-bank'), [`webrtc:ws://${ownHost}:0`])
  try {
    const [[at, token]] = (await once(child, 'message')) as [[string, string]]
    await assert.rejects(connect(at, { rtc }), fails('UNAUTHENTICATED'))
    const bank = await connect<Bank>(at, { token, rtc, reconnect: false })
    assert.equal(await bank.add(2, 5), 7)
    assert.equal(await bank.size(new Uint8Array(3_000_000)), 3_000_000)
    const lost = codeOf(bank.never())
    child.kill('SIGKILL')
    assert.equal(await lost, 'CONNECTION_LOST/maybe-ran')
    assert.match((await bank.closed)!.message, /signalling ended/)
  } finally {
    child.kill('SIGKILL')
  }
})

test('webrtc: the channel outlives its signalling', async () => {
  const functions = { add: (a: number, b: number) => a + b }
  const inner = `memory:${freshName()}`
  await using service = await serve('calc', functions, { listen: `webrtc:${inner}`, rtc })
  const by = await connect(contractOfSignalling, inner, { reconnect: false })
  await using client = await connect<typeof functions>('webrtc:', { signalling: by, rtc, reconnect: false })
  assert.equal(await client.add(2, 5), 7)
  await by.close()
  // The doubt is answered before these are.
  for (let index = 0; index < 100; index++) assert.equal(await client.add(index, 5), index + 5)
  assert.equal(service.peers.length, 1)
})

test('webrtc: a relay passes signals on; who the peer is, is what the last signalling says', async () => {
  const peers: Peer[] = []
  const functions = {
    who(): void {
      peers.push(context()!.peer)
    },
  }
  const inner = `memory:${freshName()}`
  await using service = await serve('calc', functions, { listen: `webrtc:${inner}`, rtc })
  await using by = await connect(contractOfSignalling, inner)
  await using hub = await serve(
    contractOfSignalling,
    {
      async *meet(signals, { metadata, signal }) {
        assert.equal(metadata['to'], 'calc')
        yield* by.meet(signals, { signal })
      },
    },
    { listen: `unix:${freshPath('.sock')}` },
  )
  await using toHub = await connect(contractOfSignalling, hub.addresses[0]!)
  const named = withOptions(toHub, { metadata: { to: 'calc' } })
  await using client = await connect<typeof functions>('webrtc:', { signalling: named, rtc })
  await client.who()
  assert.equal(peers[0]!.host, '127.0.0.1')
  // Of a process in memory nobody vouches for anything.
  assert.equal(peers[0]!.uid, undefined)
  assert.equal(service.peers.length, 1)
})

test('webrtc: over a Unix socket the peer is who the kernel says', async () => {
  const functions = { who: () => context()!.peer.uid }
  await using service = await serve('calc', functions, { listen: `webrtc:unix:${freshPath('.sock')}`, rtc })
  await using client = await connect<typeof functions>(service.addresses[0]!, { rtc })
  assert.equal(await client.who(), process.getuid!())
})

// ── hostile signalling ───────────────────────────────────────────────────────────────────────────

/** A service, and its signalling as somebody hostile has it. */
async function victim(handshake = 30_000): Promise<AsyncDisposable & { by: SignallingClient; add(): Promise<number> }> {
  const functions = { add: (a: number, b: number) => a + b }
  const inner = `memory:${freshName()}`
  const service = await serve('calc', functions, { listen: `webrtc:${inner}`, rtc, limits: { handshake }, onError() {} })
  const by = await connect(contractOfSignalling, inner)
  return {
    by,
    async add() {
      await using client = await connect<typeof functions>('webrtc:', { signalling: by, rtc })
      return client.add(2, 5)
    },
    async [Symbol.asyncDispose]() {
      await by.close()
      await service.close()
    },
  }
}
async function drain(signals: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of signals);
}
async function* first<T>(...signals: T[]): AsyncIterable<T> {
  yield* signals
  await new Promise(() => {})
}

test('webrtc: garbage instead of a description is refused, and disturbs nobody', async () => {
  await using on = await victim()
  const sdp = [
    '',
    'garbage',
    'v=0\r\n'.repeat(1000),
    `v=0\r\na=fingerprint:sha-256 AA:BB\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n`,
  ]
  for (const each of sdp)
    assert.equal(await codeOf(drain(on.by.meet(first({ type: 'offer' as const, sdp: each })))), 'INVALID_INPUT/not-sent', each.slice(0, 20))
  for (const each of [
    {},
    { type: 'offer', sdp: 'x'.repeat(20_000) },
    { type: 'pranswer', sdp: '' },
    { candidate: 'x'.repeat(2000), mid: '0' },
  ])
    assert.match(await codeOf(drain(on.by.meet(first(each as Signal)))), /^INVALID_INPUT/, JSON.stringify(each).slice(0, 40))
  assert.equal(await codeOf(drain(on.by.meet(first({ type: 'answer' as const, sdp: '' })))), 'INVALID_INPUT/not-sent')
  assert.equal(await on.add(), 7)
})

test('webrtc: a flood of candidates is cut off', async () => {
  await using on = await victim()
  const flood = Array.from({ length: 200 }, (_, index) => ({ candidate: `candidate:1 1 UDP 1 127.0.0.1 ${index + 1} typ host`, mid: '0' }))
  assert.match(await codeOf(drain(on.by.meet(first(...flood)))), /^LIMIT_EXCEEDED/)
  assert.equal(await on.add(), 7)
})

test('webrtc: who signals and never goes on is let go, and does not keep others out for ever', async () => {
  await using on = await victim(300)
  const seenBy = (peers: number): Promise<string[]> =>
    Promise.all(Array.from({ length: peers }, () => codeOf(drain(on.by.meet(first<Signal>())))))
  const seen = await seenBy(70)
  assert.equal(seen.filter((each) => each.startsWith('LIMIT_EXCEEDED')).length, 6)
  assert.equal(seen.filter((each) => each.startsWith('PEER_NOT_FOUND')).length, 64)
  const later = await seenBy(64)
  assert.equal(later.filter((each) => each.startsWith('PEER_NOT_FOUND')).length, 64)
})

test('webrtc: a service that never answers is not waited for longer than asked', async () => {
  const inner = `memory:${freshName()}`
  await using silent = await serve(contractOfSignalling, { meet: () => first<Signal>() }, { listen: inner })
  await assert.rejects(connect(`webrtc:${inner}`, { rtc, limits: { handshake: 300 } }), fails('PEER_NOT_FOUND'))
  await assert.rejects(connect('webrtc:', { rtc }), fails('INVALID_ADDRESS'))
  assert.equal(silent.name, 'signalling')
})

// ── a stranger ───────────────────────────────────────────────────────────────────────────────────

test('webrtc: without its package it says what to install, on either side', async () => {
  const none = `export const resolve = (name, context, next) => {
    if (name === 'node-datachannel') throw Object.assign(new Error('it is not here'), { code: 'ERR_MODULE_NOT_FOUND' })
    return next(name, context)
  }`
  const lines = `import { register } from 'node:module'
    register('data:text/javascript,' + encodeURIComponent(process.argv[1]))
    const { connect, serve } = await import(${JSON.stringify(new URL('../../src/index.js', import.meta.url).href)})
    for (const attempt of [() => connect('webrtc:tcp://127.0.0.1:1'), () => serve('x', { f() {} }, { listen: 'webrtc:tcp://127.0.0.1:0', token: false })])
      await attempt().catch((error) => console.log(error.code, /npm install node-datachannel/.test(error.message)))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', lines, none])
  assert.equal(stdout, 'MISSING_PACKAGE true\nMISSING_PACKAGE true\n')
})

test("webrtc: Python's aiortc calls with JSON-RPC in text frames", async () => {
  const functions = { add: (a: number, b: number) => a + b, repeat: (text: string, times: number) => text.repeat(times) }
  const inner = `memory:${freshName()}`
  await using service = await serve('calc', functions, { listen: `webrtc:${inner}`, rtc })
  await using by = await connect(contractOfSignalling, inner)
  const child = spawn(python, [script('webrtc-stranger.py')], { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
    const offer = JSON.parse((await lines.next()).value!) as Signal
    const signals = by.meet(first(offer))[Symbol.asyncIterator]()
    // It takes the answer whole, with the address of ours in it.
    const [one, other] = [(await signals.next()).value, (await signals.next()).value] as Signal[]
    const answer = [one, other].find((each) => 'sdp' in each!) as { sdp: string }
    const { candidate } = [one, other].find((each) => 'candidate' in each!) as { candidate: string }
    child.stdin.end(`${JSON.stringify({ type: 'answer', sdp: `${answer.sdp}a=${candidate}\r\n` })}\n`)
    const [sum, none, garbage, repeated] = JSON.parse((await lines.next()).value!) as any[]
    assert.deepEqual(sum, { jsonrpc: '2.0', id: 1, result: 7 })
    assert.equal(none.error.code, -32601)
    assert.equal(garbage.error.code, -32700)
    assert.equal(repeated.result, 'ä'.repeat(20_000))
    assert.equal(service.peers[0]!.host, '127.0.0.1')
    await signals.return!()
  } finally {
    child.kill('SIGKILL')
  }
})
