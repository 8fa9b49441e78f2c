/**
 * What every transport promises (src/transports/transport.ts), as tests:
 *
 *   testTransport({ test, transport: unix, address: () => freshAddress() })
 *
 * `test` is the runner's own function, so the suite depends on none. What is tested follows from the
 * declared traits, and every declaration is tested, too. The behaviours of a connection run twice: with both
 * ends here, and with the far end in another process.
 */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { TalkwireError } from '../src/error.js'
import { seesCredentials } from '../src/kernel/credentials.js'
import { registry } from '../src/registry.js'
import type { Connection, Listener, Sink, Transport, TransportOptions } from '../src/transports/transport.js'
import { digest, envelopeOf, LocalEnd, numbered, pattern, RemoteEnd, soon, turns, type Behaviour, type End, type Message } from './ends.js'

/** The shape that the runners' `test` functions have in common. */
export type Test = (name: string, body: () => Promise<void>) => unknown

/** A far end that waits to be played: `playFarEnd(control, …)` in the other process begins it. */
export interface Stage {
  readonly control: string
  /** Resolves with the address on which the far end listens. */
  listening(): Promise<string>
  /** Its process was killed by a test. */
  readonly killed: boolean
}

export interface TransportSuite<Options extends TransportOptions = TransportOptions> {
  readonly test: Test
  readonly transport: Transport<Options>
  /** A new address that nobody uses. */
  readonly address: () => string
  readonly listenOptions?: Omit<Options, 'maxMessage' | 'signal'>
  readonly connectOptions?: Omit<Options, 'maxMessage' | 'signal'>
  /**
   * Has the far end played in another process or thread, and returns where to connect to it. By default for
   * a transport in our registry that listens: a process that listens on fresh addresses, one after the other.
   */
  readonly remote?: (stage: Stage) => Promise<string>
  /** Both ends in this process, for a transport without `listen` and `connect` that would give them. */
  readonly pair?: (
    near: Sink,
    accept: (connection: Connection) => Sink,
    options: { readonly near: TransportOptions; readonly far: TransportOptions },
  ) => Promise<Connection>
}

/** What a test of a connection gets. */
interface Pair {
  readonly near: LocalEnd
  readonly far: End
  /** The near end's. */
  readonly connection: Connection
  readonly binary: boolean
  /** For tests that need both ends here. */
  readonly listener: Listener | undefined
  readonly remote: RemoteEnd | undefined
}

interface Setting {
  readonly near?: Behaviour
  readonly far?: Behaviour
  readonly nearLimit?: number
  readonly farLimit?: number
}

const KB = 1024
const MB = 1024 * KB
/** More than any kernel keeps between two ends. */
const MORE_THAN_FITS = 48 * MB
const hasCode =
  (...codes: string[]) =>
  (error: unknown): boolean =>
    error instanceof TalkwireError && codes.includes(error.code)
const lengths = (messages: readonly { length: number }[]): number[] => messages.map(({ length }) => length)

export function testTransport<Options extends TransportOptions>(suite: TransportSuite<Options>): void {
  const { test, transport } = suite
  const { scheme, traits } = transport
  const remote = suite.remote ?? ownProgram(suite)
  const here = suite.pair !== undefined || (transport.listen !== undefined && transport.connect !== undefined)
  if (traits.crossProcess && !remote)
    throw new TypeError(`${scheme} declares crossProcess: give \`remote\`, which has the far end played in another process`)
  if (!here && !remote) throw new TypeError(`${scheme}: give \`pair\` or \`remote\``)

  /** Two connected ends, checked and cleaned up whatever the body does. */
  const withPair = (name: string, body: (pair: Pair) => Promise<void>, setting: Setting = {}): void => {
    if (here) test(`${scheme}: ${name}`, () => inPair(suite, undefined, setting, body))
    if (remote) test(`${scheme}, from another process: ${name}`, () => inPair(suite, remote, setting, body))
  }
  if (traits.reliable) {
    testMessages(withPair)
    testLimits(withPair)
    testFlow(withPair, suite)
    testEnds(withPair)
    if (remote && traits.crossProcess) testDeath(withPair)
  } else testDatagrams(withPair, suite)
  testIdentity(withPair, suite)
  if (transport.listen && transport.connect) testAddresses(suite as unknown as TransportSuite & { transport: Required<Transport> })
}

type WithPair = (name: string, body: (pair: Pair) => Promise<void>, setting?: Setting) => void

/** The program beside this file, for what `registry.ts` knows. One process plays all far ends, until it is killed: a start costs more than most tests. */
function ownProgram({ transport, address, listenOptions = {} }: TransportSuite<any>): TransportSuite['remote'] {
  if (!Object.hasOwn(registry, transport.scheme) || !transport.listen || !transport.traits.crossProcess) return undefined
  let child: ChildProcess | undefined
  let last: Stage | undefined
  return (stage) => {
    if (!child || child.exitCode !== null || last?.killed) child = startOwnProgram()
    last = stage
    child.stdin!.write(`${JSON.stringify([stage.control, address(), listenOptions])}\n`)
    return stage.listening()
  }
}

function startOwnProgram(): ChildProcess {
  const child = spawn(process.execPath, [fileURLToPath(new URL('./far.js', import.meta.url))], { stdio: ['pipe', 'inherit', 'inherit'] })
  // It ends when this process does, which need not wait for it.
  child.unref()
  ;(child.stdin as Socket).unref()
  return child
}

async function inPair(
  suite: TransportSuite<any>,
  remote: TransportSuite['remote'],
  setting: Setting,
  body: (pair: Pair) => Promise<void>,
): Promise<void> {
  const near = new LocalEnd(setting.near)
  const farOptions: TransportOptions = setting.farLimit === undefined ? {} : { maxMessage: setting.farLimit }
  const nearOptions: TransportOptions = setting.nearLimit === undefined ? {} : { maxMessage: setting.nearLimit }
  const opened = remote
    ? await openRemote(suite, remote, near, nearOptions, farOptions, setting)
    : await openHere(suite, near, nearOptions, farOptions, setting)
  const { far, connection } = opened
  near.connection = connection
  try {
    await body({
      near,
      ...opened,
      binary: connection.kind === 'values' || connection.binary,
      remote: far instanceof RemoteEnd ? far : undefined,
    })
    await check(near, far)
  } finally {
    connection.abort(new TalkwireError('CONNECTION_LOST', 'the test is over'))
    if (far instanceof RemoteEnd) far.dispose()
    else if (far instanceof LocalEnd) far.connection.abort(new TalkwireError('CONNECTION_LOST', 'the test is over'))
    await opened.listener?.close()
  }
}

interface Opened {
  readonly far: LocalEnd | RemoteEnd
  readonly connection: Connection
  readonly listener: Listener | undefined
}

async function openHere(
  suite: TransportSuite<any>,
  near: LocalEnd,
  nearOptions: TransportOptions,
  farOptions: TransportOptions,
  { far: behaviour }: Setting,
): Promise<Opened> {
  const far = new LocalEnd(behaviour)
  let accepted!: () => void
  const acceptance = new Promise<void>((resolve) => {
    accepted = resolve
  })
  const accept = (connection: Connection): Sink => {
    accepted()
    return far.accepted(connection)
  }
  if (suite.pair) {
    const connection = await suite.pair(near, accept, { near: nearOptions, far: farOptions })
    await soon(acceptance, 'accept()')
    return { far, connection, listener: undefined }
  }
  const listener = await suite.transport.listen!(suite.address(), accept, { ...suite.listenOptions, ...farOptions })
  const connection = await soon(suite.transport.connect!(listener.address, near, { ...suite.connectOptions, ...nearOptions }), 'connect()')
  await soon(acceptance, 'accept()')
  return { far, connection, listener }
}

async function openRemote(
  suite: TransportSuite<any>,
  remote: NonNullable<TransportSuite['remote']>,
  near: LocalEnd,
  nearOptions: TransportOptions,
  farOptions: TransportOptions,
  { far: behaviour = {} }: Setting,
): Promise<Opened> {
  const far = await RemoteEnd.open({ behaviour, options: farOptions })
  try {
    const address = await remote(far)
    const connection = await soon(suite.transport.connect!(address, near, { ...suite.connectOptions, ...nearOptions }), 'connect()')
    await soon(far.opened, 'accept()')
    return { far, connection, listener: undefined }
  } catch (reason) {
    far.dispose()
    throw reason
  }
}

/** What holds at every moment of every test. */
async function check(near: LocalEnd, far: End): Promise<void> {
  for (const end of [near, far]) {
    const closes = end.times('closed')
    assert.ok(closes <= 1, `closed() was called ${closes} times`)
    if (closes === 1) assert.equal(end.happenings.at(-1)!.type, 'closed', 'something was called after closed()')
    if (end instanceof LocalEnd) {
      if (!end.refused) assert.equal(end.times('drained'), 0, 'drained() without a send that said false')
      assert.equal(end.spoiled(), 0, 'bytes given away as owned were changed afterwards')
    }
  }
  await turns()
  for (const end of [near, far]) assert.ok(end.times('closed') <= 1, 'closed() was called again later')
}

/** Compares with what `send` of these sizes makes. */
function same(messages: readonly Message[], sizes: readonly number[], binary: boolean): void {
  assert.deepEqual(lengths(messages), [...sizes])
  messages.forEach((message, index) =>
    assert.equal(message.digest, digest(pattern(sizes[index]!, binary)), `message ${index} of ${message.length} bytes is damaged`),
  )
}

function testMessages(withPair: WithPair): void {
  withPair('messages of every size arrive whole and in order, both ways', async ({ near, far, binary }) => {
    const sizes = [0, 1, 2, 3, 4, 5, 127, 128, 4095, 4096, 4097, 65_531, 65_532, 65_535, 65_536, 65_537, 131_072, MB, 8 * MB, 0, 2].filter(
      (size) => binary || size > 1,
    )
    await Promise.all([near.do({ do: 'send', sizes }), far.do({ do: 'send', sizes })])
    same(await far.got(sizes.length), sizes, binary)
    same(await near.got(sizes.length), sizes, binary)
  })

  withPair('thousands of small messages of one turn arrive in order, both ways', async ({ near, far }) => {
    const count = 10_000
    await Promise.all([near.do({ do: 'count', from: 0, to: count }), far.do({ do: 'count', from: 0, to: count })])
    for (const end of [near, far])
      (await end.got(count)).forEach(({ digest: seen }, index) => assert.equal(seen, String(numbered(index)), `place ${index}`))
  })

  withPair('messages of many turns stay in order with those of one', async ({ near, far, binary }) => {
    const sizes: number[] = []
    for (let turn = 0; turn < 50; turn++) {
      const batch = [turn + 2, 70_000 + turn, 2 + turn * 3]
      sizes.push(...batch)
      await near.do({ do: 'send', sizes: batch })
    }
    same(await far.got(sizes.length), sizes, binary)
  })

  withPair(
    'what is sent inside accept() and right after connect() arrives',
    async ({ near, far, binary }) => {
      await near.do({ do: 'send', sizes: [9] })
      same(await near.got(2), [7, 70_000], binary)
      same(await far.got(1), [9], binary)
    },
    { far: { when: { accept: [{ do: 'send', sizes: [7, 70_000] }] } } },
  )

  withPair(
    'what is sent inside message() arrives, also more than fits',
    async ({ near, far, binary }) => {
      await near.do({ do: 'send', sizes: [5, 5, 5] })
      same(await near.got(6), [3, 300_000, 3, 300_000, 3, 300_000], binary)
      await far.got(3)
    },
    { far: { when: { message: [{ do: 'send', sizes: [3, 300_000] }] } } },
  )

  withPair('the sender may reuse what it wrote from, at once', async ({ near, far }) => {
    const source = Buffer.alloc(200_000)
    const expected: string[] = []
    for (let round = 0; round < 8; round++) {
      source.fill(0x30 + round)
      expected.push(digest(source))
      near.send(source)
    }
    source.fill(0)
    assert.deepEqual(
      (await far.got(8)).map((message) => message.digest),
      expected,
    )
  })

  withPair('a message that is rolled back leaves nothing', async ({ connection, near, far, binary }) => {
    if (connection.kind === 'values') return
    await near.do({ do: 'send', sizes: [10] })
    for (const size of [3, 100_000]) {
      const writer = connection.begin()
      writer.bytes(pattern(size))
      writer.attachments.push(pattern(50_000))
      connection.rollback()
    }
    await near.do({ do: 'send', sizes: [11] })
    same(await far.got(2), [10, 11], binary)
    assert.equal((await near.do({ do: 'state' })).unsent, 0)
  })

  withPair('`committed` is the payload of the last message', async ({ connection, near, far, binary }) => {
    if (connection.kind === 'values') return
    for (const size of [2, 100, 100_000]) {
      await near.do({ do: 'send', sizes: [size] })
      assert.equal(connection.committed, size)
    }
    if (!binary) return
    await near.do({ do: 'attach', head: 3, sizes: [5, 20_000] })
    assert.equal(connection.committed, envelopeOf(pattern(3), [pattern(5), pattern(20_000)]).length)
    await far.got(4)
  })

  withPair('attachments travel with their message, in place', async ({ connection, near, far, binary }) => {
    if (connection.kind === 'values' || !binary) return
    const cases: [head: number, sizes: number[]][] = [
      [3, [1]],
      [8, [0]],
      [0, [8, 8]],
      [5, [100, 7, 4097]],
      [2, [16_384]],
      [2, [16_385]],
      [70_000, [9]],
      [11, [MB, 3, 65_537]],
      [1, Array.from({ length: 300 }, (_, index) => index)],
    ]
    for (const [head, sizes] of cases) await near.do({ do: 'attach', head, sizes })
    await near.do({ do: 'send', sizes: [5] })
    await far.do({ do: 'attach', head: 3, sizes: [MB, 5] })
    const expected = cases.map(([head, sizes]) =>
      envelopeOf(
        pattern(head),
        sizes.map((size) => pattern(size)),
      ),
    )
    const messages = await far.got(cases.length + 1)
    expected.forEach((payload, index) =>
      assert.deepEqual(
        messages[index],
        { type: 'message', length: payload.length, digest: digest(payload) },
        `attachments of case ${index}`,
      ),
    )
    same(messages.slice(-1), [5], true)
    const back = envelopeOf(pattern(3), [pattern(MB), pattern(5)])
    assert.equal((await near.got(1))[0]!.digest, digest(back))
  })
}

function testLimits(withPair: WithPair): void {
  const limit = 100_000
  withPair(
    'a message over the limit is refused and harms nothing',
    async ({ connection, near, far, binary }) => {
      if (connection.kind === 'values') return
      await near.do({ do: 'send', sizes: [20] })
      assert.throws(() => near.send(pattern(limit + 1)), hasCode('MESSAGE_TOO_LARGE'))
      await assert.rejects(near.do({ do: 'attach', head: 10, sizes: [limit - 10] }), hasCode('MESSAGE_TOO_LARGE'))
      await near.do({ do: 'send', sizes: [21, limit] })
      same(await far.got(3), [20, 21, limit], binary)
      assert.equal((await near.do({ do: 'state' })).unsent, 0)
    },
    { nearLimit: limit, farLimit: limit },
  )

  withPair('limitSend() lowers the limit and never raises it', async ({ connection, near, far, binary }) => {
    if (connection.kind === 'values') return
    connection.limitSend(1000)
    connection.limitSend(1e9)
    assert.throws(() => near.send(pattern(1001)), hasCode('MESSAGE_TOO_LARGE'))
    await near.do({ do: 'send', sizes: [1000] })
    same(await far.got(1), [1000], binary)
    await far.do({ do: 'send', sizes: [5000] })
    same(await near.got(1), [5000], binary)
  })

  withPair(
    "a message over the receiver's limit ends the connection with a cause",
    async ({ connection, near, far, binary }) => {
      if (connection.kind === 'values') return
      await near.do({ do: 'send', sizes: [limit, limit + 1] })
      assert.equal(await far.ending(), 'MESSAGE_TOO_LARGE')
      await near.ending()
      same(far.messages, [limit], binary)
    },
    { farLimit: limit },
  )

  withPair(
    'a sink that handles broken messages says a last word',
    async ({ connection, near, far, binary }) => {
      if (connection.kind === 'values') return
      await near.do({ do: 'send', sizes: [limit, limit + 1, 7] })
      assert.equal(((await far.happened('broken')) as { code?: string }).code, 'MESSAGE_TOO_LARGE')
      same(await near.got(1), [33], binary)
      assert.equal(far.times('broken'), 1)
      same(far.messages, [limit], binary)
      await near.ending()
      await far.ending()
    },
    { farLimit: limit, far: { has: ['broken'], when: { broken: [{ do: 'send', sizes: [33] }, { do: 'close' }] } } },
  )
}

function testFlow(withPair: WithPair, { transport: { traits } }: TransportSuite<any>): void {
  withPair('pause() holds messages back, resume() brings them', async ({ near, far, binary }) => {
    await near.do({ do: 'send', sizes: [2] })
    await far.got(1)
    await far.do({ do: 'pause' })
    await near.do({ do: 'send', sizes: [3, 400_000] })
    await turns()
    await far.do({ do: 'turns' })
    assert.equal(far.messages.length, 1)
    await far.do({ do: 'resume' })
    same(await far.got(3), [2, 3, 400_000], binary)
  })

  withPair(
    'pause() inside message() loses and reorders nothing',
    async ({ near, far }) => {
      await near.do({ do: 'count', from: 0, to: 3000 })
      for (let count = 0; count < 3000;) {
        count = far.messages.length
        await far.do({ do: 'resume' })
        await far.do({ do: 'turns' })
      }
      ;(await far.got(3000)).forEach(({ digest: seen }, index) => assert.equal(seen, String(numbered(index))))
    },
    { far: { when: { message: [{ do: 'pause' }] } } },
  )

  withPair('what waited during a pause is not overtaken by what is sent at its end', async ({ near, far }) => {
    for (let round = 0; round < 3; round++) {
      const from = round * 6000
      await far.do({ do: 'pause' })
      await near.do({ do: 'count', from, to: from + 3000 })
      await turns()
      await far.do({ do: 'turns' })
      await Promise.all([far.do({ do: 'resume' }), near.do({ do: 'count', from: from + 3000, to: from + 6000 })])
      await far.got(from + 6000)
    }
    far.messages.forEach(({ digest: seen }, index) => assert.equal(seen, String(numbered(index))))
  })

  withPair('a connection that was paused and never resumed can still be closed', async ({ near, far }) => {
    await near.do({ do: 'pause' })
    await far.do({ do: 'send', sizes: [100_000] })
    await soon(near.do({ do: 'close' }), 'close()')
    assert.equal(await near.ending(), null)
    assert.equal(await far.ending(), null)
  })

  withPair('nothing is lost on the way to a reader that stopped for a while', async ({ near, far, binary }) => {
    await far.do({ do: 'pause' })
    const sizes = Array.from({ length: 300 }, (_, index) => 64 * KB + index)
    await near.do({ do: 'send', sizes })
    await turns()
    await far.do({ do: 'resume' })
    same(await far.got(sizes.length), sizes, binary)
    await far.do({ do: 'send', sizes: [2] })
    await near.got(1)
    assert.deepEqual(await near.do({ do: 'state' }), { buffered: 0, unsent: 0 })
  })

  withPair('drained() follows only a send that said false', async ({ near, far, connection }) => {
    const size = 30_000
    let sent = 0
    for (let more = 0; more < 6; more++) {
      // Fills what is between the ends, then a little more, each message in a turn of its own.
      await far.do({ do: 'pause' })
      const drains = near.times('drained')
      let refused = false
      const send = async (): Promise<void> => {
        sent++
        if (!(await near.do({ do: 'send', sizes: [size] }))) refused = true
        await turns()
      }
      for (let round = 0; round < 500 && connection.buffered === 0 && !refused; round++) await send()
      for (let extra = 0; extra < more && !refused; extra++) await send()
      await far.do({ do: 'resume' })
      await far.got(sent)
      await turns()
      assert.ok(
        near.times('drained') - drains <= Number(refused),
        `drained() ${near.times('drained') - drains} times, a send said false: ${refused}`,
      )
    }
  })

  if (traits.backpressure) {
    withPair('a send says false to a peer that does not read, and drained() follows', async ({ near, far, connection }) => {
      await far.do({ do: 'pause' })
      let sent = 0
      let drains = -1
      // What stands between the ends may take more for a while; at last nothing does.
      while (near.times('drained') > drains) {
        drains = near.times('drained')
        while (await near.do({ do: 'send', sizes: [64 * KB] })) {
          assert.ok(++sent * 64 * KB < MORE_THAN_FITS, 'no send said false')
          await new Promise((resolve) => setImmediate(resolve))
        }
        sent++
        assert.ok(connection.buffered <= 8 * MB, `${connection.buffered} bytes wait when a send first says false`)
        await turns()
      }
      assert.equal(await near.do({ do: 'send', sizes: [2] }), false, 'still full')
      await far.do({ do: 'resume' })
      await near.until('drained()', () => (near.times('drained') > drains ? true : undefined))
      await far.got(sent + 1)
      assert.equal(await near.do({ do: 'send', sizes: [2] }), true, 'a send says true again')
      await far.got(sent + 2)
      assert.equal(near.times('drained'), drains + 1)
    })

    withPair('a writer that waits for drained() needs little memory', async ({ near, far, connection }) => {
      const chunk = pattern(256 * KB, connection.kind === 'values' || connection.binary)
      let most = 0
      for (let sent = 0; sent < 200; sent++) {
        const drains = near.times('drained')
        if (!near.send(chunk)) {
          await near.until('drained()', () => (near.times('drained') > drains ? true : undefined))
        }
        most = Math.max(most, connection.buffered)
      }
      assert.ok(most <= 8 * MB, `${most} bytes were waiting`)
      await far.got(200)
    })

    withPair('`buffered` counts what waits, and a message counted as unsent has not arrived', async ({ near, far, connection }) => {
      await far.do({ do: 'pause' })
      const count = (2 * MORE_THAN_FITS) / MB
      await near.do({ do: 'send', sizes: Array.from({ length: count }, () => MB) })
      await turns()
      assert.ok(connection.buffered >= MORE_THAN_FITS, `${connection.buffered} of ${count * MB} bytes are said to wait`)
      const { unsent } = connection
      assert.ok(unsent >= 0 && unsent <= count, `${unsent} of ${count} unsent`)
      connection.abort(new TalkwireError('CONNECTION_LOST', 'enough'))
      await far.do({ do: 'resume' })
      await far.ending()
      assert.ok(far.messages.length <= count - unsent, `${far.messages.length} of ${count} arrived, ${unsent} were said to be unsent`)
    })
  }
}

/** For a wire that may lose messages: what arrives is whole, and nothing twice. What is said again and again arrives at last. */
function testDatagrams(withPair: WithPair, { transport: { traits } }: TransportSuite<any>): void {
  const largest = traits.maxMessage!
  if (traits.backpressure || traits.ordered || !(largest > 0))
    throw new TypeError('a wire that loses messages has a maxMessage, and neither order nor backpressure')
  const insistently = async (from: End, to: End, size: number, binary: boolean): Promise<void> => {
    const wanted = digest(pattern(size, binary))
    const arrived = (): boolean => to.messages.some((message) => message.digest === wanted && message.length === size)
    while (!arrived()) {
      await from.do({ do: 'send', sizes: [size] })
      await turns()
    }
  }

  withPair('messages of every size arrive whole, both ways', async ({ near, far, binary }) => {
    for (const size of [2, 3, 127, 128, 1471, 1472, 1473, 4096, largest - 1, largest])
      await Promise.all([insistently(near, far, size, binary), insistently(far, near, size, binary)])
  })

  withPair('none arrives twice, and none that was not sent', async ({ near, far }) => {
    const count = 2000
    await Promise.all([near.do({ do: 'count', from: 0, to: count }), far.do({ do: 'count', from: 0, to: count })])
    await Promise.all([insistently(near, far, 500, false), insistently(far, near, 500, false)])
    const sent = new Set(Array.from({ length: count }, (_, index) => String(numbered(index))))
    for (const end of [near, far]) {
      const got = end.messages.filter(({ length }) => length === 10).map(({ digest: seen }) => seen)
      assert.ok(got.length > 0, 'some arrive')
      assert.equal(new Set(got).size, got.length, 'some arrived twice')
      assert.ok(got.every((seen) => sent.has(seen)))
    }
  })

  withPair(
    'what is larger than the wire takes is refused before it is sent, and harms nothing',
    async ({ connection, near, far, binary }) => {
      assert.throws(() => near.send(pattern(largest + 1, binary)), hasCode('MESSAGE_TOO_LARGE'))
      if (connection.kind === 'bytes') {
        connection.limitSend(1000)
        connection.limitSend(1e9)
        assert.throws(() => near.send(pattern(1001, binary)), hasCode('MESSAGE_TOO_LARGE'))
      }
      assert.equal((await near.do({ do: 'state' })).unsent, 0)
      await insistently(near, far, 1000, binary)
    },
  )

  withPair('the connection says that it loses messages', async ({ connection }) => assert.equal(connection.lossy, true))

  withPair('who does not read holds nobody up, and needs no memory', async ({ near, far, connection, binary }) => {
    await far.do({ do: 'pause' })
    for (let round = 0; round < 100; round++) {
      await near.do({ do: 'send', sizes: Array.from({ length: 10 }, () => largest) })
      await turns()
      assert.ok(connection.buffered <= 8 * MB, `${connection.buffered} bytes wait`)
    }
    await far.do({ do: 'turns' })
    assert.equal(far.messages.length, 0, 'who does not read gets something')
    await far.do({ do: 'resume' })
    await insistently(near, far, 77, binary)
  })

  withPair('close() ends both sides without a cause; twice is once; a send then throws', async ({ near, far }) => {
    const closing = Promise.all([near.do({ do: 'close' }), near.do({ do: 'close' })])
    assert.throws(() => near.send(pattern(2)), hasCode('CONNECTION_CLOSED'))
    await soon(closing, 'close()')
    assert.equal(await near.ending(), null)
    assert.equal(await far.ending(), null)
    await assert.rejects(far.do({ do: 'send', sizes: [2] }), hasCode('CONNECTION_CLOSED'))
  })

  withPair('close() by the accepting side, and by both at once', async ({ near, far }) => {
    await Promise.all([far.do({ do: 'close' }), near.do({ do: 'close' })])
    assert.deepEqual([await near.ending(), await far.ending()], [null, null])
  })

  withPair('abort() gives its cause to its own side and ends the other', async ({ near, far, connection, binary }) => {
    await insistently(near, far, 3, binary)
    const cause = new TalkwireError('CONNECTION_LOST', 'nonsense arrived')
    connection.abort(cause)
    connection.abort(new TalkwireError('CONNECTION_LOST', 'a later cause'))
    await near.ending()
    assert.equal(near.cause, cause)
    assert.equal(await far.ending(), 'CONNECTION_LOST')
    await soon(near.do({ do: 'close' }), 'close() after abort()')
  })

  withPair(
    'abort() inside message() is obeyed at once',
    async ({ near, far }) => {
      while (far.times('closed') === 0) {
        await near.do({ do: 'count', from: 0, to: 50 }).catch(() => {})
        await turns()
      }
      assert.equal(far.messages.length, 1)
      await near.ending()
    },
    { far: { when: { message: [{ do: 'abort', code: 'INVALID_MESSAGE' }] } } },
  )
}

function testEnds(withPair: WithPair): void {
  const hundred = Array.from({ length: 100 }, (_, index) => 10_000 + index)
  withPair('close() delivers everything, then closed() once on each side, without a cause', async ({ near, far, binary }) => {
    await near.do({ do: 'send', sizes: hundred })
    await soon(near.do({ do: 'close' }), 'close()')
    assert.equal(await far.ending(), null)
    assert.equal(await near.ending(), null)
    same(far.messages, hundred, binary)
  })

  withPair('close() by the accepting side delivers everything', async ({ near, far, binary }) => {
    await far.do({ do: 'send', sizes: [...hundred, 8 * MB] })
    await far.do({ do: 'close' })
    assert.equal(await near.ending(), null)
    assert.equal(await far.ending(), null)
    same(near.messages, [...hundred, 8 * MB], binary)
  })

  withPair('close() from both sides at once delivers what both sent', async ({ near, far, binary }) => {
    await Promise.all([near.do({ do: 'send', sizes: hundred }), far.do({ do: 'send', sizes: hundred })])
    await Promise.all([far.do({ do: 'close' }), near.do({ do: 'close' })])
    assert.equal(await near.ending(), null)
    assert.equal(await far.ending(), null)
    same(far.messages, hundred, binary)
  })

  withPair('close() waits for a peer that reads slowly', async ({ near, far, binary }) => {
    await far.do({ do: 'pause' })
    const sizes = [MB, MB, MB, MB]
    await near.do({ do: 'send', sizes })
    let closed = false
    const closing = near.do({ do: 'close' }).then(() => (closed = true))
    await turns()
    assert.equal(closed, false)
    assert.equal(near.times('closed'), 0)
    await far.do({ do: 'resume' })
    await soon(closing, 'close()')
    assert.equal(await far.ending(), null)
    same(far.messages, sizes, binary)
  })

  withPair('close() twice is close() once', async ({ near, far }) => {
    await soon(Promise.all([near.do({ do: 'close' }), near.do({ do: 'close' })]), 'close() twice')
    await soon(near.do({ do: 'close' }), 'close() on a closed connection')
    assert.equal(await near.ending(), null)
    await far.ending()
  })

  withPair('a send on a closed connection throws CONNECTION_CLOSED, on either side, at once', async ({ near, far }) => {
    const closing = near.do({ do: 'close' })
    assert.throws(() => near.send(pattern(2)), hasCode('CONNECTION_CLOSED'))
    await soon(closing, 'close()')
    assert.throws(() => near.send(pattern(2)), hasCode('CONNECTION_CLOSED'))
    await far.ending()
    await assert.rejects(far.do({ do: 'send', sizes: [2] }), hasCode('CONNECTION_CLOSED'))
    assert.deepEqual(far.messages, [])
  })

  withPair(
    'a peer that has closed can still be answered by a sink that wants to',
    async ({ near, far, binary }) => {
      await near.do({ do: 'send', sizes: [5] })
      const closing = near.do({ do: 'close' })
      await far.happened('ended')
      await turns()
      assert.equal(far.times('closed'), 0, 'closed before it closed itself')
      assert.equal(near.times('closed'), 0, 'the side that closed hears the answer first')
      await far.do({ do: 'send', sizes: [6, 500_000, 7] })
      await far.do({ do: 'close' })
      await soon(closing, 'close()')
      assert.equal(await near.ending(), null)
      assert.equal(await far.ending(), null)
      same(near.messages, [6, 500_000, 7], binary)
      assert.equal(far.times('ended'), 1)
    },
    { far: { has: ['ended'] } },
  )

  withPair('abort() gives its cause to its own side and ends the other', async ({ near, far, connection }) => {
    const cause = new TalkwireError('CONNECTION_LOST', 'nonsense arrived')
    connection.abort(cause)
    connection.abort(new TalkwireError('CONNECTION_LOST', 'a later cause'))
    await near.ending()
    assert.equal(near.cause, cause)
    assert.ok([null, 'CONNECTION_LOST'].includes(await far.ending()))
    assert.throws(() => near.send(pattern(2)), hasCode('CONNECTION_CLOSED', 'CONNECTION_LOST'))
  })

  withPair('abort() by the accepting side ends the other', async ({ near, far }) => {
    await far.do({ do: 'abort', code: 'CONNECTION_LOST' })
    assert.equal(await far.ending(), 'CONNECTION_LOST')
    assert.ok([null, 'CONNECTION_LOST'].includes(await near.ending()))
  })

  withPair(
    'abort() inside accept() is noticed by who connected',
    async ({ near, far }) => {
      assert.equal(await far.ending(), 'UNAUTHENTICATED')
      await near.ending()
      assert.deepEqual(near.messages, [])
    },
    { far: { when: { accept: [{ do: 'abort', code: 'UNAUTHENTICATED' }] } } },
  )

  withPair(
    'abort() inside message() is obeyed at once',
    async ({ near, far }) => {
      await near.do({ do: 'count', from: 0, to: 500 })
      assert.equal(await far.ending(), 'INVALID_MESSAGE')
      await near.ending()
      assert.equal(far.messages.length, 1)
    },
    { far: { when: { message: [{ do: 'abort', code: 'INVALID_MESSAGE' }] } } },
  )

  withPair('abort() drops what a peer does not read, and does not wait for it', async ({ near, far, connection }) => {
    await far.do({ do: 'pause' })
    await near.do({ do: 'send', sizes: Array.from({ length: 32 }, () => MB) })
    await turns()
    connection.abort(new TalkwireError('CONNECTION_LOST', 'too slow'))
    assert.equal(await near.ending(), 'CONNECTION_LOST')
    await soon(near.do({ do: 'close' }), 'close() after abort()')
    await far.do({ do: 'resume' })
    await far.ending()
    assert.ok(far.messages.length < 32)
  })

  withPair('abort() ends a close() that waits', async ({ near, far, connection }) => {
    await far.do({ do: 'pause' })
    await near.do({ do: 'send', sizes: Array.from({ length: 32 }, () => MB) })
    const closing = near.do({ do: 'close' })
    await turns()
    connection.abort(new TalkwireError('CONNECTION_LOST', 'too slow'))
    await soon(closing, 'close()')
    assert.equal(await near.ending(), 'CONNECTION_LOST')
  })
}

function testIdentity(withPair: WithPair, { transport: { traits } }: TransportSuite<any>): void {
  withPair(`the peer is ${traits.peerCredentials ? 'who the kernel says' : 'not claimed to be anybody'}`, async ({ near, far, remote }) => {
    const [seenHere, seenThere] = [await near.do({ do: 'peer' }), await far.do({ do: 'peer' })]
    assert.equal(typeof seenHere.address, 'string')
    assert.equal(typeof seenThere.address, 'string')
    if (traits.peerCredentials && seesCredentials()) {
      assert.deepEqual([seenHere.pid, seenHere.uid, seenHere.gid], [remote?.pid ?? process.pid, process.getuid!(), process.getgid!()])
      assert.deepEqual([seenThere.pid, seenThere.uid, seenThere.gid], [process.pid, process.getuid!(), process.getgid!()])
    } else assert.deepEqual([seenHere.uid, seenThere.uid], [undefined, undefined])
    for (const peer of [seenHere, seenThere])
      assert.equal(typeof peer.host, traits.crossHost ? 'string' : 'undefined', 'peer.host is for wires between hosts')
  })

  withPair('ref() and unref() can be called at any time', async ({ near, far, connection, binary }) => {
    connection.unref()
    connection.ref()
    await near.do({ do: 'send', sizes: [2] })
    same(await far.got(1), [2], binary)
    await near.do({ do: 'close' })
    connection.unref()
    connection.ref()
  })
}

function testDeath(withPair: WithPair): void {
  const onlyRemote = (name: string, body: (pair: Pair & { remote: RemoteEnd }) => Promise<void>): void =>
    withPair(name, async (pair) => {
      if (pair.remote) await body({ ...pair, remote: pair.remote })
    })

  onlyRemote('kill -9 of the peer is noticed', async ({ near, remote, far, binary }) => {
    await far.do({ do: 'send', sizes: [2, 3] })
    same(await near.got(2), [2, 3], binary)
    remote.kill()
    await near.ending()
    await assert.rejects(
      near.do({ do: 'send', sizes: [2] }),
      (error: TalkwireError) => error.code.startsWith('CONNECTION_') || error.code === 'PEER_EXITED',
    )
  })

  onlyRemote('kill -9 of a peer in the middle of a message is a loss, with a cause', async ({ near, remote, far, binary }) => {
    await near.do({ do: 'pause' })
    await far.do({ do: 'send', sizes: [2, MORE_THAN_FITS] })
    // It has said that it sends; what leaves at the end of its turn has left after some more.
    await far.do({ do: 'turns' })
    await turns()
    remote.kill()
    await turns()
    await near.do({ do: 'resume' })
    assert.notEqual(await near.ending(), null)
    same(near.messages, [2], binary)
  })

  onlyRemote('kill -9 of a peer that does not read ends who writes to it', async ({ near, remote, far }) => {
    await far.do({ do: 'pause' })
    await near.do({ do: 'send', sizes: [MORE_THAN_FITS] })
    await turns()
    remote.kill()
    assert.notEqual(await near.ending(), null)
  })
}

function testAddresses(suite: TransportSuite & { transport: Required<Transport> }): void {
  const { test, transport, address } = suite
  const { scheme, traits } = transport
  const listen = (
    where: string,
    accept: (connection: Connection) => Sink = (connection) => new LocalEnd().accepted(connection),
    options?: TransportOptions,
  ): Promise<Listener> => transport.listen(where, accept, { ...suite.listenOptions, ...options })
  const connect = (where: string, sink: Sink = new LocalEnd(), options?: TransportOptions): Promise<Connection> =>
    soon(transport.connect(where, sink, { ...suite.connectOptions, ...options }), 'connect()')
  const over = new TalkwireError('CONNECTION_LOST', 'the test is over')

  test(`${scheme}: connect() to nobody rejects with PEER_NOT_FOUND`, async () => {
    await assert.rejects(connect(address()), hasCode('PEER_NOT_FOUND'))
  })

  test(`${scheme}: an aborted signal's reason is what connect() and listen() reject with`, async () => {
    const reason = new Error('changed my mind')
    const signal = AbortSignal.abort(reason)
    const listener = await listen(address())
    const sink = new LocalEnd()
    await assert.rejects(connect(listener.address, sink, { signal }), (error) => error === reason)
    const where = address()
    await assert.rejects(listen(where, undefined, { signal }), (error) => error === reason)
    await assert.rejects(connect(where), hasCode('PEER_NOT_FOUND'))
    assert.deepEqual(sink.happenings, [])
    await listener.close()
  })

  test(`${scheme}: a signal that aborts while connect() is on its way, or after, ends nothing that is open`, async () => {
    const accepted: LocalEnd[] = []
    const listener = await listen(address(), (connection) => {
      const end = new LocalEnd().accepted(connection)
      accepted.push(end)
      return end
    })
    const reason = new Error('changed my mind')
    const early = new AbortController()
    const attempt = connect(listener.address, new LocalEnd(), { signal: early.signal })
    early.abort(reason)
    const outcome = await attempt.catch((error: unknown) => error)
    if (outcome !== reason) (outcome as Connection).abort(over)
    const late = new AbortController()
    const sink = new LocalEnd()
    sink.connection = await connect(listener.address, sink, { signal: late.signal })
    late.abort(reason)
    await sink.do({ do: 'send', sizes: [3] })
    await soon(
      (async () => {
        while (!accepted.some((end) => end.messages.length === 1)) await turns()
      })(),
      'a message on the connection',
    )
    assert.equal(sink.times('closed'), 0)
    sink.connection.abort(over)
    for (const end of accepted) end.connection.abort(over)
    await listener.close()
  })

  test(`${scheme}: an address in use is refused, and its owner goes on`, async () => {
    const listener = await listen(address())
    await assert.rejects(listen(listener.address), hasCode('ADDRESS_IN_USE'))
    const sink = new LocalEnd()
    const connection = await connect(listener.address, sink)
    connection.abort(over)
    await sink.ending()
    await listener.close()
  })

  test(`${scheme}: a closed listener frees its address`, async () => {
    const where = address()
    for (let round = 0; round < 3; round++) {
      const listener = await listen(where)
      await soon(listener.close(), 'listener.close()')
      await soon(listener.close(), 'listener.close() again')
      await assert.rejects(connect(listener.address), hasCode('PEER_NOT_FOUND'))
    }
  })

  test(`${scheme}: connections outlive their listener`, async () => {
    const far = new LocalEnd()
    const listener = await listen(address(), (connection) => far.accepted(connection))
    const near = new LocalEnd()
    near.connection = await connect(listener.address, near)
    await near.do({ do: 'send', sizes: [2] })
    await far.got(1)
    await soon(listener.close(), 'listener.close()')
    await near.do({ do: 'send', sizes: [3] })
    await far.got(2)
    await far.do({ do: 'send', sizes: [4] })
    await near.got(1)
    await near.do({ do: 'close' })
    assert.equal(await far.ending(), null)
  })

  test(`${scheme}: ${traits.manyConnections ? 'many connections at a time, each its own' : 'one connection at a time, a second is not served'}`, async () => {
    const accepted: LocalEnd[] = []
    const listener = await listen(address(), (connection) => {
      const end = new LocalEnd({ when: { message: [{ do: 'send', sizes: [1000 + accepted.length] }] } }).accepted(connection)
      accepted.push(end)
      return end
    })
    const first = new LocalEnd()
    first.connection = await connect(listener.address, first)
    await first.do({ do: 'send', sizes: [2] })
    await first.got(1)
    if (traits.manyConnections) {
      const others = await Promise.all(
        Array.from({ length: 20 }, async () => {
          const end = new LocalEnd()
          end.connection = await connect(listener.address, end)
          return end
        }),
      )
      for (const [index, end] of others.entries()) await end.do({ do: 'send', sizes: [3 + index] })
      for (const end of others) await end.got(1)
      assert.deepEqual(
        accepted
          .map((end) => end.messages.map(({ length }) => length))
          .flat()
          .sort((a, b) => a - b),
        [2, ...others.map((_, index) => 3 + index)],
      )
      for (const end of others) end.connection.abort(over)
    } else {
      const second = new LocalEnd()
      const refused = await connect(listener.address, second).then(
        (connection) => {
          second.connection = connection
        },
        (error: unknown) => error,
      )
      if (!refused) await second.ending()
      assert.equal(accepted.length, 1)
    }
    await first.do({ do: 'send', sizes: [2] })
    await first.got(2)
    first.connection.abort(over)
    for (const end of accepted) await end.ending()
    await listener.close()
  })

  test(`${scheme}: a sink that throws costs only its own connection`, async () => {
    let accepts = 0
    const listener = await listen(address(), (connection) => {
      const end = new LocalEnd().accepted(connection)
      if (++accepts === 1)
        end.message = () => {
          throw new TalkwireError('INVALID_MESSAGE', 'a sink that throws')
        }
      return end
    })
    const first = new LocalEnd()
    first.connection = await connect(listener.address, first)
    if (first.connection.kind === 'bytes') {
      await first.do({ do: 'send', sizes: [2] })
      await first.ending()
    }
    const second = new LocalEnd()
    second.connection = await connect(listener.address, second)
    await second.do({ do: 'send', sizes: [2] })
    await second.do({ do: 'close' })
    assert.equal(await second.ending(), null)
    first.connection.abort(over)
    await listener.close()
  })

  if (existsSync('/proc/self/fd')) {
    test(`${scheme}: no descriptor is left behind`, async () => {
      const round = async (): Promise<void> => {
        const ends: LocalEnd[] = []
        const listener = await listen(address(), (connection) => {
          const end = new LocalEnd().accepted(connection)
          ends.push(end)
          return end
        })
        for (let index = 0; index < 20; index++) {
          const near = new LocalEnd()
          near.connection = await connect(listener.address, near)
          await near.do({ do: 'send', sizes: [2] })
          if (index % 2) near.connection.abort(over)
          else await near.do({ do: 'close' })
          await near.ending()
        }
        await Promise.all(ends.map((end) => end.ending()))
        await assert.rejects(listen(listener.address))
        await listener.close()
        await assert.rejects(connect(address()))
      }
      const count = (): number => readdirSync('/proc/self/fd').length
      await round()
      await turns()
      const before = count()
      await round()
      await soon(
        (async () => {
          while (count() > before) await turns()
        })(),
        () => `${count() - before} descriptors to be closed`,
      )
    })
  }
}
