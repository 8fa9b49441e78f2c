import './../helpers/place.js'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { testDialect } from '../../compliance/index.js'
import { connect, serve } from '../../src/index.js'
import { pickle, PickledError, Tuple, unpickle } from '../../src/protocols/pickle.js'
import { pymp } from '../../src/protocols/pymp.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { python, run, type Running } from '../session/processes.js'

const raw = (address: string): net.Socket => {
  const path = address.slice('pymp:'.length)
  if (!path.startsWith('//')) return net.connect(path)
  const { hostname, port } = new URL(address)
  return net.connect(Number(port), hostname)
}
const KEY = 'a key for these tests'

// By port and with the key that `serve` made; by path and without one.
testDialect({ test, dialect: pymp, address: () => 'pymp://127.0.0.1:0', raw })
testDialect({ test, dialect: pymp, address: () => `pymp:${freshPath('.sock')}`, raw })

// ── Python's standard library ────────────────────────────────────────────────────────────────────

const fixture = fileURLToPath(new URL('../../../test/protocols/fixtures/pymp.py', import.meta.url))

async function withPython(args: string[], body: (running: Running) => Promise<void>): Promise<void> {
  const running = run(python, [fixture, ...args])
  try {
    await body(running)
  } finally {
    if (running.child.exitCode === null && running.child.signalCode === null) {
      running.child.kill('SIGKILL')
      await once(running.child, 'exit')
    }
  }
}

/** What a Python program prints, when it has ended well. */
async function told(...args: string[]): Promise<string> {
  let text = ''
  await withPython(args, async (running) => {
    running.child.stdout!.on('data', (chunk) => (text += String(chunk)))
    const [code] = (await once(running.child, 'close')) as [number]
    assert.equal(code, 0, text)
  })
  return text
}

const values = {
  add: (a: number, b: number) => a + b,
  echo: (value: unknown) => value,
  kind: (value: unknown) => (value as object).constructor.name,
  fail() {
    throw new Error('secret')
  },
}
const placeOf = (address: string): string[] =>
  address.startsWith('pymp://') ? [new URL(address).hostname, new URL(address).port] : [address.slice(5)]

for (const where of ['a port', 'a path'])
  test(`pymp: Python's Client and its managers call us at ${where}`, async () => {
    const address = where === 'a port' ? 'pymp://127.0.0.1:0' : `pymp:${freshPath('.sock')}`
    await using service = await serve('values', values, { listen: address, authkey: KEY, onError() {} })
    const said = await told('call', KEY, ...placeOf(service.addresses[0]!))
    assert.equal(said.trim().split('\n').at(-1), 'all good')
    assert.ok(!said.includes('secret'))
  })

test('pymp: a path asks for no authkey, and Python gives none', async () => {
  const path = freshPath('.sock')
  await using service = await serve('values', values, { listen: `pymp:${path}` })
  assert.equal((await told('plain', '', path)).trim(), '7')
  assert.equal(service.name, 'values')
})

test('pymp: another authkey is refused on both sides', async () => {
  await using service = await serve('values', values, { listen: 'pymp://127.0.0.1:0', authkey: KEY })
  const [host, port] = placeOf(service.addresses[0]!)
  assert.equal((await told('wrong', 'another key than theirs', host!, port!)).trim(), 'AuthenticationError')
  await assert.rejects(connect(service.addresses[0]!, { authkey: 'another key than theirs' }), fails('UNAUTHENTICATED'))
  await assert.rejects(
    connect(service.addresses[0]!, { reconnect: false }).then((client) => client.add!(1, 2)),
    fails('UNAUTHENTICATED'),
  )
})

test('pymp: both digests: a client and a listener that say {sha256}, as Python 3.12 does', async () => {
  await using service = await serve('values', values, { listen: 'pymp://127.0.0.1:0', authkey: KEY })
  assert.equal((await told('modern', KEY, ...placeOf(service.addresses[0]!))).trim(), '7')
  await withPython(['modern-listen', KEY], async (running) => {
    const address = await running.line('listening ')
    const client = await connect(`pymp://127.0.0.1:${address.split(' ')[1]}`, { authkey: KEY, reconnect: false })
    assert.equal(await client.add!(2, 5), 7)
    await client.close()
  })
})

for (const where of ['a port', 'a path'])
  test(`pymp: we call Python's Listener at ${where}`, async () => {
    const path = freshPath('.sock')
    await withPython(['listen', KEY, ...(where === 'a path' ? [path] : [])], async (running) => {
      const port = (await running.line('listening ')).split(' ')[1]
      const address = where === 'a path' ? `pymp:${path}` : `pymp://127.0.0.1:${port}`
      const client: any = await connect(address, { authkey: KEY, reconnect: false })
      const large = 2n ** 200n
      const all = {
        none: null,
        yes: true,
        int: 5,
        negative: -(2 ** 40),
        large,
        less: -large,
        float: 1.5,
        text: 'ä€😀',
        bytes: Buffer.from([0, 255]),
        list: [1, [2, []]],
        map: new Map<unknown, unknown>([[1, 'one']]),
        set: new Set(['a', 'b']),
      }
      assert.deepEqual(await client.echo(all), all)
      assert.equal(await client.type(large), 'int')
      assert.equal(await client.type(new Set([1])), 'set')
      assert.equal(await client.type(Buffer.alloc(1)), 'bytes')
      assert.deepEqual(await client.tuple(), [1, 2])
      const long = 'x'.repeat(1 << 20)
      assert.equal(await client.echo(long), long)
      await assert.rejects(client.fail('declared'), (error: any) => error.code === 'Broke' && error.declared && error.details.why === 7)
      await assert.rejects(
        client.fail('raised'),
        (error: any) => error.code === 'UNKNOWN' && error.message.includes('ValueError: it broke'),
      )
      await assert.rejects(client.fail('object'), fails('UNSUPPORTED'))
      for (const protocol of [2, 3, 4, 5])
        assert.deepEqual(await client.pickled(protocol), [
          new Set([1]),
          new Set([2]),
          Buffer.from('ab'),
          Buffer.alloc(0),
          Buffer.from('c'),
          2n ** 80n,
        ])
      await assert.rejects(client.pickled(1), fails('INVALID_MESSAGE'))
      assert.equal(await client.add(2, 5), 7)
      await client.close()
    })
  })

test("pymp: we call the object of Python's BaseManager, and let it go", async () => {
  await withPython(['manage', KEY], async (running) => {
    const address = `pymp://127.0.0.1:${(await running.line('listening ')).split(' ')[1]}`
    const client: any = await connect(`${address}#bank`, { authkey: KEY, reconnect: false })
    assert.equal(await client.deposit('a', 5), 5)
    assert.equal(await client.deposit('a', 7), 12)
    await assert.rejects(
      client.deposit('a', -1),
      (error: any) => error.code === 'UNKNOWN' && error.message.includes('ValueError: negative'),
    )
    await assert.rejects(client.nothing(), fails('METHOD_NOT_FOUND'))
    await assert.rejects(client.lock(), fails('UNKNOWN'))
    const other: any = await connect(`${address}#bank`, { authkey: KEY, reconnect: false })
    assert.equal(await other.count(), 2)
    await client.close()
    assert.equal(await other.count(), 1)
    await other.close()
    await assert.rejects(connect(`${address}#safe`, { authkey: KEY }), fails('CONTRACT_MISMATCH'))
  })
})

// ── pickles ──────────────────────────────────────────────────────────────────────────────────────

test('pymp: what is no plain value is refused, and nothing is executed', async () => {
  await withPython(['evil'], async (running) => {
    const count = Number((await running.line('evil ')).split(' ')[1])
    for (let index = 0; index < count; index++) {
      const [, name, hex] = (await running.line(`${index} `)).split(' ')
      assert.throws(() => unpickle(Buffer.from(hex!, 'hex'), { errors: true }), fails('UNSUPPORTED'), name)
    }
  })
})

test('pymp: pickles that are cut, changed, deep, wide or round end in an error of ours', () => {
  const good = pickle({
    text: 'ä',
    list: [1, 2.5, -3, 2n ** 70n, null, true],
    map: new Map([[1, new Set(['x'])]]),
    bytes: Buffer.from('abc'),
  })
  assert.deepEqual(unpickle(good), {
    text: 'ä',
    list: [1, 2.5, -3, 2n ** 70n, null, true],
    map: new Map([[1, new Set(['x'])]]),
    bytes: Buffer.from('abc'),
  })
  const ours = (bytes: Buffer): void => {
    try {
      unpickle(bytes, { values: 1000, message: 10_000 })
    } catch (reason) {
      assert.equal((reason as Error).name, 'TalkwireError', `${bytes.toString('hex')}: ${String(reason)}`)
    }
  }
  for (let size = 0; size < good.length; size++) assert.throws(() => unpickle(good.subarray(0, size)), fails('INVALID_MESSAGE'))
  for (let at = 0; at < good.length; at++)
    for (let value = 0; value < 256; value += 1) {
      const changed = Buffer.from(good)
      changed[at] = value
      ours(changed)
    }
  const hex = (text: string): Buffer => Buffer.from(text, 'hex')
  for (const [code, bytes] of [
    // A list that holds itself.
    ['TOO_DEEP', hex('80045d946800612e')],
    ['TOO_DEEP', Buffer.concat([hex('8004'), Buffer.alloc(65, ']'), Buffer.alloc(64, 'a'), hex('2e')])],
    // Each list holds the one before ten times.
    [
      'LIMIT_EXCEEDED',
      hex(
        `8004285d94${Array.from({ length: 12 }, (_, index) => `5d9428${`68${index.toString(16).padStart(2, '0')}`.repeat(10)}65`).join('')}742e`,
      ),
    ],
    ['LIMIT_EXCEEDED', Buffer.concat([hex('80045d'), Buffer.from('94'.repeat(4_000_000), 'hex'), hex('2e')])],
    ['FORBIDDEN_KEY', pickle(new Map([['__proto__', new Map([['a', 1]])]]))],
    ['FORBIDDEN_KEY', pickle(new Map([['constructor', new Map([['a', 1]])]]))],
    ['INVALID_MESSAGE', hex('800649012e')],
    ['INVALID_MESSAGE', hex('80042e')],
    ['INVALID_MESSAGE', hex('8004282e')],
    ['INVALID_MESSAGE', hex('80048dffffffffffffffff2e')],
    ['INVALID_MESSAGE', hex('80044e4e2e')],
    ['UNSUPPORTED', pickle(new PickledError('ValueError', []))],
    ['UNSUPPORTED', pickle(new Tuple(new Tuple(new PickledError('ValueError', []))))],
  ] as const)
    assert.throws(() => unpickle(bytes, { values: 100_000 }), fails(code), bytes.toString('hex').slice(0, 60))
  for (const value of [() => 1, Symbol('a'), new (class A {})(), new Set([[]])]) assert.throws(() => pickle(value), TypeError)
})

test('pymp: a call that cannot be read is answered, and the next one is served', async () => {
  const path = freshPath('.sock')
  await using service = await serve('values', values, { listen: `pymp:${path}`, limits: { message: 1000 } })
  const socket = net.connect(path)
  await once(socket, 'connect')
  const ask = async (message: Buffer): Promise<any> => {
    const head = Buffer.alloc(4)
    head.writeInt32BE(message.length)
    socket.write(Buffer.concat([head, message]))
    for (;;) {
      const size = socket.read(4) as Buffer | null
      if (size) return unpickle((socket.read(size.readInt32BE()) as Buffer | null) ?? Buffer.alloc(0))
      await once(socket, 'readable')
    }
  }
  const call = (...fields: unknown[]): Buffer => pickle(new Tuple(...fields))
  for (const [code, message] of [
    ['INVALID_MESSAGE', Buffer.from('nothing')],
    ['INVALID_MESSAGE', Buffer.alloc(0)],
    ['UNSUPPORTED', Buffer.from('80046363727970740a6d640a29522e', 'hex')],
    ['INVALID_REQUEST', pickle(5)],
    ['INVALID_REQUEST', call('add')],
    ['INVALID_REQUEST', call(5, [], {})],
    ['INVALID_REQUEST', call('add', [], [])],
    ['INVALID_REQUEST', call('add', [1], { b: 2 })],
    ['METHOD_NOT_FOUND', call('constructor', [], {})],
    ['METHOD_NOT_FOUND', call('__proto__', [], {})],
    ['METHOD_NOT_FOUND', call('rpc.hello', [], {})],
    ['METHOD_NOT_FOUND', call('rpc.discover', [], {})],
    ['METHOD_NOT_FOUND', call('#1', [], {})],
  ] as const) {
    const [kind, info] = await ask(message)
    assert.deepEqual([kind, info.code], ['error', code], code)
  }
  assert.deepEqual(await ask(call('add', [2, 5], {})), ['ok', 7])
  // More than the limit is no message that could be skipped.
  socket.write(Buffer.from([0, 0, 4, 0]))
  await once(socket.resume(), 'close')
  assert.equal(service.ends['MESSAGE_TOO_LARGE'], 1)
})

test('pymp: who does not show the key in time, or says too much before, is gone', async () => {
  await using service = await serve('values', values, { listen: 'pymp://127.0.0.1:0', limits: { handshake: 200 } })
  const silent = raw(service.addresses[0]!).on('error', () => {})
  await once(silent.resume(), 'close')
  const large = raw(service.addresses[0]!).on('error', () => {})
  large.write(Buffer.from([0, 0, 2, 0]))
  await once(large.resume(), 'close')
})

test('pymp: a message that has begun and does not go on ends the connection, and nobody else', async () => {
  const limits = { handshake: 200 }
  await using service = await serve('values', values, { listen: `pymp:${freshPath('.sock')}`, limits })
  const client = await connect<typeof values>(service.addresses[0]!, { reconnect: false })
  for (const bytes of [
    [0, 0],
    [0, 0, 1, 0],
    [0, 0, 1, 0, 0x80],
  ]) {
    const half = raw(service.addresses[0]!).on('error', () => {})
    half.write(Buffer.from(bytes))
    await once(half.resume(), 'close')
  }
  while ((service.ends['DEADLINE_EXCEEDED'] ?? 0) < 3) await client.echo('the service learns it a moment later')
  // Between two messages anyone may be silent for as long as he likes.
  assert.deepEqual(await client.echo('still here'), 'still here')
  await client.close()
})

test('pymp: who is ready first does not answer first', async () => {
  let open!: () => void
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  const functions = {
    async slow() {
      await gate
      return 'slow'
    },
    fast() {
      open()
      return 'fast'
    },
  }
  await using service = await serve('turns', functions, { listen: `pymp:${freshPath('.sock')}` })
  const client = await connect<typeof functions>(service.addresses[0]!, { reconnect: false })
  assert.deepEqual(await Promise.all([client.slow(), client.fast(), client.slow()]), ['slow', 'fast', 'slow'])
  await client.close()
})

test('pymp: it listens beyond loopback only with a key', async () => {
  await assert.rejects(serve('values', values, { listen: 'pymp://0.0.0.0:0', token: false }), fails('PERMISSION_DENIED'))
})
