import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { LocalEnd, soon, turns } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { connect, implement, sessionOf, TalkwireError, type ConnectOptions } from '../../src/index.js'
import { parseWords, quoteWords } from '../../src/address.js'
import type { ChildConnection } from '../../src/transports/child.js'
import { spawn, spawnStdio } from '../../src/transports/spawn.js'
import { fails } from '../helpers/expect.js'
import { place } from '../helpers/place.js'
import { descriptorsOf } from '../helpers/descriptors.js'
import { command, eventually, gone, isRunning, node, printed, program, python, script, start } from './fixtures/support.js'

const address = (): string => 'spawn:nobody-has-this-program'
const far =
  (scheme: string) =>
  async ({ control }: { control: string }): Promise<string> =>
    node(scheme, 'far', control, 'stdio:')
// The suite goes on with a far end whose connection has ended: a child that is ours would be gone by then.
testTransport({ test, transport: spawn, address, remote: far('spawn'), connectOptions: { detached: true } })
testTransport({ test, transport: spawnStdio, address, remote: far('spawn+stdio'), connectOptions: { detached: true, framing: 'length' } })

interface Child {
  add(a: number, b: number): number
  echo<T>(value: T): T
  print(text: string): void
  pid(): number
  environment(name: string): string | null
  directory(): string
  hang(): void
  busy(): void
  exit(code: number, lastWords?: string): void
  finish(text: string): string
  fail(): void
  linger(): void
  ignoreSigterm(): void
  grandchild(): [number, string][]
  descriptors(): number
}
const child = (options?: ConnectOptions, ...args: string[]) => connect<Child>(node('spawn', 'child', ...args), options)
const errorOf = async (call: Promise<unknown>): Promise<TalkwireError> => {
  const reason = await soon(
    call.then(
      () => new Error('it answered'),
      (error: unknown) => error,
    ),
    'the call settles',
  )
  assert.ok(reason instanceof TalkwireError, String(reason))
  return reason
}

// ── words ────────────────────────────────────────────────────────────────────────────────────────

test('spawn: words are quoted as for a shell, and nothing is expanded', () => {
  const cases: [string, string[]][] = [
    ['python3 worker.py', ['python3', 'worker.py']],
    ['  a \t b  ', ['a', 'b']],
    [`a 'b c' "d e"`, ['a', 'b c', 'd e']],
    [`a'b'"c"d\\ e`, ['abcd e']],
    [`'' ""`, ['', '']],
    [`"a\\"b\\\\c\\d"`, ['a"b\\c\\d']],
    [`'a\\b"c'`, ['a\\b"c']],
    [
      `echo $HOME \`id\` $(id) *.js | cat > x ; true & # no`,
      ['echo', '$HOME', '`id`', '$(id)', '*.js', '|', 'cat', '>', 'x', ';', 'true', '&', '#', 'no'],
    ],
    ['ü "ö ä"', ['ü', 'ö ä']],
  ]
  for (const [text, words] of cases) assert.deepEqual(parseWords(text), words, text)
  for (const words of [['a'], ['a b', "it's", '"', '\\', '', '$x', 'ü', '*'], ['-c', 'print("x")\nprint(1)']])
    assert.deepEqual(parseWords(quoteWords(words)), words)
  for (const text of [`'a`, `"a`, `a\\`, `a "b\\"`, `it's`, '', '   '])
    assert.throws(() => parseWords(text), fails('INVALID_ADDRESS'), text)
})

test('spawn: a long line of words takes linear time', () => {
  const began = process.cpuUsage()
  parseWords(`a ${'"b c" '.repeat(50_000)}`)
  assert.throws(() => parseWords('"\\'.repeat(50_000)), fails('INVALID_ADDRESS'))
  assert.ok(process.cpuUsage(began).user < 1_000_000)
})

// ── starting ─────────────────────────────────────────────────────────────────────────────────────

test('spawn: calls both ways, environment, working directory; the child does not see how it is wired', async () => {
  await using client = await child({ env: { COLOUR: 'green' }, cwd: place, serve: implement({ double: (n: number) => 2 * n }) })
  assert.equal(await client.add(2, 5), 7)
  assert.equal(await client.environment('COLOUR'), 'green')
  assert.equal(await client.directory(), place)
  assert.equal(await client.environment('TALKWIRE_FD'), null)
  assert.equal(await client.environment('TALKWIRE_PARENT'), null)
  const { peer } = sessionOf(client)!
  assert.deepEqual([peer.pid, peer.uid, peer.gid], [await client.pid(), process.getuid!(), process.getgid!()])
})

test('spawn: what is no program, no folder, not allowed, or ends at once is START_FAILED or PEER_EXITED, with the reason', async () => {
  const reason = async (where: string, options?: ConnectOptions): Promise<TalkwireError> => errorOf(connect(where, options))
  const missing = await reason('spawn:no-such-program --flag')
  assert.equal(missing.code, 'START_FAILED')
  assert.match(missing.message, /no-such-program: there is no such program/)
  const folder = await reason(node('spawn', 'child'), { cwd: join(place, 'nowhere') })
  assert.equal(folder.code, 'START_FAILED')
  assert.match(folder.message, /the directory .*nowhere does not exist/)
  assert.equal((await reason(`spawn:${place}`)).code, 'START_FAILED')
  for (const scheme of ['spawn', 'spawn+stdio']) {
    const ended = await reason(command(scheme, process.execPath, '-e', 'console.error("no config"); process.exit(4)'))
    assert.equal(ended.code, 'PEER_EXITED')
    assert.equal(ended.outcome, 'not-sent')
    assert.match(ended.message, /exit code 4.*\nno config/s)
    assert.deepEqual(ended.details, { exitCode: 4, signal: null, stderr: 'no config' })
  }
})

test('spawn: what the child prints is neither lost nor on the wire or our stdout', async () => {
  const parent = start(process.execPath, program('prints'), node('spawn', 'child'))
  let [stdout, stderr] = ['', '']
  parent.stdout!.on('data', (chunk) => (stdout += String(chunk)))
  parent.stderr!.on('data', (chunk) => (stderr += String(chunk)))
  await soon(new Promise((resolve) => parent.once('close', resolve)), 'the parent ends')
  assert.equal(stdout, 'done\n')
  assert.match(stderr, /hello from the child[^]*and more/)
})

test('spawn: nothing of the wire reaches a grandchild, and one child nothing of another', async () => {
  await using first = await child()
  await using second = await child()
  for (const client of [first, second]) {
    const sockets = (await client.grandchild()).filter(([fd, what]) => fd > 2 && what.startsWith('socket:'))
    assert.deepEqual(sockets, [])
  }
  // Not stdio: a child prints where we do, and that may itself be a socket.
  const sockets = (pid: number | 'self'): string[] =>
    [...descriptorsOf(pid)].filter(([fd, what]) => Number(fd) > 2 && what.startsWith('socket:')).map(([, what]) => what)
  const [one, two, ours] = [sockets(await first.pid()), sockets(await second.pid()), sockets('self')]
  assert.ok(two.length > 0)
  assert.deepEqual(
    two.filter((what) => one.includes(what) || ours.includes(what)),
    [],
  )
})

test('spawn: an aborted signal ends the attempt and the child', async () => {
  const reason = new Error('changed my mind')
  await assert.rejects(child({ signal: AbortSignal.abort(reason) }), (error) => error === reason)
  const controller = new AbortController()
  const attempt = connect(command('spawn', process.execPath, '-e', 'setInterval(() => {}, 1000)', 'marker-of-this-test'), {
    signal: controller.signal,
  })
  await eventually(() => childWith('marker-of-this-test') !== undefined, 'the child starts')
  const pid = childWith('marker-of-this-test')!
  controller.abort(reason)
  await assert.rejects(soon(attempt, 'connect()'), (error) => error === reason)
  await gone(pid)
})

const childWith = (word: string): number | undefined => {
  const pids = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ')
  return pids.map(Number).find((pid) => pid && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word))
}

// ── the end of the child ─────────────────────────────────────────────────────────────────────────

for (const scheme of ['spawn', 'spawn+stdio'] as const) {
  const open = () => connect<Child>(node(scheme, 'child'))

  test(`${scheme}: exit code, signal and last words of the child are in the error of every call in flight`, async () => {
    const cases: [(client: Awaited<ReturnType<typeof open>>) => Promise<unknown>, RegExp, object][] = [
      [
        (client) => client.exit(3, 'the disk is full'),
        /ended with exit code 3; the last of its stderr:\nthe disk is full$/,
        { exitCode: 3, signal: null, stderr: 'the disk is full' },
      ],
      [
        (client) => client.exit(0),
        /ended with exit code 0: it had nothing to serve any more, or never called serve\(\)$/,
        { exitCode: 0, signal: null, stderr: '' },
      ],
      [(client) => client.fail(), /exit code 1;[^]*RangeError: something unforeseen/, { exitCode: 1, signal: null }],
      [
        async (client) => {
          process.kill(sessionOf(client)!.peer.pid!, 'SIGKILL')
          await client.hang()
        },
        /ended with SIGKILL/,
        { exitCode: null, signal: 'SIGKILL' },
      ],
    ]
    for (const [end, text, details] of cases) {
      const client = await open()
      const waiting = Array.from({ length: 20 }, () => errorOf(client.hang()))
      const errors = [await errorOf(end(client)), ...(await Promise.all(waiting))]
      for (const error of errors) {
        assert.equal(error.code, 'PEER_EXITED')
        assert.equal(error.outcome, 'maybe-ran')
        assert.match(error.message, text)
        assert.deepEqual(
          { ...(error.details as object), ...('stderr' in details ? {} : { stderr: undefined }) },
          { ...details, ...('stderr' in details ? {} : { stderr: undefined }) },
        )
      }
      const late = await errorOf(client.add(1, 1))
      assert.match(late.message, /the connection is gone/)
      await client.close()
    }
  })

  test(`${scheme}: only the last 4 KiB of a talkative child's stderr are kept`, async () => {
    const client = await open()
    const error = await errorOf(client.exit(3, `${'x'.repeat(300_000)}the end`))
    const { stderr } = error.details as { stderr: string }
    assert.equal(stderr.length, 4096)
    assert.ok(stderr.endsWith('the end'))
    await client.close()
  })

  test(`${scheme}: the last answers of a child that closes and ends arrive`, async () => {
    for (let round = 0; round < 4; round++) {
      const client = await open()
      const pid = await client.pid()
      const [echoed, finished, added] = await soon(
        Promise.allSettled([client.echo('y'.repeat(1_000_000)), client.finish('z'.repeat(1_000_000)), client.add(1, 2)]),
        'the answers',
      )
      assert.deepEqual(
        [echoed, finished].map((each) => each.status === 'fulfilled' && String(each.value).length),
        [1_000_000, 1_000_000],
      )
      // It was asked after the child decided to close.
      if (added.status === 'fulfilled') assert.equal(added.value, 3)
      else {
        const { code, outcome } = added.reason as TalkwireError
        assert.deepEqual([code, outcome], ['UNAVAILABLE', 'not-sent'])
      }
      await gone(pid)
      await client.close()
    }
  })

  test(`${scheme}: close() waits for the exit, and leaves nothing behind`, async () => {
    // What the first use loads stays open.
    await (await open()).close()
    const before = descriptorsOf('self').size
    for (let round = 0; round < 5; round++) {
      const client = await open()
      const pid = await client.pid()
      await client.close()
      assert.equal(isRunning(pid), false)
    }
    await eventually(() => descriptorsOf('self').size <= before, 'descriptors are closed')
    assert.equal(process.listenerCount('exit') > 20, false)
  })

  test(`${scheme}: a child that does not end by itself gets SIGTERM, and then SIGKILL`, async () => {
    for (const stubborn of [false, true]) {
      const client = await open()
      const pid = await client.pid()
      await client.linger()
      if (stubborn) await client.ignoreSigterm()
      const began = performance.now()
      await client.close()
      const took = performance.now() - began
      assert.equal(isRunning(pid), false)
      assert.ok(took > (stubborn ? 3900 : 1900) && took < (stubborn ? 8000 : 3900), `${took} ms`)
    }
  })
}

test('spawn: whoever ends takes a busy child along, also where the kernel is not asked to', async () => {
  // Neither side has koffi: the child cannot ask to die with its parent, and does not see the end of its wire.
  const address = command('spawn', process.execPath, '--require', script('without-koffi.cjs'), program('child'))
  const parent = start(process.execPath, '--require', script('without-koffi.cjs'), program('busy-family'), address, 'exit')
  await gone(Number(await printed(parent)))
})

test('spawn: a child that a busy loop keeps from listening is ended all the same', async () => {
  const client = await child()
  const pid = await client.pid()
  const call = errorOf(client.busy())
  sessionOf(client)!.abort(new TalkwireError('CANCELLED', 'enough'))
  assert.equal((await call).code, 'CANCELLED')
  await gone(pid)
})

test('spawn: a wire that a grandchild holds open ends with the child all the same', async () => {
  const client = await connect(command('spawn', python, script('leaks-wire.py')), { limits: { handshake: 20_000 } }).catch(
    (reason: unknown) => reason,
  )
  assert.ok(client instanceof TalkwireError)
  assert.equal(client.code, 'PEER_EXITED')
})

// ── the end of the parent ────────────────────────────────────────────────────────────────────────

async function family(...methods: string[]): Promise<{ parent: ReturnType<typeof start>; pid: number }> {
  const parent = start(process.execPath, program('parent'), node('spawn', 'child'), ...methods)
  return { parent, pid: Number(await soon(printed(parent), 'the parent has called its child')) }
}

test('spawn: a child dies with its parent, however the parent died, and whatever else the child does', async () => {
  for (const methods of [[], ['linger']]) {
    for (const end of ['SIGKILL', 'SIGTERM', 'exit', 'throw']) {
      const { parent, pid } = await family(...methods)
      assert.ok(isRunning(pid))
      if (end.startsWith('SIG')) parent.kill(end as NodeJS.Signals)
      else parent.stdin!.write(`${end}\n`)
      await gone(pid)
    }
  }
})

test('spawn: a child in a busy loop dies with its parent', async () => {
  const parent = start(process.execPath, program('busy-family'), node('spawn', 'child'))
  const pid = Number(await soon(printed(parent), 'the parent has called its child'))
  parent.kill('SIGKILL')
  await gone(pid)
})

test('spawn: a detached child outlives its wire and its parent', async () => {
  const client = await child({ detached: true })
  const pid = await client.pid()
  await client.linger()
  await client.close()
  assert.ok(isRunning(pid))
  process.kill(pid, 'SIGKILL')
  await gone(pid)
})

test('spawn: an idle child keeps neither its parent nor itself', async () => {
  const parent = start(process.execPath, program('unref'), node('spawn', 'child'))
  const pid = Number(await soon(printed(parent), 'the parent has called its child'))
  await gone(parent.pid!)
  await gone(pid)
})

// ── other languages ──────────────────────────────────────────────────────────────────────────────

test('spawn: a Python file of functions, one line', async () => {
  await using client = await connect<{ add(a: number, b: number): number; shout(text: string): void }>(
    command('spawn', python, '-m', 'talkwire', 'serve', script('functions.py')),
  )
  assert.equal(await client.add(2, 5), 7)
  await client.shout('printed, and not on the wire')
  assert.equal(await client.add(2, 6), 8)
})

test('spawn: a Python child that ends says why', async () => {
  const client = await connect<{ leave(code: number): void }>(command('spawn', python, '-m', 'talkwire', 'serve', script('functions.py')))
  const error = await errorOf(client.leave(7))
  assert.equal(error.code, 'PEER_EXITED')
  assert.match(error.message, /exit code 7; the last of its stderr:\nleaving/)
  await client.close()
})

test('spawn+stdio: a plain Python script that answers lines takes part', async () => {
  const client = await connect<{ add(a: number, b: number): number; upper(text: string): string; nonsense(): void }>(
    command('spawn+stdio', python, script('lines.py')),
  )
  assert.equal(await client.add(2, 5), 7)
  assert.equal(await client.upper('grüße'), 'GRÜSSE')
  await assert.rejects(client.nonsense(), fails('METHOD_NOT_FOUND'))
  const answers = await Promise.all(Array.from({ length: 500 }, (_, index) => client.add(index, 1)))
  assert.deepEqual(
    answers,
    answers.map((_, index) => index + 1),
  )
  const { process: running } = sessionOf(client)!.connection as ChildConnection
  await client.close()
  assert.equal(running.exitCode, 0)
})

test('spawn+stdio: what a child said before it ended arrives, also at a reader that was paused by then', async () => {
  for (const code of [0, 3]) {
    const near = new LocalEnd()
    const says = `process.stdout.write('"one"\\n"two"\\n', () => process.exit(${code}))`
    const connection = await spawnStdio.connect!(command('spawn+stdio', process.execPath, '-e', says), near, { framing: 'line' })
    connection.pause()
    const { process: running } = connection as ChildConnection
    running.ref()
    if (running.exitCode === null) await once(running, 'exit')
    await turns()
    connection.resume()
    assert.equal(await near.ending(), code === 0 ? null : 'PEER_EXITED')
    assert.deepEqual(
      near.messages.map(({ digest }) => digest),
      ['"one"', '"two"'],
    )
  }
})

test('spawn+stdio: a script that prints what is no JSON fails with that line', async () => {
  const error = await errorOf(connect(command('spawn+stdio', python, '-c', 'print("Starting up...", flush=True); input()')))
  assert.ok(['CONNECTION_LOST', 'INVALID_MESSAGE', 'PEER_EXITED'].includes(error.code), error.message)
})

test('spawn+stdio: Content-Length headers, as language servers speak', async () => {
  const far = new LocalEnd()
  const connection = await spawnStdio.connect!(node('spawn+stdio', 'child'), far, { framing: 'header' })
  if (connection.kind === 'bytes') connection.begin().text('{"jsonrpc":"2.0","id":1,"method":"add","params":[2,5]}')
  if (connection.kind === 'bytes') connection.commit()
  assert.equal((await far.got(1))[0]!.length, '{"jsonrpc":"2.0","id":1,"result":7}'.length)
  await connection.close()
  assert.equal(await far.ending(), null)
})
