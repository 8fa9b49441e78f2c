/** Waiting for one event. */
import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import { connect, contract, event, rpc, serve, sessionOf, withOptions } from '../../src/index.js'
import { linkOf } from '../../src/session/client.js'
import { fails, freshAddress, number, turn, until, wires } from './harness.js'

const clock = contract('clock/1', { tick: event(number), tock: event(number), emit: rpc({ input: number }) })
async function serveClock(address: string) {
  const service = await serve(
    clock,
    {
      emit(value) {
        service.emit('tick', value)
      },
    },
    { listen: address },
  )
  return service
}
/** Longer than any test may take. */
const AGES = 3_600_000

for (const wire of wires) {
  test(`${wire}: once resolves with the next event, and takes no more`, async () => {
    const address = freshAddress(wire)
    const service = await serveClock(address)
    const client = await connect(clock, address)
    const [first, also, other] = [client.once('tick'), client.once('tick', { timeout: AGES }), client.once('tock')]
    await client.emit(1)
    await client.emit(2)
    assert.deepEqual(await Promise.all([first, also]), [1, 1])
    const next = client.once('tick')
    await client.emit(3)
    assert.equal(await next, 3)
    service.emit('tock', 4)
    assert.equal(await other, 4)
    await client.close()
    await service.close()
  })

  test(`${wire}: once ends with its deadline, its signal, a refusal, or the client, and leaves nothing behind`, async () => {
    const address = freshAddress(wire)
    const service = await serveClock(address)
    const client = await connect(clock, address)
    await assert.rejects(client.once('tick', { timeout: 1 }), fails('DEADLINE_EXCEEDED'))
    await assert.rejects(withOptions(client, { timeout: 1 }).once('tick'), fails('DEADLINE_EXCEEDED'))
    await assert.rejects(client.once('tick', { timeout: 0 }), TypeError)
    const stop = new AbortController()
    const stopped = client.once('tick', { signal: stop.signal })
    stop.abort(new Error('enough'))
    await assert.rejects(stopped, /enough/)
    await assert.rejects(client.once('tick', { signal: stop.signal }), /enough/)
    await Promise.all([1, 2].map(() => assert.rejects(client.once('nothing' as never), fails('INVALID_INPUT'))))
    assert.equal(getEventListeners(stop.signal, 'abort').length, 0)
    const session = sessionOf(client)!
    await until(() => session.calls.size === 0)
    const { subscriptions, endings } = linkOf(client) as unknown as { subscriptions: Map<string, unknown>; endings: Set<unknown> }
    assert.deepEqual([subscriptions.size, endings.size], [0, 0])
    const pending = client.once('tick')
    const refused = assert.rejects(pending, fails('CONNECTION_CLOSED'))
    await turn()
    await client.close()
    await refused
    await assert.rejects(client.once('tick'), fails('CONNECTION_CLOSED'))
    await service.close()
  })
}

test('once waits through a lost connection', async () => {
  const address = freshAddress('unix')
  const first = await serveClock(address)
  const client = await connect(clock, address, { reconnect: { initial: 1 } })
  const coming = client.once('tick')
  await client.emit(0)
  assert.equal(await coming, 0)
  const later = client.once('tick')
  const lost = sessionOf(client)!
  await first.close({ timeout: 1 })
  const second = await serveClock(address)
  await until(() => sessionOf(client) !== lost && sessionOf(client)!.isOpen && second.stats().length === 1)
  await client.emit(5)
  assert.equal(await later, 5)
  await client.close()
  await second.close()
})
