/** Descriptors in streams, events and progress; with Python at either end. */
import assert from 'node:assert/strict'
import { openSync, readdirSync, readSync, writeFileSync } from 'node:fs'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as z from 'zod'
import { turns } from '../../compliance/ends.js'
import {
  connect,
  context,
  contract,
  Descriptor,
  event,
  fd,
  rpc,
  serve,
  sessionOf,
  stream,
  type Client,
  type RunningService,
} from '../../src/index.js'
import { SharedMemory } from '../../src/memory/index.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { eventually } from '../transports/fixtures/support.js'
import { python, run } from './processes.js'

const handing = contract('handing/1', {
  many: rpc({ input: z.number(), output: stream(fd) }),
  each: rpc({ input: stream(fd), output: z.string() }),
  steps: rpc({ input: z.string(), output: z.string() }),
  announce: rpc({ input: z.string() }),
  count: rpc({ output: z.number() }),
  handed: event(fd),
})
type Handing = Client<typeof handing>

const ours = (): number => readdirSync('/proc/self/fd').length
const opened = (path = '/dev/null'): Descriptor => Descriptor.give(openSync(path, 'r'))

function textOf(file: Descriptor): string {
  const bytes = Buffer.alloc(100)
  return bytes.toString('utf8', 0, readSync(file.fd, bytes, 0, bytes.length, 0))
}

function fileWith(text: string): string {
  const path = freshPath('.txt')
  writeFileSync(path, text)
  return path
}

async function serveHere(address: string): Promise<RunningService> {
  const service: RunningService = await serve(
    handing,
    {
      *many(n) {
        for (let at = 0; at < n; at++) yield opened()
      },
      async each(files) {
        let all = ''
        for await (const file of files) {
          all += textOf(file)
          file.close()
        }
        return all
      },
      steps(path) {
        context().progress(opened(path))
        return 'done'
      },
      announce: (path): void => service.emit('handed', opened(path)),
      count: ours,
    },
    { listen: address, descriptors: true, onError: () => {} },
  )
  return service
}

const program = fileURLToPath(new URL('../../../test/session/fixtures/descriptor_streams.py', import.meta.url))
const PYTHONPATH = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))
const inPython = (...args: string[]): ReturnType<typeof run> => run(python, [program, ...args], { env: { PYTHONPATH } })

async function* files(path: string, count: number): AsyncGenerator<Descriptor> {
  for (let n = 0; n < count; n++) yield opened(path)
}

/** Every way once; more than may be open at a time. */
async function around(client: Handing, path: string): Promise<void> {
  let got = 0
  for await (const file of client.many(100)) {
    file.close()
    got++
  }
  assert.equal(got, 100)
  for await (const file of client.many(100)) {
    file.close()
    break
  }
  assert.equal(await client.each(files(path, 100)), 'x'.repeat(100))
  const seen: string[] = []
  await client.steps(path, { onProgress: (file) => seen.push(textOf(file as Descriptor)) })
  const slow: Promise<string>[] = []
  const later = async (file: Descriptor): Promise<string> => {
    await turns()
    return textOf(file)
  }
  const off = await client.on('handed', (file) => {
    slow.push(later(file))
    return slow[0]
  })
  const next = client.once('handed')
  await client.announce(path)
  using mine = await next
  assert.deepEqual([seen, textOf(mine), await slow[0]], [['x'], 'x', 'x'])
  await off()
}

/** One may be open besides, for the process itself; what is left by each time is more. */
async function leavesNothing(client: Handing, path: string): Promise<void> {
  await around(client, path)
  const before = [ours(), await client.count()]
  for (let n = 0; n < 3; n++) await around(client, path)
  // What was on its way when the stream was left is closed when it has come.
  for (let now = [Infinity, Infinity]; now[0]! > before[0]! + 1 || now[1]! > before[1]! + 1; now = [ours(), await client.count()])
    await turns()
}

async function connected(t: TestContext, address: string): Promise<Handing> {
  const client = await connect(handing, address, { descriptors: true, reconnect: false })
  t.after(() => client.close())
  return client
}

test('descriptors in streams, events and progress', async (t) => {
  const address = `unix:${freshPath('.sock')}`
  const service = await serveHere(address)
  t.after(() => service.close())
  const client = await connected(t, address)
  const other = await connected(t, address)
  // Each subscriber gets its own.
  const heard = other.once('handed')
  await leavesNothing(client, fileWith('x'))
  using file = await heard
  assert.equal(textOf(file), 'x')
})

for (const front of ['threads', 'asyncio']) {
  test(`descriptors in streams, events and progress of Python (${front})`, async (t) => {
    const address = `unix:${freshPath('.sock')}`
    const service = inPython('serve', front, address)
    t.after(() => service.kill())
    await service.line('ready')
    await leavesNothing(await connected(t, address), fileWith('x'))
  })

  test(`descriptors in streams, events and progress to Python (${front})`, async (t) => {
    const address = `unix:${freshPath('.sock')}`
    const service = await serveHere(address)
    t.after(() => service.close())
    const before = ours()
    const caller = inPython('call', front, address, fileWith('x'))
    assert.equal(await caller.line('['), '[100, 100, ["x", "x"]]')
    await eventually(() => ours() <= before, 'nothing is left here')
  })
}

test('descriptors in streams: who does not read has few open, and gets all', async (t) => {
  const address = `unix:${freshPath('.sock')}`
  const service = await serveHere(address)
  t.after(() => service.close())
  const client = await connected(t, address)
  const iterator = client.many(200)[Symbol.asyncIterator]()
  ;((await iterator.next()).value as Descriptor).close()
  // What may come has come: the sender has no credit for more.
  for (let before = -1, now = 0; now !== before || now === 0; now = sessionOf(client)!.stats().descriptors) {
    before = now
    for (let n = 0; n < 20; n++) await turns()
  }
  const { descriptors } = sessionOf(client)!.stats()
  assert.ok(descriptors > 1 && descriptors <= 32, `${descriptors} are open`)
  let got = 1
  for (let step = await iterator.next(); !step.done; step = await iterator.next()) {
    step.value.close()
    got++
  }
  assert.equal(got, 200)
})

test('descriptors in streams: memory; what does not fit the schema, and what nobody listens to, is closed', async (t) => {
  const address = `unix:${freshPath('.sock')}`
  const service = await serveHere(address)
  t.after(() => service.close())
  const client = await connected(t, address)
  const memory = SharedMemory.anonymous(8)
  memory.bytes.set(Buffer.from('in there'))
  const before = ours()
  assert.equal(await client.each([Descriptor.lend(memory)]), 'in there')
  await assert.rejects(client.each([opened(), 7 as never]), fails('INVALID_INPUT'))
  await client.steps('/dev/null')
  const off = await client.on('handed', () => {})
  await client.announce('/dev/null')
  await off()
  await client.announce('/dev/null')
  memory.close()
  await eventually(() => ours() < before, 'nothing is left here')
})

test('descriptors: shm: refuses them at the start, and says what to take', async () => {
  await assert.rejects(serve('x', { f: () => 1 }, { listen: `shm:${freshPath('.sock')}`, descriptors: true }), fails('UNSUPPORTED'))
})
