/** Starting a service on demand: once, and with an honest reason when it does not come. */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { processStat } from '../../src/discovery/identity.js'
import { claim, find, runtimeDirectory } from '../../src/discovery/names.js'
import { connect, serve, TalkwireError } from '../../src/index.js'
import { fails } from '../helpers/expect.js'
import { freshName, freshPath } from '../helpers/place.js'
import { fixture, python, run, type Running } from '../session/processes.js'

process.env['TALKWIRE_TEST_PID'] = String(process.pid)
const daemon = fileURLToPath(new URL('fixtures/daemon.js', import.meta.url))
const clients = fileURLToPath(new URL('../../../../../clients/python', import.meta.url))
const pythonStarter = (...args: string[]): Running =>
  run(python, [fileURLToPath(new URL('../../../test/discovery/fixtures/starter.py', import.meta.url)), ...args], {
    env: { PYTHONPATH: clients },
  })

/** Where processes that outlive whoever started them say who they are. Of its own: the other folder goes first. */
const folder = mkdtempSync(join(tmpdir(), 'tw-'))
after(() => {
  for (const file of readdirSync(folder)) for (const pid of pidsIn(join(folder, file))) if (processStat(pid)) process.kill(pid, 'SIGKILL')
  rmSync(folder, { recursive: true })
})
const pidsIn = (file: string): number[] => readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number)
function command(): { file: string; start: string[] } {
  const file = join(folder, freshName())
  return { file, start: [process.execPath, daemon, file] }
}
const errorOf = async (promise: Promise<unknown>): Promise<TalkwireError> => {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof TalkwireError, String(error))
  return error
}

test('ten clients in two languages want a service that nobody runs: one is started', async () => {
  const name = freshName()
  const { file, start } = command()
  const wanting = [
    ...Array.from({ length: 7 }, () => fixture(import.meta.url, 'starter.js', name, ...start)),
    ...Array.from({ length: 3 }, () => pythonStarter(name, ...start)),
  ]
  await Promise.all(wanting.map((each) => each.line('ready')))
  for (const each of wanting) each.child.stdin!.write('go\n')
  const answers = await Promise.all(wanting.map((each) => each.line('pid')))
  const pids = pidsIn(file)
  assert.equal(pids.length, 1)
  assert.deepEqual(new Set(answers), new Set([`pid ${pids[0]}`]))
  assert.match((find(`${name}.start`) as { reason: string }).reason, /was closed/, 'the claim to start it is given back')
})

test('a name that leaves no room for its claim with .start is not started, in either language, and says why', async () => {
  const { file, start } = command()
  const [longest, longer] = ['a'.repeat(58), 'a'.repeat(59)]
  const error = await errorOf(connect(longer, { start }))
  assert.equal(error.message, `[INVALID_ADDRESS] "${longer}" has 59 characters; what is started on demand has at most 58`)
  const starter = pythonStarter(longer, ...start)
  starter.child.stdin!.write('go\n')
  assert.match(await starter.line('[INVALID_ADDRESS]'), /59 characters/)
  assert.ok(!existsSync(file))
  await (await connect(longest, { start })).close()
  assert.equal(pidsIn(file).length, 1)
})

test('what was started outlives who started it, and may go on printing to stderr', async () => {
  const name = freshName()
  const { file, start } = command()
  const first = fixture(import.meta.url, 'starter.js', name, ...start)
  await first.line('ready')
  first.child.stdin!.write('go\n')
  const said = await first.line('pid')
  await first.kill()
  for (let i = 0; i < 3; i++) {
    const client = await connect<{ pid(): number }>(name)
    assert.equal(`pid ${await client.pid()}`, said)
    await client.close()
  }
  assert.equal(pidsIn(file).length, 1)
  const log = join(runtimeDirectory(), `${name}.log`)
  assert.equal(readFileSync(log, 'utf8'), 'somebody asks\n'.repeat(4))
  assert.equal(statSync(log).mode & 0o777, 0o600)
})

test("what was started has neither the wire to our parent nor our parent's death", async () => {
  const given = { TALKWIRE_FD: '3', TALKWIRE_PARENT: '1' }
  Object.assign(process.env, given)
  const client = await connect<{ environment(name: string): string | null }>(freshName(), { start: command().start, reconnect: false })
  for (const name of Object.keys(given)) {
    assert.equal(await client.environment(name), null, name)
    delete process.env[name]
  }
  await client.close()
})

test('a service that was killed is started again', async () => {
  const name = freshName()
  const { file, start } = command()
  const client = await connect<{ pid(): number }>(name, { start, reconnect: false })
  const pid = await client.pid()
  process.kill(pid, 'SIGKILL')
  await poll(() => (processStat(pid) === undefined ? true : undefined))
  await client.close()
  const again = await connect<{ pid(): number }>(name, { start, reconnect: false })
  assert.notEqual(await again.pid(), pid)
  await again.close()
  assert.equal(pidsIn(file).length, 2)
})

/** A service that closes and waits for a call: its name is announced, and nobody listens. Returns what ends it. */
async function closingService(name: string): Promise<() => Promise<void>> {
  let finish!: () => void
  const gate = new Promise<void>((resolve) => (finish = resolve))
  const service = await serve(name, { work: () => gate })
  const busy = await connect<{ work(): void }>(name, { reconnect: false })
  const work = busy.work()
  await poll(() => (service.stats()[0]?.handling === 1 ? true : undefined))
  const closing = service.close()
  await poll(() => (existsSync(join(runtimeDirectory(), `${name}.sock`)) ? undefined : true))
  return async () => {
    finish()
    await Promise.all([work, closing])
    await busy.close()
  }
}

test('a service that is closing is waited for, and then started again, once', async () => {
  const name = freshName()
  const { file, start } = command()
  const finish = await closingService(name)
  assert.ok(!('reason' in find(name)))
  let early = 0
  const wanting = Array.from({ length: 5 }, () => connect<{ pid(): number }>(name, { start, reconnect: false }).finally(() => early++))
  await assert.rejects(connect(name, { reconnect: false }), fails('PEER_NOT_FOUND'))
  assert.equal(early, 0)
  await finish()
  const clients = await Promise.all(wanting)
  const pids = await Promise.all(clients.map((client) => client.pid()))
  assert.deepEqual(pidsIn(file), [...new Set(pids)])
  await Promise.all(clients.map((client) => client.close()))
})

test('a service that is killed while it is connected to is started again, once', async () => {
  const name = freshName()
  const { file, start } = command()
  await (await connect(name, { start, reconnect: false })).close()
  const [first] = pidsIn(file) as [number]
  // It lives, its socket takes connections, and it answers none.
  process.kill(first, 'SIGSTOP')
  const wanting = Array.from({ length: 5 }, () => connect<{ pid(): number }>(name, { start, reconnect: false }))
  const path = join(runtimeDirectory(), `${name}.sock`)
  await poll(() =>
    readFileSync('/proc/net/unix', 'utf8')
      .split('\n')
      .filter((line) => line.endsWith(path)).length > 5
      ? true
      : undefined,
  )
  process.kill(first, 'SIGKILL')
  const clients = await Promise.all(wanting)
  const pids = await Promise.all(clients.map((client) => client.pid()))
  assert.deepEqual(pidsIn(file), [first, ...new Set(pids)])
  assert.ok(!pids.includes(first))
  await Promise.all(clients.map((client) => client.close()))
})

test('whoever gives up waiting for a service that is closing starts none', async () => {
  const name = freshName()
  const { file, start } = command()
  const finish = await closingService(name)
  const controller = new AbortController()
  const connecting = connect(name, { start, signal: controller.signal })
  controller.abort(new Error('enough'))
  await assert.rejects(connecting, /enough/)
  await finish()
  assert.equal(existsSync(file), false)
})

test('a command that ends before it serves: how, and its last words', async () => {
  const shell = (script: string): Promise<TalkwireError> => errorOf(connect(freshName(), { start: ['/bin/sh', '-c', script] }))
  const early = await shell('echo first >&2; echo no such database >&2; exit 3')
  assert.equal(early.code, 'START_FAILED')
  assert.equal(early.outcome, 'not-sent')
  assert.match(early.message, /\/bin\/sh ended with exit code 3: first\nno such database before it served/)
  assert.match((await shell('kill -9 $$')).message, /ended with SIGKILL before/)
  const talkative = await shell('i=0; while [ $i -lt 2000 ]; do echo "line $i" >&2; i=$((i+1)); done; exit 1')
  assert.match(talkative.message, /line 1999 before it served/)
  assert.ok(talkative.message.length < 5000)
  const missing = await errorOf(connect(freshName(), { start: ['/no/such/program'] }))
  assert.match(missing.message, /^\[START_FAILED\] \/no\/such\/program could not be started \(.*ENOENT/)
})

test('after a start that failed the next client tries anew', async () => {
  const name = freshName()
  await assert.rejects(connect(name, { start: ['/bin/sh', '-c', 'exit 1'] }), fails('START_FAILED'))
  const { start } = command()
  const client = await connect<{ pid(): number }>(name, { start, reconnect: false })
  assert.equal(typeof (await client.pid()), 'number')
  await client.close()
})

test('who gives up takes along what does not serve yet', async () => {
  const file = join(folder, freshName())
  const controller = new AbortController()
  const connecting = connect(freshName(), { start: ['/bin/sh', '-c', `echo $$ > ${file}; exec sleep 600`], signal: controller.signal })
  const pid = await poll(() => (existsSync(file) ? pidsIn(file)[0] : undefined))
  controller.abort(new Error('enough'))
  await assert.rejects(connecting, /enough/)
  await poll(() => (processStat(pid) === undefined ? true : undefined))
})

test('a service that is starting is waited for; when it dies instead, that is told', async () => {
  const [comes, dies] = [freshName(), freshName()]
  const held = claim(comes)
  const waiting = connect<{ pid(): number }>(comes)
  const service = await serve('elsewhere', { pid: () => process.pid }, { listen: `unix:${freshPath('.sock')}` })
  held.announce({ contract: null, hash: null, addresses: service.addresses })
  const client = await waiting
  assert.equal(await client.pid(), process.pid)
  await client.close()
  await service.close()
  held.release()
  const racer = fixture(import.meta.url, 'racer.js')
  await racer.line('ready')
  racer.child.stdin!.write(`${dies} 0\n`)
  await racer.line('won')
  const error = errorOf(connect(dies))
  await racer.kill('SIGKILL')
  assert.equal((await error).code, 'PEER_NOT_FOUND')
})

test('nothing found: one line with the reason', async () => {
  const name = 'nobody-else-is-called-like-this'
  const reason = async (): Promise<string> => {
    const { code, message, outcome } = await errorOf(connect(name))
    assert.deepEqual([code, outcome], ['PEER_NOT_FOUND', 'not-sent'])
    assert.ok(!message.includes('\n'))
    return message
  }
  assert.equal(
    await reason(),
    `[PEER_NOT_FOUND] nothing has announced "${name}" in ${runtimeDirectory()}; start it, or pass { start: [command] } or { wait: milliseconds }`,
  )
  const held = claim(name)
  held.announce({ contract: null, hash: null, addresses: ['pigeon:nowhere'] })
  assert.equal(
    await reason(),
    `[PEER_NOT_FOUND] "${name}" listens only on pigeon:nowhere, and this side has no way there by name; let it listen on unix:${name} too, or pass an address that both sides know`,
  )
  const near = await errorOf(connect(name.replace('else', 'esle')))
  assert.match(near.message, new RegExp(`; did you mean "${name}"\\? Otherwise start it, or pass`))
  held.release()
  assert.match(await reason(), /was closed \(it ran as process \d+\); start it/)
  assert.deepEqual(
    readdirSync(runtimeDirectory()).filter((file) => file.endsWith('.tmp')),
    [],
  )
})

async function poll<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const found = look()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
