import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import {
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import * as z from 'zod'
import { soon } from '../../compliance/ends.js'
import { connect, contract, event, rpc, serve, stream, TalkwireError, withOptions } from '../../src/index.js'
import { FileLock } from '../../src/sync/index.js'
import { file } from '../../src/transports/file.js'
import { openSession, newSession } from '../../src/open-session.js'
import { functionsService } from '../../src/session/service.js'
import { withDefaults } from '../../src/session/limits.js'
import { fails } from '../helpers/expect.js'
import { MAY_BE_OTHERS, NOBODY_ID } from '../helpers/other-user.js'
import { freshPath } from '../helpers/place.js'
import { fixture, python, run, type Running } from '../session/processes.js'
import { eventually, script } from './fixtures/support.js'

const calc = contract('calc/1', {
  divide: rpc({
    input: z.object({ a: z.number(), b: z.number() }),
    output: z.number(),
    errors: { DivisionByZero: z.object({ a: z.number() }) },
  }),
  wait: rpc({ input: z.string(), output: z.string() }),
  forget: rpc({ input: z.string() }),
})

const functions = { add: (a: number, b: number) => a + b }

interface Place {
  readonly path: string
  readonly address: string
}
function place(): Place {
  const path = freshPath('.json')
  return { path, address: `file:${path}` }
}

const commandsIn = (path: string): Record<string, Record<string, unknown>> => JSON.parse(readFileSync(path, 'utf8')).commands
const isClean = (path: string): boolean => Object.keys(commandsIn(path)).length === 0

const client = script('command_client.py')
/** What a step of the plain client prints. */
async function plainly(path: string, ...step: string[]): Promise<any> {
  const { stdout } = await promisify(execFile)(python, [client, path, ...step])
  return JSON.parse(stdout)
}

/** Writes as a careful script does: under the lock, complete, then renamed. */
async function change(path: string, action: (commands: Record<string, unknown>) => void): Promise<void> {
  using _ = await new FileLock(`${path}.lock`).acquire()
  const state = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : { commands: {} }
  action(state.commands)
  writeFileSync(`${path}.script`, JSON.stringify(state), { mode: 0o600 })
  renameSync(`${path}.script`, path)
}

const startServer = async (t: TestContext, address: string): Promise<Running> => {
  const server = fixture(import.meta.url, 'file-server.js', address)
  t.after(() => server.kill())
  await server.line('ready')
  return server
}

test('file: a typed client, declared errors, invalid input, and nothing left', async () => {
  const { path, address } = place()
  await using _service = await serve(
    calc,
    {
      divide({ a, b }, ctx) {
        if (b === 0) throw ctx.error('DivisionByZero', { a })
        return a / b
      },
      wait: (text) => text,
      forget: () => {},
    },
    { listen: address, onError: () => {} },
  )
  await using typed = await connect(calc, address)
  assert.equal(await typed.divide({ a: 6, b: 3 }), 2)
  assert.equal(await typed.wait('x'), 'x')
  await typed.forget('x')
  const refused = await typed.divide({ a: 6, b: 0 }).catch((reason: TalkwireError) => reason)
  assert.ok(refused instanceof TalkwireError)
  assert.deepEqual([refused.code, refused.declared, refused.outcome, refused.details], ['DivisionByZero', true, 'ran', { a: 6 }])
  await assert.rejects(typed.divide({ a: 'six', b: 0 } as never), fails('INVALID_INPUT'))
  assert.ok(isClean(path))
  assert.equal(lstatSync(path).mode & 0o777, 0o600)
})

test('file: a plain Python script is a full client', async () => {
  const { path, address } = place()
  await using _service = await serve('calc', { ...functions, fail: () => assert.fail('a secret') }, { listen: address, onError: () => {} })
  assert.equal((await plainly(path, 'call', 'add', '[2, 5]')).result, 7)
  const { error } = await plainly(path, 'call', 'fail', '[]')
  assert.deepEqual([error.code, error.message, error.data.outcome], [-32603, 'internal error', 'ran'])
  assert.equal((await plainly(path, 'call', 'nothing', '[]')).error.data.code, 'METHOD_NOT_FOUND')
  assert.equal((await plainly(path, 'call', 'rpc.on', '{"event": "x"}')).error.data.code, 'METHOD_NOT_FOUND')
  assert.equal((await plainly(path, 'call', 'rpc.discover', '[]')).result.info.title, 'calc')
  assert.ok(isClean(path))
})

test('file: plain scripts and typed clients at once, in many processes', async () => {
  const { path, address } = place()
  await using _service = await serve('calc', functions, { listen: address })
  const scripts = Array.from({ length: 3 }, () => plainly(path, 'many', '10'))
  const clients = Array.from({ length: 3 }, () => fixture(import.meta.url, 'file-client.js', address, '40').line(''))
  assert.deepEqual(await soon(Promise.all(scripts), 'the scripts'), [10, 10, 10])
  assert.deepEqual(await soon(Promise.all(clients), 'the clients'), ['40', '40', '40'])
  await eventually(() => isClean(path), 'every answer is taken away')
})

test('file: the kernel tells of changes; nobody looks by the clock', async (t) => {
  const { path, address } = place()
  t.mock.timers.enable({ apis: ['setInterval'] })
  // Only the clocks that do not tick would keep the process alive.
  const alive = setTimeout(() => {}, 30_000)
  t.after(() => clearTimeout(alive))
  await using _service = await serve('calc', functions, { listen: address })
  await using typed = await connect<typeof functions>(address)
  for (let n = 0; n < 5; n++) assert.equal(await typed.add(n, 5), n + 5)
  assert.equal((await plainly(path, 'call', 'add', '[2, 5]')).result, 7)
})

test('file: what it cannot carry is refused where it is bound, with the reason', async () => {
  const { address } = place()
  const listen = address
  const refusal = async (promise: Promise<unknown>): Promise<string> => {
    const reason = await promise.then(
      () => assert.fail('not refused'),
      (error: TalkwireError) => error,
    )
    fails('UNSUPPORTED')(reason)
    return reason.message
  }
  const streams = contract('x/1', { watch: rpc({ output: stream(z.number()) }) })
  const events = contract('x/1', { news: event(z.number()) })
  const notes = contract('x/1', { note: rpc({ input: z.number(), oneway: true }) })
  assert.match(await refusal(serve(streams, { async *watch() {} }, { listen })), /"watch" of x\/1 streams/)
  assert.match(await refusal(serve(events, {}, { listen })), /"news" of x\/1 is an event/)
  assert.match(await refusal(serve(notes, { note() {} }, { listen })), /"note" of x\/1 is one-way/)
  assert.match(await refusal(serve('x', { async *watch() {} }, { listen })), /"watch" streams/)
  assert.match(await refusal(serve('x', functions, { listen, authkey: '0123456789abcdef' })), /authkey/)
  assert.match(await refusal(serve('x', functions, { listen, caller: calc })), /who calls cannot be called/)
  assert.match(await refusal(connect(streams, address)), /streams/)
  await using _service = await serve('calc', functions, { listen })
  await using typed = await connect<typeof functions>(address)
  assert.match(await refusal(typed.on('news', () => {})), /no events/)
  await assert.rejects(typed.add((() => 1) as never, 2), TypeError)
  assert.equal(await typed.add(2, 5), 7)
})

test('file: nobody serves; one at a time serves', async (t) => {
  const { path, address } = place()
  await assert.rejects(connect(address), fails('PEER_NOT_FOUND'))
  const server = await startServer(t, address)
  await assert.rejects(serve('calc', functions, { listen: address }), (reason: TalkwireError) => {
    assert.match(reason.message, new RegExp(`served by process ${server.pid} `))
    return fails('ADDRESS_IN_USE')(reason)
  })
  await server.kill()
  await assert.rejects(connect(address), fails('PEER_NOT_FOUND'))
  await using _service = await serve('calc', functions, { listen: address })
  await using typed = await connect<typeof functions>(address)
  assert.equal(await typed.add(2, 5), 7)
  for (const where of ['file:', 'file:relative.json', 'file:/folder/']) {
    await assert.rejects(connect(where), fails('INVALID_ADDRESS'))
    await assert.rejects(serve('x', functions, { listen: where }), fails('INVALID_ADDRESS'))
  }
  await assert.rejects(serve('x', functions, { listen: `file:${dirname(path)}/nowhere/x` }), fails('NOT_FOUND'))
})

test('file: a service that is killed settles every call, and says whether it ran', async (t) => {
  const { path, address } = place()
  const server = await startServer(t, address)
  const typed = await connect<typeof functions & { hang(): void }>(address, { reconnect: false })
  const ran = assert.rejects(typed.hang(), (reason: TalkwireError) => reason.code === 'UNAVAILABLE' && reason.outcome === 'maybe-ran')
  await server.line('hanging')
  server.child.kill('SIGSTOP')
  const never = assert.rejects(typed.add(2, 5), (reason: TalkwireError) => reason.code === 'UNAVAILABLE' && reason.outcome === 'not-sent')
  await eventually(() => Object.values(commandsIn(path)).some(({ command }) => command === 'add'), 'the command is in the file')
  await server.kill()
  await soon(Promise.all([ran, never]), 'both calls settle')
  assert.ok(isClean(path))
  await typed.close()
})

test('file: a client goes on with the next service', async (t) => {
  const { address } = place()
  const first = await startServer(t, address)
  await using typed = await connect<typeof functions>(address, { reconnect: { initial: 10, max: 50 } })
  assert.equal(await typed.add(2, 5), 7)
  await first.kill()
  await startServer(t, address)
  for (let answer = 0; answer !== 8;)
    answer = await typed.add(2, 6).catch((reason: TalkwireError) => {
      assert.notEqual(reason.outcome, 'ran')
      return 0
    })
})

test('file: a command that its service did not live to answer is not run again; one that nobody began is', async (t) => {
  const { path, address } = place()
  const server = await startServer(t, address)
  const begun = await plainly(path, 'leave', 'hang', '[]')
  await server.line('hanging')
  await server.kill()
  const waiting = await plainly(path, 'leave', 'add', '[2, 5]')
  await startServer(t, address)
  await eventually(() => Object.values(commandsIn(path)).every((each) => 'result' in each || 'error' in each), 'both are answered')
  const commands = commandsIn(path)
  assert.equal(commands[waiting]!['result'], 7)
  assert.equal((commands[begun]!['error'] as any).data.outcome, 'maybe-ran')
})

test('file: a script that dies while it writes costs nobody anything', async (t) => {
  const { path, address } = place()
  const server = await startServer(t, address)
  await using typed = await connect<typeof functions & { hang(): void }>(address)
  const hanging = assert.rejects(typed.hang(), (reason: TalkwireError) => reason.outcome === 'maybe-ran')
  await server.line('hanging')
  await assert.rejects(plainly(path, 'half'))
  const told = await server.line('TalkwireError: [INVALID_MESSAGE]')
  assert.ok(told.includes(path), told)
  assert.deepEqual(
    Object.values(commandsIn(path)).map(({ command }) => command),
    ['hang'],
  )
  assert.equal(await typed.add(2, 5), 7)
  await server.kill()
  await hanging
})

test('file: clients that are killed at any moment leave a whole file, and nobody waits', async () => {
  const { path, address } = place()
  const errors: unknown[] = []
  await using _service = await serve('calc', functions, { listen: address, onError: (reason) => errors.push(reason) })
  await using typed = await connect<typeof functions>(address)
  for (let round = 0; round < 6; round++) {
    const victims = Array.from({ length: 2 }, () => fixture(import.meta.url, 'file-client.js', address, '300'))
    await eventually(() => !isClean(path), 'commands are in the file')
    for (let n = 0; n < round; n++) assert.equal(await typed.add(n, 1), n + 1)
    await Promise.all(victims.map((victim) => victim.kill()))
    assert.equal(await typed.add(round, 5), round + 5)
  }
  await eventually(() => Object.values(commandsIn(path)).every((each) => 'result' in each), 'what they left is answered')
  assert.deepEqual(errors, [])
  assert.equal((await plainly(path, 'call', 'add', '[2, 5]')).result, 7)
})

test('file: one that was damaged while nobody served is put aside, not lost', async () => {
  const { path, address } = place()
  writeFileSync(path, '{"commands": {"a": {"comm', { mode: 0o600 })
  const errors: unknown[] = []
  await using _service = await serve('calc', functions, { listen: address, onError: (reason) => errors.push(reason) })
  assert.equal(readFileSync(`${path}.damaged`, 'utf8'), '{"commands": {"a": {"comm')
  assert.match(String(errors[0]), /INVALID_MESSAGE/)
  assert.equal((await plainly(path, 'call', 'add', '[2, 5]')).result, 7)
})

test('file: a client that is killed while it holds the lock is no hindrance; one that holds it is waited for', async () => {
  const { path, address } = place()
  await using _service = await serve('calc', functions, { listen: address })
  await using typed = await connect<typeof functions>(address)
  const holder = run(python, [client, path, 'hold'])
  await holder.line('"held"')
  const waiting = typed.add(2, 5)
  await assert.rejects(withOptions(typed, { timeout: 50 }).add(2, 5), fails('DEADLINE_EXCEEDED'))
  await holder.kill()
  assert.equal(await waiting, 7)
  await eventually(() => isClean(path), 'the call that was given up leaves nothing')
})

test('file: who gives up a call takes it away, and its handler is told', async () => {
  const { path, address } = place()
  let told: (reason: unknown) => void
  const stopped = new Promise((resolve) => (told = resolve))
  const wait = (_: string, ctx: { signal: AbortSignal }): Promise<string> =>
    new Promise(() => ctx.signal.addEventListener('abort', () => told(ctx.signal.reason)))
  await using _service = await serve(calc, { divide: () => 0, wait, forget: () => {} }, { listen: address })
  await using typed = await connect(calc, address)
  await assert.rejects(typed.wait('x', { timeout: 100 }), fails('DEADLINE_EXCEEDED'))
  fails('CANCELLED')(await soon(stopped, 'the handler is told'))
  assert.ok(isClean(path))
})

test('file: answers that nobody takes away are removed', async () => {
  const { path, address } = place()
  const limits = withDefaults({})
  const service = functionsService('calc', functions)
  const listener = await file.listen!(address, (connection) => openSession(newSession({ side: 'acceptor', limits, service }), connection), {
    keep: 1,
  })
  await plainly(path, 'leave', 'add', '[2, 5]')
  await eventually(() => isClean(path), 'the answer is removed')
  await listener.close()
})

test('file: close answers what runs, takes nothing new, and takes its sign away', async () => {
  const { path, address } = place()
  let answer = (): void => {}
  let begin = (): void => {}
  const begun = new Promise<void>((resolve) => (begin = resolve))
  const wait = (text: string): Promise<string> =>
    new Promise((resolve) => {
      answer = () => resolve(text)
      begin()
    })
  const service = await serve(calc, { divide: () => 0, wait, forget: () => {} }, { listen: address })
  const typed = await connect(calc, address, { reconnect: false })
  const first = typed.wait('last words')
  await begun
  const closing = service.close()
  const second = assert.rejects(
    typed.wait('too late'),
    (reason: TalkwireError) => reason.code === 'UNAVAILABLE' && reason.outcome === 'not-sent',
  )
  await eventually(() => Object.keys(commandsIn(path)).length === 2, 'the second one is in the file')
  answer()
  assert.equal(await first, 'last words')
  await closing
  await second
  await typed.close()
  await eventually(() => !existsSync(`${path}.server`), 'its sign is gone')
  assert.ok(isClean(path))
})

test('file: an answer that cannot be written is written when there is room', async (t) => {
  const { path, address } = place()
  const errors: unknown[] = []
  const inTheWay = `${path}.new`
  const add = (a: number, b: number): number => {
    // Stands for a file system that is full: it holds for root, too.
    mkdirSync(inTheWay)
    return a + b
  }
  await using _service = await serve('calc', { add }, { listen: address, onError: (reason) => errors.push(reason) })
  await using typed = await connect<{ add: typeof add }>(address)
  const answer = typed.add(2, 5)
  t.after(() => rmSync(inTheWay, { recursive: true, force: true }))
  await eventually(() => errors.length > 0, 'the service is told')
  rmdirSync(inTheWay)
  assert.equal(await soon(answer, 'the answer'), 7)
})

test('file: what was opened is closed', async () => {
  const { address } = place()
  const open = (): number => readdirSync('/proc/self/fd').length
  const round = async (): Promise<void> => {
    await using _service = await serve('calc', functions, { listen: address })
    await using typed = await connect<typeof functions>(address)
    assert.equal(await typed.add(2, 5), 7)
  }
  await round()
  const before = open()
  for (let n = 0; n < 5; n++) await round()
  await eventually(() => open() <= before, 'no descriptor is left')
})

test('file: hostile commands are refused one by one', async () => {
  const { path, address } = place()
  await using _service = await serve('calc', functions, { listen: address, onError: () => {} })
  const deep = JSON.parse('['.repeat(100) + ']'.repeat(100))
  const hostile: Record<string, unknown> = {
    nothing: {},
    number: { command: 5, args: [] },
    scalar: { command: 'add', args: 5 },
    inherited: { command: 'constructor', args: [] },
    control: { command: '$/close', args: [] },
    deep: { command: 'add', args: [deep, 1] },
    polluting: { command: 'add', args: [JSON.parse('{"__proto__": {"polluted": 1}}'), 1] },
    ['x'.repeat(5000)]: { command: 'y'.repeat(5000), args: [] },
  }
  await change(path, (commands) => {
    Object.assign(commands, hostile, { none: null, text: 'add' })
    Object.defineProperty(commands, '__proto__', { value: { command: 'add', args: [2, 5] }, enumerable: true })
  })
  await eventually(() => Object.keys(hostile).every((id) => 'error' in commandsIn(path)[id]!), 'all are answered')
  const codes = Object.entries(commandsIn(path)).map(([id, { error }]) => [id.slice(0, 9), (error as any)?.data.code])
  assert.deepEqual(codes.slice(0, 7), [
    ['nothing', 'INVALID_REQUEST'],
    ['number', 'INVALID_REQUEST'],
    ['scalar', 'INVALID_REQUEST'],
    ['inherited', 'METHOD_NOT_FOUND'],
    ['control', 'METHOD_NOT_FOUND'],
    ['deep', 'TOO_DEEP'],
    ['polluting', 'FORBIDDEN_KEY'],
  ])
  const own = Object.getOwnPropertyDescriptor(commandsIn(path), '__proto__')!.value as { result: number }
  assert.equal(own.result, 7)
  assert.equal(({} as { polluted?: number }).polluted, undefined)
  assert.equal((await plainly(path, 'call', 'add', '[2, 5]')).result, 7)
})

test('file: what others planted is neither followed nor written through', async () => {
  const victim = freshPath()
  const plant = (at: string, how: typeof symlinkSync | typeof linkSync): void => {
    writeFileSync(victim, 'mine', { mode: 0o600 })
    how(victim, at)
  }
  const refused = async (ending: string, how: typeof symlinkSync | typeof linkSync, ...codes: Parameters<typeof fails>): Promise<void> => {
    const { path, address } = place()
    plant(`${path}${ending}`, how)
    await assert.rejects(serve('calc', functions, { listen: address }), fails(...codes))
  }
  await refused('', symlinkSync, 'PERMISSION_DENIED')
  await refused('.lock', symlinkSync, 'INVALID_ADDRESS')
  await refused('.server', symlinkSync, 'INVALID_ADDRESS')
  for (const how of [symlinkSync, linkSync]) {
    const { path, address } = place()
    plant(`${path}.new`, how)
    await using _service = await serve('calc', functions, { listen: address })
    assert.equal((await plainly(path, 'call', 'add', '[2, 5]')).result, 7)
    assert.equal(readFileSync(victim, 'utf8'), 'mine')
  }
  const { path, address } = place()
  mkdirSync(path)
  await assert.rejects(serve('calc', functions, { listen: address }), fails('INVALID_MEMORY', 'INVALID_ADDRESS'))
  const open = place()
  writeFileSync(open.path, '{}')
  await promisify(execFile)('chmod', ['666', open.path])
  await assert.rejects(serve('calc', functions, { listen: open.address }), fails('PERMISSION_DENIED'))
})

if (MAY_BE_OTHERS)
  test("file: another user's file, lock or sign is refused", async () => {
    for (const ending of ['', '.lock', '.server']) {
      const { path, address } = place()
      writeFileSync(`${path}${ending}`, '', { mode: 0o600 })
      chownSync(`${path}${ending}`, NOBODY_ID, NOBODY_ID)
      await assert.rejects(serve('calc', functions, { listen: address }), fails('PERMISSION_DENIED'))
      if (ending === '.server') await assert.rejects(connect(address), fails('PERMISSION_DENIED'))
    }
  })

test('file: a process that is done ends, though its client is open', async (t) => {
  const { path, address } = place()
  await startServer(t, address)
  const before = readFileSync(path, 'utf8')
  const lines = fixture(import.meta.url, 'file-client.js', address, '1')
  assert.equal(await lines.line(''), '1')
  await eventually(() => lines.child.exitCode === 0, 'the client ends')
  assert.equal(readFileSync(path, 'utf8'), before)
})
