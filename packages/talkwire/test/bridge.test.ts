/** Services of others under protocols of others: strangers at both ends. */
import assert from 'node:assert/strict'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client as McpClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import * as z from 'zod'
import { bridge, connect, contract, event, fromJsonSchema, rpc, serve, stream } from '../src/index.js'
import { revived } from '../src/contract/revive.js'
import { program, start } from './cli/program.js'
import { fails } from './helpers/expect.js'
import { freshPort, ownHost } from './helpers/loopback.js'
import { freshPath } from './helpers/place.js'

async function curl(...args: string[]): Promise<{ status: number; body: string }> {
  const { stdout } = await promisify(execFile)('curl', ['-s', '-w', '\n%{http_code}', ...args])
  const [, body, status] = /^([^]*)\n(\d+)$/.exec(stdout)!
  return { status: Number(status), body: body! }
}

// ── XML-RPC as REST ──────────────────────────────────────────────────────────────────────────────

const PYTHON = `
import sys, datetime
from xmlrpc.server import SimpleXMLRPCServer
class Calc:
    def _listMethods(self): return ['add', 'say', 'fail', 'later', 'size']
    def _methodHelp(self, name): return 'help of ' + name
    def add(self, x, y): return x + y
    def say(self, *words): return list(words)
    def fail(self): raise ValueError('no such thing')
    def later(self, day): return day + datetime.timedelta(days=1)
    def size(self, data): return len(data)
class Server(SimpleXMLRPCServer):
    def system_methodSignature(self, name):
        return {'add': [['int', 'int', 'int']], 'later': [['dateTime.iso8601', 'dateTime.iso8601']], 'size': [['int', 'base64']]}.get(name, 'undef')
s = Server((sys.argv[1], int(sys.argv[2])), logRequests=False, allow_none=True, use_builtin_types=True)
s.register_introspection_functions()
s.register_instance(Calc())
print('ready', flush=True)
s.serve_forever()
`
async function pythonServer(t: TestContext, port: number): Promise<ChildProcess> {
  const args = ['-c', PYTHON, ownHost, String(port)]
  const child = spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => void child.kill())
  await once(createInterface({ input: child.stdout }), 'line')
  return child
}

test("bridge: Python's xmlrpc.server as REST, called by curl; and again when it has restarted", async (t) => {
  const port = freshPort()
  const child = await pythonServer(t, port)
  await using made = await bridge(`xmlrpc+http://${ownHost}:${port}`, 'http://127.0.0.1:0', {
    name: 'calc',
    serve: { token: false, onError: () => {} },
  })
  const at = `${made.addresses[0]!}/calc`
  const post = (path: string, body: string) => curl('--json', body, `${at}/${path}`)
  assert.deepEqual(await post('add', '{"arg1": 2, "arg2": 5}'), { status: 200, body: '7' })
  assert.deepEqual(await post('add', '[2, 5]'), { status: 200, body: '7' })
  assert.deepEqual(await post('say', '["a", 1]'), { status: 200, body: '["a",1]' })
  // What JSON has no word for goes as text, both ways.
  assert.deepEqual(await post('later', '["2026-02-28T12:00:00Z"]'), { status: 200, body: '"2026-03-01T12:00:00.000Z"' })
  assert.deepEqual(await post('size', '["AAEC"]'), { status: 200, body: '3' })
  assert.equal((await post('add', '{"arg1": "x", "arg2": 5}')).status, 400)
  const failed = await post('fail', '')
  assert.match(failed.body, /no such thing/)
  assert.match((await curl(`${made.addresses[0]!}/openapi.json`)).body, /"\/calc\/add"/)

  const gone = once(child, 'close')
  child.kill('SIGKILL')
  await gone
  const down = await post('add', '[2, 5]')
  assert.deepEqual([down.status, (JSON.parse(down.body) as { code: string }).code], [503, 'UNAVAILABLE'])
  await pythonServer(t, port)
  assert.deepEqual(await post('add', '[3, 5]'), { status: 200, body: '8' })
})

test('bridge: dates, bytes, big integers, sets and maps come as JSON says them, in lists, records, unions and behind references', async () => {
  const day = { 'x-talkwire': 'date' }
  const schema = revived(
    await fromJsonSchema({
      type: 'object',
      properties: {
        at: { anyOf: [{ type: 'null' }, day] },
        all: { type: 'array', items: { $ref: '#/$defs/big' } },
        by: { type: 'object', additionalProperties: { 'x-talkwire': 'array', 'x-dtype': 'u1' } },
        plain: { type: 'string' },
        days: { 'x-talkwire': 'set', 'x-values': day },
        counts: { 'x-talkwire': 'map', 'x-keys': { type: 'integer' }, 'x-values': { $ref: '#/$defs/big' } },
        flags: { 'x-talkwire': 'map', 'x-keys': { type: 'boolean' }, 'x-values': {} },
        named: { 'x-talkwire': 'map', 'x-keys': { type: 'string' }, 'x-values': {} },
      },
      $defs: { big: { 'x-talkwire': 'bigint' } },
    }),
  )
  const read = (value: unknown): unknown => (schema['~standard'].validate(value) as { value: unknown; issues?: unknown }).value
  assert.deepEqual(read({ at: '2026-01-01T00:00:00Z', all: [1, '2'], by: { a: 'AQ==' }, plain: '2026-01-01' }), {
    at: new Date('2026-01-01T00:00:00Z'),
    all: [1n, 2n],
    by: { a: Uint8Array.of(1) },
    plain: '2026-01-01',
  })
  assert.deepEqual(read({ days: ['2026-01-01'], counts: { 1: '2', '-3': 4 }, flags: { true: 1 }, named: { 1: 1 } }), {
    days: new Set([new Date('2026-01-01')]),
    counts: new Map([
      [1, 2n],
      [-3, 4n],
    ]),
    flags: new Map([[true, 1]]),
    named: new Map([['1', 1]]),
  })
  for (const wrong of [{ counts: { x: 1 } }, { counts: { '1.5': 1 } }, { counts: [[1, 1]] }, { flags: { 1: 1 } }, { days: ['never'] }])
    assert.equal(read(wrong), undefined, JSON.stringify(wrong))
  assert.equal(read({ at: 'yesterday' }), undefined)
  assert.deepEqual(read({ at: null }), { at: null })
})

// ── MCP as JSON-RPC ──────────────────────────────────────────────────────────────────────────────

test('bridge: an MCP server of the SDK as JSON-RPC, called by a line of JSON', async () => {
  const file = fileURLToPath(new URL('./protocols/fixtures/mcp-sdk-server.js', import.meta.url))
  const path = freshPath('.sock')
  await using made = await bridge(`mcp+spawn:${process.execPath} ${file}`, `unix:${path}`, { serve: { onError: () => {} } })
  const names = Object.keys(made.contract.members)
  assert.ok(names.includes('add'), names.join())
  const socket = net.connect(path)
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  const call = async (method: string, params: unknown): Promise<{ result?: unknown; error?: { message: string } }> => {
    socket.write(`${JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })}\n`)
    return JSON.parse((await lines.next()).value as string) as { result?: unknown }
  }
  assert.deepEqual((await call('add', { a: 2, b: 5 })).result, { sum: 7 })
  assert.match((await call('add', { a: 'x', b: 5 })).error!.message, /INVALID_INPUT|does not fit/)
  socket.destroy()
})

// ── a JSON-RPC daemon as tools ───────────────────────────────────────────────────────────────────

const DAEMON = {
  openrpc: '1.3.2',
  info: { title: 'weather', version: '2.0.1' },
  methods: [
    {
      name: 'forecast',
      description: 'What the weather will be.',
      paramStructure: 'by-position',
      params: [
        { name: 'town', required: true, schema: { type: 'string' } },
        { name: 'days', schema: { type: 'integer' } },
      ],
      result: { name: 'text', required: true, schema: { type: 'string' } },
    },
    { name: 'fail', params: [], result: { name: 'x', schema: {} } },
    { name: 'close', params: [], result: { name: 'x', schema: {} } },
  ],
}

/** One message a line, as most such daemons have it. */
async function daemon(t: TestContext): Promise<string> {
  const path = freshPath('.sock')
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    createInterface({ input: socket }).on('line', (line) => {
      const { id, method, params } = JSON.parse(line) as { id?: number; method: string; params: unknown[] }
      if (id === undefined) return
      const answer =
        method === 'rpc.discover'
          ? { result: DAEMON }
          : method === 'forecast'
            ? { result: `rain in ${params.join(' for ')}` }
            : { error: { code: method === 'fail' ? 4711 : -32601, message: method === 'fail' ? 'the sky is broken' : 'no' } }
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, ...answer })}\n`)
    })
  })
  server.listen(path)
  await once(server, 'listening')
  t.after(() => void server.close())
  return `unix:${path}`
}

test('bridge: a JSON-RPC daemon on a Unix socket as MCP tools, started by the client of the SDK', async (t) => {
  const address = await daemon(t)
  const client = new McpClient({ name: 'test', version: '1' })
  const args = [program, 'bridge', address, 'mcp:', '--framing', 'line']
  await client.connect(
    new StdioClientTransport({ command: process.execPath, args, env: process.env as Record<string, string>, stderr: 'ignore' }),
  )
  const { tools } = await client.listTools()
  assert.deepEqual(tools.map((tool) => tool.name).sort(), ['fail', 'forecast'])
  assert.match(tools.find((tool) => tool.name === 'forecast')!.description!, /What the weather will be/)
  const result = await client.callTool({ name: 'forecast', arguments: { town: 'Rome', days: 3 } })
  assert.deepEqual(result.structuredContent, { result: 'rain in Rome for 3' })
  const failed = await client.callTool({ name: 'fail', arguments: {} })
  assert.equal(failed.isError, true)
  assert.match(JSON.stringify(failed.content), /the sky is broken/)
  await client.close()
})

test('bridge: the command serves, tells what it left out, and ends with a signal', async (t) => {
  const address = await daemon(t)
  const running = start(['bridge', address, 'http://127.0.0.1:0', '--framing', 'line', '--no-token'])
  await running.said(' serves http://')
  await running.said('left out: close: ')
  const { code } = await running.stop('SIGTERM')
  assert.equal(code, 0)
})

// ── everything that passes ───────────────────────────────────────────────────────────────────────

const all = contract('all/3', {
  count: rpc({ input: z.object({ to: z.number() }), output: stream(z.number()) }),
  sum: rpc({ input: stream(z.number()), output: z.number() }),
  wait: rpc({ output: z.string() }),
  meta: rpc({ output: z.record(z.string(), z.string()) }),
  fail: rpc({ input: z.object({ how: z.string() }), output: z.null(), errors: { Declared: z.object({ why: z.string() }) } }),
  steps: rpc({ output: z.number() }),
  tell: rpc({ input: z.object({ text: z.string() }) }),
  told: event(z.object({ text: z.string() })),
})

test('bridge: streams, events, progress, deadlines, cancelling, metadata and errors pass through', async (t) => {
  const aborted: string[] = []
  let onAborted: (() => void) | undefined
  let began: (() => void) | undefined
  const service = await serve(
    all,
    {
      async *count({ to }) {
        for (let n = 0; n < to; n++) yield n
      },
      async sum(items) {
        let sum = 0
        for await (const each of items) sum += each
        return sum
      },
      wait: (_, { signal }) =>
        new Promise((_resolve, reject) => {
          began?.()
          signal.addEventListener('abort', () => {
            aborted.push((signal.reason as { code: string }).code)
            onAborted?.()
            reject(signal.reason as Error)
          })
        }),
      meta: (_, { metadata }) => ({ ...metadata }),
      fail({ how }, ctx) {
        if (how === 'declared') throw ctx.error('Declared', { why: 'so' })
        throw new Error('secret')
      },
      steps(_, { progress }) {
        progress(1)
        progress(2)
        return 3
      },
      tell({ text }) {
        service.emit('told', { text })
      },
    },
    { listen: `unix:${freshPath('.sock')}`, onError: () => {} },
  )
  t.after(() => service.close())
  await using made = await bridge(service.addresses[0]!, 'ws://127.0.0.1:0', { serve: { token: false, onError: () => {} } })
  await using client = await connect(all, made.addresses[0]!)

  const counted: number[] = []
  for await (const n of client.count({ to: 2000 })) counted.push(n)
  assert.equal(counted.length, 2000)
  assert.equal(await client.sum(Array.from({ length: 1000 }, (_, n) => n)), 499_500)
  assert.deepEqual(await client.meta(undefined, { metadata: { who: 'me' } }), { who: 'me' })
  const seen: unknown[] = []
  assert.equal(await client.steps(undefined, { onProgress: (value) => seen.push(value) }), 3)
  assert.deepEqual(seen, [1, 2])
  await assert.rejects(client.fail({ how: 'declared' }), { code: 'Declared', declared: true, details: { why: 'so' } })
  await assert.rejects(client.fail({ how: 'other' }), (reason: Error) => fails('INTERNAL')(reason) && !reason.message.includes('secret'))
  // On a busy machine the time may be over before the call has come to the service.
  while (aborted.length === 0) await assert.rejects(client.wait(undefined, { timeout: 50 }), fails('DEADLINE_EXCEEDED'))
  const controller = new AbortController()
  const started = new Promise<void>((resolve) => (began = resolve))
  const waiting = client.wait(undefined, { signal: controller.signal })
  await started
  const stopped = new Promise<void>((resolve) => (onAborted = resolve))
  controller.abort()
  await assert.rejects(waiting, { name: 'AbortError' })
  await stopped
  const text = client.once('told')
  await client.meta()
  let heard = false
  void text.then(() => (heard = true))
  while (!heard) await client.tell({ text: 'hello' })
  assert.deepEqual(await text, { text: 'hello' })
})

test('bridge: a service that has restarted is found again, its events too', async (t) => {
  const path = freshPath('.sock')
  const open = () =>
    serve(
      contract('tick/1', { tell: rpc({ output: z.number() }), told: event(z.number()) }),
      { tell: () => process.pid },
      { listen: `unix:${path}` },
    )
  let service = await open()
  t.after(() => service.close())
  await using made = await bridge(`unix:${path}`, 'ws://127.0.0.1:0', { serve: { token: false, onError: () => {} } })
  await using client = await connect(contract('tick/1', { tell: rpc({ output: z.number() }), told: event(z.number()) }), made.addresses[0]!)
  assert.equal(await client.tell(), process.pid)
  await service.close()
  await assert.rejects(client.tell(undefined, { timeout: 200 }), fails('UNAVAILABLE', 'DEADLINE_EXCEEDED'))
  service = await open()
  assert.equal(await client.tell(), process.pid)
  let heard = false
  await client.on('told', () => (heard = true))
  while (!heard) {
    service.emit('told', 1)
    await client.tell()
  }
})

test('bridge: what the other protocol cannot carry is refused at the start, and so is who tells nothing', async () => {
  await using service = await serve(all, new Proxy({}, { get: () => () => {}, getPrototypeOf: () => null }) as never, {
    listen: `unix:${freshPath('.sock')}`,
  })
  await assert.rejects(
    bridge(service.addresses[0]!, 'xmlrpc+http://127.0.0.1:0'),
    (reason: Error) => fails('UNSUPPORTED')(reason) && /stream/.test(reason.message),
  )
  await assert.rejects(bridge(`unix:${freshPath('.sock')}`, 'http://127.0.0.1:0'), fails('PEER_NOT_FOUND'))
  await assert.rejects(bridge('pymp://127.0.0.1:1', 'http://127.0.0.1:0'), fails('UNSUPPORTED'))
})
