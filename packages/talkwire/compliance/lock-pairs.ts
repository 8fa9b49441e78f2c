/**
 * What a lock promises to two processes in any two languages, as tests; nothing is held here:
 *
 *   testLockPair({ test, name: 'mutex of Python, wanted by C', abandoned: true, place, inspect, holder, waiter })
 */
import assert from 'node:assert/strict'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LockHolder } from './lock.js'
import type { Test } from './transport.js'

export interface LockPairSuite {
  readonly test: Test
  readonly name: string
  /** Whether all who take it after a death are told, until one says `repaired`; otherwise only who takes it from the dead. */
  readonly abandoned: boolean
  /** A new one that nobody uses; `remove` takes away what is left of it. */
  readonly place: () => { readonly place: string; remove(): void }
  /** By the lock's own words: the pid that has it, and those that wait, in order. */
  readonly inspect: (place: string) => { readonly holder: number | undefined; readonly waiters: readonly number[] }
  /** What each says of itself as a holder; nothing, when this lock has no labels. */
  readonly labels?: { readonly holder: string; readonly waiter: string }
  /**
   * As for `testLock`; `acquired` is followed by the fence, and by `true` when whoever had it died with it. Also obeys `repaired`;
   * and `inspect`: by what its language tells of the lock, `{"holder": {"pid", "label", "since", "alive"} or null, "waiters":
   * [{"pid", "since"}]}`, `since` in milliseconds since 1970, the first of the waiters first.
   */
  readonly holder: (place: string) => Promise<LockHolder>
  readonly waiter: (place: string) => Promise<LockHolder>
}

interface Pair {
  readonly place: string
  readonly abandoned: boolean
  readonly holder: LockHolder
  readonly waiter: LockHolder
  /** Of the holder's language. */
  readonly next: LockHolder
  another(who: 'holder' | 'waiter'): Promise<LockHolder>
  inspect(): ReturnType<LockPairSuite['inspect']>
  labelOf(who: LockHolder): string
  /** Tells it to acquire, and resolves to its answer, as a function, once it stands in the queue. */
  queue(who: LockHolder): Promise<() => Promise<string>>
}

const fenceOf = (answer: string): number => Number(/^acquired (\d+)/.exec(answer)![1])
const wasLeft = (answer: string): boolean => /^acquired \d+ (true|false)$/.exec(answer)![1] === 'true'

export function testLockPair(suite: LockPairSuite): void {
  scene(suite, 'one at a time, handed over, in time, whoever is stopped; its words tell who', async (pair) => {
    for (const part of [excludes, handsOver, givesUp, keepsStopped, passesStopped, tells]) await part(pair)
  })
  scene(suite, 'nothing is lost that is counted within', counts)
  scene(suite, 'each is told who has it, since when, and who waits', saysWho)
  scene(suite, 'whoever is killed leaves it to the next one, who is told', async (pair) => {
    for (const part of [diesWaiting, diesWhileAwaited, diedBefore]) await part(pair)
  })
}

/** Of a lock that is opened fair. `calm` makes it forget that one has waited for long, which keeps others from it, too. */
export function testFairPair(suite: LockPairSuite & { readonly calm: (place: string) => void }): void {
  scene(suite, 'who waits gets it before who comes when it is free', (pair) => isFair(pair, suite.calm))
}

function scene(suite: LockPairSuite, what: string, body: (pair: Pair) => Promise<void>): void {
  const { test, name, abandoned } = suite
  void test(`${name}: ${what}`, async () => {
    const { place, remove } = suite.place()
    const started: LockHolder[] = []
    const another = async (who: 'holder' | 'waiter'): Promise<LockHolder> => {
      const process = await suite[who](place)
      started.push(process)
      return process
    }
    const inspect = (): ReturnType<LockPairSuite['inspect']> => suite.inspect(place)
    const queue = async (who: LockHolder): Promise<() => Promise<string>> => {
      const answer = who.tell('acquire')
      // Whoever fails to answer is asked again by the scene.
      answer.catch(() => {})
      while (!inspect().waiters.includes(who.pid)) await new Promise((resolve) => setImmediate(resolve))
      return () => answer
    }
    let well = false
    try {
      const [holder, waiter, next] = [await another('holder'), await another('waiter'), await another('holder')]
      const labelOf = (who: LockHolder): string => suite.labels?.[who === waiter ? 'waiter' : 'holder'] ?? ''
      await body({ place, abandoned, holder, waiter, next, another, inspect, labelOf, queue })
      well = true
    } finally {
      await letGo(started, well)
      remove()
    }
  })
}

/** Each part begins and ends with a lock that is free. */
async function excludes({ holder, waiter }: Pair): Promise<void> {
  assert.equal(wasLeft(await holder.tell('try')), false)
  for (const command of ['try', 'acquire 30', 'acquireSync 30'])
    assert.equal((await waiter.tell(command)).trim(), command === 'try' ? 'busy' : 'DEADLINE_EXCEEDED')
  await holder.tell('release')
  assert.match(await waiter.tell('try'), /^acquired/)
  assert.match(await holder.tell('try'), /^busy/)
  await waiter.tell('release')
}

async function handsOver({ holder, waiter, queue }: Pair): Promise<void> {
  let last = fenceOf(await holder.tell('acquire'))
  for (const [from, to] of [
    [holder, waiter],
    [waiter, holder],
  ] as const) {
    const answer = await queue(to)
    await from.tell('release')
    const given = await answer()
    assert.equal(wasLeft(given), false)
    assert.ok(fenceOf(given) > last)
    last = fenceOf(given)
  }
  const blocking = waiter.tell('acquireSync')
  await holder.tell('release')
  assert.ok(fenceOf(await blocking) > last)
  await waiter.tell('release')
}

async function givesUp({ holder, waiter, inspect }: Pair): Promise<void> {
  await holder.tell('acquire')
  assert.equal(await waiter.tell('acquire 0'), 'DEADLINE_EXCEEDED')
  assert.equal(await waiter.tell('acquire 60'), 'DEADLINE_EXCEEDED')
  assert.deepEqual(inspect(), { holder: holder.pid, waiters: [] })
  await holder.tell('release')
  assert.match(await holder.tell('try'), /^acquired/, 'nobody took it for one who gave up')
  await holder.tell('release')
}

/** It does nothing any more when this resolves. */
export async function stop({ pid }: LockHolder): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  while (!/\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await new Promise((resolve) => setImmediate(resolve))
}

/** What becomes of those who were started. One that was killed is dead already. */
export const letGo = (holders: readonly LockHolder[], well: boolean): Promise<unknown> =>
  Promise.all(holders.map((holder) => (well && holder.dismiss ? holder.dismiss() : holder.kill())))

let files = 0

async function counts({ holder, waiter, next, another }: Pair): Promise<void> {
  const file = join(tmpdir(), `tw-pair-${process.pid}-${files++}`)
  writeFileSync(file, '0')
  try {
    const all = [holder, waiter, next, await another('waiter')]
    await Promise.all(all.map((one) => one.tell(`count ${file} 50`)))
    assert.equal(readFileSync(file, 'utf8'), '200')
  } finally {
    rmSync(file)
  }
}

async function diesWaiting({ holder, waiter, next, another, queue, inspect }: Pair): Promise<void> {
  const doomed = await another('waiter')
  await holder.tell('acquire')
  await queue(doomed)
  const answer = await queue(waiter)
  await doomed.kill()
  await holder.tell('release')
  assert.equal(wasLeft(await answer()), false)
  assert.deepEqual(inspect(), { holder: waiter.pid, waiters: [] })
  await waiter.tell('release')
  assert.match(await next.tell('try'), /^acquired/)
  await next.tell('release')
}

async function diesWhileAwaited({ abandoned, holder, waiter, next, queue }: Pair): Promise<void> {
  await holder.tell('acquire')
  const answer = await queue(waiter)
  await holder.kill()
  assert.equal(wasLeft(await answer()), true)
  // Whoever comes is told, too, until somebody repairs.
  await waiter.tell('release')
  assert.equal(wasLeft(await next.tell('try')), abandoned)
  await next.tell('repaired')
  await next.tell('release')
  assert.equal(wasLeft(await waiter.tell('try')), false)
  await waiter.tell('release')
}

async function diedBefore({ waiter, next }: Pair): Promise<void> {
  await next.tell('acquire')
  await next.kill()
  const { holder } = await ask(waiter)
  assert.deepEqual([holder?.pid, holder?.alive], [next.pid, false])
  assert.equal(wasLeft(await waiter.tell('try')), true)
}

async function keepsStopped({ holder, waiter, queue }: Pair): Promise<void> {
  await holder.tell('acquire')
  await stop(holder)
  assert.equal(await waiter.tell('acquire 150'), 'DEADLINE_EXCEEDED')
  assert.match(await waiter.tell('try'), /^busy/)
  process.kill(holder.pid, 'SIGCONT')
  const answer = await queue(waiter)
  await holder.tell('release')
  assert.equal(wasLeft(await answer()), false)
  await waiter.tell('release')
}

async function passesStopped({ holder, waiter, next, queue }: Pair): Promise<void> {
  await holder.tell('acquire')
  const stopped = await queue(waiter)
  const answer = await queue(next)
  await stop(waiter)
  await holder.tell('release')
  await answer()
  process.kill(waiter.pid, 'SIGCONT')
  await next.tell('release')
  assert.equal(wasLeft(await stopped()), false)
  await waiter.tell('release')
}

async function tells({ holder, waiter, next, queue, inspect }: Pair): Promise<void> {
  assert.deepEqual(inspect(), { holder: undefined, waiters: [] })
  await holder.tell('acquire')
  assert.deepEqual(inspect(), { holder: holder.pid, waiters: [] })
  const answers = new Map<LockHolder, () => Promise<string>>()
  for (const who of [waiter, next]) answers.set(who, await queue(who))
  assert.deepEqual(inspect(), { holder: holder.pid, waiters: [waiter.pid, next.pid] })
  let owner = holder
  while (answers.size > 0) {
    await owner.tell('release')
    // On a busy machine the first does not run for so long that the second passes it.
    owner = await Promise.race(Array.from(answers, ([who, answer]) => answer().then(() => who)))
    answers.delete(owner)
  }
  assert.deepEqual(inspect(), { holder: owner.pid, waiters: [] })
  await owner.tell('release')
}

interface Told {
  readonly holder: { readonly pid: number; readonly label: string; readonly since: number; readonly alive: boolean } | null
  readonly waiters: readonly { readonly pid: number; readonly since: number }[]
}

const ask = async (who: LockHolder): Promise<Told> => JSON.parse(await who.tell('inspect')) as Told

/** Of one clock, of which some keep parts of a millisecond. */
function assertBetween(since: number, before: number, after: number): void {
  assert.ok(since >= before - 1 && since <= after + 1, `${since} is not between ${before} and ${after}`)
}

/** In both languages, in turn by whoever holds it and one who only looks. */
async function saysWho({ holder, waiter, next, another, queue, labelOf }: Pair): Promise<void> {
  const looker = await another('waiter')
  for (const who of [holder, waiter]) {
    assert.deepEqual(await ask(looker), { holder: null, waiters: [] })
    const times = [Date.now()]
    await who.tell('acquire')
    times.push(Date.now())
    const other = who === holder ? waiter : holder
    const releases = []
    for (const each of [other, next]) {
      const answer = await queue(each)
      releases.push(async () => (await answer(), await each.tell('release')))
      times.push(Date.now())
    }
    for (const asked of [who, looker]) {
      const told = await ask(asked)
      const { since, ...has } = told.holder!
      assert.deepEqual(has, { pid: who.pid, label: labelOf(who), alive: true })
      assert.deepEqual(
        told.waiters.map(({ pid }) => pid),
        [other.pid, next.pid],
      )
      for (const [index, at] of [since, ...told.waiters.map((each) => each.since)].entries())
        assertBetween(at, times[index]!, times[index + 1]!)
    }
    await who.tell('release')
    await Promise.all(releases.map((release) => release()))
  }
}

/** Who waited is stopped, so that nothing but fairness keeps the other one from what is free. */
async function isFair({ place, holder, waiter, next, queue, inspect }: Pair, calm: (place: string) => void): Promise<void> {
  await holder.tell('acquire')
  const answer = await queue(waiter)
  await stop(waiter)
  calm(place)
  await holder.tell('release')
  assert.deepEqual(inspect(), { holder: undefined, waiters: [waiter.pid] })
  for (const other of [next, holder]) assert.match(await other.tell('try'), /^busy/, 'free, but promised')
  process.kill(waiter.pid, 'SIGCONT')
  assert.equal(wasLeft(await answer()), false)
}
