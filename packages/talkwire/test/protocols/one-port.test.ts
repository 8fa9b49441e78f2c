/** One listener for every protocol of bytes: strangers of each, at the same time; and who cannot decide. */
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { test } from 'node:test'
import tls from 'node:tls'
import { promisify } from 'node:util'
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { Code, createClient, type ConnectError, type Interceptor, type Transport } from '@connectrpc/connect'
import * as connectNode from '@connectrpc/connect-node'
import * as connectWeb from '@connectrpc/connect-web'
import { Client as McpClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import * as vscode from 'vscode-jsonrpc/node'
import WebSocket from 'ws'
import * as z from 'zod'
import { connect, contract, rpc, serve, type ConnectOptions, type RunningService, type ServeOptions } from '../../src/index.js'
import { beginsMessage } from '../../src/protocols/thrift-wire.js'
import { thriftIdl } from '../../src/protocols/thrift.js'
import { beginsCall } from '../../src/protocols/varlink-begin.js'
import { descriptorSetOf, protoOf } from '../../src/protocols/grpc.js'
import { MOST_FIRST, MOST_UNDECIDED } from '../../src/transports/one-port.js'
import { freshPath } from '../helpers/place.js'
import { fails } from '../helpers/expect.js'
import { issue } from '../transports/fixtures/certificates.js'

const key = 'a-token-for-the-tests'
const Account = z.object({ account: z.string() })
const bank = contract('bank/1', {
  deposit: rpc({
    input: Account.extend({ amount: z.number() }),
    output: z.number(),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  balance: rpc({ input: Account, output: z.number(), idempotent: true }),
})
const open = (listen: string, options: ServeOptions = {}) =>
  serve(
    bank,
    {
      deposit({ account, amount }, ctx) {
        if (account === 'closed') throw ctx.error('AccountClosed', { since: 'Monday' })
        return amount + 1
      },
      balance: ({ account }) => account.length,
    },
    { listen, token: key, onError: () => {}, protocols: 'all', ...options },
  )

const authority = issue({ name: 'one-port authority', authority: true })
const server = issue({ name: 'one-port', hosts: ['127.0.0.1', 'localhost'], issuer: authority })

interface Kind {
  readonly name: 'tcp' | 'tls' | 'unix'
  readonly address: () => string
  readonly serves: ServeOptions
  readonly connects: ConnectOptions
}
const kinds: readonly Kind[] = [
  { name: 'tcp', address: () => 'tcp://127.0.0.1:0', serves: {}, connects: {} },
  {
    name: 'tls',
    address: () => 'tls://127.0.0.1:0',
    serves: { tls: { key: server.key, cert: server.cert, requestCert: false } },
    connects: { tls: { ca: authority.cert } },
  },
  { name: 'unix', address: () => `unix:${freshPath('.sock')}`, serves: {}, connects: {} },
]

const portOf = (address: string): number => Number(/:(\d+)$/.exec(address)?.[1])
/** A connection of bytes to a listener of either kind. */
function raw({ name }: Pick<Kind, 'name'>, address: string): net.Socket {
  if (name === 'unix') return net.connect(address.slice('unix:'.length))
  const at = { port: portOf(address), host: '127.0.0.1' }
  return name === 'tcp' ? net.connect(at) : tls.connect({ ...at, ca: authority.cert })
}

const PYTHON = `
import sys, json, socket, ssl, http.client, xmlrpc.client as x
kind, place, token, ca, idl = sys.argv[1:]
def dial():
    if kind == 'unix':
        s = socket.socket(socket.AF_UNIX); s.connect(place); return s
    s = socket.create_connection(('127.0.0.1', int(place)))
    return ssl.create_default_context(cafile=ca).wrap_socket(s, server_hostname='127.0.0.1') if kind == 'tls' else s
class Local(x.Transport):
    def make_connection(self, host):
        c = http.client.HTTPConnection('localhost'); c.sock = dial(); return c
def over_xmlrpc():
    url = 'https://127.0.0.1:' + place if kind == 'tls' else 'http://127.0.0.1:' + place if kind == 'tcp' else 'http://localhost'
    more = {'context': ssl.create_default_context(cafile=ca)} if kind == 'tls' else {'transport': Local()} if kind == 'unix' else {}
    if kind != 'unix': more['headers'] = [('Authorization', 'Bearer ' + token)]
    s = x.ServerProxy(url, **more)
    for n in range(20): assert s.deposit({'account': 'a', 'amount': n}) == n + 1
    try: s.deposit({'account': 'closed', 'amount': 1}); assert False
    except x.Fault as f: assert 'AccountClosed' in f.faultString
def over_lines():
    with dial() as s:
        f = s.makefile('rwb')
        for n in range(20):
            f.write(json.dumps({'jsonrpc': '2.0', 'id': n, 'method': 'balance', 'params': {'account': 'x' * n}}).encode() + b'\\n'); f.flush()
            assert json.loads(f.readline())['result'] == n
def over_soap():
    if kind == 'unix': return
    import requests, zeep
    from zeep.transports import Transport
    session = requests.Session()
    session.trust_env = False
    session.headers['Authorization'] = 'Bearer ' + token
    if kind == 'tls': session.verify = ca
    c = zeep.Client(('https' if kind == 'tls' else 'http') + '://127.0.0.1:' + place + '/bank?wsdl', transport=Transport(session=session))
    assert c.service.deposit(account='a', amount=5) == 6
    try: c.service.deposit(account='closed', amount=5); assert False
    except zeep.exceptions.Fault as f: assert 'AccountClosed' in f.message
def over_thrift():
    if kind == 'tls': return
    import thriftpy2
    from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
    from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory
    from thriftpy2.rpc import make_client
    told = thriftpy2.load(idl, module_name='bank_thrift')
    at = {'unix_socket': place} if kind == 'unix' else {'host': '127.0.0.1', 'port': int(place)}
    for protocol in (TBinaryProtocolFactory, TCompactProtocolFactory):
        for transport in (TBufferedTransportFactory, TFramedTransportFactory):
            c = make_client(told.bank, proto_factory=protocol(), trans_factory=transport(), **at)
            for n in range(5): assert c.deposit('a', n) == n + 1
            try: c.deposit('closed', 1); assert False
            except told.AccountClosed as e: assert e.since == 'Monday'
            c.close()
def over_varlink():
    if kind == 'tls': return
    import varlink
    with varlink.Client('unix:' + place if kind == 'unix' else 'tcp:127.0.0.1:' + place) as client, client.open('org.talkwire.bank') as bank:
        for n in range(5): assert bank.Deposit('a', n)['result'] == n + 1
        try: bank.Deposit('closed', 1); assert False
        except varlink.VarlinkError as e: assert e.error() == 'org.talkwire.bank.AccountClosed'
import threading
failed = []
def run(work):
    try: work()
    except BaseException as e: failed.append(repr(e))
threads = [threading.Thread(target=run, args=(w,)) for w in [over_xmlrpc, over_lines, over_soap, over_thrift, over_varlink]]
[t.start() for t in threads]; [t.join() for t in threads]
print('done' if not failed else failed)
`

async function useFromPython({ name }: Kind, address: string): Promise<void> {
  const ca = freshPath('.pem')
  writeFileSync(ca, authority.cert)
  const place = name === 'unix' ? address.slice('unix:'.length) : String(portOf(address))
  const idl = freshPath('.thrift')
  writeFileSync(idl, await thriftIdl(bank))
  const child = spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', PYTHON, name, place, key, ca, idl], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  await once(child, 'close')
  assert.equal(out, 'done\n')
}

async function curl({ name }: Pick<Kind, 'name'>, address: string, path: string, ...args: string[]): Promise<string> {
  const ca = freshPath('.pem')
  writeFileSync(ca, authority.cert)
  const at =
    name === 'unix'
      ? ['--unix-socket', address.slice('unix:'.length), `http://localhost${path}`]
      : [`${name === 'tls' ? 'https' : 'http'}://127.0.0.1:${portOf(address)}${path}`]
  const { stdout } = await promisify(execFile)('curl', ['-s', '--http1.1', '--cacert', ca, '-w', ' %{http_code}', ...args, ...at])
  return stdout
}
const bearer = ['-H', `authorization: Bearer ${key}`]

async function useCurl(kind: Kind, address: string): Promise<void> {
  const input = ['--json', '{"account":"a","amount":5}']
  assert.equal(await curl(kind, address, '/bank/deposit', ...bearer, ...input), '6 200')
  assert.equal(await curl(kind, address, '/bank/balance?account=abc', ...bearer), '3 200')
  assert.match(await curl(kind, address, '/openapi.json', ...bearer), /"openapi":"3\.1\.1".* 200$/)
  assert.match(await curl(kind, address, '/'), /<!doctype html>[^]* 200$/i)
  // Locally the kernel says who it is.
  assert.match(await curl(kind, address, '/bank/deposit', ...input), kind.name === 'unix' ? /^6 200$/ : /UNAUTHENTICATED.* 401$/)
  for (const [path, type] of [
    ['/RPC2', /<methodResponse><fault>/],
    ['/bank', /:Envelope/],
    ['/mcp', /"jsonrpc":"2\.0"/],
    ['/bank/no', /"code":"METHOD_NOT_FOUND"/],
  ] as const)
    assert.match(await curl(kind, address, path, ...bearer, '-H', 'content-type: application/x-y', '-d', 'x'), type, path)
}

async function useVscode(kind: Kind, address: string): Promise<void> {
  const socket = raw(kind, address)
  const connection = vscode.createMessageConnection(new vscode.StreamMessageReader(socket), new vscode.StreamMessageWriter(socket))
  connection.listen()
  assert.equal(await connection.sendRequest('deposit', { account: 'a', amount: 1 }), 2)
  connection.dispose()
  socket.end()
}

async function useTalkwire({ name, connects }: Kind, addresses: readonly string[]): Promise<void> {
  for (const address of addresses) {
    if (/^(xmlrpc|soap|mcp)\+https?:|^https:|^wss:/.test(address) && name === 'unix') continue
    await using client = await connect(bank, address, { ...connects, token: key })
    assert.equal(await client.deposit({ account: 'a', amount: 41 }), 42, address)
    await assert.rejects(client.deposit({ account: 'closed', amount: 1 }), { code: 'AccountClosed' })
  }
}

async function useWs(kind: Kind, address: string): Promise<void> {
  const url =
    kind.name === 'unix'
      ? `ws+unix:${address.slice('unix:'.length)}:/`
      : `${kind.name === 'tls' ? 'wss' : 'ws'}://127.0.0.1:${portOf(address)}/`
  const socket = new WebSocket(url, ['talkwire.v1', `talkwire.token.${key}`], { ca: authority.cert })
  await once(socket, 'open')
  socket.send(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'balance', params: { account: 'four' } }))
  const [answer] = (await once(socket, 'message')) as [Buffer]
  assert.equal((JSON.parse(answer.toString()) as { result: number }).result, 4)
  socket.close()
  await once(socket, 'close')
}

async function useMcp({ name }: Kind, address: string): Promise<void> {
  // The SDK's transport cannot be given an authority or a socket's path.
  if (name !== 'tcp') return
  const client = new McpClient({ name: 'test', version: '1' })
  const options = { requestInit: { headers: { authorization: `Bearer ${key}` } } }
  await client.connect(new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${portOf(address)}/mcp`), options) as never)
  assert.deepEqual((await client.listTools()).tools.map((tool) => tool.name).sort(), ['balance', 'deposit'])
  const result = await client.callTool({ name: 'deposit', arguments: { account: 'a', amount: 1 } })
  assert.deepEqual(result.structuredContent, { result: 2 })
  await client.close()
}

async function useGrpc({ name }: Kind, address: string): Promise<void> {
  const file = freshPath('.proto')
  writeFileSync(file, await protoOf(bank))
  const { Bank } = (grpc.loadPackageDefinition(loadSync(file)) as any).bank.v1
  const credentials = name === 'tls' ? grpc.credentials.createSsl(Buffer.from(authority.cert)) : grpc.credentials.createInsecure()
  const client = new Bank(name === 'unix' ? `unix:${address.slice('unix:'.length)}` : `127.0.0.1:${portOf(address)}`, credentials)
  const metadata = new grpc.Metadata()
  metadata.set('authorization', `Bearer ${key}`)
  const answer = await promisify(client.balance.bind(client))({ account: 'abcd' }, metadata)
  assert.equal(Object.values(answer as object)[0], 4)
  client.close()
}

const shown: Interceptor = (next) => (request) => {
  request.header.set('authorization', `Bearer ${key}`)
  return next(request)
}

/** gRPC-Web and Connect over HTTP/1.1, by Node's client, and by the page's where its fetch can be pointed here. */
async function useConnect({ name }: Kind, address: string): Promise<void> {
  const file = createFileRegistry(fromBinary(FileDescriptorSetSchema, await descriptorSetOf(bank))).getService('bank.v1.Bank')!
  const baseUrl = name === 'unix' ? 'http://localhost' : `${name === 'tls' ? 'https' : 'http'}://127.0.0.1:${portOf(address)}`
  const nodeOptions = name === 'unix' ? { socketPath: address.slice('unix:'.length) } : { ca: authority.cert }
  const options = { baseUrl, httpVersion: '1.1' as const, interceptors: [shown], nodeOptions }
  const transports: Transport[] = [
    connectNode.createConnectTransport(options),
    connectNode.createConnectTransport({ ...options, useHttpGet: true }),
    connectNode.createGrpcWebTransport(options),
    ...(name === 'tcp' ? [connectWeb.createConnectTransport(options), connectWeb.createGrpcWebTransport(options)] : []),
  ]
  for (const transport of transports) {
    const client: any = createClient(file, transport)
    assert.equal(Object.values((await client.deposit({ account: 'a', amount: 5 })) as object).at(-1), 6)
    assert.equal(Object.values((await client.balance({ account: 'abcd' })) as object).at(-1), 4)
    await assert.rejects(client.deposit({ account: 'closed', amount: 5 }), (error: ConnectError) => error.code === Code.FailedPrecondition)
  }
  if (name === 'unix') return
  const stranger: any = createClient(file, connectNode.createConnectTransport({ ...options, interceptors: [] }))
  await assert.rejects(stranger.balance({ account: 'a' }), (error: ConnectError) => error.code === Code.Unauthenticated)
}

for (const kind of kinds)
  test(`one port: ${kind.name}: strangers of every protocol at the same time`, async () => {
    await using service = await open(kind.address(), kind.serves)
    const [address] = service.addresses as [string]
    await Promise.all([
      useFromPython(kind, address),
      useCurl(kind, address),
      useVscode(kind, address),
      useTalkwire(kind, service.addresses),
      useWs(kind, address),
      useGrpc(kind, address),
      useConnect(kind, address),
      useMcp(kind, address),
    ])
  })

const secured = (names: readonly string[], secure: boolean): string[] =>
  names.map((name) => (name === 'http' || name === 'ws' ? `${name}${secure ? 's' : ''}` : `${name}+http${secure ? 's' : ''}`))

test('one port: the addresses tell what is answered, and who cannot carry the service is left out or refused', async () => {
  const schemes = (service: RunningService): string[] => service.addresses.map((address) => address.split(':', 1)[0]!)
  {
    await using service = await open('tcp://127.0.0.1:0')
    for (const scheme of secured(['http', 'xmlrpc', 'soap', 'mcp', 'ws'], false)) assert.ok(schemes(service).includes(scheme), scheme)
    assert.equal(service.token, key)
  }
  {
    await using service = await open('tcp://127.0.0.1:0', { protocols: ['http', 'ws'] })
    assert.deepEqual(schemes(service), ['tcp', 'http', 'ws'])
    assert.match(await curl({ name: 'tcp' }, service.addresses[0]!, '/RPC2', ...bearer, '-d', 'x'), /application|METHOD_NOT_FOUND/)
  }
  {
    await using service = await open('tcp://127.0.0.1:0', { protocols: ['ws'] })
    assert.match(await curl({ name: 'tcp' }, service.addresses[0]!, '/', ...bearer), /METHOD_NOT_FOUND.* 404$/)
    await using client = await connect(bank, service.addresses[1]!, { token: key })
    assert.equal(await client.balance({ account: 'abc' }), 3)
  }
  {
    // Nothing of HTTP proves a key; a session over WebSocket does.
    const authkey = 'a key of sixteen bytes'
    await using service = await open('tcp://127.0.0.1:0', { authkey })
    assert.deepEqual(schemes(service), ['tcp', 'ws'])
    await using client = await connect(bank, service.addresses[1]!, { authkey, token: key })
    assert.equal(await client.balance({ account: 'abc' }), 3)
    await assert.rejects(connect(bank, service.addresses[1]!, { token: key }), fails('UNAUTHENTICATED'))
    await assert.rejects(open('tcp://127.0.0.1:0', { authkey, protocols: ['http'] }), fails('UNSUPPORTED'))
  }
  {
    await using service = await serve('calc', { *count() {} }, { listen: 'tcp://127.0.0.1:0', protocols: 'all', token: key })
    assert.ok(!schemes(service).includes('soap+http') && !schemes(service).includes('xmlrpc+http'))
    await assert.rejects(serve('calc', { *count() {} }, { listen: 'tcp://127.0.0.1:0', protocols: ['soap'] }), fails('UNSUPPORTED'))
  }
  {
    await using service = await open(`unix:${freshPath('.sock')}`)
    assert.deepEqual(schemes(service), ['unix', 'grpc+unix', 'thrift+unix', 'varlink', 'dbus+unix'])
  }
  for (const [listen, name] of [
    ['tcp://127.0.0.1:0', 'dbus'],
    ['tls://127.0.0.1:0', 'thrift'],
  ] as const)
    await assert.rejects(open(listen, { protocols: [name], tls: kinds[1]!.serves.tls! }), /UNSUPPORTED.* is not answered on t/)
  await assert.rejects(open(`unix:${freshPath('.sock')}`, { protocols: ['dbus'], descriptors: true }), fails('UNSUPPORTED'))
  await assert.rejects(open('tcp://127.0.0.1:0', { protocols: ['htpp'] }), /did you mean "http"|no protocol for one listener/)
  await assert.rejects(open('http://127.0.0.1:0'), TypeError)
})

test('one port: pages of others, and names that were made to point here, are refused as on a port of their own', async () => {
  await using service = await open('tcp://127.0.0.1:0')
  const [address] = service.addresses as [string]
  const call = (...headers: string[]) =>
    curl({ name: 'tcp' }, address, '/bank/balance?account=a', ...bearer, ...headers.flatMap((each) => ['-H', each]))
  assert.match(await call('origin: http://evil.test'), / 403$/)
  assert.match(await call('host: evil.test'), / 403$/)
  assert.match(await call(`origin: http://127.0.0.1:${portOf(address)}`), / 200$/)
  const socket = new WebSocket(`ws://127.0.0.1:${portOf(address)}/`, ['talkwire.v1', `talkwire.token.${key}`], {
    origin: 'http://evil.test',
  })
  const [error] = (await once(socket, 'error')) as [Error]
  assert.match(error.message, /403/)
})

// ── who has not decided ──────────────────────────────────────────────────────────────────────────

/** Resolves with everything that came, when the other side has ended. */
async function ended(socket: net.Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => {})
  await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

/** Of no arguments, in the binary protocol; the answer says what is missing. */
function thriftCall(framed: boolean): Buffer {
  const call = Buffer.from('800100010000000762616c616e63650000000100', 'hex')
  return framed ? Buffer.concat([Buffer.of(0, 0, 0, call.length), call]) : call
}

test('one port: what is like a message of ours is told from it by the bytes that differ, and not before', () => {
  const limit = 64 * 1024 * 1024
  const seen = (of: (first: Buffer) => boolean | undefined, text: string | Buffer): string => {
    const bytes = Buffer.from(text as string, 'latin1')
    return Array.from(bytes, (_, at) => ({ true: 'y', false: 'n' })[String(of(bytes.subarray(0, at + 1)))] ?? '?').join('')
  }
  const thrift = (text: string | Buffer): string => seen((first) => beginsMessage(first, limit), text)
  for (const [text, told] of [
    [thriftCall(false).subarray(0, 4), '?yyy'],
    [thriftCall(true).subarray(0, 7), '?????yy'],
    ['\x82\x21\x01', '?yy'],
    ['\0\0\0\x20\x82\x21', '?????y'],
    ['\0\0\0\x20{"', '????nn'],
    ['\0\0\0\0', '???n'],
    ['\x04\0\0\x01', '???n'],
    ['\x82\x20', '?n'],
    ['\x16\x03', 'nn'],
    ['{"', 'nn'],
  ] as const)
    assert.equal(thrift(text), told, JSON.stringify(text))
  const last = (text: string): string => seen(beginsCall, text).slice(-1)
  for (const [text, told] of [
    [' {"method":"a.B", "parameters"', 'y'],
    ['{"method":"a.B","more"', 'y'],
    ['{"oneway"', 'y'],
    ['{"method":"a.B"}\0', 'y'],
    ['{"method":"a.B"}\n', 'n'],
    ['{"method":"a.B","params"', 'n'],
    ['{"method":"a.B","method"', 'n'],
    ['{"jsonrpc"', 'n'],
    ['{"method":5', 'n'],
    ['{}', 'n'],
    ['[', 'n'],
    ['GET', 'n'],
  ] as const) {
    assert.equal(last(text), told, text)
    for (let length = 1; length < text.length - 1 && told === 'y'; length++)
      assert.equal(last(text.slice(0, length)), '?', text.slice(0, length))
  }
  assert.equal(last(String.raw`{"method":"a \" \\","x`), '?')
})

test('one port: a peer that sends byte by byte is understood, whatever it speaks', async () => {
  await using service = await open('tcp://127.0.0.1:0')
  const [address] = service.addresses as [string]
  const body = '{"account":"abc"}'
  const request = `{"jsonrpc":"2.0","id":1,"method":"balance","params":${body}}`
  const framed = Buffer.alloc(4 + request.length)
  framed.writeUInt32BE(request.length)
  framed.write(request, 4)
  const head = `host: 127.0.0.1:${portOf(address)}\r\nauthorization: Bearer ${key}\r\nconnection: close\r\n`
  for (const [bytes, answer] of [
    [Buffer.from(`${request}\n`), /"result":3/],
    [Buffer.from(`Content-Length: ${request.length}\r\n\r\n${request}`), /Content-Length: \d+\r\n\r\n.*"result":3/],
    [Buffer.from(`CONTENT-LENGTH: ${request.length}\r\n\r\n${request}`), /"result":3/],
    [framed, /"result":3/],
    [Buffer.from(`{"method":"balance","params":${body},"id":1,"jsonrpc":"2.0"}\n`), /"result":3/],
    [Buffer.from(`{ "method": "org.talkwire.bank.Balance", "parameters": ${body}}\0`), /"parameters":\{"result":3\}[^]*\0$/],
    [Buffer.from(`{"method":"${'a'.repeat(MOST_FIRST)}","id":1,"jsonrpc":"2.0"}\n`), /METHOD_NOT_FOUND|-32601/],
    [Buffer.from('{"method":"org.varlink.service.GetInfo"}\0'), /"vendor":"Talkwire"[^]*\0$/],
    [thriftCall(false), /balance/],
    [thriftCall(true), /balance/],
    [
      Buffer.from(`POST /bank/balance HTTP/1.1\r\n${head}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`),
      /200 OK[^]*\r\n\r\n3$/,
    ],
    [Buffer.from(`PROPFIND / HTTP/1.1\r\n${head}\r\n`), /^HTTP\/1\.1 4/],
  ] as const) {
    const socket = raw({ name: 'tcp' }, address).setNoDelay(true)
    await once(socket, 'connect')
    const told = ended(socket)
    for (const byte of bytes) {
      socket.write(Buffer.of(byte))
      // A turn of its own for each, in which the other side reads it.
      await new Promise((resolve) => setImmediate(resolve))
    }
    if (!String(answer).includes('HTTP') && !String(answer).includes('200')) socket.end()
    assert.match(await told, answer)
  }
})

test('one port: garbage is told that it is none, and ends; half a preface ends with its time', async () => {
  await using service = await open('tcp://127.0.0.1:0', { limits: { handshake: 300 } })
  const [address] = service.addresses as [string]
  const all: Promise<void>[] = []
  for (const [bytes, answer] of [
    ['\x16\x03\x01\x02\x00', /begins no known framing/],
    ['hello there', /begins no known framing/],
    ['A'.repeat(MOST_FIRST), /begins no known framing/],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', /begins no known framing|^\0\0/],
    ['PRI * HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 4/],
    ['PRI * HT', /^$/],
    ['{"method":"org.exa', /^$/],
    ['\x80', /^$/],
    ['\0\0\x01\0', /^$/],
    ['\x80\x02', /begins no known framing/],
    ['GE', /^$/],
    ['', /^$/],
  ] as const) {
    const socket = raw({ name: 'tcp' }, address)
    const told = ended(socket)
    socket.write(Buffer.from(bytes, 'latin1'))
    all.push(told.then((text) => assert.match(text, answer, JSON.stringify(bytes))))
  }
  await Promise.all(all)
  // Who goes while nothing is decided is forgotten.
  const socket = raw({ name: 'tcp' }, address)
  socket.end('PO')
  await ended(socket)
  await using client = await connect(bank, address)
  assert.equal(await client.balance({ account: 'abc' }), 3)
})

test('one port: a header that comes too slowly ends, once HTTP is decided', async () => {
  await using service = await open('tcp://127.0.0.1:0', { limits: { handshake: 300 } })
  const socket = raw({ name: 'tcp' }, service.addresses[0]!)
  socket.write('POST /bank/balance HTTP/1.1\r\nhost: ')
  assert.match(await ended(socket), /^HTTP\/1\.1 408/)
})

/** Of what each protocol might become. */
const BEGINNINGS = ['', 'PR', '{"method":"a', Buffer.of(0x80), Buffer.of(0, 0, 0)]

test('one port: a thousand that say nothing disturb nobody', async () => {
  await using service = await open('tcp://127.0.0.1:0', { limits: { connections: 5000, handshake: 60_000 } })
  const [address] = service.addresses as [string]
  await using early = await connect(bank, address)
  let gone = 0
  let enough!: () => void
  const most = new Promise<void>((resolve) => (enough = resolve))
  const silent = Array.from({ length: 1000 }, (_, at) => {
    const socket = raw({ name: 'tcp' }, address)
    socket.on('error', () => {}).resume()
    socket.on('close', () => ++gone === 1000 - MOST_UNDECIDED && enough())
    socket.write(BEGINNINGS[at % BEGINNINGS.length]!)
    return socket
  })
  // All but the last that came are gone, without anybody's waiting for the time.
  await most
  assert.equal(await early.balance({ account: 'abc' }), 3)
  await using late = await connect(bank, address)
  assert.equal(await late.deposit({ account: 'a', amount: 1 }), 2)
  assert.equal(await curl({ name: 'tcp' }, address, '/bank/balance?account=abc', ...bearer), '3 200')
  for (const socket of silent) socket.destroy()
})

test('one port: closing ends who has not decided, and lets calls in flight finish', async () => {
  const service = await open('tcp://127.0.0.1:0', { limits: { handshake: 60_000 } })
  const [address] = service.addresses as [string]
  const silent = raw({ name: 'tcp' }, address)
  silent.write('G')
  await once(silent, 'connect')
  await using client = await connect(bank, address, { reconnect: false })
  assert.equal(await client.balance({ account: 'a' }), 1)
  const told = ended(silent)
  await service.close()
  assert.equal(await told, '')
  await assert.rejects(connect(bank, address), fails('PEER_NOT_FOUND'))
})

test('one port: a local caller is known by the kernel, over HTTP too', async () => {
  await using service = await serve(
    'who',
    { me: () => 1 },
    { listen: `unix:${freshPath('.sock')}`, protocols: ['http'], allow: (peer) => peer.uid === process.getuid!() },
  )
  assert.equal(service.token, undefined)
  assert.equal(await curl({ name: 'unix' }, service.addresses[0]!, '/who/me', '--json', '[]'), '1 200')
})
