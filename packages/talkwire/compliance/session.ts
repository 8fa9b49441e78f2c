/**
 * What a session keeps whatever wire it runs over, as tests through the public API:
 *
 *   testSession({ test, name: 'unix', address: () => `unix:${freshPath()}` })
 */
import assert from 'node:assert/strict'
import { connect, type ConnectOptions } from '../src/connect.js'
import { contract, event, rpc, stream, type Client } from '../src/contract/contract.js'
import type { StandardSchema } from '../src/contract/standard-schema.js'
import { serve, type ServeOptions } from '../src/serve.js'
import { ref } from '../src/session/references.js'
import { same, values } from './codec.js'
import { codeOf, soon, turns } from './ends.js'
import type { Test } from './transport.js'

export interface SessionSuite {
  readonly test: Test
  readonly name: string
  /** A fresh address on which `serve` listens and to which `connect` connects. */
  readonly address: () => string
  readonly listenOptions?: ServeOptions
  readonly connectOptions?: ConnectOptions
}

const anything: StandardSchema<any, any> = { '~standard': { version: 1, vendor: 'talkwire', validate: (value) => ({ value }) } }
const number: StandardSchema<number, number> = {
  '~standard': {
    version: 1,
    vendor: 'talkwire',
    validate: (value) => (typeof value === 'number' ? { value } : { issues: [{ message: 'expected a number' }] }),
  },
}

const proof = contract('proof/1', {
  echo: rpc({ input: anything, output: anything }),
  double: rpc({ input: number, output: number, idempotent: true }),
  fail: rpc({ input: anything, output: number, errors: { Broke: anything } }),
  wait: rpc({ input: anything, output: anything }),
  count: rpc({ input: number, output: stream(number) }),
  endless: rpc({ output: stream(anything) }),
  sum: rpc({ input: stream(number), output: number }),
  chat: rpc({ input: stream(anything), output: stream(anything) }),
  note: rpc({ input: anything, oneway: true }),
  news: event(anything),
})

interface Running {
  readonly client: Client<typeof proof>
  readonly service: {
    emit(event: 'news', payload: unknown): void
    close(options?: { timeout?: number }): Promise<void>
    stats(): readonly { readonly handling: number; readonly exported: readonly unknown[] }[]
  }
  readonly notes: unknown[]
  /** Resolves once `wait` runs, with its signal. */
  readonly waiting: Promise<AbortSignal>
  /** Lets `wait` answer. */
  answer(value: unknown): void
  readonly produced: () => number
  readonly stopped: Promise<void>
}

export function testSession(suite: SessionSuite): void {
  const withPair = (what: string, body: (running: Running) => Promise<void>): unknown =>
    suite.test(`${suite.name}: ${what}`, async () => {
      const running = await start(suite)
      try {
        await body(running)
      } finally {
        await soon(running.client.close(), 'client.close()')
        await soon(running.service.close({ timeout: 100 }), 'service.close()')
      }
    })
  testCalls(withPair)
  testStreams(withPair)
  testEnd(withPair)
}

type WithPair = (what: string, body: (running: Running) => Promise<void>) => unknown

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void
  const promise = new Promise<T>((done) => {
    resolve = done
  })
  return { promise, resolve }
}

async function start({ address, listenOptions, connectOptions }: SessionSuite): Promise<Running> {
  const notes: unknown[] = []
  const waiting = deferred<AbortSignal>()
  const answer = deferred<unknown>()
  const stopped = deferred<void>()
  let produced = 0
  const service = await serve(
    proof,
    {
      echo: (value) => value,
      double: (value) => value * 2,
      fail(how, ctx) {
        if (how === 'declared') throw ctx.error('Broke', { why: 1 })
        throw new Error('secret')
      },
      async wait(_, ctx) {
        const { signal } = ctx
        waiting.resolve(signal)
        return Promise.race([
          answer.promise,
          new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
        ])
      },
      async *count(to) {
        for (let index = 0; index < to; index++) yield index
      },
      async *endless() {
        try {
          for (;;) {
            produced++
            yield new Uint8Array(10_000)
          }
        } finally {
          stopped.resolve()
        }
      },
      async sum(items) {
        let total = 0
        for await (const item of items) total += item
        return total
      },
      async *chat(items) {
        for await (const item of items) yield { heard: item }
      },
      note: (value) => void notes.push(value),
    },
    { listen: address(), onError: () => {}, ...listenOptions },
  )
  const client = await soon(connect(proof, service.addresses[0], { reconnect: false, ...connectOptions }), 'connect()')
  return {
    client,
    service: service as Running['service'],
    notes,
    waiting: waiting.promise,
    answer: answer.resolve,
    produced: () => produced,
    stopped: stopped.promise,
  }
}

function testCalls(withPair: WithPair): void {
  withPair('calls, also many at a time, are answered each with its own', async ({ client }) => {
    assert.deepEqual(
      await soon(Promise.all(Array.from({ length: 2000 }, (_, index) => client.double(index))), '2000 answers'),
      Array.from({ length: 2000 }, (_, index) => 2 * index),
    )
  })

  withPair('every value goes there and back', async ({ client }) => {
    for (const [what, sent, ...arrives] of values()) {
      const answer: unknown = await client.echo([sent]).catch((reason: unknown) => {
        throw new Error(what, { cause: reason })
      })
      same(answer, [arrives.length > 0 ? arrives[0] : sent])
    }
  })

  withPair('an argument of 8 MiB goes there and back', async ({ client }) => {
    const sent = Float64Array.from({ length: 1 << 20 }, (_, index) => index)
    same(await soon(client.echo({ data: sent }), 'the answer'), { data: sent })
  })

  withPair('errors arrive with their code and outcome, and no secrets', async ({ client }) => {
    assert.equal(await codeOf(client.fail('declared')), 'Broke/ran')
    assert.equal(await codeOf(client.fail('otherwise')), 'INTERNAL/ran')
    assert.ok(!String(await client.fail('otherwise').catch(String)).includes('secret'))
    assert.equal(await codeOf(client.double('x' as never)), 'INVALID_INPUT/not-sent')
    await assert.rejects(client.echo(Symbol('x')), TypeError)
    assert.equal(await client.double(2), 4)
  })

  withPair("cancelling stops the handler and rejects with the signal's reason", async ({ client, waiting }) => {
    const controller = new AbortController()
    const call = client.wait(1, { signal: controller.signal })
    const signal = await soon(waiting, 'the handler')
    const reason = new Error('changed my mind')
    controller.abort(reason)
    await assert.rejects(call, (error) => error === reason)
    await soon(
      new Promise<void>((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve()))),
      "the handler's signal",
    )
  })

  withPair('a deadline ends the call on both sides', async ({ client, waiting }) => {
    const call = client.wait(1, { timeout: 50 })
    const signal = await soon(waiting, 'the handler')
    assert.equal(await codeOf(call), 'DEADLINE_EXCEEDED/maybe-ran')
    await soon(
      new Promise<void>((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve()))),
      "the handler's signal",
    )
  })

  withPair('one-way calls arrive in order, before a call that follows them', async ({ client, notes }) => {
    for (let index = 0; index < 3000; index++) void client.note(index)
    await client.double(1)
    assert.deepEqual(
      notes,
      Array.from({ length: 3000 }, (_, index) => index),
    )
  })

  withPair('a function that was sent can be called, and is given back', async ({ client, service }) => {
    const heard: unknown[] = []
    const back = (await client.echo([(text: string) => heard.push(text), ref({ shout: (text: string) => text.toUpperCase() })])) as [
      (text: string) => unknown,
      { shout(text: string): string },
    ]
    // It comes home as what it is.
    assert.equal(back[0]('a'), 1)
    assert.deepEqual(heard, ['a'])
    assert.equal(back[1].shout('b'), 'B')
    assert.deepEqual(
      service.stats().map(({ exported }) => exported.length),
      [0],
    )
  })

  withPair('events reach who listens, in order, until it stops', async ({ client, service }) => {
    const heard: unknown[] = []
    const off = await client.on('news', (payload) => heard.push(payload))
    for (let index = 0; index < 100; index++) service.emit('news', { index })
    await client.double(1)
    assert.deepEqual(
      heard,
      Array.from({ length: 100 }, (_, index) => ({ index })),
    )
    await off()
    service.emit('news', 'late')
    await client.double(1)
    assert.equal(heard.length, 100)
  })
}

function testStreams(withPair: WithPair): void {
  withPair('a stream of many elements arrives whole and in order', async ({ client }) => {
    let next = 0
    for await (const item of client.count(20_000)) assert.equal(item, next++)
    assert.equal(next, 20_000)
  })

  withPair('a stream as input is summed, whatever its length', async ({ client }) => {
    async function* items(): AsyncGenerator<number> {
      for (let index = 1; index <= 20_000; index++) yield index
    }
    assert.equal(await soon(client.sum(items()), 'the sum'), 200_010_000)
    async function* nothing(): AsyncGenerator<number> {}
    assert.equal(await soon(client.sum(nothing()), 'the sum of nothing'), 0)
  })

  withPair('a stream each way answers element by element', async ({ client }) => {
    const gates = Array.from({ length: 5 }, () => deferred<void>())
    async function* lines(): AsyncGenerator<number> {
      for (const [index, gate] of gates.entries()) {
        await gate.promise
        yield index
      }
    }
    const answers = client.chat(lines())
    const heard: unknown[] = []
    gates[0]!.resolve()
    for await (const answer of answers) {
      heard.push(answer)
      gates[heard.length]?.resolve()
    }
    assert.deepEqual(
      heard,
      [0, 1, 2, 3, 4].map((index) => ({ heard: index })),
    )
  })

  withPair('a consumer that waits makes the producer wait, and leaving stops it', async ({ client, produced, stopped }) => {
    const items = client.endless()
    await soon(items.next(), 'an element')
    for (let seen = -1; seen !== produced();) {
      seen = produced()
      await turns()
      await client.double(1)
    }
    // 512 KiB of credit, 10 KB an element.
    assert.ok(produced() < 200, `${produced()} elements for a consumer that took one`)
    await soon(items.return!(), 'return()')
    await soon(stopped, 'the producer stops')
    assert.equal(await client.double(2), 4)
  })

  withPair('an input that fails fails the call', async ({ client }) => {
    async function* broken(): AsyncGenerator<number> {
      yield 1
      throw new RangeError('the source broke')
    }
    await assert.rejects(soon(client.sum(broken()), 'the failure'), RangeError)
    assert.equal(await client.double(2), 4)
  })
}

function testEnd(withPair: WithPair): void {
  withPair('service.close() lets calls in flight finish, and refuses new ones', async ({ client, service, waiting, answer }) => {
    const call = client.wait(1)
    await soon(waiting, 'the handler')
    const closing = service.close()
    while ((await codeOf(client.double(1))) === 'none') await turns()
    assert.match(await codeOf(client.double(1)), /^(UNAVAILABLE|CONNECTION_CLOSED|PEER_NOT_FOUND)\/not-sent$/)
    answer('at last')
    assert.equal(await soon(call, 'the answer'), 'at last')
    await soon(closing, 'service.close()')
  })

  withPair('client.close() lets its own calls finish', async ({ client, waiting, answer }) => {
    const call = client.wait(1)
    await soon(waiting, 'the handler')
    const closing = client.close()
    answer('at last')
    assert.equal(await soon(call, 'the answer'), 'at last')
    await soon(closing, 'client.close()')
    assert.equal(await codeOf(client.double(1)), 'CONNECTION_CLOSED/not-sent')
  })

  withPair('one-way calls before close() arrive', async ({ client, service, notes }) => {
    for (let index = 0; index < 500; index++) void client.note(index)
    await client.close()
    await service.close()
    assert.equal(notes.length, 500)
  })

  withPair('a service that gives up calls says that they may have run', async ({ client, service, waiting }) => {
    const call = client.wait(1)
    await soon(waiting, 'the handler')
    const [code] = await Promise.all([codeOf(call), soon(service.close({ timeout: 20 }), 'service.close()')])
    assert.match(code, /\/maybe-ran$/)
  })
}
