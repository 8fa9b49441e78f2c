import assert from 'node:assert/strict'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { connect, contract, rpc, serve, sessionOf } from '../../src/index.js'
import { Kind } from '../../src/protocols/message.js'
import { payloadOf } from '../helpers/notation.js'
import { anything, fails, freshAddress, number, socketPathOf, until } from './harness.js'

const one = contract('one/1', { add: rpc({ input: anything, output: number }) })

test('a contract of another name or number is refused, in a sentence that names both', async () => {
  const address = freshAddress('unix')
  const service = await serve(one, { add: () => 1 }, { listen: address })
  await assert.rejects(
    connect(contract('one/2', {}), address),
    (error) => fails('CONTRACT_MISMATCH', 'not-sent')(error) && /one\/1.*one\/2/.test((error as Error).message),
  )
  await assert.rejects(connect(contract('two/1', {}), address), fails('CONTRACT_MISMATCH', 'not-sent'))
  const anyContract = await connect(address)
  assert.equal(await (anyContract as any).add(3), 1)
  await anyContract.close()
  await service.close()
})

test('codecs and limits are agreed on', async () => {
  const address = freshAddress('unix')
  const service = await serve(
    'calc',
    { size: (value: Uint8Array) => value.length, twice: (text: string) => text + text },
    { listen: address, limits: { message: 100_000 } },
  )
  for (const codecs of [['json'], ['msgpack'], ['cbor', 'json'], ['cbor']]) {
    const client = (await connect(address, { codecs })) as any
    assert.equal(await client.size(new Uint8Array(50_000)), 50_000)
    await assert.rejects(client.size(new Uint8Array(100_001)), fails('MESSAGE_TOO_LARGE', 'not-sent'))
    assert.equal(await client.size(new Uint8Array(9)), 9, 'the connection lives on')
    await assert.rejects(client.twice('x'.repeat(60_000)), fails('MESSAGE_TOO_LARGE', 'ran'))
    await client.close()
  }
  await service.close()
})

test('a JSON-RPC server that knows nothing of hello is called plainly', async () => {
  const address = freshAddress('unix')
  const seen: string[] = []
  const server = net.createServer((socket) => {
    let rest = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk])
      while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32BE(0)) {
        const message = JSON.parse(rest.toString('utf8', 4, 4 + rest.readUInt32BE(0))) as { id: number; method: string; params: number[] }
        rest = rest.subarray(4 + rest.readUInt32BE(0))
        seen.push(JSON.stringify(message))
        const answer =
          message.method === 'add'
            ? { result: message.params[0]! + message.params[1]! }
            : { error: { code: -32601, message: 'Method not found' } }
        const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id: message.id, ...answer }))
        const head = Buffer.alloc(4)
        head.writeUInt32BE(body.length)
        socket.write(Buffer.concat([head, body]))
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(socketPathOf(address), resolve))
  const client = (await connect(address)) as any
  assert.equal(await client.add(2, 5), 7)
  await assert.rejects(client.nope(), fails('METHOD_NOT_FOUND', 'not-sent'))
  assert.equal(sessionOf(client)!.wire.extended, false)
  await assert.rejects(
    client.add(() => 1),
    TypeError,
  )
  await client.close()
  server.close()
})

test('what was agreed holds for the message right behind hello, though that came in the same turn', async () => {
  const address = freshAddress('unix')
  const service = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: address })
  const framed = (payload: Uint8Array): Buffer => {
    const head = Buffer.alloc(4)
    head.writeUInt32BE(payload.length)
    return Buffer.concat([head, payload])
  }
  const hello = { jsonrpc: '2.0', id: 1, method: 'rpc.hello', params: { wire: 1, codecs: ['msgpack'], attachments: true } }
  const call = payloadOf('msgpack', [Kind.call, 2, 'add', [2, 5], undefined])
  const socket = net.connect(socketPathOf(address))
  socket.write(Buffer.concat([framed(Buffer.from(JSON.stringify(hello))), framed(call)]))
  const answers = [Buffer.from('"id":2,"result":7'), payloadOf('msgpack', [Kind.result, 2, '', 7, undefined])]
  let heard = Buffer.alloc(0)
  for await (const chunk of socket) {
    heard = Buffer.concat([heard, chunk as Buffer])
    if (heard.includes('"error"') || answers.some((answer) => heard.includes(answer))) break
  }
  assert.ok(heard.includes('"codec":"msgpack"'), 'the answer to hello is JSON')
  assert.ok(!heard.includes('"error"'), heard.toString('latin1'))
  await service.close()
})

test('a server that never answers hello is given up after the handshake limit', async () => {
  const address = freshAddress('unix')
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => sockets.push(socket.on('error', () => {}))).listen(socketPathOf(address))
  await assert.rejects(connect(address, { limits: { handshake: 50 } }), fails('DEADLINE_EXCEEDED', 'not-sent'))
  for (const socket of sockets) socket.destroy()
  server.close()
})

/** A line-delimited peer as a person would type it. */
function byHand(address: string): { say(text: string): void; next(): Promise<any>; socket: net.Socket; closed: Promise<void> } {
  const socket = net.connect(socketPathOf(address))
  const lines: string[] = []
  let wake = (): void => {}
  createInterface({ input: socket }).on('line', (line) => {
    lines.push(line)
    wake()
  })
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return {
    socket,
    closed,
    say: (text) => void socket.write(`${text}\n`),
    async next() {
      while (lines.length === 0)
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      return JSON.parse(lines.shift()!)
    },
  }
}

test('by hand: calls, notifications, batches, errors, streams, events', async () => {
  const address = freshAddress('unix')
  const noted: unknown[] = []
  const service = await serve(
    'calc',
    {
      add: (a: number, b: number) => a + b,
      note: (text: string) => void noted.push(text),
      *count(n: number) {
        for (let i = 0; i < n; i++) yield i
      },
      special: () => ({
        big: 12n,
        date: new Date(0),
        none: undefined,
        nan: NaN,
        map: new Map([['a', 1]]),
        set: new Set([1]),
        bytes: Uint8Array.of(1, 2),
      }),
    },
    { listen: address, onError: () => {} },
  )
  const hand = byHand(address)
  hand.say('{"jsonrpc":"2.0","id":"a","method":"add","params":[2,5]}')
  assert.deepEqual(await hand.next(), { jsonrpc: '2.0', id: 'a', result: 7 })
  hand.say('{"jsonrpc":"2.0","method":"note","params":["hello"]}')
  hand.say('{"jsonrpc":"2.0","id":null,"method":"add","params":[1,1]}')
  assert.deepEqual(await hand.next(), { jsonrpc: '2.0', id: null, result: 2 })
  assert.deepEqual(noted, ['hello'])
  hand.say(
    '[{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]},{"jsonrpc":"2.0","method":"note","params":["in batch"]},7,{"jsonrpc":"2.0","id":2,"method":"nope"}]',
  )
  const batch = (await hand.next()) as { id: number | null; result?: number; error?: { code: number } }[]
  assert.deepEqual(
    batch.map(({ id, result, error }) => [id, result ?? error?.code]).sort(),
    [
      [1, 3],
      [2, -32601],
      [null, -32600],
    ].sort(),
  )
  hand.say('{not json')
  assert.equal((await hand.next()).error.code, -32700)
  hand.say('{"jsonrpc":"1.0","id":5,"method":"add"}')
  assert.deepEqual(
    [await hand.next()].map(({ id, error }) => [id, error.code]),
    [[5, -32600]],
  )
  hand.say('[]')
  assert.equal((await hand.next()).error.code, -32600)
  hand.say('{"jsonrpc":"2.0","id":6,"method":"count","params":[2]}')
  assert.deepEqual(await hand.next(), { jsonrpc: '2.0', method: '$/item', params: { id: 6, value: 0 } })
  assert.deepEqual(await hand.next(), { jsonrpc: '2.0', method: '$/item', params: { id: 6, value: 1 } })
  assert.deepEqual(await hand.next(), { jsonrpc: '2.0', id: 6, result: null })
  hand.say('{"jsonrpc":"2.0","id":7,"method":"special"}')
  assert.deepEqual((await hand.next()).result, {
    big: '12',
    date: '1970-01-01T00:00:00.000Z',
    nan: null,
    map: { a: 1 },
    set: [1],
    bytes: 'AQI=',
  })
  hand.say('{"jsonrpc":"2.0","id":8,"method":"rpc.on","params":{"event":"tick"}}')
  assert.equal((await hand.next()).result, null)
  service.emit('tick', { at: 1 })
  assert.deepEqual(await hand.next(), { jsonrpc: '2.0', method: 'tick', params: { at: 1 } })
  hand.say('{"jsonrpc":"2.0","id":9,"method":"rpc.discover"}')
  assert.ok((await hand.next()).result.openrpc)
  hand.socket.end('{"jsonrpc":"2.0","id":10,"method":"add","params":[20,1]}')
  assert.equal((await hand.next()).result, 21, 'the last line needs no LF, and half-closing does not cost the answer')
  await hand.closed
  await until(() => service.peers.length === 0)
  await service.close()
})
