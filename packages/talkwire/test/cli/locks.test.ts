/** `talkwire locks`: every lock with who holds it and who waits, and deadlocks with their members. */
import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { listLocks, Mutex, RwLock, type LockList } from '../../src/sync/index.js'
import { MAY_BE_OTHERS, NOBODY_ID } from '../helpers/other-user.js'
import { freshName, freshPath, place } from '../helpers/place.js'
import { startKeeper, type Holder } from '../sync/holders.js'
import '../sync/tidy.js'
import { lines, talkwire } from './program.js'

type Listed = LockList['locks'][number]
const asJson = async (...args: string[]): Promise<LockList> => JSON.parse((await talkwire(['locks', '--json', ...args])).stdout) as LockList
const keepers = (count: number): Promise<Holder[]> => Promise.all(Array.from({ length: count }, startKeeper))
const endAll = (all: readonly Holder[]): Promise<unknown> => Promise.all(all.map((each) => each.end()))
const brief = ({ kind, state, holders, waiters }: Listed): unknown[] => [
  kind,
  state,
  holders.map(({ pid }) => pid),
  waiters.map(({ pid }) => pid),
]

/** Asks one to take what others have; resolves when it is seen to wait. */
async function wants(keeper: Holder, command: string, name: string): Promise<void> {
  const waiting = (): number =>
    listLocks(name)
      .locks.flatMap(({ waiters }) => waiters)
      .filter(({ pid }) => pid === keeper.pid).length
  const before = waiting()
  keeper.tell(command).catch(() => {})
  while (waiting() === before) await delay(1)
}

test('every kind: state, holders with label and since, waiters; one by its name', async () => {
  const name = freshName()
  const [a, b, dead] = (await keepers(3)) as [Holder, Holder, Holder]
  const before = Date.now()
  await a.tell(`mutex ${name} sums`)
  await a.tell(`read ${name}`)
  await b.tell(`read ${name}`)
  await a.tell(`semaphore ${name} 3`)
  await a.tell(`event ${name}`)
  await a.tell(`once ${name}`)
  assert.equal(await a.tell(`barrier ${name} 1`), 'DEADLINE_EXCEEDED')
  await dead.tell(`mutex ${name}-dead`)
  await dead.kill()
  await wants(b, `mutex ${name}`, name)
  const { locks, deadlocks } = await asJson()
  assert.deepEqual(
    deadlocks.flat().filter(({ pid }) => pid === a.pid || pid === b.pid),
    [],
  )
  assert.deepEqual(locks.filter((lock) => lock.name === name).map(brief), [
    ['barrier', 'broken', [], []],
    ['event', 'set', [], []],
    ['mutex', 'held', [a.pid], [b.pid]],
    ['once', 'done', [], []],
    ['rwlock', 'held', [a.pid, b.pid], []],
    ['semaphore', 'held', [a.pid], []],
  ])
  assert.deepEqual(locks.filter((lock) => lock.name === `${name}-dead`).map(brief), [['mutex', 'abandoned', [dead.pid], []]])
  const mutex = locks.find((lock) => lock.kind === 'mutex' && lock.name === name)!
  assert.deepEqual([mutex.uid, mutex.holders[0]!.label, mutex.holders[0]!.alive], [process.getuid!(), 'sums', true])
  for (const party of [...mutex.holders, ...mutex.waiters]) {
    assert.match(party.command, /keeper\.js/)
    const since = new Date(party.since!).getTime()
    assert.ok(since >= before - 1 && since <= Date.now())
  }
  assert.equal(locks.find((lock) => lock.kind === 'semaphore' && lock.name === name)!.available, 2)

  const [head, ...rows] = lines((await talkwire(['locks', name])).stdout)
  assert.match(head!, /^LOCK +STATE +PID +SINCE +COMMAND$/)
  assert.equal(rows.length, 8)
  assert.match(
    rows.find((row) => row.startsWith('mutex'))!,
    new RegExp(`^mutex ${name} +held +holds +${a.pid} +[\\d-]+ [\\d:]+ +\\S*node .*keeper\\.js \\(sums\\)$`),
  )
  assert.match(rows[rows.findIndex((row) => row.startsWith('mutex')) + 1]!, new RegExp(`^ +waits +${b.pid} +[\\d-]+ [\\d:]+ +`))
  assert.match(
    rows.find((row) => row.startsWith('semaphore'))!,
    /held, 2 free/,
  )

  assert.ok(lines((await talkwire(['complete', '--', 'locks', name])).stdout).includes(name))
  const none = await talkwire(['locks', `${name}-none`])
  assert.deepEqual([none.code, none.stdout], [3, ''])
  assert.match(none.stderr, /\[NOT_FOUND\] there is no lock/)
  await b.kill()
  await a.end()
})

test('a deadlock of two mutexes: named, with what each holds and wants; whoever only waits for them is no member', async () => {
  const [one, two] = [freshName(), freshName()]
  const [a, b, c] = (await keepers(3)) as [Holder, Holder, Holder]
  await a.tell(`mutex ${one}`)
  await b.tell(`mutex ${two}`)
  await wants(a, `mutex ${two}`, two)
  await wants(c, `mutex ${one}`, one)
  assert.deepEqual((await asJson(one)).deadlocks, [], 'so far b can go on')
  await wants(b, `mutex ${one}`, one)
  const { deadlocks, locks } = await asJson(one)
  assert.equal(locks.length, 1)
  assert.equal(deadlocks.length, 1)
  const members = deadlocks[0]!.toSorted((x, y) => x.pid - y.pid)
  assert.deepEqual(
    members.map(({ pid, holds, wants: wanted }) => [pid, holds, wanted]),
    [
      [a.pid, `mutex ${one}`, `mutex ${two}`],
      [b.pid, `mutex ${two}`, `mutex ${one}`],
    ].toSorted((x, y) => Number(x[0]) - Number(y[0])),
  )
  assert.ok(members.every(({ command }) => /keeper\.js/.test(command)))
  const text = (await talkwire(['locks'])).stdout
  assert.match(text, new RegExp(`^deadlock: .*${a.pid} \\(\\S*node .*keeper\\.js\\) holds mutex ${one} and wants mutex ${two}`, 'm'))
  await b.kill()
  await endAll([a, c])
})

test('a deadlock over a file, a semaphore and a read-write lock', async () => {
  const [name, path] = [freshName(), freshPath('.lock')]
  const [a, b, c] = (await keepers(3)) as [Holder, Holder, Holder]
  await a.tell(`flock ${path}`)
  await b.tell(`semaphore ${name} 2`)
  await c.tell(`read ${name}`)
  const [spare] = (await keepers(1)) as [Holder]
  await spare.tell(`semaphore ${name} 2`)
  await wants(a, `semaphore ${name} 2`, name)
  await wants(b, `write ${name}`, name)
  await wants(c, `flock ${path}`, path)
  assert.deepEqual(listLocks(name).deadlocks, [], 'the other permit may come back')
  await wants(spare, `flock ${path}`, path)
  const [members] = listLocks(path).deadlocks
  assert.deepEqual(new Set(members!.map(({ pid }) => pid)), new Set([a.pid, b.pid, c.pid]))
  assert.deepEqual(new Set(members!.map(({ wants: wanted }) => wanted)), new Set([`semaphore ${name}`, `rwlock ${name}`, `flock ${path}`]))
  await c.kill()
  await spare.kill()
  await endAll([b, a])
})

test('a deadlock of one who upgrades with a reader', async () => {
  const name = freshName()
  const [a, b] = (await keepers(2)) as [Holder, Holder]
  await b.tell(`mutex ${name}`)
  await b.tell(`read ${name}`)
  await a.tell(`upgradable ${name}`)
  await wants(a, 'upgrade', name)
  assert.deepEqual(listLocks(name).deadlocks, [])
  // It has the writer's word by now, and waits for the reader.
  await wants(b, `write ${name}`, name)
  const [members] = listLocks(name).deadlocks
  assert.deepEqual(new Set(members!.map(({ pid }) => pid)), new Set([a.pid, b.pid]))
  await b.kill()
  await a.end()
})

test('files by their path: locked by the kernel, lock files, free; those that are called locks without', async () => {
  const [kernel, file, plain] = [freshPath('.lock'), freshPath('.lock'), freshPath('.txt')]
  const keeper = await startKeeper()
  await keeper.tell(`flock ${kernel}`)
  await keeper.tell(`lock-file ${file}`)
  await keeper.tell(`flock ${plain}`)
  const paths = (list: LockList): string[] => list.locks.map((lock) => lock.name)
  const all = listLocks()
  assert.deepEqual(
    [kernel, plain].map((path) => paths(all).includes(path)),
    [true, false],
  )
  const seen = (path: string): unknown[] => listLocks(path).locks.map(brief).flat()
  assert.deepEqual(seen(kernel), ['flock', 'held', [keeper.pid], []])
  assert.deepEqual(seen(plain), ['flock', 'held', [keeper.pid], []])
  assert.deepEqual(seen(file), ['lock-file', 'held', [keeper.pid], []])
  assert.ok(listLocks(file).locks[0]!.holders[0]!.since)
  await keeper.kill()
  assert.deepEqual(seen(kernel), ['flock', 'free', [], []])
  assert.deepEqual(seen(file), ['lock-file', 'abandoned', [keeper.pid], []])
  assert.deepEqual(listLocks(freshPath('.lock')).locks, [])
})

test('what is none of ours is left out; what is ours moves no cursor', async () => {
  const prefix = `/dev/shm/talkwire-${process.getuid!()}`
  const [small, wrong, link, other] = [freshName(), freshName(), freshName(), freshName()]
  const left = [`${prefix}-mutex-${small}`, `${prefix}-mutex-${wrong}`, `${prefix}-mutex-${link}`, `${prefix}-thing-${other}`]
  const name = freshName()
  const mutex = new Mutex(name, { label: '\u001b[2J' })
  const held = mutex.acquireSync()
  try {
    writeFileSync(left[0]!, 'x')
    writeFileSync(left[1]!, Buffer.alloc(1024, 255))
    symlinkSync(`${prefix}-mutex-${name}`, left[2]!)
    writeFileSync(left[3]!, Buffer.alloc(1024))
    const names = listLocks().locks.map((lock) => lock.name)
    assert.deepEqual(
      [small, wrong, link, other, name].filter((each) => names.includes(each)),
      [name],
    )
    const { stdout } = await talkwire(['locks', name])
    assert.match(stdout, /\(\\u001b\[2J\)/)
    assert.ok(!stdout.includes('\u001b'))
  } finally {
    for (const path of left) rmSync(path, { force: true })
    held.release()
  }
})

test('a reader who died is no holder any more', async () => {
  const name = freshName()
  const lock = new RwLock(name)
  const keeper = await startKeeper()
  await keeper.tell(`read ${name}`)
  await keeper.kill()
  assert.deepEqual(listLocks(name).locks.map(brief), [['rwlock', 'free', [], []]])
  lock.acquireWriteSync().release()
})

if (MAY_BE_OTHERS)
  test('locks of other users are told of, with what may be read of them', async () => {
    const name = freshName()
    const mutex = new Mutex(name)
    const held = mutex.acquireSync()
    const runtime = freshPath()
    mkdirSync(runtime, { mode: 0o700 })
    chownSync(runtime, NOBODY_ID, NOBODY_ID)
    chmodSync(place, 0o755)
    const keeper = await startKeeper()
    await keeper.tell(`nobody ${runtime}`)
    const { locks } = JSON.parse(await keeper.tell(`list ${name}`)) as LockList
    assert.deepEqual(
      locks.map((lock) => [...brief(lock), lock.uid]),
      [['mutex', 'unknown', [], [], process.getuid!()]],
    )
    await keeper.tell(`mutex ${name}`)
    const both = (await asJson(name)).locks.map((lock) => [...brief(lock), lock.uid])
    assert.deepEqual(
      new Set(both.map((each) => JSON.stringify(each))),
      new Set([
        JSON.stringify(['mutex', 'held', [process.pid], [], process.getuid!()]),
        JSON.stringify(['mutex', 'held', [keeper.pid], [], NOBODY_ID]),
      ]),
    )
    assert.match((await talkwire(['locks', name])).stdout, new RegExp(`^mutex ${name} \\(user ${NOBODY_ID}\\) `, 'm'))
    await keeper.tell('release')
    await keeper.end()
    held.release()
  })
