/** What a client is told of its connection: `closed`, and `onConnection`. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, context, implement, serve, sessionOf, TalkwireError, type ConnectionChange, type Client } from '../../src/index.js'
import { service } from './fixtures/server.js'
import { fails, fence, freshAddress, until, wires } from './harness.js'
import { fixture } from './processes.js'

const start = async (address: string) => {
  const server = fixture(import.meta.url, 'server.js', address)
  await server.line('listening')
  return server
}
const told = (changes: readonly ConnectionChange[]): string[] =>
  changes.map(({ state, cause }) => (cause ? `${state} ${cause.code}` : state))

for (const wire of wires) {
  test(`${wire}: client.closed resolves with nothing when either side closes on purpose`, async () => {
    for (const which of ['client', 'service'] as const) {
      const changes: ConnectionChange[] = []
      const running = await serve('x', { add: (a: number, b: number) => a + b }, { listen: freshAddress(wire) })
      const client = await connect(running.addresses[0]!, { reconnect: false, onConnection: (change) => changes.push(change) })
      const { closed } = client
      assert.equal(client.closed, closed)
      await (which === 'client' ? client : running).close()
      assert.equal(await closed, undefined)
      assert.equal(await client.closed, undefined)
      await client.close()
      await running.close()
      assert.deepEqual(told(changes), ['open', 'closed'])
    }
  })

  test(`${wire}: client.closed resolves with the reason when the connection is lost, also when asked for later`, async () => {
    const changes: ConnectionChange[] = []
    const running = await serve('x', { add: (a: number, b: number) => a + b }, { listen: freshAddress(wire) })
    const client = await connect(running.addresses[0]!, { reconnect: false, onConnection: (change) => changes.push(change) })
    const { closed } = client
    const cause = new TalkwireError('CONNECTION_LOST', 'cut')
    sessionOf(client)!.abort(cause)
    assert.equal(await closed, cause)
    await client.close()
    assert.equal(await client.closed, cause)
    assert.deepEqual(told(changes), ['open', 'closed CONNECTION_LOST'])
    await running.close()
  })

  test(`${wire}: a handler knows when its caller is gone`, async () => {
    const asked = fence<Client<{ ping(): string }>>()
    const running = await serve(
      'x',
      { hold: () => asked.pass(context<Client<{ ping(): string }>>().caller) },
      { listen: freshAddress(wire) },
    )
    const client = await connect<{ hold(): void }>(running.addresses[0]!, { serve: implement({ ping: () => 'pong' }), reconnect: false })
    await client.hold()
    const caller = await asked.passed
    assert.equal(await caller.ping(), 'pong')
    const { closed } = caller
    await client.close()
    assert.equal(await closed, undefined)
    assert.equal(await caller.closed, undefined)
    await running.close()
  })
}

test('a caller that was asked for after it had gone has ended, too', async () => {
  const gate = fence()
  const seen = fence<unknown>()
  const running = await serve(
    'x',
    {
      async hold() {
        const ctx = context<Client<object>>()
        await gate.passed
        seen.pass(await ctx.caller.closed)
      },
    },
    { listen: freshAddress('unix') },
  )
  const client = await connect<{ hold(): void }>(running.addresses[0]!, { reconnect: false })
  const call = assert.rejects(client.hold(), fails('CONNECTION_LOST', 'maybe-ran'))
  await until(() => running.stats()[0]?.handling === 1)
  sessionOf(client)!.abort(new TalkwireError('CONNECTION_LOST', 'cut'))
  await call
  await until(() => running.peers.length === 0)
  gate.pass()
  await seen.passed
  await running.close()
})

test('a client that connects again tells of each connection, and has ended when it was closed', async () => {
  const address = freshAddress('unix')
  const changes: ConnectionChange[] = []
  let server = await start(address)
  const client = await connect(service, address, { onConnection: (change) => changes.push(change), reconnect: { initial: 1, max: 5 } })
  let ended = false
  void client.closed.then(() => (ended = true))
  assert.deepEqual(told(changes), ['open'])
  await server.kill('SIGKILL')
  await until(() => changes.length === 2)
  server = await start(address)
  assert.equal(await client.look(1), 1)
  await server.kill('SIGTERM')
  await until(() => changes.length === 4)
  server = await start(address)
  assert.equal(await client.look(2), 2)
  assert.equal(ended, false)
  await client.close()
  assert.equal(await client.closed, undefined)
  assert.deepEqual(told(changes), ['open', 'lost CONNECTION_LOST', 'open', 'lost', 'open', 'closed'])
  await server.kill('SIGTERM')
})

test('"open" comes after the subscriptions have healed', async () => {
  const address = freshAddress('unix')
  const heard: unknown[] = []
  let shouted: Promise<unknown> | undefined
  let opened = 0
  let server = await start(address)
  const client = await connect(service, address, {
    reconnect: { initial: 1, max: 5 },
    onConnection({ state }) {
      if (state === 'open' && ++opened === 2) shouted = client.shout('healed')
    },
  })
  await client.on('heard', (value) => heard.push(value))
  await server.kill('SIGKILL')
  server = await start(address)
  await until(() => shouted !== undefined)
  await shouted
  assert.deepEqual(heard, ['healed'])
  await client.close()
  await server.kill('SIGTERM')
})

test('closed while it tries to connect again: lost, then closed, without a reason', async () => {
  const address = freshAddress('unix')
  const changes: ConnectionChange[] = []
  const server = await start(address)
  const client = await connect(service, address, { onConnection: (change) => changes.push(change) })
  await server.kill('SIGKILL')
  const waiting = assert.rejects(client.look(1), (error: TalkwireError) => error.outcome !== 'ran')
  await until(() => changes.length === 2)
  await client.close()
  await waiting
  assert.deepEqual(told(changes), ['open', 'lost CONNECTION_LOST', 'closed'])
  assert.equal(await client.closed, undefined)
})

test('what onConnection throws goes to onError', async () => {
  const errors: unknown[] = []
  const running = await serve('x', { add: (a: number, b: number) => a + b }, { listen: freshAddress('memory') })
  const client = await connect<{ add(a: number, b: number): number }>(running.addresses[0]!, {
    onConnection() {
      throw new RangeError('mine')
    },
    onError: (error, what) => errors.push([what, (error as Error).message]),
  })
  assert.equal(await client.add(2, 5), 7)
  await client.close()
  assert.deepEqual(errors, [
    ['onConnection', 'mine'],
    ['onConnection', 'mine'],
  ])
  await running.close()
})
