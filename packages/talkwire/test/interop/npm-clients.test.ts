/** Unmodified clients of other makers against a Talkwire service: over a Unix socket and over stdio. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { JSONRPCClient, type JSONRPCResponse } from 'json-rpc-2.0'
import * as rpc from 'vscode-jsonrpc/node'
import { serve } from '../../src/index.js'
import { fence, freshAddress, socketPathOf, until } from '../session/harness.js'

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
