import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import net from 'node:net'
import { test } from 'node:test'
import { JSONRPCClient } from 'json-rpc-2.0'
import { promisify } from 'node:util'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import * as z from 'zod'
import { testDialect } from '../../compliance/index.js'
import { connect, contract, event, rpc, serve, stream, type RunningService, type StandardSchema } from '../../src/index.js'
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

const anything: StandardSchema<any, any> = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as unknown }) },
}
/** `told` says what reached it, `words` sends so many letters back. */
const openBank = (onAbort = (): void => {}) =>
  serve(
    contract('bank/1', {
      told: rpc({ output: anything, idempotent: true }),
      words: rpc({ input: z.object({ many: z.number().default(0), text: z.string().default('') }), output: z.string(), idempotent: true }),
      wait: rpc({}),
      overdrawn: event(anything),
    }),
    {
      told: (_, { metadata, deadline }) => ({
        ...metadata,
        deadline: deadline === undefined ? 'none' : deadline < performance.now() + 90_000,
      }),
      words: ({ many, text }) => 'x'.repeat(many) + text,
      wait: async (_, { signal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            onAbort()
            reject(signal.reason as Error)
          }),
        ),
    },
    { listen: 'http://127.0.0.1:0', token: false, limits: { message: 100_000 }, onError: () => {} },
  )

test('http: curl says deadline, metadata and trace by headers, and is told what it may have meant', async () => {
  let aborted!: () => void
  const stopped = new Promise<void>((resolve) => (aborted = resolve))
  await using service = await openBank(aborted)
  const at = `${service.addresses[0]!}/bank`
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const headers = [`traceparent: ${traceparent}`, 'talkwire-meta-who: a%20b%20%C3%A4', 'talkwire-meta-odd: %zz', 'prefer: wait=60']
  assert.deepEqual(JSON.parse((await curl(...headers.flatMap((each) => ['-H', each]), `${at}/told`)).body), {
    traceparent,
    who: 'a b ä',
    odd: '%zz',
    deadline: true,
  })
  assert.deepEqual(JSON.parse((await curl(`${at}/told`)).body), { deadline: 'none' })
  const late = await curl('-H', 'talkwire-timeout: 20', '-X', 'POST', `${at}/wait`)
  assert.deepEqual([late.status, JSON.parse(late.body).code], [504, 'DEADLINE_EXCEEDED'])
  await stopped
  assert.equal((await curl('-H', 'talkwire-timeout: soon', `${at}/told`)).status, 400)
  for (const [path, meant] of [
    ['/bank/tolt', '/bank/told'],
    ['/bank/told/', '/bank/told'],
    ['/words', '/bank/words'],
    ['/Bank/Words', '/bank/words'],
    ['/else/where', undefined],
  ] as const) {
    const { status, body } = await curl(`${service.addresses[0]!}${path}`)
    assert.equal(status, 404, path)
    assert.equal(/did you mean (\S+)\?/.exec(JSON.parse(body).detail)?.[1], meant, path)
  }
  const posted = await curl('-D', '-', '--json', '{}', `${at}/overdrawn`)
  assert.match(posted.body, /^HTTP\/1\.1 405 .*^allow: GET\r$.*is an event; GET it/ims)
})

test('http: bodies are packed as curl wants them, both ways, and a bomb is refused at the limit', async () => {
  await using service = await openBank()
  const at = `${service.addresses[0]!}/bank/words`
  const packedBy = async (accepts: string): Promise<string | undefined> => {
    const { body } = await curl('-D', '-', '-o', '/dev/null', '-H', `accept-encoding: ${accepts}`, `${at}?many=5000`)
    return /^content-encoding: (.*)\r$/im.exec(body)?.[1]
  }
  for (const [accepts, packed] of [
    ['gzip, br', 'br'],
    ['gzip', 'gzip'],
    ['br;q=0, GZIP;q=0.5', 'gzip'],
    ['br;q=0.000,gzip;q=0', undefined],
    ['zstd, identity', undefined],
    ['brotli, x-gzip2', undefined],
  ] as const)
    assert.equal(await packedBy(accepts), packed, accepts)
  assert.equal((await curl('--compressed', `${at}?many=5000`)).body, JSON.stringify('x'.repeat(5000)))
  const text = JSON.stringify({ text: 'ä'.repeat(20_000) })
  const packers: readonly [string, (text: string) => Buffer][] = [
    ['gzip', gzipSync],
    ['br', brotliCompressSync],
    ['deflate', deflateSync],
  ]
  const post = async (encoding: string, body: Buffer): Promise<[number, unknown]> => {
    const response = await fetch(at, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-encoding': encoding },
      body: new Uint8Array(body),
    })
    const told = (await response.json()) as string | { code: string }
    return [response.status, typeof told === 'string' ? told.length : told.code]
  }
  for (const [encoding, pack] of packers) {
    assert.deepEqual(await post(encoding, pack(text)), [200, 20_000], encoding)
    // A thousand to one, and more.
    assert.deepEqual(await post(encoding, pack(JSON.stringify({ text: 'x'.repeat(20e6) }))), [413, 'MESSAGE_TOO_LARGE'], encoding)
    assert.deepEqual(await post(encoding, pack(text).subarray(0, -9)), [400, 'INVALID_MESSAGE'], encoding)
    assert.deepEqual(await post(encoding, Buffer.from(text)), [400, 'INVALID_MESSAGE'], encoding)
  }
  assert.equal((await curl('-H', `x: ${'a'.repeat(20_000)}`, at)).status, 431)
  assert.equal((await curl(`${at}?text=${'a'.repeat(20_000)}`)).status, 431)
  assert.equal((await curl(`${at}?text=a`)).body, '"a"')
})

test('http: metadata that no header can hold is refused before anything is sent, and none adds a header', async () => {
  await using service = await openBank()
  const members = { told: rpc({ output: anything, idempotent: true }) }
  await using client = await connect(contract('bank/1', members), service.addresses[0]!)
  for (const key of ['a\r\nx: y', 'a b', 'ä', 'a:', '\0'])
    await assert.rejects(client.told(undefined, { metadata: { [key]: 'x' } }), /^TypeError: metadata cannot be called/, key)
  assert.deepEqual(await client.told(undefined, { metadata: { Who: 'a\r\ntraceparent: b', half: 'a\ud800', host: 'evil.test' } }), {
    who: 'a\r\ntraceparent: b',
    half: 'a\ufffd',
    host: 'evil.test',
    deadline: 'none',
  })
  await assert.rejects(client.told(undefined, { metadata: { long: 'x'.repeat(20_000) } }), fails('MESSAGE_TOO_LARGE'))
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
