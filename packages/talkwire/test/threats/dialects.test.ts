/** Rows 1, 2, 3, 11, 12, 13, 15, 16, 17, 20, 33 against every protocol at once, by hand. What is special to one is in its own test. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { after, before, mock, test } from 'node:test'
import * as z from 'zod'
import { connect, contract, rpc, serve, type RunningService, type ServeOptions, type TalkwireError } from '../../src/index.js'
import { Pace, type SocketConnection } from '../../src/protocols/socket-site.js'
import { dial, memoryOf, staysHealthy, startVictim, until, type Victim } from './attack.js'
import { SECRET } from './secret.js'
import { freshPath } from '../helpers/place.js'

const token = 'a-token-for-the-tests'

/** How a protocol calls a function of the victim with numbers and texts. */
interface Protocol {
  readonly scheme: string
  readonly path: string
  readonly type: string
  body(method: string, args: readonly (number | string)[]): string
}

const rpcCall = (method: string, params: unknown): string => JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
const xmlValue = (value: number | string): string =>
  `<param><value>${typeof value === 'number' ? `<int>${value}</int>` : `<string>${escaped(value)}</string>`}</value></param>`

const PROTOCOLS: readonly Protocol[] = [
  { scheme: 'http', path: '/victim/', type: 'application/json', body: (_, args) => JSON.stringify(args) },
  { scheme: 'http', path: '/rpc', type: 'application/json', body: rpcCall },
  {
    scheme: 'mcp+http',
    path: '/mcp',
    type: 'application/json',
    body: (name, args) =>
      rpcCall('tools/call', { name, arguments: Object.fromEntries(args.map((arg, index) => [PARAMETERS[index], arg])) }),
  },
  {
    scheme: 'xmlrpc+http',
    path: '/',
    type: 'text/xml',
    body: (method, args) =>
      `<?xml version="1.0"?><methodCall><methodName>${escaped(method)}</methodName><params>${args.map(xmlValue).join('')}</params></methodCall>`,
  },
]
/** Of the victim's functions, as MCP gives them. */
const PARAMETERS = ['a', 'b']
const SCHEMES = ['http', 'ws', 'mcp+http', 'xmlrpc+http']
const name = ({ scheme, path }: Protocol): string => `${scheme} ${path}`

let victim: Victim
before(async () => {
  const listen = [`unix:${freshPath('.sock')}`, ...SCHEMES.map((scheme) => `${scheme}://127.0.0.1:0`)]
  victim = await startVictim({ listen, token, plain: true, limits: { handshake: 2000 } })
})
after(() => victim.end())

const addressOf = (scheme: string): string => victim.addresses.find((address) => address.startsWith(`${scheme}:`))!
const hostOf = (scheme: string): string => /\/\/([^/]+)/.exec(addressOf(scheme))![1]!
const tcpOf = (scheme: string): string => `tcp://${hostOf(scheme)}`

/** Sends bytes, and resolves to all that comes back until the other side ends it. */
async function exchange(address: string, text: string): Promise<string> {
  const socket = await dial(address)
  let got = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => (got += chunk))
  socket.on('error', () => {})
  socket.write(text)
  await new Promise((resolve) => socket.once('close', resolve))
  return got
}

type Headers = Readonly<Record<string, string>>
const headersOf = (scheme: string, headers: Headers): Headers => ({
  host: hostOf(scheme),
  authorization: `Bearer ${token}`,
  connection: 'close',
  ...headers,
})
const head = (line: string, headers: Headers): string =>
  `${line} HTTP/1.1\r\n${Object.entries(headers)
    .map(([key, value]) => `${key}: ${value}\r\n`)
    .join('')}\r\n`

/** A call; with headers that replace the usual ones. */
async function call(
  protocol: Protocol,
  method: string,
  args: readonly (number | string)[],
  headers: Headers = {},
): Promise<{ status: number; text: string }> {
  const { scheme, path, type } = protocol
  const body = protocol.body(method, args)
  const target = path.endsWith('/') && scheme === 'http' ? path + encodeURIComponent(method) : path
  const all = headersOf(scheme, { 'content-type': type, 'content-length': String(Buffer.byteLength(body)), ...headers })
  const text = await exchange(tcpOf(scheme), head(`POST ${target}`, all) + body)
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), text }
}

const upgrade = (headers: Headers): Promise<string> =>
  exchange(
    tcpOf('ws'),
    head('GET /', {
      ...headersOf('ws', headers),
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
    }),
  )

test('rows 1 to 3: no page of others calls anything, whatever it sends and under whatever name it reaches us', async () => {
  const before = (await victim.health()).handled
  for (const protocol of PROTOCOLS) {
    const own = hostOf(protocol.scheme)
    for (const origin of ['null', 'http://evil.test', `http://evil.${own}`])
      for (const type of ['text/plain', 'application/x-www-form-urlencoded', protocol.type])
        assert.equal(
          (await call(protocol, 'add', [2, 5], { origin, 'content-type': type })).status,
          403,
          `${name(protocol)} ${origin} ${type}`,
        )
    for (const type of ['text/plain', 'application/x-www-form-urlencoded'])
      assert.equal((await call(protocol, 'add', [2, 5], { 'content-type': type })).status, 415, `${name(protocol)} ${type}`)
    for (const host of ['evil.test', `evil.test:${own.split(':')[1]}`, `${own}.evil.test`])
      assert.equal((await call(protocol, 'add', [2, 5], { host })).status, 403, `${name(protocol)} ${host}`)
    for (const authorization of ['', 'Bearer wrong', `Basic ${token}`])
      assert.equal((await call(protocol, 'add', [2, 5], { authorization })).status, 401, `${name(protocol)} ${authorization}`)
  }
  for (const headers of [{ origin: 'null' }, { origin: 'http://evil.test' }, { host: 'evil.test' }]) {
    const heard = await upgrade(headers)
    assert.match(heard, /^HTTP\/1\.1 403 /)
    assert.equal(heard.includes('\x81'), false, 'no frame')
  }
  assert.match(await upgrade({ authorization: '' }), /^HTTP\/1\.1 401 /)
  assert.equal((await victim.health()).handled, before)
  for (const protocol of PROTOCOLS) assert.match((await call(protocol, 'add', [2, 5])).text, /\b7\b/, name(protocol))
  assert.equal((await victim.health()).handled, before + PROTOCOLS.length)
})

test('row 12: inherited names are no methods', async () => {
  const names = Object.getOwnPropertyNames(Object.prototype).concat(['then', 'prototype', 'call', 'apply', 'bind'])
  for (const protocol of PROTOCOLS)
    for (const method of names) {
      const { text } = await call(protocol, method, [])
      assert.match(text, /METHOD_NOT_FOUND|-32601|-32602/, `${name(protocol)} ${method}: ${text}`)
    }
})

test('row 33: what a handler throws stays inside', async () => {
  for (const protocol of PROTOCOLS)
    for (const how of ['throw', 'reject', 'text', 'result', 'else']) {
      const { text } = await call(protocol, 'fail', [how])
      assert.match(text, /internal error|INVALID_OUTPUT|cannot be sent/, `${name(protocol)} ${how}: ${text}`)
      for (const secret of [SECRET, 'password', 'victim.js', '    at '])
        assert.equal(text.includes(secret), false, `${name(protocol)} ${how}: ${text}`)
    }
})

test('row 17: lengths that nothing follows cost nothing, and too large ones are refused at once', async (t) => {
  for (const protocol of PROTOCOLS) {
    const { text } = await call(protocol, 'add', [2, 5], { 'content-length': String(2 ** 31) })
    assert.match(text, /^HTTP\/1\.1 413 |more than/, name(protocol))
  }
  await staysHealthy(t, victim, async () => {
    const before = memoryOf(victim.pid)
    const sockets: net.Socket[] = []
    for (const { scheme, path, type } of PROTOCOLS)
      for (let n = 0; n < 50; n++) {
        const socket = await dial(tcpOf(scheme))
        socket.on('error', () => {}).resume()
        socket.write(
          head(
            `POST ${path === '/victim/' ? '/victim/echo' : path}`,
            headersOf(scheme, { 'content-type': type, 'content-length': '60000000' }),
          ),
        )
        sockets.push(socket)
      }
    await Promise.all(sockets.map(async (socket) => socket.closed || once(socket, 'close')))
    assert.ok(memoryOf(victim.pid) - before < 64, 'memory follows what has arrived')
  })
})

test('row 20: silent clients and ones with a byte a second are gone, on every listener, and an honest one connects meanwhile', async (t) => {
  await staysHealthy(t, victim, async () => {
    const each = 100
    let gone = 0
    const sockets: net.Socket[] = []
    for (const scheme of SCHEMES)
      for (let n = 0; n < each; n++) {
        const socket = await dial(tcpOf(scheme))
        socket
          .on('error', () => {})
          .once('close', () => gone++)
          .resume()
        sockets.push(socket)
      }
    const text = 'POST / HTTP/1.1\r\nHost: x\r\n'
    let at = 0
    const drip = setInterval(() => {
      for (let n = 0; n < sockets.length; n += 2) if (!sockets[n]!.destroyed) sockets[n]!.write(text[at % text.length]!)
      at++
    }, 500)
    for (const scheme of SCHEMES) {
      await using client = await connect<{ add(a: number, b: number): number }>(addressOf(scheme), { token, reconnect: false })
      assert.equal(await client.add(2, 5), 7)
    }
    await until('all are gone', () => gone === sockets.length)
    clearInterval(drip)
  })
})

// ── protocols that want a contract ───────────────────────────────────────────────────────────────

const calc = contract('org.example.calc/1', {
  add: rpc({ input: z.object({ a: z.number(), b: z.number() }), output: z.number() }),
})
let handled = 0
const serveCalc = (listen: string | string[], handshake: number): Promise<RunningService> =>
  serve(calc, { add: ({ a, b }) => (handled++, a + b) }, { listen, token, limits: { handshake }, onError: () => {} })
const portOf = (service: RunningService, scheme: string): string =>
  /\/\/([^/]+)/.exec(service.addresses.find((address) => address.startsWith(`${scheme}:`))!)![1]!

/** A call of `add` with 2 and 5, over HTTP. */
const POSTS: readonly (readonly [scheme: string, path: string, type: string, body: string])[] = [
  [
    'soap+http',
    '/org.example.calc',
    'text/xml',
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><add xmlns="urn:talkwire:org.example.calc:1"><a>2</a><b>5</b></add></e:Body></e:Envelope>',
  ],
  ['graphql+http', '/graphql', 'application/json', JSON.stringify({ query: 'mutation { add(a: 2, b: 5) }' })],
  [
    'thrift+http',
    '/',
    'application/x-thrift',
    Buffer.from(`8001000100000003616464000000010400014000000000000000040002401400000000000000`, 'hex').toString('latin1'),
  ],
  ['grpc', '/org.example.calc.v1.Calc/Add', 'application/json', '{"a":2,"b":5}'],
]

test('rows 1 and 2: nor over a protocol that wants a contract', async () => {
  await using service = await serveCalc(
    POSTS.map(([scheme]) => `${scheme}://127.0.0.1:0`),
    2000,
  )
  for (const [scheme, path, type, body] of POSTS) {
    const own = portOf(service, scheme)
    const status = async (headers: Headers): Promise<string> => {
      const all = { host: own, authorization: `Bearer ${token}`, connection: 'close', 'content-type': type, ...headers }
      const socket = await dial(`tcp://${own}`)
      let got = ''
      socket.setEncoding('latin1').on('data', (chunk: string) => (got += chunk))
      socket.on('error', () => {})
      socket.write(head(`POST ${path}`, { ...all, 'content-length': String(body.length) }) + body, 'latin1')
      await new Promise((resolve) => socket.once('close', resolve))
      return /^HTTP\/1\.1 (\d+)/.exec(got)?.[1] ?? got
    }
    const before = handled
    for (const origin of ['null', 'http://evil.test', `http://evil.${own}`])
      assert.equal(await status({ origin }), '403', `${scheme} ${origin}`)
    for (const other of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'])
      assert.equal(await status({ 'content-type': other }), '415', `${scheme} ${other}`)
    for (const host of ['evil.test', `evil.test:${own.split(':')[1]}`]) assert.equal(await status({ host }), '403', `${scheme} ${host}`)
    for (const authorization of ['', 'Bearer wrong']) assert.equal(await status({ authorization }), '401', `${scheme} ${authorization}`)
    assert.equal(handled, before, scheme)
    assert.equal(await status({}), '200', scheme)
    assert.equal(handled, before + 1, scheme)
  }
})

const anything = contract('org.example.echo/1', {
  echo: rpc({ input: z.object({ value: z.any() }), output: z.object({ value: z.any() }) }),
})

function xmlOf(value: unknown): string {
  if (Array.isArray(value)) return `<value><array><data>${value.map(xmlOf).join('')}</data></array></value>`
  if (typeof value === 'number') return `<value><int>${value}</int></value>`
  const members = Object.entries(value as object).map(([key, each]) => `<member><name>${key}</name>${xmlOf(each)}</member>`)
  return `<value><struct>${members.join('')}</struct></value>`
}

/** A call of `echo` with what was written as JSON, in protocols that carry any value. */
const ECHOES: readonly (readonly [scheme: string, path: string, type: string, body: (value: string) => string])[] = [
  ['http', '/org.example.echo/echo', 'application/json', (value) => `{"value":${value}}`],
  ['http', '/rpc', 'application/json', (value) => `{"jsonrpc":"2.0","id":1,"method":"echo","params":{"value":${value}}}`],
  [
    'mcp+http',
    '/mcp',
    'application/json',
    (value) => `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"value":${value}}}}`,
  ],
  [
    'graphql+http',
    '/graphql',
    'application/json',
    (value) => `{"query":"mutation($v: JSON) { echo(value: $v) { value } }","variables":{"v":${value}}}`,
  ],
  [
    'graphql+http',
    '/graphql',
    'application/json',
    (value) => JSON.stringify({ query: `mutation { echo(value: ${value.replaceAll(/"(\w+)":/g, '$1:')}) { value } }` }),
  ],
  ['grpc', '/org.example.echo.v1.Echo/Echo', 'application/json', (value) => `{"value":${value}}`],
  [
    'xmlrpc+http',
    '/RPC2',
    'text/xml',
    (value) =>
      `<methodCall><methodName>echo</methodName><params><param>${xmlOf({ value: JSON.parse(value) })}</param></params></methodCall>`,
  ],
]

test('rows 11, 13 and 16: keys that lead to a prototype and depth are refused wherever they are, "then" is data; and the next call is served', async () => {
  let served = 0
  await using service = await serve(
    anything,
    { echo: ({ value }) => (served++, { value }) },
    { listen: [...new Set(ECHOES.map(([scheme]) => `${scheme}://127.0.0.1:0`))], token: false, onError: () => {} },
  )
  const deep = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
  const nested = (text: string, depth: number): string =>
    depth === 0 ? text : depth % 2 ? `{"a":${nested(text, depth - 1)}}` : `[${nested(text, depth - 1)}]`
  const keys = ['{"__proto__":{"polluted":1}}', '{"__proto__":1}', '{"constructor":{"prototype":{"polluted":1}}}', '{"a":1,"__proto__":[]}']
  for (const [scheme, path, type, body] of ECHOES) {
    const post = async (value: string): Promise<string> => {
      const headers = { 'content-type': type, accept: 'application/json, text/event-stream' }
      const response = await fetch(`http://${portOf(service, scheme)}${path}`, { method: 'POST', headers, body: body(value) })
      return response.text()
    }
    const depths = [65, 1000, ...(scheme === 'xmlrpc+http' ? [] : [1_000_000])]
    // The params are one level, and so is what stands in the innermost list.
    const deepest = depths.map((depth) => deep(depth - 2))
    const bad = [...keys.flatMap((key) => [0, 1, 2, 3, 4, 5].map((depth) => nested(key, depth))), ...deepest]
    for (const value of bad) {
      const before = served
      const what = `${scheme} ${path}: ${value.slice(0, 100)}`
      assert.match(
        await post(value),
        /FORBIDDEN_KEY|TOO_DEEP|LIMIT_EXCEEDED|-3200[278]|(__proto__|constructor)\\" is refused|nested deeper|more than 1000000 values|Document contains more than/,
        what,
      )
      assert.equal(served, before, what)
      assert.equal(({} as { polluted?: number }).polluted, undefined, what)
    }
    for (const value of ['{"then":1}', '{"then":{"a":1}}', deep(63 - 2), deep(64 - 2)]) {
      const answer = await post(value)
      assert.ok(answer.replaceAll(/\s/g, '').includes(scheme === 'xmlrpc+http' ? xmlOf(JSON.parse(value)).slice(0, 40) : value), answer)
    }
  }
  assert.equal(served, 4 * ECHOES.length)
})

test('row 4: who listens for others is told what would do, and what is told does', async () => {
  for (const scheme of ['xmlrpc+http', 'soap+http', 'thrift+http', 'thrift+tcp', 'varlink', 'nodeipc', 'pymp']) {
    const listen = `${scheme}://0.0.0.0:0`
    const refusal = (options: ServeOptions): Promise<TalkwireError | undefined> =>
      serve(calc, { add: ({ a, b }) => a + b }, { listen, token: false, ...options }).then(
        async (service) => void (await service.close()),
        (reason: TalkwireError) => reason,
      )
    const refused = await refusal({})
    assert.equal(refused?.code, 'PERMISSION_DENIED', scheme)
    assert.match(refused.message, /say insecure: true/)
    if (refused.message.includes('authkey')) assert.equal(await refusal({ authkey: 'a key for these tests' }), undefined, scheme)
  }
})

test('where nobody could prove an authkey, a service that has one is refused at start', async () => {
  const start = (listen: string): Promise<string | undefined> =>
    serve(calc, { add: ({ a, b }) => a + b }, { listen, authkey: 'a key for these tests', token: false }).then(
      async (service) => void (await service.close()),
      ({ code, message }: TalkwireError) => `${code} ${/of its own, without authkey/.test(message)}`,
    )
  const overHttp = ['http', 'xmlrpc+http', 'soap+http', 'thrift+http', 'mcp+http', 'graphql+http', 'grpc']
  for (const listen of [
    ...[...overHttp, 'thrift+tcp', 'varlink', 'nodeipc'].map((scheme) => `${scheme}://127.0.0.1:0`),
    `dbus+unix:${freshPath()}`,
    `varlink:${freshPath()}`,
  ])
    assert.equal(await start(listen), 'UNSUPPORTED true', listen)
  for (const listen of ['pymp://127.0.0.1:0', 'tcp://127.0.0.1:0', 'ws://127.0.0.1:0']) assert.equal(await start(listen), undefined, listen)
})

/** What begins a message; node-ipc's clients may just listen. */
const HALVES: readonly (readonly [scheme: string, half: string, silent: boolean])[] = [
  ['thrift+tcp', '\x80\x01\0\x01\0\0', true],
  ['thrift+tcp', '\0\0\x10\0\x82\x21', true],
  ['varlink', '{"method":"org.var', true],
  ['nodeipc', '{"type":"ad', false],
]

test('row 20: over bare sockets, too, who says nothing or half of something is gone, and who has spoken may be silent', async () => {
  await using service = await serveCalc(['thrift+tcp://127.0.0.1:0', 'varlink://127.0.0.1:0', 'nodeipc://127.0.0.1:0'], 300)
  const open = (scheme: string): net.Socket => {
    const [host, port] = portOf(service, scheme).split(':') as [string, string]
    return net
      .connect(Number(port), host)
      .on('error', () => {})
      .resume()
  }
  const quiet = await connect(
    calc,
    service.addresses.find((address) => address.startsWith('varlink'))!,
    { reconnect: false },
  )
  assert.equal(await quiet.add({ a: 1, b: 1 }), 2)
  await Promise.all(
    HALVES.flatMap(([scheme, half, silent]) => {
      const begun = open(scheme)
      begun.write(Buffer.from(half, 'latin1'))
      return [begun, ...(silent ? [open(scheme)] : [])].map((socket) => once(socket, 'close'))
    }),
  )
  assert.equal(await quiet.add({ a: 2, b: 5 }), 7)
  await quiet.close()
})

test('row 20: who never stops sending is not taken for one whose message does not go on', (t) => {
  let now = 0
  t.mock.method(performance, 'now', () => now)
  mock.timers.enable({ apis: ['setTimeout'] })
  t.after(() => mock.timers.reset())
  const pass = (milliseconds: number): void => {
    now += milliseconds
    mock.timers.tick(milliseconds)
  }
  const ends: string[] = []
  const socket = { once() {}, isPaused: () => false }
  const connection = { socket, abort: ({ code }: { code: string }) => ends.push(code) } as unknown as SocketConnection
  const pace = new Pace(connection, 1000, () => 16)
  for (let n = 0; n < 10; n++) {
    pace.look()
    pass(900)
    assert.deepEqual(ends, [])
    pace.whole()
  }
  pace.look()
  pass(1000)
  assert.deepEqual(ends, [])
  pass(1)
  assert.deepEqual(ends, ['DEADLINE_EXCEEDED'])
})

test('row 15: thousands of the smallest messages in one piece', async () => {
  await using service = await serveCalc(['thrift+tcp://127.0.0.1:0', 'varlink://127.0.0.1:0', 'nodeipc://127.0.0.1:0'], 5000)
  const thriftCall = Buffer.from('80010001000000017800000001' + '00', 'hex')
  for (const [scheme, message] of [
    ['thrift+tcp', thriftCall],
    ['varlink', Buffer.from('{"method":""}\0')],
    ['varlink', Buffer.from('\0')],
    ['nodeipc', Buffer.from('{"type":""}\f')],
    ['nodeipc', Buffer.from('{}\f')],
  ] as const) {
    const [host, port] = portOf(service, scheme).split(':') as [string, string]
    const socket = net
      .connect(Number(port), host)
      .on('error', () => {})
      .resume()
    const over = once(socket, 'close')
    socket.end(Buffer.alloc(message.length * 20_000, message))
    await over
    await using client = await connect(
      calc,
      service.addresses.find((address) => address.startsWith(`${scheme}:`))!,
      { reconnect: false },
    )
    assert.equal(await client.add({ a: 2, b: 5 }), 7, scheme)
  }
})
