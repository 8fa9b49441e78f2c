/** Connect and gRPC-Web at the port of gRPC, with clients that are not ours: @connectrpc/connect-node, connect-web (by fetch) and plain fetch. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { createFileRegistry, fromBinary, type DescMessage } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { Code, ConnectError, createClient, type Interceptor, type Transport } from '@connectrpc/connect'
import * as node from '@connectrpc/connect-node'
import * as web from '@connectrpc/connect-web'
import { statusOf } from '../helpers/status.js'
import { soon } from '../../compliance/ends.js'
import { serve } from '../../src/index.js'
import { descriptorSetOf } from '../../src/protocols/grpc.js'
import { ownHost } from '../helpers/loopback.js'
import { bank, handlersOf } from './fixtures/grpc-bank.js'

const key = 'a-token-for-the-tests'
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, await descriptorSetOf(bank)))
const Bank = registry.getService('bank.v1.Bank')!
const AccountClosed: DescMessage = registry.getMessage('bank.v1.AccountClosed')!

const shown: Interceptor = (next) => (request) => {
  request.header.set('authorization', `Bearer ${key}`)
  return next(request)
}
const urlOf = (address: string): string => address.replace('grpc:', 'http:')

const transports: readonly (readonly [name: string, clientStreams: boolean, duplex: boolean, make: (baseUrl: string) => Transport])[] = [
  ['gRPC', true, true, (baseUrl) => node.createGrpcTransport({ baseUrl, interceptors: [shown], acceptCompression: [] })],
  [
    'gRPC, compressed',
    true,
    true,
    (baseUrl) => node.createGrpcTransport({ baseUrl, interceptors: [shown], sendCompression: node.compressionGzip, compressMinBytes: 0 }),
  ],
  [
    'gRPC-Web over HTTP/1.1',
    false,
    false,
    (baseUrl) => node.createGrpcWebTransport({ baseUrl, httpVersion: '1.1', interceptors: [shown] }),
  ],
  ['gRPC-Web over HTTP/2', false, false, (baseUrl) => node.createGrpcWebTransport({ baseUrl, httpVersion: '2', interceptors: [shown] })],
  ['Connect over HTTP/1.1', true, false, (baseUrl) => node.createConnectTransport({ baseUrl, httpVersion: '1.1', interceptors: [shown] })],
  [
    'Connect over HTTP/2, JSON',
    true,
    true,
    (baseUrl) => node.createConnectTransport({ baseUrl, httpVersion: '2', useBinaryFormat: false, interceptors: [shown] }),
  ],
  [
    'Connect, compressed',
    true,
    false,
    (baseUrl) =>
      node.createConnectTransport({
        baseUrl,
        httpVersion: '1.1',
        sendCompression: node.compressionGzip,
        compressMinBytes: 0,
        interceptors: [shown],
      }),
  ],
  [
    'Connect with GET',
    true,
    false,
    (baseUrl) => node.createConnectTransport({ baseUrl, httpVersion: '1.1', useHttpGet: true, interceptors: [shown] }),
  ],
  ["gRPC-Web by the page's client", false, false, (baseUrl) => web.createGrpcWebTransport({ baseUrl, interceptors: [shown] })],
  ["Connect by the page's client", false, false, (baseUrl) => web.createConnectTransport({ baseUrl, interceptors: [shown] })],
]

for (const [name, clientStreams, duplex, make] of transports)
  test(`grpc: ${name} of @connectrpc calls every shape it has, and is told of errors and deadlines`, async () => {
    const happened: string[] = []
    let look = (): void => {}
    const wait = (what: string): Promise<void> =>
      soon(
        new Promise((resolve) => {
          look = () => happened.includes(what) && resolve()
          look()
        }),
        what,
      )
    await using service = await serve(
      bank,
      handlersOf((what) => {
        happened.push(what)
        look()
      }),
      { listen: `grpc://${ownHost}:0`, token: key, onError: () => {} },
    )
    const baseUrl = urlOf(service.addresses[0]!)
    const client: any = createClient(Bank, make(baseUrl))
    assert.equal((await client.deposit({ account: 'a', amount: 5 })).balance, 6)
    assert.equal((await client.balance({ account: 'abc' })).balance, 3)
    const balances = []
    for await (const { balance } of client.watch({ account: 'a' })) balances.push(balance)
    assert.deepEqual(balances, [0, 1, 2, 3, 4])
    await assert.rejects(client.deposit({ account: 'closed' }), (error: ConnectError) => {
      assert.deepEqual([error.code, error.rawMessage], [Code.FailedPrecondition, 'no more of this: 100 % ä'])
      assert.deepEqual(
        error.findDetails(AccountClosed).map((each: any) => each.since),
        ['Monday ä'],
      )
      return true
    })
    const codeOf = (call: Promise<unknown>): Promise<Code | undefined> =>
      call.then(
        () => undefined,
        (error: ConnectError) => error.code,
      )
    assert.equal(await codeOf(client.deposit({ account: 'nobody' })), Code.NotFound)
    assert.equal(await codeOf(client.deposit({ account: 'secret' })), Code.Internal)
    assert.equal(await codeOf(client.wait({}, { timeoutMs: 100 })), Code.DeadlineExceeded)
    await wait('aborted')
    const { value } = await client.told({}, { headers: { who: 'me' }, timeoutMs: 60_000 })
    assert.deepEqual([value.who, value.deadline, 'authorization' in value], ['me', 'later', false])
    const said = {
      text: 'ä€',
      whole: 2n ** 53n - 1n,
      big: -(2n ** 63n),
      kind: 'LOAN',
      data: new Uint8Array([0, 255]),
      inner: { deepValue: 'x' },
      rows: [{ value: [1n] }],
      byName: { a: 1 },
    }
    const more = {
      when: { seconds: 1n, nanos: 5_000_000 },
      shape: { kind: { case: 'square', value: { side: 2 } } },
      textOrNumber: { kind: { case: 'number', value: 7 } },
      pair: { item1: 'p' },
      orNothing: { kind: { case: 'null', value: 0 } },
    }
    const echo = await client.echo({ ...said, ...more })
    assert.deepEqual(
      [echo.text, echo.whole, echo.big, [...echo.data], echo.inner.deepValue, echo.rows[0].value, echo.byName],
      ['ä€', 2n ** 53n - 1n, -(2n ** 63n), [0, 255], 'x', [1n], { a: 1 }],
    )
    assert.deepEqual(
      [echo.when.seconds, echo.when.nanos, echo.shape.kind.value.side, echo.textOrNumber.kind, echo.pair.item1, echo.orNothing.kind.case],
      [1n, 5_000_000, 2, { case: 'number', value: 7 }, 'p', 'null'],
    )
    if (clientStreams) assert.deepEqual(Number((await client.load(several([{ amount: 2 }, { amount: 3 }]))).total), 5)
    if (duplex) {
      const heard = []
      for await (const { text } of client.chat(several([{ text: 'a' }, { text: 'b' }]))) heard.push(text)
      assert.deepEqual(heard, ['heard a', 'heard b'])
    }
    const controller = new AbortController()
    for await (const _ of client.watch({ account: 'endless' }, { signal: controller.signal })) break
    controller.abort()
    await wait('watched')
  })

async function* several<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

test('grpc: curl calls by Connect, and is told what is wrong with the status of HTTP that fits', async () => {
  await using service = await serve(
    bank,
    handlersOf(() => {}),
    { listen: `grpc://${ownHost}:0`, token: key, onError: () => {}, origins: ['http://app.test'] },
  )
  const url = urlOf(service.addresses[0]!)
  const post = async (
    path: string,
    body: string,
    headers: Record<string, string> = {},
  ): Promise<[status: number, body: any, headers: Headers]> => {
    const response = await fetch(`${url}/${path}`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}`, ...headers },
    })
    const text = await response.text()
    return [response.status, text.startsWith('{') ? JSON.parse(text) : text, response.headers]
  }
  const { stdout } = await promisify(execFile)('curl', [
    '-s',
    '-H',
    `authorization: Bearer ${key}`,
    '--json',
    '{"account":"a","amount":5}',
    `${url}/bank.v1.Bank/Deposit`,
  ])
  assert.equal(stdout, '{"balance":6}')
  for (const [status, code, path, body, headers] of [
    [400, 'failed_precondition', 'bank.v1.Bank/Deposit', '{"account":"closed"}'],
    [404, 'not_found', 'bank.v1.Bank/Deposit', '{"account":"nobody"}'],
    [500, 'internal', 'bank.v1.Bank/Deposit', '{"account":"secret"}'],
    [400, 'invalid_argument', 'bank.v1.Bank/Deposit', '{"account":5}'],
    [400, 'invalid_argument', 'bank.v1.Bank/Deposit', '[]'],
    [400, 'invalid_argument', 'bank.v1.Bank/Deposit', '{"account":'],
    [400, 'invalid_argument', 'bank.v1.Bank/Deposit', '{"amount":"x"}'],
    [400, 'invalid_argument', 'bank.v1.Bank/Echo', `{"anything":${'['.repeat(70)}${']'.repeat(70)}}`],
    [400, 'invalid_argument', 'bank.v1.Bank/Echo', '{"byName":{"__proto__":1}}'],
    [501, 'unimplemented', 'bank.v1.Bank/constructor', '{}'],
    [501, 'unimplemented', 'bank.v1.Bank/Watch', '{}'],
    [504, 'deadline_exceeded', 'bank.v1.Bank/Wait', '{}', { 'connect-timeout-ms': '50' }],
    [400, 'invalid_argument', 'bank.v1.Bank/Wait', '{}', { 'connect-timeout-ms': 'soon' }],
    [501, 'unimplemented', 'bank.v1.Bank/Deposit', '{}', { 'content-encoding': 'zstd' }],
    [401, 'unauthenticated', 'bank.v1.Bank/Deposit', '{}', { authorization: 'Bearer wrong' }],
    [403, 'permission_denied', 'bank.v1.Bank/Deposit', '{}', { origin: 'http://evil.test' }],
  ] as [number, string, string, string, Record<string, string>?][]) {
    const [told, answer] = await post(path, body, headers)
    assert.deepEqual([told, answer.code], [status, code], `${path} ${body.slice(0, 40)} → ${JSON.stringify(answer)}`)
    assert.ok(!JSON.stringify(answer).includes('"secret"'))
  }
  for (const [asked, meant] of [
    ['bank.v1.Bank/deposit', '/bank.v1.Bank/Deposit'],
    ['bank.v1.Bank/Depsoit', '/bank.v1.Bank/Deposit'],
    ['else.Where/Else', undefined],
  ] as const) {
    const [, { message }] = await post(asked, '{}')
    assert.equal(/did you mean "(.*)"\?/.exec(message)?.[1], meant, message)
  }
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/grpc', ''])
    assert.equal((await post('bank.v1.Bank/Deposit', '{}', { 'content-type': type }))[0], 415, type)
  const got = await fetch(`${url}/bank.v1.Bank/Balance?encoding=json&message=${encodeURIComponent('{"account":"abc"}')}`, {
    headers: { authorization: `Bearer ${key}` },
  })
  assert.deepEqual([got.status, await got.json()], [200, { balance: 3 }])
  assert.equal(
    await statusOf(`${url}/bank.v1.Bank/Deposit?encoding=json&message=%7B%7D`, { headers: { authorization: `Bearer ${key}` } }),
    405,
  )
  const [, , cors] = await post('bank.v1.Bank/Deposit', '{"account":"a"}', { origin: 'http://app.test' })
  assert.equal(cors.get('access-control-allow-origin'), 'http://app.test')
  const asks = await fetch(`${url}/bank.v1.Bank/Deposit`, {
    method: 'OPTIONS',
    headers: { origin: 'http://app.test', 'access-control-request-headers': 'authorization' },
  })
  assert.deepEqual([asks.status, asks.headers.get('access-control-allow-headers')], [204, 'authorization'])
  assert.equal(({} as any).polluted, undefined)
})
