/** Connect and gRPC-Web with a server that is not ours: @connectrpc/connect-node, over HTTP/1.1, HTTP/2 and TLS; and with servers that are wrong. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import type net from 'node:net'
import { test } from 'node:test'
import { createFileRegistry, fromBinary, type DescMessage } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from '@connectrpc/connect'
import { compressionGzip, connectNodeAdapter } from '@connectrpc/connect-node'
import * as z from 'zod'
import { soon } from '../../compliance/ends.js'
import { connect, contract, discover, rpc, serve, stream, TalkwireError, type Client } from '../../src/index.js'
import { descriptorSetOf } from '../../src/protocols/grpc.js'
import { fails } from '../helpers/expect.js'
import { ownHost } from '../helpers/loopback.js'
import { issue } from '../transports/fixtures/certificates.js'
import { bank, Everything, handlersOf } from './fixtures/grpc-bank.js'

const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, await descriptorSetOf(bank)))
const Bank = registry.getService('bank.v1.Bank')!
const AccountClosed: DescMessage = registry.getMessage('bank.v1.AccountClosed')!

/** The bank without streams both ways, and without streams of input. */
const { chat: _chat, ...half } = bank.members
const { load: _load, ...plain } = half
const bankHalf = { ...bank, members: half } as unknown as typeof bank
const bankPlain = { ...bank, members: plain } as unknown as typeof bank

const authority = issue({ name: 'Test Authority', authority: true })
const { key, cert } = issue({ name: 'bank', hosts: [ownHost], issuer: authority })
const identity = { key, cert }
const trust = { ca: authority.cert }

// ── theirs ───────────────────────────────────────────────────────────────────────────────────────

interface Seen {
  readonly happened: string[]
  look(): void
}

function routes(seen: Seen): (router: ConnectRouter) => void {
  const say = (what: string): void => {
    seen.happened.push(what)
    seen.look()
  }
  const whenAborted = (context: HandlerContext, what: string): void =>
    context.signal.addEventListener('abort', () => say(what), { once: true })
  const implementation: any = {
    deposit({ account, amount }: any) {
      if (account === 'closed')
        throw new ConnectError('no more of this: 100 % ä', Code.FailedPrecondition, undefined, [
          { desc: AccountClosed, value: { since: 'Monday ä' } as never },
        ])
      if (account === 'unavailable') throw new ConnectError('not now', Code.Unavailable)
      if (account === 'broken') throw new Error('a secret')
      return { balance: amount + 1 }
    },
    balance: ({ account }: any) => ({ balance: account.length }),
    async *watch({ account }: any, context: HandlerContext) {
      whenAborted(context, 'watch aborted')
      for (let balance = 0; account === 'endless' || balance < 5; balance++) {
        if (context.signal.aborted) return
        if (account === 'breaks' && balance === 2)
          throw new ConnectError('half way', Code.FailedPrecondition, undefined, [
            { desc: AccountClosed, value: { since: 'now' } as never },
          ])
        yield { balance }
      }
    },
    async load(entries: AsyncIterable<any>) {
      let count = 0
      let total = 0
      for await (const { amount } of entries) {
        count++
        total += amount
      }
      return { count: BigInt(count), total }
    },
    async *chat(lines: AsyncIterable<any>) {
      for await (const { text } of lines) yield { text: `heard ${text}` }
    },
    wait({ account }: any, context: HandlerContext) {
      say(`${account} waits`)
      whenAborted(context, 'wait aborted')
      return new Promise((_resolve, reject) =>
        context.signal.addEventListener('abort', () => reject(new ConnectError('too late', Code.Canceled)), { once: true }),
      )
    },
    told: (_: any, context: HandlerContext) => ({
      value: {
        ...Object.fromEntries(context.requestHeader),
        deadline: String((context.timeoutMs() ?? -1) > 1000),
        protocol: context.protocolName,
      },
    }),
    echo: (message: any) => message,
    async *overdrawn() {
      yield { account: 'first' }
      yield { account: 'second' }
      await new Promise(() => {})
    },
  }
  return (router) => router.service(Bank, implementation)
}

type Started = { url: string; seen: Seen; wait(what: string): Promise<void>; stop(): Promise<void> }

async function start(version: '1.1' | '2' | 'tls', compressed = false): Promise<Started> {
  const seen: Seen & { look: () => void } = { happened: [], look: () => {} }
  const handler = connectNodeAdapter({
    routes: routes(seen),
    ...(compressed && { acceptCompression: [compressionGzip], compressMinBytes: 0 }),
  })
  const server: net.Server =
    version === '1.1'
      ? http.createServer(handler)
      : version === '2'
        ? http2.createServer(handler)
        : http2.createSecureServer({ ...identity, allowHTTP1: true }, handler as never)
  const sockets = new Set<net.Socket>()
  server.on('connection', (socket) => sockets.add(socket.once('close', () => sockets.delete(socket))))
  server.listen(0, ownHost)
  await once(server, 'listening')
  return {
    url: `://${ownHost}:${(server.address() as net.AddressInfo).port}`,
    seen,
    wait: (what) =>
      soon(
        new Promise((resolve) => {
          seen.look = () => seen.happened.includes(what) && resolve()
          seen.look()
        }),
        what,
      ),
    async stop() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

async function* several<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

const everything: z.infer<typeof Everything> = {
  text: 'ä€😀',
  number: -0.5,
  whole: -(2 ** 53 - 1),
  small: -100,
  unsigned: 4_000_000_000,
  flag: true,
  big: -(2n ** 63n),
  when: new Date('1969-12-31T23:59:59.999Z'),
  data: new Uint8Array([0, 1, 255]),
  kind: 'LOAN',
  texts: ['', 'a'],
  numbers: [1, 1e300, 5e-324],
  rows: [[], [1, -2]],
  inner: { deepValue: 'x' },
  inners: [{ text: 'a', children: ['b', ''] }],
  byName: { a: 1 },
  maybeList: [],
  orNull: null,
  orNothing: null,
  shape: { type: 'square', side: 2 },
  textOrNumber: 7,
  pair: ['a', 0],
  anything: { list: [null, true, 'x', 1.5, { deep: {} }] },
  ratio: 0.5,
}

interface Way {
  readonly scheme: string
  readonly version: '1.1' | '2' | 'tls'
  readonly of: typeof bank
  readonly compressed?: true
}
const ways: readonly Way[] = [
  { scheme: 'connect+http', version: '1.1', of: bankHalf },
  { scheme: 'connect+http', version: '1.1', of: bankHalf, compressed: true },
  { scheme: 'connect+h2c', version: '2', of: bank },
  { scheme: 'connect+https', version: 'tls', of: bank },
  { scheme: 'grpcweb+http', version: '1.1', of: bankPlain },
  { scheme: 'grpcweb+https', version: 'tls', of: bankPlain },
]

for (const { scheme, version, of, compressed } of ways)
  test(`${scheme}: a server of @connectrpc is called in every shape${compressed ? ', compressed' : ''}, with errors, deadlines and metadata`, async () => {
    const server = await start(version, compressed)
    const tls = version === 'tls' ? { tls: trust } : {}
    const client: Client<typeof bank> = await connect(of, scheme + server.url, { token: 'a-token', reconnect: false, ...tls })
    try {
      assert.deepEqual(await client.deposit({ account: 'a', amount: 5 }), { balance: 6 })
      assert.deepEqual(await client.balance({ account: 'abc' }), { balance: 3 })
      assert.deepEqual(await client.echo(everything), everything)
      const balances = []
      for await (const { balance } of client.watch({ account: 'a' })) balances.push(balance)
      assert.deepEqual(balances, [0, 1, 2, 3, 4])
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
      const told = await client.told(undefined, { metadata: { who: 'me', name: 'ä', traceparent }, timeout: 60_000 })
      assert.deepEqual(
        [told['who'], told['name-bin'], told['traceparent'], told['deadline'], told['authorization'], told['protocol']],
        ['me', 'w6Q', traceparent, 'true', 'Bearer a-token', scheme.startsWith('connect') ? 'connect' : 'grpc-web'],
      )
      await assert.rejects(client.deposit({ account: 'closed', amount: 1 }), (error: TalkwireError) => {
        assert.deepEqual([error.code, error.declared, error.outcome, error.details], ['AccountClosed', true, 'ran', { since: 'Monday ä' }])
        assert.match(error.message, /no more of this: 100 % ä/)
        return true
      })
      const taken: number[] = []
      await assert.rejects(
        async () => {
          for await (const { balance } of client.watch({ account: 'breaks' })) taken.push(balance)
        },
        (error: TalkwireError) => {
          const [detail] = error.details as { type: string }[]
          assert.deepEqual(
            [error.code, error.outcome, detail!.type, taken],
            ['FAILED_PRECONDITION', 'ran', 'bank.v1.AccountClosed', [0, 1]],
          )
          return true
        },
      )
      await assert.rejects(client.deposit({ account: 'unavailable', amount: 1 }), fails('UNAVAILABLE'))
      await assert.rejects(client.deposit({ account: 'broken', amount: 1 }), (error: TalkwireError) => {
        assert.deepEqual([error.code, error.declared, error.message.includes('secret')], ['INTERNAL', false, false])
        return true
      })
      await assert.rejects(client.wait({ account: 'a' }, { timeout: 50 }), fails('DEADLINE_EXCEEDED'))
      await server.wait('wait aborted')
      for await (const _ of client.watch({ account: 'endless' })) break
      await server.wait('watch aborted')
      if (of !== bankPlain) {
        const entries = Array.from({ length: 500 }, (_, amount) => ({ amount }))
        assert.deepEqual(await client.load(several(entries)), { count: 500, total: 124_750 })
      }
      if (of === bank) {
        const heard = []
        for await (const { text } of client.chat(several([{ text: 'a' }, { text: 'b' }]))) heard.push(text)
        assert.deepEqual(heard, ['heard a', 'heard b'])
      }
      const events: string[] = []
      const both = new Promise<void>((resolve) => {
        void client.on('overdrawn', ({ account }) => void (events.push(account) === 2 && resolve()))
      })
      await soon(both, 'two events')
      assert.deepEqual(events, ['first', 'second'])
      const waiting = client.wait({ account: 'the last' })
      const lost = assert.rejects(waiting, (error: TalkwireError) => {
        assert.match(`${error.code}/${error.outcome}`, /^CONNECTION_(LOST|CLOSED)\/maybe-ran$/)
        return true
      })
      await server.wait('the last waits')
      await server.stop()
      await soon(lost, 'the end of the call')
    } finally {
      await client.close()
      await server.stop().catch(() => {})
    }
  })

test('connect+https: over HTTP/1.1 alone what needs no HTTP/2 is called, and streams both ways are refused', async () => {
  const seen: Seen = { happened: [], look: () => {} }
  const { default: https } = await import('node:https')
  const server = https.createServer(identity, connectNodeAdapter({ routes: routes(seen) }))
  server.listen(0, ownHost)
  await once(server, 'listening')
  const address = `connect+https://${ownHost}:${(server.address() as net.AddressInfo).port}`
  const tls = trust
  const client = await connect(bankHalf, address, { tls, reconnect: false })
  try {
    assert.deepEqual(await client.deposit({ account: 'a', amount: 5 }), { balance: 6 })
    await assert.rejects(connect(bank, address, { tls, reconnect: false }), fails('UNSUPPORTED'))
  } finally {
    await client.close()
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
})

// ── ours, asked by reflection; wrong ones ────────────────────────────────────────────────────────

test('connect: what a service offers is told by reflection, also over HTTP/1.1; what cannot be carried is refused', async () => {
  for (const scheme of ['connect+http', 'connect+h2c']) {
    await using service = await serve(
      bank,
      handlersOf(() => {}),
      { listen: `grpc://${ownHost}:0`, token: 'a-token-for-the-tests' },
    )
    const address = service.addresses[0]!.replace('grpc', scheme)
    const found = await discover(address, { token: 'a-token-for-the-tests' })
    assert.deepEqual(Object.keys(found.members).toSorted(), Object.keys(bank.members).toSorted())
    await assert.rejects(connect(bankHalf, address, { token: 'wrong', reconnect: false }), fails('UNAUTHENTICATED'))
    await assert.rejects(
      connect(contract('other/1', { a: rpc({}) }), address, { token: 'a-token-for-the-tests' }),
      fails('CONTRACT_MISMATCH'),
    )
  }
  const streams = contract('a/1', { b: rpc({ input: stream(z.object({})), output: stream(z.object({})) }) })
  for (const scheme of ['connect+http', 'grpcweb+http', 'grpcweb+https'])
    await assert.rejects(connect(streams, `${scheme}://${ownHost}:1`), fails('UNSUPPORTED'))
  await assert.rejects(connect(`connect+http://${ownHost}:1`), fails('UNSUPPORTED'))
})

const frame = (flags: number, body: Buffer | string): Buffer => {
  const bytes = Buffer.from(body)
  const head = Buffer.alloc(5)
  head[0] = flags
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}
const double = (value: number): Buffer => {
  const bytes = Buffer.alloc(9, 0x09)
  bytes.writeDoubleLE(value, 1)
  return bytes
}

/** What a server may answer to deposit (Connect) or watch (a stream), and what that is called here. */
const wrong: readonly (readonly [
  scheme: 'connect+http' | 'grpcweb+http',
  streams: boolean,
  status: number,
  headers: Record<string, string>,
  body: Buffer,
  code: string,
])[] = (() => {
  const proto = { 'content-type': 'application/proto' }
  const json = { 'content-type': 'application/json' }
  const streamed = { 'content-type': 'application/connect+proto' }
  const web = { 'content-type': 'application/grpc-web+proto' }
  const none = Buffer.alloc(0)
  const big = Buffer.alloc(70_000, 1)
  return [
    ['connect+http', false, 200, proto, Buffer.from([0xff]), 'INVALID_MESSAGE'],
    ['connect+http', false, 200, { 'content-type': 'text/html' }, Buffer.from('<p>'), 'INVALID_MESSAGE'],
    ['connect+http', false, 200, proto, big, 'MESSAGE_TOO_LARGE'],
    ['connect+http', false, 200, { ...proto, 'content-encoding': 'br' }, double(1), 'UNSUPPORTED'],
    ['connect+http', false, 200, { ...proto, 'content-encoding': 'gzip' }, double(1), 'INVALID_MESSAGE'],
    ['connect+http', false, 404, { 'content-type': 'text/html' }, Buffer.from('<p>'), 'METHOD_NOT_FOUND'],
    ['connect+http', false, 503, json, Buffer.from('{"code":'), 'UNAVAILABLE'],
    ['connect+http', false, 400, json, Buffer.from('{"code":"constructor"}'), 'INTERNAL'],
    ['connect+http', false, 400, json, Buffer.from('{"code":"not_found","details":[7,{"type":"a","value":"%"}]}'), 'NOT_FOUND'],
    ['connect+http', true, 200, streamed, frame(0, double(1)), 'INVALID_MESSAGE'],
    ['connect+http', true, 200, streamed, Buffer.concat([frame(0, double(1)), Buffer.from([2, 0])]), 'INVALID_MESSAGE'],
    ['connect+http', true, 200, streamed, frame(2, '[]'), 'INVALID_MESSAGE'],
    ['connect+http', true, 200, streamed, frame(2, '{"error":7}'), 'UNKNOWN'],
    ['connect+http', true, 200, streamed, Buffer.from([0, 0xff, 0xff, 0xff, 0xff]), 'MESSAGE_TOO_LARGE'],
    ['connect+http', true, 200, proto, frame(2, '{}'), 'INVALID_MESSAGE'],
    ['connect+http', true, 429, json, none, 'UNAVAILABLE'],
    ['grpcweb+http', false, 200, web, frame(0, double(1)), 'INVALID_MESSAGE'],
    ['grpcweb+http', false, 200, web, frame(0x80, 'grpc-status: 0\r\n'), 'INVALID_MESSAGE'],
    ['grpcweb+http', false, 200, web, frame(0x80, 'grpc-status: x\r\n'), 'INVALID_MESSAGE'],
    ['grpcweb+http', false, 200, web, frame(0x80, 'grpc-status: 5\r\ngrpc-message: a%20b%\r\n'), 'NOT_FOUND'],
    ['grpcweb+http', false, 200, { ...web, 'grpc-status': '16' }, none, 'UNAUTHENTICATED'],
    [
      'grpcweb+http',
      false,
      200,
      web,
      Buffer.concat([frame(0, double(1)), frame(0, double(2)), frame(0x80, 'grpc-status: 0')]),
      'INVALID_MESSAGE',
    ],
    ...['application/grpc', 'application/grpc-web+json', 'application/grpc-webx', 'text/html'].map((type): (typeof wrong)[number] => [
      'grpcweb+http',
      false,
      200,
      { 'content-type': type },
      Buffer.concat([frame(0, double(1)), frame(0x80, 'grpc-status: 0\r\n')]),
      'INVALID_MESSAGE',
    ]),
    ['grpcweb+http', true, 502, {}, none, 'UNAVAILABLE'],
  ]
})()

test('connect, grpcweb: what no server should answer is an error of that call alone', async () => {
  let answer: (typeof wrong)[number] | undefined
  const server = http.createServer((request, response) => {
    request.resume()
    if (answer && request.url!.startsWith('/bank.v1.Bank/')) response.writeHead(answer[2], answer[3]).end(answer[4])
    else response.writeHead(404).end()
  })
  server.listen(0, ownHost)
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const clients = new Map<string, Client<typeof bank>>()
  try {
    for (const scheme of ['connect+http', 'grpcweb+http'])
      clients.set(scheme, await connect(bankPlain, `${scheme}://${ownHost}:${port}`, { limits: { message: 65_536 } }))
    for (const each of wrong) {
      answer = each
      const client = clients.get(each[0])!
      const call = async (): Promise<void> => {
        if (!each[1]) return void (await client.deposit({ account: 'a', amount: 1 }))
        for await (const _ of client.watch({ account: 'a' }));
      }
      await assert.rejects(soon(call(), 'an answer'), (error: TalkwireError) => {
        assert.equal(
          error.code,
          each[5],
          `${each[0]} ${each[2]} ${JSON.stringify(each[3])} ${each[4].toString('latin1').slice(0, 60)}: ${error.message}`,
        )
        return true
      })
    }
    answer = ['connect+http', false, 200, { 'content-type': 'application/proto' }, double(7), '']
    assert.deepEqual(await clients.get('connect+http')!.deposit({ account: 'a', amount: 1 }), { balance: 7 })
  } finally {
    for (const client of clients.values()) await client.close()
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
})

test('grpcweb: discover says where to ask instead', async () => {
  await assert.rejects(discover(`grpcweb+http://${ownHost}:1`), (error: TalkwireError) => {
    assert.equal(error.code, 'UNSUPPORTED')
    assert.ok(error.message.includes(`grpc://${ownHost}:1 or connect+h2c://${ownHost}:1`), error.message)
    return true
  })
})
