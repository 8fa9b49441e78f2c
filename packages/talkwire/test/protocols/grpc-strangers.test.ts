/** gRPC with peers that are not ours, unmodified: @grpc/grpc-js and Python's grpcio, in both roles, by the `.proto` that we print. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { test } from 'node:test'
import { codeOf, soon } from '../../compliance/ends.js'
import { connect, contract, rpc, serve } from '../../src/index.js'
import { protoOf } from '../../src/protocols/grpc.js'
import { ownHost } from '../helpers/loopback.js'
import { freshPath, place } from '../helpers/place.js'
import { issue } from '../transports/fixtures/certificates.js'
import { bank, handlersOf } from './fixtures/grpc-bank.js'

const key = 'a-token-for-the-tests'
const proto = `${place}/bank.proto`
writeFileSync(proto, await protoOf(bank))
const loaded = grpc.loadPackageDefinition(loadSync(proto, { longs: Number, enums: String, defaults: true })) as any
const Bank = loaded.bank.v1.Bank
/** With nothing lost or added. */
const Exact = (grpc.loadPackageDefinition(loadSync(proto, { longs: String, enums: String, defaults: false })) as any).bank.v1.Bank

/** What handlers did, to be waited for. */
class Happenings extends EventEmitter {
  private readonly all: string[] = []
  readonly add = (what: string): void => {
    this.all.push(what)
    this.emit('more')
  }
  async wait(what: string): Promise<void> {
    while (!this.all.includes(what)) await soon(once(this, 'more'), what)
  }
}

const everything = {
  text: 'ä€😀',
  number: -0.5,
  whole: -(2 ** 53 - 1),
  small: -100,
  unsigned: 4_000_000_000,
  flag: true,
  big: -(2n ** 63n),
  when: new Date('1969-12-31T23:59:59.999Z'),
  data: new Uint8Array([0, 1, 255]),
  kind: 'LOAN' as const,
  texts: ['', 'a'],
  numbers: [1, 1e300, 5e-324],
  rows: [[], [1, -2]],
  inner: { deepValue: 'x' },
  inners: [{ text: 'a', children: ['b', ''] }],
  byName: { a: 1, '': 0 },
  maybeList: [],
  orNull: null,
  orNothing: null,
  shape: { type: 'square' as const, side: 2 },
  textOrNumber: 7,
  pair: ['a', 0] as [string, number],
  anything: { list: [null, true, 'x', 1.5, { deep: {} }] },
  ratio: 0.5,
}

/** What a client leaves out is what protobuf says it is. */
const sparse = {
  text: 'x',
  kind: 'SAVINGS',
  shape: { circle: { radius: 1 } },
  textOrNumber: { text: '7' },
  inner: {},
  pair: {},
  when: { seconds: 1 },
}
const nothing = {
  number: 0,
  whole: 0,
  small: 0,
  unsigned: 0,
  flag: false,
  data: Buffer.alloc(0),
  texts: [],
  numbers: [],
  rows: [],
  inner: { deepValue: '' },
  inners: [],
  byName: {},
  maybeList: null,
  orNothing: null,
  pair: { item1: '', item2: 0 },
  anything: null,
  ratio: 0,
}

// ── they call us ─────────────────────────────────────────────────────────────────────────────────

const unary = (client: any, method: string, input: object, metadata = new grpc.Metadata(), options: object = {}): Promise<any> =>
  new Promise((resolve, reject) =>
    client[method](input, metadata, options, (error: unknown, answer: unknown) => (error ? reject(error as Error) : resolve(answer))),
  )
const all = async (call: AsyncIterable<any>): Promise<any[]> => {
  const items = []
  for await (const item of call) items.push(item)
  return items
}
function shown(token = key, more: Record<string, string> = {}): grpc.Metadata {
  const metadata = new grpc.Metadata()
  metadata.set('authorization', `Bearer ${token}`)
  for (const [name, value] of Object.entries(more)) metadata.set(name, name.endsWith('-bin') ? Buffer.from(value) : value)
  return metadata
}

test('grpc: @grpc/grpc-js calls every shape, is told of errors, deadlines and events, and cancels', async () => {
  const happenings = new Happenings()
  await using service = await serve(bank, handlersOf(happenings.add), { listen: `grpc://${ownHost}:0`, token: key, onError: () => {} })
  const client = new Bank(service.addresses[0]!.slice('grpc://'.length), grpc.credentials.createInsecure())
  try {
    assert.deepEqual(await unary(client, 'deposit', { account: 'a', amount: 5 }, shown()), { balance: 6 })
    assert.deepEqual(
      (await all(client.watch({ account: 'a' }, shown()))).map(({ balance }) => balance),
      [0, 1, 2, 3, 4],
    )
    const summed = new Promise((resolve, reject) => {
      const call = client.load(shown(), (error: unknown, answer: unknown) => (error ? reject(error as Error) : resolve(answer)))
      for (let amount = 1; amount <= 100; amount++) call.write({ amount })
      call.end()
    })
    assert.deepEqual(await soon(summed, 'the sum'), { count: 100, total: 5050 })
    const chat = client.chat(shown())
    for (const text of ['a', 'b']) {
      chat.write({ text })
      assert.deepEqual((await soon(once(chat, 'data'), 'an answer'))[0], { text: `heard ${text}` })
    }
    chat.end()
    await soon(once(chat, 'status'), 'the end of the chat')

    for (const [account, code, details] of [
      ['closed', grpc.status.FAILED_PRECONDITION, 'no more of this: 100 % ä'],
      ['nobody', grpc.status.NOT_FOUND, 'NotFound'],
      ['secret', grpc.status.INTERNAL, 'internal error'],
    ] as const)
      await assert.rejects(unary(client, 'deposit', { account }, shown()), (error: any) => {
        assert.deepEqual([error.code, error.details], [code, details])
        const status = error.metadata.get('grpc-status-details-bin')[0] as Buffer
        assert.equal(status.includes('type.googleapis.com/bank.v1.AccountClosed'), account === 'closed')
        return true
      })
    const status = async (call: Promise<unknown>): Promise<number> =>
      call.then(
        () => 0,
        (error: any) => error.code as number,
      )
    assert.equal(await status(unary(client, 'deposit', {}, shown('wrong'))), grpc.status.UNAUTHENTICATED)
    assert.equal(await status(unary(client, 'deposit', {})), grpc.status.UNAUTHENTICATED)
    assert.equal(await status(unary(client, 'wait', {}, shown(), { deadline: Date.now() + 100 })), grpc.status.DEADLINE_EXCEEDED)
    await happenings.wait('aborted')
    const { value: told } = await unary(client, 'told', {}, shown(key, { who: 'me', 'trace-bin': 'ä' }), { deadline: Date.now() + 60_000 })
    assert.deepEqual([told.who, told.trace, told.deadline, 'authorization' in told], ['me', 'ä', 'later', false])

    const endless = client.watch({ account: 'endless' }, shown()).on('error', () => {})
    await soon(once(endless, 'data'), 'an element')
    endless.cancel()
    await happenings.wait('watched')
    const news = client.overdrawn({}, shown()).on('error', () => {})
    await soon(once(news, 'metadata'), 'the head of the events')
    service.emit('overdrawn', { account: 'a' })
    assert.deepEqual((await soon(once(news, 'data'), 'the event'))[0], { account: 'a' })
    news.cancel()
    const { when, big, ...rest } = await unary(client, 'echo', sparse, shown())
    assert.deepEqual([when, big], [{ seconds: 1, nanos: 0 }, 0])
    assert.deepEqual(rest, {
      ...nothing,
      text: 'x',
      kind: 'SAVINGS',
      shape: { circle: { type: 'circle', radius: 1 } },
      textOrNumber: { text: '7' },
    })
  } finally {
    client.close()
  }
})

async function pythonRuns(...args: string[]): Promise<{ child: ChildProcess; lines: Interface; rest: () => Promise<string[]> }> {
  const script = fileURLToPath(new URL('../../../test/protocols/fixtures/grpc_bank.py', import.meta.url))
  const child = spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', [script, proto, args[0]!, place, ...args.slice(1)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface(child.stdout)
  return {
    child,
    lines,
    async rest() {
      const told: string[] = []
      for await (const line of lines) told.push(line)
      return told
    },
  }
}

test("grpc: Python's grpcio calls by what protoc makes of the .proto, and reads reflection", async () => {
  await using service = await serve(
    bank,
    handlersOf(() => {}),
    { listen: `grpc://${ownHost}:0`, token: key, onError: () => {} },
  )
  const { child, lines } = await pythonRuns('client', service.addresses[0]!.slice('grpc://'.length), key)
  const told: string[] = []
  const over = once(child, 'close')
  for await (const line of lines) {
    if (line === 'listening') service.emit('overdrawn', { account: 'b' })
    else told.push(line)
  }
  assert.deepEqual((await over)[0], 0)
  assert.deepEqual(told, [
    '6.0',
    '[0.0, 1.0, 2.0, 3.0, 4.0]',
    'count: 2',
    'total: 5',
    '',
    "['heard x', 'heard y']",
    'FAILED_PRECONDITION | no more of this: 100 % ä | True True False',
    'NOT_FOUND | NotFound | False False False',
    'INTERNAL | internal error | False False False',
    'UNAUTHENTICATED DEADLINE_EXCEEDED UNIMPLEMENTED INVALID_ARGUMENT ',
    'me ä later False False',
    '0.0 1.0',
    'b',
    "['bank.v1.Bank', 'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection']",
    "['Deposit', 'Balance', 'Watch', 'Load', 'Chat', 'Wait', 'Told', 'Echo', 'Overdrawn']",
    'True',
    'grpc.health.v1.HealthCheckRequest',
  ])
})

// ── we call them ─────────────────────────────────────────────────────────────────────────────────

/** What both servers do alike. */
async function callAll(address: string, waits: Promise<unknown>, aborted: Promise<unknown>): Promise<void> {
  const client: any = await connect(bank, address, { reconnect: false })
  try {
    assert.deepEqual(await client.deposit({ account: 'a', amount: 5 }), { balance: 6 })
    assert.deepEqual(
      (await all(client.watch({ account: 'a' }))).map(({ balance }) => balance),
      [0, 1, 2, 3, 4],
    )
    assert.deepEqual(await client.load([{ amount: 2 }, { amount: 3, note: 'x' }]), { count: 2, total: 5 })
    assert.deepEqual(await all(client.chat([{ text: 'a' }, { text: 'b' }])), [{ text: 'heard a' }, { text: 'heard b' }])
    await assert.rejects(client.deposit({ account: 'closed', amount: 1 }), (error: any) => {
      assert.deepEqual([error.code, error.outcome, error.declared], ['FAILED_PRECONDITION', 'ran', false])
      return error.message.includes('closed: 100 % ä')
    })
    assert.equal(await codeOf(client.deposit({ account: 'crash', amount: 1 })), 'UNKNOWN/ran')
    const breaks = client.watch({ account: 'breaks' })
    for (let index = 0; index < 5; index++) assert.deepEqual((await breaks.next()).value, { balance: index })
    assert.equal(await codeOf(breaks.next()), 'DATA_LOSS/ran')
    assert.equal(await codeOf(client.balance({ account: 'a' })), 'METHOD_NOT_FOUND/not-sent')
    const told = await client.told(undefined, { metadata: { who: 'ä', plain: 'x y' }, timeout: 60_000 })
    assert.deepEqual([told['who-bin'], told.plain], ['ä', 'x y'])
    assert.deepEqual(await client.echo(everything), everything)
    const controller = new AbortController()
    const call = client.wait({ account: 'a' }, { signal: controller.signal, timeout: 60_000 })
    await soon(waits, 'the handler waits')
    controller.abort(new Error('changed my mind'))
    await assert.rejects(call, /changed my mind/)
    await soon(aborted, 'the handler is told')
  } finally {
    await client.close()
  }
}

test('grpc: a server of @grpc/grpc-js is called', async () => {
  const happenings = new Happenings()
  const server = new grpc.Server()
  const failing = (code: grpc.status, details: string) => ({ code, details })
  server.addService(Exact.service, {
    deposit({ request }: any, done: any) {
      if (request.account === 'closed') return done(failing(grpc.status.FAILED_PRECONDITION, 'closed: 100 % ä'))
      if (request.account === 'crash') return done(new Error('oops'))
      done(null, { balance: request.amount + 1 })
    },
    watch(call: any) {
      for (let balance = 0; balance < 5; balance++) call.write({ balance })
      if (call.request.account === 'breaks') call.emit('error', failing(grpc.status.DATA_LOSS, 'the ledger is torn'))
      else call.end()
    },
    async load(call: any, done: any) {
      const amounts = (await all(call)).map(({ amount }) => amount)
      done(null, { count: amounts.length, total: amounts.reduce((sum, each) => sum + each, 0) })
    },
    chat(call: any) {
      call.on('data', ({ text }: any) => call.write({ text: `heard ${text}` }))
      call.on('end', () => call.end())
    },
    wait(call: any, _done: any) {
      happenings.add('waits')
      call.on('cancelled', () => happenings.add('aborted'))
    },
    told: ({ metadata }: any, done: any) =>
      done(null, { value: Object.fromEntries(Object.entries(metadata.getMap()).map(([name, value]) => [name, String(value)])) }),
    echo: ({ request }: any, done: any) => done(null, request),
  })
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${ownHost}:0`, grpc.ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound)))
  })
  try {
    await callAll(`grpc://${ownHost}:${port}`, happenings.wait('waits'), happenings.wait('aborted'))
  } finally {
    server.forceShutdown()
  }
})

test("grpc: a server of Python's grpcio is called, over TCP and a Unix socket", async () => {
  const path = freshPath('.sock')
  for (const where of [`${ownHost}:0`, `unix:${path}`]) {
    const { child, lines } = await pythonRuns('server', where)
    const over = once(child, 'close')
    try {
      const said = lines[Symbol.asyncIterator]()
      const port = String((await soon(said.next(), 'the port')).value)
      const waits = soonLine(said, 'waits True')
      const aborted = waits.then(() => soonLine(said, 'aborted'))
      await callAll(where.startsWith('unix:') ? `grpc+${where}` : `grpc://${ownHost}:${port}`, waits, aborted)
    } finally {
      child.stdin!.end()
      await over
    }
  }
})

async function soonLine(lines: AsyncIterator<string>, wanted: string): Promise<void> {
  const { value } = await lines.next()
  assert.equal(value, wanted)
}

// ── over other sockets ───────────────────────────────────────────────────────────────────────────

test('grpc+unix: @grpc/grpc-js calls over the socket, without a token: the kernel says who it is', async () => {
  const path = freshPath('.sock')
  await using service = await serve(
    bank,
    handlersOf(() => {}),
    { listen: `grpc+unix:${path}` },
  )
  assert.equal(service.token, undefined)
  const client = new Bank(`unix:${path}`, grpc.credentials.createInsecure())
  try {
    assert.deepEqual(await unary(client, 'deposit', { account: 'a', amount: 5 }), { balance: 6 })
  } finally {
    client.close()
  }
  const own = await connect(bank, service.addresses[0]!)
  assert.deepEqual(await own.deposit({ account: 'a', amount: 1 }), { balance: 2 })
  await own.close()
  const other = contract('other/1', { absent: rpc({}) })
  assert.equal(await codeOf(connect(other, service.addresses[0]!, { reconnect: false })), 'CONTRACT_MISMATCH/not-sent')
})

test('grpcs: @grpc/grpc-js and our client call over TLS, and trust nobody else', async () => {
  const authority = issue({ name: 'Test Authority', authority: true })
  const { key: secret, cert } = issue({ name: 'bank', hosts: ['localhost', ownHost], issuer: authority })
  await using service = await serve(
    bank,
    handlersOf(() => {}),
    { listen: `grpcs://${ownHost}:0`, token: key, tls: { key: secret, cert } },
  )
  const at = service.addresses[0]!
  const client = new Bank(at.slice('grpcs://'.length), grpc.credentials.createSsl(Buffer.from(authority.cert)))
  try {
    assert.deepEqual(await unary(client, 'deposit', { account: 'a', amount: 5 }, shown()), { balance: 6 })
  } finally {
    client.close()
  }
  const own = await connect(bank, at, { token: key, tls: { ca: authority.cert } })
  assert.deepEqual(await own.deposit({ account: 'a', amount: 1 }), { balance: 2 })
  await own.close()
  assert.equal(await codeOf(connect(bank, at, { token: key, reconnect: false })), 'UNAUTHENTICATED/not-sent')
  assert.equal(
    await codeOf(connect(bank, at, { token: 'wrong', tls: { ca: authority.cert }, reconnect: false })),
    'UNAUTHENTICATED/not-sent',
  )
})
