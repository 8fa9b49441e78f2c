import '../helpers/place.js'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as z from 'zod'
import { statusOf } from '../helpers/status.js'
import { Random } from '../../compliance/random.js'
import { testDialect } from '../../compliance/index.js'
import { connect, contract, event, rpc, serve, stream, TalkwireError } from '../../src/index.js'
import { thrift, thriftHttp, thriftIdl, thriftUnix } from '../../src/protocols/thrift.js'
import { Code, Kind, MessageCutter, Reader, Writer, type Format } from '../../src/protocols/thrift-wire.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'
import { python, run } from '../session/processes.js'
import { issue } from '../transports/fixtures/certificates.js'
import { bank, checkCalled, handlers, idlFile, notes } from './fixtures/thrift-bank.js'

const raw = (address: string): net.Socket => {
  const path = /^thrift\+unix:([^?]+)/.exec(address)?.[1]
  if (path !== undefined) return net.connect(path)
  const { hostname, port } = new URL(address.replace('thrift+tcp', 'http').replace('thrift+http', 'http'))
  return net.connect(Number(port), hostname)
}
testDialect({ test, dialect: thrift, address: () => 'thrift+tcp://127.0.0.1:0', raw })
testDialect({ test, dialect: thriftUnix, address: () => `thrift+unix:${freshPath('.sock')}`, raw })
testDialect({ test, dialect: thriftHttp, address: () => 'thrift+http://127.0.0.1:0', listenOptions: { limits: { handshake: 1000 } }, raw })

// ── thriftpy2 ────────────────────────────────────────────────────────────────────────────────────

const script = fileURLToPath(new URL('../../../test/protocols/fixtures/thrift_peer.py', import.meta.url))
const program = promisify(execFile)

async function checkCaller(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
  const { stdout } = await program(python, [script, 'call', await idlFile(), ...args], { env: { ...process.env, ...env } })
  const said = Object.assign(
    {},
    ...stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object),
  ) as Record<string, any>
  assert.deepEqual(said['deposit'], ['savings', 5.5])
  assert.deepEqual([said['echo'], said['flags'], said['nothing']], [true, [true, false, true], null])
  assert.deepEqual(said['declared'], ['it is closed', 'Monday', 3])
  assert.equal(said['internal'][0], 6)
  assert.ok(!stdout.includes('"secret'))
  assert.equal(said['again'], 'savings')
  assert.equal(said['long'], 1_000_000)
}

test('thrift: the IDL has every type of the contract', async () => {
  const idl = await thriftIdl(bank)
  assert.match(idl, /service bank \{/)
  assert.match(idl, /DepositOutput deposit\(1: string account, 2: double amount\) throws \(1: AccountClosed e1\)/)
  assert.match(
    idl,
    /exception AccountClosed \{\n {2}1: required string message\n {2}2: required string since\n {2}3: required i32 days\n\}/,
  )
  assert.match(idl, /oneway void note\(1: string input\)/)
  assert.match(
    idl,
    /5: required bool flag\n {2}6: required binary bytes\n {2}7: required list<double> numbers\n {2}8: required list<EntryInnersItem> inners/,
  )
  assert.match(
    idl,
    /9: required map<string, i64> named\n {2}10: required i64 when_\n {2}11: required set<string> tags\n {2}12: optional string none/,
  )
})

for (const [protocol, transport, service] of [
  ['binary', 'buffered', []],
  ['binary', 'framed', ['bank']],
  ['compact', 'buffered', ['bank']],
  ['compact', 'framed', []],
] as const)
  test(`thrift: thriftpy2 calls us, ${protocol} and ${transport}${service.length > 0 ? ', as one of several services' : ''}`, async () => {
    await using over = await serve(bank, handlers, {
      listen: ['thrift+tcp://127.0.0.1:0', `thrift+unix:${freshPath('.sock')}`],
      onError() {},
    })
    notes.length = 0
    await checkCaller([over.addresses[0]!.slice('thrift+tcp://'.length), protocol, transport, ...service])
    assert.deepEqual(notes, ['from python'])
    if (protocol === 'binary') await checkCaller([over.addresses[1]!.slice('thrift+unix:'.length), protocol, transport, ...service])
  })

const authority = issue({ name: 'Test Authority', authority: true })
const identity = issue({ name: 'bank', hosts: [ownHost], issuer: authority })
const pem = (...texts: string[]): string => {
  const file = freshPath('.pem')
  writeFileSync(file, texts.join(''))
  return file
}

for (const [protocol, scheme] of [
  ['binary', 'http'],
  ['compact', 'http'],
  ['binary', 'https'],
] as const)
  test(`thrift: thriftpy2 calls us over ${scheme}, ${protocol}`, async () => {
    await using over = await serve(bank, handlers, {
      listen: `thrift+${scheme}://${ownHost}:${freshPort()}`,
      // Its Host has no port.
      hosts: [ownHost],
      ...(scheme === 'https' && { tls: { key: identity.key, cert: identity.cert } }),
      onError() {},
    })
    const url = over.addresses[0]!.slice('thrift+'.length)
    const shown = { TOKEN: over.token!, CA: pem(authority.cert) }
    await checkCaller([`${url}/bank`, protocol, 'buffered'], shown)
    if (scheme === 'http') {
      const headers = { authorization: `Bearer ${over.token!}` }
      assert.match(await (await fetch(url, { headers })).text(), /service bank/)
    } else {
      await assert.rejects(
        checkCaller([`${url}/bank`, protocol, 'buffered'], { ...shown, CA: pem(issue({ name: 'Other', authority: true }).cert) }),
      )
      const tls = { ca: authority.cert }
      const client = await connect(bank, over.addresses[0]!, { tls, token: over.token!, reconnect: false })
      assert.deepEqual(await client.deposit({ account: 'a', amount: 2 }), { account: 'a', balance: 2 })
      await client.close()
      for (const [options, code] of [
        [{ token: over.token! }, 'UNAUTHENTICATED'],
        [{ tls }, 'UNAUTHENTICATED'],
      ] as const)
        await assert.rejects(connect(bank, over.addresses[0]!, { ...options, reconnect: false }), fails(code))
    }
  })

for (const [protocol, transport, at] of [
  ['binary', 'buffered', 'a port'],
  ['binary', 'framed', 'a path'],
  ['compact', 'buffered', 'a path'],
  ['compact', 'framed', 'a port'],
  ['binary', 'buffered', 'http'],
  ['compact', 'buffered', 'https'],
] as const)
  test(`thrift: we call thriftpy2 at ${at}, ${protocol} and ${transport}`, async () => {
    const path = freshPath('.sock')
    const port = `${ownHost}:${freshPort()}`
    const place = at === 'a path' ? path : at === 'a port' ? port : `${at}://${port}`
    const env = { KEY: pem(identity.key, identity.cert) }
    const running = run(python, [script, 'serve', await idlFile(), place, protocol, transport], { env })
    try {
      await running.line('ready')
      const address = at === 'a path' ? `thrift+unix:${path}` : at === 'a port' ? `thrift+tcp://${port}` : `thrift+${place}/any`
      const tls = { ca: authority.cert }
      const client = await connect(bank, `${address}?protocol=${protocol}&transport=${transport}`, { tls, reconnect: false })
      await checkCalled(client)
      await client.note('from node')
      await running.line('note from node')
      await client.close()
    } finally {
      await running.kill()
    }
  })

// ── what cannot be said ──────────────────────────────────────────────────────────────────────────

test('thrift: what Thrift has no word for is refused at start', async () => {
  for (const members of [
    { m: rpc({ input: z.object({ a: z.union([z.string(), z.number()]) }) }) },
    { m: rpc({ output: z.any() }) },
    { m: rpc({ input: z.object({ a: z.array(z.string().nullable()) }) }) },
    { m: rpc({ input: z.tuple([z.string(), z.number()]) }) },
    { m: rpc({ input: z.object({ 'a b': z.string() }) }) },
    { 'a-b': rpc() },
    { m: rpc({ output: stream(z.string()) }) },
    { m: event(z.string()) },
  ]) {
    const each = contract('odd/1', members as any)
    await assert.rejects(
      serve(
        each,
        Object.fromEntries(
          Object.entries(members)
            .filter(([, { kind }]) => kind === 'rpc')
            .map(([name]) => [name, () => {}]),
        ) as any,
        { listen: 'thrift+tcp://127.0.0.1:0' },
      ),
      fails('UNSUPPORTED'),
      JSON.stringify(Object.keys(members)),
    )
  }
  await assert.rejects(serve('plain', { add: () => 1 }, { listen: 'thrift+tcp://127.0.0.1:0' }), fails('UNSUPPORTED'))
  await assert.rejects(serve(bank, handlers, { listen: 'thrift+tcp://0.0.0.0:0' }), fails('PERMISSION_DENIED'))
  for (const query of ['protocol=json', 'transport=x', 'what=1'])
    await assert.rejects(connect(bank, `thrift+tcp://127.0.0.1:1?${query}`), fails('INVALID_ADDRESS'))
  const words = contract('words/1', { double: rpc({ input: z.object({ struct: z.string() }) }) })
  assert.match(await thriftIdl(words), /void double_\(1: string struct_\)/)
  const node = z.object({
    text: z.string(),
    get next() {
      return node.optional()
    },
  })
  assert.match(await thriftIdl(contract('tree/1', { m: rpc({ input: z.object({ root: node }) }) })), /2: optional (\w+) next_/)
})

// ── bytes ────────────────────────────────────────────────────────────────────────────────────────

const FORMATS: readonly Format[] = ['binary', 'compact']

/** One of each type, in lists and maps. */
function sample(format: Format, name = 'm'): Buffer {
  const writer = new Writer(format, {})
  writer.message({ name, kind: Kind.call, sequence: 7 })
  writer.struct(() => {
    writer.boolField(1, true)
    writer.field(Code.i64, 2)
    writer.i64(-(2n ** 63n))
    writer.field(Code.list, 30)
    writer.list(Code.string, 20)
    for (let index = 0; index < 20; index++) writer.text('ä')
    writer.field(Code.map, 31)
    writer.map(Code.i32, Code.struct, 2)
    for (const key of [1, -1]) {
      writer.i32(key)
      writer.struct(() => {
        writer.boolField(1, false)
        writer.field(Code.double, 2)
        writer.double(1.5)
      })
    }
    writer.field(Code.set, 32)
    writer.list(Code.bool, 3)
    for (const each of [true, false, true]) writer.bool(each)
    writer.field(Code.map, 33)
    writer.map(Code.string, Code.i16, 0)
    writer.field(Code.byte, 34)
    writer.byte(5)
  })
  return Buffer.from(writer.done())
}

const framed = (bytes: Buffer): Buffer => {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(bytes.length)
  return Buffer.concat([head, bytes])
}

const skipAll = (bytes: Buffer, format: Format, limits = {}): void => {
  const reader = new Reader(bytes, format, limits)
  reader.message()
  reader.skip(Code.struct)
  assert.equal(reader.at, bytes.length)
}

test('thrift: messages come in pieces of any size, framed and not, one after the other', () => {
  for (const format of FORMATS)
    for (const frame of [false, true])
      for (const size of [1, 2, 5, 64, 10_000]) {
        const one = sample(format)
        const all = Buffer.concat([one, sample(format, 'other'), one].map((each) => (frame ? framed(each) : each)))
        const cutter = new MessageCutter({})
        const found = []
        for (let at = 0; at < all.length; at += size) found.push(...cutter.push(all.subarray(at, at + size)))
        assert.deepEqual(
          found.map(({ bytes, ...style }) => [style, new Reader(bytes, format, {}).message().name]),
          ['m', 'other', 'm'].map((name) => [{ format, framed: frame }, name]),
          `${format} ${frame} ${size}`,
        )
        for (const { bytes } of found) skipAll(bytes, format)
      }
})

test('thrift: bytes that are cut or changed end in an error of ours, or are another message', () => {
  const random = new Random(99)
  for (const format of FORMATS) {
    const whole = sample(format)
    for (let round = 0; round < 3000; round++) {
      const bytes = Buffer.from(whole.subarray(0, round % 2 === 0 ? whole.length : random.below(whole.length)))
      for (let changes = random.below(3); changes >= 0 && bytes.length > 0; changes--) bytes[random.below(bytes.length)] = random.below(256)
      for (const read of [
        () => skipAll(bytes, format, { values: 1000 }),
        () => [...new MessageCutter({ message: 10_000, values: 1000 }).push(bytes)],
      ])
        try {
          read()
        } catch (reason) {
          assert.ok(
            reason instanceof TalkwireError || (reason as Error).name === 'AssertionError',
            `${bytes.toString('hex')}: ${String(reason)}`,
          )
        }
    }
  }
})

test('thrift: bombs are refused before memory is taken', () => {
  const before = process.memoryUsage().arrayBuffers
  const start = Buffer.from('8001000100000001 6d 00000001'.replaceAll(' ', ''), 'hex')
  const compact = Buffer.from('8221 01 01 6d'.replaceAll(' ', ''), 'hex')
  const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
  const deep = (count: number): Buffer => Buffer.concat([start, ...Array<Buffer>(count).fill(hex('0c 0001'))])
  for (const [code, bytes] of [
    ['MESSAGE_TOO_LARGE', hex('7fffffff 80010001')],
    ['MESSAGE_TOO_LARGE', Buffer.concat([start, hex('0b 0001 7fffffff')])],
    ['INVALID_MESSAGE', Buffer.concat([start, hex('0b 0001 ffffffff')])],
    ['LIMIT_EXCEEDED', Buffer.concat([start, hex('0f 0001 0c 7fffffff')])],
    ['LIMIT_EXCEEDED', Buffer.concat([start, hex('0d 0001 0b0b 7fffffff')])],
    ['INVALID_MESSAGE', Buffer.concat([start, hex('0f 0001 08 80000000')])],
    ['INVALID_MESSAGE', Buffer.concat([start, hex('0f 0001 05 00000001')])],
    ['LIMIT_EXCEEDED', Buffer.concat([compact, hex('19 fc ffffffff07')])],
    ['MESSAGE_TOO_LARGE', Buffer.concat([compact, hex('18 ffffffff07')])],
    ['INVALID_MESSAGE', Buffer.concat([compact, hex('16'), Buffer.alloc(11, 0xff)])],
    ['TOO_DEEP', deep(65)],
    ['TOO_DEEP', deep(100_000)],
    ['INVALID_MESSAGE', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['INVALID_MESSAGE', hex('ff00')],
    ['INVALID_MESSAGE', hex('00000006 ffff')],
  ] as const)
    assert.throws(
      () => [...new MessageCutter({ message: 1 << 20, values: 100_000, depth: 64 }).push(bytes)],
      (reason) =>
        reason instanceof TalkwireError && (reason.code === code || (code === 'INVALID_MESSAGE' && reason.code === 'MESSAGE_TOO_LARGE')),
      `${code} ${bytes.toString('hex').slice(0, 80)}`,
    )
  // In a frame the lengths are held against it.
  for (const bytes of [
    Buffer.concat([start, hex('0f 0001 0c 000f4240')]),
    Buffer.concat([start, hex('0b 0001 7fffffff')]),
    Buffer.concat([compact, hex('19 fc c0843d')]),
  ])
    assert.throws(() => skipAll(bytes, bytes[0] === 0x82 ? 'compact' : 'binary'), fails('INVALID_MESSAGE'))
  assert.ok(process.memoryUsage().arrayBuffers - before < 4 << 20)
})

test('thrift: a call that is wrong is answered with an exception, and the next one is served', async () => {
  await using service = await serve(bank, handlers, { listen: `thrift+unix:${freshPath('.sock')}`, onError() {} })
  const socket = raw(service.addresses[0]!).on('error', () => {})
  const cutter = new MessageCutter({})
  const ask = async (name: string, fields: (writer: Writer) => void, kind: number = Kind.call): Promise<[number, number | undefined]> => {
    const writer = new Writer('binary', {})
    writer.message({ name, kind, sequence: 9 })
    writer.struct(() => fields(writer))
    socket.write(Buffer.from(writer.done()))
    for (;;) {
      const [chunk] = (await once(socket, 'data')) as [Buffer]
      for (const { bytes, format } of cutter.push(chunk)) {
        const reader = new Reader(bytes, format, {})
        const head = reader.message()
        assert.equal(head.sequence, 9)
        let type: number | undefined
        reader.struct(({ code, id, bool }) => {
          if (head.kind === Kind.exception && id === 2) type = reader.i32()
          else reader.skip(code, bool)
        })
        return [head.kind, type]
      }
    }
  }
  const field = (id: number, code: number, write: (writer: Writer) => void) => (writer: Writer) => {
    writer.field(code, id)
    write(writer)
  }
  const account = field(1, Code.string, (writer) => writer.text('a'))
  const amount = field(2, Code.double, (writer) => writer.double(1))
  for (const name of ['constructor', '__proto__', 'toString', 'rpc.hello', 'other:deposit', '', 'x'.repeat(500)])
    assert.deepEqual(await ask(name, () => {}), [Kind.exception, 1], name)
  assert.deepEqual(await ask('deposit', () => {}), [Kind.exception, 7])
  assert.deepEqual(await ask('deposit', account), [Kind.exception, 7])
  assert.deepEqual(
    await ask(
      'deposit',
      field(1, Code.i32, (writer) => writer.i32(1)),
    ),
    [Kind.exception, 7],
  )
  assert.deepEqual(
    await ask(
      'flags',
      field(1, Code.list, (writer) => (writer.list(Code.string, 1), writer.text('a'))),
    ),
    [Kind.exception, 7],
  )
  assert.deepEqual(await ask('deposit', account, Kind.reply), [Kind.exception, 2])
  const both = (writer: Writer): void => {
    account(writer)
    amount(writer)
    // Of a later version of the contract.
    field(99, Code.map, (each) => (each.map(Code.string, Code.bool, 1), each.text('x'), each.bool(true)))(writer)
  }
  for (const name of ['deposit', 'bank:deposit']) assert.deepEqual(await ask(name, both), [Kind.reply, undefined])
  const client = await connect(bank, service.addresses[0]!, { reconnect: false })
  socket.write(Buffer.from('nonsense'))
  await once(socket.resume(), 'close')
  assert.deepEqual(await client.deposit({ account: 'a', amount: 1 }), { account: 'a', balance: 1 })
  await client.close()
  assert.equal(({} as any).polluted, undefined)
})

test('thrift: over HTTP only Thrift is taken, from who shows the token', async () => {
  await using service = await serve(bank, handlers, { listen: 'thrift+http://127.0.0.1:0', onError() {} })
  const at = service.addresses[0]!.slice('thrift+'.length)
  const bearer = { authorization: `Bearer ${service.token!}` }
  assert.equal(await statusOf(at, { method: 'POST', headers: { 'content-type': 'application/x-thrift' }, body: 'x' }), 401)
  await assert.rejects(
    connect(bank, service.addresses[0]!, { token: 'another-token-of-nobody', reconnect: false }),
    fails('UNAUTHENTICATED'),
  )
  for (const type of ['text/plain', 'application/json', 'application/x-www-form-urlencoded'])
    assert.equal(await statusOf(at, { method: 'POST', headers: { ...bearer, 'content-type': type }, body: 'x' }), 415)
  assert.equal(
    await statusOf(`${at}/else`, { method: 'POST', headers: { ...bearer, 'content-type': 'application/x-thrift' }, body: 'x' }),
    404,
  )
  assert.equal(await statusOf(at, { method: 'PUT', headers: bearer, body: 'x' }), 405)
  const answer = await fetch(at, { method: 'POST', headers: { ...bearer, 'content-type': 'application/x-thrift' }, body: 'nonsense' })
  const reader = new Reader(Buffer.from(await answer.arrayBuffer()), 'binary', {})
  assert.equal(reader.message().kind, Kind.exception)
})
