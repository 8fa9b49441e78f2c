import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { WebSocket } from 'ws'
import { soon } from '../../compliance/ends.js'
import { connect, serve } from '../../src/index.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { issue, type Identity } from './fixtures/certificates.js'

const authority = issue({ name: 'Test Authority', authority: true })
const hosts = ['localhost', ownHost]
const pick = ({ key, cert }: Identity): Identity => ({ key, cert })
const serverTls = pick(issue({ name: 'bank', hosts, issuer: authority }))
const clientTls = { ca: authority.cert }
const fresh = (): string => `wss://${ownHost}:${freshPort()}`

// The suite of transports runs over ws:, whose code this is.
const functions = {
  add: (a: number, b: number) => a + b,
  echo: (value: unknown) => value,
  *count(to: number) {
    for (let index = 0; index < to; index++) yield index
  },
  each: async (items: string[], visit: (item: string) => Promise<void>) => {
    for (const item of items) await visit(item)
  },
}

test('wss: large messages, streams, callbacks, and the last answer before the end', async () => {
  await using service = await serve('calc', functions, { listen: fresh(), tls: serverTls })
  const client = await connect<typeof functions>(service.addresses[0]!, { tls: clientTls, token: service.token! })
  const bytes = new Uint8Array(8 * 1024 * 1024).fill(7)
  assert.deepEqual(await client.echo(bytes), bytes)
  let sum = 0
  for await (const value of client.count(5000)) sum += value
  assert.equal(sum, 12_497_500)
  const seen: string[] = []
  await client.each(['a', 'b'], async (item) => void seen.push(item))
  assert.deepEqual(seen, ['a', 'b'])
  const [last] = await Promise.all([client.add(2, 5), client.close()])
  assert.equal(last, 7)
})

test('wss: a plain WebSocket calls, with the token', async () => {
  await using service = await serve('calc', functions, { listen: fresh(), tls: serverTls })
  const socket = new WebSocket(service.addresses[0]!, ['talkwire.v1', `talkwire.token.${service.token}`], { ca: authority.cert })
  try {
    const answer = new Promise((resolve, reject) => {
      socket.on('error', reject).on('message', (bytes: Buffer) => resolve(JSON.parse(String(bytes))))
      socket.on('open', () => socket.send('{"jsonrpc":"2.0","id":1,"method":"add","params":[2,5]}'))
    })
    assert.deepEqual(await soon(answer, 'an answer'), { jsonrpc: '2.0', id: 1, result: 7 })
  } finally {
    socket.terminate()
  }
})

test('wss: a service that cannot be trusted is not talked to, and one without a token asks for nobody', async () => {
  for (const certificate of [
    issue({ name: 'bank', hosts, issuer: authority, from: -3, until: -2 }),
    issue({ name: 'bank', hosts: ['bank.example'], issuer: authority }),
    issue({ name: 'bank', hosts }),
  ]) {
    await using service = await serve('calc', functions, { listen: fresh(), tls: pick(certificate), token: false })
    await assert.rejects(connect(service.addresses[0]!, { tls: clientTls, reconnect: false }), fails('UNAUTHENTICATED'))
    assert.equal(service.peers.length, 0)
  }
  await using service = await serve('calc', functions, { listen: fresh(), tls: serverTls })
  await assert.rejects(connect(service.addresses[0]!, { tls: clientTls, reconnect: false }), fails('UNAUTHENTICATED'))
  await using client = await connect<typeof functions>(service.addresses[0]!, { tls: clientTls, token: service.token! })
  assert.equal(await client.add(2, 5), 7)
  await assert.rejects(serve('calc', functions, { listen: 'wss://0.0.0.0:0', tls: serverTls, token: false }), fails('PERMISSION_DENIED'))
})

test('wss: pages of others and names that were made to point here are refused before a frame is read', async () => {
  await using service = await serve('calc', functions, { listen: fresh(), tls: serverTls })
  const protocols = ['talkwire.v1', `talkwire.token.${service.token}`]
  for (const headers of [{ origin: 'https://evil.test' }, { host: 'evil.test' }, { origin: 'null' }]) {
    const socket = new WebSocket(service.addresses[0]!, protocols, { ca: authority.cert, headers })
    const [refused] = (await soon(Promise.race([once(socket, 'error'), once(socket, 'open')]), 'a refusal')) as [Error | undefined]
    assert.match(String(refused), /403/, JSON.stringify(headers))
  }
  assert.equal(service.peers.length, 0)
})

test('wss: who knows the service by a client certificate may ask for one', async () => {
  const teller = issue({ name: 'teller 7', issuer: authority })
  const options = { token: false as const, tls: { ...serverTls, ca: authority.cert, requestCert: true, rejectUnauthorized: true } }
  await using service = await serve('calc', functions, { listen: fresh(), ...options })
  await using client = await connect<typeof functions>(service.addresses[0]!, { tls: { ...clientTls, ...pick(teller) } })
  assert.equal(await client.add(2, 5), 7)
  for (const other of [clientTls, { ...clientTls, ...pick(issue({ name: 'teller 7' })) }])
    await assert.rejects(
      connect(service.addresses[0]!, { tls: other, reconnect: false }),
      fails('PEER_NOT_FOUND', 'CONNECTION_LOST', 'UNAUTHENTICATED'),
    )
})

test('wss: a service that has restarted is found again, a plain WebSocket and silence are let go', async () => {
  const listen = fresh()
  const open = () => serve('calc', functions, { listen, tls: serverTls, token: 'a-token-for-the-tests', limits: { handshake: 1000 } })
  let service = await open()
  await using client = await connect<typeof functions>(listen, { tls: clientTls, token: 'a-token-for-the-tests' })
  assert.equal(await client.add(2, 5), 7)
  await service.close()
  service = await open()
  assert.equal(await client.add(3, 5), 8)
  const { hostname, port } = new URL(listen)
  const sockets = [net.connect(Number(port), hostname), tls.connect({ host: hostname, port: Number(port), ca: authority.cert })]
  sockets[0]!.on('connect', () => sockets[0]!.write('GET / HTTP/1.1\r\nupgrade: websocket\r\n'))
  for (const socket of sockets) socket.on('error', () => {}).resume()
  await soon(Promise.all(sockets.map((socket) => once(socket, 'close'))), 'the end of who says nothing')
  assert.equal(await client.add(4, 5), 9)
  await service.close()
})
