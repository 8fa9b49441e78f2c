/** Unmodified clients of other makers against a Talkwire service: over a Unix socket and over stdio. And a server of theirs for a Talkwire client. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { JSONRPCClient, type JSONRPCResponse } from 'json-rpc-2.0'
import * as rpc from 'vscode-jsonrpc/node'
import { soon } from '../../compliance/ends.js'
import { connect, contract, event, rpc as method, serve, type TalkwireError } from '../../src/index.js'
import { anything, fence, freshAddress, number, socketPathOf, until } from '../session/harness.js'

const functions = {
  add: (a: number, b: number) => a + b,
  greet: ({ name }: { name: string }) => `hello ${name}`,
  boom: () => {
    throw new Error('secret')
  },
  wait: () => new Promise(() => {}),
}

async function useVscode(reader: NodeJS.ReadableStream, writer: NodeJS.WritableStream): Promise<void> {
  const connection = rpc.createMessageConnection(new rpc.StreamMessageReader(reader), new rpc.StreamMessageWriter(writer))
  connection.listen()
  assert.equal(await connection.sendRequest('add', 2, 5), 7)
  assert.equal(await connection.sendRequest('greet', { name: 'LSP' }), 'hello LSP')
  await assert.rejects(connection.sendRequest('boom'), { code: -32603, message: 'internal error' })
  await assert.rejects(connection.sendRequest('nope'), { code: -32601 })
  assert.deepEqual(await Promise.all([1, 2, 3].map((n) => connection.sendRequest('add', n, n))), [2, 4, 6])
  connection.dispose()
}

async function useJsonRpc2(reader: NodeJS.ReadableStream, writer: NodeJS.WritableStream): Promise<void> {
  const client = new JSONRPCClient((request) => void writer.write(`${JSON.stringify(request)}\n`))
  let rest = ''
  reader.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split('\n')
    rest = lines.pop()!
    for (const line of lines) client.receive(JSON.parse(line) as JSONRPCResponse)
  })
  assert.equal(await client.request('add', [2, 5]), 7)
  assert.equal(await client.request('greet', { name: 'you' }), 'hello you')
  await assert.rejects(async () => client.request('nope', []), { code: -32601 })
  const batch = await client.requestAdvanced([
    { jsonrpc: '2.0', id: 100, method: 'add', params: [1, 1] },
    { jsonrpc: '2.0', id: 101, method: 'add', params: [2, 2] },
  ])
  assert.deepEqual(batch.map(({ result }) => result as number).sort(), [2, 4])
}

for (const [name, use] of [
  ['vscode-jsonrpc', useVscode],
  ['json-rpc-2.0', useJsonRpc2],
] as const) {
  test(`${name} calls a service over a Unix socket`, async () => {
    const address = freshAddress('unix')
    const service = await serve('calc', functions, { listen: address, onError: () => {} })
    const socket = net.connect(socketPathOf(address))
    await use(socket, socket)
    socket.end()
    await until(() => service.peers.length === 0)
    await service.close()
  })

  test(`${name} calls a child over its stdin and stdout`, async () => {
    const child = spawn(process.execPath, [fileURLToPath(new URL('fixtures/stdio-server.js', import.meta.url))], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    await use(child.stdout, child.stdin)
    const exited = once(child, 'exit')
    child.stdin.end()
    assert.deepEqual(await exited, [0, null])
  })
}

test('vscode-jsonrpc cancels a call with its own token', async () => {
  const address = freshAddress('unix')
  const stopped = fence()
  const { context } = await import('../../src/index.js')
  const service = await serve(
    'calc',
    {
      wait: () =>
        new Promise((_, reject) =>
          context().signal.addEventListener('abort', () => {
            stopped.pass()
            reject(new Error('stopped'))
          }),
        ),
    },
    { listen: address, onError: () => {} },
  )
  const socket = net.connect(socketPathOf(address))
  const connection = rpc.createMessageConnection(new rpc.StreamMessageReader(socket), new rpc.StreamMessageWriter(socket))
  connection.listen()
  const source = new rpc.CancellationTokenSource()
  const call = connection.sendRequest('wait', source.token)
  await until(() => service.stats()[0]?.handling === 1)
  source.cancel()
  await stopped.passed
  await assert.rejects(call, { code: -32800 })
  connection.dispose()
  socket.end()
  await service.close()
})

// ── a server of vscode-jsonrpc, and our client ───────────────────────────────────────────────────

/** Told of each connection before it listens. */
async function vscodeServer(
  accept: (connection: rpc.MessageConnection) => void,
  strategy?: rpc.MessageStrategy,
): Promise<AsyncDisposable & { address: string }> {
  const address = freshAddress('unix')
  const server = net.createServer((socket) => {
    const connection = rpc.createMessageConnection(new rpc.StreamMessageReader(socket), new rpc.StreamMessageWriter(socket), undefined, {
      ...(strategy && { messageStrategy: strategy }),
    })
    accept(connection)
    connection.listen()
  })
  server.listen(socketPathOf(address))
  await once(server, 'listening')
  return { address, [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) }
}

const header = { framing: 'header', reconnect: false } as const
const errorOf = (call: Promise<unknown>): Promise<TalkwireError> =>
  soon(call, 'an answer').then(
    () => assert.fail('no error'),
    (reason: TalkwireError) => reason,
  )

test('a server of vscode-jsonrpc is called, and its errors are what they are', async () => {
  await using server = await vscodeServer((connection) => {
    connection.onRequest('add', (a: number, b: number) => a + b)
    connection.onRequest('greet', ({ name }: { name: string }) => `hello ${name}`)
    connection.onRequest('fail', ({ name }: { name: string }) => {
      if (name === 'thrown') throw new Error('it broke')
      throw {
        declared: new rpc.ResponseError(-32010, 'it is closed', { code: 'AccountClosed', details: { since: 'Monday' } }),
        whole: new rpc.ResponseError(-32010, 'it is closed', { code: 'AccountClosed', outcome: 'not-sent', details: { since: 'Monday' } }),
        own: new rpc.ResponseError(-32803, 'not now', { code: 'ENOENT' }),
      }[name]
    })
  })
  await using client = await connect<{ add(a: number, b: number): number; nope(): void }>(server.address, header)
  assert.deepEqual(await Promise.all([1, 2, 3].map((each) => client.add(each, each))), [2, 4, 6])
  const bank = contract('bank/1', {
    greet: method({ input: anything, output: anything }),
    fail: method({ input: anything, output: anything, errors: { AccountClosed: anything } }),
  })
  await using typed = await connect(bank, server.address, header)
  assert.equal(await typed.greet({ name: 'LSP' }), 'hello LSP')
  const said = async (name: string): Promise<unknown[]> => {
    const { code, declared, outcome, details } = await errorOf(typed.fail({ name }))
    return [code, declared, outcome, details]
  }
  assert.deepEqual(await said('declared'), ['AccountClosed', true, 'ran', { since: 'Monday' }])
  assert.deepEqual(await said('whole'), ['AccountClosed', true, 'not-sent', { since: 'Monday' }])
  assert.deepEqual(await said('thrown'), ['INTERNAL', false, 'ran', undefined])
  assert.deepEqual(await said('own'), ['UNKNOWN', false, 'ran', { code: 'ENOENT' }])
  const { message, cause } = await errorOf(typed.fail({ name: 'own' }))
  assert.deepEqual([message, cause], ['[UNKNOWN] not now', { code: -32803, message: 'not now', data: { code: 'ENOENT' } }])
  const { code, outcome } = await errorOf(client.nope())
  assert.deepEqual([code, outcome], ['METHOD_NOT_FOUND', 'not-sent'])
})

test('a server of vscode-jsonrpc and our client notify each other', async () => {
  const accounts = contract('accounts/1', {
    note: method({ input: anything, oneway: true }),
    changed: event(number),
    count: method({ output: number }),
  })
  const heard: number[] = []
  await using server = await vscodeServer((connection) => {
    connection.onNotification('note', ({ value }: { value: number }) => {
      heard.push(value)
      void connection.sendNotification('other', 0)
      void connection.sendNotification('changed', value)
    })
    connection.onRequest('count', () => heard.length)
  })
  await using client = await connect(accounts, server.address, header)
  const told: number[] = []
  const off = await client.on('changed', (value) => void told.push(value))
  for (const value of [1, 2, 3]) await client.note({ value })
  assert.equal(await client.count(), 3)
  await until(() => told.length === 3)
  await off()
  await client.note({ value: 4 })
  assert.equal(await client.count(), 4)
  assert.deepEqual(
    [heard, told],
    [
      [1, 2, 3, 4],
      [1, 2, 3],
    ],
  )
})

test('a server of vscode-jsonrpc tells after a reconnect, too', async () => {
  const connections: rpc.MessageConnection[] = []
  await using server = await vscodeServer((connection) => {
    connections.push(connection)
    connection.onRequest('end', () => connection.end())
    connection.onRequest('tell', () => connection.sendNotification('news', 7))
  })
  await using client = await connect<{ end(): void; tell(): void }>(server.address, { framing: 'header' })
  const told = fence<number>()
  await client.on('news', told.pass)
  await client.end().catch(() => {})
  await until(() => connections.length === 2)
  await soon(client.tell(), 'the answer')
  assert.equal(await soon(told.passed, 'the event'), 7)
})

test('a server of vscode-jsonrpc is told that a call is cancelled, by its caller and by its deadline', async () => {
  const begun = fence()
  let stopped = 0
  await using server = await vscodeServer((connection) => {
    connection.onRequest('wait', async (token: rpc.CancellationToken) => {
      begun.pass()
      await new Promise<void>((resolve) => void token.onCancellationRequested(() => resolve()))
      stopped++
      throw new rpc.ResponseError(-32800, 'stopped')
    })
    connection.onRequest('stopped', () => stopped)
  })
  const waiting = contract('waiting/1', { wait: method({ output: anything }), stopped: method({ output: number }) })
  await using client = await connect(waiting, server.address, header)
  const stop = new AbortController()
  const call = client.wait(undefined, { signal: stop.signal })
  await begun.passed
  const reason = new Error('changed my mind')
  stop.abort(reason)
  await assert.rejects(soon(call, 'the end'), (error) => error === reason)
  assert.equal(await client.stopped(), 1)
  assert.equal((await errorOf(client.wait(undefined, { timeout: 5 }))).code, 'DEADLINE_EXCEEDED')
  while ((await client.stopped()) !== 2);
})

test('a server of vscode-jsonrpc says how far a call has come', async () => {
  const percent = new rpc.ProgressType<number>()
  let id: number | string | null = null
  await using server = await vscodeServer(
    (connection) => {
      connection.onRequest('work', async () => {
        for (const done of [50, 100]) await connection.sendProgress(percent, id as number, done)
        return 'done'
      })
    },
    {
      async handleMessage(message, next) {
        if (rpc.Message.isRequest(message)) ({ id } = message)
        await next(message)
      },
    },
  )
  const work = contract('work/1', { work: method({ output: anything }) })
  await using client = await connect(work, server.address, header)
  const heard: unknown[] = []
  assert.equal(await client.work(undefined, { onProgress: (value) => void heard.push(value) }), 'done')
  assert.deepEqual(heard, [50, 100])
})

test('a server of vscode-jsonrpc that is met by the wrong framing says nothing, and the error says which there are', async () => {
  await using server = await vscodeServer((connection) => void connection.onError(() => {}))
  const { code, message } = await errorOf(connect(server.address, { reconnect: false, limits: { handshake: 50 } }))
  assert.equal(code, 'DEADLINE_EXCEEDED')
  assert.match(message, /framing: 'header'/)
})

test('a child with vscode-jsonrpc on its stdin and stdout is called', async () => {
  const file = fileURLToPath(new URL('fixtures/vscode-server.js', import.meta.url))
  await using client = await connect<{ add(a: number, b: number): number }>(`spawn+stdio:${process.execPath} ${file}`, header)
  assert.equal(await client.add(2, 5), 7)
})
