/** Rows 7, 8, 9, 25: what names may be, and what somebody may have put where we make files. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import net from 'node:net'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { find, list } from '../../src/discovery/names.js'
import { connect, contract, rpc, serve, TalkwireError } from '../../src/index.js'
import { freshName, freshPath, place } from '../helpers/place.js'
import { fails, until } from '../session/harness.js'
import { fixture } from '../session/processes.js'

const runtime = process.env['TALKWIRE_RUNTIME_DIR']!
mkdirSync(runtime, { mode: 0o700, recursive: true })
const functions = { add: (a: number, b: number): number => a + b }

const bad = [
  '../bank',
  '..',
  '.',
  'a/b',
  '/etc/passwd',
  'a\\b',
  'bank\0',
  'ba\0nk',
  'bank\r\nSet-Cookie: x',
  'bank\n',
  '\n',
  '',
  ' ',
  'bank ',
  'ba nk',
  '-bank',
  '_bank',
  '.bank',
  'x'.repeat(65),
  'x'.repeat(255),
  'x'.repeat(300),
  'x'.repeat(100_000),
  'bänk',
  'ｂａｎｋ',
  'bank\u202e',
  '🏦',
  'bank.json',
  'bank.sock',
  'bank.lock',
  'bank;rm -rf',
  '$(id)',
  '%2e%2e%2f',
  'bank:1',
  '@bank',
]

const typed = (error: unknown): boolean => {
  assert.ok(
    error instanceof TypeError || (error instanceof TalkwireError && ['INVALID_ADDRESS', 'PEER_NOT_FOUND'].includes(error.code)),
    String(error),
  )
  return true
}

test('row 25: names with ../, NUL, CRLF, 255 bytes and more, unicode: refused wherever a name becomes a file, a socket or a message', async () => {
  const files = (): string[] => readdirSync(place, { recursive: true }).map(String).sort()
  const before = files()
  for (const name of bad) {
    await assert.rejects(async () => serve(name, functions), typed, `serve ${JSON.stringify(name.slice(0, 40))}`)
    await assert.rejects(async () => connect(`unix:@${name}`, { reconnect: false }), typed)
    await assert.rejects(async () => serve('fine', functions, { listen: `unix:@${name}` }), typed)
    assert.throws(() => find(name), typed)
    if (name === '@bank') continue
    if (!name.startsWith('/')) {
      await assert.rejects(async () => connect(name, { reconnect: false }), typed, `connect ${JSON.stringify(name.slice(0, 40))}`)
      await assert.rejects(async () => serve('fine', functions, { listen: `unix:${name}` }), typed, name)
      await assert.rejects(async () => connect(`unix:${name}`, { reconnect: false }), typed)
    }
    await assert.rejects(
      async () => connect(`tcp://${name}:1`, { reconnect: false, limits: { handshake: 2000 } }),
      typed,
      `tcp ${JSON.stringify(name.slice(0, 40))}`,
    )
    assert.throws(() => contract(`${name}/1`, { a: rpc() }), TypeError, `contract ${JSON.stringify(name.slice(0, 40))}`)
  }
  assert.deepEqual(files(), before, 'no file was made')
})

test('row 25: ports and hosts that are none', async () => {
  for (const rest of [
    '127.0.0.1',
    '127.0.0.1:',
    '127.0.0.1:x',
    '127.0.0.1:65536',
    '127.0.0.1:-1',
    '127.0.0.1:1e3',
    ':7000',
    '[::1:7000',
    'user@127.0.0.1:7000',
    '127.0.0.1:7000/path',
    '127.0.0.1:7000?x=1',
    '127.0.0.1:7000#x',
    '127.0.0.1 :7000',
    '127.0.0.1:7000\r\nHost: x',
  ]) {
    await assert.rejects(connect(`tcp://${rest}`, { reconnect: false }), fails('INVALID_ADDRESS'), rest)
    await assert.rejects(async () => serve('fine', functions, { listen: `tcp://${rest}` }), fails('INVALID_ADDRESS'), rest)
  }
})

test('row 7: two paths that are equal in their first 108 bytes are both refused, to listen and to connect', async () => {
  const long = join(place, 'x'.repeat(120 - place.length))
  for (const path of [`${long}a`, `${long}b`]) {
    await assert.rejects(async () => serve('long', functions, { listen: `unix:${path}` }), fails('INVALID_ADDRESS'))
    await assert.rejects(connect(`unix:${path}`, { reconnect: false }), fails('INVALID_ADDRESS'))
  }
  assert.ok(!existsSync(long.slice(0, 108)))
})

// ── row 8 ────────────────────────────────────────────────────────────────────────────────────────

/** Somebody else's file: must be as it was, whatever we do. */
function treasure(): { path: string; intact(): void } {
  const path = freshPath('.treasure')
  writeFileSync(path, 'precious', { mode: 0o644 })
  const { ino, mtimeMs, mode } = statSync(path)
  return {
    path,
    intact() {
      const now = statSync(path)
      assert.deepEqual([readFileSync(path, 'utf8'), now.ino, now.mtimeMs, now.mode], ['precious', ino, mtimeMs, mode])
    },
  }
}

const traps: Record<string, (at: string, target: string) => void> = {
  'a symbolic link to a file': (at, target) => symlinkSync(target, at),
  'a symbolic link to nothing': (at) => symlinkSync(`${at}.nowhere`, at),
  'a symbolic link to /dev/zero': (at) => symlinkSync('/dev/zero', at),
  'a FIFO': (at) => void spawnSync('mkfifo', [at]),
  'a directory': (at) => mkdirSync(at),
  'a hard link': (at, target) => linkSync(target, at),
  'a file of another user': (at) => {
    writeFileSync(at, 'precious', { mode: 0o600 })
    chownSync(at, 65534, 65534)
  },
}

for (const [what, plant] of Object.entries(traps)) {
  test(`row 8: ${what} where the socket of a name, or of a path, will be: a typed error, nothing written, it stays`, async () => {
    const name = freshName()
    for (const [path, address] of [
      [join(runtime, `${name}.sock`), `unix:${name}`],
      [freshPath('.sock'), ''],
    ] as const) {
      const gold = treasure()
      plant(path, gold.path)
      const { ino, mode } = lstatSync(path)
      await assert.rejects(async () => serve(name, functions, { listen: address || `unix:${path}` }), fails('ADDRESS_IN_USE'))
      await assert.rejects(connect(address || `unix:${path}`, { reconnect: false }), TalkwireError)
      assert.deepEqual([lstatSync(path).ino, lstatSync(path).mode], [ino, mode])
      assert.ok(!existsSync(`${path}.nowhere`))
      gold.intact()
      rmSync(path, { recursive: true })
    }
  })

  test(`row 8: ${what} where the entry of a name is, or will be: no wait, nothing written through it, others are not kept from their names`, async () => {
    const name = freshName()
    const gold = treasure()
    const path = join(runtime, `${name}.1.json`)
    plant(path, gold.path)
    const other = freshName()
    const service = await serve(other, functions)
    // Either the name can be had beside it, or the error is typed; never a wait, never a write.
    const own = await serve(name, functions).catch((error: unknown) => {
      assert.ok(error instanceof TalkwireError && ['PERMISSION_DENIED', 'ADDRESS_IN_USE'].includes(error.code), String(error))
      return undefined
    })
    assert.ok(list().some((entry) => entry.name === other))
    const client = await connect<typeof functions>(other)
    assert.equal(await client.add(2, 5), 7)
    gold.intact()
    await client.close()
    await own?.close()
    await service.close()
    rmSync(path, { recursive: true, force: true })
  })
}

test('row 8: a runtime directory that is a symbolic link, a file, open to others, or of another user is not used', async () => {
  const kinds: Record<string, (at: string) => void> = {
    'a link': (at) => symlinkSync(runtime, at),
    'a dangling link': (at) => symlinkSync(`${at}.nowhere`, at),
    'a file': (at) => writeFileSync(at, ''),
    'open to others': (at) => {
      mkdirSync(at)
      chmodSync(at, 0o755)
    },
    'of another user': (at) => {
      mkdirSync(at, { mode: 0o700 })
      chownSync(at, 65534, 65534)
    },
  }
  try {
    for (const [what, plant] of Object.entries(kinds)) {
      const directory = freshPath('.run')
      plant(directory)
      process.env['TALKWIRE_RUNTIME_DIR'] = directory
      await assert.rejects(async () => serve('bank', functions), fails('PERMISSION_DENIED'), what)
      await assert.rejects(connect('bank', { reconnect: false }), fails('PERMISSION_DENIED'), what)
      assert.ok(!existsSync(`${directory}.nowhere`))
    }
  } finally {
    process.env['TALKWIRE_RUNTIME_DIR'] = runtime
  }
})

test('row 8: a socket that somebody listens on, and one of a dead listener whose name is ours: the living keeps it, the dead one is replaced', async () => {
  const path = freshPath('.sock')
  const alive = net.createServer().listen(path)
  await new Promise((resolve) => alive.once('listening', resolve))
  await assert.rejects(async () => serve('x', functions, { listen: `unix:${path}` }), fails('ADDRESS_IN_USE'))
  assert.ok(lstatSync(path).isSocket(), basename(path))
  alive.close()
})

// ── row 9 ────────────────────────────────────────────────────────────────────────────────────────

test('row 9: 20 processes start the same name after kill -9 of its owner: one wins, 19 are connected to it; 2 rounds', async () => {
  const name = freshName()
  let owner = fixture(import.meta.url, 'contender.js', name)
  await owner.line('won')
  for (let round = 0; round < 2; round++) {
    await owner.kill()
    const contenders = Array.from({ length: 20 }, () => fixture(import.meta.url, 'contender.js', name))
    await until(() => contenders.every(({ lines, child }) => lines.length > 0 || child.exitCode !== null))
    const winners = contenders.filter(({ lines }) => lines[0] === 'won')
    assert.equal(winners.length, 1, contenders.map(({ lines }) => lines.join()).join(' | '))
    for (const each of contenders) if (each !== winners[0]) assert.equal(each.lines[0], `connected to ${winners[0]!.pid}`)
    for (const each of contenders) if (each !== winners[0]) await each.kill()
    owner = winners[0]!
  }
  await owner.kill()
})
