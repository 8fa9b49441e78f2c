import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, contract, rpc, serve, sessionOf, stream, type Context } from '../../src/index.js'
import { anything, fails, fence, freshAddress, number, turn, until, wires } from './harness.js'

const work = contract('work/1', {
  wait: rpc({ input: anything, output: anything }),
  nested: rpc({ input: anything, output: anything }),
  ticks: rpc({ output: stream(number) }),
})

for (const wire of wires) {
  const opened = async (overrides: object = {}) => {
    const address = freshAddress(wire)
    const started = fence<Context>()
    const stopped = fence<unknown>()
    const service = await serve(
      work,
      {
        wait: (_, ctx) =>
          new Promise((_, reject) => {
            started.pass(ctx as Context)
            ctx.signal.addEventListener('abort', () => {
              stopped.pass(ctx.signal.reason)
              reject(ctx.signal.reason)
            })
          }),
        nested: (_, ctx) => client.wait(1, { from: ctx }),
        async *ticks(_, ctx) {
          try {
            for (let i = 0; !ctx.signal.aborted; i++) {
              yield i
              await turn()
            }
          } finally {
            stopped.pass(ctx.signal.reason)
          }
        },
        ...overrides,
      },
      { listen: address, onError: () => {} },
    )
    const client = await connect(work, address)
    return {
      service,
      client,
      started,
      stopped,
      [Symbol.asyncDispose]: async () => {
        await client.close()
        await service.close()
      },
    }
  }

  test(`${wire}: cancelling rejects with the signal's own reason and stops the handler`, async () => {
    await using pair = await opened()
    const controller = new AbortController()
    const call = pair.client.wait(1, { signal: controller.signal })
    await pair.started.passed
    const reason = new Error('changed my mind')
    controller.abort(reason)
    await assert.rejects(call, (error) => error === reason)
    assert.ok(fails('CANCELLED')(await pair.stopped.passed))
    await until(() => pair.service.stats()[0]!.handling === 0)
  })

  test(`${wire}: a signal that has already aborted sends nothing`, async () => {
    let ran = false
    await using pair = await opened({
      wait: () => {
        ran = true
      },
    })
    const reason = new Error('before')
    await assert.rejects(pair.client.wait(1, { signal: AbortSignal.abort(reason) }), (error) => error === reason)
    await turn()
    await assert.rejects(pair.client.ticks(undefined, { signal: AbortSignal.abort(reason) }).next(), (error) => error === reason)
    assert.equal(ran, false)
  })

  test(`${wire}: a deadline ends the call here and the work there`, async () => {
    await using pair = await opened()
    await assert.rejects(pair.client.wait(1, { timeout: 30 }), fails('DEADLINE_EXCEEDED', 'maybe-ran'))
    const context = await pair.started.passed
    assert.ok(context.deadline! > performance.now() - 5000)
    const reason = (await pair.stopped.passed) as { code: string }
    assert.ok(['DEADLINE_EXCEEDED', 'CANCELLED'].includes(reason.code))
  })

  test(`${wire}: without a deadline there is none`, async () => {
    const seen = fence<number | undefined>()
    await using pair = await opened({
      wait: (_: unknown, ctx: Context) => {
        seen.pass(ctx.deadline)
        return 1
      },
    })
    await pair.client.wait(1)
    assert.equal(await seen.passed, undefined)
  })

  test(`${wire}: deadline and cancellation travel through nested calls`, async () => {
    await using pair = await opened()
    const controller = new AbortController()
    const call = pair.client.nested(1, { signal: controller.signal, timeout: 60_000 })
    const inner = await pair.started.passed
    const left = inner.deadline! - performance.now()
    assert.ok(left > 0 && left <= 60_000, `the inner call has ${left} ms left`)
    controller.abort(new Error('stop'))
    await assert.rejects(call, /stop/)
    assert.ok(fails('CANCELLED')(await pair.stopped.passed))
  })

  test(`${wire}: a deadline that a nested call notices first is still the caller's`, async () => {
    await using pair = await opened({ wait: () => new Promise(() => {}) })
    for (let i = 0; i < 40; i++)
      await assert.rejects(pair.client.nested(1, { timeout: 3 + i / 7 }), fails('DEADLINE_EXCEEDED', 'maybe-ran'))
    await pair.service.close({ timeout: 0 })
  })

  test(`${wire}: cancelling a stream stops its generator`, async () => {
    await using pair = await opened()
    const controller = new AbortController()
    const reason = new Error('enough')
    await assert.rejects(
      async () => {
        for await (const tick of pair.client.ticks(undefined, { signal: controller.signal })) if (tick === 2) controller.abort(reason)
      },
      (error) => error === reason,
    )
    await pair.stopped.passed
    await until(() => pair.service.stats()[0]!.handling === 0)
  })

  test(`${wire}: a cancelled call leaves nothing behind, and a late answer is ignored`, async () => {
    const gate = fence()
    await using pair = await opened({
      wait: async () => {
        await gate.passed
        return 'late'
      },
    })
    const session = sessionOf(pair.client)!
    for (let i = 0; i < 50; i++) {
      const controller = new AbortController()
      const call = pair.client.wait(i, { signal: controller.signal })
      controller.abort()
      await assert.rejects(call)
    }
    assert.equal(session.stats().pending, 0)
    gate.pass()
    await until(() => pair.service.stats()[0]!.handling === 0)
    assert.equal(sessionOf(pair.client), session)
    assert.equal(session.state, 'open')
  })

  test(`${wire}: calls that were cancelled count against the limit until their handlers have ended`, async () => {
    const gate = fence()
    let running = 0
    const address = freshAddress(wire)
    const service = await serve(
      work,
      {
        wait: async () => {
          running++
          await gate.passed
          return 1
        },
        nested: () => 1,
        ticks: () => [],
      },
      { listen: address, limits: { calls: 5 } },
    )
    const client = await connect(work, address)
    const refused: Promise<unknown>[] = []
    for (let i = 0; i < 20; i++) {
      const controller = new AbortController()
      refused.push(client.wait(i, { signal: controller.signal }).catch((reason: unknown) => reason))
      await turn()
      await turn()
      controller.abort()
    }
    await Promise.all(refused)
    assert.ok(running <= 5, `${running} handlers run at once`)
    gate.pass()
    await client.close()
    await service.close()
  })
}

test('a timeout is a positive number', async () => {
  const address = freshAddress('memory')
  const service = await serve('x', { add: (a: number) => a }, { listen: address })
  const client = await connect(address)
  await assert.rejects(sessionOf(client)!.call('add', [1], { timeout: -1 }), TypeError)
  await assert.rejects(sessionOf(client)!.call('add', [1], { timeout: NaN }), TypeError)
  await client.close()
  await service.close()
})
