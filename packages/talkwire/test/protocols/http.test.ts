import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import net from 'node:net'
import { test } from 'node:test'
import { JSONRPCClient } from 'json-rpc-2.0'
import { promisify } from 'node:util'
import { testDialect } from '../../compliance/index.js'
import { connect, contract, rpc, serve, stream, type RunningService, type StandardSchema } from '../../src/index.js'
import { http } from '../../src/protocols/http.js'
import { fails } from '../helpers/expect.js'

const raw = (address: string): net.Socket => {
  const { hostname, port } = new URL(address)
  return net.connect(Number(port), hostname)
}

testDialect({ test, dialect: http, address: () => 'http://127.0.0.1:0', raw })

// ── strangers ────────────────────────────────────────────────────────────────────────────────────

const functions = {
  add: (a: number, b: number) => a + b,
  *count(to: number) {
    for (let index = 0; index < to; index++) yield index
  },
}
const key = 'a token for the tests'.replaceAll(' ', '-')
const open = () => serve('calc', functions, { listen: 'http://127.0.0.1:0', token: key })

async function curl(...args: string[]): Promise<{ status: number; type: string; body: string }> {
  const { stdout } = await promisify(execFile)('curl', ['-s', '-w', '\n%{http_code} %{content_type}', ...args])
  const [, body, status, type] = /^(.*)\n(\d+) (.*)$/s.exec(stdout)!
  return { status: Number(status), type: type!, body: body! }
}
const bearer = ['-H', `authorization: Bearer ${key}`]

test('http: curl calls, streams, and is told what is wrong', async () => {
  await using service = await open()
  const at = service.addresses[0]!
  assert.deepEqual(await curl(...bearer, '--json', '[2, 5]', `${at}/calc/add`), { status: 200, type: 'application/json', body: '7' })
  const stream = await curl(...bearer, '-N', '--json', '[2]', `${at}/calc/count`)
  assert.deepEqual(stream, { status: 200, type: 'text/event-stream', body: 'data: 0\n\ndata: 1\n\nevent: end\ndata: null\n\n' })
  for (const [status, code, ...args] of [
    [401, 'UNAUTHENTICATED', '--json', '[2, 5]', `${at}/calc/add`],
    [401, 'UNAUTHENTICATED', '-H', 'authorization: Bearer wrong', '--json', '[2, 5]', `${at}/calc/add`],
    [404, 'METHOD_NOT_FOUND', ...bearer, '--json', '[2, 5]', `${at}/calc/constructor`],
    [404, 'METHOD_NOT_FOUND', ...bearer, '--json', '[2, 5]', `${at}/calc/rpc.hello`],
    [405, 'METHOD_NOT_FOUND', ...bearer, `${at}/calc/add`],
    [415, 'INVALID_REQUEST', ...bearer, '-d', '[2, 5]', `${at}/calc/add`],
    [415, 'INVALID_REQUEST', ...bearer, '-H', 'content-type: text/plain', '-d', '[2, 5]', `${at}/calc/add`],
    [400, 'INVALID_MESSAGE', ...bearer, '--json', '[2, 5', `${at}/calc/add`],
    [400, 'FORBIDDEN_KEY', ...bearer, '--json', '{"__proto__": {"a": 1}}', `${at}/calc/add`],
    [400, 'TOO_DEEP', ...bearer, '--json', '['.repeat(65) + ']'.repeat(65), `${at}/calc/add`],
    [501, 'UNSUPPORTED', ...bearer, '-H', 'content-encoding: zstd', '--json', '[2, 5]', `${at}/calc/add`],
  ] as const) {
    const told = await curl(...(args as string[]))
    assert.deepEqual([told.status, told.type, JSON.parse(told.body).code], [status, 'application/problem+json', code], args.join(' '))
  }
})

test('http: pages of others are refused, whatever they send and under whatever name', async () => {
  await using service = await open()
  const at = service.addresses[0]!
  const { port } = new URL(at)
  for (const origin of ['null', 'http://evil.test', `http://evil.127.0.0.1:${port}`, `https://127.0.0.1:${port}`])
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json']) {
      const told = await curl(...bearer, '-H', `origin: ${origin}`, '-H', `content-type: ${type}`, '-d', '[2, 5]', `${at}/calc/add`)
      assert.equal(told.status, 403, `${origin} ${type}`)
    }
  for (const host of ['evil.test', `evil.test:${port}`, '127.0.0.1', `127.0.0.1.evil.test:${port}`, ''])
    assert.ok([400, 403].includes((await curl(...bearer, '-H', `host: ${host}`, '--json', '[2, 5]', `${at}/calc/add`)).status), host)
  const own = await curl(...bearer, '-H', `origin: http://127.0.0.1:${port}`, '--json', '[2, 5]', `${at}/calc/add`)
  assert.equal(own.status, 200)
})

test('http: it listens beyond loopback only when told to', async () => {
  for (const listen of ['http://0.0.0.0:0', 'http://[::]:0'])
    await assert.rejects(serve('calc', functions, { listen }), fails('PERMISSION_DENIED'), listen)
  await assert.rejects(serve('calc', functions, { listen: 'http://127.0.0.1:0', token: 'short' }), TypeError)
})

test('http: json-rpc-2.0 calls over POST /rpc, one by one and in batches', async () => {
  await using service = await open()
  const post = async (request: unknown): Promise<unknown> => {
    const response = await fetch(`${service.addresses[0]!}/rpc`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: typeof request === 'string' ? request : JSON.stringify(request),
    })
    return response.status === 200 ? response.json() : response.status
  }
  const client: JSONRPCClient = new JSONRPCClient(async (request) => {
    const answer = await post(request)
    if (typeof answer === 'object') client.receive(answer as never)
  })
  assert.equal(await client.request('add', [2, 5]), 7)
  assert.deepEqual(
    (await client.requestAdvanced([
      { jsonrpc: '2.0', id: 1, method: 'add', params: [1, 2] },
      { jsonrpc: '2.0', id: 'b', method: 'nothing' },
      { jsonrpc: '2.0', id: 3, method: 'count', params: [2] },
    ])) satisfies unknown as { id: unknown; result?: unknown; error?: { code: number } }[],
    [
      { jsonrpc: '2.0', id: 1, result: 3 },
      { jsonrpc: '2.0', id: 'b', error: (await client.requestAdvanced({ jsonrpc: '2.0', id: 'b', method: 'nothing' })).error },
      { jsonrpc: '2.0', id: 3, error: (await client.requestAdvanced({ jsonrpc: '2.0', id: 3, method: 'count', params: [2] })).error },
    ],
  )
  assert.equal(await post({ jsonrpc: '2.0', method: 'add', params: [1, 2] }), 204)
  const codes = async (request: unknown): Promise<unknown> => ((await post(request)) as { error: { code: number } }).error.code
  assert.deepEqual(
    [
      await codes('{"jsonrpc":"2.0"'),
      await codes([]),
      await codes({ id: 1, method: 'add' }),
      await codes({ jsonrpc: '2.0', id: 1, method: 'rpc.hello' }),
      await codes({ jsonrpc: '2.0', id: 1, method: '#1' }),
      await codes(Array.from({ length: 101 }, () => ({ jsonrpc: '2.0', id: 1, method: 'add', params: [1, 2] }))),
    ],
    [-32700, -32600, -32600, -32601, -32601, -32002],
  )
  const late = await fetch(`${service.addresses[0]!}/rpc`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}`, 'talkwire-timeout': 'soon' },
    body: '{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}',
  })
  assert.equal(((await late.json()) as { error: { code: number } }).error.code, -32600)
  const { methods } = (await client.request('rpc.discover', [])) as { methods: { name: string }[] }
  assert.deepEqual(
    methods.map(({ name }) => name),
    ['add', 'count'],
  )
})

test('http: the last line of an input needs no end', async () => {
  const anything: StandardSchema<number, number> = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as number }) },
  }
  const totals = contract('totals/1', { sum: rpc({ input: stream(anything), output: anything }) })
  const sum = async (items: AsyncIterable<number>): Promise<number> => {
    let total = 0
    for await (const item of items) total += item
    return total
  }
  await using service = await serve(totals, { sum }, { listen: 'http://127.0.0.1:0', token: false })
  for (const text of ['1\n2\n3', '1\r\n\n2\r\n3\r\n', '6'])
    assert.equal(
      (await curl('-H', 'content-type: application/x-ndjson', '--data-binary', text, `${service.addresses[0]!}/totals/sum`)).body,
      '6',
    )
})

test('http: a thousand calls at once share some connections, and streams beside them keep none of these', async () => {
  const anything: StandardSchema<any, any> = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as unknown }) },
  }
  const busy = contract('busy/1', { twice: rpc({ input: anything, output: anything }), watch: rpc({ output: stream(anything) }) })
  let most = 0
  let watching = 0
  const service: RunningService = await serve(
    busy,
    {
      twice(value) {
        most = Math.max(most, service.peers.length)
        return 2 * value
      },
      async *watch(_, { signal }) {
        yield ++watching
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
      },
    },
    { listen: 'http://127.0.0.1:0', token: false },
  )
  await using _ = service
  await using client = await connect(busy, service.addresses[0]!)
  const values = Array.from({ length: 1000 }, (_, index) => index)
  assert.deepEqual(
    await Promise.all(values.map((value) => client.twice(value))),
    values.map((value) => 2 * value),
  )
  assert.ok(most <= 65, `${most} connections`)
  const streams = values.slice(0, 100).map(() => client.watch())
  for (const each of streams) await each.next()
  assert.equal(watching, 100)
  assert.equal(await client.twice(5), 10)
  for (const each of streams) await each.return!()
})
