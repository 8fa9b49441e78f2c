import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import net from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { testDialect } from '../../compliance/index.js'
import { Random } from '../../compliance/random.js'
import { connect, contract, event, rpc, serve, stream } from '../../src/index.js'
import { nodeipc } from '../../src/protocols/nodeipc.js'
import { fails } from '../helpers/expect.js'
import { freshPort, ownHost } from '../helpers/loopback.js'
import { freshPath } from '../helpers/place.js'

const unixAddress = (): string => `nodeipc:${freshPath()}`
const tcpAddress = (): string => `nodeipc://${ownHost}:${freshPort()}`

testDialect({ test, dialect: nodeipc, address: unixAddress, raw: (address) => net.connect(address.slice('nodeipc:'.length)) })

const bank = contract('bank/1', {
  deposit: rpc({
    input: z.object({ account: z.string(), amount: z.number() }),
    output: z.object({ balance: z.number() }),
    errors: { AccountClosed: z.object({ since: z.string() }) },
  }),
  'app.message': rpc({ input: z.any(), oneway: true }),
  ping: rpc({}),
  slow: rpc({ input: z.object({ text: z.string() }), output: z.string() }),
  news: event(z.object({ text: z.string() })),
})

/** The package node-ipc in a process of its own, told what to do over Node's channel. */
async function nodeIpc(role: 'serve' | 'connect', where: string): Promise<ChildProcess> {
  const child = fork(fileURLToPath(new URL('./fixtures/node-ipc.js', import.meta.url)), [role, where])
  const first = await Promise.race([once(child, 'message'), once(child, 'exit')])
  assert.deepEqual(first, ['ready', undefined])
  return child
}

async function ended(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

/** What the child was told, in order. */
function inbox(child: ChildProcess): () => Promise<unknown> {
  const got: unknown[] = []
  let wake = (): void => {}
  child.on('message', (message) => {
    got.push(message)
    wake()
  })
  return async () => {
    while (got.length === 0)
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    return got.shift()
  }
}

const whereOf = (address: string): string => address.slice('nodeipc:'.length)

for (const [kind, address] of [
  ['a Unix socket', unixAddress],
  ['TCP', tcpAddress],
] as const) {
  test(`nodeipc: node-ipc's client emits to a contract, and hears answers and broadcasts, over ${kind}`, async () => {
    const notes: unknown[] = []
    const at = address()
    await using service = await serve(
      bank,
      {
        deposit({ account, amount }, ctx) {
          if (account === 'closed') throw ctx.error('AccountClosed', { since: 'Monday' }, 'no more of this')
          if (account === 'secret') throw new Error('secret')
          return { balance: amount + 1 }
        },
        'app.message': (data) => void notes.push(data),
        ping() {},
        slow: ({ text }) => text,
      },
      { listen: at, onError: () => {} },
    )
    const child = await nodeIpc('connect', whereOf(at))
    try {
      const next = inbox(child)
      const emit = (type: string, data?: unknown): boolean => child.send({ type, data })
      emit('app.message', { id: 'world', message: 'ä\f"😀' })
      emit('app.message', [1, null, 0, false])
      emit('deposit', { account: 'a', amount: 5 })
      assert.deepEqual(await next(), ['deposit', { balance: 6 }])
      assert.deepEqual(notes, [{ id: 'world', message: 'ä\f"😀' }, [1, null, 0, false]])
      for (const [account, code, more] of [
        ['closed', 'AccountClosed', { message: 'no more of this', declared: true, details: { since: 'Monday' } }],
        ['secret', 'INTERNAL', { message: 'internal error' }],
      ] as const) {
        emit('deposit', { account, amount: 5 })
        assert.deepEqual(await next(), ['deposit:error', { code, outcome: 'ran', ...more }])
      }
      emit('deposit', { account: 'a' })
      const [type, data] = (await next()) as [string, any]
      assert.deepEqual([type, data.code, data.outcome], ['deposit:error', 'INVALID_INPUT', 'not-sent'])
      emit('nobody')
      assert.equal(((await next()) as any)[1].code, 'METHOD_NOT_FOUND')
      emit('ping')
      assert.equal(((await next()) as any)[0], 'ping')
      emit('slow', { text: 'x'.repeat(200_000) })
      assert.deepEqual(await next(), ['slow', 'x'.repeat(200_000)])
      service.emit('news', { text: 'today' })
      assert.deepEqual(await next(), ['news', { text: 'today' }])
    } finally {
      await ended(child)
    }
  })

  test(`nodeipc: node-ipc's server is called, and heard, over ${kind}`, async () => {
    const at = address()
    const child = await nodeIpc('serve', whereOf(at))
    try {
      const next = inbox(child)
      const client = await connect(bank, at, { reconnect: false })
      let heard!: (value: unknown) => void
      const news = new Promise((resolve) => {
        heard = resolve
      })
      await client.on('news', heard)
      assert.deepEqual(await client.deposit({ account: 'a', amount: 5 }), { balance: 6 })
      const error = await client.deposit({ account: 'closed', amount: 5 }).catch((reason: unknown) => reason as any)
      assert.deepEqual([error.code, error.details, error.outcome], ['UNKNOWN', 'closed since Monday', 'ran'])
      await client['app.message']({ message: 'ä\f"😀' })
      assert.deepEqual(await next(), ['app.message', { message: 'ä\f"😀' }])
      assert.equal(await client.ping(), undefined)
      const many = await Promise.all(Array.from({ length: 200 }, (_, amount) => client.deposit({ account: 'a', amount })))
      assert.deepEqual(
        many,
        many.map((_, index) => ({ balance: index + 1 })),
      )
      assert.equal(await client.slow({ text: 'y'.repeat(200_000) }), 'y'.repeat(200_000))
      child.send({ type: 'news', data: { text: 'today' } })
      assert.deepEqual(await news, { text: 'today' })
      const never = client.slow({ text: 'never' }).catch((reason: unknown) => reason)
      assert.deepEqual(await next(), ['slow', 'never'])
      await ended(child)
      assert.equal(((await never) as any).code, 'CONNECTION_LOST')
      await client.close()
    } finally {
      await ended(child)
    }
  })
}

test('nodeipc: a bare name is where node-ipc has its sockets', async () => {
  const name = `talkwire-${process.pid}`
  await using service = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: `nodeipc:${name}` })
  assert.deepEqual(service.addresses, [`nodeipc:/tmp/app.${name}`])
  const client = await connect<{ add(a: number, b: number): number }>(`nodeipc:${name}`)
  assert.equal(await client.add(2, 5), 7)
  await client.close()
})

test('nodeipc: answers of one method keep the order of its calls, whatever takes longer', async () => {
  const gates: (() => void)[] = []
  const slow = contract('slow/1', { wait: rpc({ input: z.number(), output: z.number() }), quick: rpc({ output: z.number() }) })
  const handlers = {
    wait: async (number: number) => {
      await new Promise<void>((resolve) => gates.push(resolve))
      return number
    },
    quick: () => gates.length,
  }
  await using service = await serve(slow, handlers, { listen: unixAddress() })
  const client = await connect(slow, service.addresses[0]!)
  const order: number[] = []
  const calls = [0, 1, 2].map((number) => client.wait(number).then((value) => order.push(value)))
  while ((await client.quick()) < 3);
  for (const gate of gates.toReversed()) gate()
  await Promise.all(calls)
  assert.deepEqual(order, [0, 1, 2])
  await client.close()
})

test('nodeipc: what it cannot carry is refused at start', async () => {
  const streams = contract('streams/1', { count: rpc({ output: stream(z.number()) }) })
  await assert.rejects(serve(streams, { async *count() {} }, { listen: unixAddress() }), fails('UNSUPPORTED'))
  await assert.rejects(
    serve('calc', { f: () => 1 }, { listen: 'nodeipc://0.0.0.0:0' }),
    fails('PERMISSION_DENIED', 'INVALID_ADDRESS', 'UNSUPPORTED'),
  )
  await assert.rejects(serve('calc', { f: () => 1 }, { listen: 'nodeipc:../x' }), fails('INVALID_ADDRESS'))
})

test('nodeipc: what is no message is told so, and nothing else is disturbed', async () => {
  const at = unixAddress()
  await using service = await serve('echo', { echo: (value: unknown) => value }, { listen: at, limits: { message: 100_000, depth: 20 } })
  const socket = net.connect(whereOf(at))
  await once(socket, 'connect')
  socket.setEncoding('utf8')
  let text = ''
  let wake = (): void => {}
  socket.on('data', (chunk: string) => {
    text += chunk
    wake()
  })
  const answer = async (): Promise<any> => {
    while (!text.includes('\f'))
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    const end = text.indexOf('\f')
    const first = JSON.parse(text.slice(0, end)) as unknown
    text = text.slice(end + 1)
    return first
  }
  for (const [code, message] of [
    ['INVALID_MESSAGE', ''],
    ['INVALID_MESSAGE', '{'],
    ['INVALID_MESSAGE', 'null'],
    ['INVALID_MESSAGE', '[]'],
    ['INVALID_MESSAGE', '{"type":1}'],
    ['INVALID_MESSAGE', '\u0000'],
    ['FORBIDDEN_KEY', '{"type":"echo","data":{"__proto__":{"a":1}}}'],
    ['TOO_DEEP', `{"type":"echo","data":${'['.repeat(30)}${']'.repeat(30)}}`],
    ['METHOD_NOT_FOUND', '{"type":"constructor"}'],
    ['METHOD_NOT_FOUND', '{"type":"__proto__"}'],
    ['METHOD_NOT_FOUND', '{"type":"rpc.hello"}'],
  ] as const) {
    socket.write(`${message}\f`)
    const { type, data } = await answer()
    assert.match(type, /error$/)
    assert.equal(data.code, code, message)
  }
  socket.write('{"type":"echo","da')
  socket.write('ta":[7]}\f{"type":"echo","data":[8]}\f')
  assert.deepEqual(
    [await answer(), await answer()],
    [
      { type: 'echo', data: 7 },
      { type: 'echo', data: 8 },
    ],
  )
  const random = new Random(4711)
  const good = '{"type":"echo","data":[{"a":"b"}]}'
  for (let round = 0; round < 300; round++) {
    const cut = random.below(good.length)
    socket.write(`${good.slice(0, cut)}${String.fromCharCode(32 + random.below(90))}${good.slice(cut + random.below(3))}\f`)
    assert.match((await answer()).type, /error$|^echo$/)
  }
  const closed = once(socket, 'close')
  socket.write('x'.repeat(200_000))
  assert.equal((await answer()).data.code, 'MESSAGE_TOO_LARGE')
  await closed
  assert.equal(({} as any).a, undefined)
  const client: any = await connect(service.addresses[0]!)
  assert.equal(await client.echo(1), 1)
  await client.close()
  await rm(whereOf(at), { force: true })
})

test('nodeipc: a server that answers with what is no message ends the connection, and its calls', async () => {
  const at = freshPath()
  const server = net.createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => socket.write('{"type":\f'))
  })
  server.listen(at)
  await once(server, 'listening')
  const client: any = await connect(`nodeipc:${at}`, { reconnect: false })
  await assert.rejects(client.anything(), fails('INVALID_MESSAGE'))
  await client.close()
  server.close()
  await once(server, 'close')
})
