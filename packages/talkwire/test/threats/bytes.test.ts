/** Rows 11, 13, 15, 16, 17 against protocols that are not text over HTTP, by hand: every byte of the strangers is written here. */
import assert from 'node:assert/strict'
import net from 'node:net'
import { test } from 'node:test'
import * as z from 'zod'
import { connect, contract, rpc, serve, type Limits, type RunningService } from '../../src/index.js'
import { freshPath } from '../helpers/place.js'
import { dial, u32 } from './attack.js'

const SERVED = 'it was served'
interface Node {
  next?: Node | undefined
}
const Node: z.ZodType<Node> = z.object({
  get next() {
    return Node.optional()
  },
})
/** A list in a list, wherever a protocol carries any value. */
const anything = contract('org.example.echo/1', { echo: rpc({ input: z.object({ value: z.any() }), output: z.string() }) })
/** An object in an object, where it carries only what was described. */
const nodes = contract('org.example.echo/1', { echo: rpc({ input: z.object({ value: Node }), output: z.string() }) })

const bytes = (...parts: readonly (string | Uint8Array | number)[]): Buffer =>
  Buffer.concat(
    parts.map((part) => (typeof part === 'number' ? Buffer.from([part]) : typeof part === 'string' ? Buffer.from(part, 'latin1') : part)),
  )
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const times = (count: number, part: string | Buffer): Buffer => Buffer.alloc(count * part.length, part, 'latin1')
const framed = (message: Buffer): Buffer => bytes(u32(message.length), message)
const isFrame = (got: Buffer): number => (got.length >= 4 && got.length >= 4 + got.readUInt32BE(0) ? 4 + got.readUInt32BE(0) : 0)

// ── how each says a call ─────────────────────────────────────────────────────────────────────────

interface Stranger {
  readonly name: string
  readonly scheme: string
  readonly contract: typeof anything | typeof nodes
  /** What is said first. */
  readonly greeting?: Buffer
  /** Calls `echo` with so many lists or objects inside each other. */
  deep(count: number): Buffer
  /** Other ways to nest, which the method does not take or which are dropped: only the deepest matter. */
  readonly others?: Readonly<Record<string, (count: number) => Buffer>>
  /** Calls it with a value, where text is a key. */
  readonly call?: (json: string) => Buffer
  /** The size of the first whole answer; 0: there is none yet. */
  whole(got: Buffer): number
  /** In the refusal of what is too deep. */
  readonly refusal: RegExp
  /** From this depth on nothing says where the next message would begin, or whether it is to be answered: the connection ends. */
  readonly ends?: number
}

const lists = (count: number): string => '['.repeat(count) + ']'.repeat(count)
const delimitedBy =
  (end: number) =>
  (got: Buffer): number =>
    got.indexOf(end) + 1
const varlinkCall = (json: string): Buffer => Buffer.from(`{"method":"org.example.echo.Echo","parameters":{"value":${json}}}\0`)
const nodeipcCall = (json: string): Buffer => Buffer.from(`{"type":"echo","data":{"value":${json}}}\f`)

// A pickle is a program: "]" pushes a list, "a" appends to it, "}" pushes a dict, "s" sets an item, "t" makes a tuple since "(".
const pickledText = (text: string): Buffer => bytes('X', u32(Buffer.byteLength(text)).reverse(), Buffer.from(text))
function pickled(value: unknown): Buffer {
  if (typeof value === 'number') return bytes('K', value)
  if (typeof value === 'string') return pickledText(value)
  if (Array.isArray(value)) return bytes(']', ...value.flatMap((item) => [pickled(item), 'a']))
  return bytes('}', ...[...(value as Map<string, unknown>)].flatMap(([key, item]) => [pickledText(key), pickled(item), 's']))
}
/** `(method, args, kwargs)` with `value` by name. */
const pickledCall = (value: Buffer): Buffer =>
  framed(bytes('\x80\x04', pickledText('echo'), ')', '}', pickledText('value'), value, 's\x87.'))

const THRIFT = { binary: bytes(hex('80010001 00000004'), 'echo', u32(1)), compact: bytes(hex('82 21 01 04'), 'echo') }
const thriftCall = (head: Buffer, fields: Buffer): Buffer => framed(bytes(head, fields, 0))
/** A field that the method does not have, beside the one that it does. */
const besides = (count: number, field: Buffer, level: Buffer, last: Buffer): Buffer =>
  thriftCall(THRIFT.binary, bytes(hex('0c 0001 00'), field, times(count - 1, level), last))

/** Values as D-Bus marshals them: each list `av`, each object `a{sv}`; lengths are known at the end. */
class Marshal {
  readonly parts: number[] = []
  align(to: number): this {
    while (this.parts.length % to) this.parts.push(0)
    return this
  }
  say(text: string): this {
    for (const byte of Buffer.from(text)) this.parts.push(byte)
    return this
  }
  signature(text: string): this {
    this.parts.push(text.length)
    return this.say(text).say('\0')
  }
  u32(value: number): this {
    this.align(4).parts.push(value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24)
    return this
  }
  text(text: string): this {
    return this.u32(Buffer.byteLength(text)).say(text).say('\0')
  }
  array(alignment: number, items: () => void): this {
    const place = this.u32(0).parts.length - 4
    const start = this.align(alignment).parts.length
    items()
    this.fill(place, this.parts.length - start)
    return this
  }
  fill(place: number, size: number): void {
    for (let at = 0; at < 4; at++) this.parts[place + at] = (size >>> (8 * at)) & 255
  }
  variant(value: unknown): void {
    if (typeof value === 'number') this.signature('i').u32(value)
    else if (typeof value === 'string') this.signature('s').text(value)
    else if (Array.isArray(value)) this.signature('av').array(1, () => value.forEach((item) => this.variant(item)))
    else
      this.signature('a{sv}').array(8, () => {
        for (const [key, item] of value as Map<string, unknown>) this.align(8).text(key).variant(item)
      })
  }
  /** Lists in each other, of which a signature may say 32: behind 31 of them stands a variant with the next. */
  lists(count: number): this {
    const places: number[] = []
    for (let left = count; left > 0; left -= 31) {
      const here = Math.min(31, left)
      this.signature('a'.repeat(here) + (left > 31 ? 'v' : 'i'))
      for (let level = 0; level < here; level++) places.push(this.u32(0).parts.length - 4)
    }
    for (const place of places) this.fill(place, this.parts.length - place - 4)
    return this
  }
}
const dbusCall = (body: Buffer, signature = 'v'): Buffer => {
  const fields = new Marshal()
  const field = (code: number, type: string, value: string): void => {
    fields.align(8).parts.push(code)
    if (type === 'g') fields.signature('g').signature(value)
    else fields.signature(type).text(value)
  }
  field(1, 'o', '/org/example/echo')
  field(2, 's', 'org.example.echo')
  field(3, 's', 'echo')
  field(8, 'g', signature)
  const size = Buffer.alloc(4)
  size.writeUInt32LE(fields.parts.length)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(body.length)
  return bytes('l\x01\0\x01', length, hex('01000000'), size, Buffer.from(fields.align(8).parts), body)
}
const marshalled = (make: (to: Marshal) => void): Buffer => {
  const to = new Marshal()
  make(to)
  return dbusCall(Buffer.from(to.parts))
}
const isDbus = (got: Buffer): number => {
  if (got.subarray(0, 3).toString() === 'OK ') return got.indexOf('\r\n') + 2
  if (got.length < 16) return 0
  const size = 16 + ((got.readUInt32LE(12) + 7) & ~7) + got.readUInt32LE(4)
  return got.length >= size ? size : 0
}

const keeping = (json: string): unknown =>
  JSON.parse(json, (_, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? new Map(Object.entries(value)) : value,
  )

const STRANGERS: readonly Stranger[] = [
  {
    name: 'varlink',
    scheme: 'varlink',
    contract: anything,
    deep: (count) => varlinkCall(lists(count)),
    others: { objects: (count) => varlinkCall(`${'{"a":'.repeat(count)}1${'}'.repeat(count)}`) },
    call: varlinkCall,
    whole: delimitedBy(0),
    refusal: /"error":"org\.talkwire\.Error".*TOO_DEEP/,
    ends: 1_000_000,
  },
  {
    name: 'node-ipc',
    scheme: 'nodeipc',
    contract: anything,
    deep: (count) => nodeipcCall(lists(count)),
    others: { objects: (count) => nodeipcCall(`${'{"a":'.repeat(count)}1${'}'.repeat(count)}`) },
    call: nodeipcCall,
    whole: delimitedBy(12),
    refusal: /"type":"echo:error".*TOO_DEEP/,
  },
  {
    name: 'pymp',
    scheme: 'pymp',
    contract: anything,
    deep: (count) => pickledCall(bytes(times(count, ']'), times(count - 1, 'a'))),
    others: {
      tuples: (count) => pickledCall(bytes(')', times(count, '\x85'))),
      dicts: (count) => pickledCall(bytes(times(count, bytes('}', pickledText('a'))), 'N', times(count, 's'))),
      'a list in itself': (count) => pickledCall(bytes(']\x94', times(count, 'h\0a'))),
      'frozen sets': (count) => pickledCall(bytes(times(count, '('), times(count, '\x91'))),
    },
    call: (json) => pickledCall(pickled(keeping(json))),
    whole: isFrame,
    refusal: /error.*TOO_DEEP/s,
  },
  {
    name: 'thrift binary',
    scheme: 'thrift+unix',
    contract: nodes,
    deep: (count) => thriftCall(THRIFT.binary, bytes(times(count, hex('0c 0001')), times(count, '\0'))),
    others: {
      lists: (count) => besides(count, hex('0f 0009'), hex('0f 00000001'), hex('02 00000000')),
      sets: (count) => besides(count, hex('0e 0009'), hex('0e 00000001'), hex('02 00000000')),
      maps: (count) => besides(count, hex('0d 0009'), hex('08 0d 00000001 00000005'), hex('08 08 00000000')),
    },
    whole: isFrame,
    refusal: /TOO_DEEP/,
    ends: 1000,
  },
  {
    name: 'thrift compact',
    scheme: 'thrift+unix',
    contract: nodes,
    deep: (count) => thriftCall(THRIFT.compact, bytes(times(count, hex('1c')), times(count, '\0'))),
    others: {
      lists: (count) => thriftCall(THRIFT.compact, bytes(hex('1c 00 19'), times(count - 1, hex('19')), hex('01'))),
    },
    whole: isFrame,
    refusal: /TOO_DEEP/,
    ends: 1000,
  },
  {
    name: 'dbus',
    scheme: 'dbus+unix',
    contract: anything,
    greeting: bytes(`\0AUTH EXTERNAL ${Buffer.from(String(process.getuid!())).toString('hex')}\r\nBEGIN\r\n`),
    deep: (count) => marshalled((to) => to.lists(count)),
    others: {
      variants: (count) => dbusCall(bytes(times(count - 1, '\x01v\0'), '\x01y\0\x01')),
      arrays: (count) => dbusCall(bytes(Math.min(count + 1, 255), times(Math.min(count, 254), 'a'), 'i\0')),
      structs: (count) =>
        dbusCall(bytes(Math.min(2 * count + 1, 255), times(Math.min(count, 127), '('), 'i', times(Math.min(count, 127), ')'), '\0')),
    },
    call: (json) => marshalled((to) => to.variant(keeping(json))),
    whole: isDbus,
    refusal: /TOO_DEEP|LimitsExceeded|is no signature of D-Bus/,
  },
]

const unixOf = ({ addresses }: RunningService): string => `unix:${addresses[0]!.replace(/^[^:]*:/, '')}`

class Talk {
  private got = Buffer.alloc(0)
  private over = false
  private wake = (): void => {}

  private constructor(
    readonly socket: net.Socket,
    private readonly stranger: Stranger,
  ) {
    socket
      .on('error', () => {})
      .on('data', (chunk) => {
        this.got = Buffer.concat([this.got, chunk])
        this.wake()
      })
      .once('close', () => {
        this.over = true
        this.wake()
      })
  }

  static async open(stranger: Stranger, service: RunningService): Promise<Talk> {
    const talk = new Talk(await dial(unixOf(service)), stranger)
    if (!stranger.greeting) return talk
    talk.socket.write(stranger.greeting)
    assert.match(await talk.next(), /^OK /)
    return talk
  }

  /** The next answer; empty: the connection has ended. */
  async next(): Promise<string> {
    for (;;) {
      const size = this.stranger.whole(this.got)
      const answer = this.got.toString('latin1', 0, size)
      this.got = this.got.subarray(size)
      if (size > 0 || this.over) return answer
      await new Promise<void>((resolve) => (this.wake = resolve))
    }
  }

  ask(message: Buffer): Promise<string> {
    this.socket.write(message)
    return this.next()
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}

const serveEcho = (stranger: Stranger, limits: Partial<Limits> = {}): Promise<RunningService> =>
  serve(
    stranger.contract as typeof anything,
    { echo: () => SERVED },
    { listen: `${stranger.scheme}:${freshPath('.sock')}`, limits, onError() {} },
  )

for (const stranger of STRANGERS) {
  const { name, deep, others = {}, call, refusal, ends = Infinity } = stranger

  test(`row 16: ${name}: a value of depth 63 and 64 is served, one of 65, 1,000 and 1,000,000 refused, and the next call is served`, async () => {
    await using service = await serveEcho(stranger)
    let talk = await Talk.open(stranger, service)
    const refused = async (what: string, depth: number, message: Buffer): Promise<void> => {
      const answer = await talk.ask(message)
      // So many may be too many values before they are too deep.
      const expected = depth < 100_000 ? refusal : new RegExp(`LIMIT_EXCEEDED|${refusal.source}`, refusal.flags)
      assert.ok(answer === '' ? depth >= ends : expected.test(answer), `${what} of ${depth}: ${answer.slice(0, 300)}`)
      if (answer === '') talk = await Talk.open(stranger, service)
      assert.ok((await talk.ask(deep(1))).includes(SERVED), `${what} of ${depth}: the next call`)
    }
    // The params are one level, and so is what stands in the innermost of them.
    for (const depth of [63, 64]) assert.ok((await talk.ask(deep(depth - 2))).includes(SERVED), `depth ${depth}`)
    for (const depth of [65, 1000, 1_000_000]) await refused('a value', depth, deep(depth - 2))
    for (const [what, nested] of Object.entries(others)) for (const depth of [1000, 100_000]) await refused(what, depth, nested(depth))
    talk.socket.destroy()
  })

  if (call)
    test(`rows 11 and 13: ${name}: keys that lead to a prototype are refused at depth 0 to 5, "then" is data`, async () => {
      await using service = await serveEcho(stranger)
      using talk = await Talk.open(stranger, service)
      const nested = (text: string, depth: number): string =>
        depth === 0 ? text : depth % 2 ? `{"a":${nested(text, depth - 1)}}` : `[${nested(text, depth - 1)}]`
      for (const key of [
        '{"__proto__":{"polluted":1}}',
        '{"__proto__":1}',
        '{"constructor":{"prototype":{"polluted":1}}}',
        '{"a":1,"__proto__":[]}',
      ])
        for (let depth = 0; depth <= 5; depth++) {
          assert.match(await talk.ask(call(nested(key, depth))), /FORBIDDEN_KEY|InvalidArgs/, `${key} at depth ${depth}`)
          assert.equal(({} as { polluted?: number }).polluted, undefined)
        }
      for (const text of ['{"then":1}', '{"then":{"a":1}}', '{"prototype":{"a":1},"constructor":"text"}'])
        assert.ok((await talk.ask(call(text))).includes(SERVED), text)
    })
}

/** What the smallest messages of each are, empty ones among them. */
const SMALLEST: Readonly<Record<string, readonly Buffer[]>> = {
  varlink: [Buffer.from('{"method":""}\0'), Buffer.from('\0')],
  'node-ipc': [Buffer.from('{"type":""}\f'), Buffer.from('{}\f'), Buffer.from('\f')],
  pymp: [u32(0), framed(hex('80042e')), framed(hex('80044e2e'))],
  'thrift binary': [framed(bytes(hex('80010001 00000001'), 'x', u32(1), 0)), bytes(hex('80010001 00000001'), 'x', u32(1), 0), u32(0)],
  'thrift compact': [framed(bytes(hex('82 21 01 01'), 'x', 0))],
  dbus: [dbusCall(Buffer.alloc(0), ''), dbusCall(Buffer.from('\x01y\0\x01'))],
}

for (const stranger of STRANGERS) {
  const { name, deep } = stranger

  test(`row 15: ${name}: 20,000 of the smallest messages in one piece, and one that comes byte by byte`, async () => {
    await using service = await serveEcho(stranger)
    for (const message of SMALLEST[name]!) {
      const flood = await dial(unixOf(service))
      const over = new Promise((resolve) =>
        flood
          .on('error', () => {})
          .once('close', resolve)
          .resume(),
      )
      flood.end(bytes(stranger.greeting ?? '', times(20_000, message)))
      await over
      using other = await Talk.open(stranger, service)
      assert.ok((await other.ask(deep(1))).includes(SERVED), `after ${message.toString('latin1')}`)
    }
    using slow = await Talk.open(stranger, service)
    for (const byte of deep(2)) {
      slow.socket.write(Buffer.from([byte]))
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.ok((await slow.next()).includes(SERVED))
  })
}

const GIGANTIC = 2 ** 31 - 1
const BODY = Buffer.alloc(1024 * 1024)
/** The beginnings of messages that say they are as large as they can be: 2 GiB, with D-Bus 128 MiB. */
const GIANTS: Readonly<Record<string, readonly Buffer[]>> = {
  pymp: [u32(GIGANTIC)],
  'thrift binary': [
    bytes(u32(GIGANTIC), hex('80010001')),
    bytes(hex('80010001 00000004'), 'echo', u32(1), hex('0b 0009'), u32(GIGANTIC)),
    bytes(hex('80010001 00000004'), 'echo', u32(1), hex('0f 0009 03'), u32(GIGANTIC)),
  ],
  'thrift compact': [bytes(u32(GIGANTIC), hex('8221')), bytes(hex('82 21 01 04'), 'echo', hex('98 ffffffff07'))],
  dbus: [bytes('l\x01\0\x01', hex('f0ffff07'), hex('01000000'), hex('00000000'))],
}
const EACH = 4
/** MiB that are held outside of V8's heap. */
const held = (): number => process.memoryUsage().arrayBuffers / 2 ** 20

test('row 17: a length that little follows takes memory for what has come, on both sides', async () => {
  const limits = { message: GIGANTIC, values: GIGANTIC, handshake: 60_000 }
  for (const stranger of STRANGERS.filter(({ name }) => GIANTS[name])) {
    await using service = await serveEcho(stranger, limits)
    for (const giant of GIANTS[stranger.name]!) {
      const before = held()
      const talks = await Promise.all(Array.from({ length: EACH }, () => Talk.open(stranger, service)))
      // More than a socket keeps: when all of it has left, the other side has read the length.
      for (const { socket } of talks) await new Promise((resolve) => socket.write(bytes(giant, BODY), resolve))
      const grown = held() - before
      assert.ok(grown < 64, `${stranger.name}: ${grown} MiB for ${EACH} times ${giant.toString('hex')}`)
      for (const { socket } of talks) socket.destroy()
    }
    using talk = await Talk.open(stranger, service)
    assert.ok((await talk.ask(stranger.deep(1))).includes(SERVED), stranger.name)
    if (!stranger.greeting) await answersHugely(stranger, limits)
  }
})

/** A service that answers the first call so. */
async function answersHugely({ name, scheme, contract }: Stranger, limits: Partial<Limits>): Promise<void> {
  const path = freshPath('.sock')
  let tell!: (socket: net.Socket) => void
  const said = new Promise<net.Socket>((resolve) => {
    tell = resolve
  })
  const server = net.createServer((socket) => {
    socket.on('error', () => {}).once('data', () => socket.write(bytes(GIANTS[name]![0]!, BODY), () => tell(socket)))
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const client = await connect(contract as typeof anything, `${scheme}:${path}`, { reconnect: false, limits })
  const before = held()
  const call = assert.rejects(client.echo({ value: {} }), { code: 'CONNECTION_LOST' })
  const socket = await said
  assert.ok(held() - before < 64, `${name}: ${held() - before} MiB for one answer`)
  socket.destroy()
  await call
  server.close()
  await client.close()
}
