/**
 * What every foreign protocol promises in both roles (src/protocols/dialect.ts), as tests:
 *
 *   testDialect({ test, dialect: http, address: () => 'http://127.0.0.1:0', raw: (address) => net.connect(…) })
 *
 * Talkwire calls Talkwire. That a stranger is understood, the protocol's own tests show.
 */
import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { connect, type ConnectOptions } from '../src/connect.js'
import { TalkwireError } from '../src/error.js'
import type { Dialect, DialectTraits } from '../src/protocols/dialect.js'
import { serve, type ServeOptions } from '../src/serve.js'
import { openBetween, type Between } from './dialect-between.js'
import { openControl, startChild, type RunningChild } from './dialect-child.js'
import { handlersFor, proofFor, type ProofState } from './dialect-proof.js'
import { codeOf, soon, turns } from './ends.js'
import { Random } from './random.js'
import type { Test } from './transport.js'

export interface DialectSuite {
  readonly test: Test
  readonly dialect: Dialect
  /** A fresh address on which `serve` listens. */
  readonly address: () => string
  readonly listenOptions?: Omit<ServeOptions, 'listen'>
  readonly connectOptions?: ConnectOptions
  /** A plain connection to a service's address, to say what nobody should. Without it only what is well said is tried. */
  readonly raw?: (address: string) => Socket
  /** For a service on stdin and stdout: what starts the command as a client's child. `address` is then where the service listens. */
  readonly child?: (command: readonly string[]) => string
}

interface Running {
  /** Of `proof/1`, whose members depend on the traits. */
  readonly client: any
  readonly service: any
  readonly state: ProofState
  happened(what: string): Promise<void>
  answer(text: string): void
  /** `state` is what it is now, wherever the service is. */
  look(): Promise<void>
}

export function testDialect(suite: DialectSuite): void {
  if (suite.child) return testChild(suite, suite.child)
  const withPair = (what: string, body: (running: Running) => Promise<void>): unknown =>
    suite.test(`${suite.dialect.scheme}: ${what}`, async () => {
      const running = await start(suite)
      try {
        await body(running)
      } finally {
        await soon(running.client.close(), 'client.close()')
        await soon(running.service.close({ timeout: 100 }), 'service.close()')
      }
    })
  testUnary(withPair)
  testContext(withPair, suite)
  testShapes(withPair, suite)
  testClosing(withPair, suite.dialect.traits)
  testEnds(suite)
  if (suite.raw) {
    testGarbage(withPair, suite.raw)
    testNonsense(suite)
  }
}

/** One child for all that leaves it alive, one for each of the others. */
function testChild(suite: DialectSuite, address: (command: readonly string[]) => string): void {
  const { test, dialect } = suite
  const open = (): Promise<RunningChild> => startChild(address, suite.address(), dialect.traits, suite.connectOptions)
  const each = (what: string, body: () => Promise<void>): unknown => test(`${dialect.scheme}: ${what}`, body)
  let shared: Promise<RunningChild> | undefined
  const withShared: WithPair = (what, body) =>
    each(what, async () => {
      const running = await (shared ??= open())
      running.forget()
      await body(running)
    })
  testUnary(withShared)
  testContext(withShared, suite)
  testShapes(withShared, suite)
  each('the service ends with its client', async () => {
    const running = await (shared ??= open())
    await soon(running.client.close(), 'client.close()')
    await soon(running.ended, 'the end of the service')
  })
  const withOwn: WithPair = (what, body) =>
    each(what, async () => {
      const running = await open()
      try {
        await body(running)
      } finally {
        await soon(running.client.close(), 'client.close()')
        await soon(running.ended, 'the end of the service')
      }
    })
  testClosing(withOwn, dialect.traits)
  each('kill -9 of the service in the middle of a call rejects it, honestly', async () => {
    const running = await open()
    const call = codeOf(running.client.wait({ text: '' }))
    await running.happened('waits')
    process.kill(running.pid, 'SIGKILL')
    assert.match(await call, /^(CONNECTION_LOST|CONNECTION_CLOSED|PEER_EXITED)\/maybe-ran$/)
    await soon(running.client.close(), 'client.close()')
  })
  each('kill -9 of the caller in the middle of a call ends the service', async () => {
    const control = await openControl()
    const child = fork(far, ['call', address(control.command(suite.address())), '{}'])
    await soon(control.accepted, 'the service')
    await control.happened('waits')
    child.kill('SIGKILL')
    await soon(control.ended, 'the end of the service')
  })
}

type WithPair = (what: string, body: (running: Running) => Promise<void>) => unknown

async function start({ dialect, address, listenOptions, connectOptions }: DialectSuite): Promise<Running> {
  const happenings: string[] = []
  let look = (): void => {}
  let answer!: (text: string) => void
  const state: ProofState = {
    notes: [],
    produced: 0,
    onHappening(what) {
      happenings.push(what)
      look()
    },
    answer: new Promise((resolve) => {
      answer = resolve
    }),
  }
  const proof = proofFor(dialect.traits)
  const service: any = await serve(proof, handlersFor(dialect.traits, state), { listen: address(), onError: () => {}, ...listenOptions })
  const client = await soon(connect(proof, service.addresses[0], optionsFor(service, connectOptions)), 'connect()').catch(
    async (reason: unknown) => {
      await service.close()
      throw reason
    },
  )
  return {
    client,
    service,
    state,
    answer,
    look: () => Promise.resolve(),
    happened: (what) =>
      soon(
        new Promise((resolve) => {
          look = () => {
            if (happenings.includes(what)) resolve()
          }
          look()
        }),
        `the handler ${what}`,
      ),
  }
}

const optionsFor = ({ token }: { token?: string }, options: ConnectOptions | undefined): ConnectOptions => ({
  reconnect: false,
  ...(token !== undefined && { token }),
  ...options,
})

/** Long and strange texts that any protocol of text can carry. */
const TEXTS = [
  '',
  ' ',
  'ä€😀',
  '"\\\'<>&]]>%{}[]',
  '\n\t x \n',
  '\u2028\u2029\u00a0\ufffd',
  'مرحبا',
  '-'.repeat(70_000),
  'null',
  '1',
  'true',
  '<a b="c"/>',
]
const NUMBERS = [0, 1, -1, 0.1, -1.5, 1e21, 1e-7, 1.7976931348623157e308, 5e-324, -1e308, 2 ** 53 - 1, -(2 ** 53 - 1), 2 ** 31, -(2 ** 31)]
const INTEGERS = [0, 1, -1, 127, 128, -129, 65_535, 2 ** 31 - 1, -(2 ** 31), 2 ** 32, 2 ** 53 - 1, -(2 ** 53 - 1)]

function entryOf(index: number, long = 0): any {
  return {
    text: long > 0 ? 'ä'.repeat(long / 2) : TEXTS[index % TEXTS.length],
    number: NUMBERS[index % NUMBERS.length],
    integer: INTEGERS[index % INTEGERS.length],
    flag: index % 2 === 0,
    numbers: NUMBERS.slice(0, index % 4),
    words: TEXTS.slice(0, index % 5),
    inner: { text: TEXTS[(index + 1) % TEXTS.length] },
    inners: TEXTS.slice(0, index % 3).map((text) => ({ text })),
    ...(index % 2 === 0 && { maybe: TEXTS[(index + 2) % TEXTS.length] }),
  }
}

function testUnary(withPair: WithPair): void {
  withPair('texts, numbers, lists and objects go there and back', async ({ client }) => {
    for (let index = 0; index < 60; index++) assert.deepEqual(await soon(client.echo(entryOf(index)), 'the answer'), entryOf(index))
  })

  withPair('a megabyte goes there and back', async ({ client }) => {
    const entry = entryOf(0, 1 << 20)
    assert.deepEqual(await soon(client.echo(entry), 'the answer'), entry)
  })

  withPair('a method that takes and returns nothing', async ({ client }) => {
    assert.equal(await soon(client.nothing(), 'the answer'), undefined)
  })

  withPair('a thousand calls at once are answered each with its own', async ({ client }) => {
    const all = await soon(Promise.all(Array.from({ length: 1000 }, (_, value) => client.double({ value }))), '1000 answers')
    assert.deepEqual(
      all,
      Array.from({ length: 1000 }, (_, index) => ({ value: 2 * index })),
    )
  })

  withPair('declared errors arrive with their name, text and details, others without a secret', async ({ client }) => {
    const declared: TalkwireError = await soon(client.fail({ text: 'declared' }), 'the answer').then(
      () => assert.fail('no error'),
      (reason: TalkwireError) => reason,
    )
    assert.deepEqual(
      [declared.code, declared.declared, declared.outcome, declared.details],
      ['Broke', true, 'ran', { why: 7, text: 'ä<&' }],
    )
    assert.match(declared.message, /it broke/)
    assert.equal(await codeOf(client.fail({ text: 'other' })), 'Gone/ran')
    const hidden: any = await soon(client.fail({ text: 'otherwise' }), 'the answer').catch((reason: unknown) => reason)
    assert.deepEqual([hidden.code, hidden.outcome, hidden.declared], ['INTERNAL', 'ran', false])
    assert.ok(!`${hidden.message}${hidden.stack}${JSON.stringify(hidden)}`.includes('secret'))
    assert.deepEqual(await client.double({ value: 2 }), { value: 4 })
  })

  withPair('an input that does not fit is refused, and harms nothing', async ({ client }) => {
    for (const input of [{ value: 'x' }, {}, { value: true }, undefined])
      assert.match(await codeOf((async () => client.double(input))()), /^(INVALID_INPUT\/not-sent|TypeError)/, JSON.stringify(input))
    assert.deepEqual(await client.double({ value: 2 }), { value: 4 })
  })
}

function testContext(withPair: WithPair, { dialect: { traits } }: DialectSuite): void {
  if (traits.metadata)
    withPair('metadata and trace context reach the handler', async ({ client }) => {
      const metadata = {
        who: 'a b ä',
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        tracestate: 'a=1',
        baggage: 'k=a%2Cb;p,l=%25',
      }
      for (const [key, value] of Object.entries(metadata))
        assert.equal(((await soon(client.told({ text: key }, { metadata }), 'the answer')) as any).text, value)
      assert.equal((await client.told({ text: 'who' })).text, '')
    })

  if (traits.deadline)
    withPair('the deadline reaches the handler, and ends the call on both sides', async ({ client, happened }) => {
      const { left } = await client.told({ text: '' }, { timeout: 60_000 })
      assert.ok(left > 1_000 && left <= 60_000, `${left} ms left`)
      assert.equal((await client.told({ text: '' })).left, -1)
      assert.equal(await codeOf(client.wait({ text: '' }, { timeout: 100 })), 'DEADLINE_EXCEEDED/maybe-ran')
      await happened('aborted')
    })

  withPair("cancelling rejects with the signal's reason", async ({ client, happened, answer }) => {
    const controller = new AbortController()
    const call = client.wait({ text: '' }, { signal: controller.signal })
    await happened('waits')
    const reason = new Error('changed my mind')
    controller.abort(reason)
    await assert.rejects(call, (error) => error === reason)
    if (traits.cancellation) await happened('aborted')
    else answer('unheard')
    assert.deepEqual(await soon(client.double({ value: 2 }), 'the answer'), { value: 4 })
  })
}

function testShapes(withPair: WithPair, { dialect: { traits } }: DialectSuite): void {
  if (traits.outputStream) testOutput(withPair)
  if (traits.inputStream) testInput(withPair)
  if (traits.duplex)
    withPair('a stream each way answers element by element', async ({ client }) => {
      const gates = Array.from({ length: 5 }, () => deferred())
      async function* lines(): AsyncGenerator<{ text: string }> {
        for (const [index, gate] of gates.entries()) {
          await gate.promise
          yield { text: String(index) }
        }
      }
      const heard: unknown[] = []
      gates[0]!.resolve(undefined)
      for await (const { text } of client.chat(lines())) {
        heard.push(text)
        gates[heard.length]?.resolve(undefined)
      }
      assert.deepEqual(
        heard,
        [0, 1, 2, 3, 4].map((index) => `heard ${index}`),
      )
    })
  if (traits.oneway)
    withPair('one-way calls arrive', async ({ client, state, look }) => {
      for (let value = 0; value < 100; value++) await client.note({ value })
      for (let tries = 0; state.notes.length < 100 && tries < 100; tries++) {
        await client.double({ value: 1 })
        await look()
      }
      assert.deepEqual(
        state.notes.toSorted((a, b) => a - b),
        Array.from({ length: 100 }, (_, index) => index),
      )
    })
  if (traits.events)
    withPair('events reach who listens, in order, until it stops', async ({ client, service }) => {
      const heard: number[] = []
      let enough!: () => void
      const all = new Promise<void>((resolve) => {
        enough = resolve
      })
      const off = await client.on('news', ({ value }: { value: number }) => {
        if (heard.push(value) === 100) enough()
      })
      for (let value = 0; value < 100; value++) service.emit('news', { value })
      await soon(all, '100 events')
      await off()
      service.emit('news', { value: 100 })
      await client.double({ value: 1 })
      assert.deepEqual(
        heard,
        Array.from({ length: 100 }, (_, index) => index),
      )
    })
}

function deferred(): { promise: Promise<unknown>; resolve: (value: unknown) => void } {
  let resolve!: (value: unknown) => void
  const promise = new Promise((done) => {
    resolve = done
  })
  return { promise, resolve }
}

function testOutput(withPair: WithPair): void {
  withPair('a stream of many elements arrives whole and in order, one of none ends', async ({ client }) => {
    let next = 0
    for await (const { value } of client.count({ value: 5000 })) assert.equal(value, next++)
    assert.equal(next, 5000)
    for await (const item of client.count({ value: 0 })) assert.fail(`an element of nothing: ${JSON.stringify(item)}`)
  })

  withPair('a stream that breaks says so', async ({ client }) => {
    const items = client.count({ value: -1 })
    assert.equal(await codeOf(items.next()), 'INTERNAL/ran')
  })

  withPair('a consumer that waits makes the producer wait, and leaving stops it', async ({ client, state, happened, look }) => {
    const items = client.endless()
    // A megabyte: more than any window.
    for (let taken = 0; taken < 100; taken++) await soon(items.next(), 'an element')
    // However much the kernel keeps, there is an end to it.
    for (let seen = -1; seen !== state.produced;) {
      seen = state.produced
      for (let round = 0; round < 10; round++) {
        await turns()
        await client.double({ value: 1 })
      }
      await look()
    }
    assert.ok(state.produced < 2000, `${state.produced} elements of 10 KB for a consumer that took 100`)
    await soon(items.return!(), 'return()')
    await happened('stopped')
    assert.deepEqual(await client.double({ value: 2 }), { value: 4 })
  })
}

function testInput(withPair: WithPair): void {
  withPair('a stream as input is summed, whatever its length', async ({ client }) => {
    async function* items(count: number): AsyncGenerator<{ value: number }> {
      for (let value = 1; value <= count; value++) yield { value }
    }
    assert.deepEqual(await soon(client.sum(items(5000)), 'the sum'), { value: 12_502_500 })
    assert.deepEqual(await soon(client.sum(items(0)), 'the sum of nothing'), { value: 0 })
  })

  withPair('an input that fails fails the call, and is not taken for the whole', async ({ client }) => {
    async function* broken(): AsyncGenerator<{ value: number }> {
      yield { value: 1 }
      throw new RangeError('the source broke')
    }
    await assert.rejects(soon(client.sum(broken()), 'the failure'), RangeError)
    assert.deepEqual(await client.double({ value: 2 }), { value: 4 })
  })
}

// ── ends ─────────────────────────────────────────────────────────────────────────────────────────

const far = fileURLToPath(new URL('./dialect-far.js', import.meta.url))

const NOT_THERE = /^(UNAVAILABLE|CONNECTION_\w+|PEER_NOT_FOUND|PEER_EXITED)\/not-sent$/

function testClosing(withPair: WithPair, { unheard }: DialectTraits): void {
  withPair('service.close() lets calls in flight finish', async ({ client, service, happened, answer }) => {
    const call = client.wait({ text: '' })
    await happened('waits')
    const closing = service.close()
    answer('at last')
    assert.deepEqual(await soon(call, 'the answer'), { text: 'at last' })
    await soon(closing, 'service.close()')
    assert.match(await codeOf(client.double({ value: 1 })), unheard ? /^CONNECTION_LOST\/maybe-ran$/ : NOT_THERE)
  })

  withPair('client.close() lets its own calls finish', async ({ client, happened, answer }) => {
    const call = client.wait({ text: '' })
    await happened('waits')
    const closing = client.close()
    answer('at last')
    assert.deepEqual(await soon(call, 'the answer'), { text: 'at last' })
    await soon(closing, 'client.close()')
  })
}

function testEnds(suite: DialectSuite): void {
  const { test, dialect, address, listenOptions, connectOptions } = suite
  test(`${dialect.scheme}: connect() to nobody rejects with PEER_NOT_FOUND`, async () => {
    const service: any = await serve(proofFor(dialect.traits), handlersFor(dialect.traits, noState), {
      listen: address(),
      ...listenOptions,
    })
    await service.close()
    assert.equal(
      await codeOf(connect(proofFor(dialect.traits), service.addresses[0], optionsFor(service, connectOptions))),
      'PEER_NOT_FOUND/not-sent',
    )
  })

  test(`${dialect.scheme}: kill -9 of the service in the middle of a call rejects it, honestly`, async () => {
    const child = fork(far, ['serve', address(), JSON.stringify(listenOptions ?? {})])
    const [told] = (await once(child, 'message')) as [{ address: string; token?: string }]
    const client: any = await connect(proofFor(dialect.traits), told.address, optionsFor(told, connectOptions))
    const call = codeOf(client.wait({ text: '' }))
    await once(child, 'message')
    child.kill('SIGKILL')
    assert.match(await call, /^CONNECTION_(LOST|CLOSED)\/maybe-ran$/)
    await soon(client.close(), 'client.close()')
  })

  test(`${dialect.scheme}: kill -9 of the caller in the middle of a call stops the handler`, async () => {
    const running = await start(suite)
    const options = optionsFor(running.service, connectOptions)
    const child = fork(far, ['call', running.service.addresses[0], JSON.stringify(options)])
    await running.happened('waits')
    child.kill('SIGKILL')
    await running.happened('aborted')
    await running.client.close()
    await running.service.close({ timeout: 100 })
  })
}

const noState: ProofState = { notes: [], produced: 0, onHappening: () => {}, answer: new Promise(() => {}) }

/** What is no message of any protocol. */
function garbage(): Buffer[] {
  const random = new Random(4711)
  const noise = (size: number): Buffer => Buffer.from(Array.from({ length: size }, () => random.below(256)))
  return [
    ...[1, 2, 8, 64, 1000, 100_000].map(noise),
    Buffer.alloc(1000),
    Buffer.alloc(1000, 0xff),
    Buffer.from('\r\n'.repeat(1000)),
    Buffer.from('GET / HTTP/9.9\r\n\r\n'),
    Buffer.from(`POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n`),
    Buffer.from('{"jsonrpc":"2.0","id":1,"method":"double"}\n'),
    Buffer.from('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'),
  ]
}

/** Nothing that arrives may crash, stop or disturb what is served. */
function testGarbage(withPair: WithPair, raw: (address: string) => Socket): void {
  withPair('garbage harms nobody', async ({ client, service }) => {
    for (const payload of garbage()) {
      const socket = raw(service.addresses[0]).on('error', () => {})
      socket.write(payload)
      socket.resume()
      assert.deepEqual(await soon(client.double({ value: 2 }), 'the answer'), { value: 4 })
      socket.end()
      // `once` would reject for a reset, which is an end like another.
      if (!socket.closed)
        await soon(new Promise<void>((resolve) => socket.once('close', () => resolve())), 'the end of a connection of garbage')
    }
  })
}

/** The same for who calls: each call is settled, by an error of ours unless the answer is whole by chance, and the next client is served. */
function testNonsense({ test, dialect: { scheme, traits }, address, listenOptions, connectOptions }: DialectSuite): void {
  const withService = (what: string, body: (between: Between, open: () => Promise<any>) => Promise<void>): unknown =>
    test(`${scheme}: ${what}`, async () => {
      const place = address()
      const between = await openBetween(place)
      const service: any = await serve(proofFor(traits), handlersFor(traits, noState), {
        listen: place,
        onError: () => {},
        ...(between.host !== undefined && { hosts: [between.host] }),
        ...listenOptions,
      })
      const at = between.before(service.addresses[0])
      const open = (): Promise<any> => connect(proofFor(traits), at, optionsFor(service, connectOptions))
      try {
        await body(between, open)
        between.spoil = undefined
        const client = await open()
        assert.deepEqual(await client.double({ value: 2 }), { value: 4 })
        await soon(client.close(), 'client.close()')
      } finally {
        await between.close()
        await soon(service.close({ timeout: 100 }), 'service.close()')
      }
    })
  const settled = async (call: Promise<unknown>, what: string): Promise<unknown> => {
    const error: unknown = await soon(
      call.then(
        () => undefined,
        (reason: unknown) => reason,
      ),
      `an end of the call: ${what}`,
    )
    assert.ok(error === undefined || error instanceof TalkwireError, `${what}: ${String(error)}`)
    return error
  }

  withService('a service that answers with garbage: connecting and calling fail, and nothing else', async (between, open) => {
    for (const payload of garbage()) {
      const what = payload.toString('latin1', 0, 40)
      between.spoil = () => payload
      // Some protocols begin without a word of the service.
      const begun = open().then((client) => client.echo(entryOf(4)).finally(() => client.close()))
      assert.ok(await settled(begun, what), what)
      between.spoil = undefined
      const client = await open()
      between.spoil = () => payload
      assert.ok(await settled(client.echo(entryOf(4)), what), what)
      await soon(client.close(), 'client.close()')
    }
  })

  withService('an answer that is cut or changed on its way ends its call', async (between, open) => {
    const random = new Random(815)
    for (let round = 0; round < 20; round++) {
      between.spoil = undefined
      const client = await open()
      between.spoil = (bytes) => {
        const spoilt = Buffer.from(bytes.subarray(0, round % 2 === 0 ? bytes.length : random.below(bytes.length)))
        for (let changes = random.below(3); changes >= 0 && spoilt.length > 0; changes--)
          spoilt[random.below(spoilt.length)] = random.below(256)
        return spoilt
      }
      await settled(client.echo(entryOf(round)), `round ${round}`)
      await soon(client.close(), 'client.close()')
    }
  })
}
