/** Contracts of services that were written by others, from what they tell of themselves; and the command line on their addresses. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { fromOpenRpc } from '../src/contract/from-openrpc.js'
import { connect, contract, discover, event, jsonSchema, rpc, serve, stream, type Contract } from '../src/index.js'
import { talkwire } from './cli/program.js'
import { fails } from './helpers/expect.js'
import { freshPath } from './helpers/place.js'

const Account = z.object({ account: z.string() })
const bank = contract('bank/2', {
  deposit: rpc({
    input: Account.extend({ amount: z.number() }),
    output: z.number(),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  balance: rpc({ input: Account, output: z.number(), idempotent: true }),
  watch: rpc({ input: Account, output: stream(z.number()) }),
  sum: rpc({ input: stream(z.number()), output: z.number() }),
  note: rpc({ input: z.string(), oneway: true }),
  none: rpc({}),
  add: rpc({ input: z.object({ a: z.number(), b: z.number() }), output: z.number(), parameters: ['a', 'b'] }),
  overdrawn: event(Account),
})
const handlers = {
  deposit: ({ amount }: { amount: number }) => amount + 1,
  balance: () => 7,
  *watch() {
    yield* [1, 2, 3]
  },
  async sum(all: AsyncIterable<number>) {
    let sum = 0
    for await (const each of all) sum += each
    return sum
  },
  note() {},
  none() {},
  add: ({ a, b }: { a: number; b: number }) => a + b,
}
type Calls = Record<string, (input?: unknown) => Promise<unknown>>
const callsOf = async (made: Contract, address: string, options = {}): Promise<Calls & AsyncDisposable> =>
  (await connect(made, address, options)) as never

test('a service of ours is described fully over whatever carries it', async () => {
  await using service = await serve(bank, handlers, { listen: [`unix:${freshPath('.sock')}`, 'mcp+http://127.0.0.1:0'], token: false })
  for (const address of service.addresses) {
    const made = await discover(address)
    const { id, methods, events } = await jsonSchema(made)
    const own = await jsonSchema(bank)
    assert.deepEqual([id, methods, events], ['bank/2', own.methods, own.events], address)
    await using client = await callsOf(made, address)
    assert.equal(await client['deposit']!({ account: 'a', amount: 1 }), 2)
    assert.equal(await client['add']!({ a: 2, b: 5 }), 7)
    await assert.rejects(client['deposit']!({ account: 'a', amount: 'x' }), fails('INVALID_INPUT'))
    const items: unknown[] = []
    for await (const item of client['watch']!({ account: 'a' }) as unknown as AsyncIterable<unknown>) items.push(item)
    assert.deepEqual(items, [1, 2, 3])
  }
})

const sums = {
  add: (a: number, b: number) => a + b,
  all: (first: number, ...rest: number[]) => [first, rest],
  *count(n: number) {
    yield* Array(n).keys()
  },
}

test('functions without a contract are called by the names of their parameters', async () => {
  await using service = await serve('sums', sums, {
    listen: [`unix:${freshPath('.sock')}`, 'mcp+http://127.0.0.1:0'],
    token: false,
  })
  for (const address of service.addresses) {
    const made = await discover(address)
    assert.equal(made.id, 'sums/0')
    await using client = await callsOf(made, address)
    assert.equal(await client['add']!({ b: 5, a: 2 }), 7)
    assert.deepEqual(await client['all']!({ first: 1, rest: [2, 3] }), [1, [2, 3]])
    await assert.rejects(async () => client['all']!({ first: 1, rest: 2 }), /"rest" is a list/)
  }
  await using client = await callsOf(await discover(service.addresses[0]!), service.addresses[0]!)
  const items: unknown[] = []
  for await (const item of client['count']!({ n: 2 }) as unknown as AsyncIterable<unknown>) items.push(item)
  assert.deepEqual(items, [0, 1])
})

/** A JSON-RPC daemon of others: a line for each message, and an OpenRPC document. */
async function daemon(t: TestContext, document: unknown): Promise<string> {
  const path = freshPath('.sock')
  const server = net.createServer((socket) => {
    createInterface({ input: socket }).on('line', (line) => {
      const { id, method, params } = JSON.parse(line) as { id?: number; method: string; params: unknown }
      if (id === undefined) return
      const answer =
        method === 'rpc.discover' && document
          ? { result: document }
          : method === 'echo'
            ? { result: params }
            : { error: { code: -32601, message: 'no' } }
      socket.write(`${JSON.stringify({ jsonrpc: '2.0', id, ...answer })}\n`)
    })
  })
  server.listen(path)
  await once(server, 'listening')
  t.after(() => void server.close())
  return `unix:${path}`
}

test('OpenRPC of others: names that do not fit are left out, references are followed', async () => {
  const made = await fromOpenRpc({
    openrpc: '1.2.6',
    info: { title: 'Pet store!', version: '3.1.4' },
    methods: [
      {
        name: 'list',
        params: [{ name: 'limit', schema: { type: 'integer' } }],
        result: { name: 'pets', required: true, schema: { $ref: '#/components/schemas/Pets' } },
      },
      { name: 'then', params: [], result: { name: 'x', schema: {} } },
      { name: 'broken', params: [{ schema: {} }], result: { name: 'x', schema: {} } },
      { name: '__proto__', params: [], result: { name: 'x', schema: {} } },
      { name: 'tell', paramStructure: 'by-position', params: [{ $ref: '#/components/contentDescriptors/Text' }] },
      {
        name: 'old',
        paramStructure: 'by-position',
        params: [
          { name: 'b', required: true, schema: { items: [{ type: 'string' }], additionalItems: false } },
          { name: 'a', schema: true },
        ],
        result: { name: 'done', schema: { type: 'null' } },
      },
      7,
    ],
    components: {
      schemas: {
        Pets: { type: 'array', items: { $ref: '#/components/schemas/Pet' } },
        Pet: { type: 'object', properties: { parent: { $ref: '#/components/schemas/Pet' } } },
      },
      contentDescriptors: { Text: { name: 'text', required: true, schema: { type: 'string' } } },
    },
  })
  assert.equal(made.id, 'Pet-store/3')
  assert.deepEqual(Object.keys(made.members), ['list', 'tell', 'old'])
  assert.deepEqual(Object.keys(made.foreign!.leftOut).sort(), ['broken', 'then'])
  const { methods } = await jsonSchema(made)
  assert.deepEqual([methods['tell']!.oneway, methods['tell']!.parameters], [true, ['text']])
  assert.deepEqual([methods['old']!.output, methods['old']!.parameters], [null, ['b', 'a']])
  assert.equal(methods['list']!.output!.optional, false)
  const { output } = made.members['list'] as { output: { '~standard': { validate(value: unknown): { issues?: unknown } } } }
  assert.equal(output['~standard'].validate([{ parent: {} }]).issues, undefined)
  assert.ok(output['~standard'].validate([{ parent: 1 }]).issues)
  await assert.rejects(fromOpenRpc({ openrpc: '1.2.6' }), TypeError)
  await assert.rejects(fromOpenRpc(null), TypeError)
})

test('a daemon that tells nothing of itself says so', async (t) => {
  const silent = await daemon(t, undefined)
  await assert.rejects(discover(silent, { framing: 'line' }), fails('UNSUPPORTED'))
  const told = await daemon(t, { methods: [{ name: 'echo', params: [{ name: 'x', schema: {} }], result: { name: 'x', schema: {} } }] })
  await using client = await callsOf(await discover(told, { framing: 'line' }), told, { framing: 'line' })
  assert.equal((await talkwire(['call', told, 'echo', 'x=1', '--framing', 'line', '--json'])).stdout, '{"x":1}\n')
  assert.deepEqual(await client['echo']!({ x: 1 }), { x: 1 })
  await assert.rejects(discover('pymp://127.0.0.1:1'), fails('UNSUPPORTED'))
  await assert.rejects(discover('nonsense:x'), fails('INVALID_ADDRESS'))
})

const PYTHON = `
import sys
from xmlrpc.server import SimpleXMLRPCServer
class Calc:
    def _listMethods(self): return ['add', 'say']
    def _methodHelp(self, name): return 'help of ' + name
    def add(self, x, y=1): return x + y
    def say(self, *words): return list(words)
class Server(SimpleXMLRPCServer):
    def system_methodSignature(self, name):
        return [['int', 'int'], ['double', 'int', 'int']] if name == 'add' else 'signatures not supported'
s = Server(('127.0.0.1', 0), logRequests=False, allow_none=True)
s.register_introspection_functions()
s.register_instance(Calc())
print(s.server_address[1], flush=True)
s.serve_forever()
`

async function pythonServer(t: TestContext): Promise<string> {
  const child = spawn(process.env['TALKWIRE_PYTHON'] ?? 'python3', ['-c', PYTHON], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(() => void child.kill())
  const [port] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  return `xmlrpc+http://127.0.0.1:${port}`
}

test("XML-RPC: Python's xmlrpc.server, with signatures and without", async (t) => {
  const address = await pythonServer(t)
  const made = await discover(address)
  const { methods } = await jsonSchema(made)
  assert.deepEqual(methods['add']!.input!.schema['properties'], { arg1: { type: 'integer' }, arg2: { type: 'integer' } })
  assert.deepEqual(methods['add']!.input!.schema['required'], ['arg1'])
  assert.equal(methods['add']!.input!.schema['description'], 'help of add')
  await using client = await callsOf(made, address)
  assert.equal(await client['add']!({ arg1: 2, arg2: 5 }), 7)
  assert.equal(await client['add']!({ arg1: 2 }), 3)
  assert.deepEqual(await client['say']!({ arguments: ['a', 1] }), ['a', 1])
  assert.deepEqual(await client['say']!(), [])
  const described = await talkwire(['describe', address])
  assert.deepEqual([described.code, described.stderr], [0, ''])
  assert.match(described.stdout, /add\(.*arg1.*\) → /)
  assert.equal((await talkwire(['call', address, 'add', '2', '5'])).stdout, '7\n')
  assert.equal((await talkwire(['call', address, 'add', 'arg2=3', 'arg1=1'])).stdout, '4\n')
  assert.equal((await talkwire(['call', address, 'say', 'a', 'b', '--json'])).stdout, '["a","b"]\n')
})

test('XML-RPC: a service of ours says more than signatures', async () => {
  const { watch: _w, sum: _s, note: _n, overdrawn: _o, ...members } = bank.members
  const part = contract('bank/2', members)
  const { watch: _1, sum: _2, note: _3, ...answers } = handlers
  await using service = await serve(part, answers, { listen: 'xmlrpc+http://127.0.0.1:0', token: 'a-token-for-the-tests' })
  await assert.rejects(discover(service.addresses[0]!), fails('UNAUTHENTICATED'))
  const made = await discover(service.addresses[0]!, { token: service.token! })
  assert.deepEqual((await jsonSchema(made)).methods, (await jsonSchema(part)).methods)
  const file = freshPath('.token')
  writeFileSync(file, `${service.token}\n`, { mode: 0o600 })
  const { stdout } = await talkwire(['call', service.addresses[0]!, 'add', 'a=2', 'b=5', '--token-file', file])
  assert.equal(stdout, '7\n')
})

test('MCP: the tools of a server of the SDK are a contract', async () => {
  const file = fileURLToPath(new URL('./protocols/fixtures/mcp-sdk-server.js', import.meta.url))
  const address = `mcp+spawn:${process.execPath} ${file}`
  const made = await discover(address)
  assert.ok(Object.keys(made.members).length > 0)
  const described = await talkwire(['describe', address])
  assert.deepEqual([described.code, described.stderr], [0, ''])
  for (const name of Object.keys(made.members)) assert.ok(described.stdout.includes(name))
})
