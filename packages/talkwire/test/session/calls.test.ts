import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, context, contract, isError, rpc, serve, sessionOf, TalkwireError, withOptions } from '../../src/index.js'
import { anything, fails, fence, freshAddress, is, number, text, turn, until, wires } from './harness.js'

const bank = contract('bank/1', {
  deposit: rpc({
    input: is<{ account: string; amount: number }>('an entry', (v) => typeof (v as { amount?: unknown })?.amount === 'number'),
    output: number,
    errors: { AccountClosed: anything },
  }),
  broken: rpc({ output: number }),
  asynchronous: rpc({ input: anything, output: anything }),
  note: rpc({ input: text, oneway: true }),
  ping: rpc(),
})

for (const wire of wires) {
  const opened = async (overrides: object = {}, options: object = {}) => {
    const address = freshAddress(wire)
    const notes: string[] = []
    const errors: unknown[] = []
    const service = await serve(
      bank,
      {
        deposit({ account, amount }, ctx) {
          if (account === 'closed') throw ctx.error('AccountClosed', { since: '2020' })
          return amount + 1
        },
        broken: () => 'seven' as unknown as number,
        asynchronous: async (input) => input,
        note: (line) => void notes.push(line),
        ping: () => {},
        ...overrides,
      },
      { listen: address, onError: (error: unknown) => errors.push(error), ...options },
    )
    const client = await connect(bank, address)
    return {
      service,
      client,
      notes,
      errors,
      address,
      [Symbol.asyncDispose]: async () => {
        await client.close()
        await service.close()
      },
    }
  }

  test(`${wire}: a call with a contract`, async () => {
    await using pair = await opened()
    assert.equal(await pair.client.deposit({ account: 'a', amount: 4 }), 5)
    assert.equal(await pair.client.ping(), undefined)
  })

  test(`${wire}: what the caller sends is validated by the callee, before the handler`, async () => {
    let ran = 0
    await using pair = await opened({ deposit: () => ran++ })
    await assert.rejects(pair.client.deposit({ account: 'a' } as never), fails('INVALID_INPUT', 'not-sent'))
    assert.equal(ran, 0)
  })

  test(`${wire}: what the callee sends is validated by the caller`, async () => {
    await using pair = await opened()
    await assert.rejects(pair.client.broken(), fails('INVALID_OUTPUT', 'ran'))
  })

  test(`${wire}: a declared error arrives with its details and its type`, async () => {
    await using pair = await opened()
    const error: unknown = await pair.client.deposit({ account: 'closed', amount: 1 }).catch((reason: unknown) => reason)
    assert.ok(isError(error, bank, 'deposit', 'AccountClosed'))
    assert.deepEqual(error.details, { since: '2020' })
    assert.equal(error.outcome, 'ran')
    assert.match(error.message, /^\[AccountClosed\]/)
  })

  test(`${wire}: any other error is "internal error" to the peer, and whole to the service`, async () => {
    await using pair = await opened({
      asynchronous: async () => {
        throw new Error('secret password')
      },
      deposit: () => {
        throw new TalkwireError('Undeclared', 'secret too', { declared: true })
      },
    })
    for (const call of [pair.client.asynchronous(1), pair.client.deposit({ account: 'a', amount: 1 })]) {
      const error = await call.catch((reason: TalkwireError) => reason)
      assert.equal((error as TalkwireError).message, '[INTERNAL] internal error')
      assert.equal((error as TalkwireError).outcome, 'ran')
      assert.ok(!JSON.stringify(error).includes('secret'))
    }
    assert.deepEqual(
      pair.errors
        .map((error) => (error as Error).message)
        .sort()
        .reverse(),
      ['secret password', '[Undeclared] secret too'],
    )
  })

  test(`${wire}: a result that cannot be sent is an error, not silence`, async () => {
    await using pair = await opened({ asynchronous: async () => Symbol('no') })
    await assert.rejects(pair.client.asynchronous(1), fails('INVALID_OUTPUT', 'ran'))
    assert.equal(await pair.client.deposit({ account: 'a', amount: 1 }), 2)
  })

  test(`${wire}: an argument that cannot be sent is a TypeError, and nothing is sent`, async () => {
    await using pair = await opened()
    await assert.rejects(pair.client.asynchronous({ at: Symbol('no') }), TypeError)
    assert.equal(await pair.client.asynchronous(3), 3)
  })

  test(`${wire}: one-way calls arrive in order and are not answered`, async () => {
    await using pair = await opened()
    for (let index = 0; index < 100; index++) await pair.client.note(`line ${index}`)
    await pair.client.ping()
    assert.deepEqual(
      pair.notes,
      Array.from({ length: 100 }, (_, index) => `line ${index}`),
    )
  })

  test(`${wire}: calls in flight are answered in the order they finish`, async () => {
    const gates = [fence(), fence(), fence()]
    await using pair = await opened({
      asynchronous: async (index: number) => {
        await gates[index]!.passed
        return index
      },
    })
    const order: number[] = []
    const calls = [0, 1, 2].map((index) => pair.client.asynchronous(index).then((value) => order.push(value)))
    for (const index of [2, 0, 1]) {
      gates[index]!.pass()
      await until(() => order.includes(index))
    }
    await Promise.all(calls)
    assert.deepEqual(order, [2, 0, 1])
  })

  test(`${wire}: more calls than the limit are refused, the others go on`, async () => {
    const gate = fence()
    await using pair = await opened(
      {
        asynchronous: async (value: number) => {
          await gate.passed
          return value
        },
      },
      { limits: { calls: 3 } },
    )
    const calls = [1, 2, 3, 4].map((value) => pair.client.asynchronous(value))
    await assert.rejects(calls[3]!, fails('LIMIT_EXCEEDED', 'not-sent'))
    gate.pass()
    assert.deepEqual(await Promise.all(calls.slice(0, 3)), [1, 2, 3])
  })

  test(`${wire}: names from the wire never reach a prototype`, async () => {
    const address = freshAddress(wire)
    const service = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: address })
    const client = await connect<Record<string, () => unknown>>(address)
    const session = sessionOf(client)!
    const inherited = [
      'constructor',
      '__proto__',
      'prototype',
      '__defineGetter__',
      '__defineSetter__',
      '__lookupGetter__',
      '__lookupSetter__',
      'hasOwnProperty',
      'isPrototypeOf',
      'propertyIsEnumerable',
      'toLocaleString',
      'toString',
      'valueOf',
      'then',
      'catch',
      'finally',
      'apply',
      'bind',
      'call',
      'arguments',
      'caller',
      'length',
      'name',
      'get',
      'set',
      'has',
      'delete',
      'clear',
      'size',
      'keys',
      'values',
      'entries',
      'forEach',
      'add ',
      ' add',
      'add\0',
      'ADD',
      '',
      '#',
      '#1',
      '#1.constructor',
      'rpc.',
      'rpc.constructor',
    ]
    for (const name of inherited) await assert.rejects(session.call(name, []), fails('METHOD_NOT_FOUND', 'not-sent'), name)
    assert.equal(await session.call('add', [2, 5]), 7)
    await client.close()
    await service.close()
  })
}

test('functions without a contract: positional arguments, named ones as one object, context()', async () => {
  const address = freshAddress('memory')
  class Counter {
    private total = 0
    increase(by: number): number {
      return (this.total += by)
    }
    _hidden(): void {}
  }
  const functions = {
    add: (a: number, b: number) => a + b,
    named: (options: { a: number }) => options.a,
    who: () => context().method,
    rest: (...all: number[]) => all.length,
  }
  const service = await serve('calc', functions, { listen: address })
  const client = await connect<typeof functions>(address)
  assert.equal(await client.add(2, 5), 7)
  assert.equal(await client.rest(1, 2, 3), 3)
  assert.equal(await client.who(), 'who')
  assert.equal(await sessionOf(client)!.call('named', { a: 3 }), 3)
  assert.throws(() => context(), TypeError)
  await client.close()
  await service.close()
  const counter = await serve('counter', new Counter(), { listen: address })
  const remote = await connect<Counter>(address)
  await remote.increase(2)
  assert.equal(await remote.increase(3), 5)
  await assert.rejects(sessionOf(remote)!.call('_hidden', []), fails('METHOD_NOT_FOUND'))
  await remote.close()
  await counter.close()
})

test('both ends serve and call on one connection', async () => {
  const { implement } = await import('../../src/index.js')
  const ui = contract('ui/1', { confirm: rpc({ input: text, output: is<boolean>('a boolean', (v) => typeof v === 'boolean') }) })
  const core = contract('core/1', { remove: rpc({ input: text, output: text }) })
  const address = freshAddress('unix')
  const warnings: unknown[] = []
  const service = await serve(
    core,
    {
      async remove(file, ctx) {
        return (await ctx.caller.confirm(`remove ${file}?`)) ? 'removed' : 'kept'
      },
    },
    { listen: address, caller: ui, onError: (error: unknown) => warnings.push(error) },
  )
  for (const answer of [true, false]) {
    const asked: string[] = []
    const client = await connect(core, address, {
      serve: implement(ui, {
        confirm: (question) => {
          asked.push(question)
          return answer
        },
      }),
    })
    assert.equal(await client.remove('x'), answer ? 'removed' : 'kept')
    assert.deepEqual(asked, ['remove x?'])
    await client.close()
  }
  const silent = await connect(core, address)
  await assert.rejects(silent.remove('x'), fails('INTERNAL', 'ran'))
  assert.equal(warnings.length, 1)
  await silent.close()
  await service.close()
})

test('metadata, trace context and interceptors on both sides', async () => {
  const address = freshAddress('memory')
  const log: string[] = []
  const inner = contract('inner/1', { trace: rpc({ output: anything }) })
  const outer = contract('outer/1', { trace: rpc({ output: anything }) })
  const innerService = await serve(inner, { trace: (_, ctx) => ({ ...ctx.metadata }) }, { listen: `${address}i` })
  const innerClient = await connect(inner, `${address}i`)
  const outerService = await serve(
    outer,
    {
      trace: (_, ctx) => innerClient.trace(undefined, { from: ctx, metadata: { own: '1' } }),
    },
    {
      listen: address,
      interceptors: [
        (call, next) => {
          log.push(`server ${call.method}`)
          return next(call)
        },
        (call, next) => {
          log.push('second')
          return next(call)
        },
      ],
    },
  )
  const client = await connect(outer, address, {
    interceptors: [
      async (call, next) => {
        log.push(`client ${call.method}`)
        const result = await next(call)
        log.push('answered')
        return result
      },
    ],
  })
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  assert.deepEqual(await client.trace(undefined, { metadata: { traceparent, secret: 'stays' } }), { traceparent, own: '1' })
  assert.deepEqual(log, ['client trace', 'server trace', 'second', 'answered'])
  assert.deepEqual(await withOptions(client, { metadata: { traceparent } }).trace(), { traceparent, own: '1' })
  await client.close()
  await outerService.close()
  await innerClient.close()
  await innerService.close()
})

test('an interceptor may refuse, change the input, and change the result', async () => {
  const address = freshAddress('memory')
  const adder = contract('adder/1', { twice: rpc({ input: number, output: number }) })
  const service = await serve(
    adder,
    { twice: (value) => value * 2 },
    {
      listen: address,
      onError: () => {},
      interceptors: [
        (call, next) => {
          if (call.input === 13) throw new Error('unlucky')
          return next({ ...call, input: (call.input as number) + 1 })
        },
      ],
    },
  )
  const client = await connect(adder, address, { interceptors: [async (call, next) => ((await next(call)) as number) + 100] })
  assert.equal(await client.twice(4), 110)
  await assert.rejects(client.twice(13), fails('INTERNAL'))
  await client.close()
  await service.close()
})

test('progress reaches the caller while the call runs', async () => {
  const address = freshAddress('unix')
  const job = contract('job/1', { run: rpc({ output: text }) })
  const service = await serve(
    job,
    {
      async run(_, ctx) {
        for (const step of [1, 2, 3]) {
          ctx.progress({ step })
          await turn()
        }
        return 'done'
      },
    },
    { listen: address },
  )
  const client = await connect(job, address)
  const steps: unknown[] = []
  assert.equal(await client.run(undefined, { onProgress: (value) => steps.push(value) }), 'done')
  assert.deepEqual(steps, [{ step: 1 }, { step: 2 }, { step: 3 }])
  await client.close()
  await service.close()
})

test('wrong arguments are a TypeError at once', async () => {
  assert.throws(() => contract('bank', {}), TypeError)
  assert.throws(() => contract('bank/1', { then: rpc() }), TypeError)
  assert.throws(() => contract('bank/1', { 'rpc.x': rpc() }), TypeError)
  assert.throws(() => contract('bank/1', { m: rpc({ errors: { lower: anything } }) }), TypeError)
  await assert.rejects(serve(bank, {} as never, { listen: freshAddress('memory') }), TypeError)
  await assert.rejects(serve('x', { add: () => 1 }, { listen: freshAddress('memory'), limits: { nothing: 1 } as never }), TypeError)
  await assert.rejects(serve('x', {}, { listen: freshAddress('memory') }), TypeError)
  await assert.rejects(
    serve('x', () => 1, { listen: freshAddress('memory') }),
    /serves an object of functions, .*not a function/,
  )
  await assert.rejects(connect('nobody-here'), fails('PEER_NOT_FOUND', 'not-sent'))
  await assert.rejects(connect('nothing://x'), fails('INVALID_ADDRESS'))
})
