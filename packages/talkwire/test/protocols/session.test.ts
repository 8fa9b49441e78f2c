import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { testSession } from '../../compliance/index.js'
import { soon } from '../../compliance/ends.js'
import { connect } from '../../src/connect.js'
import { contract, rpc, stream } from '../../src/contract/contract.js'
import { serve } from '../../src/serve.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshName, freshPath } from '../helpers/place.js'

testSession({ test, name: 'session over memory', address: () => `memory:${freshName()}` })
testSession({ test, name: 'session over unix', address: () => `unix:${freshPath('.sock')}` })
testSession({ test, name: 'session over mq', address: () => `mq:${freshName()}` })
testSession({ test, name: 'session over shared memory', address: () => `shm:${freshName()}` })
testSession({
  test,
  name: 'session over WebSocket',
  address: () => `ws://${ownHost}:${freshPort()}`,
  listenOptions: { token: false },
})
testSession({ test, name: 'session over unix, JSON', address: () => `unix:${freshPath('.sock')}`, connectOptions: { codecs: ['json'] } })

type Message = Record<string, any>

/** One side by hand: says what it is told, and gives what it was sent, one JSON text after another; undefined at the end. */
interface Hand {
  said(): Promise<Message | undefined>
  say(message: object): void
  close(): void
}

function hand(socket: net.Socket, server?: net.Server): Hand {
  const messages: (Message | undefined)[] = []
  const waiting: ((message: Message | undefined) => void)[] = []
  const take = (message: Message | undefined): void => {
    const next = waiting.shift()
    if (next) next(message)
    else messages.push(message)
  }
  let bytes = Buffer.alloc(0)
  socket
    .on('error', () => {})
    .on('close', () => take(undefined))
    .on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      for (; bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE(); bytes = bytes.subarray(4 + bytes.readUInt32BE())) {
        take(JSON.parse(bytes.toString('utf8', 4, 4 + bytes.readUInt32BE())) as Message)
      }
    })
  return {
    said: () =>
      soon(messages.length > 0 ? Promise.resolve(messages.shift()) : new Promise((resolve) => waiting.push(resolve)), 'a message'),
    say(message) {
      const text = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }))
      const head = Buffer.alloc(4)
      head.writeUInt32BE(text.length)
      socket.write(Buffer.concat([head, text]))
    },
    close() {
      socket.destroy()
      server?.close()
    },
  }
}

/** A server by hand that has one client. */
async function byHand(): Promise<Hand & { readonly address: string }> {
  const path = freshPath('.sock')
  let accepted!: (hand: Hand) => void
  const client = new Promise<Hand>((resolve) => {
    accepted = resolve
  })
  const server = net.createServer((socket) => accepted(hand(socket, server)))
  await new Promise<void>((resolve) => server.listen(path, resolve))
  let open: Hand | undefined
  return {
    address: `unix:${path}`,
    said: async () => (open = await client).said(),
    say: (message) => open!.say(message),
    close: () => open!.close(),
  }
}

const helloAnswer = {
  wire: 1,
  codec: 'json',
  attachments: false,
  contract: null,
  hash: null,
  window: 524_288,
  maxMessage: 1 << 26,
  heartbeat: 0,
}

/** A client by hand; with `hello` it is a Talkwire peer. */
async function clientByHand(address: string, hello: boolean): Promise<Hand> {
  const socket = net.connect(address.slice('unix:'.length))
  await once(socket, 'connect')
  const client = hand(socket)
  if (hello) {
    client.say({
      id: 1,
      method: 'rpc.hello',
      params: { wire: 1, codecs: ['json'], attachments: false, window: 524_288, maxMessage: 1 << 26 },
    })
    assert.equal((await client.said())!['result'].codec, 'json')
  }
  return client
}

test('session: a request that cannot be read does not settle a call of ours with the same id', async () => {
  const server = await byHand()
  const connecting = connect(server.address, { reconnect: false })
  const hello = await server.said()
  assert.equal(hello!['method'], 'rpc.hello')
  server.say({ id: hello!['id'], error: { code: -32601, message: 'what?' } })
  const client = await connecting
  const call = soon(client['echo']!(1) as Promise<unknown>, 'the answer')
  const { id } = (await server.said())!
  server.say({ id, method: 'f', params: JSON.parse('[{"__proto__":{"polluted":1}}]') as object })
  const refusal = (await server.said())!
  assert.deepEqual([refusal['id'], refusal['error'].code], [id, -32008])
  server.say({ id, result: 'mine' })
  assert.equal(await call, 'mine')
  server.close()
})

test('session: a response that cannot be read fails its call, and no other', async () => {
  const server = await byHand()
  const connecting = connect(server.address, { reconnect: false })
  server.say({ id: (await server.said())!['id'], error: { code: -32601, message: 'what?' } })
  const client = await connecting
  const [first, second] = [client['a']!(1) as Promise<unknown>, client['b']!(2) as Promise<unknown>]
  const ids = [(await server.said())!['id'], (await server.said())!['id']]
  server.say({ id: ids[0], result: JSON.parse('{"__proto__":{"polluted":1}}') as object })
  server.say({ id: ids[1], result: 'fine' })
  await assert.rejects(
    soon(first, 'an answer'),
    (error: { code: string; outcome: string }) => error.code === 'FORBIDDEN_KEY' && error.outcome === 'ran',
  )
  assert.equal(await soon(second, 'an answer'), 'fine')
  server.close()
})

const anything = { '~standard': { version: 1 as const, vendor: 'test', validate: (value: unknown) => ({ value: value as any }) } }

test('session: elements without credit end the connection', async () => {
  const server = await byHand()
  const counter = contract('counter/1', { count: rpc({ output: stream(anything) }) })
  const connecting = connect(counter, server.address, { reconnect: false, limits: { window: 1000 } })
  server.say({ id: (await server.said())!['id'], result: { ...helloAnswer, contract: 'counter/1' } })
  const client = await connecting
  const items = client.count()
  const { id, meta } = (await server.said())!
  assert.equal(meta.credit, 1000)
  for (let count = 0; count < 5; count++) server.say({ method: '$/item', params: { id, value: 'x'.repeat(600) } })
  const seen: unknown[] = []
  await assert.rejects(
    soon(
      (async () => {
        await new Promise((resolve) => setImmediate(resolve))
        while ((await server.said()) !== undefined) seen.push(1)
        for await (const item of items) seen.push(item)
      })(),
      'the end',
    ),
    (error: { code: string }) => error.code === 'CONNECTION_LOST',
  )
  server.close()
})

/** Serves what the tests by hand call. */
async function served(): Promise<{ address: string; answer(): void; close(): Promise<void> }> {
  let answer!: () => void
  const gate = new Promise<void>((resolve) => {
    answer = resolve
  })
  const given = (): string => 'called'
  const service = await serve(
    'by-hand',
    { slow: () => gate.then(() => 'slow'), quick: () => 'quick', give: () => given },
    { listen: `unix:${freshPath('.sock')}` },
  )
  return { address: service.addresses[0]!, answer, close: () => service.close({ timeout: 100 }) }
}

test('session: an id that is in flight is refused to a plain peer, and ends a Talkwire peer', async () => {
  const service = await served()
  const plain = await clientByHand(service.address, false)
  plain.say({ id: 5, method: 'slow' })
  plain.say({ id: 5, method: 'quick' })
  const refusal = (await plain.said())!
  assert.deepEqual([refusal['id'], refusal['error'].code], [5, -32600])
  const peer = await clientByHand(service.address, true)
  peer.say({ id: 5, method: 'slow' })
  peer.say({ id: 5, method: 'quick' })
  assert.equal((await peer.said())!['error'].code, -32600)
  for (let message = await peer.said(); message !== undefined; message = await peer.said());
  service.answer()
  assert.deepEqual(await plain.said(), { jsonrpc: '2.0', id: 5, result: 'slow' })
  plain.close()
  await service.close()
})

test('session: a service that closes refuses new calls by name, and answers the old ones', async () => {
  const service = await served()
  const peer = await clientByHand(service.address, true)
  peer.say({ id: 2, method: 'slow' })
  peer.say({ id: 3, method: 'quick' })
  assert.equal((await peer.said())!['result'], 'quick')
  const closing = service.close()
  assert.equal((await peer.said())!['method'], '$/close')
  peer.say({ id: 4, method: 'quick' })
  const refusal = (await peer.said())!
  assert.deepEqual([refusal['id'], refusal['error'].code, refusal['error'].data.outcome], [4, -32005, 'not-sent'])
  service.answer()
  assert.equal((await peer.said())!['result'], 'slow')
  peer.close()
  await soon(closing, 'close()')
})

test('session: what a Talkwire peer sends before it has answered $/close is refused; then the connection ends', async () => {
  const service = await served()
  const peer = await clientByHand(service.address, true)
  const closing = service.close()
  assert.equal((await peer.said())!['method'], '$/close')
  for (const id of [2, 3]) {
    peer.say({ id, method: 'quick' })
    const refusal = (await peer.said())!
    assert.deepEqual([refusal['id'], refusal['error'].code, refusal['error'].data.outcome], [id, -32005, 'not-sent'])
  }
  peer.say({ method: '$/close', params: {} })
  assert.equal(await peer.said(), undefined)
  await soon(closing, 'close()')
})

test('session: $/close is answered with $/close once, also to a peer that says it twice', async () => {
  const service = await served()
  const peer = await clientByHand(service.address, true)
  peer.say({ id: 2, method: 'slow' })
  peer.say({ method: '$/close', params: {} })
  peer.say({ method: '$/close', params: {} })
  peer.say({ id: 3, method: 'quick' })
  assert.deepEqual([(await peer.said())!['method'], (await peer.said())!['id']], ['$/close', 3])
  service.answer()
  assert.equal((await peer.said())!['result'], 'slow')
  assert.equal(await peer.said(), undefined)
  await service.close()
})

/** Longer than any test: what ends before was not ended by it. */
const NEVER = 2 ** 31 - 1

test('session: a peer that does not end keeps close() only for a while', async () => {
  for (const hello of [true, false]) {
    const service = await serve('by-hand', { quick: () => 'quick' }, { listen: `unix:${freshPath('.sock')}` })
    const socket = net.connect({ path: service.addresses[0]!.slice('unix:'.length), allowHalfOpen: true })
    const peer = hand(socket)
    if (hello) peer.say({ id: 1, method: 'rpc.hello', params: { wire: 1, codecs: ['json'] } })
    else peer.say({ id: 1, method: 'quick' })
    await peer.said()
    // A Talkwire peer that never answers $/close, and ends when it sees our end; a plain one that does not end at all.
    if (hello) socket.on('end', () => socket.end())
    await soon(service.close({ timeout: NEVER }), 'close()')
    peer.close()
  }
})

test('session: a reference lives until it was given back as often as it was sent', async () => {
  const service = await served()
  const peer = await clientByHand(service.address, true)
  const ask = async (id: number, method: string): Promise<Message> => {
    peer.say({ id, method, params: [] })
    return (await peer.said())!
  }
  const first = (await ask(2, 'give'))['result'].$ref[0] as number
  assert.equal((await ask(3, 'give'))['result'].$ref[0], first)
  peer.say({ method: '$/release', params: { refs: [[first, 1]] } })
  assert.equal((await ask(4, `#${first}`))['result'], 'called')
  peer.say({
    method: '$/release',
    params: {
      refs: [
        [first, 1],
        [999, 1],
        ['x', 1],
        [first, -1],
      ],
    },
  })
  const gone = await ask(5, `#${first}`)
  assert.equal(gone['error'].code, -32601)
  peer.close()
  await service.close()
})

test('session: a client that was closed stays closed, also one that would reconnect', async () => {
  const service = await serve('lasting', { quick: () => 'quick' }, { listen: `unix:${freshPath('.sock')}` })
  let connections = 0
  const between = net.createServer({ allowHalfOpen: true }, (socket) => {
    connections++
    const onward = net.connect({ path: service.addresses[0]!.slice('unix:'.length), allowHalfOpen: true })
    socket.pipe(onward).pipe(socket)
  })
  const path = freshPath('.sock')
  await new Promise<void>((resolve) => between.listen(path, resolve))
  const client = await connect<{ quick(): string }>(`unix:${path}`)
  assert.equal(await client.quick(), 'quick')
  await client.close()
  const isClosed = (error: { code: string; outcome: string }): boolean => error.code === 'CONNECTION_CLOSED' && error.outcome === 'not-sent'
  await assert.rejects(soon(client.quick(), 'an answer'), isClosed)
  assert.equal(connections, 1)
  between.close()
  await service.close()
})
