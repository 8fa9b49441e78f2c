import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import dgram from 'node:dgram'
import { once } from 'node:events'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { LocalEnd, soon, turns } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, contract, rpc, serve, sessionOf, stream, TalkwireError, withOptions, type StandardSchema } from '../../src/index.js'
import { Cookies, createPacket, HEADER, HELLO_BYTES, MAX_PAYLOAD, newId, Packet, Seen } from '../../src/transports/udp-packets.js'
import { PlainPipe } from '../../src/transports/udp-plain.js'
import { udp } from '../../src/transports/udp.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { eventually, printed, program, python, script, start } from './fixtures/support.js'
import { relayTo, type Relay } from './fixtures/udp-relay.js'

const address = (): string => `udp://${ownHost}:${freshPort()}`
const plus = { add: (a: number, b: number) => a + b }
const ANY = 'udp://127.0.0.1:0'

testTransport({ test, transport: udp, address })

/** A service that counts what runs, behind a network. */
async function counted(): Promise<{ ran: string[]; relay: Relay; service: Awaited<ReturnType<typeof serve>> }> {
  const ran: string[] = []
  const functions = {
    single: (word: string) => void ran.push(word),
    again: async (word: string) => {
      ran.push(word)
      await turns()
      return word
    },
  }
  const service = await serve('counted', functions, { listen: ANY })
  return { ran, relay: await relayTo(service.addresses[0]!), service }
}

type Counted = { single(word: string): void; again(word: string): string }
const has = (text: string, word: string): boolean => text.includes(`"${word}"`)

test('udp: what is idempotent is asked again until it is answered, and runs once', async () => {
  const { ran, relay, service } = await counted()
  const client = await connect<Counted>(relay.address)
  const lost: string[] = []
  // The first two questions are lost, and then the first two answers.
  relay.rule = ({ to, text }) => {
    if (!has(text, 'word') || lost.filter((each) => each === to).length === 2) return 1
    lost.push(to)
    return 0
  }
  assert.equal(await withOptions(client, { idempotent: true }).again('word'), 'word')
  assert.deepEqual([lost, ran], [['server', 'server', 'client', 'client'], ['word']])
  await client.close()
  await service.close()
  relay.close()
})

test('udp: what is not idempotent is sent once, and nobody claims to know whether it ran', async () => {
  const { ran, relay, service } = await counted()
  const client = await connect<Counted>(relay.address)
  const sent: string[] = []
  for (const lost of ['client', 'server'] as const) {
    relay.rule = ({ to, text }) => {
      if (to === 'server' && has(text, lost)) sent.push(lost)
      return to === lost && text.includes('"id"') ? 0 : 1
    }
    const reason = await withOptions(client, { timeout: 400 })
      .single(lost)
      .then(
        () => undefined,
        (error: TalkwireError) => error,
      )
    assert.deepEqual([reason?.code, reason?.outcome], ['DEADLINE_EXCEEDED', 'maybe-ran'])
  }
  assert.deepEqual([sent, ran], [['client', 'server'], ['client']])
  relay.rule = () => 1
  await client.close()
  await service.close()
  relay.close()
})

test('udp: what the network repeats and reorders runs once, and each gets its own answer', async () => {
  const { ran, relay, service } = await counted()
  relay.rule = ({ count }) => [2, undefined, 1, 3][count % 4]
  const client = await connect<Counted>(relay.address)
  const words = Array.from({ length: 40 }, (_, index) => `w${index}`)
  assert.deepEqual(await Promise.all(words.map((word) => withOptions(client, { idempotent: true }).again(word))), words)
  assert.deepEqual([...ran].sort(), [...words].sort())
  relay.rule = () => 1
  await client.close()
  await service.close()
  relay.close()
})

test('udp: connecting, the key included, and closing survive a network that loses every first try', async () => {
  const service = await serve('calc', plus, { listen: ANY, authkey: 'a key that is long enough' })
  const relay = await relayTo(service.addresses[0]!)
  const texts = new Set<string>()
  relay.rule = ({ to, kind, text }) => {
    const what = `${to} ${kind} ${kind === Packet.data ? /"(?:method|id)":[^,}]*/.exec(text)![0] : ''}`
    return texts.size === texts.add(what).size ? 1 : 0
  }
  const client = await connect<{ add(a: number, b: number): number }>(relay.address, { authkey: 'a key that is long enough' })
  assert.equal(await withOptions(client, { idempotent: true }).add(2, 5), 7)
  relay.rule = ({ kind, count }) => (kind === Packet.close && count === 0 ? 0 : 1)
  await client.close()
  await eventually(() => service.peers.length === 0, 'the service notices')
  await assert.rejects(connect(relay.address, { authkey: 'another key, long enough', reconnect: false }), fails('UNAUTHENTICATED'))
  await service.close()
  relay.close()
})

test('udp: what the network brings several times is one message', async () => {
  const far = new LocalEnd()
  const listener = await udp.listen!(ANY, (connection) => far.accepted(connection))
  const relay = await relayTo(listener.address)
  relay.rule = () => 3
  const near = new LocalEnd()
  near.connection = await udp.connect!(relay.address, near)
  for (const size of [3, 4, 5]) {
    await near.do({ do: 'send', sizes: [size] })
    await far.until(`${size} bytes`, () => far.messages.find(({ length }) => length === size))
  }
  assert.deepEqual(
    far.messages.map(({ length }) => length),
    [3, 4, 5],
  )
  await near.do({ do: 'close' })
  await far.ending()
  await listener.close()
  relay.close()
})

test('udp: a close that the network loses is said again, and one that nobody answers ends all the same', async () => {
  const far = new LocalEnd()
  const listener = await udp.listen!(ANY, (connection) => far.accepted(connection))
  const relay = await relayTo(listener.address)
  const ends = await Promise.all(
    [0, 1].map(async () => {
      const near = new LocalEnd()
      near.connection = await udp.connect!(relay.address, near)
      return near
    }),
  )
  // Both are the same end for the listener's side: it is told of each.
  relay.rule = ({ kind, count }) => (kind === Packet.close && count === 0 ? 0 : 1)
  await ends[0]!.do({ do: 'close' })
  await far.happened('closed')
  relay.rule = () => 0
  await ends[1]!.do({ do: 'close' })
  assert.deepEqual([await ends[0]!.ending(), await ends[1]!.ending()], [null, null])
  far.connection.abort(new TalkwireError('CONNECTION_LOST', 'the test is over'))
  await listener.close()
  relay.close()
})

test('udp: a plain peer sends a request a datagram, and gets an answer a datagram', async () => {
  const notes: string[] = []
  const service = await serve(
    'calc',
    { add: (a: number, b: number) => a + b, note: (text: string) => void notes.push(text), notes: () => notes },
    { listen: ANY },
  )
  const { stdout } = await promisify(execFile)(python, [script('udp-client.py'), /\d+$/.exec(service.addresses[0]!)![0]])
  const answers = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { result?: unknown; error?: { code: number } })
  assert.deepEqual(answers[0], { jsonrpc: '2.0', id: 1, result: 7 })
  assert.deepEqual(answers[1], [
    { jsonrpc: '2.0', id: 1, result: 2 },
    { jsonrpc: '2.0', id: 2, result: 4 },
  ])
  assert.deepEqual([answers[2]!.error!.code, answers[3]!.error!.code], [-32_601, -32_700])
  assert.deepEqual(answers[4], { jsonrpc: '2.0', id: 4, result: ['heard'] })
  assert.equal(service.peers.length, 0)
  await service.close()
})

test('udp: a service that is killed is noticed, another takes its port, and the client heals', async () => {
  const at = address()
  const first = start(process.execPath, program('calc-server'), at)
  await soon(printed(first), 'the service listens')
  const client = await connect<{ add(a: number, b: number): number }>(at, { reconnect: { initial: 10, max: 50 } })
  assert.equal(await client.add(2, 5), 7)
  first.kill('SIGKILL')
  await once(first, 'exit')
  const second = start(process.execPath, program('calc-server'), at)
  await soon(printed(second), 'the service listens again')
  // The new one says that it does not know the connection.
  assert.equal(await soon(withOptions(client, { idempotent: true }).add(2, 6), 'the client heals'), 8)
  await client.close()
})

test('udp: a peer that falls silent is noticed by its heartbeat; one lost ping is nothing', async () => {
  const service = await serve('calc', plus, { listen: ANY, heartbeat: 40 })
  const relay = await relayTo(service.addresses[0]!)
  const client = await connect<{ add(a: number, b: number): number }>(relay.address, { reconnect: false })
  let pings = 0
  relay.rule = ({ text }) => (text.includes('$/ping') && ++pings % 2 === 1 ? 0 : 1)
  await eventually(() => pings > 6, 'pings are lost')
  assert.equal(await client.add(1, 2), 3)
  relay.rule = () => 0
  await eventually(() => service.ends['CONNECTION_LOST'] === 1, 'the service notices')
  await client.close()
  await service.close()
  relay.close()
})

const anything: StandardSchema<unknown, unknown> = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } }

test('udp: streams are refused when the service starts, and where they are called', async () => {
  const ticks = contract('ticks/1', { count: rpc({ output: stream(anything) }) })
  await assert.rejects(
    serve(ticks, { async *count() {} }, { listen: ANY }),
    (error: TalkwireError) => error.code === 'UNSUPPORTED' && /tcp:/.test(error.message),
  )
})

test('udp: beyond this machine it wants a key', async () => {
  await assert.rejects(serve('calc', plus, { listen: 'udp://0.0.0.0:0' }), fails('PERMISSION_DENIED'))
  await (await serve('calc', plus, { listen: 'udp://0.0.0.0:0', authkey: 'a key that is long enough' })).close()
  for (const where of ['udp://', 'udp:x', 'udp://127.0.0.1', 'udp://127.0.0.1:70000', 'udp://127.0.0.1:1?x=1'])
    await assert.rejects(udp.connect!(where, new LocalEnd()), fails('INVALID_ADDRESS'))
})

// ── what strangers send ──────────────────────────────────────────────────────────────────────────

/** A socket that sends by hand and keeps what comes. */
async function stranger(
  to: string,
): Promise<{ send(bytes: Buffer): void; got: Buffer[]; next(count: number): Promise<void>; close(): void }> {
  const socket = dgram.createSocket('udp4')
  const got: Buffer[] = []
  socket.on('message', (bytes) => got.push(bytes))
  socket.connect(Number(/\d+$/.exec(to)![0]), '127.0.0.1')
  await once(socket, 'connect')
  return {
    send: (bytes) => void socket.send(bytes, () => {}),
    got,
    next: (count) => eventually(() => got.length >= count, `${count} datagrams`),
    close: () => void socket.close(),
  }
}

test('udp: nothing is kept for whoever has not shown a cookie, and no answer is longer than what it answers', async () => {
  const accepted: LocalEnd[] = []
  const listener = await udp.listen!(ANY, (connection) => {
    accepted.push(new LocalEnd().accepted(connection))
    return accepted.at(-1)!
  })
  const peer = await stranger(listener.address)
  const id = newId()
  const hello = createPacket(Packet.hello, id, 0, HELLO_BYTES - HEADER)
  // Too short for an answer; a forged cookie; what belongs to no connection; nonsense.
  peer.send(hello.subarray(0, HELLO_BYTES - 1))
  peer.send(createPacket(Packet.open, id, 0, 16))
  peer.send(createPacket(Packet.abort, id))
  peer.send(createPacket(Packet.closed, id))
  for (let length = 0; length < 40; length++) peer.send(Buffer.alloc(length, 0x54))
  peer.send(hello)
  await peer.next(1)
  const [cookie] = peer.got as [Buffer]
  assert.deepEqual([peer.got.length, cookie.length < hello.length, accepted.length], [1, true, 0])
  // A cookie is good for one sender and one connection.
  const open = (of: string): Buffer => {
    const packet = createPacket(Packet.open, of, 0, 16)
    cookie.copy(packet, HEADER, HEADER)
    return packet
  }
  const other = await stranger(listener.address)
  other.send(open(id))
  peer.send(open(newId()))
  for (const kind of [Packet.data, Packet.close]) peer.send(createPacket(kind, newId(), 1, 100))
  await peer.next(3)
  assert.deepEqual(
    peer.got.slice(1).map((bytes) => [bytes[3], bytes.length]),
    [
      [Packet.abort, HEADER],
      [Packet.closed, HEADER],
    ],
  )
  assert.equal(accepted.length, 0)
  peer.send(open(id))
  await peer.next(4)
  assert.deepEqual([peer.got[3]![3], accepted.length, other.got.length], [Packet.opened, 1, 0])
  // Asked again, it is the same connection; and from elsewhere nobody speaks in it.
  peer.send(open(id))
  await peer.next(5)
  other.send(createPacket(Packet.close, id))
  other.send(createPacket(Packet.hello, newId(), 0, HELLO_BYTES - HEADER))
  await other.next(1)
  assert.deepEqual([accepted.length, accepted[0]!.happenings, other.got[0]![3]], [1, [], Packet.cookie])
  peer.send(createPacket(Packet.close, id))
  await peer.next(6)
  assert.equal(peer.got[5]![3], Packet.closed)
  await listener.close()
  peer.close()
  other.close()
})

test('udp: of numbers, none counts twice; of cookies, none for others', () => {
  const seen = new Seen()
  assert.deepEqual(
    [0, 1, 3, 2, 2, 3, 1, 1500, 476, 477, 477, 1500, 1501, 2 ** 32 - 1, 1502].map((number) => seen.add(number)),
    [false, true, true, true, false, false, false, true, false, true, false, false, true, true, false],
  )
  const cookies = new Cookies()
  const cookie = cookies.make('1.2.3.4', 5, 'ab')
  assert.equal(cookies.isGood(cookie, '1.2.3.4', 5, 'ab'), true)
  assert.equal(cookies.isGood(cookies.make('1.2.3.4', 5, 'ab', 1), '1.2.3.4', 5, 'ab'), true, 'one of the time before')
  assert.equal(cookies.isGood(cookies.make('1.2.3.4', 5, 'ab', 2), '1.2.3.4', 5, 'ab'), false)
  for (const [host, number, id] of [
    ['1.2.3.5', 5, 'ab'],
    ['1.2.3.4', 6, 'ab'],
    ['1.2.3.4', 5, 'ac'],
  ] as const)
    assert.equal(cookies.isGood(cookie, host, number, id), false)
  assert.equal(new Cookies().isGood(cookie, '1.2.3.4', 5, 'ab'), false)
  assert.equal(cookies.isGood(cookie.subarray(1), '1.2.3.4', 5, 'ab'), false)
})

test('udp: an answer to a plain peer that may be forged is at most three times its question', () => {
  assert.deepEqual(
    [100, 341, 342, 1000].map((length) => PlainPipe.mostFor(Buffer.alloc(length))),
    [undefined, undefined, 1026, 3000],
  )
})

test('udp: a message too large is refused with the limit, before it is sent, on both sides', async () => {
  const service = await serve(
    'texts',
    { size: (text: string) => text.length, make: (size: number) => 'x'.repeat(size) },
    { listen: ANY, onError() {} },
  )
  const client = await connect<{ size(text: string): number; make(size: number): string }>(service.addresses[0]!)
  await assert.rejects(
    client.size('x'.repeat(MAX_PAYLOAD)),
    (error: TalkwireError) => error.code === 'MESSAGE_TOO_LARGE' && error.outcome === 'not-sent',
  )
  await assert.rejects(client.make(MAX_PAYLOAD), (error: TalkwireError) => error.code === 'MESSAGE_TOO_LARGE' && error.outcome === 'ran')
  assert.equal((await client.make(60_000)).length, 60_000)
  await client.close()
  await service.close()
})

// ── groups ───────────────────────────────────────────────────────────────────────────────────────

const group = ownHost.replace('127', '239')

test('udp: a group hears the events of a service, and cannot call', async () => {
  const at = `udp://${group}:${freshPort()}?interface=127.0.0.1`
  const service = await serve('news', plus, { listen: [ANY, at] })
  const heard: unknown[][] = [[], []]
  const clients = await Promise.all(heard.map(() => connect<{ add(a: number, b: number): number }>(at)))
  await Promise.all(clients.map((client, index) => (client as any).on('news', (payload: unknown) => heard[index]!.push(payload))))
  const other = dgram.createSocket('udp4')
  other.bind(0, '127.0.0.1')
  await once(other, 'listening')
  other.setMulticastInterface('127.0.0.1')
  const sessions = clients.map((client) => sessionOf(client))
  for (const nonsense of [
    '',
    'null',
    '[]',
    '{"id":1,"method":"news"}',
    '{"jsonrpc":"2.0","method":7}',
    ...Array.from({ length: 150 }, () => '{'),
  ])
    other.send(nonsense, Number(/:(\d+)\?/.exec(at)![1]), group)
  while (heard.some((list) => list.length < 2)) {
    service.emit('news', { headline: 'rain' })
    await turns()
  }
  assert.ok(heard.flat().every((payload) => JSON.stringify(payload) === '{"headline":"rain"}'))
  assert.ok(
    clients.every((client, index) => sessionOf(client) === sessions[index]),
    'nonsense costs nobody the connection',
  )
  await assert.rejects(clients[0]!.add(1, 2), fails('UNSUPPORTED'))
  assert.throws(() => service.emit('news', 'x'.repeat(70_000)), fails('MESSAGE_TOO_LARGE'))
  for (const client of clients) await client.close()
  await service.close()
  other.close()
})

test('udp: a group beyond this machine wants it said, and a port', async () => {
  await assert.rejects(serve('news', plus, { listen: 'udp://239.255.7.7:7777' }), fails('PERMISSION_DENIED'))
  for (const where of ['udp://239.255.7.7:0', 'udp://239.255.7.7:7?x=1', 'udp://239.255.7.7:7?interface=eth0'])
    await assert.rejects(udp.connect!(where, new LocalEnd()), fails('INVALID_ADDRESS'))
})
