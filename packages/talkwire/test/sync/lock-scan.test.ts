/** Locks in shared memory of one's own are listed, and nothing else that stands there. */
import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import { closeSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { SharedArray, SharedMemory } from '../../src/memory/index.js'
import { Barrier, Condition, Event, listLocks, Mutex, Once, RwLock, Semaphore } from '../../src/sync/index.js'
import { kindWord, LABEL, WAITER, waiterWord, WORD } from '../../src/sync/lock-layout.js'
import { talkwire } from '../cli/program.js'
import { freshName } from '../helpers/place.js'
import { startKeeper, type Holder } from './holders.js'
import './tidy.js'

const brief = (memory: string): unknown[][] =>
  listLocks(memory).locks.map(({ kind, name, state, holders, waiters }) => [
    `${kind} ${name}`,
    state,
    holders.map(({ pid }) => pid),
    waiters.map(({ pid }) => pid),
  ])

/** Under a name that is gone afterwards. */
function withMemory(bytes: number, body: (memory: SharedMemory, name: string) => Promise<void> | void) {
  return async (): Promise<void> => {
    const name = freshName()
    const memory = SharedMemory.create(name, bytes)
    try {
      await body(memory, name)
    } finally {
      memory.unlink()
    }
  }
}

async function waits(keeper: Holder, command: string, memory: string): Promise<void> {
  keeper.tell(command).catch(() => {})
  while (!listLocks(memory).locks.some(({ waiters }) => waiters.some(({ pid }) => pid === keeper.pid))) await delay(1)
}

test(
  'every kind, wherever it stands, with holder and label; by the name of the memory, and by its own',
  withMemory(16384, async (memory, name) => {
    const held = new Mutex({ memory, offset: 8 }, { label: 'the ledger' }).acquireSync()
    const reader = new RwLock({ memory, offset: 1032 }).acquireReadSync()
    const permit = new Semaphore({ memory, offset: 4104 }, { permits: 2 }).acquireSync()
    new Semaphore({ memory, offset: 7176 }, { permits: 300, signalling: true })
    new Barrier({ memory, offset: 10248 }, 2)
    new Event({ memory, offset: 12296 }).set()
    await new Once({ memory, offset: 13320 }).run(() => {})
    new Condition({ memory, offset: 16384 - 1024 })
    const me = [process.pid]
    const expected = [
      [`barrier ${name}:10248`, 'free', [], []],
      [`condition ${name}:15360`, 'free', [], []],
      [`event ${name}:12296`, 'set', [], []],
      [`mutex ${name}:8`, 'held', me, []],
      [`once ${name}:13320`, 'done', [], []],
      [`rwlock ${name}:1032`, 'held', me, []],
      [`semaphore ${name}:4104`, 'held', me, []],
      [`semaphore ${name}:7176`, 'free', [], []],
    ]
    assert.deepEqual(brief(name), expected)
    const [one] = listLocks(`${name}:8`).locks
    assert.deepEqual([one!.place, one!.holders[0]!.label], [{ memory: name, offset: 8 }, 'the ledger'])
    const { stdout, stderr } = await talkwire(['locks', name])
    assert.match(stdout, new RegExp(`^mutex ${name}:8 +held +holds +${process.pid} .*\\(the ledger\\)$`, 'm'))
    assert.equal(stderr, '')
    for (const grant of [held, reader, permit]) grant.release()
  }),
)

test(
  'a deadlock of a lock in memory and one with a name; the dead are told of',
  withMemory(4096, async (_, name) => {
    const [a, b, dead] = (await Promise.all([startKeeper(), startKeeper(), startKeeper()])) as [Holder, Holder, Holder]
    await dead.tell(`placed ${name} 2048`)
    await dead.kill()
    await a.tell(`placed ${name} 0`)
    await b.tell(`mutex ${name}`)
    await waits(a, `mutex ${name}`, name)
    await waits(b, `placed ${name} 0`, `${name}:0`)
    const { locks, deadlocks } = listLocks(`${name}:0`)
    assert.equal(locks.length, 1)
    assert.deepEqual(
      deadlocks.map((members) => new Set(members.map(({ pid, wants }) => `${pid} wants ${wants}`))),
      [new Set([`${a.pid} wants mutex ${name}`, `${b.pid} wants mutex ${name}:0`])],
    )
    assert.deepEqual(listLocks(`${name}:2048`).locks[0]!.state, 'abandoned')
    await b.kill()
    await a.kill()
  }),
)

test(
  'bytes that only look like a lock are none, whatever they are',
  withMemory(1 << 20, (memory, name) => {
    new Mutex({ memory })
    const whole = Buffer.from(memory.bytes.subarray(0, 1024))
    const words = memory.array(Int32Array)
    const wrong: [word: number, value: number][] = [
      [WORD.flags, 4],
      [WORD.damaged, 2],
      [WORD.waiting, -1],
      [WORD.hungry, 7],
      [WORD.limit, 1],
      [15, 1],
      [waiterWord(28) + WAITER.rung, 2],
      [waiterWord(0) + WAITER.mode, 3],
      // A letter behind the label's end.
      [(LABEL.offset + LABEL.size) / 4 - 1, 65],
    ]
    for (const [index, [word, value]] of wrong.entries()) {
      memory.bytes.set(whole, 2048 + 1024 * index)
      words[(2048 + 1024 * index) / 4 + word] = value
    }
    // Not at a multiple of 8, of a version to come, of no kind, cut off by the end.
    memory.bytes.set(whole, 20_004)
    for (const [at, kind] of [
      [24_000, kindWord('mutex') + 0x100],
      [25_024, kindWord('mutex') - 1],
      [26_048, kindWord('once') + 1],
      [(1 << 20) - 1016, kindWord('mutex')],
    ] as const)
      words[at / 4] = kind
    assert.deepEqual(brief(name), [[`mutex ${name}:0`, 'free', [], []]])
    randomFillSync(memory.bytes, 32_768)
    assert.deepEqual(brief(name), [[`mutex ${name}:0`, 'free', [], []]])
  }),
)

test(
  'memory full of words that begin a lock, and memory that is too large, take no longer: it is said',
  withMemory(1 << 20, (memory, name) => {
    memory.array(Int32Array).fill(kindWord('rwlock'))
    const full = listLocks(name)
    assert.deepEqual([full.locks, full.partly], [[], [name]])
  }),
)

test(
  'a lock behind the first 64 MiB is not found, and that is said',
  withMemory(8192, async (memory, name) => {
    new Mutex({ memory, offset: 4096 })
    const whole = Buffer.from(memory.bytes.subarray(4096, 5120))
    assert.deepEqual(listLocks(name).partly, [])
    const path = `/dev/shm/${name}`
    truncateSync(path, 2 ** 40)
    const fd = openSync(path, 'r+')
    writeSync(fd, whole, 0, 1024, (64 << 20) - 1024)
    writeSync(fd, whole, 0, 1024, 64 << 20)
    closeSync(fd)
    assert.deepEqual(
      listLocks(name).locks.map((lock) => lock.name),
      [`${name}:4096`, `${name}:${(64 << 20) - 1024}`],
    )
    const { stderr, code } = await talkwire(['locks', name])
    assert.deepEqual([stderr, code], [`${name} is large: only its beginning was looked through\n`, 0])
  }),
)

test("what others made is not looked into; an array is the array's", () => {
  const [foreign, array] = [freshName(), freshName()]
  const words = new Int32Array(256)
  words[WORD.kind] = kindWord('mutex')
  const numbers = SharedArray.create(array, 'i4', 1024)
  try {
    writeFileSync(`/dev/shm/${foreign}`, Buffer.from(words.buffer))
    numbers.values.set(words, 128)
    for (const name of [foreign, array]) assert.deepEqual(listLocks(name).locks, [])
  } finally {
    rmSync(`/dev/shm/${foreign}`)
    SharedMemory.unlink(array)
  }
})
