/** A bridge between strangers, none of them ours: gRPC as REST, D-Bus as the tools of MCP, a JSON-RPC daemon as GraphQL. */
import './helpers/place.js'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client as McpClient } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import * as z from 'zod'
import { bridge, contract, rpc } from '../src/index.js'
import { bridging, program, start } from './cli/program.js'
import { fails } from './helpers/expect.js'
import { ownHost } from './helpers/loopback.js'
import { freshPath, place } from './helpers/place.js'
import { startBus } from './protocols/dbus-daemon.js'
import { python, run } from './session/processes.js'

const fixture = (name: string): string => fileURLToPath(new URL(`../../test/protocols/fixtures/${name}`, import.meta.url))

async function curl(...args: string[]): Promise<{ status: number; body: string }> {
  const { stdout } = await promisify(execFile)('curl', ['-s', '-w', '\n%{http_code}', ...args])
  const [, body, status] = /^([^]*)\n(\d+)$/.exec(stdout)!
  return { status: Number(status), body: body! }
}

test("bridge: a gRPC service of Python's grpcio as REST, from its reflection, called by curl", async () => {
  const shop = run(python, [fixture('grpc_shop.py'), `${ownHost}:0`, place])
  const { command, at } = await bridging(`grpc://${ownHost}:${await shop.line('')}`, 'http://127.0.0.1:0', '--name', 'shop')
  try {
    const post = (path: string, body: string, ...more: string[]) => curl('--json', body, ...more, `${at}/shop/${path}`)
    const tea = {
      itemName: 'tea',
      price: '9007199254740993',
      size: 'LARGE',
      label: 'AAEC',
      since: '2026-02-28T12:00:00.000Z',
      stock: { 'a b': 1 },
      tags: ['x', 'ä'],
    }
    const put = await post('put', JSON.stringify(tea))
    assert.deepEqual([put.status, JSON.parse(put.body)], [200, tea])
    // It has no side effects, says its .proto: so GET asks for it.
    const got = await curl(`${at}/shop/get?itemName=tea`)
    assert.deepEqual([got.status, JSON.parse(got.body)], [200, tea])
    assert.deepEqual((await curl(`${at}/shop/put?itemName=tea`)).status, 405)
    // Its status says what is wrong, as a status of HTTP.
    const missing = await curl(`${at}/shop/get?itemName=coffee`)
    assert.deepEqual(
      [missing.status, JSON.parse(missing.body)],
      [404, { type: 'about:blank', title: 'NOT_FOUND', status: 404, detail: 'no coffee here', code: 'NOT_FOUND', outcome: 'ran' }],
    )
    const events = await post('countUp', '{"to":3}')
    assert.deepEqual(events.body.match(/data: \{.*/g), ['data: {"value":0}', 'data: {"value":1}', 'data: {"value":2}'])
    assert.match(events.body, /event: end/)
    const lines = ['-H', 'content-type: application/x-ndjson', '--data-binary', '{"value":3}\n{"value":4}\n']
    assert.deepEqual(await curl(...lines, `${at}/shop/sum`), { status: 200, body: '{"value":7}' })
    assert.equal((await post('clear', '')).status, 204)
    const wrong = await post('put', '{"price":"much"}')
    assert.match(wrong.body, /"status":400,.*price: expected a big integer"/)
    assert.equal((await post('put', '{"nobody":1}')).status, 400)
    // What it tells of itself has the field where a query has it.
    const { paths } = JSON.parse((await curl(`${at}/openapi.json`)).body) as { paths: Record<string, any> }
    assert.deepEqual(paths['/shop/get']?.get.parameters, [{ name: 'itemName', in: 'query', required: false, schema: { type: 'string' } }])
  } finally {
    assert.equal((await command.stop()).code, 0)
    await shop.kill()
  }
})

test('bridge: an object of python3-dbus as MCP tools, from its introspection, called by the client of the SDK', async () => {
  const bus = await startBus()
  const object = run('/usr/bin/python3', [fixture('dbus_peer.py'), 'serve', bus, 'org.example.Foreign'])
  await object.line('ready')
  const args = [program, 'bridge', `dbus:${bus}#org.example.Foreign/org/example/Foreign`, 'mcp:']
  const transport = new StdioClientTransport({
    command: process.execPath,
    args,
    env: process.env as Record<string, string>,
    stderr: 'pipe',
  })
  const notes = createInterface({ input: transport.stderr as Readable })[Symbol.asyncIterator]()
  const client = new McpClient({ name: 'test', version: '1' })
  await client.connect(transport)
  try {
    const { tools } = await client.listTools()
    assert.deepEqual(tools.map(({ name }) => name).sort(), [
      'Basics',
      'Containers',
      'Fail',
      'Level',
      'Made',
      'Nothing',
      'Numbers',
      'SetLevel',
      'Tell',
    ])
    for (const each of ['ReadAll', 'OpenFile'])
      assert.equal((await notes.next()).value, `left out: ${each}: a file descriptor does not pass a bridge`)
    const call = async (name: string, given: Record<string, unknown> = {}): Promise<any> => client.callTool({ name, arguments: given })
    const all = { y: 255, q: 1, i: -5, u: 5, x: '-9223372036854775808', t: '18446744073709551615', d: -0.5, b: true, s: 'ä', o: '/a/b' }
    assert.deepEqual(Object.values((await call('Basics', all)).structuredContent as object), Object.values(all))
    const data = { rows: [['a', 1]], named: { text: 'x' }, data: 'AAEC', free: ['y'] }
    assert.deepEqual(Object.values((await call('Containers', data)).structuredContent as object), Object.values(data))
    assert.deepEqual((await call('Numbers', { values: { 1: -1, 2: -2 } })).structuredContent, { result: { 1: -1, 2: -2 } })
    assert.deepEqual((await call('Nothing')).content, [])
    await call('SetLevel', { value: 9 })
    assert.deepEqual((await call('Level')).structuredContent, { result: 9 })
    // The property is a resource, too.
    const { contents } = await client.readResource({ uri: 'talkwire://org.example.Foreign/Level' })
    assert.equal((contents[0] as { text: string }).text, '9')
    const failed = await call('Fail', { text: 'why' })
    assert.deepEqual([failed.isError, failed.content[0].text.split('\n')[0]], [true, 'UNKNOWN: org.example.Foreign.Error.Broke: why'])
    const wrong = await call('Numbers', { values: [[1, -1]] })
    assert.match(wrong.content[0].text, /INVALID_INPUT: .*values: expected a Map/)
  } finally {
    await client.close()
    await object.kill()
  }
})

async function daemon(told: 'discover' | 'silent'): Promise<{ from: string; end(): Promise<void> }> {
  const path = freshPath('.sock')
  const child = run('python3', [fixture('jsonrpc_daemon.py'), path, told])
  await child.line('ready')
  return { from: `unix:${path}`, end: () => child.kill() }
}

const asking = (at: string) => async (query: string) =>
  JSON.parse((await curl('--json', JSON.stringify({ query }), `${at.replace('graphql+', '')}/graphql`)).body) as any

test("bridge: a JSON-RPC daemon of Python's standard library as GraphQL, called by curl", async () => {
  const { from, end } = await daemon('discover')
  const { command, at } = await bridging(from, 'graphql+http://127.0.0.1:0', '--framing', 'line')
  try {
    const ask = asking(at)
    assert.deepEqual(await ask('mutation { task_list { id title done tags } }'), {
      data: { task_list: [{ id: 1, title: 'water the plants', done: false, tags: null }] },
    })
    assert.deepEqual(
      await ask(
        'mutation { task_add(title: "tea", tags: ["a"]) { id tags } first: task_get(id: 1) { title } none: task_get(id: 9) { title } }',
      ),
      { data: { task_add: { id: 2, tags: ['a'] }, first: { title: 'water the plants' }, none: null } },
    )
    assert.deepEqual(await ask('mutation { stats }'), { data: { stats: { open: 2, 'all in all': 2 } } })
    const { errors, data } = await ask('mutation { task_add(title: "") { id } }')
    assert.deepEqual(data, { task_add: null })
    assert.equal(errors[0].message, 'a task without a title')
    assert.deepEqual(errors[0].extensions, { code: 'UNKNOWN', outcome: 'ran', details: { field: 'title' } })
    assert.equal((await ask('mutation { task_get(id: "x") { id } }')).errors[0].extensions.code, 'INVALID_INPUT')
    const { __type } = (await ask('{ __type(name: "Task") { fields { name } } }')).data
    assert.deepEqual(
      __type.fields.map((each: { name: string }) => each.name),
      ['id', 'title', 'done', 'tags'],
    )
  } finally {
    assert.equal((await command.stop()).code, 0)
    await end()
  }
})

test('bridge: a daemon that tells nothing of itself is refused, and served by a contract that was written for it', async () => {
  const { from, end } = await daemon('silent')
  const refused = start(['bridge', from, 'graphql+http://127.0.0.1:0', '--framing', 'line'])
  const { code, stderr } = await refused.ended
  assert.ok(code !== 0 && stderr.includes('UNSUPPORTED') && stderr.includes('write a contract'), stderr)
  const to = 'graphql+http://127.0.0.1:0'
  await assert.rejects(bridge(from, to, { connect: { framing: 'line' } }), fails('UNSUPPORTED'))
  const Task = z.object({ id: z.int(), title: z.string() })
  const tasks = contract('tasks/1', {
    'task.list': rpc({ output: z.array(Task), idempotent: true }),
    'task.add': rpc({ input: z.object({ title: z.string() }), output: Task }),
  })
  await using made = await bridge(from, to, { contract: tasks, connect: { framing: 'line' }, serve: { token: false, onError: () => {} } })
  const ask = asking(made.addresses[0]!)
  // A contract knows that listing changes nothing.
  assert.deepEqual(await ask('{ task_list { id title } }'), { data: { task_list: [{ id: 1, title: 'water the plants' }] } })
  assert.deepEqual(await ask('mutation { task_add(title: "tea") { id } }'), { data: { task_add: { id: 2 } } })
  await made.close()
  await end()
})
