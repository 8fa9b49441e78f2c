/** Claims, entries and who counts as alive: spec/names.md. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ownIdentity, processStat } from '../../src/discovery/identity.js'
import { claim, find, list, runtimeDirectory, type Entry } from '../../src/discovery/names.js'
import { connect, serve } from '../../src/index.js'
import { fails } from '../helpers/expect.js'
import { freshName, freshPath } from '../helpers/place.js'
import { fixture, python, run, type Running } from '../session/processes.js'

const pythonFixture = (name: string, ...args: string[]): Running =>
  run(python, [fileURLToPath(new URL(`../../../test/discovery/fixtures/${name}`, import.meta.url)), ...args], {
    env: { PYTHONPATH: fileURLToPath(new URL('../../../../../clients/python', import.meta.url)) },
  })

/** Writes an entry that nobody else would. */
function forge(name: string, changes: Partial<Record<keyof Entry, unknown>>, number = 1): void {
  const entry = {
    talkwire: 1,
    name,
    state: 'serving',
    contract: null,
    hash: null,
    addresses: [`unix:${name}`],
    language: 'node',
    since: Date.now(),
    ...ownIdentity(),
    ...changes,
  }
  writeFileSync(join(runtimeDirectory(), `${name}.${number}.json`), JSON.stringify(entry), { mode: 0o600 })
}
const reasonOf = (name: string): string => {
  const found = find(name)
  return 'reason' in found ? found.reason : 'found'
}
const filesOf = (name: string): string[] =>
  readdirSync(runtimeDirectory()).filter((file) => file.startsWith(`${name}.`) || file.startsWith(`.${name}.`))

// ── claims ─────────────────────────────────────────────────────────────────────────────────────────

test('whoever races for a dead holder’s name in two languages: one wins, each round', async () => {
  const name = freshName()
  const racers = [
    ...Array.from({ length: 12 }, () => fixture(import.meta.url, 'racer.js')),
    ...Array.from({ length: 3 }, () => pythonFixture('racer.py')),
  ]
  await Promise.all(racers.map((racer) => racer.line('ready')))
  for (let round = 1; racers.length >= 12; round++) {
    const at = Date.now() + 100
    for (const racer of racers) racer.child.stdin!.write(`${name} ${at}\n`)
    await Promise.all(racers.map((racer) => poll(() => racer.lines[round] ?? (racer.child.exitCode === null ? undefined : 'ended'))))
    const winners = racers.filter((racer) => racer.lines[round] === 'won')
    assert.equal(winners.length, 1, `round ${round}`)
    assert.deepEqual(filesOf(name), [`${name}.${round}.json`])
    await winners[0]!.kill('SIGKILL')
    racers.splice(racers.indexOf(winners[0]!), 1)
  }
  await Promise.all(racers.map((racer) => racer.kill()))
})

test('a claim lasts until it is released; its number serves nobody else', () => {
  const name = freshName()
  const first = claim(name)
  assert.throws(() => claim(name), fails('ADDRESS_IN_USE'))
  assert.match(reasonOf(name), new RegExp(`^"${name}" is starting as process ${process.pid}$`))
  first.announce({ contract: 'bank/1', hash: 'f', addresses: ['unix:x'] })
  const found = find(name)
  assert.ok(!('reason' in found))
  assert.deepEqual([found.contract, found.addresses, found.pid], ['bank/1', ['unix:x'], process.pid])
  first.release()
  assert.match(reasonOf(name), /was closed/)
  assert.deepEqual(filesOf(name), [`${name}.1.json`], 'the file keeps the number')
  const second = claim(name)
  assert.deepEqual(filesOf(name), [`${name}.2.json`])
  second.release()
})

test('entries are for their owner only', () => {
  const name = freshName()
  const held = claim(name)
  const file = join(runtimeDirectory(), `${name}.1.json`)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  held.announce({ contract: null, hash: null, addresses: [] })
  assert.equal(statSync(file).mode & 0o777, 0o600)
  held.release()
  assert.equal(statSync(runtimeDirectory()).mode & 0o777, 0o700)
})

test('a service that was killed is invisible, and its name and socket are taken over', async () => {
  const name = freshName()
  const first = run(process.execPath, [fileURLToPath(new URL('fixtures/daemon.js', import.meta.url)), freshPath()], {
    env: { TALKWIRE_START: name },
  })
  await first.line('ready')
  assert.ok(list().some((entry) => entry.name === name && entry.pid === first.pid))
  await first.kill('SIGKILL')
  assert.ok(existsSync(join(runtimeDirectory(), `${name}.sock`)), 'it could not clean up')
  assert.ok(!list().some((entry) => entry.name === name))
  assert.equal(reasonOf(name), `"${name}" was announced by process ${first.pid}, which is dead`)
  await assert.rejects(connect(name), fails('PEER_NOT_FOUND'))
  await using service = await serve(name, { pid: () => process.pid })
  const client = await connect<{ pid(): number }>(name)
  assert.equal(await client.pid(), process.pid)
  await client.close()
  await service.close()
})

// ── who is alive ───────────────────────────────────────────────────────────────────────────────────

test('a pid that was given to somebody else is dead', () => {
  const name = freshName()
  forge(name, { start: '1' })
  assert.match(reasonOf(name), /is dead/)
  claim(name).release()
})

test('a zombie is dead', async () => {
  const name = freshName()
  // The shell becomes a program that never asks how its child ended.
  const parent = run('/bin/sh', ['-c', 'sleep 600 & echo $!; exec sleep 600'])
  const pid = Number(await parent.line(''))
  await poll(() => (readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n' ? true : undefined))
  process.kill(pid, 'SIGKILL')
  const { start } = await poll(() => {
    const stat = processStat(pid)
    return stat?.state === 'Z' ? stat : undefined
  })
  forge(name, { pid, start })
  assert.match(reasonOf(name), /is dead/)
  claim(name).release()
  await parent.kill()
})

test('before a restart of the machine is dead, another pid namespace counts as alive', () => {
  const [rebooted, foreign] = [freshName(), freshName()]
  forge(rebooted, { boot: '00000000-0000-0000-0000-000000000000' })
  assert.match(reasonOf(rebooted), /is dead/)
  claim(rebooted).release()
  forge(foreign, { pidns: 'pid:[1]', pid: 2 ** 30, start: '5' })
  assert.equal(reasonOf(foreign), 'found')
  assert.throws(() => claim(foreign), fails('ADDRESS_IN_USE'))
  const unknown = freshName()
  forge(unknown, { pidns: null, pid: 2 ** 30, start: '5' })
  assert.equal(reasonOf(unknown), 'found', 'whoever could not tell its namespace may be in another')
})

async function poll<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const found = look()
    if (found !== undefined) return found
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

// ── hostile files ──────────────────────────────────────────────────────────────────────────────────

test('files that are no entries are ignored, whatever they are', () => {
  const good = freshName()
  const held = claim(good)
  held.announce({ contract: null, hash: null, addresses: [] })
  const hostile = [
    '',
    '{',
    'null',
    '[]',
    '"x"',
    '{"__proto__":{"talkwire":1}}',
    '\0'.repeat(1000),
    '['.repeat(50_000),
    JSON.stringify({ talkwire: 1 }),
  ]
  const names = hostile.map((text) => {
    const name = freshName()
    writeFileSync(join(runtimeDirectory(), `${name}.1.json`), text)
    return name
  })
  for (const changes of [
    { pid: '1' },
    { pid: -1 },
    { pid: 1.5 },
    { addresses: 'unix:x' },
    { addresses: [1] },
    { addresses: Array(101).fill('unix:x') },
    { state: 'x' },
    { talkwire: 2 },
    { since: null },
    { boot: 5 },
    { name: '../x' },
    { name: 'other' },
    { language: {} },
  ]) {
    const name = freshName()
    forge(name, changes)
    names.push(name)
  }
  const special = (make: (path: string) => void): void => {
    const name = freshName()
    make(join(runtimeDirectory(), `${name}.1.json`))
    names.push(name)
  }
  special((path) => mkdirSync(path))
  special((path) => symlinkSync('/dev/zero', path))
  special((path) => assert.equal(spawnSync('mkfifo', [path]).status, 0))
  special((path) => {
    writeFileSync(path, '')
    truncateSync(path, 2 ** 33)
  })
  assert.deepEqual(
    list()
      .map((entry) => entry.name)
      .filter((name) => names.includes(name)),
    [],
  )
  assert.equal(reasonOf(good), 'found')
  for (const name of names) {
    assert.match(reasonOf(name), /nothing has announced/)
    if (statSync(join(runtimeDirectory(), `${name}.1.json`)).isDirectory()) continue
    const mine = claim(name)
    assert.deepEqual(filesOf(name), [`${name}.2.json`])
    mine.release()
  }
  assert.equal(({} as { talkwire?: unknown }).talkwire, undefined)
  held.release()
})

test('file names that are nearly those of entries', () => {
  const name = freshName()
  for (const ending of ['0.json', '01.json', '1.json.bak', '-1.json', '1e3.json', '9999999999999999.json', 'x.1.json'])
    writeFileSync(join(runtimeDirectory(), `${name}.${ending}`), '{}')
  const held = claim(name)
  held.announce({ contract: null, hash: null, addresses: [] })
  assert.equal(reasonOf(name), 'found')
  held.release()
  const last = freshName()
  writeFileSync(join(runtimeDirectory(), `${last}.999999999999999.json`), '{}')
  assert.throws(() => claim(last), fails('ADDRESS_IN_USE'))
})

test('names that would leave the directory are no names', () => {
  for (const name of ['', '.', '..', '../x', 'a/b', 'a\0b', '.hidden', 'x'.repeat(65), 'a.json', 'a.sock', 'a.lock', 'ä']) {
    assert.throws(() => claim(name), fails('INVALID_ADDRESS'), name)
    assert.throws(() => find(name), fails('INVALID_ADDRESS'), name)
  }
})

// ── the directory ──────────────────────────────────────────────────────────────────────────────────

function inDirectory(path: string, body: () => void): void {
  const before = process.env['TALKWIRE_RUNTIME_DIR']
  process.env['TALKWIRE_RUNTIME_DIR'] = path
  try {
    body()
  } finally {
    process.env['TALKWIRE_RUNTIME_DIR'] = before
  }
}
const refuses = (path: string, why: RegExp): void =>
  inDirectory(path, () => {
    for (const use of [() => find('x'), () => list(), () => claim('x')]) {
      assert.throws(use, fails('PERMISSION_DENIED'))
      assert.throws(use, why)
    }
  })

test('a runtime directory that others could have a hand in is not used', () => {
  const [open, link, file, target] = [freshPath(), freshPath(), freshPath(), freshPath()]
  mkdirSync(open, { mode: 0o700 })
  for (const mode of [0o755, 0o710, 0o701, 0o777]) {
    chmodSync(open, mode)
    refuses(open, /is open to others/)
  }
  mkdirSync(target, { mode: 0o700 })
  symlinkSync(target, link)
  refuses(link, /is not a directory/)
  writeFileSync(file, '')
  refuses(file, /is not a directory/)
  refuses(join(freshPath(), 'missing'), /cannot make the runtime directory/)
  assert.deepEqual(readdirSync(open), [])
  assert.deepEqual(readdirSync(target), [])
})

test('a runtime directory of another user is not used', () => {
  // Root can give one away; anybody else has root's.
  const path = process.getuid!() === 0 ? freshPath() : '/usr'
  if (path !== '/usr') {
    mkdirSync(path, { mode: 0o700 })
    chownSync(path, 65_534, 65_534)
  }
  refuses(path, /belongs to another user/)
  if (path !== '/usr') rmSync(path, { recursive: true })
})

test('it is made private, also under a careless umask', () => {
  const path = freshPath()
  const mask = process.umask(0)
  try {
    inDirectory(path, () => claim('x').release())
  } finally {
    process.umask(mask)
  }
  assert.equal(statSync(path).mode & 0o777, 0o700)
  assert.equal(statSync(join(path, 'x.1.json')).mode & 0o777, 0o600)
  assert.equal((JSON.parse(readFileSync(join(path, 'x.1.json'), 'utf8')) as Entry).state, 'released')
})
