import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, contract, rpc, serve, sessionOf, stream } from '../../src/index.js'
import { anything, collect, fails, fence, freshAddress, number, turn, until, wires } from './harness.js'

const jobs = contract('jobs/1', {
  run: rpc({ input: anything, output: anything }),
  note: rpc({ input: number, oneway: true }),
  endless: rpc({ output: stream(number) }),
})

for (const wire of wires) {
  const opened = async () => {
    const address = freshAddress(wire)
    const gate = fence()
    const started = fence()
    const notes: number[] = []
    const service = await serve(
      jobs,
      {
        async run(value) {
          started.pass()
          await gate.passed
          return value
        },
        note: (value) => void notes.push(value),
        async *endless() {
          for (let i = 0; ; i++) {
            yield i
            await turn()
          }
        },
      },
      { listen: address },
    )
    const client = await connect(jobs, address)
    return { address, gate, started, notes, service, client }
  }

  test(`${wire}: service.close() lets calls in flight finish, and their answers arrive`, async () => {
    const { address, gate, started, service, client } = await opened()
    const call = client.run('answer')
    await started.passed
    const closing = service.close()
    await until(() => !sessionOf(client)!.isOpen)
    gate.pass()
    assert.equal(await call, 'answer')
    await closing
    await assert.rejects(connect(jobs, address, { reconnect: false }), fails('PEER_NOT_FOUND', 'not-sent'))
    await client.close()
  })

  test(`${wire}: client.close() waits for its calls and delivers the last message`, async () => {
    const { gate, started, notes, service, client } = await opened()
    const call = client.run(5)
    await started.passed
    for (let i = 0; i < 1000; i++) void client.note(i)
    const closing = client.close()
    gate.pass()
    assert.equal(await call, 5)
    await closing
    await until(() => service.peers.length === 0)
    assert.equal(notes.length, 1000)
    await assert.rejects(client.run(1), fails('CONNECTION_CLOSED', 'not-sent'))
    await service.close()
  })

  test(`${wire}: streams are told to stop when the service closes`, async () => {
    const { service, client } = await opened()
    const reading = collect(client.endless())
    await until(() => service.stats()[0]!.handling === 1)
    const rejected = assert.rejects(reading, fails('UNAVAILABLE', 'maybe-ran'))
    await service.close()
    await rejected
    await client.close()
  })

  test(`${wire}: a handler that never ends does not keep close() for ever`, async () => {
    const { started, service, client } = await opened()
    const call = client.run(1)
    await started.passed
    const rejected = assert
      .rejects(call, fails('CONNECTION_LOST', 'maybe-ran').bind(undefined))
      .catch(() => assert.rejects(call, fails('CONNECTION_CLOSED', 'maybe-ran')))
    await service.close({ timeout: 20 })
    await rejected
    await client.close()
  })

  test(`${wire}: closing twice, from both sides at once, while calls run`, async () => {
    const { gate, started, service, client } = await opened()
    const call = client.run('x')
    await started.passed
    gate.pass()
    await Promise.all([service.close(), client.close(), service.close(), client.close(), call])
    assert.equal(service.peers.length, 0)
  })

  test(`${wire}: when the peer aborts, what is in flight settles as maybe-ran`, async () => {
    const { started, service, client } = await opened()
    const call = client.run(1)
    await started.passed
    const { TalkwireError } = await import('../../src/index.js')
    const outcome = call.then(
      () => 'settled',
      (error: { code: string; outcome: string }) => `${error.code}/${error.outcome}`,
    )
    sessionOf(client)!.abort(new TalkwireError('CONNECTION_LOST', 'cut'))
    assert.equal(await outcome, 'CONNECTION_LOST/maybe-ran')
    await client.close()
    await service.close({ timeout: 10 })
  })
}
