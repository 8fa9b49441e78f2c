/** What happens to the hub as a whole: its files, its disk, its clocks, and clients that do not behave. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect } from '../../src/connect.js'
import { TalkwireError } from '../../src/error.js'
import { hubContract } from '../../src/hub/contract.js'
import { mayOf, type AclRule } from '../../src/hub/embedded/acl.js'
import type { Clocks } from '../../src/hub/embedded/clock.js'
import { hubLimitsOf } from '../../src/hub/embedded/limits.js'
import { openLogOn } from '../../src/hub/embedded/log.js'
import { serveHub } from '../../src/hub/embedded/serve.js'
import { openShell, type Shell } from '../../src/hub/embedded/shell.js'
import { freshName, freshPath } from '../helpers/place.js'
import { fixture } from '../session/processes.js'
import { hubProcess } from './hub-process.js'
import { Disk } from './log-disk.js'
import { randomOf, seedOf } from './random.js'

const fails =
  (code: string) =>
  (reason: unknown): boolean =>
    TalkwireError.from(reason).code === code

describe('files that were damaged while the hub was down', () => {
  for (const [what, change] of [
    [
      'a flipped byte',
      (bytes: Buffer) => {
        bytes[bytes.indexOf('job 7')]! ^= 1
        return bytes
      },
    ],
    ['a file that was cut', (bytes: Buffer) => bytes.subarray(0, bytes.indexOf('job 7'))],
  ] as const)
    test(`${what}: it is told of, the rest is there, and it goes on`, async () => {
      const killed = await hubProcess()
      try {
        await using client = await connect(hubContract, `unix:${killed.name}`)
        await client.set({ key: 'a', data: 'before' })
        for (let number = 0; number < 10; number++) await client.push({ queue: 'q', text: `job ${number}` })
        await client.set({ key: 'b', data: 'after' })
        await killed.kill()
        const file = join(killed.folder, '0000000001.log')
        writeFileSync(file, change(readFileSync(file)))
        const errors: unknown[] = []
        await using hub = await serveHub({ name: killed.name, folder: killed.folder, onError: (error) => errors.push(error) })
        assert.equal(((await client.get({ key: 'a' })) as { data: string }).data, 'before')
        const jobs = (await client.take({ queue: 'q', max: 100 })) as { text: string; id: number }[]
        const left = jobs.map(({ text }) => Number(text.slice(4)))
        const isFlipped = what === 'a flipped byte'
        assert.deepEqual(left, isFlipped ? [0, 1, 2, 3, 4, 5, 6, 8, 9] : [0, 1, 2, 3, 4, 5, 6])
        assert.equal((await client.get({ key: 'b' })) !== null, isFlipped)
        assert.deepEqual(
          errors.map((error) => TalkwireError.from(error).code),
          ['INVALID_MEMORY'],
        )
        const { ids } = (await client.push({ queue: 'q', text: 'new' })) as { ids: number[] }
        assert.ok(jobs.every(({ id }) => id < ids[0]!))
        void hub
      } finally {
        await killed.end()
      }
    })

  test('a file that ends in its header: it begins anew, and says what is gone', async () => {
    const killed = await hubProcess()
    try {
      await using client = await connect(hubContract, `unix:${killed.name}`)
      await client.set({ key: 'a', data: 1 })
      await killed.kill()
      truncateSync(join(killed.folder, '0000000001.log'), 30)
      const errors: unknown[] = []
      await using hub = await serveHub({ name: killed.name, folder: killed.folder, onError: (error) => errors.push(error) })
      assert.equal(await client.get({ key: 'a' }), null)
      await client.set({ key: 'a', data: 2 })
      assert.ok(errors.length > 0 && errors.every(fails('INVALID_MEMORY')))
      void hub
    } finally {
      await killed.end()
    }
  })
})

test('a full disk: what has to be written is refused, the rest goes on, and with room all of it does', () => {
  const folder = freshPath()
  mkdirSync(folder)
  const program = fileURLToPath(new URL('fixtures/hub-full.js', import.meta.url))
  const script = 'mount -t tmpfs -o size=2m,mode=700 tmpfs "$2" && exec "$0" "$1" "$2"'
  const { stdout, stderr } = spawnSync('unshare', ['-rm', 'sh', '-c', script, process.execPath, program, folder], { encoding: 'utf8' })
  assert.deepEqual(
    stdout.split('\n'),
    [
      'full: ["NO_SPACE",true,["NO_SPACE"]]',
      'read: [1,null,true]',
      'published: ["done",1]',
      'refused: ["NO_SPACE","NO_SPACE","NO_SPACE","NO_SPACE","NO_SPACE"]',
      'taken: 0',
      'closed: "NO_SPACE"',
      'again: [1,"NO_SPACE"]',
      'room: [true,true,null,true]',
      '',
    ],
    stderr,
  )
})

describe('clocks', () => {
  const HOUR = 3_600_000
  const began = { monotonic: 5_000_000, wall: 1_700_000_000_000, boot: 'one' }

  /** A hub at some time; what it was given lasts a minute of it. */
  async function at(disk: Disk, time: { monotonic: number; wall: number; boot: string }): Promise<Shell> {
    const clocks: Clocks = { monotonic: () => time.monotonic, wall: () => time.wall, boot: time.boot }
    return openShell({ limits: hubLimitsOf(), openLog: (options) => openLogOn(disk, options, 1024 * 1024), clocks })
  }

  const fill = (shell: Shell): void => {
    const { state, queues, leases } = shell.machine
    state.change({ key: 'k', value: Buffer.from('1'), type: 1, ttl: 60_000, revision: undefined }, shell.now())
    queues
      .open('q')
      .push([{ body: Buffer.from('1'), type: 1, headers: undefined, delay: 60_000, priority: 0, key: undefined }], shell.now(), 0)
    leases.acquire('l', { holder: 'a', label: '', ttl: 60_000, wait: 0, permits: 1 }, shell.now(), () => {})
    shell.flush()
  }
  const left = (shell: Shell): unknown => {
    shell.machine.tick(shell.now())
    const { state, queues, leases } = shell.machine
    return [state.get('k', shell.now()) !== undefined, queues.find('q')!.tally().delayed, leases.inspect('l', shell.now()).holders.length]
  }

  for (const [what, shift] of [
    ['a day forward', 24 * HOUR],
    ['a day back', -24 * HOUR],
  ] as const)
    test(`set ${what}: nothing ends early, and nothing late`, async () => {
      const time = { ...began }
      const shell = await at(new Disk(randomOf(seedOf())), time)
      fill(shell)
      time.wall += shift
      time.monotonic += 59_999
      assert.deepEqual(left(shell), [true, 1, 1])
      time.monotonic += 1
      assert.deepEqual(left(shell), [false, 0, 0])
      await shell.close()
    })

  for (const [what, later, isKey] of [
    ['the same boot, and the clock was set meanwhile', { monotonic: began.monotonic + 59_000, wall: began.wall - HOUR, boot: 'one' }, true],
    ['the same boot, too late', { monotonic: began.monotonic + 60_000, wall: began.wall - HOUR, boot: 'one' }, false],
    ['another boot, soon', { monotonic: 20, wall: began.wall + 59_000, boot: 'two' }, true],
    [
      'another boot, soon, of a machine that then ran for long',
      { monotonic: 9 * began.monotonic, wall: began.wall + 59_000, boot: 'two' },
      true,
    ],
    ['another boot, too late', { monotonic: 9 * began.monotonic, wall: began.wall + 60_000, boot: 'two' }, false],
    ['another boot, and the clock stands before the last', { monotonic: 20, wall: began.wall - HOUR, boot: 'two' }, true],
  ] as const)
    test(`after a restart: ${what}`, async () => {
      const disk = new Disk(randomOf(seedOf()))
      const first = await at(disk, { ...began })
      fill(first)
      const { last } = first.machine.effects
      await first.close()
      const time = { ...later }
      const second = await at(disk, time)
      // Nobody could renew while it was away.
      assert.deepEqual(left(second), [isKey, isKey ? 1 : 0, 1])
      assert.ok(second.machine.effects.number() > last)
      time.monotonic += 60_000
      assert.deepEqual(left(second), [false, 0, 0])
      await second.close()
    })
})

test('a subscriber that is stopped: others go on, and it hears how much it lost', async () => {
  const hub = await hubProcess({ durability: 'memory', limits: { buffer: 100 } })
  try {
    const stopped = fixture(import.meta.url, 'listener.js', `unix:${hub.name}`)
    await stopped.line('ready')
    stopped.child.kill('SIGSTOP')
    await using client = await connect(hubContract, `unix:${hub.name}`)
    const heard = client.subscribe({ pattern: 't' }) as AsyncIterableIterator<{ data: number; lost: number }>
    await heard.next()
    const text = 'x'.repeat(10_000)
    // More than sockets and streams take before the hub notices.
    for (let number = 0; number < 2000; number++) {
      await client.publish({ topic: 't', data: number, headers: { text } })
      const { value } = await heard.next()
      assert.deepEqual([value!.data, value!.lost], [number, 0])
    }
    stopped.child.kill('SIGCONT')
    await client.publish({ topic: 't', data: 'end' })
    const [got, lost] = (await stopped.line('end')).split(' ').slice(1).map(Number) as [number, number]
    assert.equal(got + lost, 2000)
    assert.ok(lost > 100, `${lost} lost`)
    await stopped.kill()
  } finally {
    await hub.end()
  }
})

test('who subscribes 100,000 times is refused what is too much, and others go on meanwhile', async () => {
  const name = freshName()
  const errors: unknown[] = []
  await using hub = await serveHub({ name, durability: 'memory', onError: (error) => errors.push(error) })
  await using greedy = await connect(hubContract, `unix:${name}`)
  await using other = await connect(hubContract, `unix:${name}`)
  const held: AsyncIterator<unknown>[] = []
  let refused = 0
  for (let round = 0; round < 1000; round++) {
    const ears = Array.from({ length: 100 }, () => (greedy.subscribe({ pattern: 't' }) as AsyncIterable<unknown>)[Symbol.asyncIterator]())
    for (const [index, first] of (await Promise.allSettled(ears.map((ear) => ear.next()))).entries())
      if (first.status === 'fulfilled') held.push(ears[index]!)
      else {
        assert.ok(fails('LIMIT_EXCEEDED')(first.reason))
        refused++
      }
    if (round % 100 === 0) await other.set({ key: 'k', data: round })
  }
  assert.deepEqual([held.length, refused], [200, 99_800])
  await other.publish({ topic: 't', data: 1 })
  assert.equal(((await held[0]!.next()).value as { data: number }).data, 1)
  await Promise.all(held.map((ear) => ear.return!()))
  // What it gave back it may have again.
  for (let isIn = false; !isIn;) {
    const again = (greedy.subscribe({ pattern: 't' }) as AsyncIterable<unknown>)[Symbol.asyncIterator]()
    isIn = await again.next().then(
      () => true,
      (reason: unknown) => {
        // The hub hears of it behind our back.
        assert.ok(fails('LIMIT_EXCEEDED')(reason))
        return false
      },
    )
    await again.return!()
  }
  assert.deepEqual(errors, [])
  void hub
})

test('a backup that is opened is the hub as it was then', async () => {
  const [name, copy] = [freshName(), freshName()]
  const [folder, target] = [freshPath(), freshPath()]
  await using hub = await serveHub({ name, folder, keep: [{ pattern: 'log.>' }] })
  await using client = await connect(hubContract, `unix:${name}`)
  await client.set({ key: 'a', data: 1 })
  await client.publish({ topic: 'log.a', data: 'kept' })
  const { ids } = (await client.push({ queue: 'q', jobs: [{ data: 1 }, { data: 2 }] })) as { ids: number[] }
  const [job] = (await client.take({ queue: 'q' })) as { receipt: string }[]
  await client.ack({ queue: 'q', receipt: job!.receipt })
  await client.backup({ folder: target })
  await client.set({ key: 'a', data: 2 })
  await using restored = await serveHub({ name: copy, folder: target })
  await using other = await connect(hubContract, `unix:${copy}`)
  assert.equal(((await other.get({ key: 'a' })) as { data: number }).data, 1)
  const jobs = (await other.take({ queue: 'q', max: 10 })) as { id: number; data: number }[]
  assert.deepEqual(
    jobs.map(({ id, data }) => [id, data]),
    [[ids[1], 2]],
  )
  const heard = other.subscribe({ pattern: 'log.>', from: 'all' }) as AsyncIterableIterator<{ data?: string }>
  await heard.next()
  assert.equal((await heard.next()).value!.data, 'kept')
  await heard.return!()
  await assert.rejects(client.backup({ folder: target }) as Promise<unknown>, fails('ALREADY_EXISTS'))
  void [hub, restored]
})

describe('who may what', () => {
  const rules: AclRule[] = [
    { uid: 1234, topics: ['orders.*', 'log.>'], queues: ['mail'], keys: ['u1234.'], leases: ['a', 'b'] },
    { identity: 'ada', counters: [''] },
    { uid: 1234, identity: 'ada', keys: ['both'] },
  ]
  const peer = (wish: { uid?: number; identity?: string }) => mayOf(wish as Parameters<typeof mayOf>[0], rules)
  const may = (wish: { uid?: number; identity?: string }, ...words: Parameters<ReturnType<typeof mayOf>['may']>): boolean => {
    try {
      peer(wish).may(...words)
      return true
    } catch (reason) {
      assert.ok(fails('PERMISSION_DENIED')(reason))
      return false
    }
  }
  test('by uid and prefix, and nothing that no rule says', () => {
    const other = { uid: 1234 }
    for (const [what, name, is] of [
      ['topics', 'orders.new', true],
      ['topics', 'orders.*', true],
      ['topics', 'orders.>', false],
      ['topics', 'orders', false],
      ['topics', 'log.a.b', true],
      ['topics', 'log.>', true],
      ['topics', 'log.*.>', true],
      ['topics', '>', false],
      ['topics', '*.new', false],
      ['queues', 'mail.fast', true],
      ['queues', 'mai', false],
      ['queues', 'airmail', false],
      ['keys', 'u1234.cart', true],
      ['keys', '', false],
      ['keys', 'both', false],
      ['leases', 'b', true],
      ['counters', 'c', false],
    ] as const)
      assert.equal(may(other, what, name), is, `${what} ${name}`)
  })
  test('by identity, by both, and our own and root', () => {
    assert.ok(may({ identity: 'ada' }, 'counters', 'c') && !may({ identity: 'bob' }, 'counters', 'c'))
    assert.ok(may({ uid: 1234, identity: 'ada' }, 'keys', 'both') && !may({ uid: 1, identity: 'ada' }, 'keys', 'both'))
    assert.ok(peer({ uid: 0 }).everything && peer({ uid: process.getuid!() }).everything && !peer({ uid: 1234 }).everything)
    assert.ok(!peer({}).everything && mayOf({} as Parameters<typeof mayOf>[0], []).everything)
  })
})
