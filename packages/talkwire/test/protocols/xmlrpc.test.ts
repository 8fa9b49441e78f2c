import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import * as z from 'zod'
import { statusOf } from '../helpers/status.js'
import { testDialect } from '../../compliance/index.js'
import { Random } from '../../compliance/random.js'
import { connect, contract, rpc, serve } from '../../src/index.js'
import { xmlrpc } from '../../src/protocols/xmlrpc.js'
import { fails } from '../helpers/expect.js'

const ADDRESS = 'xmlrpc+http://127.0.0.1:0'
const raw = (address: string): net.Socket => net.connect(Number(/:(\d+)$/.exec(address)![1]), '127.0.0.1')

testDialect({ test, dialect: xmlrpc, address: () => ADDRESS, raw })

// ── strangers ────────────────────────────────────────────────────────────────────────────────────

const key = 'a-token-for-the-tests'
const bank = contract('bank/1', {
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number() }),
    output: z.object({ balance: z.number() }),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  size: rpc({ input: z.array(z.number()), output: z.int() }),
  wipe: rpc({}),
})
const openBank = () =>
  serve(
    bank,
    {
      deposit({ account, amount }, ctx) {
        if (account === 'closed') throw ctx.error('AccountClosed', { since: 'Monday' }, 'no more of this')
        if (account === 'secret') throw new Error('secret')
        return { balance: amount + 1 }
      },
      size: (items) => items.length,
      wipe: () => undefined,
    },
    { listen: ADDRESS, token: key, onError: () => {} },
  )
const echoes = { echo: (value: unknown) => value, add: (a: number, b: number) => a + b }

const httpOf = (address: string): string => address.replace('xmlrpc+', '')

async function python(program: string, ...args: string[]): Promise<string> {
  const child = spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  assert.equal(code, 0, err)
  return out
}

test("xmlrpc: Python's xmlrpc.client calls a contract, and sees what it offers", async () => {
  await using service = await openBank()
  const out = await python(
    `
import sys, xmlrpc.client as x
s = x.ServerProxy(sys.argv[1], headers=[('Authorization', 'Bearer ' + sys.argv[2])], allow_none=True)
print(s.deposit({'account': 'savings', 'amount': 5}))
print(s.size([1, 2.5, 3]), s.wipe())
print(s.system.listMethods())
print(s.system.methodSignature('deposit'), s.system.methodSignature('wipe'), s.system.methodSignature('size'))
print('AccountClosed' in s.system.methodHelp('deposit'), s.system.getCapabilities()['talkwire'])
for args in [('closed', 1), ('secret', 1), ('savings', 'x')]:
    try: s.deposit(dict(zip(('account', 'amount'), args)))
    except x.Fault as f: print(f.faultCode, f.faultString[:40], 'secret' in f.faultString)
for name in ['constructor', 'toString', '__proto__', 'rpc.hello', 'rpc.discover', 'system.exit']:
    try: getattr(s, name)()
    except x.Fault as f: print(f.faultCode, end=' ')
print()
m = x.MultiCall(s)
m.deposit({'account': 'a', 'amount': 1}); m.deposit({'account': 'closed', 'amount': 1}); m.size([]); m.system.multicall([]); m.nobody()
r = m()
print(r[0], r[2])
for i in (1, 3, 4):
    try: r[i]
    except x.Fault as f: print(f.faultCode, end=' ')
try: x.ServerProxy(sys.argv[1]).wipe()
except x.ProtocolError as e: print(e.errcode)
`,
    httpOf(service.addresses[0]!),
    key,
  )
  assert.deepEqual(out.split('\n'), [
    "{'balance': 6}",
    '3 None',
    "['deposit', 'size', 'system.getCapabilities', 'system.listMethods', 'system.methodHelp', 'system.methodSignature', 'system.multicall', 'wipe']",
    "[['struct', 'struct']] [['nil']] [['int', 'array']]",
    "True {'specVersion': 1, 'service': 'bank', 'contract': 'bank/1'}",
    '-32010 [AccountClosed] no more of this False',
    '-32603 [INTERNAL] internal error False',
    '-32602 [INVALID_INPUT] the input of "deposit" d False',
    '-32601 -32601 -32601 -32601 -32601 -32601 ',
    "{'balance': 2} 0",
    '-32010 -32600 -32601 401',
    '',
  ])
})

test("xmlrpc: deadline, trace context and metadata of Python's xmlrpc.client reach the handler as it says them", async () => {
  const told = contract('told/1', {
    told: rpc({ input: z.object({ keys: z.array(z.string()) }), output: z.object({ said: z.array(z.string()), left: z.boolean() }) }),
  })
  const handlers = {
    told: ({ keys }: { keys: string[] }, { metadata, deadline }: any) => ({
      said: keys.map((key) => String(metadata[key])),
      left: deadline !== undefined,
    }),
  }
  await using service = await serve(told, handlers, { listen: ADDRESS, token: false })
  const out = await python(
    `
import sys, xmlrpc.client as x
said = {'traceparent': '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'tracestate': 'a=1', 'baggage': 'k=a%2Cb;p,l=%25', 'talkwire-meta-who': '%C3%A4'}
s = x.ServerProxy(sys.argv[1], headers=[*said.items(), ('talkwire-timeout', '60000')])
t = s.told({'keys': ['traceparent', 'tracestate', 'baggage', 'who']})
print(t['said'] == [*list(said.values())[:3], '\u00e4'], t['left'], x.ServerProxy(sys.argv[1]).told({'keys': ['who']}))
`,
    httpOf(service.addresses[0]!),
  )
  assert.equal(out, "True True {'said': ['undefined'], 'left': False}\n")
})

test("xmlrpc: every type of Python's xmlrpc.client goes there and back", async () => {
  await using service = await serve('echo', echoes, { listen: ADDRESS, token: false })
  const out = await python(
    `
import sys, datetime, xmlrpc.client as x
s = x.ServerProxy(sys.argv[1], allow_none=True, use_builtin_types=True)
values = [0, -1, 2**31-1, -2**31, 1.5, -0.25, 1e300, 5e-324, True, False, None, '', ' a\\n\\tb ', '<&>"]]>', '\\u00e4\\u20ac\\U0001f600',
  datetime.datetime(2026, 2, 28, 23, 59, 58), bytes(range(256)), [], [[], [1, 'a', None]], {}, {'a': {'b': [1]}, '': 1, 'length': 2}]
for v in values:
    assert s.echo(v) == v and type(s.echo(v)) == type(v), (v, s.echo(v))
class Big(int): pass
def dump_big(self, value, write): write('<value><i8>%d</i8></value>' % value)
x.Marshaller.dispatch[Big] = dump_big
for v in [2**31, -2**31-1, 2**53, 2**63-1, -2**63]: assert s.echo(Big(v)) == v, v
assert s.add(2, 5) == 7
assert s.system.methodSignature('add') == 'undef' and s.system.methodHelp('add') == 'add(a, b)'
for bad in ['a\\x00b', 'a\\ufffeb']:
    try: print('taken', s.echo(bad))
    except x.Fault as f: print(f.faultCode, end=' ')
try: s.echo({'__proto__': {'polluted': 1}})
except x.Fault as f: print(f.faultCode, end=' ')
try: s.echo(Big(2**64))
except x.Fault as f: print(f.faultCode)
`,
    httpOf(service.addresses[0]!),
  )
  assert.equal(out, '-32700 -32700 -32008 -32700\n')
  assert.equal(({} as any).polluted, undefined)
})

test("xmlrpc: Python's xmlrpc.server is called, by function and by contract", async () => {
  const child = spawn(
    process.env['TALKWIRE_PYTHON'] ?? 'python3',
    [
      '-c',
      `
import datetime
from xmlrpc.server import SimpleXMLRPCServer
from xmlrpc.client import Fault
s = SimpleXMLRPCServer(('127.0.0.1', 0), allow_none=True, use_builtin_types=True, logRequests=False)
s.register_introspection_functions()
s.register_multicall_functions()
s.register_function(lambda v: v, 'echo')
s.register_function(pow)
s.register_function(lambda v: str(type(v)), 'kind')
s.register_function(lambda v: {'balance': v['amount'] + 1}, 'deposit')
s.register_function(lambda v: len(v), 'size')
s.register_function(lambda: None, 'wipe')
def broken(): raise Fault(42, 'broken <here>')
s.register_function(broken)
def crash(): raise ValueError('oops')
s.register_function(crash)
print(s.server_address[1], flush=True)
s.serve_forever()
`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  try {
    const [port] = (await once(createInterface(child.stdout), 'line')) as [string]
    const address = `xmlrpc+http://127.0.0.1:${port}`
    const client: any = await connect(address)
    const values = [
      0,
      7,
      -(2 ** 31),
      1.5,
      1e300,
      5e-324,
      -0.25,
      true,
      false,
      null,
      '',
      ' a\n\tb ',
      '<&>"]]>',
      'ä€😀',
      [],
      [[1, [null]]],
      {},
    ]
    for (const value of [
      ...values,
      { a: { b: [1] }, constructor: 'x' },
      new Date(Date.UTC(2026, 1, 28, 23, 59, 58)),
      new Uint8Array([0, 1, 255]),
    ])
      assert.deepEqual(await client.echo(value), value)
    assert.equal(await client.kind(2 ** 40), "<class 'int'>")
    assert.equal(await client.pow(2, 10), 1024)
    await assert.rejects(client.broken(), (error: any) => {
      assert.deepEqual([error.code, error.outcome, error.details], ['UNKNOWN', 'ran', { faultCode: 42 }])
      return error.message.includes('broken <here>')
    })
    await assert.rejects(client.crash(), /oops/)
    await assert.rejects(client.echo(2n ** 64n), TypeError)
    await assert.rejects(client.echo('\u0000'), TypeError)
    assert.deepEqual(await client['system.methodHelp']('kind'), '')
    await client.close()

    const typed = await connect(bank, address)
    assert.deepEqual(await typed.deposit({ account: 'a', amount: 1 }), { balance: 2 })
    assert.equal(await typed.size([1, 2]), 2)
    assert.equal(await typed.wipe(), undefined)
    await typed.close()
    const other = contract('other/1', { absent: rpc({}) })
    await assert.rejects(connect(other, address, { reconnect: false }), fails('CONTRACT_MISMATCH'))
    await assert.rejects(connect(`${address}/elsewhere`, { reconnect: false }), fails('METHOD_NOT_FOUND'))
  } finally {
    child.kill()
    await once(child, 'close')
  }
})

test('xmlrpc: another contract, a wrong token and what is no XML-RPC are told at once', async () => {
  await using service = await openBank()
  const at = service.addresses[0]!
  const other = contract('bank/2', { wipe: rpc({}) })
  await assert.rejects(connect(other, at, { token: key, reconnect: false }), fails('CONTRACT_MISMATCH'))
  await assert.rejects(connect(bank, at, { token: 'wrong', reconnect: false }), fails('UNAUTHENTICATED'))
  await assert.rejects(serve(bank, {} as any, { listen: ADDRESS }), TypeError)
  const streams = { *count() {} }
  await assert.rejects(serve('streams', streams, { listen: ADDRESS }), fails('UNSUPPORTED'))
  await using page = await serve('echo', echoes, { listen: 'http://127.0.0.1:0', token: false })
  await assert.rejects(connect(`xmlrpc+${page.addresses[0]!}`, { reconnect: false }), fails('METHOD_NOT_FOUND'))
})

// ── bad input ────────────────────────────────────────────────────────────────────────────────────

const call = (params: string, method = 'echo'): string =>
  `<methodCall><methodName>${method}</methodName><params>${params}</params></methodCall>`
const param = (value: string): string => call(`<param><value>${value}</value></param>`)
const nested = (depth: number): string => `${'<array><data><value>'.repeat(depth)}<int>1</int>${'</value></data></array>'.repeat(depth)}`
const bomb = Array.from({ length: 9 }, (_, index) => `<!ENTITY l${index + 1} "${`&l${index};`.repeat(10)}">`).join('')

async function post(at: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
  const response = await fetch(at, { method: 'POST', body, headers: { 'content-type': 'text/xml', ...headers } })
  return { status: response.status, text: await response.text() }
}
const faultIn = (text: string): number => Number(/<name>faultCode<\/name><value><int>(-?\d+)<\/int>/.exec(text)?.[1])

test('xmlrpc: what is more than 32 bits leaves as the extension, not as an int that old programs would cut', async () => {
  await using service = await serve('echo', echoes, { listen: ADDRESS, token: false })
  const at = `${httpOf(service.addresses[0]!)}/RPC2`
  for (const [value, element] of [
    ['2147483647', 'int'],
    ['-2147483648', 'int'],
    ['2147483648', 'i8'],
    ['-2147483649', 'i8'],
  ])
    assert.match((await post(at, param(`<i8>${value}</i8>`))).text, new RegExp(`<${element}>${value}</${element}>`))
})

test('xmlrpc: bad documents are faults, whatever is wrong with them, and nothing is opened or expanded', async () => {
  await using service = await serve('echo', echoes, { listen: ADDRESS, token: false, limits: { message: 1 << 20, values: 20_000 } })
  const at = `${httpOf(service.addresses[0]!)}/RPC2`
  for (const [code, body] of [
    [-32700, ''],
    [-32700, '<'],
    [-32700, '{"jsonrpc":"2.0"}'],
    [-32700, '<methodCall>'],
    [-32700, '<methodCall/>'],
    [-32700, '<methodResponse/>'],
    [-32700, call('<value><int>1</int></value>')],
    [-32700, call('<param/>')],
    [-32700, call('<param><value/><value/></param>')],
    [-32700, param('<int>1</int><int>2</int>')],
    ...[
      '<int>x</int>',
      '<int/>',
      '<int>1.5</int>',
      '<int>0x10</int>',
      '<i8>9223372036854775808</i8>',
      '<boolean>2</boolean>',
      '<double>nan</double>',
    ]
      .concat(
        '<double>1e999</double>',
        '<dateTime.iso8601>today</dateTime.iso8601>',
        '<dateTime.iso8601>20261332T00:00:00</dateTime.iso8601>',
      )
      .concat(
        '<base64>*</base64>',
        '<thing/>',
        '<string><b/></string>',
        '<struct><a/></struct>',
        '<struct><member><name>a</name></member></struct>',
      )
      .concat('<array/>', '<array><data><int>1</int></data></array>', '&unknown;', '&#0;', '&#xD800;', '\u0001', '<a:b/>')
      .map((value) => [-32700, param(value)] as const),
    [-32700, `<!DOCTYPE a>${param('')}`],
    [-32700, `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>${param('&x;')}`],
    [-32700, `<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd">${param('')}`],
    [-32700, `<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/"> %x;]>${param('')}`],
    [-32700, `<!DOCTYPE a [<!ENTITY l0 "lol">${bomb}]>${param('&l9;')}`],
    [-32700, `<!DOCTYPE a [<!ENTITY a "${'a'.repeat(50_000)}">]>${param('&a;'.repeat(50_000))}`],
    [-32700, `<!DOCTYPE a>`.repeat(10_000)],
    [-32700, `<!DOCTYPE a [${'<!ENTITY a "b">'.repeat(20_000)}`],
    [-32007, param(nested(64))],
    [-32007, param(nested(1000))],
    [-32007, '<a>'.repeat(100_000)],
    [-32002, param(`<array><data>${'<value/>'.repeat(30_000)}</data></array>`)],
    [-32002, `<a ${Array.from({ length: 30_000 }, (_, index) => `a${index}=""`).join(' ')}/>`],
    [-32008, param('<struct><member><name>__proto__</name><value/></member></struct>')],
    [-32008, param('<struct><member><name>constructor</name><value><struct/></value></member></struct>')],
    [-32601, call('', 'constructor')],
    [-32601, call('', 'then')],
    [-32002, call(`<param><value><array><data>${'<value/>'.repeat(101)}</data></array></value></param>`, 'system.multicall')],
    [-32602, call('', 'system.multicall')],
    [-32006, param('a'.repeat(1 << 20))],
  ] as const) {
    const { status, text } = await post(at, body)
    assert.deepEqual([status, faultIn(text)], [200, code], `${body.slice(0, 200)} → ${text}`)
    assert.ok(!text.includes('root:'))
  }
  assert.match((await post(at, param(nested(62)))).text, /<params>/)
  assert.match((await post(at, param('<double>1e21</double>'))).text, /<double>1000000000000000000000\.0<\/double>/)
  assert.match((await post(at, param('<double>-12.5e-8</double>'))).text, /<double>-0\.000000125<\/double>/)
  assert.doesNotMatch((await post(at, param('<dateTime.iso8601>20260101T00:00:00</dateTime.iso8601>'))).text, /2025|T01/)
  assert.equal((await post(at, call('', 'nobody'))).text.match(/<member>/g)!.length, 2)
  // A million references to characters are a million characters, and no more.
  assert.match((await post(at, param('&#65;'.repeat(100_000)))).text, new RegExp(`>${'A'.repeat(100)}`))
  assert.equal(({} as any).polluted, undefined)
})

test('xmlrpc: other encodings are read, other types, paths and pages refused', async () => {
  await using service = await serve('echo', echoes, { listen: ADDRESS, token: false })
  const root = httpOf(service.addresses[0]!)
  const at = `${root}/RPC2`
  const latin = Buffer.from(`<?xml version="1.0" encoding="iso-8859-1"?>${param('ä')}`, 'latin1')
  const wide = Buffer.from(`\ufeff<?xml version="1.0" encoding="utf-16"?>${param('ä')}`, 'utf16le')
  for (const body of [latin, wide, param('ä'), Buffer.from(`\ufeff${param('ä')}`)]) assert.match((await post(at, body)).text, />ä</)
  assert.match((await post(at, Buffer.from(param('ä'), 'latin1'), { 'content-type': 'text/xml; charset=iso-8859-1' })).text, />ä</)
  assert.equal(faultIn((await post(at, Buffer.from(param('ä'), 'latin1'))).text), -32700)
  assert.equal(faultIn((await post(at, `<?xml version="1.0" encoding="utf-7"?>${param('a')}`)).text), -32700)
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json', 'text/xmlish'])
    assert.equal((await post(at, param('a'), { 'content-type': type })).status, 415, type)
  assert.equal((await post(`${root}/other`, param('a'))).status, 404)
  assert.equal(await statusOf(at), 405)
  assert.equal((await post(at, param('a'), { origin: 'http://evil.test' })).status, 403)
})

test('xmlrpc: noise in a document is a fault or an answer, never more', async () => {
  await using service = await serve('echo', echoes, { listen: ADDRESS, token: false })
  const at = `${httpOf(service.addresses[0]!)}/RPC2`
  const whole = Buffer.from(
    param(
      '<struct><member><name>a</name><value><array><data><value><int>1</int></value><value>ä</value></data></array></value></member></struct>',
    ),
  )
  const random = new Random(815)
  for (let round = 0; round < 400; round++) {
    const body = Buffer.from(whole.subarray(0, round % 2 === 0 ? whole.length : random.below(whole.length)))
    for (let changes = random.below(4); changes >= 0 && body.length > 0; changes--) body[random.below(body.length)] = random.below(256)
    const { status, text } = await post(at, body)
    assert.ok(status === 200 && /<(fault|params)>/.test(text), body.toString('latin1'))
  }
})
