/** MCP over TLS, and a session over HTTP that had to make room. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import tls from 'node:tls'
import { testDialect } from '../../compliance/index.js'
import { connect, serve } from '../../src/index.js'
import { mcpHttps } from '../../src/protocols/mcp.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { issue } from '../transports/fixtures/certificates.js'

const authority = issue({ name: 'mcp authority', authority: true })
const { key, cert } = issue({ name: 'mcp', hosts: [ownHost], issuer: authority })

testDialect({
  test,
  dialect: mcpHttps,
  address: () => `mcp+https://${ownHost}:${freshPort()}`,
  listenOptions: { tls: { key, cert } },
  connectOptions: { tls: { ca: authority.cert } },
  raw(address) {
    const { hostname, port } = new URL(address.slice('mcp+'.length))
    return tls.connect({ host: hostname, port: Number(port), ca: authority.cert })
  },
})

const VERSION = '2025-06-18'

test('mcp: the session that was silent for longest makes room; its client is told so, and begins another', async () => {
  const listen = `mcp+http://${ownHost}:${freshPort()}`
  await using service = await serve('calc', { add: (a: number, b: number) => a + b }, { listen, token: false, limits: { connections: 4 } })
  const url = `${service.addresses[0]!.slice('mcp+'.length)}/mcp`
  const post = (message: object, id?: string): Promise<Response> =>
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...(id && { 'mcp-session-id': id }) },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...message }),
    })
  const begin = async (): Promise<string> => {
    const params = { protocolVersion: VERSION, capabilities: {}, clientInfo: { name: 'test', version: '1' } }
    const response = await post({ method: 'initialize', params })
    await response.text()
    return response.headers.get('mcp-session-id')!
  }
  const list = async (id: string): Promise<number> => {
    const response = await post({ method: 'tools/list' }, id)
    await response.text()
    return response.status
  }
  await using client = await connect<{ add(a: number, b: number): number }>(service.addresses[0]!)
  assert.equal(await client.add(2, 5), 7)
  const ids = [await begin(), await begin(), await begin()]
  // The first of them speaks, so the client is the one that was silent for longest.
  assert.equal(await list(ids[0]!), 200)
  ids.push(await begin())
  // Whoever speaks now last came first: the last one is next.
  for (const id of ids.toReversed()) assert.equal(await list(id), 200)
  await assert.rejects(
    client.add(1, 1),
    (reason: Error) => fails('CONNECTION_LOST')(reason) && (reason as { outcome?: string }).outcome === 'not-sent',
  )
  assert.equal(await client.add(1, 1), 2)
  // That took the place of the next one.
  for (const [at, id] of ids.entries()) assert.equal(await list(id), at === 3 ? 404 : 200)
})
