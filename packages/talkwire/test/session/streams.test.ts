import assert from 'node:assert/strict'
import { test } from 'node:test'
import { connect, contract, rpc, serve, sessionOf, stream } from '../../src/index.js'
import { anything, collect, fails, fence, freshAddress, is, number, text, turn, until, wires } from './harness.js'

const bytes = is<Uint8Array>('bytes', (value) => value instanceof Uint8Array)
const flows = contract('flows/1', {
  count: rpc({ input: number, output: stream(number) }),
  sum: rpc({ input: stream(number), output: number }),
  upper: rpc({ input: stream(text), output: stream(text) }),
  firehose: rpc({ output: stream(bytes) }),
  drink: rpc({ input: stream(bytes), output: anything }),
  first: rpc({ input: stream(number), output: number }),
})

for (const wire of wires) {
  const opened = async (overrides: object = {}, options: object = {}) => {
    const address = freshAddress(wire)
    const errors: unknown[] = []
    const service = await serve(
      flows,
      {
        async *count(n) {
          for (let i = 0; i < n; i++) yield i
        },
        async sum(values) {
          let total = 0
          for await (const value of values) total += value
          return total
        },
        async *upper(lines) {
          for await (const line of lines) yield line.toUpperCase()
        },
        *firehose() {
          for (;;) yield new Uint8Array(10_000)
        },
        async drink(values) {
          let total = 0
          for await (const value of values) total += value.length
          return total
        },
        async first(values) {
          for await (const value of values) return value
          return -1
        },
        ...overrides,
      },
      { listen: address, onError: (error) => errors.push(error), ...options },
    )
    const client = await connect(flows, address)
    return {
      service,
      client,
      errors,
      [Symbol.asyncDispose]: async () => {
        await client.close()
        await service.close()
      },
    }
  }

  test(`${wire}: a method that takes a stream and gets none says so, and its handler does not run`, async () => {
    let ran = 0
    const count = (): number => ++ran
    await using pair = await opened({
      sum: count,
      async *upper() {
        yield String(count())
      },
    })
    const { client, errors } = pair
    const refused = (reason: unknown): boolean => fails('INVALID_INPUT', 'not-sent')(reason) && /pass an iterable/.test(String(reason))
    await assert.rejects(client.sum(undefined as never), refused)
    await assert.rejects(collect(client.upper(undefined as never)), refused)
    await assert.rejects(sessionOf(client)!.call('sum', [[1, 2]]), refused)
    for (const wrong of [5, 'text', {}, () => {}]) {
      await assert.rejects(client.sum(wrong as never), TypeError)
      await assert.rejects(collect(client.upper(wrong as never)), TypeError)
    }
    assert.equal(ran, 0)
    await sessionOf(client)!.notify('sum', [])
    await until(() => errors.length === 1)
    assert.ok(refused(errors[0]))
    assert.equal(sessionOf(client)!.calls.size, 0)
  })

  test(`${wire}: server, client and bidirectional streams`, async () => {
    await using pair = await opened()
    assert.deepEqual(await collect(pair.client.count(5)), [0, 1, 2, 3, 4])
    assert.deepEqual(await collect(pair.client.count(0)), [])
    assert.equal(await pair.client.sum([1, 2, 3]), 6)
    assert.equal(
      await pair.client.sum(
        (async function* () {
          for (let i = 1; i <= 1000; i++) yield i
        })(),
      ),
      500_500,
    )
    assert.deepEqual(await collect(pair.client.upper(['a', 'b'])), ['A', 'B'])
  })

  test(`${wire}: a conversation alternates`, async () => {
    await using pair = await opened()
    const questions = [fence<string>(), fence<string>()]
    const answers = pair.client
      .upper(
        (async function* () {
          for (const question of questions) yield await question.passed
        })(),
      )
      [Symbol.asyncIterator]()
    questions[0]!.pass('one')
    assert.deepEqual(await answers.next(), { done: false, value: 'ONE' })
    questions[1]!.pass('two')
    assert.deepEqual(await answers.next(), { done: false, value: 'TWO' })
    assert.equal((await answers.next()).done, true)
  })

  test(`${wire}: a slow reader slows the writer; memory stays within the window`, async () => {
    let produced = 0
    await using pair = await opened({
      *firehose() {
        for (;;) {
          produced++
          yield new Uint8Array(10_000)
        }
      },
    })
    const reader = pair.client.firehose()[Symbol.asyncIterator]()
    await reader.next()
    const settled = async (): Promise<number> => {
      for (let before = -1; before !== produced;) {
        before = produced
        for (let i = 0; i < 20; i++) await turn()
      }
      return produced
    }
    const atRest = await settled()
    assert.ok(atRest * 10_000 < 1_200_000, `${atRest} elements of 10 kB were produced for one that was read`)
    for (let i = 0; i < 200; i++) await reader.next()
    assert.ok((await settled()) > atRest, 'reading does not let the writer go on')
    await reader.return!()
  })

  test(`${wire}: a slow handler slows the caller's input`, async () => {
    const gate = fence()
    let produced = 0
    await using pair = await opened({
      drink: async (values: AsyncIterable<Uint8Array>) => {
        await gate.passed
        let total = 0
        for await (const value of values) total += value.length
        return total
      },
    })
    const total = pair.client.drink(
      (function* () {
        for (let i = 0; i < 500; i++) {
          produced++
          yield new Uint8Array(10_000)
        }
      })(),
    )
    for (let before = -1; before !== produced;) {
      before = produced
      for (let i = 0; i < 20; i++) await turn()
    }
    assert.ok(produced * 10_000 < 1_200_000, `${produced} elements were taken from the caller`)
    gate.pass()
    assert.equal(await total, 5_000_000)
  })

  test(`${wire}: breaking out of a stream stops the work at the other end`, async () => {
    const stopped = fence()
    await using pair = await opened({
      async *count() {
        try {
          for (let i = 0; ; i++) {
            yield i
            await turn()
          }
        } finally {
          stopped.pass()
        }
      },
    })
    for await (const value of pair.client.count(1)) if (value === 3) break
    await stopped.passed
    await until(() => pair.service.stats()[0]!.handling === 0)
  })

  test(`${wire}: an error in the middle of a stream arrives after what came before it`, async () => {
    await using pair = await opened({
      async *count() {
        yield 1
        yield 2
        throw new Error('secret')
      },
    })
    const got: number[] = []
    await assert.rejects(
      async () => {
        for await (const value of pair.client.count(9)) got.push(value)
      },
      fails('INTERNAL', 'ran'),
    )
    assert.deepEqual(got, [1, 2])
  })

  test(`${wire}: an element that does not fit its schema ends the stream with an error`, async () => {
    await using pair = await opened({
      *count() {
        yield 1
        yield 'two' as unknown as number
        yield 3
      },
    })
    const got: number[] = []
    await assert.rejects(
      async () => {
        for await (const value of pair.client.count(9)) got.push(value)
      },
      fails('INVALID_OUTPUT', 'ran'),
    )
    assert.deepEqual(got, [1])
    await assert.rejects(pair.client.sum([1, 'x' as unknown as number]), fails('INVALID_INPUT'))
  })

  test(`${wire}: an input that throws fails the call with its own error, and the handler learns of it`, async () => {
    const seen = fence<unknown>()
    await using pair = await opened({
      sum: async (values: AsyncIterable<number>) => {
        try {
          for await (const _ of values);
        } catch (reason) {
          seen.pass(reason)
        }
        return 0
      },
    })
    const mine = new Error('my own')
    await assert.rejects(
      pair.client.sum(
        (async function* () {
          yield 1
          throw mine
        })(),
      ),
      (error) => error === mine,
    )
    assert.ok(fails('CANCELLED')(await seen.passed))
  })

  test(`${wire}: a handler that needs no more input answers at once, and the input is closed`, async () => {
    const closed = fence()
    await using pair = await opened()
    const endless = (async function* () {
      try {
        for (let i = 7; ; i++) {
          yield i
          await turn()
        }
      } finally {
        closed.pass()
      }
    })()
    assert.equal(await pair.client.first(endless), 7)
    await closed.passed
  })

  test(`${wire}: streams over the limit are refused`, async () => {
    const address = freshAddress(wire)
    const service = await serve(
      flows,
      {
        count: async function* () {
          await new Promise(() => {})
        },
        sum: () => 0,
        upper: () => [],
        firehose: () => [],
        drink: () => 0,
        first: () => 0,
      },
      { listen: address },
    )
    const client = await connect(flows, address, { limits: { streams: 2 } })
    const open = [client.count(1), client.count(1)]
    await assert.rejects(client.count(1).next(), fails('LIMIT_EXCEEDED', 'not-sent'))
    await open[0]!.return!()
    const third = client.count(1)
    void third.next().catch(() => {})
    assert.equal(sessionOf(client)!.stats().pending, 2)
    await third.return!()
    await open[1]!.return!()
    await client.close()
    await service.close()
  })
}

test('generators of a service without a contract are streams', async () => {
  const address = freshAddress('unix')
  const functions = {
    *count(n: number) {
      for (let i = 0; i < n; i++) yield i
    },
    async *slowly(n: number) {
      for (let i = 0; i < n; i++) {
        await turn()
        yield i
      }
    },
  }
  const service = await serve('gen', functions, { listen: address })
  const client = await connect<typeof functions>(address)
  assert.deepEqual(await collect(client.count(3)), [0, 1, 2])
  assert.deepEqual(await collect(client.slowly(3)), [0, 1, 2])
  await client.close()
  await service.close()
})

test('a generator finds its call with context(), before its first yield and after it', async () => {
  const { context, withOptions } = await import('../../src/index.js')
  const address = freshAddress('unix')
  const functions = {
    *who() {
      yield context().method
      yield context().metadata['key']
    },
    async *later() {
      const { method } = context()
      await turn()
      yield method
    },
  }
  const service = await serve('gen', functions, { listen: address })
  const client = withOptions(await connect<typeof functions>(address), { metadata: { key: 'value' } })
  assert.deepEqual(await collect(client.who()), ['who', 'value'])
  assert.deepEqual(await collect(client.later()), ['later'])
  await client.close()
  await service.close()
})
