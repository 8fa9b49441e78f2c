import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { testDialect } from '../../compliance/index.js'
import { connect, contract, discover, event, rpc, serve, stream } from '../../src/index.js'
import { parse } from '../../src/protocols/varlink-idl.js'
import { varlink } from '../../src/protocols/varlink.js'
import { withDefaults } from '../../src/session/limits.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'
import { lamp } from './fixtures/varlink-stdio.js'

const unixAddress = (): string => `varlink:${freshPath()}`
const tcpAddress = (): string => `varlink://${ownHost}:${freshPort()}`
const whereOf = (address: string): string => address.slice('varlink:'.length)
/** As Python's package has it. */
const pythonOf = (address: string): string =>
  whereOf(address).startsWith('//') ? `tcp:${whereOf(address).slice(2)}` : `unix:${whereOf(address)}`

testDialect({ test, dialect: varlink, address: unixAddress, raw: (address) => net.connect(whereOf(address)) })

const Entry = z.object({ account: z.string(), balance: z.number(), tags: z.array(z.string()).optional() })
const bank = contract('org.example.bank/1', {
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number(), kind: z.enum(['cash', 'card']).optional() }),
    output: Entry,
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  'count.all': rpc({ output: z.int() }),
  watch: rpc({ input: z.object({ account: z.string() }), output: stream(Entry) }),
  note: rpc({ input: z.object({ text: z.string() }), oneway: true }),
  any: rpc({ input: z.object({ value: z.any() }), output: z.object({ value: z.any() }) }),
  news: event(z.object({ text: z.string() })),
})
const notes: string[] = []
const openBank = (listen: string) =>
  serve(
    bank,
    {
      deposit({ account, amount }, ctx) {
        if (account === 'closed') throw ctx.error('AccountClosed', { since: 'Monday' }, 'no more of this')
        if (account === 'secret') throw new Error('secret')
        return { account, balance: amount + 1, tags: ['a'] }
      },
      'count.all': () => notes.length,
      async *watch({ account }) {
        for (let balance = 0; balance < 3; balance++) yield { account, balance }
      },
      note: ({ text }) => void notes.push(text),
      any: (value) => value as { value: unknown },
    },
    { listen, onError: () => {} },
  )

const python = (program: string, ...args: string[]): ChildProcess =>
  spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', program, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })

for (const [kind, address] of [
  ['a Unix socket', unixAddress],
  ['TCP', tcpAddress],
] as const)
  test(`varlink: Python's client reads the interface, calls, listens with more, and is told errors, over ${kind}`, async () => {
    notes.length = 0
    await using service = await openBank(address())
    const child = python(
      `
import sys, varlink
with varlink.Client(sys.argv[1]) as client:
    info = client.get_interfaces()
    print(sorted(info))
    with client.open('org.varlink.service') as s: print(s.GetInfo()['vendor'])
    with client.open('org.example.bank') as bank:
        print(bank.Deposit('a', 5))
        print(bank.Any({'x': [1, None]}))
        bank.Note('ä', _oneway=True)
        print(bank.CountAll())
        print([m for m in bank.Watch('a', _more=True)])
        for account in ('closed', 'secret'):
            try: bank.Deposit(account, 5)
            except varlink.VarlinkError as e: print(e.error(), sorted(e.parameters()) )
        try: bank.Deposit('a', 'x')
        except Exception as e: print(type(e).__name__)
        try: bank.Watch('a')
        except varlink.VarlinkError as e: print(e.error())
        news = bank.News(_more=True)
        print(next(news), flush=True)
        print(next(news))
`,
      pythonOf(service.addresses[0]!),
    )
    const lines: string[] = []
    for await (const line of createInterface(child.stdout!)) {
      lines.push(line)
      // The first answer to News says that it listens.
      if (line === '{}') service.emit('news', { text: 'today' })
    }
    assert.deepEqual(lines, [
      "['org.example.bank', 'org.varlink.service']",
      'Talkwire',
      "{'account': 'a', 'balance': 6.0, 'tags': ['a']}",
      "{'value': {'x': [1, None]}}",
      "{'result': 1}",
      "[{'account': 'a', 'balance': 0.0}, {'account': 'a', 'balance': 1.0}, {'account': 'a', 'balance': 2.0}, {}]",
      "org.example.bank.AccountClosed ['since']",
      "org.talkwire.Error ['code', 'message']",
      'InvalidParameter',
      'org.varlink.service.ExpectedMore',
      '{}',
      "{'text': 'today'}",
    ])
    assert.deepEqual(notes, ['ä'])
  })

const PING = `
# Ping.
interface org.example.ping
type Pong (text: string, deep: ?Pong, kind: (one, two), map: [string]int)
method Ping(text: string, times: ?int) -> (pong: Pong)
method Count(to: int) -> (at: int)
method Nothing() -> ()
error Refused (why: string)
`
const SERVER = `
import sys, varlink
service = varlink.Service(vendor='Example', product='Ping', version='3', interface_dir=sys.argv[2])
class Handler(varlink.RequestHandler): pass
Handler.service = service
class Refused(varlink.VarlinkError):
    def __init__(self, why): varlink.VarlinkError.__init__(self, {'error': 'org.example.ping.Refused', 'parameters': {'why': why}})
@service.interface('org.example.ping')
class Ping:
    def Ping(self, text, times=None):
        if text == 'refuse': raise Refused('not today')
        return {'pong': {'text': text * (times or 1), 'kind': 'one', 'map': {'a b': 1}}}
    def Count(self, to, _more=False):
        for at in range(to): yield {'at': at, '_continues': at + 1 < to}
    def Nothing(self): return {}
with varlink.ThreadingServer(sys.argv[1], Handler) as server:
    print('ready', flush=True)
    server.serve_forever()
`

test("varlink: Python's service is called by a contract, and by one made of its description", async () => {
  const directory = freshPath()
  await mkdir(directory)
  await writeFile(path.join(directory, 'org.example.ping.varlink'), PING)
  const at = unixAddress()
  const child = python(SERVER, pythonOf(at), directory)
  try {
    const first = await Promise.race([once(createInterface(child.stdout!), 'line'), once(child, 'exit')])
    assert.deepEqual(first, ['ready'])
    const ping = contract('org.example.ping/7', {
      Ping: rpc({
        input: z.object({ text: z.string(), times: z.int().optional() }),
        output: z.object({ pong: z.object({ text: z.string(), kind: z.string() }) }),
        errors: { Refused: z.object({ why: z.string() }) },
      }),
      count: rpc({ input: z.object({ to: z.int() }), output: stream(z.object({ at: z.int() })) }),
      nothing: rpc({}),
    })
    const client = await connect(ping, at)
    assert.deepEqual(await client.Ping({ text: 'ä', times: 2 }), { pong: { text: 'ää', kind: 'one' } })
    assert.equal(await client.nothing(), undefined)
    const counted: number[] = []
    for await (const { at: number } of client.count({ to: 300 })) counted.push(number)
    assert.deepEqual(
      counted,
      Array.from({ length: 300 }, (_, index) => index),
    )
    const error = await client.Ping({ text: 'refuse' }).catch((reason: unknown) => reason as any)
    assert.deepEqual([error.code, error.declared, error.outcome, error.details], ['Refused', true, 'ran', { why: 'not today' }])
    await client.close()

    const found = await varlink.discover!(at, { limits: withDefaults() })
    assert.deepEqual([found.id, Object.keys(found.members)], ['org.example.ping/3', ['Ping', 'Count', 'Nothing']])
    const any: any = await connect(found, at)
    assert.equal((await any.Ping({ text: 'x' })).pong.map['a b'], 1)
    await any.close()
    await assert.rejects(connect(contract('org.example.ping/1', { nobody: rpc({}) }), at, { reconnect: false }), fails('CONTRACT_MISMATCH'))
    await assert.rejects(
      connect(contract('org.example.other/1', { nobody: rpc({}) }), at, { reconnect: false }),
      fails('CONTRACT_MISMATCH'),
    )
  } finally {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    await rm(directory, { recursive: true })
    await rm(whereOf(at), { force: true })
  }
})

/** Says texts, each with a NUL behind it, and resolves to so many answers. */
async function exchange(address: string, texts: readonly string[], answers: number): Promise<any[]> {
  const socket = net.connect(whereOf(address))
  socket.on('error', () => {})
  socket.write(texts.map((text) => `${text}\0`).join(''))
  let got = ''
  for await (const chunk of socket.setEncoding('utf8') as AsyncIterable<string>) {
    got += chunk
    if (got.split('\0').length > answers) break
  }
  socket.destroy()
  return got
    .split('\0')
    .slice(0, -1)
    .map((text) => JSON.parse(text) as unknown)
}

test('varlink: wrong calls have the errors of varlink, an upgrade is refused, and what is no message ends its connection only', async () => {
  await using service = await openBank(unixAddress())
  const at = service.addresses[0]!
  const good = '{"method":"org.example.bank.CountAll"}'
  for (const [error, call] of [
    ['InterfaceNotFound', '{"method":"org.nobody.Ping"}'],
    ['MethodNotFound', '{"method":""}'],
    ['MethodNotFound', '{"method":"Deposit"}'],
    ['InvalidParameter', '{"method":"org.example.bank.CountAll","parameters":[]}'],
    ['MethodNotFound', '{"method":"org.example.bank.Nobody"}'],
    ['MethodNotFound', '{"method":"org.example.bank.constructor"}'],
    ['MethodNotFound', '{"method":"org.varlink.service.Nobody"}'],
    ['MethodNotImplemented', '{"method":"org.example.bank.CountAll","upgrade":true}'],
    ['InvalidParameter', '{"method":"org.example.bank.Deposit","parameters":{"account":1}}'],
    ['InvalidParameter', '{"method":"org.example.bank.Deposit","parameters":{"account":"a","amount":1,"more":1}}'],
    ['InvalidParameter', '{"method":"org.varlink.service.GetInterfaceDescription"}'],
    ['InterfaceNotFound', '{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"x"}}'],
    ['ExpectedMore', '{"method":"org.example.bank.Watch","parameters":{"account":"a"}}'],
  ] as const) {
    const [answer, after] = await exchange(at, [call, good], 2)
    assert.equal(answer.error, `org.varlink.service.${error}`, call)
    assert.equal(after.error, undefined)
    if (error === 'MethodNotFound') assert.deepEqual(answer.parameters, { method: (JSON.parse(call) as { method: string }).method })
  }
  const forbidden = '{"method":"org.example.bank.Note","parameters":{"__proto__":1}'
  const [refused, served] = await exchange(at, [`${forbidden}}`, good], 2)
  assert.deepEqual([refused.error, refused.parameters.code, served.error], ['org.talkwire.Error', 'FORBIDDEN_KEY', undefined])
  assert.equal((await exchange(at, [`${forbidden},"oneway":true}`, good], 1))[0].error, undefined)
  for (const garbage of ['', '{', 'null', '[]', '{"method":1}']) assert.deepEqual(await exchange(at, [garbage, good], 1), [], garbage)
  const [, answer] = await exchange(at, ['{"method":"org.example.bank.Note","parameters":{"text":"x"},"oneway":true}', good, good], 2)
  assert.equal(answer.error, undefined)
  const described = (
    await exchange(at, ['{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.example.bank"}}'], 1)
  )[0]
  assert.match(
    described.parameters.description,
    /^method Deposit\(account: string, amount: float, kind: \?\(cash, card\)\) -> \(account: string, balance: float, tags: \?\[\]string\)$/m,
  )
  assert.deepEqual([...parse(described.parameters.description).methods.keys()], ['Deposit', 'CountAll', 'Watch', 'Note', 'Any', 'News'])
  assert.equal(({} as any).polluted, undefined)
})

test('varlink: what is no description of an interface is refused, and what it cannot carry', async () => {
  for (const bad of [
    '',
    'interface',
    'interface a.b method',
    'interface a.b method A(',
    'interface a.b method A() -> x',
    'interface a.b type T $',
    `interface a.b type T ${'[]'.repeat(100)}int`,
    `interface a.b ${'type T int '.repeat(100_000)}`,
  ])
    assert.throws(() => parse(bad), fails('INVALID_MESSAGE'), bad.slice(0, 40))
  const up = contract('up/1', { up: rpc({ input: stream(z.string()) }) })
  await assert.rejects(serve(up, { up() {} }, { listen: unixAddress() }), fails('UNSUPPORTED'))
  const twice = contract('twice/1', { 'a.b': rpc({}), aB: rpc({}) })
  await assert.rejects(serve(twice, { 'a.b'() {}, aB() {} }, { listen: unixAddress() }), fails('UNSUPPORTED'))
  await assert.rejects(serve('plain', { f: () => 1 }, { listen: unixAddress() }), fails('UNSUPPORTED'))
})

// ── stdin and stdout ─────────────────────────────────────────────────────────────────────────────

const COMMAND = [process.execPath, fileURLToPath(new URL('fixtures/varlink-stdio.js', import.meta.url)), 'serve']
const spawned = `varlink+spawn:${COMMAND.join(' ')}`

test("varlink: Python's client calls a service on its stdin and stdout, as through a bridge", async () => {
  const child = python(
    `
import sys, varlink
with varlink.Client.new_with_bridge(sys.argv[1:]) as client, client.open('org.example.lamp') as lamp:
    print(lamp.Add(2, 5)['sum'])
    print([each['at'] for each in lamp.Count(3, _more=True) if each])
    try: lamp.Add(99, 5)
    except varlink.VarlinkError as e: print(e.error(), e.parameters())
`,
    ...COMMAND,
  )
  const lines: string[] = []
  for await (const line of createInterface(child.stdout!)) lines.push(line)
  assert.deepEqual(lines, ['7.0', '[0, 1, 2]', "org.example.lamp.TooMuch {'most': 100}"])
})

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('varlink: a command is started for each connection, called on its stdin and stdout, and ended with it', async () => {
  const client = await connect(lamp, spawned)
  const { sum, pid } = await client.add({ a: 2, b: 5 })
  assert.equal(sum, 7)
  await assert.rejects(client.add({ a: 99, b: 5 }), { code: 'TooMuch' })
  const seen: number[] = []
  for await (const { at } of client.count({ to: 1000 })) seen.push(at)
  assert.equal(seen.length, 1000)
  await client.close()
  while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.deepEqual(Object.keys((await discover(spawned)).members), ['Add', 'Count', 'Die'])
  const other = await connect(lamp, spawned, { reconnect: false })
  await assert.rejects(other.die(), { outcome: 'maybe-ran' })
  await other.close()
  await assert.rejects(connect(lamp, 'varlink+spawn:/no/such/program'), fails('START_FAILED'))
  await assert.rejects(
    serve(lamp, { add: () => ({ sum: 0, pid: 0 }), async *count() {}, die() {} }, { listen: 'varlink+stdio:x' }),
    fails('INVALID_ADDRESS'),
  )
})

test("varlink: what Python's bridge reaches is called through it", async () => {
  await using service = await openBank(unixAddress())
  const bridge = `${process.env['TALKWIRE_PYTHON'] ?? 'python3'} -m varlink.cli bridge --connect ${pythonOf(service.addresses[0]!)}`
  await using client = await connect(bank, `varlink+spawn:${bridge}`)
  assert.equal((await client.deposit({ account: 'a', amount: 5 })).balance, 6)
})
