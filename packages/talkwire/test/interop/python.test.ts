/** The main job: a TypeScript process and a Python process, started on their own, call each other by name. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  connect,
  contract,
  context,
  implement,
  isError,
  ndarray,
  rpc,
  serve,
  sessionOf,
  shapeOf,
  stream,
  TalkwireError,
  withOptions,
  type Client,
} from '../../src/index.js'
import { anything, collect, fails, fence, freshAddress, is, number, text } from '../session/harness.js'
import { python, run, type Running } from '../session/processes.js'

// The tests run from dist; Python files are not compiled and stay in the source tree.
const fixtures = fileURLToPath(new URL('../../../test/interop/fixtures/', import.meta.url))
const package_ = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))
const startPython = (file: string, ...args: string[]): Running =>
  run(python, [`${fixtures}${file}`, ...args], { env: { PYTHONPATH: package_ } })

const worker = contract('worker/1', {
  add: rpc({ input: anything, output: number }),
  greet: rpc({ input: is<{ name: string }>('a name', () => true), output: text }),
  fail: rpc({ input: is<{ what: string }>('what', () => true), errors: { AccountClosed: anything } }),
  count: rpc({ input: is<{ n: number }>('n', () => true), output: stream(number) }),
  total: rpc({ input: stream(number), output: number }),
})

let names = 0
async function withWorker(
  body: (name: string, process: Running) => Promise<void>,
  address?: string,
  name = `pyworker${names++}`,
): Promise<void> {
  const addresses = address === undefined ? [] : [address]
  const process = startPython('worker.py', name, ...addresses)
  try {
    await process.line('ready')
    await body(name, process)
  } finally {
    await process.kill('SIGKILL')
  }
}

test('TypeScript calls Python, found by name', async () => {
  await withWorker(async (name) => {
    const client = (await connect(name, { serve: implement({ confirm: (question: string) => `${question}?` }) })) as any
    assert.equal(await client.add(2, 5), 7)
    assert.equal(await client.greet('Ada'), 'hello Ada')
    assert.deepEqual(await collect(client.count(4)), [0, 1, 2, 3])
    assert.equal(await client.twice((x: number) => x * 10), 30)
    assert.equal(await client.ask('sure'), 'sure?')
    const error = (await client.fail('declared').catch((reason: unknown) => reason)) as TalkwireError
    assert.deepEqual([error.code, error.outcome, error.declared, error.details], ['AccountClosed', 'ran', true, { since: '2020' }])
    const hidden = (await client.fail('other').catch((reason: unknown) => reason)) as TalkwireError
    assert.deepEqual([hidden.code, hidden.outcome, hidden.message], ['INTERNAL', 'ran', '[INTERNAL] internal error'])
    await assert.rejects(client.nope(), fails('METHOD_NOT_FOUND', 'not-sent'))
    await client.close()
  })
})

test('a contract on the TypeScript side: types, declared errors and streams with a Python service', async () => {
  await withWorker(async (name) => {
    const address = `unix:${process.env['TALKWIRE_RUNTIME_DIR']}/${name}.sock`
    const plain = contract(`worker/1`, worker.members)
    const client = await connect(plain, address).catch((reason: TalkwireError) => reason)
    assert.ok(client instanceof TalkwireError && client.code === 'CONTRACT_MISMATCH', 'a service without that contract is refused')
  })
  await withWorker(
    async () => {
      const client = await connect(worker)
      assert.equal(await client.greet({ name: 'Ada' }), 'hello Ada')
      assert.deepEqual(await collect(client.count({ n: 3 })), [0, 1, 2])
      assert.equal(await client.total([1, 2, 3]), 6)
      const error: unknown = await client.fail({ what: 'declared' }).catch((reason: unknown) => reason)
      assert.ok(isError(error, worker, 'fail', 'AccountClosed'))
      await client.close()
    },
    undefined,
    'worker/1',
  )
})

test('cancelling and deadlines reach Python', async () => {
  await withWorker(async (name, process) => {
    const client = (await connect(name)) as any
    const controller = new AbortController()
    const call = withOptions(client, { signal: controller.signal }).wait()
    await process.line('waiting')
    controller.abort(new Error('enough'))
    await assert.rejects(call, /enough/)
    await process.line('stopped')
    const left = await withOptions(client, { timeout: 60_000 }).deadline()
    assert.ok(left > 50 && left <= 60, `${left} s left`)
    await client.close()
  })
})

test('NumPy arrays arrive as typed arrays with shape, and back, without base64', async () => {
  await withWorker(async (name) => {
    const client = (await connect(name)) as any
    const matrix = ndarray(
      Float64Array.from({ length: 6 }, (_, i) => i),
      [2, 3],
    )
    assert.deepEqual(await client.statistics(matrix), { shape: [2, 3], dtype: 'float64', sum: 15 })
    const back = await client.doubled(matrix)
    assert.ok(back instanceof Float64Array)
    assert.deepEqual([...back], [0, 2, 4, 6, 8, 10])
    assert.deepEqual(shapeOf(back), [2, 3])
    for (const array of [
      new Uint8Array([1, 2]),
      new Int16Array([-1, 2]),
      new Float32Array([0.5]),
      new BigInt64Array([-5n]),
      new Float64Array(1_000_000).fill(1),
    ]) {
      const same = await client.echo(array)
      assert.equal(same.constructor.name, array.constructor.name)
      assert.equal(same.length, array.length)
      assert.equal(Buffer.compare(Buffer.from(same.buffer, same.byteOffset, same.byteLength), Buffer.from(array.buffer)), 0)
    }
    await client.close()
  })
})

test('values survive the way to Python and back', async () => {
  await withWorker(async (name) => {
    const client = (await connect(name)) as any
    for (const value of [
      null,
      true,
      -0,
      1e300,
      NaN,
      -Infinity,
      12345678901234567890n,
      'ü🦊',
      new Date(1_700_000_000_000),
      new Map<unknown, unknown>([
        [1, 'a'],
        ['b', [2]],
      ]),
      new Set([1, 'x']),
      { $x: 1 },
      { a: { $bin: [0] } },
      [1, [2, [3]]],
    ]) {
      assert.deepEqual(await client.echo(value), value)
    }
    await client.close()
  })
})

test('Python killed in the middle of a call: the call settles at once, as maybe-ran, and a restart heals', async () => {
  await withWorker(async (name, process) => {
    const client = (await connect(name)) as any
    const call = client.wait()
    await process.line('waiting')
    process.child.kill('SIGKILL')
    const error = (await call.catch((reason: unknown) => reason)) as TalkwireError
    assert.equal(error.code, 'CONNECTION_LOST')
    assert.equal(error.outcome, 'maybe-ran')
    const again = startPython('worker.py', name)
    await again.line('ready')
    assert.equal(await client.add(1, 1), 2)
    await client.close()
    await again.kill()
  })
})

test('Python calls TypeScript, found by name', async () => {
  const hang = fence()
  const functions = {
    add: (a: number, b: number) => a + b,
    greet: ({ name }: { name: string }) => `hello ${name}`,
    *count(n: number) {
      for (let i = 0; i < n; i++) yield i
    },
    async twice(f: (x: number) => Promise<number>) {
      return (await f(1)) + (await f(2))
    },
    ask: (question: string) => context<Client<{ confirm(q: string): string }>>().caller.confirm(question),
    fail: (what: string) => {
      throw what === 'declared'
        ? new TalkwireError('AccountClosed', 'closed', { declared: true, details: { since: '2020' } })
        : new Error('secret')
    },
    hang: () => {
      context().signal.addEventListener('abort', () => hang.pass())
      return new Promise(() => {})
    },
    tick(value: number): void {
      service.emit('tick', { value })
    },
    check(value: Map<number, unknown>) {
      return [
        value instanceof Map,
        value.get(1) instanceof Uint8Array,
        value.get(2) instanceof Set,
        typeof value.get(4),
        value.get(5) === Infinity,
      ]
    },
  }
  const service = await serve('tsservice', functions, { onError: () => {} })
  const caller = startPython('caller.py', 'tsservice')
  await caller.line('done')
  const said = new Map(caller.lines.map((line) => [line.slice(0, line.indexOf(' ')), JSON.parse(line.slice(line.indexOf(' '))) as unknown]))
  assert.deepEqual(Object.fromEntries(said), {
    add: 7,
    named: 'hello Ada',
    stream: [0, 1, 2, 3],
    callback: 30,
    caller: 'sure!',
    declared: ['AccountClosed', 'ran', true, { since: '2020' }],
    secret: ['INTERNAL', 'ran', false, null],
    deadline: ['DEADLINE_EXCEEDED', 'maybe-ran'],
    event: { value: 7 },
    values: [true, true, true, 'bigint', true],
    done: null,
  })
  await hang.passed
  await service.close({ timeout: 10 })
})

test('a plain unix address works as the name does', async () => {
  const address = freshAddress('unix')
  await withWorker(async () => {
    const client = (await connect(address)) as any
    assert.equal(await client.add('a', 'b'), 'ab')
    assert.equal(sessionOf(client)!.peer.pid !== undefined, true)
    await client.close()
  }, address)
})
