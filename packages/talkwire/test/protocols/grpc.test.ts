import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import net from 'node:net'
import { gzipSync } from 'node:zlib'
import { test } from 'node:test'
import * as z from 'zod'
import { soon } from '../../compliance/ends.js'
import { testDialect } from '../../compliance/index.js'
import { Random } from '../../compliance/random.js'
import { connect, contract, rpc, serve, stream, type Contract, type ServeOptions } from '../../src/index.js'
import { descriptorSetOf, grpc, grpcUnix, protoOf } from '../../src/protocols/grpc.js'
import { fails } from '../helpers/expect.js'
import { ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'

const raw = (address: string): net.Socket => {
  const { hostname, port } = new URL(address.replace('grpc:', 'http:'))
  return net.connect(Number(port), hostname)
}

testDialect({ test, dialect: grpc, address: () => `grpc://${ownHost}:0`, raw })
testDialect({
  test,
  dialect: grpcUnix,
  address: () => `grpc+unix:${freshPath('.sock')}`,
  raw: (address) => net.connect(address.slice('grpc+unix:'.length)),
})

// ── numbers and names ────────────────────────────────────────────────────────────────────────────

const refused = (schema: z.ZodType, what: RegExp): Promise<void> =>
  assert.rejects(
    protoOf(contract('a/1', { b: rpc({ input: schema as any }) })),
    (error: any) => error.code === 'UNSUPPORTED' && what.test(error.message),
  )
const numbered = (number: unknown) => z.string().meta({ 'x-protobuf': number })

test('grpc: numbers follow the order of declaration, or what is said; what has no place in protobuf is refused with its path', async () => {
  const text = await protoOf(
    contract('my-shop.core/3', {
      buyAll: rpc({
        input: z.object({
          a: numbered(2),
          b: z.string(),
          aLongName: z.string(),
          'odd-name': z.string(),
          snake_name: z.string(),
          c: numbered({ number: 1, type: 'string' }),
        }),
        output: z.array(z.string()),
      }),
      tree: rpc({ input: Tree }),
    }),
  )
  for (const line of [
    'package my_shop.core.v3;',
    'service Core {',
    '  rpc BuyAll(BuyAllRequest) returns (BuyAllResponse);',
    '  string a = 2;',
    '  string b = 3;',
    '  string a_long_name = 4;',
    '  string odd_name = 5 [json_name = "odd-name"];',
    '  string snake_name = 6 [json_name = "snake_name"];',
    '  string c = 1;',
    '  repeated string value = 1;',
    '  repeated TreeRequest children = 2;',
  ])
    assert.ok(text.includes(`\n${line}\n`), `${line}\n${text}`)
  await refused(z.object({ a: numbered(0) }), /the number 0, at b\.input\.a of a\/1/)
  await refused(z.object({ a: numbered(19_500) }), /the number 19500/)
  await refused(z.object({ a: numbered(1), b: numbered(1) }), /two fields with the number 1/)
  await refused(z.object({ a: z.string().meta({ 'x-protobuf': { type: 'word' } }) }), /the type "word"/)
  await refused(z.object({ 'a-b': z.string(), a_b: z.string() }), /two properties that are both a_b/)
  await refused(z.object({ a: z.looseObject({ b: z.string() }) }), /an object with properties of any name beside its own, at b\.input\.a/)
  await refused(z.object({ a: z.tuple([z.string()], z.number()) }), /a list that begins with other elements/)
  await assert.rejects(protoOf(contract('a/1', { 'get-it': rpc({}), getIt: rpc({}) })), /two methods that are both GetIt/)
  await assert.rejects(
    serve(contract('a/1', { b: rpc({ input: z.object({ a: numbered(0) }) }) }), { b() {} }, { listen: `grpc://${ownHost}:0` }),
    fails('UNSUPPORTED'),
  )
  await assert.rejects(serve('plain', { add: () => 1 }, { listen: `grpc://${ownHost}:0` }), fails('UNSUPPORTED'))
})

const Tree = z.object({
  name: z.string(),
  get children() {
    return z.array(Tree)
  },
})

const kinds = contract('kinds/1', {
  tree: rpc({ input: Tree, output: Tree }),
  list: rpc({ input: z.array(z.array(z.string())), output: z.array(z.array(z.string())) }),
  text: rpc({ input: z.string().optional(), output: z.string().nullable() }),
  union: rpc({
    input: z.union([z.string(), z.array(z.number()), z.bigint(), z.null()]),
    output: z.union([z.string(), z.array(z.number()), z.bigint(), z.null()]),
  }),
  maps: rpc({
    input: z.object({ byKey: z.map(z.number(), z.string()), all: z.set(z.string()), many: z.record(z.string(), z.array(z.date())) }),
    output: z.unknown(),
  }),
  arrays: rpc({ input: z.instanceof(Float64Array), output: z.instanceof(Int32Array) }),
  wide: rpc({ input: z.int(), output: z.unknown() }),
})

test('grpc: recursion, nested lists, unions, maps, sets and typed arrays arrive as what they were', async () => {
  const given: unknown[] = []
  const keep =
    (answer: unknown) =>
    (input: unknown): any => {
      given.push(input)
      return answer ?? input
    }
  await using service = await serve(
    kinds,
    {
      tree: keep(undefined),
      list: keep(undefined),
      text: (input) => input ?? null,
      union: (input) => input,
      maps: keep({ a: 1 }),
      arrays: (input) => Int32Array.from(input),
      wide: (input) => input,
    },
    { listen: `grpc://${ownHost}:0` },
  )
  const client = await connect(kinds, service.addresses[0]!, { token: service.token! })
  const tree = {
    name: 'a',
    children: [
      { name: 'b', children: [] },
      { name: 'c', children: [{ name: '', children: [] }] },
    ],
  }
  assert.deepEqual(await client.tree(tree), tree)
  assert.deepEqual(await client.list([[], ['a', ''], ['b']]), [[], ['a', ''], ['b']])
  assert.deepEqual([await client.text('x'), await client.text(''), await client.text(undefined)], ['x', '', null])
  for (const value of ['', 'x', [], [1, 2], 7n, -(2n ** 63n), null]) assert.deepEqual(await client.union(value), value)
  const maps = {
    byKey: new Map([
      [1, 'a'],
      [0, ''],
    ]),
    all: new Set(['x', '']),
    many: { a: [new Date(0)], b: [] },
  }
  assert.deepEqual(await client.maps(maps), { a: 1 })
  assert.deepEqual(given.at(-1), maps)
  assert.deepEqual(await client.arrays(new Float64Array([1, -2, 3])), new Int32Array([1, -2, 3]))
  assert.equal(await client.wide(2 ** 53 - 1), 2 ** 53 - 1)
  await assert.rejects(client.wide(2 ** 53), TypeError)
  await assert.rejects(client.union(2n ** 63n), TypeError)
  await assert.rejects(client.tree({ name: '\ud800', children: [] }), TypeError)
  await assert.rejects(client.maps({ ...maps, many: JSON.parse('{"__proto__": []}') }), fails('FORBIDDEN_KEY'))
  let deep = { name: '', children: [] as unknown[] }
  for (let depth = 0; depth < 70; depth++) deep = { name: '', children: [deep] }
  await assert.rejects(client.tree(deep as any), fails('TOO_DEEP'))
  await client.close()
  assert.ok((await descriptorSetOf(kinds)).length > 100)
})

// ── bad input ────────────────────────────────────────────────────────────────────────────────────

const words = contract('words/1', {
  echo: rpc({ input: z.object({ text: z.string(), inner: z.unknown() }), output: z.object({ text: z.string() }) }),
  many: rpc({ input: stream(z.object({ text: z.string() })), output: z.object({ text: z.string() }) }),
})

async function open(options: ServeOptions = {}) {
  const calls: unknown[] = []
  const service = await serve(
    words as Contract,
    {
      echo(input: any) {
        calls.push(input)
        return { text: input.text }
      },
      async many(items: AsyncIterable<any>) {
        for await (const item of items) calls.push(item)
        return { text: String(calls.length) }
      },
    } as any,
    { listen: `grpc://${ownHost}:0`, token: false, onError: () => {}, ...options },
  )
  const session = http2.connect(service.addresses[0]!.replace('grpc:', 'http:')).on('error', () => {})
  return {
    calls,
    service,
    session,
    async [Symbol.asyncDispose]() {
      session.destroy()
      await service.close({ timeout: 100 })
    },
  }
}

interface Told {
  readonly status: number
  readonly grpc: number | undefined
  readonly text: string
}

async function say(
  session: http2.ClientHttp2Session,
  body: Buffer | undefined,
  headers: http2.OutgoingHttpHeaders = {},
  end = true,
): Promise<Told> {
  const stream = session
    .request({ ':method': 'POST', ':path': '/words.v1.Words/Echo', 'content-type': 'application/grpc', te: 'trailers', ...headers })
    .on('error', () => {})
  let head: http2.IncomingHttpHeaders = {}
  let trailers: http2.IncomingHttpHeaders = {}
  stream.on('response', (told) => (head = told))
  stream.on('trailers', (told) => (trailers = told))
  stream.resume()
  if (body && end) stream.end(body)
  else if (body) stream.write(body)
  if (!stream.closed) await soon(new Promise<void>((resolve) => stream.once('close', () => resolve())), 'the end of a request')
  const said = head['grpc-status'] === undefined ? trailers : head
  const status = said['grpc-status']
  return {
    status: Number(head[':status']),
    grpc: status === undefined ? undefined : Number(status),
    text: decodeURIComponent(String(said['grpc-message'] ?? '')),
  }
}

const framed = (body: Buffer, flags = 0, length = body.length): Buffer => {
  const head = Buffer.alloc(5)
  head[0] = flags
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, body])
}
const text = (of: string): Buffer => Buffer.concat([Buffer.from([10, of.length]), Buffer.from(of)])
/** A google.protobuf.Value in the field `inner`, `depth` lists deep. */
function nested(depth: number): Buffer {
  let value = Buffer.from([8, 0])
  const wrap = (tag: number): void => void (value = Buffer.concat([Buffer.from([tag]), varint(value.length), value]))
  for (let level = 0; level < depth; level++) {
    wrap(10)
    wrap(50)
  }
  wrap(18)
  return value
}
function varint(number: number): Buffer {
  const bytes = []
  for (; number > 127; number >>>= 7) bytes.push((number & 127) | 128)
  return Buffer.from([...bytes, number])
}

test('grpc: bad messages are errors of gRPC, whatever is wrong with them, and nobody else is disturbed', async () => {
  await using running = await open({ limits: { message: 1 << 20, values: 20_000 } })
  const { session, calls } = running
  const fine = framed(text('x'))
  assert.deepEqual(await say(session, fine), { status: 200, grpc: 0, text: '' })
  const before = calls.length
  for (const [code, body, headers] of [
    [3, Buffer.alloc(0)],
    [3, Buffer.from([0])],
    [3, fine.subarray(0, 6)],
    [3, Buffer.concat([fine, fine])],
    [3, Buffer.concat([fine, Buffer.from([0])])],
    [3, framed(text('x'), 4)],
    [3, framed(Buffer.from([10]))],
    [3, framed(Buffer.from([10, 200, 1, 65]))],
    [3, framed(Buffer.from([10, 2, 0xff, 0xfe]))],
    [3, framed(Buffer.from([0, 0]))],
    [3, framed(Buffer.from([11, 12]))],
    [3, framed(Buffer.from([15]))],
    [3, framed(Buffer.alloc(20, 0xff))],
    [3, framed(Buffer.from([18, 4, 26, 200, 1, 65]))],
    [3, framed(Buffer.from('{"text":"x"}'))],
    [3, framed(Buffer.alloc(100_000, 11))],
    [3, framed(nested(100))],
    [3, framed(nested(10_000))],
    [3, framed(Buffer.concat([Buffer.from([18, 17, 42, 15, 10, 13, 10, 9]), Buffer.from('__proto__'), Buffer.from([18, 0])]))],
    [8, framed(text('x'), 0, 2 ** 31)],
    [8, framed(Buffer.alloc(1 << 20), 0, (1 << 20) + 1)],
    [8, framed(gzipSync(Buffer.alloc(64 << 20)), 1), { 'grpc-encoding': 'gzip' }],
    [8, framed(Buffer.concat(Array.from({ length: 30_000 }, () => text('x'))))],
    [3, framed(text('x'), 1), { 'grpc-encoding': 'gzip' }],
    [12, framed(text('x'), 1), { 'grpc-encoding': 'zstd' }],
    [12, framed(text('x'), 1)],
    [3, fine, { 'grpc-timeout': '1' }],
    [3, fine, { 'grpc-timeout': '123456789m' }],
    [3, fine, { 'grpc-timeout': '-1m' }],
    [12, fine, { ':path': '/words.v1.Words/constructor' }],
    [12, fine, { ':path': '/words.v1.Words/__proto__' }],
    [12, fine, { ':path': '/words.v1.Words/rpc.hello' }],
    [12, fine, { ':path': '/words.v1.Words/echo' }],
    [12, fine, { ':path': '/' }],
    [7, fine, { ':authority': 'evil.test' }],
    [7, fine, { origin: 'http://evil.test' }],
    [7, fine, { origin: 'null' }],
  ] as [number, Buffer, http2.OutgoingHttpHeaders?][]) {
    const told = await say(session, body, headers)
    assert.deepEqual(
      [told.status, told.grpc],
      [200, code],
      `${body.subarray(0, 20).toString('hex')} ${JSON.stringify(headers)} → ${JSON.stringify(told)}`,
    )
  }
  assert.equal(calls.length, before)
  for (const [status, headers] of [
    [415, { 'content-type': 'text/plain' }],
    [415, { 'content-type': 'application/grpc+json' }],
    [415, { 'content-type': 'application/x-www-form-urlencoded' }],
    [405, { ':method': 'PUT' }],
    [403, { 'content-type': undefined, origin: 'http://evil.test' }],
  ] as [number, http2.OutgoingHttpHeaders][])
    assert.equal((await say(session, fine, headers)).status, status, JSON.stringify(headers))
  assert.deepEqual(await say(session, framed(gzipSync(text('x')), 1), { 'grpc-encoding': 'gzip' }), { status: 200, grpc: 0, text: '' })
  assert.deepEqual((await say(session, framed(Buffer.concat([text('x'), nested(60)])))).grpc, 0)
  assert.equal(({} as any).polluted, undefined)
})

test('grpc: noise in a message is an error or an answer, never more', async () => {
  await using running = await open()
  const random = new Random(815)
  const whole = Buffer.concat([text('hello'), nested(3), text('again')])
  const asked = Array.from({ length: 300 }, (_, round) => {
    const body = Buffer.from(whole.subarray(0, round % 2 === 0 ? whole.length : random.below(whole.length)))
    for (let changes = random.below(4); changes >= 0 && body.length > 0; changes--) body[random.below(body.length)] = random.below(256)
    return body
  })
  for (const body of asked) assert.ok([0, 3, 8].includes((await say(running.session, framed(body))).grpc!), body.toString('hex'))
  const noise = Array.from({ length: 100 }, () => Buffer.from(Array.from({ length: 1 + random.below(100) }, () => random.below(256))))
  for (const body of noise)
    assert.ok([0, 3, 8, 12].includes((await say(running.session, body, { ':path': '/words.v1.Words/Many' })).grpc!), body.toString('hex'))
  assert.equal((await say(running.session, framed(text('x')))).grpc, 0)
})

test('grpc: a stream that is cut off in the middle of a message is not taken for the whole', async () => {
  await using running = await open()
  const half = await say(running.session, Buffer.concat([framed(text('a')), framed(text('b')).subarray(0, 6)]), {
    ':path': '/words.v1.Words/Many',
  })
  assert.equal(half.grpc, 3)
  const whole = await say(running.session, Buffer.concat([framed(text('a')), framed(text('b'))]), { ':path': '/words.v1.Words/Many' })
  assert.equal(whole.grpc, 0)
})

// ── floods ───────────────────────────────────────────────────────────────────────────────────────

test('grpc: resets, settings, pings and headers without end are cut off, and others are served meanwhile', async () => {
  await using running = await open()
  const at = running.service.addresses[0]!
  const client: any = await connect(words, at, { reconnect: false })
  const own = async (): Promise<void> =>
    assert.deepEqual(await soon(client.echo({ text: 'x', inner: null }), 'an answer to an honest client'), { text: 'x' })
  for (const attack of [rapidReset, refusals, settingsFlood, pingFlood, headersFlood, laterHeadersFlood]) {
    const socket = raw(at).on('error', () => {})
    await once(socket, 'connect')
    socket.resume()
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    socket.write(frameOf(4, 0, 0, Buffer.alloc(0)))
    for (let round = 0; !socket.destroyed && round < 20; round++) {
      const more = socket.write(
        Buffer.concat(Array.from({ length: 200 }, (_, index) => attack(200 * round + index, at.slice('grpc://'.length)))),
      )
      await own()
      if (!more && !socket.destroyed) await Promise.race([new Promise<void>((resolve) => socket.once('drain', () => resolve())), gone])
    }
    await soon(gone, `the end of ${attack.name}`)
    await own()
  }
  await client.close()
})

function frameOf(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}
/** POST, http, a path, and the rest as literals: RFC 7541. */
function headersOf(authority: string): Buffer {
  const literal = ([name, value]: readonly [string, string]): Buffer =>
    Buffer.concat([Buffer.from([0]), lengthOf(name.length), Buffer.from(name), lengthOf(value.length), Buffer.from(value)])
  return Buffer.concat([
    Buffer.from([0x83, 0x86]),
    literal([':path', '/words.v1.Words/Echo']),
    literal([':authority', authority]),
    literal(['content-type', 'application/grpc']),
  ])
}
const lengthOf = (length: number): Buffer =>
  length < 127 ? Buffer.from([length]) : Buffer.concat([Buffer.from([127]), varint(length - 127)])
const streamOf = (round: number): number => 2 * round + 1
const rapidReset = (round: number, authority: string): Buffer =>
  Buffer.concat([frameOf(1, 4, streamOf(round), headersOf(authority)), frameOf(3, 0, streamOf(round), Buffer.from([0, 0, 0, 8]))])
const refusals = (round: number): Buffer => frameOf(1, 5, streamOf(round), headersOf('evil.test'))
const settingsFlood = (): Buffer => frameOf(4, 0, 0, Buffer.from([0, 4, 0, 1, 0, 0]))
const pingFlood = (): Buffer => frameOf(6, 0, 0, Buffer.alloc(8))
/** HEADERS that CONTINUATION goes on with for ever. */
const headersFlood = (round: number, authority: string): Buffer =>
  round === 0 ? frameOf(1, 0, 1, headersOf(authority)) : frameOf(9, 0, 1, headersOf(authority))
/** The same behind a call that was let in. */
const laterHeadersFlood = (round: number, authority: string): Buffer => {
  if (round === 0) return Buffer.concat([frameOf(1, 4, 1, headersOf(authority)), frameOf(0, 1, 1, framed(text('x')))])
  return frameOf(round === 1 ? 1 : 9, 0, 3, headersOf(authority))
}

test('grpc: who says nothing, or too slowly, is let go', async () => {
  await using running = await open({ limits: { handshake: 300 } })
  const { session, service } = running
  assert.equal((await say(session, framed(text('x')).subarray(0, 3), {}, false)).grpc, 4)
  assert.equal((await say(session, undefined)).grpc, 4)
  assert.equal((await say(session, framed(text('x')).subarray(0, 6), { ':path': '/words.v1.Words/Many' }, false)).grpc, 4)
  for (const said of ['', 'P', 'PR', 'POST / HTTP/1.1\r\nhost: ']) {
    const socket = raw(service.addresses[0]!).on('error', () => {})
    socket.resume()
    socket.write(said)
    await soon(new Promise<void>((resolve) => socket.once('close', () => resolve())), `the end of ${JSON.stringify(said)}`)
  }
  assert.equal((await say(session, framed(text('x')))).grpc, 0)
})

test('grpc: headers that never end, stop in the middle of a frame, or come too slowly, end with their connection', async () => {
  await using service = await serve(words as Contract, { echo: (input: any) => ({ text: input.text }), many: () => {} } as any, {
    listen: `grpc://${ownHost}:0`,
    token: false,
    limits: { handshake: 1000 },
    onError: () => {},
  })
  const at = service.addresses[0]!
  const head = frameOf(1, 0, 1, headersOf(at.slice('grpc://'.length)))
  const sockets = [
    head,
    head.subarray(0, 20),
    Buffer.concat([head, ...Array.from({ length: 7 }, () => frameOf(9, 0, 1, Buffer.alloc(0)))]),
  ].map((said) => {
    const socket = raw(at).on('error', () => {})
    socket.resume().write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frameOf(4, 0, 0, Buffer.alloc(0)), said]))
    return new Promise<void>((resolve) => socket.once('close', () => resolve()))
  })
  const client: any = await connect(words, at, { reconnect: false })
  const own = async (): Promise<void> => assert.deepEqual(await client.echo({ text: 'x', inner: null }), { text: 'x' })
  await own()
  await Promise.all(sockets.map((gone) => soon(gone, 'the end of who does not end')))
  await own()
  await client.close()
})

test('grpc: headers without an end behind a call end with their connection; who is idle and answers pings stays', async () => {
  await using running = await open({ limits: { handshake: 500 } })
  const { session, service } = running
  const at = service.addresses[0]!
  assert.equal((await say(session, framed(text('x')))).grpc, 0)
  const pings = Promise.all([once(session, 'ping'), once(session, 'ping').then(() => once(session, 'ping'))])
  const head = headersOf(at.slice('grpc://'.length))
  const call = Buffer.concat([frameOf(1, 4, 1, head), frameOf(0, 1, 1, framed(text('x')))])
  const sockets = [9 + head.length, 20, 5].map((size) => {
    const socket = raw(at).on('error', () => {})
    const rest = frameOf(1, 0, 3, head).subarray(0, size)
    socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frameOf(4, 0, 0, Buffer.alloc(0)), call, rest]))
    return new Promise<void>((resolve) => socket.once('close', () => resolve()).resume())
  })
  for (const gone of sockets) await soon(gone, 'the end of who does not end')
  await soon(pings, 'two pings')
  assert.equal((await say(session, framed(text('x')))).grpc, 0)
})

test('grpc: the token, the contract and the protocol are asked for when connecting', async () => {
  await using running = await open({ token: 'a-token-for-the-tests' })
  const at = running.service.addresses[0]!
  assert.equal((await say(running.session, framed(text('x')))).grpc, 16)
  assert.equal((await say(running.session, framed(text('x')), { authorization: 'Bearer a-token-for-the-tests' })).grpc, 0)
  await assert.rejects(connect(words, at, { reconnect: false, token: 'wrong' }), fails('UNAUTHENTICATED'))
  await assert.rejects(
    connect(contract('other/1', { a: rpc({}) }), at, { reconnect: false, token: 'a-token-for-the-tests' }),
    fails('CONTRACT_MISMATCH'),
  )
  await assert.rejects(
    connect(contract('words/2', { a: rpc({}) }), at, { reconnect: false, token: 'a-token-for-the-tests' }),
    fails('CONTRACT_MISMATCH'),
  )
  const other = net.createServer((socket) => socket.on('error', () => {}).once('data', () => socket.end())).listen(0, ownHost)
  await once(other, 'listening')
  try {
    for (const scheme of ['grpc', 'connect+h2c']) {
      const called = connect(words, `${scheme}://${ownHost}:${(other.address() as net.AddressInfo).port}`, { reconnect: false })
      await assert.rejects(called, /^TalkwireError: \[CONNECTION_LOST\] .* without a word of HTTP\/2/, scheme)
    }
  } finally {
    other.close()
  }
})
