/** A process is killed, or stopped, at each single change of shared memory that an operation of a semaphore makes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Semaphore, type Permit } from '../../src/sync/index.js'
import { NOTE } from './notes.js'
import { startParty } from './holders.js'
import {
  dead,
  FOREVER,
  isMarked,
  isStopped,
  killedAtEach,
  KILLS,
  queueOf,
  SIGNALS,
  stoppedAtEach,
  until,
  type Actor,
  type Place,
  type Scene,
} from './sweeps.js'

const timeout = FOREVER

/** All permits are there, no more, and nobody waits. */
async function isWhole(semaphore: Semaphore, permits: number, name: string): Promise<void> {
  const all: Permit[] = []
  for (let n = 0; n < permits; n++) all.push(await semaphore.acquire({ timeout }))
  assert.equal(semaphore.tryAcquire(), undefined)
  for (const permit of all) permit.release()
  assert.equal(semaphore.available, permits)
  assert.equal(queueOf('semaphore', name), 0)
}

const scene = ({ name }: Place, more: (semaphore: Semaphore) => Partial<Scene>): Scene => {
  const semaphore = new Semaphore(name, { permits: 1 })
  return { after: () => isWhole(semaphore, 1, name), end: () => Semaphore.unlink(name), ...more(semaphore) }
}

const isWaiting = (actor: Actor, name: string): Promise<void> =>
  until(() => actor.isOver() || queueOf('semaphore', name) > 0, 'it neither waits nor ends')

for (const [killed, each] of KILLS) {
  test(`semaphore: ${killed} at each change`, (t) => each(t, 'semaphore sync', (place) => scene(place, () => ({}))))

  test(`semaphore, of a dead one: ${killed} at each change`, (t) =>
    each(
      t,
      'semaphore sync',
      (place) => scene(place, () => ({})),
      (places) => dead('semaphore release', places),
    ))
}

for (const operation of ['semaphore sync', 'semaphore async']) {
  for (const [killed, each] of KILLS)
    if (each === killedAtEach || operation === 'semaphore sync')
      test(`${operation}, after waiting: ${killed} at each change`, (t) =>
        each(t, operation, async (place) => {
          const held = new Semaphore(place.name, { permits: 1 }).acquireSync()
          return scene(place, () => ({ meanwhile: async (actor) => (await isWaiting(actor, place.name), held.release()) }))
        }))

  test(`${operation}: stopped at each change while another one wants it`, async (t) => {
    let passed = 0
    await stoppedAtEach(t, operation, (place) =>
      scene(place, (semaphore) => ({
        async stopped(actor) {
          const { name, notes } = place
          const permit = await semaphore.acquire({ timeout: 60 }).catch(() => undefined)
          if (!permit) return
          passed++
          Atomics.store(notes, NOTE.other, 1)
          assert.equal(Atomics.load(notes, NOTE.actor), 0)
          actor.goOn()
          await isWaiting(actor, name)
          Atomics.store(notes, NOTE.other, 0)
          permit.release()
        },
      })),
    )
    assert.ok(passed > 0)
  })
}

for (const [killed, each] of KILLS)
  test(`semaphore in vain: ${killed} at each change`, (t) =>
    each(t, 'semaphore in vain', ({ name, ...rest }) => {
      const held = new Semaphore(name, { permits: 1 }).acquireSync()
      return scene({ name, ...rest }, (semaphore) => ({
        async after() {
          held.release()
          await isWhole(semaphore, 1, name)
        },
      }))
    }))

for (const [signal, each] of SIGNALS)
  test(`semaphore release: ${signal} at each change, whoever waits gets it`, (t) =>
    each(t, 'semaphore release', (place) => {
      let waiting: Promise<Permit> | undefined
      return scene(place, (semaphore) => ({
        async prepared() {
          waiting = semaphore.acquire({ timeout })
          await until(() => queueOf('semaphore', place.name) === 1, 'it does not wait')
        },
        async after() {
          ;(await waiting!).release()
          await isWhole(semaphore, 1, place.name)
        },
      }))
    }))

for (const [killed, each] of KILLS)
  test(`semaphore release: ${killed} at each change; who waits after that is going to be woken`, (t) =>
    each(t, 'semaphore release', async (place) => {
      const { name } = place
      const party = await startParty('semaphore', name, '1')
      let answers: Promise<[Permit, string]> | undefined
      return scene(place, (semaphore) => ({
        async prepared() {
          const permit = semaphore.acquire({ timeout })
          await until(() => queueOf('semaphore', name) === 1, 'it does not wait')
          answers = Promise.all([permit.then((mine) => hold(mine, name, party.pid)), party.tell('acquire')])
          await until(() => queueOf('semaphore', name) === 2, 'it does not wait')
          // The other one is to have it first.
          process.kill(party.pid, 'SIGSTOP')
          await until(() => isStopped(party.pid), 'it does not stop')
        },
        async after() {
          assert.match((await answers!)[1], /^acquired/)
          await party.tell('release')
          await isWhole(semaphore, 1, name)
          await party.end()
        },
      }))
    }))

/** Keeps it until the one who waits for it counts on being woken, and is: whoever lets go rings only then. */
async function hold(permit: Permit, name: string, waiting: number): Promise<Permit> {
  process.kill(waiting, 'SIGCONT')
  await until(() => queueOf('semaphore', name) === 1 && isMarked('semaphore', name), 'nobody would wake it')
  permit.release()
  return permit
}

for (const [killed, each] of KILLS)
  test(`signals: ${killed} at each change of a post, and of a take`, async (t) => {
    const counted = ({ name }: Place, before: number, possible: readonly number[]): Scene => {
      const semaphore = new Semaphore(name, { permits: 0, signalling: true })
      for (let n = 0; n < before; n++) semaphore.post()
      return {
        async after(done) {
          const { available } = semaphore
          assert.ok(possible.includes(available), `${available} are there`)
          if (done) assert.equal(available, possible.at(-1))
          semaphore.post()
          await semaphore.acquire({ timeout })
          assert.equal(semaphore.available, available)
          assert.equal(queueOf('semaphore', name), 0)
        },
        end: () => Semaphore.unlink(name),
      }
    }
    await each(t, 'signals post', (place) => counted(place, 2, [2, 3]))
    await each(t, 'signals take', (place) => counted(place, 2, [2, 1]))
  })
