import '../helpers/place.js'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync } from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import * as z from 'zod'
import { Random } from '../../compliance/random.js'
import { testDialect } from '../../compliance/index.js'
import { connect, contract, Descriptor, fd, rpc, serve, sessionOf, TalkwireError } from '../../src/index.js'
import { connectUnix } from '../../src/kernel/descriptor-channel.js'
import { sendWith } from '../../src/kernel/descriptor-stream.js'
import { serverAuthentication } from '../../src/protocols/dbus-auth.js'
import { schemaOf } from '../../src/protocols/dbus-contract.js'
import { readObject, writeObject } from '../../src/protocols/dbus-introspection.js'
import { MessageReader, readMessage, Type, writeMessage, type Fields, type Message } from '../../src/protocols/dbus-message.js'
import { signatureOf } from '../../src/protocols/dbus-schema.js'
import { splitSignature, typeOf, Variant } from '../../src/protocols/dbus-types.js'
import { Reader, Writer } from '../../src/protocols/dbus-values.js'
import { dbusPeer } from '../../src/protocols/dbus.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { python, run } from '../session/processes.js'

const raw = (address: string): net.Socket => net.connect(address.slice('dbus+unix:'.length))
const address = (): string => `dbus+unix:${freshPath('.sock')}`

// As Node reads the socket, and as we read it, for descriptors.
testDialect({ test, dialect: dbusPeer, address, raw })
testDialect({ test, dialect: dbusPeer, address, listenOptions: { descriptors: true }, connectOptions: { descriptors: true }, raw })

// ── types and values ─────────────────────────────────────────────────────────────────────────────

test('dbus: signatures are taken apart, and what is none is refused', () => {
  assert.deepEqual(splitSignature('ya{s(iv)}aas(a{uv}h)v'), ['y', 'a{s(iv)}', 'aas', '(a{uv}h)', 'v'])
  assert.deepEqual(splitSignature(''), [])
  const deep = (count: number): string => `${'a'.repeat(count)}y`
  assert.equal(splitSignature(deep(32)).length, 1)
  assert.equal(splitSignature(`${'('.repeat(32)}y${')'.repeat(32)}`).length, 1)
  for (const wrong of [
    'a',
    '(',
    '()',
    ')',
    '{sv}',
    'a{}',
    'a{s}',
    'a{vs}',
    'a{svv}',
    'a{sv',
    '(i',
    'r',
    'e',
    'm',
    '*',
    'a{(i)s}',
    deep(33),
    `${'('.repeat(33)}y${')'.repeat(33)}`,
    'y'.repeat(256),
  ])
    assert.throws(() => splitSignature(wrong), fails('INVALID_MESSAGE'), wrong)
})

/** A random complete type, and a value of it that is read as it was written. */
function sample(random: Random, depth = 0): { signature: string; value: unknown } {
  const basics: [string, () => unknown][] = [
    ['y', () => random.below(256)],
    ['b', () => random.below(2) === 1],
    ['n', () => random.below(65_536) - 32_768],
    ['q', () => random.below(65_536)],
    ['i', () => (random.below(2 ** 31) - 2 ** 30) * 2],
    ['u', () => random.below(2 ** 31) * 2],
    ['x', () => [0, -1, 2 ** 53 - 1, -(2n ** 63n), 2n ** 63n - 1n][random.below(5)]],
    ['t', () => [0, 2 ** 53 - 1, 2n ** 64n - 1n][random.below(3)]],
    ['d', () => [0, -0, 1.5, 5e-324, -1e308, Infinity][random.below(6)]],
    ['s', () => ['', 'a', 'ä€😀', 'x'.repeat(random.below(300)), '\ufffd'][random.below(5)]],
    ['o', () => ['/', '/a/b_1'][random.below(2)]],
    ['g', () => ['', 'a{sv}'][random.below(2)]],
  ]
  const kind = random.below(depth > 3 ? 1 : 6)
  const list = (signature: string, make: () => unknown): { signature: string; value: unknown } => ({
    signature,
    value: Array.from({ length: random.below(4) }, make),
  })
  if (kind === 1) {
    const { signature } = sample(random, depth + 1)
    if (signature === 'y') return { signature: 'ay', value: Buffer.from([1, 2, 3].slice(0, random.below(4))) }
    // All items are of one type: that of a value that was made for it, or none at all.
    const item = sample(random, depth + 1)
    if (item.signature === 'y') return { signature: 'ay', value: Buffer.alloc(0) }
    return list(`a${item.signature}`, () => item.value)
  }
  if (kind === 2) {
    const fields = Array.from({ length: 1 + random.below(4) }, () => sample(random, depth + 1))
    return { signature: `(${fields.map(({ signature }) => signature).join('')})`, value: fields.map(({ value }) => value) }
  }
  if (kind === 3) {
    const item = sample(random, depth + 1)
    return { signature: `a{s${item.signature}}`, value: { one: item.value, two: item.value } }
  }
  if (kind === 4) {
    const item = sample(random, depth + 1)
    return {
      signature: `a{u${item.signature}}`,
      value: new Map([
        [1, item.value],
        [2, item.value],
      ]),
    }
  }
  const [signature, make] = basics[random.below(basics.length)]!
  return { signature, value: make() }
}

function written(signature: string, value: unknown): Buffer {
  const writer = new Writer({})
  writer.write(typeOf(signature), value)
  return writer.bytes.subarray(0, writer.at)
}

const readBack = (bytes: Buffer, signature: string, limits = {}): unknown =>
  new Reader(bytes, true, 0, bytes.length, limits).read(typeOf(signature))

test('dbus: values of any type are read as they were written', () => {
  const random = new Random(20_260)
  for (let round = 0; round < 2000; round++) {
    const { signature, value } = sample(random)
    assert.deepEqual(readBack(written(signature, value), signature), value, signature)
    assert.equal(signatureOf({ schema: schemaOf(signature), root: {} }), signature)
    const [inner] = readBack(written('av', [new Variant(signature, value)]), 'av') as unknown[]
    assert.deepEqual(inner, value, `${signature} in a variant`)
  }
})

test('dbus: bytes that are cut or changed end in an error of ours, or in another value', () => {
  const random = new Random(77)
  for (let round = 0; round < 300; round++) {
    const { signature, value } = sample(random)
    const bytes = written(signature, value)
    const tries = [...Array(20).keys()].map(() => {
      const copy = Buffer.from(bytes.subarray(0, random.below(2) === 0 ? bytes.length : random.below(bytes.length + 1)))
      if (copy.length > 0) copy[random.below(copy.length)] = random.below(256)
      return copy
    })
    for (const each of tries)
      try {
        readBack(each, signature, { values: 1000 })
      } catch (reason) {
        assert.ok(reason instanceof TalkwireError, `${signature} ${each.toString('hex')}: ${String(reason)}`)
      }
  }
})

test('dbus: what is no value of its type, too deep, too many or dangerous is refused', () => {
  const nested = (count: number): Buffer =>
    Buffer.concat([...Array<Buffer>(count).fill(Buffer.from([1, 0x76, 0])), Buffer.from([1, 0x79, 0, 5])])
  const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
  assert.equal(readBack(nested(62), 'v'), 5)
  for (const [code, signature, bytes] of [
    ['TOO_DEEP', 'v', nested(64)],
    ['TOO_DEEP', 'v', nested(100_000)],
    ['INVALID_MESSAGE', 'b', hex('02000000')],
    ['INVALID_MESSAGE', 's', hex('01000000 ff 00')],
    ['INVALID_MESSAGE', 's', hex('01000000 61 62')],
    ['INVALID_MESSAGE', 's', hex('02000000 6100 00')],
    ['INVALID_MESSAGE', 's', hex('ffffffff 61 00')],
    ['INVALID_MESSAGE', 'o', hex('02000000 2f2f 00')],
    ['INVALID_MESSAGE', 'g', hex('01 28 00')],
    ['INVALID_MESSAGE', 'v', hex('00 00')],
    ['INVALID_MESSAGE', 'v', hex('02 7979 00 0101')],
    ['INVALID_MESSAGE', 'ax', hex('00000000 00000001')],
    ['INVALID_MESSAGE', 'ay', hex('ffffff7f 00')],
    ['INVALID_MESSAGE', 'ay', hex('05000000 00')],
    ['INVALID_MESSAGE', 'ai', hex('03000000 000000')],
    ['INVALID_MESSAGE', 'h', hex('00000000')],
  ] as const)
    assert.throws(() => readBack(bytes, signature), fails(code), `${signature} ${bytes.toString('hex').slice(0, 60)}`)
  assert.throws(() => readBack(written('ai', [1, 2, 3]), 'ai', { values: 2 }), fails('LIMIT_EXCEEDED'))
  for (const key of ['__proto__', 'constructor']) {
    const writer = new Writer({})
    writer.array(8, () => {
      writer.align(8)
      writer.text(key)
      writer.signature('a{sv}')
      writer.array(8, () => {})
    })
    assert.throws(() => readBack(writer.bytes.subarray(0, writer.at), 'a{sv}'), fails('FORBIDDEN_KEY'))
  }
  for (const [signature, value] of [
    ['y', 256],
    ['y', -1],
    ['i', 2 ** 31],
    ['u', 1.5],
    ['x', 2n ** 63n],
    ['x', 2 ** 53],
    ['t', -1],
    ['d', '1'],
    ['b', 1],
    ['s', 'a\0'],
    ['s', '\udfff'],
    ['o', 'a'],
    ['g', 'a'],
    ['as', 'a'],
    ['(ii)', [1]],
    ['a{sv}', []],
    ['v', null],
    ['v', undefined],
    ['v', () => 1],
    ['h', 3],
  ] as const)
    assert.throws(() => written(signature, value), TypeError, signature)
  assert.throws(() => new Variant('ii', [1, 2]), TypeError)
  let value: unknown = 5
  for (let count = 0; count < 100; count++) value = [value, 'x']
  assert.throws(() => written('v', value), fails('TOO_DEEP'))
  const large = new Writer({ message: 1000 })
  assert.throws(() => large.write(typeOf('ay'), Buffer.alloc(1000)), fails('MESSAGE_TOO_LARGE'))
})

// ── messages ─────────────────────────────────────────────────────────────────────────────────────

const call: Fields = { type: Type.call, path: '/a', interface: 'a.b', member: 'c', destination: 'd.e', signature: 'sa{sv}' }
const whole = (fields: Fields = call): Buffer =>
  Buffer.from(
    writeMessage(fields, 7, {}, (writer) => {
      writer.text('ä')
      writer.write(typeOf('a{sv}'), { one: 1, list: ['a'] })
    }).bytes,
  )

test('dbus: messages come in pieces of any size, and what is none is refused', () => {
  const bytes = Buffer.concat([whole(), whole({ ...call, type: Type.signal })])
  for (const size of [1, 3, 16, 17, 64, 1000]) {
    const reader = new MessageReader({})
    const found: Message[] = []
    for (let at = 0; at < bytes.length; at += size) found.push(...reader.push(bytes.subarray(at, at + size)))
    assert.deepEqual(
      found.map(({ type, member, serial }) => [type, member, serial]),
      [
        [1, 'c', 7],
        [4, 'c', 7],
      ],
      `pieces of ${size}`,
    )
    assert.ok(reader.partial === undefined)
  }
  const good = whole()
  for (let at = 0; at < good.length; at++)
    for (const value of [0, 1, 0x7f, 0x80, 0xff, good[at]! ^ 1]) {
      const changed = Buffer.from(good)
      changed[at] = value
      try {
        for (const message of new MessageReader({ message: 100_000 }).push(changed)) assert.ok(message.serial > 0)
      } catch (reason) {
        assert.ok(reason instanceof TalkwireError, `${at} ${value}: ${String(reason)}`)
      }
    }
  const announced = Buffer.from(good)
  announced.writeUInt32LE(0x7000_0000, 4)
  const before = process.memoryUsage().arrayBuffers
  assert.throws(() => [...new MessageReader({}).push(announced)], fails('MESSAGE_TOO_LARGE'))
  announced.writeUInt32LE(120 * 1024 * 1024, 4)
  assert.deepEqual([...new MessageReader({}).push(announced)], [])
  assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 20)
  announced.writeUInt32LE(0x0400_0000, 12)
  assert.throws(() => [...new MessageReader({}).push(announced)], fails('MESSAGE_TOO_LARGE'))
  for (const fields of [
    { ...call, path: undefined },
    { ...call, member: undefined },
    { ...call, member: 'a.b' },
    { ...call, interface: 'a' },
    { ...call, destination: 'x' },
    { type: Type.result },
    { type: Type.error, replySerial: 1 },
    { type: Type.signal, path: '/a', member: 'c' },
  ] as Fields[])
    assert.throws(
      () => readMessage(Buffer.from(writeMessage({ ...fields, signature: '' }, 1, {}).bytes)),
      fails('INVALID_MESSAGE'),
      JSON.stringify(fields),
    )
})

test('dbus: jeepney reads what we write, and we read what it writes, in both byte orders', async () => {
  const fixture = new URL('../../../test/protocols/fixtures/dbus_vectors.py', import.meta.url).pathname
  const running = run(python, [fixture])
  const expected = [
    255,
    -5,
    65_535,
    -2,
    7,
    -(2n ** 60n),
    2n ** 63n,
    1.5,
    true,
    'ä€😀',
    '/a/b',
    'a{sv}',
    [
      [1, 'x'],
      [2, 'y'],
    ],
    { k: 5, l: ['a', 'b'] },
    Buffer.from([1, 2]),
  ]
  const signature = 'ynqiuxtdbsoga(us)a{sv}ay'
  for (const order of ['little', 'big']) {
    const bytes = Buffer.from((await running.line(`${order} `)).split(' ')[1]!, 'hex')
    const [message] = [...new MessageReader({}).push(bytes)]
    assert.deepEqual(
      [message!.little, message!.signature, message!.path, message!.member, message!.serial],
      [order === 'little', signature, '/org/example', 'Call', 77],
    )
    const reader = new Reader(message!.bytes, message!.little, message!.body, message!.bytes.length, {})
    assert.deepEqual(
      splitSignature(signature).map((each) => reader.read(typeOf(each))),
      expected,
    )
  }
  const { bytes } = writeMessage(
    { type: Type.call, path: '/org/example', interface: 'a.b', member: 'Call', destination: 'c.d', signature },
    77,
    {},
    (writer) => splitSignature(signature).forEach((each, at) => writer.write(typeOf(each), expected[at])),
  )
  running.child.stdin!.end(`${Buffer.from(bytes).toString('hex')}\n`)
  assert.equal(await running.line('read '), `read 77 ${signature} ä€😀 [(1, 'x'), (2, 'y')] b'\\x01\\x02'`)
})

// ── introspection ────────────────────────────────────────────────────────────────────────────────

test('dbus: introspection is read as it was written, and what is none is refused', () => {
  const node = {
    interfaces: new Map([
      [
        'a.b',
        {
          methods: new Map([
            ['M', { inputs: [{ name: 'x<&"', signature: 'a{sv}' }], outputs: [{ name: '', signature: 's' }], oneway: true }],
          ]),
          signals: new Map([['S', { values: [{ name: 'v', signature: '(ii)' }] }]]),
          properties: new Map([
            ['P', { signature: 'u', access: 'readwrite' as const, silent: false }],
            ['Q', { signature: 's', access: 'read' as const, silent: true }],
          ]),
        },
      ],
    ]),
    children: ['c', 'd'],
  }
  assert.deepEqual(readObject(writeObject(node)), node)
  assert.deepEqual(
    readObject('<?xml version="1.0"?><!-- <node> --><node><interface name="a.b"><method name="M"/></interface></node>')
      .interfaces.get('a.b')!
      .methods.get('M'),
    {
      inputs: [],
      outputs: [],
      oneway: false,
    },
  )
  for (const wrong of [
    '<node',
    '<node>',
    '</node>',
    '<node></interface>',
    '<node><interface name="a.b"><method name="M"><arg type="a"/></method></interface></node>',
    '<!DOCTYPE node [<!ENTITY a "b">]><node/>',
    '<node'.repeat(10),
    '<node>'.repeat(100),
    '<a b=c/>',
    'x'.repeat(5 << 20),
  ])
    assert.throws(() => readObject(wrong), fails('INVALID_MESSAGE'), wrong.slice(0, 60))
  assert.equal(readObject('').interfaces.size, 0)
})

// ── whoever is there ─────────────────────────────────────────────────────────────────────────────

const echo = contract('org.example.Echo/1', {
  echo: rpc({ input: z.string(), output: z.string() }),
  keep: rpc({ input: fd, output: z.boolean() }),
  give: rpc({ output: fd }),
})
const handlers = { echo: (text: string) => text, keep: () => true, give: () => Descriptor.give(openSync('/dev/null', 'r')) }
const uid = Buffer.from(String(process.getuid!())).toString('hex')

/** Says each word when the one before is answered. */
async function dialogue(socket: net.Socket, ...words: string[]): Promise<string> {
  let said = ''
  let wake = (): void => {}
  socket.on('data', (chunk) => {
    said += chunk.toString('latin1')
    wake()
  })
  socket.once('close', () => wake())
  for (const [at, word] of words.entries()) {
    socket.write(word)
    while (said.split('\r\n').length - 1 <= at && !socket.destroyed) await new Promise<void>((resolve) => (wake = resolve))
  }
  return said
}

test('dbus: only who the kernel says is let in, whatever is claimed', async () => {
  await using service = await serve(echo, handlers, { listen: address(), limits: { handshake: 300 } })
  const open = (): net.Socket => raw(service.addresses[0]!).on('error', () => {})
  const said = await dialogue(
    open(),
    '\0AUTH\r\n',
    'AUTH ANONYMOUS\r\n',
    `AUTH EXTERNAL ${Buffer.from('12345').toString('hex')}\r\n`,
    'AUTH EXTERNAL xyz\r\n',
    'WHAT\r\n',
    'NEGOTIATE_UNIX_FD\r\n',
    'AUTH EXTERNAL\r\n',
    'CANCEL\r\n',
    'AUTH EXTERNAL\r\n',
    'DATA\r\n',
    'NEGOTIATE_UNIX_FD\r\n',
  )
  assert.match(said, /^(REJECTED EXTERNAL\r\n){4}ERROR\r\nERROR\r\nDATA\r\nREJECTED EXTERNAL\r\nDATA\r\nOK [0-9a-f]{32}\r\nERROR\r\n$/)
  for (const bad of ['AUTH', '\0BEGIN\r\n', `\0${'x'.repeat(20_000)}`, `\0${'WHAT\r\n'.repeat(30)}`, '\0AUTH EXTERNAL 00\r\nBEGIN\r\n']) {
    const socket = open()
    socket.write(bad)
    await once(socket.resume(), 'close')
  }
  const silent = open()
  await once(silent.resume(), 'close')
})

/** A socket that was let in. */
async function enter(at: string): Promise<net.Socket> {
  const socket = raw(at).on('error', () => {})
  socket.write(`\0AUTH EXTERNAL ${uid}\r\nBEGIN\r\n`)
  await once(socket, 'data')
  return socket
}

async function ask(socket: net.Socket, bytes: Buffer): Promise<Message> {
  const reader = new MessageReader({})
  socket.write(bytes)
  for (;;) {
    const [chunk] = (await once(socket, 'data')) as [Buffer]
    for (const message of reader.push(chunk)) return message
  }
}

for (const descriptors of [false, true])
  test(`dbus: a message that has begun and does not go on ends the connection, and nobody else; descriptors: ${descriptors}`, async () => {
    const limits = { handshake: 300 }
    await using service = await serve(echo, handlers, { listen: address(), limits, descriptors })
    const client = await connect(echo, service.addresses[0]!, { reconnect: false, descriptors })
    const base: Fields = { type: Type.call, path: '/org/example/Echo', interface: 'org.example.Echo', member: 'echo', signature: 's' }
    const whole = Buffer.from(writeMessage(base, 5, {}, (writer) => writer.text('a')).bytes)
    for (const size of [1, 16, whole.length - 1]) {
      const half = await enter(service.addresses[0]!)
      half.write(Buffer.concat([whole, whole.subarray(0, size)]))
      await once(half.resume(), 'close')
    }
    while ((service.ends['DEADLINE_EXCEEDED'] ?? 0) < 3) await client.echo('the service learns it a moment later')
    // Between two messages anyone may be silent for as long as he likes.
    assert.equal(await client.echo('still here'), 'still here')
    await client.close()
  })

test('dbus: a call that cannot be read is answered with an error of D-Bus, and the next one is served', async () => {
  await using service = await serve(echo, handlers, { listen: address() })
  const socket = await enter(service.addresses[0]!)
  const base: Fields = { type: Type.call, path: '/org/example/Echo', interface: 'org.example.Echo', member: 'echo', signature: 's' }
  const say = (fields: Fields, body?: (writer: Writer) => void): Buffer => Buffer.from(writeMessage(fields, 5, {}, body).bytes)
  for (const [name, bytes] of [
    ['InvalidArgs', say({ ...base, signature: 'u' }, (writer) => writer.uint32(5))],
    ['InvalidArgs', say({ ...base, signature: '' })],
    // The same bytes, and still another type.
    ['InvalidArgs', say({ ...base, signature: 'o' }, (writer) => writer.text('/a'))],
    ['InvalidArgs', say(base, (writer) => writer.uint32(100))],
    ['InvalidArgs', say(base, (writer) => (writer.text('a'), writer.text('b')))],
    ['UnknownMethod', say({ ...base, path: '/else' }, (writer) => writer.text('a'))],
    ['UnknownMethod', say({ ...base, interface: 'org.example.Other' }, (writer) => writer.text('a'))],
    ...['constructor', '__proto__', 'toString', 'hasOwnProperty', 'then', 'rpc'].map(
      (member) => ['UnknownMethod', say({ ...base, member, signature: '' })] as const,
    ),
  ] as const) {
    const answer = await ask(socket, bytes)
    assert.deepEqual([answer.type, answer.errorName, answer.replySerial], [Type.error, `org.freedesktop.DBus.Error.${name}`, 5])
  }
  assert.equal(
    (
      await ask(
        socket,
        say(base, (writer) => writer.text('hello')),
      )
    ).type,
    Type.result,
  )
  // An answer that nobody asked for, and a signal, are passed over.
  socket.write(say({ type: Type.result, replySerial: 99, signature: '' }))
  socket.write(say({ ...base, type: Type.signal }, (writer) => writer.text('x')))
  assert.equal(
    (await ask(socket, say({ ...base, interface: 'org.freedesktop.DBus.Peer', member: 'Ping', signature: '' }))).type,
    Type.result,
  )
  // What is no message ends its own connection.
  const client = await connect(echo, service.addresses[0]!, { reconnect: false })
  socket.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
  await once(socket.resume(), 'close')
  assert.equal(await client.echo('still here'), 'still here')
  await client.close()
})

/** A side without a bus that answers each call as it is told to. */
async function stranger(
  answer: (message: Message, say: (fields: Fields, body?: (writer: Writer) => void) => void) => void,
): Promise<{ at: string; close(): void }> {
  const path = freshPath('.sock')
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    const reader = new MessageReader({})
    let auth: ReturnType<typeof serverAuthentication> | undefined = serverAuthentication(undefined, false, '0'.repeat(32), (text) =>
      socket.write(text),
    )
    let serial = 0
    socket.on('data', (chunk) => {
      const bytes = auth ? auth.push(chunk) : chunk
      if (!bytes) return
      auth = undefined
      for (const message of reader.push(bytes))
        answer(message, (fields, body) => socket.write(writeMessage(fields, ++serial, {}, body).bytes))
    })
  })
  server.listen(path)
  await once(server, 'listening')
  return { at: path, close: () => void server.close() }
}

const noIntrospection = (message: Message, say: (fields: Fields) => void): boolean => {
  if (message.member !== 'Introspect') return false
  say({ type: Type.error, replySerial: message.serial, errorName: 'org.freedesktop.DBus.Error.UnknownMethod', signature: '' })
  return true
}

test('dbus: an answer to no call is passed over, one of another type is refused, and the call is settled once', async () => {
  const other = await stranger((message, say) => {
    if (noIntrospection(message, say)) return
    say({ type: Type.result, replySerial: message.serial + 1000, signature: 's' }, (writer) => writer.text('wrong'))
    say({ type: Type.result, replySerial: message.serial, signature: 's' }, (writer) => writer.text('right'))
    say({ type: Type.result, replySerial: message.serial, signature: 's' }, (writer) => writer.text('late'))
  })
  const client = await connect(echo, `dbus+unix:${other.at}`, { reconnect: false })
  assert.deepEqual([await client.echo('a'), await client.echo('b')], ['right', 'right'])
  await client.close()
  other.close()
  const liar = await stranger(
    (message, say) =>
      noIntrospection(message, say) ||
      say({ type: Type.result, replySerial: message.serial, signature: 'u' }, (writer) => writer.uint32(5)),
  )
  const second = await connect(echo, `dbus+unix:${liar.at}`, { reconnect: false })
  await assert.rejects(second.echo('a'), (error: any) => error.code === 'INVALID_MESSAGE' && error.outcome === 'ran')
  await second.close()
  liar.close()
})

test('dbus: on a bus only the answer of who was asked counts', async () => {
  const own = ':1.7'
  const forged = await stranger((message, say) => {
    const from = (sender: string, text: string): void =>
      say({ type: Type.result, replySerial: message.serial, sender, signature: 's' }, (writer) => writer.text(text))
    if (message.member === 'echo') {
      from(':1.666', 'forged')
      return from(own, 'real')
    }
    if (message.member === 'Introspect')
      return say({ type: Type.error, replySerial: message.serial, sender: own, errorName: 'a.b', signature: '' })
    from('org.freedesktop.DBus', own)
  })
  const client = await connect(echo, `dbus:unix:path=${forged.at}`, { reconnect: false })
  assert.equal(await client.echo('a'), 'real')
  await client.close()
  forged.close()
})

// ── descriptors ──────────────────────────────────────────────────────────────────────────────────

const openCount = (): number => readdirSync('/proc/self/fd').length

test('dbus: descriptors that nobody asked for, floods of them, and those of calls end as they should', async () => {
  await using service = await serve(echo, handlers, { listen: address(), descriptors: true, limits: { descriptors: 4 } })
  const at = service.addresses[0]!
  const client = await connect(echo, at, { descriptors: true, reconnect: false, limits: { descriptors: 4 } })
  const null_ = openSync('/dev/null', 'r')
  assert.equal(await client.keep(Descriptor.lend(null_)), true)
  const before = openCount()
  for (let round = 0; round < 50; round++) assert.equal(await client.keep(Descriptor.lend(null_)), true)
  assert.equal(openCount(), before)
  const kept: Descriptor[] = []
  for (let round = 0; round < 4; round++) kept.push(await client.give())
  await assert.rejects(client.give(), (error: any) => error.code === 'LIMIT_EXCEEDED' && error.outcome === 'ran')
  for (const each of kept) each.close()
  ;(await client.give()).close()
  await assert.rejects(client.keep(Descriptor.lend(9999)), TypeError)
  const plain = await connect(echo, at, { reconnect: false })
  await assert.rejects(plain.keep(Descriptor.lend(null_)), fails('UNSUPPORTED'))
  await plain.close()
  // With bytes that are no message, and with none yet.
  for (const [count, bytes] of [
    [1, 'GET '],
    [16, 'l'],
  ] as const) {
    const socket = connectUnix(at.slice('dbus+unix:'.length))
    const fds = Array<number>(count).fill(null_)
    const text = `\0AUTH EXTERNAL ${uid}\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n`
    assert.ok(sendWith(socket, Buffer.from(text), fds)! > 0)
    try {
      for (let more = 0; more < 100; more++) sendWith(socket, Buffer.from(bytes), fds)
    } catch (reason) {
      assert.match((reason as NodeJS.ErrnoException).code!, /EPIPE|ECONNRESET|ETOOMANYREFS/)
    }
    closeSync(socket)
  }
  assert.equal(await client.echo('still here'), 'still here')
  await client.close()
  closeSync(null_)
})

test('dbus: a connection that is cut while descriptors wait for a slow peer leaves nothing open', async () => {
  const path = freshPath('.sock')
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    let auth: ReturnType<typeof serverAuthentication> | undefined = serverAuthentication(undefined, true, '0'.repeat(32), (text) =>
      socket.write(text),
    )
    const reader = new MessageReader({})
    socket.on('data', (chunk) => {
      const bytes = auth ? auth.push(chunk) : chunk
      if (!bytes) return
      auth = undefined
      for (const message of reader.push(bytes))
        noIntrospection(message, (fields) => {
          socket.write(writeMessage(fields, 1, {}).bytes)
          socket.pause()
        })
    })
  })
  server.listen(path)
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[net.Socket]>
  const slow = contract('org.example.Slow/1', { take: rpc({ input: z.object({ text: z.string(), file: fd }) }) })
  const before = openCount()
  const null_ = openSync('/dev/null', 'r')
  const client = await connect(slow, `dbus+unix:${path}`, { descriptors: true, reconnect: false })
  // Small ones, each of which the kernel takes whole, until it takes no more.
  const text = 'x'
  const calls = Array.from({ length: 2000 }, () => client.take({ text, file: Descriptor.lend(null_) }).catch((reason: unknown) => reason))
  const [socket] = await accepted
  // What fits is on its way by then: the first call leaves in the turn in which it is made.
  await new Promise((resolve) => setImmediate(resolve))
  // By us: a peer that goes wakes whoever waits for it.
  sessionOf(client)!.abort(new TalkwireError('CONNECTION_CLOSED', 'enough'))
  for (const reason of await Promise.all(calls)) assert.match((reason as TalkwireError).code, /^CONNECTION_(LOST|CLOSED)$/)
  await client.close()
  closeSync(null_)
  socket.destroy()
  server.close()
  await once(server, 'close')
  for (let turn = 0; openCount() >= before && turn < 1000; turn++) await new Promise((resolve) => setImmediate(resolve))
  assert.ok(openCount() < before, 'the listener is closed, too')
})
