/** A process is killed, or stopped, at each single change of shared memory that an operation of a condition makes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { idOf } from '../../src/memory/owner.js'
import { Condition, Mutex, type Lock } from '../../src/sync/index.js'
import { openLock } from '../../src/sync/place.js'
import { waiters } from '../../src/sync/queue.js'
import { NOTE } from './notes.js'
import { FOREVER, queueOf, SIGNALS, until, type Place, type Scene } from './sweeps.js'

const timeout = FOREVER

interface Parts {
  readonly mutex: Mutex
  readonly condition: Condition
  /** With the mutex in hand. What a dead one left is repaired. */
  within(action: (lock: Lock) => unknown): Promise<void>
  /** Waits until it is notified. */
  wait(): Promise<void>
}

function open({ name }: Place): Parts {
  const [mutex, condition] = [new Mutex(name), new Condition(name)]
  const within: Parts['within'] = async (action) => {
    using lock = await mutex.acquire({ timeout })
    lock.repaired()
    await action(lock)
  }
  return { mutex, condition, within, wait: () => within((lock) => condition.wait(lock, { timeout })) }
}

const queue = (name: string): number => queueOf('condition', name)

/** This process is in the queue, whoever else is. */
const waitsHere = (name: string): boolean => waiters(openLock('condition', name)).some(({ who }) => idOf(who) === process.pid)

/** One waits, and is told. */
async function isWhole({ condition, within, wait }: Parts, name: string): Promise<void> {
  const waiting = wait()
  await until(() => queue(name) === 1, 'it does not wait')
  await within(() => condition.notify())
  await waiting
  assert.equal(queue(name), 0)
}

const end =
  ({ name }: Place) =>
  (): void => {
    Mutex.unlink(name)
    Condition.unlink(name)
  }

for (const operation of ['condition wait', 'condition wait in vain'])
  for (const [signal, each] of SIGNALS)
    test(`${operation}: ${signal} at each change; what it was told of goes to the next one`, (t) =>
      each(t, operation, (place): Scene => {
        const { name, notes } = place
        const parts = open(place)
        let next: Promise<void> | undefined
        return {
          async meanwhile(actor) {
            await until(() => actor.isOver() || queue(name) === 1, 'it neither waits nor ends')
            let woken = false
            next = parts.wait().finally(() => (woken = true))
            // Not before it waits; unless the one who dies with the mutex in hand has woken it already.
            await until(() => woken || waitsHere(name), 'nobody waits behind it')
            await parts.within(() => parts.condition.notify())
          },
          // While it has the mutex in hand everybody waits for it.
          async stopped() {
            const lock = await parts.mutex.acquire({ timeout: 60 }).catch(() => undefined)
            lock?.release()
          },
          async after(done) {
            const told = done && Atomics.load(notes, NOTE.done) === 1
            if (told) await parts.within(() => parts.condition.notify())
            await next
            await isWhole(parts, name)
          },
          end: end(place),
        }
      }))

for (const [operation, waiters] of [
  ['condition notify', 1],
  ['condition notify all', 3],
] as const)
  for (const [signal, each] of SIGNALS)
    test(`${operation}: ${signal} at each change; all who wait are woken`, (t) =>
      each(t, operation, async (place): Promise<Scene> => {
        const parts = open(place)
        const waiting = Array.from({ length: waiters }, parts.wait)
        await until(() => queue(place.name) === waiters, 'they do not wait')
        return {
          async after(done) {
            const lock = await parts.mutex.acquire({ timeout })
            // Whoever dies with the mutex in hand wakes all by that.
            if (!done && !lock.abandoned) parts.condition.notifyAll()
            lock.repaired()
            lock.release()
            await Promise.all(waiting)
            await isWhole(parts, place.name)
          },
          end: end(place),
        }
      }))
