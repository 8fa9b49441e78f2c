/** GraphQL over TLS, with curl and graphql-ws's client. */
import '../helpers/place.js'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import * as z from 'zod'
import { connect, contract, event, rpc, serve, stream } from '../../src/index.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'
import { issue, type Identity } from '../transports/fixtures/certificates.js'

const authority = issue({ name: 'Test Authority', authority: true })
const pick = ({ key, cert }: Identity): Identity => ({ key, cert })
const tls = { ca: authority.cert }
const ticks = contract('ticks/1', {
  add: rpc({ input: z.object({ a: z.number(), b: z.number() }), output: z.number(), idempotent: true }),
  count: rpc({ input: z.object({ to: z.number() }), output: stream(z.number()) }),
  tell: rpc({ input: z.string() }),
  told: event(z.string()),
})

async function open(identity = issue({ name: 'bank', hosts: [ownHost], issuer: authority })) {
  const service = await serve(
    ticks,
    {
      add: ({ a, b }) => a + b,
      async *count({ to }) {
        for (let tick = 0; tick < to; tick++) yield tick
      },
      tell: (text) => void service.emit('told', text),
    },
    { listen: `graphql+https://${ownHost}:${freshPort()}`, tls: pick(identity), onError: () => {} },
  )
  return service
}

test('graphql: over TLS curl asks, and trusts nobody whom it was not told to', async () => {
  await using service = await open()
  const file = freshPath('.pem')
  writeFileSync(file, authority.cert)
  const url = `${service.addresses[0]!.slice('graphql+'.length)}/graphql`
  const ask = (...more: string[]) =>
    promisify(execFile)('curl', [
      '-sS',
      '--json',
      '{"query":"{ add(a: 2, b: 5) }"}',
      '-H',
      `authorization: Bearer ${service.token!}`,
      ...more,
    ])
  assert.deepEqual(JSON.parse((await ask('--cacert', file, url)).stdout), { data: { add: 7 } })
  await assert.rejects(ask(url), /certificate/)
  await assert.rejects(ask(url.replace('https', 'http')))
})

test("graphql: over TLS graphql-ws's client subscribes", async () => {
  await using service = await open()
  const url = `${service.addresses[0]!.replace('graphql+https', 'wss')}/graphql`
  class Trusting extends WebSocket {
    constructor(address: string | URL, protocols?: string | string[]) {
      super(address, protocols, tls)
    }
  }
  const connectionParams = { authorization: `Bearer ${service.token!}` }
  const peer = createClient({ url, webSocketImpl: Trusting, retryAttempts: 0, connectionParams })
  const heard: unknown[] = []
  for await (const { data } of peer.iterate({ query: 'subscription { count(to: 3) }' })) heard.push(data)
  assert.deepEqual(heard, [{ count: 0 }, { count: 1 }, { count: 2 }])
  await peer.dispose()
  const stranger = createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0, connectionParams })
  await assert.rejects(stranger.iterate({ query: 'subscription { count(to: 3) }' }).next())
  await stranger.dispose()
})

test('graphql: over TLS our client calls, listens and streams, and talks to nobody whom it cannot trust', async () => {
  await using service = await open()
  const at = service.addresses[0]!
  const client = await connect(ticks, at, { tls, token: service.token! })
  assert.equal(await client.add({ a: 2, b: 5 }), 7)
  const counted: number[] = []
  for await (const tick of client.count({ to: 1000 })) counted.push(tick)
  assert.equal(counted.length, 1000)
  let heard = ''
  await client.on('told', (text) => (heard = text))
  while (heard === '') await client.tell('ä')
  assert.equal(heard, 'ä')
  await client.close()
  await assert.rejects(connect(ticks, at, { tls, reconnect: false }), fails('UNAUTHENTICATED'))
  for (const certificate of [
    issue({ name: 'bank', hosts: [ownHost], issuer: authority, from: -3, until: -2 }),
    issue({ name: 'bank', hosts: ['bank.example'], issuer: authority }),
    issue({ name: 'bank', hosts: [ownHost] }),
  ]) {
    await using other = await open(certificate)
    await assert.rejects(connect(ticks, other.addresses[0]!, { tls, token: other.token!, reconnect: false }), fails('UNAUTHENTICATED'))
  }
})
