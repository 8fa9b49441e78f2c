import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MessageChannel } from 'node:worker_threads'
import { LocalEnd, soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, implement, ndarray, sessionOf, shapeOf, TalkwireError } from '../../src/index.js'
import type { Connection, Sink } from '../../src/transports/transport.js'
import { PortConnection, worker } from '../../src/transports/worker.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { program } from './fixtures/support.js'

let control: string
testTransport({
  test,
  // A thread listens on one wire, the one to who started it: there are no addresses to try.
  transport: { scheme: 'worker', traits: worker.traits, connect: worker.connect! },
  address: () => `worker:${freshPath('.js')}`,
  pair: async (near, accept) => {
    const { port1, port2 } = new MessageChannel()
    const peer = { address: 'worker:', pid: process.pid }
    const opened = new PortConnection(port2, peer, accept as (connection: Connection) => Sink)
    return opened && new PortConnection(port1, peer, near)
  },
  remote: async (stage) => {
    control = stage.control
    return `worker:${program('far')}`
  },
  connectOptions: {
    detached: true,
    get workerData() {
      return { argv: [control, 'worker:'] }
    },
  },
})

interface Thread {
  add(a: number, b: number): number
  echo(value: any): any
  apply(callback: (value: number) => number): number
  data(): { own: string; wire: string }
  exit(code: number): void
  fail(): void
  hang(): void
  busy(): void
  linger(): void
  post(value: unknown): void
  environment(name: string): string | null
}
const thread = (options?: Parameters<typeof connect>[1]) => connect<Thread>(`worker:${program('thread')}`, options as never)

test("worker: calls both ways with what can be cloned; the thread's own data and messages stay its own", async () => {
  await using client = await thread({
    workerData: { own: 'mine' },
    env: { COLOUR: 'green' },
    serve: implement({ twice: (n: number) => 2 * n }),
  })
  assert.equal(await client.add(2, 5), 7)
  const values = [
    new Map([[1, new Set(['a'])]]),
    new Date(5),
    12n,
    undefined,
    NaN,
    -0,
    [new Uint8Array([1, 2])],
    { a: { b: null } },
    { $ref: 1 },
  ]
  for (const value of values) assert.deepEqual(await client.echo(value), value)
  const matrix = ndarray(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3])
  assert.deepEqual(shapeOf(await client.echo(matrix)), [2, 3])
  assert.equal(await client.apply((value) => value * 3), 12)
  assert.deepEqual(await client.data(), { own: 'mine', wire: 'taken' })
  assert.equal(await client.environment('COLOUR'), 'green')
  const big = new Float64Array(1 << 20).fill(3)
  assert.deepEqual((await client.echo(big)).at(-1), 3)
})

test('worker: shared memory is shared, not copied', async () => {
  await using client = await thread()
  const shared = new Int32Array(new SharedArrayBuffer(8))
  const back = await client.echo(shared)
  Atomics.store(shared, 0, 77)
  assert.equal(Atomics.load(back, 0), 77)
})

test('worker: a value that cannot be sent harms nothing', async () => {
  await using client = await thread()
  for (const value of [Symbol('no'), { promise: Promise.resolve() }]) await assert.rejects(async () => client.echo(value))
  assert.equal(await client.add(2, 5), 7)
})

test('worker: an uncaught error, an exit and terminate() are in the error of calls in flight', async () => {
  const cases: [(client: Awaited<ReturnType<typeof thread>>) => unknown, RegExp, (cause: unknown) => boolean][] = [
    [(client) => client.fail(), /something unforeseen/, (cause) => cause instanceof Error && cause.name === 'RangeError'],
    [(client) => client.exit(3), /exit code 3/, (cause) => cause === undefined],
  ]
  for (const [end, text, isCause] of cases) {
    const client = await thread()
    const calls = [client.hang(), end(client)]
    for (const result of await soon(Promise.allSettled(calls as Promise<unknown>[]), 'calls settle')) {
      assert.equal(result.status, 'rejected')
      const reason = result.reason as TalkwireError
      assert.deepEqual([reason.code, reason.outcome], ['PEER_EXITED', 'maybe-ran'])
      assert.match(reason.message, text)
      assert.ok(isCause(reason.cause), String(reason.cause))
    }
    await client.close()
  }
})

test('worker: a thread in a busy loop is ended by abort, and one that lingers by close', async () => {
  const busy = await thread()
  const call = busy.busy()
  sessionOf(busy)!.abort(new TalkwireError('CANCELLED', 'enough'))
  await assert.rejects(soon(call, 'the call settles'), fails('CANCELLED'))
  const lingering = await thread()
  await lingering.linger()
  const began = performance.now()
  // Without the client's own patience, after which it aborts.
  await soon(sessionOf(lingering)!.close(), 'close()')
  assert.ok(performance.now() - began > 1900)
})

test('worker: a file that is not there, a file that fails, and an address with a name for listening', async () => {
  await assert.rejects(connect('worker:./no-such-thread.js'), fails('START_FAILED'))
  await assert.rejects(
    connect(`worker:${program('broken')}`),
    (reason: TalkwireError) => reason.code === 'PEER_EXITED' && /broken on purpose/.test(reason.message),
  )
  await assert.rejects(
    worker.listen!('worker:', () => new LocalEnd()),
    fails('UNSUPPORTED'),
  )
  await assert.rejects(
    worker.listen!('worker:./x.js', () => new LocalEnd()),
    fails('INVALID_ADDRESS'),
  )
})

test('worker: what a thread sent last before it ended arrives', async () => {
  for (let round = 0; round < 5; round++) {
    const end = new LocalEnd()
    await worker.connect!(`worker:${program('last-words')}`, end)
    assert.equal(await end.ending(), 'PEER_EXITED')
    assert.equal(end.messages.length, 100)
  }
})

test('worker: a connection that is forgotten does not keep the process', async () => {
  const { printed, start, gone } = await import('./fixtures/support.js')
  const parent = start(process.execPath, program('unref'), `worker:${program('thread')}`)
  await soon(printed(parent), 'the thread was called')
  await gone(parent.pid!)
})
