import assert from 'node:assert/strict'
import { chmodSync, linkSync, lstatSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { LocalEnd, pattern, soon } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, serve, TalkwireError } from '../../src/index.js'
import { mmap } from '../../src/transports/mmap.js'
import { fails } from '../helpers/expect.js'
import { freshPath } from '../helpers/place.js'
import { eventually, script } from './fixtures/support.js'

const address = (): string => `mmap:${freshPath('.rings')}`
const over = new TalkwireError('CONNECTION_LOST', 'the test is over')

testTransport({ test, transport: mmap, address })

const index = JSON.stringify(new URL('../../src/index.js', import.meta.url).href)

/** A process that runs these lines; it prints when it is ready. */
async function program(lines: string, ...args: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', lines, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  await soon(once(child.stdout!, 'data'), 'the program is ready')
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await soon(exit, 'its end')
}

const service = `import { serve } from ${index}
  await serve('calc', { add: (a, b) => a + b, pid: () => process.pid, hang: () => new Promise(() => {}) }, { listen: process.argv[1] })
  console.log('listening')`
interface Calc {
  add(a: number, b: number): number
  pid(): number
  hang(): void
}

test('mmap: the file survives its service: a client that waits is told, and goes on with the next one', async () => {
  const at = address()
  const first = await program(service, at)
  const client = await connect<Calc>(at)
  assert.equal(await client.pid(), first.pid)
  const hanging = client.hang().catch((error: unknown) => error)
  await client.add(1, 1)
  await kill(first)
  assert.equal(((await soon(hanging as Promise<unknown>, 'the answer')) as TalkwireError).outcome, 'maybe-ran')
  const second = await program(service, at)
  assert.equal(await soon(client.add(2, 5), 'the client heals'), 7)
  assert.equal(await client.pid(), second.pid)
  await client.close()
  await kill(second)
})

test("mmap: what a killed client left in the rings is not the next one's", async () => {
  const at = address()
  const running = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: at })
  const lines = `import { connect } from ${index}
    const client = await connect(process.argv[1])
    await client.add(1, 1)
    const flood = () => { for (let n = 0; n < 1000; n++) void client.add(n, 1); setImmediate(flood) }
    flood()
    console.log('flooding')`
  for (let round = 0; round < 5; round++) {
    await kill(await program(lines, at))
    const client = await connect<Calc>(at)
    assert.equal(await client.add(2, round), 2 + round)
    await client.close()
  }
  await running.close()
})

test('mmap: both are killed, and two others go on with the file', async () => {
  const at = address()
  const client = `import { connect } from ${index}
    const client = await connect(process.argv[1])
    console.log(await client.add(2, 5))
    setInterval(() => client.add(1, 1), 1)`
  for (let round = 0; round < 3; round++) {
    const one = await program(service, at)
    const two = await program(client, at)
    await Promise.all([kill(one), kill(two)])
  }
  const last = await program(service, at)
  const here = await connect<Calc>(at)
  assert.equal(await here.add(2, 5), 7)
  await here.close()
  await kill(last)
})

test('mmap: a client that is stopped keeps its place; a service that comes anew waits until it is gone', async () => {
  const at = address()
  const lines = `import { connect } from ${index}
    const client = await connect(process.argv[1], { reconnect: false })
    await client.add(1, 1)
    console.log('connected')
    setInterval(() => {}, 1000)`
  const first = await program(service, at)
  const stopped = await program(lines, at)
  stopped.kill('SIGSTOP')
  await kill(first)
  const running = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: at })
  await assert.rejects(mmap.connect!(at, new LocalEnd(), { handshake: 100 }), fails('ADDRESS_IN_USE', 'PEER_NOT_FOUND'))
  await kill(stopped)
  const client = await connect<Calc>(at, { wait: 10_000 })
  assert.equal(await client.add(2, 5), 7)
  await client.close()
  await running.close()
})

test('mmap: a second client is told who has it', async () => {
  const at = address()
  const running = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: at })
  const client = await connect<Calc>(at)
  const refused = await connect(at).catch((error: unknown) => error as TalkwireError)
  assert.equal((refused as TalkwireError).code, 'ADDRESS_IN_USE')
  assert.match((refused as TalkwireError).message, new RegExp(`process ${process.pid} is connected`))
  await client.close()
  await running.close()
})

test('mmap: what is in the way is not touched', async () => {
  const victim = freshPath('.txt')
  writeFileSync(victim, 'precious', { mode: 0o600 })
  const folder = freshPath('.rings')
  mkdirSync(folder)
  const link = freshPath('.rings')
  symlinkSync(victim, link)
  const second = freshPath('.rings')
  linkSync(victim, second)
  const open = freshPath('.rings')
  writeFileSync(open, '', { mode: 0o600 })
  chmodSync(open, 0o644)
  const other = freshPath('.rings')
  writeFileSync(other, Buffer.alloc(4096 + 2 * (4096 + 256 * 1024), 1), { mode: 0o600 })
  // Rings, all of them right, and somebody else may reach them by the other name.
  const twice = freshPath('.rings')
  await (await mmap.listen!(`mmap:${twice}`, () => new LocalEnd())).close()
  linkSync(twice, freshPath('.rings'))
  for (const path of [victim, folder, link, second, open, other, twice]) {
    await assert.rejects(
      mmap.listen!(`mmap:${path}`, () => new LocalEnd()),
      fails('ADDRESS_IN_USE'),
      path,
    )
    await assert.rejects(
      mmap.connect!(`mmap:${path}`, new LocalEnd(), { handshake: 0 }),
      fails('PEER_NOT_FOUND', 'PERMISSION_DENIED'),
      path,
    )
  }
  assert.equal(readFileSync(victim, 'utf8'), 'precious')
})

test('mmap: malformed addresses, and files that are not there', async () => {
  for (const where of ['mmap:', 'mmap:relative', 'mmap:./x', 'mmap:/nowhere/at/all'])
    for (const attempt of [mmap.connect!(where, new LocalEnd()), mmap.listen!(where, () => new LocalEnd())])
      await assert.rejects(attempt, fails('INVALID_ADDRESS'), where)
  await assert.rejects(mmap.connect!(address(), new LocalEnd()), fails('PEER_NOT_FOUND'))
})

test('mmap: a listener that closes leaves the file, private, and its place to the next', async () => {
  const at = address()
  const path = at.slice(5)
  for (let round = 0; round < 3; round++) {
    const listener = await mmap.listen!(at, () => new LocalEnd())
    await assert.rejects(
      mmap.listen!(at, () => new LocalEnd()),
      fails('ADDRESS_IN_USE'),
    )
    assert.equal(lstatSync(path).mode & 0o777, 0o600)
    await listener.close()
    await assert.rejects(mmap.connect!(at, new LocalEnd()), fails('PEER_NOT_FOUND'))
  }
})

test('mmap: a client that sat down, but was not seen yet when the listener closed, is told', async () => {
  const at = address()
  let seen = false
  const listener = await mmap.listen!(at, () => {
    seen = true
    return new LocalEnd()
  })
  const near = new LocalEnd()
  near.connection = await mmap.connect!(at, near)
  await listener.close()
  assert.equal(await near.ending(), 'CONNECTION_LOST')
  assert.equal(seen, false)
})

test('mmap: a connection outlives its listener, and the next service waits for its end', async () => {
  const at = address()
  const far = new LocalEnd()
  const listener = await mmap.listen!(at, (connection) => far.accepted(connection))
  const near = new LocalEnd()
  near.connection = await mmap.connect!(at, near)
  near.send(pattern(10))
  await far.got(1)
  await listener.close()
  const next = await mmap.listen!(at, () => new LocalEnd())
  near.send(pattern(20))
  far.send(pattern(30))
  await far.got(2)
  await near.got(1)
  near.connection.abort(over)
  await far.ending()
  await near.ending()
  const again = new LocalEnd()
  again.connection = await mmap.connect!(at, again)
  again.connection.abort(over)
  await again.ending()
  await next.close()
})

test('mmap: an unref()ed connection lets its process end', async () => {
  const at = address()
  const running = await serve('calc', { add: (a: number, b: number) => a + b }, { listen: at })
  const lines = `import { connect, sessionOf } from ${index}
    const client = await connect(process.argv[1])
    console.log(await client.add(2, 5))
    sessionOf(client).connection.unref()`
  const child = await program(lines, at)
  if (child.exitCode === null) await soon(once(child, 'exit'), 'its end')
  assert.equal(child.exitCode, 0)
  await eventually(() => running.stats().length === 0, 'the service hears of it')
  await running.close()
})

test('mmap: without koffi it says what to install or take', async () => {
  const lines = `import { connect, serve } from ${index}
    for (const attempt of [() => connect('mmap:/tmp/x'), () => serve('x', { f() {} }, { listen: 'mmap:/tmp/x' })])
      await attempt().catch((error) => console.log(error.code, /npm install koffi/.test(error.message)))`
  const child = spawn(process.execPath, ['--require', script('without-koffi.cjs'), '--input-type=module', '-e', lines], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout!.on('data', (chunk) => (text += chunk))
  await soon(once(child, 'close'), 'the end')
  assert.equal(text, 'MISSING_PACKAGE true\nMISSING_PACKAGE true\n')
})
