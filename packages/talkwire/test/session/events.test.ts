import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, contract, event, rpc, serve, sessionOf } from '../../src/index.js'
import { fails, fence, freshAddress, is, number, turn, until, wires } from './harness.js'

const bytes = is<Uint8Array>('bytes', (value) => value instanceof Uint8Array)
const news = contract('news/1', {
  overdrawn: event(is<{ account: string }>('an account', (v) => typeof (v as { account?: unknown })?.account === 'string')),
  tick: event(number),
  blob: event(bytes),
  ping: rpc(),
})

for (const wire of wires) {
  test(`${wire}: events reach who subscribed, in order, until they unsubscribe`, async () => {
    const address = freshAddress(wire)
    const service = await serve(news, { ping: () => {} }, { listen: address })
    const [a, b] = [await connect(news, address), await connect(news, address)]
    const got: unknown[] = []
    const also: unknown[] = []
    const off = await a.on('overdrawn', (payload) => got.push(payload.account))
    await a.on('tick', (value) => got.push(value))
    const offSecond = await a.on('tick', (value) => also.push(value))
    service.emit('overdrawn', { account: 'x' })
    service.emit('tick', 1)
    service.emit('tick', 2)
    await a.ping()
    assert.deepEqual(got, ['x', 1, 2])
    assert.deepEqual(also, [1, 2])
    await off()
    await offSecond()
    service.emit('overdrawn', { account: 'y' })
    service.emit('tick', 3)
    await a.ping()
    await b.ping()
    assert.deepEqual(got, ['x', 1, 2, 3])
    assert.deepEqual(also, [1, 2])
    await a.close()
    await b.close()
    await service.close()
  })

  test(`${wire}: an unknown event is refused on both sides`, async () => {
    const address = freshAddress(wire)
    const service = await serve(news, { ping: () => {} }, { listen: address })
    const client = await connect(news, address)
    await assert.rejects(
      client.on('nothing' as never, () => {}),
      fails('INVALID_INPUT', 'not-sent'),
    )
    assert.throws(() => service.emit('nothing' as never, {} as never), TypeError)
    await assert.rejects(client.on('tick', undefined as never), TypeError)
    await client.close()
    await service.close()
  })

  test(`${wire}: a payload that does not fit, and a listener that throws, are reported and harm nobody`, async () => {
    const address = freshAddress(wire)
    const service = await serve(news, { ping: () => {} }, { listen: address })
    const errors: unknown[] = []
    const client = await connect(news, address, { onError: (error) => errors.push(error) })
    const got: number[] = []
    await client.on('tick', (value) => {
      got.push(value)
      if (value === 1) throw new Error('listener')
    })
    await client.on('tick', (value) => got.push(value * 10))
    for (const value of [1, 'two' as unknown as number, 3]) service.emit('tick', value)
    await client.ping()
    assert.deepEqual(got, [1, 10, 3, 30])
    assert.deepEqual(
      errors.map((error) => (error as Error).message.slice(0, 17)),
      ['listener', '[INVALID_MESSAGE]'],
    )
    await client.close()
    await service.close()
  })
}

test('a subscriber that does not read loses events, is told how many, and costs bounded memory; others lose none', async () => {
  const address = freshAddress('unix')
  const service = await serve(news, { ping: () => {} }, { listen: address, limits: { outgoing: 300_000 } })
  const [slow, quick] = [await connect(news, address), await connect(news, address)]
  let lost = 0
  let received = 0
  let quickly = 0
  const end = fence()
  await slow.on('blob', (value, info) => {
    received++
    lost += info.lost
    if (value[0] === 255) end.pass()
  })
  await quick.on('blob', () => void quickly++)
  sessionOf(slow)!.connection.pause()
  const sent = 400
  for (let i = 0; i < sent; i++) {
    service.emit('blob', new Uint8Array(10_000))
    await turn()
    for (const { buffered } of service.stats()) assert.ok(buffered < 400_000, `${buffered} bytes wait for one subscriber`)
  }
  await until(() => quickly === sent)
  sessionOf(slow)!.connection.resume()
  await until(() => service.stats().every(({ buffered }) => buffered === 0))
  service.emit('blob', new Uint8Array(10_000).fill(255))
  await end.passed
  assert.ok(lost > 0, 'nothing was lost: the test has no slow subscriber')
  assert.equal(received + lost, sent + 1)
  await slow.close()
  await quick.close()
  await service.close()
})
