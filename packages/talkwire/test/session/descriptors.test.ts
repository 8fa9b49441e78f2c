import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync, readSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { soon } from '../../compliance/ends.js'
import { collectedDescriptors, connect, Descriptor, serve, sessionOf, TalkwireError, type Client } from '../../src/index.js'
import { SharedMemory } from '../../src/memory/index.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { eventually } from '../transports/fixtures/support.js'
import { files } from './fixtures/descriptor-contract.js'
import { fixture, python, run } from './processes.js'

const ours = (): number => readdirSync('/proc/self/fd').length

function fileWith(text: string): string {
  const path = freshPath('.txt')
  writeFileSync(path, text)
  return path
}

interface Pair {
  readonly address: string
  readonly client: Client<typeof files>
}

async function pair(t: TestContext): Promise<Pair> {
  const address = `unix:${freshPath('.sock')}`
  const program = fixture(import.meta.url, 'descriptor-service.js', address)
  t.after(() => program.kill())
  await program.line('ready')
  const client = await connect(files, address, { descriptors: true, reconnect: false })
  t.after(() => client.close())
  return { address, client }
}

/** Does it a few times, and looks that neither side has more open than after the first time. */
async function leavesNothing(client: Client<typeof files>, action: () => Promise<void>): Promise<void> {
  await action()
  const before = [ours(), await client.count()]
  for (let n = 0; n < 5; n++) await action()
  assert.deepEqual([ours(), await client.count()], before)
}

const opened = (path: string): number => openSync(path, 'r')

function text(fd: number): string {
  const bytes = Buffer.alloc(100)
  return bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, 0))
}

test('descriptors: a file is read by the other process, and one that it opened is read here', async (t) => {
  const { client } = await pair(t)
  await leavesNothing(client, async () => {
    const fd = opened(fileWith('from here'))
    assert.equal(await client.read(Descriptor.lend(fd)), 'from here')
    assert.equal(text(fd), 'from here')
    closeSync(fd)
    using received = await client.open(fileWith('from there'))
    assert.equal(text(received.fd), 'from there')
  })
})

test('descriptors: what is given is closed here, whether it was sent or not', async (t) => {
  const { client } = await pair(t)
  await leavesNothing(client, async () => {
    assert.equal(await client.read(Descriptor.give(opened(fileWith('mine')))), 'mine')
    await assert.rejects(client.read(Descriptor.give(opened('/dev/null')), { signal: AbortSignal.abort() }), { name: 'AbortError' })
    await assert.rejects(client.strict({ file: Descriptor.give(opened('/dev/null')), count: Symbol('x') as never }), TypeError)
  })
})

test('descriptors: several in one message, in their order, and back again', async (t) => {
  const { client } = await pair(t)
  await leavesNothing(client, async () => {
    const all = Array.from({ length: 16 }, (_, n) => Descriptor.give(opened(fileWith(String(n)))))
    const back = await client.echo({ all })
    assert.deepEqual(
      back.map(({ fd }) => text(fd)),
      Array.from({ length: 16 }, (_, n) => String(n)),
    )
    for (const each of back) each.close()
  })
})

test('descriptors: a listening socket, a connected one, and memory', async (t) => {
  const { client } = await pair(t)
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  // It is sent before the call returns; nobody accepts there until it has arrived.
  const accepted = client.accept(Descriptor.lend(fdOf(server)))
  server.close()
  const socket = net.connect(port, '127.0.0.1')
  const [hello] = (await once(socket, 'data')) as [Buffer]
  assert.equal(String(hello), 'hello')
  await accepted
  socket.destroy()

  const end = freshPath('.sock')
  const other = net.createServer({ pauseOnConnect: true })
  await new Promise<void>((resolve) => other.listen(end, resolve))
  const near = net.connect(end)
  const [far] = (await once(other, 'connection')) as [net.Socket]
  const said = once(near, 'data')
  await client.say({ socket: Descriptor.lend(fdOf(far)), text: 'from another process' })
  far.destroy()
  assert.equal(String((await said)[0]), 'from another process')
  near.destroy()
  other.close()

  const memory = SharedMemory.anonymous(8 * 1000)
  const values = memory.array(Float64Array).fill(0.5)
  assert.equal(await client.sum(Descriptor.lend(memory)), 500)
  assert.equal(values[999], 1)
  memory.close()
})

const fdOf = (handled: object): number => (handled as { _handle: { fd: number } })._handle.fd

test('descriptors: what came with a call is closed with it, unless it was taken', async (t) => {
  const { client } = await pair(t)
  const lend = (): Descriptor => Descriptor.lend(0)
  await leavesNothing(client, async () => {
    await assert.rejects(client.fail(lend()), fails('INTERNAL'))
    await assert.rejects(client.strict({ file: lend(), count: 'x' as never }), fails('INVALID_INPUT'))
    await assert.rejects(client.read(5 as never), fails('INVALID_INPUT'))
    await assert.rejects(client.wrong(), fails('INVALID_OUTPUT'))
    assert.equal(await client.keep(lend()), 1)
    assert.equal(await client.release(), 1)
  })
  const before = await client.count()
  await client.keep(lend())
  assert.equal(await client.count(), before + 1)
  assert.equal(await client.release(), 1)
})

test('descriptors: a call that is given up leaves nothing on either side', async (t) => {
  const { client } = await pair(t)
  const before = [ours(), await client.count()]
  for (let n = 1; n <= 3; n++) {
    const controller = new AbortController()
    const call = assert.rejects(client.wait(Descriptor.give(opened('/dev/null')), { signal: controller.signal }), { name: 'AbortError' })
    while ((await client.waiting()) < n);
    controller.abort()
    await call
    await client.proceed()
  }
  assert.deepEqual([ours(), await client.count()], before)
})

test('descriptors: a result that comes when nobody waits for it any more is closed', async (t) => {
  const { client } = await pair(t)
  const late = Descriptor.received(opened('/dev/null'), () => {})
  // The first call of the connection was hello.
  sessionOf(client)!.calls.onResult(1, late, [late])
  assert.throws(() => late.fd, fails('CLOSED'))
})

test('descriptors: limits of the sender, and of what is kept', async (t) => {
  const { client } = await pair(t)
  const before = ours()
  const all = Array.from({ length: 17 }, () => Descriptor.give(opened('/dev/null')))
  await assert.rejects(client.echo({ all }), (reason: TalkwireError) => fails('LIMIT_EXCEEDED')(reason) && reason.outcome === 'not-sent')
  assert.equal(ours(), before)
  const held: Descriptor[] = []
  for (let n = 0; n < 64; n++) held.push(await client.open('/dev/null'))
  assert.equal(sessionOf(client)!.stats().descriptors, 64)
  held.pop()!.close()
  held.push(await client.open('/dev/null'))
  await assert.rejects(client.open('/dev/null'), (reason: TalkwireError) => {
    assert.match(reason.message, /limits\.descriptors/)
    return true
  })
  await eventually(() => sessionOf(client) === undefined || sessionOf(client)!.state === 'closed', 'the connection ends')
  for (const each of held) each.close()
  await eventually(() => ours() < before, 'nothing is open')
})

test('descriptors: a process that has as many files open as it may loses the descriptor, not the connection', async (t) => {
  const address = `unix:${freshPath('.sock')}`
  const service = fileURLToPath(new URL('fixtures/descriptor-service.js', import.meta.url))
  const program = run('sh', ['-c', 'ulimit -n 512; exec "$0" "$@"', process.execPath, service, address])
  t.after(() => program.kill())
  await program.line('ready')
  const client = await connect(files, address, { descriptors: true, reconnect: false })
  t.after(() => client.close())
  let kept = 0
  const refused = await (async () => {
    for (; ; kept++) await client.keep(Descriptor.lend(0))
  })().catch((reason: unknown) => reason)
  fails('LIMIT_EXCEEDED')(refused)
  assert.equal(await client.release(), kept)
  assert.equal(await client.keep(Descriptor.lend(0)), 1)
})

test('descriptors: where they cannot go they are refused, with the reason', async (t) => {
  const { address, client } = await pair(t)
  await assert.rejects(serve('x', { f: () => 1 }, { listen: 'tcp://127.0.0.1:0', descriptors: true }), fails('UNSUPPORTED'))
  await assert.rejects(connect('tcp://127.0.0.1:1', { descriptors: true }), fails('UNSUPPORTED'))
  await using without = await connect(files, address)
  await assert.rejects(without.read(Descriptor.lend(0)), fails('UNSUPPORTED'))
  await assert.rejects(without.open('/dev/null'), fails('UNSUPPORTED'))
  const plain = `unix:${freshPath('.sock')}`
  await using _service = await serve('x', { f: () => 1 }, { listen: plain })
  await assert.rejects(connect(plain, { descriptors: true }), fails('UNSUPPORTED'))
  assert.throws(() => Descriptor.lend(-1), TypeError)
  assert.throws(() => Descriptor.lend('x' as never), TypeError)
  const closed = Descriptor.give(opened('/dev/null'))
  closed.close()
  await assert.rejects(client.read(closed), fails('CLOSED'))
  const wrong = opened('/dev/null')
  closeSync(wrong)
  await assert.rejects(client.read(Descriptor.lend(wrong)), TypeError)
  assert.equal(await client.read(Descriptor.lend(opened(fileWith('still')))), 'still')
})

test('descriptors: programs that the receiver starts do not get them', async (t) => {
  const { client } = await pair(t)
  assert.equal(await client.inherited(Descriptor.give(opened(fileWith('x')))), 0)
})

test('descriptors: with an authkey, and again after a connection was lost', async () => {
  const address = `unix:${freshPath('.sock')}`
  const authkey = '0123456789abcdef'
  const functions = { size: (file: Descriptor) => statSync(`/proc/self/fd/${file.fd}`).size }
  let service = await serve('files', functions, { listen: address, descriptors: true, authkey })
  await using client = await connect<typeof functions>(address, { descriptors: true, authkey, reconnect: { initial: 10, max: 20 } })
  assert.equal(await client.size(Descriptor.give(opened(fileWith('12345')))), 5)
  await service.close()
  service = await serve('files', functions, { listen: address, descriptors: true, authkey })
  assert.equal(await client.size(Descriptor.give(opened(fileWith('1234567')))), 7)
  await service.close()
})

test('descriptors: those that nobody closed are closed by the garbage collector, and counted', async (t) => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const { client } = await pair(t)
  const before = [collectedDescriptors(), ours()] as const
  await client.open('/dev/null')
  await eventually(() => {
    gc()
    return collectedDescriptors() > before[0]
  }, 'it is collected')
  assert.equal(ours(), before[1])
})

const script = fileURLToPath(new URL('../../../test/session/fixtures/descriptors.py', import.meta.url))
const withPackage = { env: { PYTHONPATH: fileURLToPath(new URL('../../../../../clients/python', import.meta.url)) } }

test('descriptors: a Python service; memory for NumPy, a file, a socket', async (t) => {
  const address = `unix:${freshPath('.sock')}`
  const program = run(python, [script, 'serve', address], withPackage)
  t.after(() => program.kill())
  await program.line('ready')
  const client = await connect<{
    read(file: Descriptor): string
    open(path: string): Descriptor
    double(memory: Descriptor): number
    say(socket: Descriptor, text: string): void
    count(): number
  }>(address, { descriptors: true, reconnect: false })
  t.after(() => client.close())
  const memory = SharedMemory.anonymous(8 * 1000)
  const values = memory.array(Float64Array).fill(21)
  assert.equal(await client.double(Descriptor.lend(memory)), 42_000)
  assert.equal(values[999], 42)
  memory.close()
  const server = net.createServer({ pauseOnConnect: true })
  await new Promise<void>((resolve) => server.listen(freshPath('.sock'), resolve))
  const near = net.connect(server.address() as string)
  const [far] = (await once(server, 'connection')) as [net.Socket]
  const said = once(near, 'data')
  await client.say(Descriptor.lend(fdOf(far)), 'from Python')
  assert.equal(String((await said)[0]), 'from Python')
  for (const socket of [near, far]) socket.destroy()
  server.close()
  let before: number[] = []
  for (let n = 0; n < 4; n++) {
    assert.equal(await client.read(Descriptor.give(opened(fileWith('to Python')))), 'to Python')
    using received = await client.open(fileWith('back'))
    assert.equal(text(received.fd), 'back')
    received.close()
    const now = [ours(), await client.count()]
    if (n === 0) before = now
    assert.deepEqual(now, before)
  }
})

test('descriptors: a Python client; its memory is summed here', async (t) => {
  const { address } = await pair(t)
  const program = run(python, [script, 'call', address, fileWith('seen by both')], withPackage)
  await program.line('500')
  assert.deepEqual(program.lines, ['seen by both', 'seen by both', '500 1000.0'])
})

const peer = (address: string, ...words: string[]): ReturnType<typeof run> =>
  run(python, [
    new URL('../../../test/session/fixtures/descriptor_peer.py', import.meta.url).pathname,
    address.slice('unix:'.length),
    ...words,
  ])

test('descriptors: a peer written by hand, by the specification', async (t) => {
  const { address } = await pair(t)
  const by = peer(address, 'honest', fileWith('for a hand'))
  await by.line('"for a hand"')
  assert.deepEqual(by.lines, ['"by hand"', '"for a hand"'])
})

for (const [mode, ...said] of [
  ['many', 'LIMIT_EXCEEDED', 'ended'],
  ['crowd', 'LIMIT_EXCEEDED', 'ended'],
  ['never', 'INVALID_MESSAGE', 'ended'],
  ['skip', 'INVALID_MESSAGE', 'ended'],
  ['flood', 'LIMIT_EXCEEDED', 'ended'],
  ['token', 'ended'],
  ['tag', 'INVALID_MESSAGE', 'ended'],
] as const)
  test(`descriptors: a hostile peer is ended, and leaves nothing: ${mode}`, async (t) => {
    const { address, client } = await pair(t)
    const before = await client.count()
    const by = peer(address, mode)
    await soon(by.line('"ended"'), 'it is ended')
    assert.deepEqual(
      [...new Set(by.lines)],
      said.map((word) => JSON.stringify(word)),
    )
    await client.proceed()
    for (let now = Infinity; now > before + (mode === 'flood' ? 64 : 0);) now = await client.count()
    assert.equal(await client.read(Descriptor.give(opened(fileWith('well')))), 'well')
  })

for (const mode of ['many', 'never', 'skip', 'token'])
  test(`descriptors: a hostile peer is ended by a Python service, too: ${mode}`, async (t) => {
    const address = `unix:${freshPath('.sock')}`
    const program = run(python, [script, 'serve', address], withPackage)
    t.after(() => program.kill())
    await program.line('ready')
    const client = await connect<{ count(): number; read(file: Descriptor): string }>(address, { descriptors: true, reconnect: false })
    t.after(() => client.close())
    const before = await client.count()
    await soon(peer(address, mode).line('"ended"'), 'it is ended')
    for (let now = Infinity; now > before;) now = await client.count()
    assert.equal(await client.read(Descriptor.give(opened(fileWith('well')))), 'well')
  })

test('descriptors: the token of another process is of no use, and its owner is not disturbed', async (t) => {
  const { address } = await pair(t)
  const by = peer(address, 'thief')
  await soon(by.line('true'), 'the owner goes on')
  assert.deepEqual(by.lines, ['"ended"', 'true'])
})
