/** Condition, barrier, event, once, read-write lock: between processes of several languages, with death in each. */
import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { idOf } from '../../src/memory/owner.js'
import { ARRIVALS, LONG, WAITER, WAITERS, waiterWord, WORD, type Kind } from '../../src/sync/lock-layout.js'
import { openLock, unlinkLock } from '../../src/sync/place.js'
import { RwLock } from '../../src/sync/rwlock.js'
import { Semaphore } from '../../src/sync/semaphore.js'
import { waiters } from '../../src/sync/queue.js'
import { freshName, freshPath } from '../helpers/place.js'
import { LANGUAGES, startPartyIn, type Holder, type Language } from './holders.js'

const startAll = (languages: readonly Language[], ...args: string[]): Promise<Holder[]> =>
  Promise.all(languages.map((language) => startPartyIn(language, ...args)))
const endAll = (parties: readonly Holder[]): Promise<unknown> => Promise.all(parties.map((party) => party.end()))

/** Tells it to wait, and resolves to its answer, as a function, once it stands in the queue. */
async function queue(kind: Kind, name: string, party: Holder, command = 'wait'): Promise<() => Promise<string>> {
  const answer = party.tell(command)
  answer.catch(() => {})
  const block = openLock(kind, name)
  while (!waiters(block).some(({ who }) => idOf(who) === party.pid)) await new Promise((resolve) => setImmediate(resolve))
  return () => answer
}

async function owns(kind: Kind, name: string, party: Holder): Promise<void> {
  const { long } = openLock(kind, name)
  while (idOf(Atomics.load(long, LONG.owner)) !== party.pid) await new Promise((resolve) => setImmediate(resolve))
}

const arrivals = (name: string): number => Atomics.load(openLock('barrier', name).word, WORD.value) & ARRIVALS

/** As `queue`, for a barrier, and it is counted: who is killed between the two was never there. */
async function arrive(name: string, party: Holder): Promise<() => Promise<string>> {
  const before = arrivals(name)
  const answer = await queue('barrier', name, party)
  while (arrivals(name) === before) await new Promise((resolve) => setImmediate(resolve))
  return answer
}

/** How many of those who wait for a condition were told. */
function notified(name: string): number {
  const { word } = openLock('condition', name)
  return Array.from({ length: WAITERS }, (_, slot) => word[waiterWord(slot) + WAITER.mode]).filter((mode) => mode === 1).length
}

/** Whatever test it is, nothing of it stays. */
const withName = (kinds: readonly Kind[], body: (name: string) => Promise<void>) => async (): Promise<void> => {
  const name = freshName()
  try {
    await body(name)
  } finally {
    for (const kind of kinds) {
      openLock(kind, name)
      unlinkLock(kind, name)
    }
  }
}

test(
  `a barrier of ${LANGUAGES.join(', ')}: all or nobody, whoever is the last`,
  withName(['barrier'], async (name) => {
    const parties = await startAll(LANGUAGES, 'barrier', name, String(LANGUAGES.length))
    for (let round = 0; round < 12; round++) {
      const last = parties[round % parties.length]!
      const others = parties.filter((party) => party !== last)
      const answers = []
      for (const party of others) answers.push(await queue('barrier', name, party))
      assert.equal(await last.tell('wait'), 'passed')
      for (const answer of answers) assert.equal(await answer(), 'passed')
    }
    for (let round = 0; round < 100; round++) await Promise.all(parties.map((party) => party.tell('wait')))
    await endAll(parties)
  }),
)

for (const victim of LANGUAGES)
  test(
    `a barrier breaks for all when one in ${victim} gives up, or is killed; reset in ${victim}`,
    withName(['barrier'], async (name) => {
      const parties = await startAll(LANGUAGES, 'barrier', name, String(LANGUAGES.length + 1))
      const one = parties[LANGUAGES.indexOf(victim)]!
      const others = parties.filter((party) => party !== one)
      for (const how of ['gives up', 'is killed']) {
        const waiting = []
        for (const party of others) waiting.push(await arrive(name, party))
        if (how === 'gives up') assert.equal(await one.tell('wait 20'), 'DEADLINE_EXCEEDED')
        else {
          await arrive(name, one)
          await one.kill()
        }
        for (const answer of waiting) assert.equal(await answer(), 'BROKEN_BARRIER')
        for (const party of others) assert.equal(await party.tell('wait'), 'BROKEN_BARRIER')
        const mender = how === 'gives up' ? one : await startPartyIn(victim, 'barrier', name, String(LANGUAGES.length + 1))
        assert.equal(await mender.tell('reset'), 'reset')
        if (mender !== one) others.push(mender, await startPartyIn(victim, 'barrier', name, String(LANGUAGES.length + 1)))
      }
      assert.deepEqual(
        await Promise.all(others.map((party) => party.tell('wait'))),
        others.map(() => 'passed'),
      )
      await endAll(others)
    }),
  )

for (const looker of LANGUAGES)
  test(
    `a barrier: one in ${looker}, alone, sees the other die, and give up`,
    withName(['barrier'], async (name) => {
      const [one, other] = (await startAll([looker, 'Node'], 'barrier', name, '2')) as [Holder, Holder]
      assert.equal(await one.tell('wait 20'), 'DEADLINE_EXCEEDED')
      assert.equal(await other.tell('wait'), 'BROKEN_BARRIER')
      assert.equal(await one.tell('reset'), 'reset')
      await arrive(name, other)
      await other.kill()
      // Three parties from here on, so that the one who comes waits beside the dead one.
      Atomics.store(openLock('barrier', name).word, WORD.limit, 3)
      const third = await startPartyIn(looker, 'barrier', name, '3')
      assert.equal(await third.tell('wait'), 'BROKEN_BARRIER')
      await endAll([one, third])
    }),
  )

const conditional = ['mutex', 'condition'] as const

for (const teller of LANGUAGES)
  test(
    `a condition: ${teller} tells the first of ${LANGUAGES.join(', ')}, then all; each has the mutex again`,
    withName(conditional, async (name) => {
      const parties = await startAll(LANGUAGES, 'condition', name)
      const notifier = await startPartyIn(teller, 'condition', name)
      const answers: (() => Promise<string>)[] = []
      for (const party of parties) {
        assert.match(await party.tell('acquire'), /^acquired/)
        answers.push(await queue('condition', name, party))
      }
      await notifier.tell('acquire')
      await notifier.tell('notify')
      assert.equal(notified(name), 1, 'only one is told')
      await notifier.tell('release')
      assert.equal(await answers[0]!(), 'woken false')
      await parties[0]!.tell('release')
      const order = LANGUAGES.slice(1).map(async (_, index) => {
        assert.equal(await answers[index + 1]!(), 'woken false')
        assert.match(await notifier.tell('acquire 20'), /^DEADLINE_EXCEEDED/, 'the mutex is held')
        await parties[index + 1]!.tell('release')
      })
      await notifier.tell('notifyAll')
      await Promise.all(order)
      await endAll([...parties, notifier])
    }),
  )

for (const victim of LANGUAGES)
  test(
    `a condition: one in ${victim} is not told in time, dies waiting, dies with the mutex`,
    withName(conditional, async (name) => {
      const others = await startAll(LANGUAGES, 'condition', name)
      const [late, dead, owner] = (await startAll([victim, victim, victim], 'condition', name)) as [Holder, Holder, Holder]
      await late.tell('acquire')
      assert.equal(await late.tell('wait 20'), 'DEADLINE_EXCEEDED')
      assert.match(await others[0]!.tell('acquire 20'), /^DEADLINE_EXCEEDED/, 'the mutex is held again')
      await late.tell('release')
      await dead.tell('acquire')
      await queue('condition', name, dead)
      const answers: (() => Promise<string>)[] = []
      for (const party of others) {
        await party.tell('acquire')
        answers.push(await queue('condition', name, party))
      }
      await dead.kill()
      await late.tell('notify')
      assert.equal(await answers[0]!(), 'woken false', 'the dead one is passed over')
      await others[0]!.tell('release')
      await owner.tell('acquire')
      await owner.kill()
      // Each looks at the data; the mutex stays damaged until all have.
      const looked = LANGUAGES.slice(1).map(async (_, index) => {
        assert.equal(await answers[index + 1]!(), 'woken true')
        await others[index + 1]!.tell('release')
      })
      await Promise.all(looked)
      await late.tell('acquire')
      await late.tell('repaired')
      await late.tell('release')
      await endAll([...others, late])
    }),
  )

for (const setter of LANGUAGES)
  test(
    `an event: ${setter} sets it, and ${LANGUAGES.join(', ')} pass`,
    withName(['event'], async (name) => {
      const parties = await startAll([...LANGUAGES, setter], 'event', name)
      const one = parties.pop()!
      for (const command of ['wait', 'waitSync']) {
        const answers = []
        for (const party of parties) answers.push(await queue('event', name, party, command))
        await one.tell('set')
        for (const answer of answers) assert.equal(await answer(), 'set')
        assert.equal(await parties[0]!.tell('wait'), 'set')
        await one.tell('reset')
        for (const party of parties) assert.equal(await party.tell('wait 20'), 'DEADLINE_EXCEEDED')
      }
      await endAll([...parties, one])
    }),
  )

for (const victim of LANGUAGES)
  test(
    `once: ${victim} fails, then dies at it; one of ${LANGUAGES.join(', ')} does it`,
    withName(['once'], async (name) => {
      const parties = await startAll([...LANGUAGES, victim, victim], 'once', name)
      const [failing, dying] = parties.splice(LANGUAGES.length) as [Holder, Holder]
      assert.match(await failing.tell('run fail'), /in vain/)
      const hanging = dying.tell('run hang')
      hanging.catch(() => {})
      await owns('once', name, dying)
      const answers = []
      for (const party of parties) answers.push(await queue('once', name, party, 'run'))
      await dying.kill()
      const ran = await Promise.all(answers.map((answer) => answer()))
      assert.deepEqual(
        ran.toSorted(),
        ran.map((_, index) => `ran ${index === ran.length - 1}`),
      )
      assert.equal(await failing.tell('run'), 'ran false')
      await endAll([...parties, failing])
    }),
  )

for (const [reader, writer] of LANGUAGES.flatMap((one) => LANGUAGES.map((other) => [one, other] as const)))
  test(
    `rwlock: ${reader} reads, ${writer} writes; either dies`,
    withName(['rwlock'], async (name) => {
      const [r1, r2, w, next] = (await startAll([reader, reader, writer, reader], 'rwlock', name)) as [Holder, Holder, Holder, Holder]
      assert.match(await r1.tell('read'), /^acquired.*false/)
      assert.match(await r2.tell('readSync'), /^acquired.*false/)
      assert.match(await w.tell('tryWrite'), /^busy/)
      assert.match(await w.tell('write 20'), /^DEADLINE_EXCEEDED/)
      const writing = await queue('rwlock', name, w, 'write')
      // It stands in line before it has the writer's word, which keeps readers out.
      await owns('rwlock', name, w)
      assert.match(await next.tell('tryRead'), /^busy/, 'a writer waits')
      const reading = await queue('rwlock', name, next, 'read')
      await r1.tell('release')
      await r2.kill()
      assert.match(await writing(), /^acquired.*false/)
      await w.kill()
      assert.match(await reading(), /^acquired.*true/)
      await next.tell('release')
      const mender = await startPartyIn(writer, 'rwlock', name)
      assert.match(await mender.tell('write'), /^acquired.*true/)
      await mender.tell('repaired')
      await mender.tell('release')
      // One reader becomes the writer, past another who wants to write.
      if (reader !== 'Node') assert.equal(await r1.tell('upgrade'), 'CLOSED')
      assert.match(await r1.tell('upgradable'), /^acquired.*false/)
      assert.match(await next.tell('read'), /^acquired.*false/)
      const wanting = await queue('rwlock', name, mender, 'write')
      const upgrading = await queue('rwlock', name, r1, 'upgrade')
      await next.tell('release')
      assert.match(await upgrading(), /^acquired.*false/)
      await r1.tell('release')
      await r1.tell('release')
      assert.match(await wanting(), /^acquired.*false/)
      await mender.tell('release')
      await endAll([r1, next, mender])
    }),
  )

test(
  `rwlock: readers in ${LANGUAGES.join(', ')} at a time, each with since when; the writer says who it is`,
  withName(['rwlock'], async (name) => {
    const lock = new RwLock(name)
    const parties = await Promise.all(LANGUAGES.map((language) => startPartyIn(language, 'rwlock', name, '1', `writes in ${language}`)))
    const before = Date.now()
    for (const party of parties) assert.match(await party.tell('read'), /^acquired.*false/)
    const { readers } = lock.inspect()
    assert.deepEqual(
      readers.map(({ pid }) => pid),
      parties.map(({ pid }) => pid),
    )
    for (const { since } of readers) assert.ok(since.getTime() >= before - 1 && since.getTime() <= Date.now() + 1)
    for (const party of parties) assert.match(await party.tell('tryWrite'), /^busy/)
    for (const party of parties) await party.tell('release')
    for (const [index, party] of parties.entries()) {
      assert.match(await party.tell('write'), /^acquired.*false/)
      assert.equal(lock.inspect().holder!.label, `writes in ${LANGUAGES[index]}`)
      for (const other of parties) if (other !== party) assert.match(await other.tell('tryRead'), /^busy/)
      await party.tell('release')
    }
    await endAll(parties)
  }),
)

test(
  `rwlock: ${LANGUAGES.join(', ')} read, write and upgrade by turns: nothing is lost that is counted within`,
  withName(['rwlock'], async (name) => {
    const file = freshPath()
    writeFileSync(file, '0')
    const parties = await startAll([...LANGUAGES, ...LANGUAGES], 'rwlock', name)
    await Promise.all(parties.map((party) => party.tell(`countWriting ${file} 40`)))
    assert.equal(readFileSync(file, 'utf8'), String(40 * parties.length))
    await endAll(parties)
  }),
)

for (const poster of LANGUAGES)
  test(
    `a semaphore for signalling: ${poster} posts, ${LANGUAGES.join(', ')} take; nothing comes back`,
    withName(['semaphore'], async (name) => {
      const parties = await startAll([...LANGUAGES, poster], 'signals', name, '0')
      const one = parties.pop()!
      for (const party of parties) {
        assert.equal(await party.tell('try'), 'busy')
        const answer = await queue('semaphore', name, party, 'acquire')
        await one.tell('post')
        assert.match(await answer(), /^acquired.*false/)
      }
      await one.tell('post')
      assert.match(await one.tell('acquire'), /^acquired/)
      await one.kill()
      assert.equal(await parties[0]!.tell('available'), '0')
      await endAll(parties)
    }),
  )

test(
  `a semaphore with permits of ${LANGUAGES.join(', ')}: each with since when`,
  withName(['semaphore'], async (name) => {
    const parties = await startAll(LANGUAGES, 'semaphore', name, '3')
    // The second round finds the times of the first one in the slots.
    for (let round = 0; round < 2; round++) {
      const times = [Date.now()]
      for (const party of parties) {
        assert.match(await party.tell('acquire'), /^acquired/)
        times.push(Date.now())
      }
      const { holders } = new Semaphore(name, { permits: 3 }).inspect()
      assert.deepEqual(
        holders.map(({ pid }) => pid),
        parties.map(({ pid }) => pid),
      )
      // Within a millisecond: some keep parts of one, some do not.
      for (const [index, { since }] of holders.entries())
        assert.ok(
          since.getTime() >= times[index]! - 1 && since.getTime() <= times[index + 1]! + 1,
          `${LANGUAGES[index]}: ${since.toISOString()}`,
        )
      for (const party of parties) await party.tell('release')
    }
    await endAll(parties)
  }),
)

for (const language of LANGUAGES.slice(1))
  test(
    `${language} refuses what others say otherwise, and another kind`,
    withName(['semaphore', 'barrier'], async (name) => {
      const party = await startPartyIn('Node', 'semaphore', name, '2')
      await startPartyIn('Node', 'barrier', name, '2')
      for (const args of [
        ['semaphore', name, '3'],
        ['signals', name, '0'],
        ['barrier', name, '3'],
      ])
        await assert.rejects(startPartyIn(language, ...args), /refused INVALID_MEMORY/)
      const other = await startPartyIn(language, 'semaphore', name, '2')
      for (const one of [party, other]) assert.match(await one.tell('acquire'), /^acquired/)
      assert.equal(await other.tell('available'), '0')
      await party.kill()
      assert.equal(await other.tell('available'), '1')
      await other.end()
    }),
  )

if (LANGUAGES.includes('C'))
  test('C lets go of memory of another kind', async () => {
    const name = freshName()
    const path = `/dev/shm/talkwire-${process.getuid!()}-mutex-${name}`
    writeFileSync(path, Buffer.alloc(8192, 7), { mode: 0o600 })
    await assert.rejects(startPartyIn('C', 'mutex', name), /refused INVALID_MEMORY(?!, still mapped)/)
    rmSync(path)
  })
