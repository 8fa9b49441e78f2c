/** A process is killed, or stopped, at each single change of shared memory that an operation of a barrier, an event or a once makes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isAlive, NOBODY } from '../../src/memory/owner.js'
import { Barrier, Event, Once } from '../../src/sync/index.js'
import { SLOT_LONG, SLOTS, WORD } from '../../src/sync/lock-layout.js'
import { openLock } from '../../src/sync/place.js'
import { NOTE } from './notes.js'
import { FOREVER, queueOf, SIGNALS, until, type Place, type Scene } from './sweeps.js'

const timeout = FOREVER

const outcome = (wait: Promise<void>): Promise<string> =>
  wait.then(
    () => 'passed',
    (reason: unknown) => String((reason as { code?: string }).code),
  )

/** One more round, in which all are there. */
async function isWhole(barrier: Barrier, name: string): Promise<void> {
  if (barrier.isBroken) await barrier.reset({ timeout })
  assert.deepEqual(await Promise.all(parties(barrier, 3)), ['passed', 'passed', 'passed'])
  assert.equal(queueOf('barrier', name), 0)
}

const parties = (barrier: Barrier, count: number): Promise<string>[] =>
  Array.from({ length: count }, () => outcome(barrier.wait({ timeout })))

const barrierScene = ({ name }: Place, more: (barrier: Barrier) => Partial<Scene>): Scene => {
  const barrier = new Barrier(name, 3)
  return { after: () => isWhole(barrier, name), end: () => Barrier.unlink(name), ...more(barrier) }
}

/** The first round is over. */
const hasPassed = (name: string): boolean => Atomics.load(openLock('barrier', name).word, WORD.value) >>> 7 !== 0

function hasDeadParty(name: string): boolean {
  const { long } = openLock('barrier', name)
  const slots = Array.from({ length: SLOTS }, (_, slot) => Atomics.load(long, SLOT_LONG + slot))
  return slots.some((owner) => owner !== NOBODY && !isAlive(owner))
}

for (const [signal, each] of SIGNALS) {
  test(`barrier: ${signal} at each change; the others all pass, or it breaks for all`, (t) =>
    each(t, 'barrier', (place) =>
      barrierScene(place, (barrier) => {
        const others = parties(barrier, 2)
        return {
          async after(done) {
            const { name } = place
            if (!hasPassed(name) && !hasDeadParty(name) && !barrier.isBroken) others.push(outcome(barrier.wait({ timeout })))
            const [first, ...rest] = await Promise.all(others)
            assert.ok(first === 'passed' || (first === 'BROKEN_BARRIER' && !done), first)
            assert.deepEqual(new Set([first, ...rest]).size, 1)
            await isWhole(barrier, name)
          },
        }
      }),
    ))

  test(`barrier in vain: ${signal} at each change; it breaks for who waits, if anybody was to be waited for`, (t) =>
    each(t, 'barrier in vain', (place) =>
      barrierScene(place, (barrier) => {
        const other = outcome(barrier.wait({ timeout }))
        return {
          async after(done) {
            const { name } = place
            const breaks = done || hasDeadParty(name) || barrier.isBroken
            const all = breaks ? [] : parties(barrier, 2)
            assert.deepEqual(new Set(await Promise.all([other, ...all])), new Set([breaks ? 'BROKEN_BARRIER' : 'passed']))
            await isWhole(barrier, name)
          },
        }
      }),
    ))

  test(`barrier reset: ${signal} at each change`, (t) =>
    each(t, 'barrier reset', async (place) => {
      const broken = new Barrier(place.name, 3)
      assert.equal(await outcome(broken.wait({ timeout: 1 })), 'DEADLINE_EXCEEDED')
      assert.equal(broken.isBroken, true)
      return barrierScene(place, (barrier) => ({
        stopped: () => isWhole(barrier, place.name),
        async after(done) {
          if (done) assert.equal(barrier.isBroken, false)
          await isWhole(barrier, place.name)
        },
      }))
    }))

  test(`event set: ${signal} at each change; who waits passes`, (t) =>
    each(t, 'event set', async ({ name }) => {
      const event = new Event(name)
      const waiting = event.wait({ timeout })
      await until(() => queueOf('event', name) === 1, 'it does not wait')
      return {
        stopped: () => event.set(),
        async after(done) {
          assert.ok(event.isSet || !done)
          if (!event.isSet) event.set()
          await waiting
          assert.equal(queueOf('event', name), 0)
        },
        end: () => Event.unlink(name),
      }
    }))

  test(`event wait: ${signal} at each change`, (t) =>
    each(t, 'event wait', ({ name }) => {
      const event = new Event(name)
      return {
        async meanwhile(actor) {
          await until(() => actor.isOver() || queueOf('event', name) === 1, 'it neither waits nor ends')
          event.set()
        },
        stopped: () => event.set(),
        async after() {
          await event.wait({ timeout })
          event.reset()
          await assert.rejects(event.wait({ timeout: 5 }))
          assert.equal(queueOf('event', name), 0)
        },
        end: () => Event.unlink(name),
      }
    }))

  test(`event reset: ${signal} at each change`, (t) =>
    each(t, 'event reset', ({ name }) => {
      const event = new Event(name)
      event.set()
      return {
        after: (done) => assert.equal(event.isSet, !done),
        end: () => Event.unlink(name),
      }
    }))

  test(`once: ${signal} at each change; it is done, and once by those who live`, (t) =>
    each(t, 'once', ({ name, notes }) => {
      const once = new Once(name)
      const run = (most: number): Promise<boolean> => once.run(() => Atomics.add(notes, NOTE.done, 1), { timeout: most })
      let here = 0
      return {
        async stopped() {
          if (await run(60).catch(() => false)) here++
        },
        async after(done) {
          const before = once.isDone
          if (done) assert.equal(before, true)
          assert.equal(await run(timeout), !before)
          assert.equal(await run(timeout), false)
          if (done) assert.equal(notes[NOTE.done], 1)
          else assert.ok(notes[NOTE.done]! === 1 || notes[NOTE.done] === 2)
          assert.ok(here <= 1)
          assert.equal(queueOf('once', name), 0)
        },
        end: () => Once.unlink(name),
      }
    }))
}
