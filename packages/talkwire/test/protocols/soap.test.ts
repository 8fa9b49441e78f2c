import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import net from 'node:net'
import { test } from 'node:test'
import * as npmSoap from 'soap'
import * as z from 'zod'
import { statusOf } from '../helpers/status.js'
import { testDialect } from '../../compliance/index.js'
import { Random } from '../../compliance/random.js'
import { connect, contract, event, rpc, serve, stream } from '../../src/index.js'
import { soap } from '../../src/protocols/soap.js'
import { fails } from '../helpers/expect.js'

const ADDRESS = 'soap+http://127.0.0.1:0'
const raw = (address: string): net.Socket => net.connect(Number(/:(\d+)$/.exec(address)![1]), '127.0.0.1')

testDialect({ test, dialect: soap, address: () => ADDRESS, listenOptions: { limits: { handshake: 1000 } }, raw })

// ── strangers ────────────────────────────────────────────────────────────────────────────────────

const key = 'a-token-for-the-tests'
const thing = z.object({
  text: z.string(),
  number: z.number(),
  flag: z.boolean(),
  numbers: z.array(z.int()),
  rows: z.array(z.array(z.string())),
  inners: z.array(z.object({ text: z.string(), maybe: z.string().optional() })),
  none: z.string().nullable(),
})
const bank = contract('bank/1', {
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number() }),
    output: z.object({ balance: z.number() }),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  // Not `double`: npm's soap takes an element of that name for the type.
  twice: rpc({ input: z.number(), output: z.number() }),
  echo: rpc({ input: thing, output: thing }),
  wipe: rpc({}),
})
const handlers = {
  deposit({ account, amount }: { account: string; amount: number }, ctx: any) {
    if (account === 'closed') throw ctx.error('AccountClosed', { since: '<Monday>' }, 'no more of this')
    if (account === 'secret') throw new Error('secret')
    return { balance: amount + 1 }
  },
  twice: (value: number) => 2 * value,
  echo: (value: z.infer<typeof thing>) => value,
  wipe: () => undefined,
}
const open = (token: string | false = key) => serve(bank, handlers, { listen: ADDRESS, token, onError: () => {} })
const something = {
  text: ' ä<&>"]]>\n€😀 ',
  number: -1.5e-7,
  flag: true,
  numbers: [1, -2, 2 ** 40],
  rows: [['a', 'b'], [], ['c']],
  inners: [{ text: 'x' }, { text: '', maybe: 'y' }],
  none: null,
}
const urlOf = (service: { addresses: readonly string[] }): string => `${service.addresses[0]!.replace('soap+', '')}/bank`

test('soap: zeep calls a contract from its WSDL, in SOAP 1.1 and 1.2', async () => {
  await using service = await open()
  const child = spawn(
    process.env['TALKWIRE_PYTHON'] ?? 'python3',
    [
      '-c',
      `
import sys, requests, zeep
from zeep.transports import Transport
session = requests.Session()
session.headers['Authorization'] = 'Bearer ' + sys.argv[2]
c = zeep.Client(sys.argv[1] + '?wsdl', transport=Transport(session=session))
for port in ['banksoap', 'banksoap12']:
    s = c.bind('bank', port)
    print(s.deposit(account='savings', amount=5), s.twice(21), s.wipe())
    t = s.echo(text='\\u00e4<&>', number=-1.5, flag=True, numbers=[1, 2**40], rows=[{'item': ['a', 'b']}, {'item': []}], inners=[{'text': 'x'}, {'text': '', 'maybe': 'y'}], none=zeep.xsd.Nil)
    print(ascii(t.text), t.number, t.flag, t.numbers, [r and r.item for r in t.rows], [(i.text, i.maybe) for i in t.inners], t.none)
    for account in ['closed', 'secret']:
        try: s.deposit(account=account, amount=1)
        except zeep.exceptions.Fault as f: print(f.code, f.message, f.detail[0][0].text if len(f.detail[0]) else f.detail[0].get('outcome'))
try: zeep.Client(sys.argv[1] + '?wsdl')
except requests.HTTPError as e: print(e.response.status_code)
`,
      urlOf(service),
      key,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  assert.equal(code, 0, err)
  const told = (client: string, server: string): string[] => [
    '6.0 42.0 None',
    "'\\xe4<&>' -1.5 True [1, 1099511627776] [['a', 'b'], None] [('x', None), (None, 'y')] None",
    `${client} [AccountClosed] no more of this <Monday>`,
    `${server} [INTERNAL] internal error ran`,
  ]
  assert.deepEqual(out.split('\n'), [...told('s:Client', 's:Server'), ...told('s:Sender', 's:Receiver'), '401', ''])
})

test("soap: npm's soap calls a contract from its WSDL", async () => {
  await using service = await open()
  for (const forceSoap12Headers of [false, true]) {
    const client: any = await npmSoap.createClientAsync(`${urlOf(service)}?wsdl`, {
      wsdl_headers: { authorization: `Bearer ${key}` },
      forceSoap12Headers,
    })
    client.setSecurity(new npmSoap.BearerSecurity(key))
    const [{ result }] = await client.depositAsync({ account: 'savings', amount: 5 })
    assert.deepEqual(result, { balance: 6 })
    assert.equal((await client.twiceAsync({ input: 21 }))[0].result, 42)
    await assert.rejects(client.depositAsync({ account: 'closed', amount: 1 }), /AccountClosed/)
  }
})

test("soap: npm's soap is a service that a contract calls", async () => {
  let wsdl = ''
  {
    await using model = await open(false)
    wsdl = await (await fetch(`${urlOf(model)}?wsdl`)).text()
  }
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const port = (server.address() as net.AddressInfo).port
  const methods = {
    deposit({ account, amount }: any) {
      if (account === 'closed') throw { Fault: { faultcode: 'soap:Server', faultstring: 'closed <for> good' } }
      return { result: { balance: Number(amount) + 1 } }
    },
    twice: ({ input }: any) => ({ result: 2 * Number(input) }),
    wipe: () => ({}),
  }
  npmSoap.listen(
    server,
    '/bank',
    { bank: { banksoap: methods, banksoap12: methods } },
    wsdl.replaceAll(/location="[^"]*"/g, `location="http://127.0.0.1:${port}/bank"`),
  )
  try {
    const client = await connect(bank, `soap+http://127.0.0.1:${port}`, { reconnect: false })
    assert.deepEqual(await client.deposit({ account: 'savings', amount: 5 }), { balance: 6 })
    assert.equal(await client.twice(21), 42)
    assert.equal(await client.wipe(), undefined)
    await assert.rejects(client.deposit({ account: 'closed', amount: 5 }), /closed <for> good/)
    await client.close()
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

test('soap: whatever a contract holds goes there and back, and what XML Schema cannot say is refused', async () => {
  await using service = await open()
  const client = await connect(bank, service.addresses[0]!, { token: key })
  assert.deepEqual(await client.echo(something), something)
  const empty = { ...something, numbers: [], rows: [], inners: [], none: 'x' }
  assert.deepEqual(await client.echo(empty), empty)
  await assert.rejects(client.echo({ ...something, text: '\u0000' }), TypeError)
  await assert.rejects(client.echo({ ...something, other: 1 } as any), TypeError)
  await client.close()
  const other = contract('bank/2', { wipe: rpc({}) })
  await assert.rejects(connect(other, service.addresses[0]!, { token: key, reconnect: false }), fails('CONTRACT_MISMATCH'))
  await assert.rejects(connect(bank, service.addresses[0]!, { token: 'wrong', reconnect: false }), fails('UNAUTHENTICATED'))
  for (const input of [z.union([z.string(), z.number()]), z.record(z.string(), z.number()), z.unknown(), z.tuple([z.string()])])
    await assert.rejects(
      serve(contract('odd/1', { odd: rpc({ input }) }), { odd: () => undefined }, { listen: ADDRESS }),
      fails('UNSUPPORTED'),
    )
  const news = contract('news/1', { news: event(z.string()) })
  await assert.rejects(serve(news, {}, { listen: ADDRESS }), fails('UNSUPPORTED'))
  const count = contract('count/1', { count: rpc({ output: stream(z.number()) }) })
  await assert.rejects(serve(count, { async *count() {} }, { listen: ADDRESS }), fails('UNSUPPORTED'))
  await assert.rejects(serve('plain', { add: () => 1 }, { listen: ADDRESS }), fails('UNSUPPORTED'))
})

// ── bad input ────────────────────────────────────────────────────────────────────────────────────

const S11 = 'http://schemas.xmlsoap.org/soap/envelope/'
const S12 = 'http://www.w3.org/2003/05/soap-envelope'
const envelope = (body: string, { uri = S11, header = '', before = '' } = {}): string =>
  `${before}<s:Envelope xmlns:s="${uri}" xmlns:t="urn:talkwire:bank:1">${header}<s:Body>${body}</s:Body></s:Envelope>`
const twice = (value: string): string => `<t:twice><t:input>${value}</t:input></t:twice>`

async function post(
  at: string,
  body: string | Buffer,
  type = 'text/xml',
): Promise<{ status: number; text: string; code: string | undefined }> {
  const response = await fetch(at, { method: 'POST', body, headers: { 'content-type': type } })
  const text = await response.text()
  return { status: response.status, text, code: / code="(\w+)"/.exec(text)?.[1] }
}

test('soap: bad documents are faults, whatever is wrong with them, and nothing is opened or expanded', async () => {
  await using service = await serve(bank, handlers, { listen: ADDRESS, token: false, limits: { message: 1 << 20, values: 20_000 } })
  const at = urlOf(service)
  const bomb = Array.from({ length: 9 }, (_, index) => `<!ENTITY l${index + 1} "${`&l${index};`.repeat(10)}">`).join('')
  for (const [code, body] of [
    ['INVALID_MESSAGE', ''],
    ['INVALID_MESSAGE', '<a/>'],
    ['INVALID_MESSAGE', '<a:b/>'],
    ['INVALID_MESSAGE', envelope('')],
    ['INVALID_MESSAGE', envelope(twice('1') + twice('2'))],
    ['INVALID_MESSAGE', envelope(twice('1'), { uri: 'urn:else' })],
    ['INVALID_MESSAGE', envelope(twice('&x;'), { before: '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>' })],
    ['INVALID_MESSAGE', envelope(twice('&l9;'), { before: `<!DOCTYPE a [<!ENTITY l0 "1">${bomb}]>` })],
    ['INVALID_MESSAGE', envelope(twice('1'), { before: '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/">' })],
    ['UNSUPPORTED', envelope(twice('1'), { header: '<s:Header><t:x s:mustUnderstand="1"/></s:Header>' })],
    ['METHOD_NOT_FOUND', envelope('<t:constructor/>')],
    ['METHOD_NOT_FOUND', envelope('<twice/>')],
    ['INVALID_INPUT', envelope('<t:twice/>')],
    ['INVALID_INPUT', envelope('<t:twice>1</t:twice>')],
    ['INVALID_INPUT', envelope(twice('<t:a/>'))],
    ['INVALID_INPUT', envelope('<t:twice><t:input>1</t:input><t:input>2</t:input></t:twice>')],
    ['INVALID_INPUT', envelope('<t:twice><t:input>1</t:input><t:other>1</t:other></t:twice>')],
    ['INVALID_INPUT', envelope('<t:twice><t:__proto__>1</t:__proto__></t:twice>')],
    ...['', 'x', 'NaN', 'INF', '1e999', '0x10'].map((value) => ['INVALID_INPUT', envelope(twice(value))] as const),
    ['TOO_DEEP', envelope('<a>'.repeat(1000))],
    ['TOO_DEEP', envelope('<a>'.repeat(100_000))],
    ['LIMIT_EXCEEDED', envelope(`<t:echo>${'<t:numbers>1</t:numbers>'.repeat(30_000)}</t:echo>`)],
    ['MESSAGE_TOO_LARGE', 'a'.repeat((1 << 20) + 1)],
  ] as const) {
    const told = await post(at, body)
    assert.deepEqual([told.status, told.code], [500, code], `${body.slice(0, 200)} → ${told.text}`)
  }
  assert.match((await post(at, envelope(twice(' 21 '), { header: '<s:Header><t:x/></s:Header>' }))).text, />42</)
  const newer = await post(at, envelope(twice('x'), { uri: S12 }), 'application/soap+xml')
  assert.equal(newer.status, 400)
  assert.match(newer.text, /<s:Value>s:Sender</)
  assert.ok((await post(at, envelope(twice('21'), { uri: S12 }), 'text/xml')).text.includes(S12), 'as it was asked')
  for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json'])
    assert.equal((await post(at, envelope(twice('1')), type)).status, 415, type)
  assert.equal((await post(`${at}/other`, envelope(twice('1')))).status, 404)
  assert.equal(await statusOf(at), 405)
  assert.equal(({} as any).polluted, undefined)
})

test('soap: noise in a document is a fault or an answer, never more', async () => {
  await using service = await open(false)
  const at = urlOf(service)
  const whole = Buffer.from(envelope(twice('21')))
  const random = new Random(1717)
  for (let round = 0; round < 200; round++) {
    const body = Buffer.from(whole.subarray(0, round % 2 === 0 ? whole.length : random.below(whole.length)))
    for (let changes = random.below(4); changes >= 0 && body.length > 0; changes--) body[random.below(body.length)] = random.below(256)
    const { text } = await post(at, body)
    assert.ok(/<s:Fault>|twiceResponse/.test(text), body.toString('latin1'))
  }
})
