import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { WebSocket, type ClientOptions } from 'ws'
import { soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve, type RunningService } from '../../src/index.js'
import { ws } from '../../src/transports/ws.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'

testTransport({ test, transport: ws, address: () => `ws://${ownHost}:${freshPort()}` })

// ── strangers ────────────────────────────────────────────────────────────────────────────────────

const functions = { add: (a: number, b: number) => a + b }
const open = (): Promise<RunningService> => serve('calc', functions, { listen: 'ws://127.0.0.1:0' })

/** What a WebSocket hears first: a message, or the status with which it was turned away. */
async function heard(address: string, protocols: string[], options: ClientOptions, text?: string): Promise<unknown> {
  const socket = new WebSocket(address, protocols, options)
  try {
    return await soon(
      new Promise((resolve, reject) => {
        socket.on('unexpected-response', (_, response) => resolve(response.statusCode))
        socket.on('message', (bytes: Buffer, isBinary: boolean) => resolve([isBinary, JSON.parse(String(bytes))]))
        socket.on('error', reject)
        socket.on('open', () => (text === undefined ? resolve('open') : socket.send(text)))
      }),
      'an answer',
    )
  } finally {
    socket.on('error', () => {}).terminate()
  }
}
const call = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'add', params: [2, 5] })

test('ws: a plain WebSocket calls with JSON-RPC in text frames, and shows the token as a header or as a sub-protocol', async () => {
  await using service = await open()
  const [address] = service.addresses as [string]
  const headers = { authorization: `Bearer ${service.token}` }
  const answer = [false, { jsonrpc: '2.0', id: 1, result: 7 }]
  assert.deepEqual(await heard(address, [], { headers }, call), answer)
  assert.deepEqual(await heard(address, ['talkwire.v1'], { headers }, call), answer)
  assert.deepEqual(await heard(address, ['talkwire.v1', `talkwire.token.${service.token}`], {}, call), answer)
  for (const protocols of [[], ['talkwire.v1'], ['talkwire.v1', 'talkwire.token.wrong']])
    assert.equal(await heard(address, protocols, {}, call), 401)
})

test('ws: pages of others and other hosts are turned away before anything is read', async () => {
  await using service = await open()
  const [address] = service.addresses as [string]
  const authorization = `Bearer ${service.token}`
  const { host } = new URL(address)
  for (const origin of ['null', 'http://evil.test', `http://evil.${host}`, `https://${host}`])
    assert.equal(await heard(address, [], { headers: { authorization }, origin }, call), 403, origin)
  assert.equal(await heard(address, [], { headers: { authorization, host: 'evil.test' } }, call), 403)
  assert.equal(await heard(address, [], { headers: { authorization }, origin: `http://${host}` }), 'open')
})

test('ws: our client is told what is missing', async () => {
  await using service = await open()
  const [address] = service.addresses as [string]
  await assert.rejects(connect(address), fails('UNAUTHENTICATED'))
  await using client = await connect<typeof functions>(address, { token: service.token! })
  assert.equal(await client.add(2, 5), 7)
  const page = await fetch(address.replace('ws:', 'http:'))
  assert.deepEqual([page.status, await page.text()], [426, 'here is a WebSocket, and nothing else: ws://…\n'])
  await using web = await serve('other', functions, { listen: 'http://127.0.0.1:0', token: false })
  await assert.rejects(connect(web.addresses[0]!.replace('http', 'ws')), fails('PEER_NOT_FOUND'))
})

test('ws: it listens beyond loopback only when told to', async () => {
  for (const listen of ['ws://0.0.0.0:0', 'ws://[::]:0'])
    await assert.rejects(serve('calc', functions, { listen }), fails('PERMISSION_DENIED'), listen)
})

test('ws: a million tiny fragments and a compressed bomb end the connection that sent them, and nobody else', async () => {
  await using service = await open()
  const [address] = service.addresses as [string]
  const { hostname, port } = new URL(address)
  await using client = await connect<typeof functions>(address, { token: service.token!, reconnect: false })
  const fragment = Buffer.from([0x00, 0x81, 0, 0, 0, 0, 0x31])
  const frames = Buffer.concat([Buffer.from([0x01, 0x81, 0, 0, 0, 0, 0x5b]), Buffer.alloc(7e6, fragment)])
  const deflated = Buffer.from([0xc1, 0x81, 0, 0, 0, 0, 0x00])
  for (const bytes of [
    frames,
    deflated,
    Buffer.from([0xff, 0xff, 0xff]),
    Buffer.from([0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
  ]) {
    const socket = net.connect(Number(port), hostname)
    socket.on('error', () => {})
    socket.write(
      `GET / HTTP/1.1\r\nHost: ${hostname}:${port}\r\nAuthorization: Bearer ${service.token}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
    )
    await once(socket, 'data')
    socket.resume()
    socket.write(bytes)
    socket.end()
    assert.equal(await soon(client.add(2, 5), 'an answer'), 7)
    if (!socket.closed) await soon(once(socket, 'close'), 'the end')
  }
})
