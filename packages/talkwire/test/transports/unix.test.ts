import assert from 'node:assert/strict'
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { LocalEnd, soon, turns } from '../../compliance/ends.js'
import { testTransport } from '../../compliance/index.js'
import { TalkwireError } from '../../src/error.js'
import type { Listener, Peer } from '../../src/transports/transport.js'
import { socketPath, unix, type UnixOptions } from '../../src/transports/unix.js'
import { fails } from '../helpers/expect.js'
import { freshName, freshPath, place } from '../helpers/place.js'

const over = new TalkwireError('CONNECTION_LOST', 'the test is over')
const listen = (address: string, options?: UnixOptions, accepted: LocalEnd[] = []): Promise<Listener> =>
  unix.listen!(
    address,
    (connection) => {
      const end = new LocalEnd().accepted(connection)
      accepted.push(end)
      return end
    },
    options,
  )

/** Connects, has a message taken, and ends. */
async function works(address: string): Promise<Peer> {
  const end = new LocalEnd()
  end.connection = await unix.connect!(address, end)
  const { peer } = end.connection
  end.send(Buffer.from('{}'))
  await end.do({ do: 'close' })
  assert.equal(await end.ending(), null)
  return peer
}

/** Turns until something is so. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turns()
}

/** A process that listens with nothing but `net`, as any other program would. */
async function stranger(path: string): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    ['-e', 'require("net").createServer(() => {}).listen(process.argv[1], () => console.log("listening"))', path],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  await soon(once(child.stdout!, 'data'), 'the other process listens')
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

test('unix: the socket of an owner that was killed is taken over, 20 times', async () => {
  const path = freshPath('.sock')
  for (let round = 0; round < 20; round++) {
    if (round % 5 === 0) await kill(await stranger(path))
    else {
      const { promise, child } = await farOwner(`unix:${path}`)
      await promise
      await kill(child)
    }
    assert.ok(lstatSync(path).isSocket(), 'the dead owner left its socket')
    const listener = await listen(`unix:${path}`)
    await works(`unix:${path}`)
    await listener.close()
  }
})

/** A process that listens with our own transport. */
async function farOwner(address: string): Promise<{ promise: Promise<void>; child: ChildProcess }> {
  const program = `import { unix } from ${JSON.stringify(new URL('../../src/transports/unix.js', import.meta.url).href)}
    await unix.listen(process.argv[1], () => ({ message() {}, value() {}, drained() {}, closed() {} })); console.log('listening')`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, address], { stdio: ['ignore', 'pipe', 'inherit'] })
  return { child, promise: soon(once(child.stdout!, 'data'), 'the owner listens').then(() => {}) }
}

test('unix: the socket of a living owner is never taken, whoever it is', async () => {
  const path = freshPath('.sock')
  const child = await stranger(path)
  const { ino } = lstatSync(path)
  await assert.rejects(listen(`unix:${path}`), fails('ADDRESS_IN_USE'))
  assert.equal(lstatSync(path).ino, ino)
  const open = (): number => readdirSync('/proc/self/fd').length
  const before = open()
  for (let count = 0; count < 10; count++) await assert.rejects(listen(`unix:${path}`), fails('ADDRESS_IN_USE'))
  await soon(
    until(() => open() <= before),
    () => `${open() - before} descriptors to be closed`,
  )
  await kill(child)

  const { promise, child: owner } = await farOwner(`unix:${path}`)
  await promise
  await assert.rejects(listen(`unix:${path}`), fails('ADDRESS_IN_USE'))
  await works(`unix:${path}`)
  await kill(owner)
})

test('unix: an owner that is stopped, or whose backlog is full, is alive', async () => {
  const path = freshPath('.sock')
  const child = await stranger(path)
  child.kill('SIGSTOP')
  const { ino } = lstatSync(path)
  const waiting = Array.from({ length: 600 }, () => net.connect(path).on('error', () => {}))
  await turns()
  await assert.rejects(listen(`unix:${path}`), fails('ADDRESS_IN_USE'))
  assert.equal(lstatSync(path).ino, ino)
  for (const socket of waiting) socket.destroy()
  child.kill('SIGCONT')
  await kill(child)
})

test('unix: what is no socket stays as it is (threats 8, 9)', async () => {
  const victim = freshPath('.txt')
  writeFileSync(victim, 'precious')
  const file = freshPath('.sock')
  writeFileSync(file, 'content')
  const fifo = freshPath('.sock')
  execFileSync('mkfifo', [fifo])
  const directory = freshPath('.sock')
  mkdirSync(directory)
  const symlink = freshPath('.sock')
  symlinkSync(victim, symlink)
  const dangling = freshPath('.sock')
  symlinkSync(freshPath('.absent'), dangling)
  const hardlink = freshPath('.sock')
  linkSync(victim, hardlink)
  const toSocket = freshPath('.sock')
  const real = freshPath('.sock')
  await kill(await stranger(real))
  symlinkSync(real, toSocket)
  for (const path of [file, fifo, directory, symlink, dangling, hardlink, toSocket]) {
    const before = lstatSync(path)
    await assert.rejects(listen(`unix:${path}`), fails('ADDRESS_IN_USE'), path)
    const after = lstatSync(path)
    assert.deepEqual([after.ino, after.mode, after.size, after.mtimeMs], [before.ino, before.mode, before.size, before.mtimeMs])
  }
  assert.equal(readFileSync(file, 'utf8'), 'content')
  assert.equal(readFileSync(victim, 'utf8'), 'precious')
  assert.equal(readlinkSync(dangling).endsWith('.absent'), true)
  assert.ok(lstatSync(real).isSocket())
})

test('unix: connecting to what is no socket is a typed error', async () => {
  const file = freshPath('.sock')
  writeFileSync(file, '')
  for (const path of [file, place])
    await assert.rejects(unix.connect!(`unix:${path}`, new LocalEnd()), (reason) => reason instanceof TalkwireError)
})

test('unix: a path of more than 107 bytes is refused both ways, and is not cut (threat 7)', async () => {
  const stem = join(place, 'x'.repeat(107 - Buffer.byteLength(place) - 1))
  assert.equal(Buffer.byteLength(stem), 107)
  const listener = await listen(`unix:${stem}`)
  await works(`unix:${stem}`)
  for (const path of [`${stem}y`, `${stem}yy1`, `${stem}yy2`, `${stem}${'z'.repeat(5000)}`, `${stem.slice(0, -1)}ä`]) {
    await assert.rejects(listen(`unix:${path}`), fails('INVALID_ADDRESS'))
    await assert.rejects(unix.connect!(`unix:${path}`, new LocalEnd()), fails('INVALID_ADDRESS'))
  }
  await listener.close()
})

test('unix: names that would leave their folder, or are no names, are refused (threat 25)', async () => {
  const bad = [
    '../x',
    'a/b',
    '.',
    '..',
    '.hidden',
    '-x',
    '',
    ' ',
    'a b',
    'a\0b',
    'a\r\nb',
    'a\n',
    'ä',
    '\u202e',
    'x'.repeat(65),
    'x'.repeat(255),
    'x'.repeat(300),
    'x.sock',
    'x.json',
    'x.lock',
    '%2e%2e',
    '~',
    '$HOME',
    '*',
    "'",
    '"',
  ]
  for (const name of bad) {
    for (const address of [`unix:${name}`, `unix:@${name}`]) {
      assert.throws(() => socketPath(address), fails('INVALID_ADDRESS'), JSON.stringify(address))
      await assert.rejects(listen(address), fails('INVALID_ADDRESS'))
      await assert.rejects(unix.connect!(address, new LocalEnd()), fails('INVALID_ADDRESS'))
    }
  }
  for (const path of ['/tmp/a\0b', '/tmp/a\nb', '/tmp/a\r\nb']) await assert.rejects(listen(`unix:${path}`), fails('INVALID_ADDRESS'))
})

test('unix: a socket in a folder that does not exist', async () => {
  await assert.rejects(listen(`unix:${place}/absent/x.sock`), fails('INVALID_ADDRESS'))
  await assert.rejects(unix.connect!(`unix:${place}/absent/x.sock`, new LocalEnd()), fails('PEER_NOT_FOUND'))
})

test("unix: the socket is its owner's alone, whatever the umask (threat 5)", async () => {
  const mask = process.umask(0)
  try {
    for (const address of [`unix:${freshPath('.sock')}`, `unix:${freshName()}`]) {
      const listener = await listen(address)
      assert.equal(statSync(socketPath(address)).mode & 0o777, 0o600)
      assert.equal(process.umask(), 0)
      await listener.close()
    }
  } finally {
    process.umask(mask)
  }
})

const CONNECT = `require("net").connect(process.argv[1]).on("connect", function () { this.write("{}\\n") }).on("data", () => {}).on("close", () => { console.log("closed"); process.exit() })
  .on("error", (reason) => { console.log(reason.code); process.exit() })`

if (process.getuid?.() === 0 && spawnSync('setpriv', ['--version']).status === 0) {
  test("unix: another user is refused by the file's mode, and by who it is (threats 5, 6)", async () => {
    chmodSync(place, 0o755)
    const seen: LocalEnd[] = []
    const listener = await listen(`unix:${freshPath('.sock')}`, {}, seen)
    const path = socketPath(listener.address)
    assert.equal(await runAside(path), 'EACCES')
    // Somebody opens the socket to all: the kernel's word on the peer still holds.
    chmodSync(path, 0o777)
    assert.match(await runAside(path), /^(closed|ECONNRESET|EPIPE)$/)
    const abstract = await listen(`unix:@${freshName()}`, {}, seen)
    assert.match(await runAside(socketPath(abstract.address)), /^(closed|ECONNRESET|EPIPE)$/)
    assert.equal(seen.length, 0, 'a stranger reached accept()')
    const asked: Peer[] = []
    const open = await listen(
      `unix:@${freshName()}`,
      {
        allow: (peer) => {
          asked.push(peer)
          return true
        },
      },
      seen,
    )
    const outcome = runAside(socketPath(open.address))
    await soon(
      (async () => {
        while (seen.length === 0) await turns()
      })(),
      'the other user is accepted',
    )
    assert.deepEqual(
      asked.map(({ uid, gid }) => [uid, gid]),
      [[65534, 65534]],
    )
    seen[0]!.connection.abort(over)
    assert.match(await outcome, /^(closed|ECONNRESET|EPIPE)$/)
    for (const each of [listener, abstract, open]) await each.close()
    for (const end of seen) end.connection.abort(over)
    chmodSync(place, 0o700)
  })
}

/** What happens to a process of another user that connects; only root can try. */
async function runAside(path: string): Promise<string> {
  const script = path.startsWith('\0') ? CONNECT.replace('process.argv[1]', JSON.stringify(path)) : CONNECT
  const child = spawn(
    'setpriv',
    ['--reuid', '65534', '--regid', '65534', '--clear-groups', process.execPath, '-e', script, path.replace('\0', '@')],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  await soon(once(child, 'close'), 'the other user is told')
  return text.trim()
}

test('unix: `allow` decides before the first byte', async () => {
  const seen: LocalEnd[] = []
  const peers: Peer[] = []
  const listener = await listen(
    `unix:${freshPath('.sock')}`,
    {
      allow: (peer) => {
        peers.push(peer)
        return false
      },
    },
    seen,
  )
  const end = new LocalEnd()
  end.connection = await unix.connect!(listener.address, end)
  await end.ending()
  assert.equal(seen.length, 0)
  assert.deepEqual(
    peers.map(({ pid, uid, gid }) => [pid, uid, gid]),
    [[process.pid, process.getuid!(), process.getgid!()]],
  )
  await listener.close()
})

test('unix: two paths to one socket are one claim', async () => {
  const folder = freshPath()
  mkdirSync(folder)
  const alias = freshPath()
  symlinkSync(folder, alias)
  const listener = await listen(`unix:${folder}/a.sock`)
  await assert.rejects(listen(`unix:${alias}/a.sock`), fails('ADDRESS_IN_USE'))
  await works(`unix:${alias}/a.sock`)
  await listener.close()
  await (await listen(`unix:${alias}/a.sock`)).close()
})

test('unix: a refused listen() leaves the name free', async () => {
  const file = freshPath('.sock')
  writeFileSync(file, '')
  await assert.rejects(listen(`unix:${file}`), fails('ADDRESS_IN_USE'))
  execFileSync('rm', [file])
  await (await listen(`unix:${file}`)).close()
})

// ── socket activation ────────────────────────────────────────────────────────────────────────────

/** A service manager: binds, passes the socket as descriptor 3, and says so with the pid of what it becomes. */
const MANAGER = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8)
spare = os.open(os.devnull, os.O_RDONLY)
os.dup2(s.fileno(), 3 + int(sys.argv[2])); os.set_inheritable(3 + int(sys.argv[2]), True)
if sys.argv[2] == '1': os.dup2(spare, 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(1 + int(sys.argv[2])), LISTEN_FDNAMES=sys.argv[3])
os.execvp(sys.argv[4], sys.argv[4:])
`

async function activated(index: number, names: string, address: string, path: string): Promise<ChildProcess> {
  const program = `import { unix } from ${JSON.stringify(new URL('../../src/transports/unix.js', import.meta.url).href)}
    const listener = await unix.listen(process.argv[1], () => ({ message() {}, value() {}, drained() {}, closed() {} })); console.log(listener.address)
    process.stdin.on('data', () => listener.close().then(() => console.log('released'))).unref()`
  const child = spawn(
    process.env['TALKWIRE_PYTHON'] ?? 'python3',
    ['-c', MANAGER, path, String(index), names, process.execPath, '--input-type=module', '-e', program, address],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  )
  await soon(once(child.stdout!, 'data'), 'the service listens')
  return child
}

test('unix: a socket that the service manager opened is served, by its place or its name', async () => {
  for (const [index, names, address] of [
    [0, 'any', 'unix:'],
    [0, 'bank.control', 'unix:bank.control'],
    [1, 'other:bank', 'unix:bank'],
  ] as const) {
    const path = freshPath('.sock')
    const child = await activated(index, names, address, path)
    assert.equal((await works(`unix:${path}`)).pid !== process.pid, true)
    const { ino } = lstatSync(path)
    child.stdin!.write('x')
    await soon(once(child.stdout!, 'data'), 'the service lets go')
    assert.equal(lstatSync(path).ino, ino, 'the socket belongs to the manager')
    await kill(child)
  }
})

test('unix: LISTEN_FDS of another process, or of another name, is not ours', async () => {
  const saved = { ...process.env }
  try {
    Object.assign(process.env, { LISTEN_PID: '1', LISTEN_FDS: '1', LISTEN_FDNAMES: 'x' })
    await (await listen('unix:x')).close()
    Object.assign(process.env, { LISTEN_PID: String(process.pid), LISTEN_FDNAMES: 'y' })
    await (await listen('unix:x')).close()
    Object.assign(process.env, { LISTEN_FDS: '0', LISTEN_FDNAMES: 'x' })
    await (await listen('unix:x')).close()
  } finally {
    process.env = saved
  }
})

test('unix: connections of the accepting side count before it has seen a byte', async () => {
  const seen: LocalEnd[] = []
  const listener = await listen(`unix:${freshPath('.sock')}`, {}, seen)
  const sockets = Array.from({ length: 50 }, () => net.connect(socketPath(listener.address)).on('error', () => {}))
  await soon(
    (async () => {
      while (seen.length < 50) await turns()
    })(),
    () => `${seen.length} of 50 accepted`,
  )
  for (const socket of sockets) socket.destroy()
  for (const end of seen) await end.ending()
  await listener.close()
})

// ── what every transport promises ────────────────────────────────────────────────────────────────

testTransport({ test, transport: unix, address: () => `unix:${freshPath('.sock')}` })
// The two other kinds of address differ only in how the socket is found: both ends here will do.
const hereOnly = { ...unix.traits, crossProcess: false }
testTransport({ test, transport: { ...unix, scheme: 'unix by name', traits: hereOnly }, address: () => `unix:${freshName()}` })
testTransport({ test, transport: { ...unix, scheme: 'unix abstract', traits: hereOnly }, address: () => `unix:@${freshName()}` })
