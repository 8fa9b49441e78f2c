/** Locks that nobody uses any more are taken away, and nothing else; whoever opens one in that moment has one that counts. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { processStat } from '../../src/discovery/identity.js'
import { self } from '../../src/memory/owner.js'
import { cleanLock, idleLocks } from '../../src/sync/lock-clean.js'
import { bytesOf, kindWord, LONG, SLOT_LONG, waiterLong, WAITER_LONG, type Kind } from '../../src/sync/lock-layout.js'
import { Mutex, Semaphore } from '../../src/sync/index.js'
import { freshName } from '../helpers/place.js'
import { run } from '../session/processes.js'
import { startKeeper, type Holder } from './holders.js'
import './tidy.js'

const pathOf = (kind: Kind, name: string): string => `/dev/shm/talkwire-${process.getuid!()}-${kind}-${name}`
const looksIdle = (kind: Kind, name: string): boolean => idleLocks().some((lock) => lock.kind === kind && lock.name === name)

/** Whether it goes; looking says the same before. */
function goes(kind: Kind, name: string): boolean {
  const idle = looksIdle(kind, name)
  assert.equal(cleanLock({ kind, name }), idle)
  assert.equal(existsSync(pathOf(kind, name)), !idle)
  return idle
}

/** Leaves what one was told to take and was killed with. */
async function killedWith(...commands: string[]): Promise<void> {
  const keeper = await startKeeper()
  for (const command of commands) await keeper.tell(command)
  await keeper.kill()
}

async function untilStopped(keeper: Holder): Promise<void> {
  while (processStat(keeper.pid)?.state !== 'T') await delay(1)
}

test('what crashed processes left and says nothing goes', async () => {
  const name = freshName()
  await killedWith(
    `mutex ${name}`,
    'release',
    `semaphore ${name} 2`,
    `read ${name}`,
    `condition ${name}`,
    `unset ${name}`,
    `barrier ${name} 1`,
  )
  for (const kind of ['mutex', 'semaphore', 'rwlock', 'condition', 'event', 'barrier'] as const) assert.ok(goes(kind, name), kind)
  assert.equal(cleanLock({ kind: 'mutex', name }), false, 'it is gone')
})

test('what is still told to somebody stays', async () => {
  const name = freshName()
  await killedWith(`event ${name}`, `once ${name}`, `mutex ${name}`)
  const signals = new Semaphore(name, { permits: 1, signalling: true })
  signals.post()
  for (const kind of ['event', 'once', 'mutex', 'semaphore'] as const) assert.equal(goes(kind, name), false, kind)
})

test('what somebody has, waits for, or only has open stays, and goes with the last one', async () => {
  const name = freshName()
  const [a, b] = (await Promise.all([startKeeper(), startKeeper()])) as [Holder, Holder]
  await a.tell(`mutex ${name}`)
  await b.tell(`open ${name}`)
  assert.equal(goes('mutex', name), false, 'held')
  await a.tell('release')
  await a.kill()
  assert.equal(goes('mutex', name), false, 'open')
  // Between opening it and mapping it, this is all that one has of it.
  const opening = run('flock', ['--shared', pathOf('mutex', name), 'sh', '-c', 'echo locked; exec cat'])
  await opening.line('locked')
  await b.kill()
  assert.equal(cleanLock({ kind: 'mutex', name }), false)
  opening.child.stdin!.end()
  await once(opening.child, 'exit')
  assert.equal(goes('mutex', name), true)
})

test('words of the living count also where nobody has the lock of the file; what is half made goes; what is none of ours stays', () => {
  const file = (kind: Kind, change: (long: BigInt64Array, word: Int32Array) => void): string => {
    const name = freshName()
    const long = new BigInt64Array(bytesOf(kind) / 8)
    const word = new Int32Array(long.buffer)
    word[0] = kindWord(kind)
    change(long, word)
    writeFileSync(pathOf(kind, name), Buffer.from(long.buffer), { mode: 0o600 })
    return name
  }
  const held = file('mutex', (long) => (long[LONG.owner] = self()))
  const waited = file('mutex', (long, word) => {
    long[waiterLong(3) + WAITER_LONG.who] = self()
    word[24 + 8 * 3 + 2] = 1
  })
  const permit = file('semaphore', (long) => (long[SLOT_LONG] = self()))
  const reader = file('rwlock', (long) => (long[SLOT_LONG + 127] = self()))
  assert.deepEqual(
    [goes('mutex', held), goes('mutex', waited), goes('semaphore', permit), goes('rwlock', reader)],
    [false, false, false, false],
  )
  assert.equal(
    goes(
      'mutex',
      file('mutex', () => {}),
    ),
    true,
  )
  assert.equal(
    goes(
      'mutex',
      file('mutex', (_, word) => (word[0] = 0)),
    ),
    true,
  )
  assert.equal(
    goes(
      'mutex',
      file('mutex', (_, word) => (word[0] = 7)),
    ),
    false,
  )
})

test('it goes while somebody is about to open it: that one has a new one, under the name', async () => {
  const name = freshName()
  await killedWith(`open ${name}`)
  const opener = await startKeeper()
  await opener.tell('stopBefore 1')
  const taking = opener.tell(`mutex ${name}`)
  await untilStopped(opener)
  assert.equal(cleanLock({ kind: 'mutex', name }), true)
  process.kill(opener.pid, 'SIGCONT')
  assert.equal(await taking, 'taken')
  assert.equal(new Mutex(name).inspect().holder?.pid, opener.pid)
  await opener.kill()
})

test('it is opened while somebody is about to take it away: there is one under the name, for all', async () => {
  const name = freshName()
  await killedWith(`open ${name}`)
  const [cleaner, opener] = (await Promise.all([startKeeper(), startKeeper()])) as [Holder, Holder]
  await cleaner.tell('stopBefore 1')
  const cleaning = cleaner.tell(`clean mutex ${name}`)
  await untilStopped(cleaner)
  const taking = opener.tell(`mutex ${name}`)
  process.kill(cleaner.pid, 'SIGCONT')
  assert.deepEqual([await cleaning, await taking], ['true', 'taken'])
  assert.equal(new Mutex(name).inspect().holder?.pid, opener.pid)
  await Promise.all([opener.kill(), cleaner.end()])
})
