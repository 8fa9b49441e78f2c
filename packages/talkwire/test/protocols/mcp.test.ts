import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { ResourceUpdatedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import * as z from 'zod'
import { statusOf } from '../helpers/status.js'
import { testDialect } from '../../compliance/index.js'
import { quoteWords } from '../../src/address.js'
import { connect, contract, rpc, serve, stream, withOptions, type TalkwireError } from '../../src/index.js'
import { mcpHttp, mcpSpawn } from '../../src/protocols/mcp.js'
import { fails } from '../helpers/expect.js'
import { bank, openBank } from './fixtures/mcp-service.js'

const raw = (address: string): net.Socket => {
  const { hostname, port } = new URL(address)
  return net.connect(Number(port), hostname)
}

testDialect({
  test,
  dialect: mcpSpawn,
  address: () => 'mcp:',
  child: (command) => `mcp+spawn:${quoteWords(command)}`,
})
testDialect({ test, dialect: mcpHttp, address: () => 'mcp+http://127.0.0.1:0', raw })

// ── strangers call ───────────────────────────────────────────────────────────────────────────────

const fixture = (name: string): string => fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url))
const urlOf = (address: string): URL => new URL(`${address.slice('mcp+'.length)}/mcp`)

async function withSdk(transport: object, use: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ name: 'sdk', version: '1' })
  await client.connect(transport as never)
  try {
    await use(client)
  } finally {
    await client.close()
  }
}

const overStdio = (): object => new StdioClientTransport({ command: process.execPath, args: [fixture('mcp-service')] })

/** What an AI client sees of the bank, over either wire. */
async function seesTheBank(client: Client): Promise<void> {
  const { tools } = await client.listTools()
  assert.deepEqual(
    tools.map(({ name }) => name),
    ['deposit', 'balance', 'rate', 'shout', 'watch', 'load', 'work', 'go', 'wait'],
  )
  assert.match(tools[0]!.description!, /AccountClosed/)
  assert.equal(tools[1]!.annotations!.idempotentHint, true)
  const call = (name: string, args: object, options?: object): Promise<any> =>
    client.callTool({ name, arguments: args as Record<string, unknown> }, undefined, options)

  const deposit = await call('deposit', { account: 'a', amount: 5 })
  assert.deepEqual(
    [deposit.structuredContent, deposit.content],
    [{ account: 'a', amount: 5 }, [{ type: 'text', text: '{"account":"a","amount":5}' }]],
  )
  assert.deepEqual((await call('rate', {})).structuredContent, { result: 1.5 })
  assert.deepEqual(await call('shout', { input: 'ä' }), { content: [{ type: 'text', text: 'Ä' }], structuredContent: { result: 'Ä' } })
  assert.deepEqual(
    (
      await call('load', {
        items: [
          { account: 'a', amount: 2 },
          { account: 'a', amount: 3 },
        ],
      })
    ).structuredContent,
    { total: 5 },
  )

  const closed = await call('deposit', { account: 'closed', amount: 5 })
  assert.equal(closed.isError, true)
  assert.deepEqual(closed.content, [{ type: 'text', text: 'AccountClosed: that account is closed\n{"since":"Monday"}' }])
  assert.deepEqual(closed._meta['talkwire/error'].data, { code: 'AccountClosed', outcome: 'ran', details: { since: 'Monday' } })
  const broken = await call('deposit', { account: 'broken', amount: 5 })
  assert.ok(broken.isError && !JSON.stringify(broken).includes('secret'))
  const invalid = await call('deposit', { account: 5 })
  assert.ok(invalid.isError && invalid.content[0].text.startsWith('INVALID_INPUT'))
  await assert.rejects(call('constructor', {}), (reason: any) => reason.code === -32602)

  const heard: unknown[] = []
  const onprogress = (progress: unknown): void => {
    if (heard.push(progress) === 3) void call('go', {})
  }
  assert.deepEqual((await call('work', { steps: 3 }, { onprogress })).structuredContent, { result: 'worked' })
  assert.deepEqual(
    heard,
    [1, 2, 3].map((step) => ({ progress: step, total: 3, message: `step ${step}` })),
  )
  const items = [0, 1, 2].map((amount) => ({ account: 'a', amount }))
  assert.deepEqual((await call('watch', { account: 'a' })).structuredContent, { items, complete: true })
  const endless = (await call('watch', { account: 'endless' })).structuredContent
  assert.deepEqual([endless.items.length, endless.complete], [1000, false])

  const { resources } = await client.listResources()
  assert.deepEqual(
    resources.map(({ uri }) => uri),
    ['talkwire://bank/rate', 'talkwire://bank/overdrawn'],
  )
  const { resourceTemplates } = await client.listResourceTemplates()
  assert.deepEqual(
    resourceTemplates.map(({ uriTemplate }) => uriTemplate),
    ['talkwire://bank/balance{?account}'],
  )
  const read = async (uri: string): Promise<unknown> =>
    JSON.parse((await client.readResource({ uri })).contents.map((each: any) => each.text).join())
  assert.equal(await read('talkwire://bank/rate'), 1.5)
  assert.deepEqual(await read('talkwire://bank/balance?account=a%20b'), { account: 'a b', amount: 7 })
  await assert.rejects(client.readResource({ uri: 'talkwire://bank/deposit' }), (reason: any) => reason.code === -32002)
  await assert.rejects(client.readResource({ uri: 'file:///etc/passwd' }), (reason: any) => reason.code === -32002)
}

test('mcp: a client of the SDK sees tools, resources, progress and errors over stdin and stdout', () => withSdk(overStdio(), seesTheBank))

test('mcp: and over HTTP, where it also hears events and cancels', async () => {
  const { starting, happened } = openBank('mcp+http://127.0.0.1:0')
  await using service = await starting
  await withSdk(new StreamableHTTPClientTransport(urlOf(service.addresses[0]!)), async (client) => {
    await seesTheBank(client)
    const elements: unknown[] = []
    const onprogress = ({ progress, message }: { progress: number; message?: string | undefined }): unknown =>
      elements.push([progress, message])
    await client.callTool({ name: 'watch', arguments: { account: 'a' } }, undefined, { onprogress })
    assert.deepEqual(
      elements,
      [0, 1, 2].map((amount) => [amount + 1, `{"account":"a","amount":${amount}}`]),
    )
    const updated = new Promise<string>((resolve) =>
      client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => resolve(params.uri)),
    )
    const uri = 'talkwire://bank/overdrawn'
    await client.subscribeResource({ uri })
    service.emit('overdrawn', { account: 'a' })
    assert.equal(await updated, uri)
    assert.equal((await client.readResource({ uri })).contents.map((each: any) => each.text).join(), '{"account":"a"}')

    const controller = new AbortController()
    const call = client.callTool({ name: 'wait' }, undefined, { signal: controller.signal })
    while (!happened.includes('waits')) await client.ping()
    controller.abort('enough')
    await assert.rejects(call)
    while (!happened.includes('aborted')) await client.ping()
  })
})

// ── strangers are called ─────────────────────────────────────────────────────────────────────────

interface Tools {
  add(input: { a: number; b: number }): { sum: number }
  greet(name: string): string
  refuse(): never
  wait(): void
  steps(): string
}

async function callsTheSdk(address: string, stderr: (text: string) => Promise<void>): Promise<void> {
  const client: any = await connect<Tools & Record<string, never>>(address, { reconnect: false })
  assert.deepEqual(await client.add({ a: 2, b: 5 }), { sum: 7 })
  assert.deepEqual(await client.add(2, 5), { sum: 7 })
  assert.equal(await client.greet('you'), 'hello you')
  const refused: TalkwireError = await client.refuse().catch((reason: TalkwireError) => reason)
  assert.deepEqual([refused.code, refused.outcome, refused.message], ['UNKNOWN', 'ran', '[UNKNOWN] not today'])
  await assert.rejects(client.add(1, 2, 3), fails('INVALID_INPUT'))
  const heard: unknown[] = []
  assert.equal(await withOptions(client, { onProgress: (progress: unknown) => heard.push(progress) } as never).steps(), 'done')
  assert.deepEqual(
    heard,
    [1, 2, 3].map((progress) => ({ progress, total: 3 })),
  )
  const controller = new AbortController()
  const waiting = withOptions(client, { signal: controller.signal }).wait()
  await stderr('waits')
  controller.abort(new Error('enough'))
  await assert.rejects(waiting, /enough/)
  await stderr('aborted')
  await client.close()

  const typed = contract('math/1', {
    add: rpc({ input: z.object({ a: z.number(), b: z.number() }), output: z.object({ sum: z.number() }) }),
    greet: rpc({ input: z.string(), output: z.string() }),
  })
  await using math = await connect(typed, address, { reconnect: false })
  assert.deepEqual(await math.add({ a: 1, b: 1 }), { sum: 2 })
  assert.equal(await math.greet('x'), 'hello x')
  await assert.rejects(connect(contract('other/1', { subtract: rpc({}) }), address, { reconnect: false }), fails('CONTRACT_MISMATCH'))
}

/** Resolves when the text has stood there. */
const saying =
  (lines: AsyncIterator<string>) =>
  async (text: string): Promise<void> => {
    for (;;) {
      const { value, done } = await lines.next()
      assert.ok(!done, `${text} was never said`)
      if (value === text) return
    }
  }

test("mcp: a server of the SDK is called over HTTP, by anybody's tools or with a contract", async () => {
  const child = spawn(process.execPath, [fixture('mcp-sdk-server'), 'http'], { stdio: ['ignore', 'pipe', 'pipe'] })
  try {
    const { value } = await createInterface(child.stdout)[Symbol.asyncIterator]().next()
    await callsTheSdk(value as string, saying(createInterface(child.stderr)[Symbol.asyncIterator]()))
  } finally {
    child.kill()
    await once(child, 'exit')
  }
})

test('mcp: a server of the SDK is started and called over its stdin and stdout', async () => {
  // What it says on stderr is ours; here only that it came to an end counts.
  await callsTheSdk(`mcp+spawn:${quoteWords([process.execPath, fixture('mcp-sdk-server')])}`, () => Promise.resolve())
})

// ── Talkwire over stdin and stdout ───────────────────────────────────────────────────────────────

test('mcp: our service is started and called over its stdin and stdout', async () => {
  const address = `mcp+spawn:${quoteWords([process.execPath, fixture('mcp-service')])}`
  const client = await connect(bank, address, { reconnect: false })
  assert.deepEqual(await client.deposit({ account: 'a', amount: 5 }), { account: 'a', amount: 5 })
  await assert.rejects(
    client.deposit({ account: 'closed', amount: 5 }),
    (reason: any) => reason.code === 'AccountClosed' && reason.declared && reason.details.since === 'Monday',
  )
  const seen: number[] = []
  for await (const { amount } of client.watch({ account: 'endless' })) {
    if (seen.push(amount) === 5000) break
  }
  assert.deepEqual([seen.length, seen.at(-1)], [5000, 4999])
  // Progress is left out while what was said before it has not left; this answer comes behind all of it.
  assert.equal(await client.shout('a'), 'A')
  const heard: unknown[] = []
  const onProgress = (value: unknown): void => {
    if (heard.push(value) === 2) void client.go()
  }
  assert.equal(await client.work({ steps: 2 }, { onProgress }), 'worked')
  assert.deepEqual(heard.length, 2)
  await client.close()
  await assert.rejects(
    connect(`mcp+spawn:${quoteWords([process.execPath, '-e', ''])}`, { reconnect: false }),
    fails('CONNECTION_CLOSED', 'PEER_EXITED'),
  )
  await assert.rejects(connect('mcp+spawn:no-such-program', { reconnect: false }), fails('START_FAILED'))
  await assert.rejects(connect('mcp:', { reconnect: false }), fails('UNSUPPORTED'))
})

// ── bad input ────────────────────────────────────────────────────────────────────────────────────

const ping = { jsonrpc: '2.0', id: 1, method: 'ping' }

test('mcp: what is no message is answered with the error of JSON-RPC, over HTTP', async () => {
  await using service = await openBank('mcp+http://127.0.0.1:0').starting
  const url = urlOf(service.addresses[0]!)
  const post = async (body: string, headers: Record<string, string> = {}): Promise<[number, unknown]> => {
    const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } })
    const text = await response.text()
    return [response.status, text === '' ? undefined : (JSON.parse(text) as any).error?.code]
  }
  for (const [body, status, code] of [
    ['', 400, -32700],
    ['{', 400, -32700],
    ['[]', 400, -32600],
    [`[${'{},'.repeat(1e5)}{}]`, 400, -32600],
    ['{"jsonrpc":"1.0","id":1,"method":"ping"}', 400, -32600],
    ['{"jsonrpc":"2.0","id":{},"method":"ping"}', 400, -32600],
    ['{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', 400, -32600],
    ['{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"__proto__":{"a":1}}}', 400, -32008],
    ['['.repeat(1e5), 400, -32700],
    [`${'['.repeat(80)}${']'.repeat(80)}`, 400, -32007],
    ['{"jsonrpc":"2.0","id":1,"method":"toString"}', 200, -32601],
    ['{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"toString"}}', 200, -32602],
    ['{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"work","_meta":{"talkwire/call":{"timeout":"x"}}}}', 200, undefined],
    ['{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}', 202, undefined],
    ['{"jsonrpc":"2.0","method":"notifications/talkwire/credit","params":{"requestId":1,"bytes":-1}}', 202, undefined],
    [JSON.stringify(ping), 200, undefined],
  ] as const)
    assert.deepEqual(await post(body), [status, code], body.slice(0, 100))
  for (const [name, hint] of [
    ['wrok', 'there is no tool "wrok"; did you mean "work"?'],
    ['elsewhere', 'there is no tool "elsewhere"; tools/list names them'],
  ]) {
    const body = JSON.stringify({ ...ping, method: 'tools/call', params: { name } })
    const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
    assert.equal(((await response.json()) as any).error.message, hint)
  }
  assert.deepEqual(await post(JSON.stringify(ping), { 'content-type': 'text/plain' }), [415, -32600])
  assert.deepEqual(await post(JSON.stringify(ping), { 'mcp-protocol-version': '1999-01-01' }), [400, -32600])
  assert.deepEqual(await post(JSON.stringify(ping), { 'mcp-session-id': 'nobody' }), [404, -32600])
  assert.equal((await post(JSON.stringify(ping), { origin: 'http://evil.test' }))[0], 403)
  assert.equal(await statusOf(url, { method: 'PUT' }), 405)
  assert.equal(await statusOf(url), 400)
  await using guarded = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: 'mcp+http://127.0.0.1:0' })
  const response = await fetch(urlOf(guarded.addresses[0]!), {
    method: 'POST',
    body: JSON.stringify(ping),
    headers: { 'content-type': 'application/json' },
  })
  await response.text()
  assert.deepEqual([response.status, response.headers.get('www-authenticate')], [401, 'Bearer'])
  await assert.rejects(connect(guarded.addresses[0]!, { reconnect: false }), fails('UNAUTHENTICATED'))
  await using client: any = await connect(guarded.addresses[0]!, { token: guarded.token!, reconnect: false })
  assert.equal(await client.add(2, 5), 7)
  await assert.rejects(client.constructor_(), fails('INVALID_INPUT', 'METHOD_NOT_FOUND'))
})

test('mcp: and on stdin, where answers still come after its end', async () => {
  const child = spawn(process.execPath, [fixture('mcp-service')], { stdio: ['pipe', 'pipe', 'inherit'] })
  const call = { jsonrpc: '2.0', id: 'last', method: 'tools/call', params: { name: 'balance', arguments: { account: 'a' } } }
  child.stdin.end(['{"jsonrpc":"2.0"}', '{"a":', '[]', JSON.stringify(ping), JSON.stringify(call)].join('\n') + '\n')
  const answers: any[] = []
  for await (const line of createInterface(child.stdout)) answers.push(JSON.parse(line))
  assert.deepEqual(
    answers.map(({ id, error, result }) => [id, error?.code ?? result.structuredContent ?? result]),
    [
      [null, -32600],
      [null, -32700],
      [null, -32600],
      [1, {}],
      ['last', { account: 'a', amount: 7 }],
    ],
  )
})

test('mcp: who grants without end and does not read fills no memory, and progress is left out for who is slow', async () => {
  const { starting, state } = openBank('mcp+http://127.0.0.1:0')
  await using service = await starting
  const url = urlOf(service.addresses[0]!)
  const post = (message: object): Promise<Response> =>
    fetch(url, {
      method: 'POST',
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, ...message }),
      headers: { 'content-type': 'application/json' },
    })
  const call = (name: string, args: object, _meta: object): Promise<Response> =>
    post({ method: 'tools/call', params: { name, arguments: args, _meta } })
  const unread = await call('watch', { account: 'endless' }, { progressToken: 1, 'talkwire/call': { raw: true, credit: 1e15 } })
  for (let seen = -1; seen !== state.produced;) {
    seen = state.produced
    for (let round = 0; round < 10; round++) await (await post({ method: 'ping' })).text()
  }
  // A notification is of more than 100 bytes, and limits.outgoing are 16 MiB.
  assert.ok(state.produced < 200_000, String(state.produced))
  await unread.body!.cancel()

  const steps = call('work', { steps: 100_000 }, { progressToken: 1 })
  await (await call('go', {}, {})).text()
  const text = await (await steps).text()
  assert.ok(text.endsWith('}\n\n') && text.includes('worked') && text.length < 1e6, `${text.length} characters`)
})

test('mcp: streams both ways are refused at the start', async () => {
  const both = contract('both/1', { chat: rpc({ input: stream(z.string()), output: stream(z.string()) }) })
  async function* chat(lines: AsyncIterable<string>): AsyncGenerator<string> {
    yield* lines
  }
  await assert.rejects(serve(both, { chat }, { listen: 'mcp+http://127.0.0.1:0' }), fails('UNSUPPORTED'))
})

// ── the suite of MCP itself ──────────────────────────────────────────────────────────────────────

const conformance = fileURLToPath(import.meta.resolve('@modelcontextprotocol/conformance/package.json')).replace(
  /package\.json$/,
  'dist/index.js',
)
const conforms = (...args: string[]): Promise<string> =>
  promisify(execFile)(process.execPath, [conformance, ...args]).then(
    ({ stdout, stderr }) => stdout + stderr,
    ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr,
  )

test('mcp: the scenarios of the conformance suite that are about tools, as a server', async () => {
  const tools = contract('conformance/1', {
    test_simple_text: rpc({ output: z.string() }),
    test_error_handling: rpc({}),
    test_tool_with_progress: rpc({}),
  })
  const handlers = {
    test_simple_text: () => 'This is a simple text response for testing.',
    test_error_handling() {
      throw new Error('secret')
    },
    test_tool_with_progress(_: unknown, { progress }: { progress: (value: unknown) => void }) {
      for (const value of [0, 50, 100]) progress({ progress: value, total: 100 })
    },
  }
  await using service = await serve(tools, handlers as never, { listen: 'mcp+http://127.0.0.1:0', token: false, onError: () => {} })
  const told = await conforms('server', '--url', urlOf(service.addresses[0]!).href)
  // The others want prompts, pictures, logging, or resources at addresses of their own.
  for (const scenario of [
    'server-initialize',
    'ping',
    'tools-list',
    'tools-call-simple-text',
    'tools-call-error',
    'tools-call-with-progress',
    'server-sse-multiple-streams',
    'resources-list',
    'dns-rebinding-protection',
  ])
    assert.ok(told.includes(`✓ ${scenario}: `), `${scenario}\n${told}`)
})

// Its scenario tools_call connects one Server twice, which the SDK beside it refuses; the SDK's own server stands for it above.
test('mcp: and as a client', async () => {
  const command = quoteWords([process.execPath, fixture('mcp-conformance-client')])
  const told = await conforms('client', '--command', command, '--scenario', 'initialize')
  assert.match(told, /\b0 failed/, told)
})
