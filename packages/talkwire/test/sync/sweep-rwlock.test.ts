/** A process is killed, or stopped, at each single change of shared memory that an operation of a read-write lock makes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RwLock, UpgradableLock } from '../../src/sync/index.js'
import { NOTE } from './notes.js'
import { dead, FOREVER, KILLS, queueOf, SIGNALS, stoppedAtEach, until, type Actor, type Place, type Scene } from './sweeps.js'

const timeout = FOREVER

/** It can be had in each way, by whoever comes, and nobody waits. A writer who died within is told of until it is repaired. */
async function isWhole(lock: RwLock, name: string): Promise<void> {
  const shares = [await lock.acquireRead({ timeout }), await lock.acquireRead({ timeout })]
  const upgradable = await lock.acquireUpgradable({ timeout })
  assert.equal(lock.tryAcquireWrite(), undefined)
  for (const share of shares) share.release()
  const upgraded = await upgradable.upgrade({ timeout })
  assert.equal(lock.tryAcquireRead(), undefined)
  upgraded.release()
  upgradable.release()
  const writer = await lock.acquireWrite({ timeout })
  assert.ok(writer.fence > upgraded.fence)
  assert.equal(lock.tryAcquireRead(), undefined)
  writer.repaired()
  writer.release()
  const reader = await lock.acquireRead({ timeout })
  assert.equal(reader.abandoned, false)
  reader.release()
  assert.deepEqual([lock.inspect().readers, lock.inspect().holder], [[], undefined])
  assert.equal(queueOf('rwlock', name), 0)
}

const scene = ({ name }: Place, more: (lock: RwLock) => Partial<Scene> = () => ({})): Scene => {
  const lock = new RwLock(name)
  return { after: () => isWhole(lock, name), end: () => RwLock.unlink(name), ...more(lock) }
}

const isWaiting = (actor: Actor, name: string): Promise<void> =>
  until(() => actor.isOver() || queueOf('rwlock', name) > 0, 'it neither waits nor ends')

/** Has it so that nobody may write, or so that nobody may even read, unless somebody else keeps it for too long. */
async function inTime(lock: RwLock, how: (typeof HOW)[number]): Promise<(() => void) | undefined> {
  const grant = await lock[take[how]]({ timeout: 60 }).catch(() => undefined)
  if (!(grant instanceof UpgradableLock)) return grant && (() => grant.release())
  const upgraded = await grant.upgrade({ timeout: 60 }).catch(() => undefined)
  if (!upgraded) grant.release()
  return upgraded && (() => (upgraded.release(), grant.release()))
}

const HOW = ['read', 'write', 'upgrade'] as const
const take = { read: 'acquireRead', write: 'acquireWrite', upgrade: 'acquireUpgradable' } as const

for (const how of HOW) {
  for (const [killed, each] of KILLS) {
    test(`${how}: ${killed} at each change`, (t) => each(t, `rwlock ${how}`, (place) => scene(place)))

    if (how !== 'upgrade')
      test(`${how}, after a dead writer: ${killed} at each change`, (t) =>
        each(
          t,
          `rwlock ${how}`,
          (place) => scene(place),
          (places) => dead('rwlock release write', places),
        ))

    test(`${how}, after waiting: ${killed} at each change`, (t) =>
      each(t, `rwlock ${how}`, (place) => {
        const lock = new RwLock(place.name)
        const held = how === 'read' ? lock.acquireWriteSync() : lock.acquireReadSync()
        return scene(place, () => ({ meanwhile: async (actor) => (await isWaiting(actor, place.name), held.release()) }))
      }))
  }

  for (const other of HOW)
    if (how !== 'read' || other !== 'read')
      test(`${how}: stopped at each change while another one does ${other}`, async (t) => {
        let passed = 0
        await stoppedAtEach(t, `rwlock ${how}`, (place) =>
          scene(place, (lock) => ({
            async stopped(actor) {
              const { name, notes } = place
              const release = await inTime(lock, other)
              if (!release) return
              passed++
              Atomics.store(notes, NOTE.other, 1)
              assert.equal(Atomics.load(notes, NOTE.actor), 0)
              actor.goOn()
              await isWaiting(actor, name)
              Atomics.store(notes, NOTE.other, 0)
              release()
            },
          })),
        )
        assert.ok(passed > 0)
      })
}

for (const what of ['read', 'write'])
  for (const [signal, each] of SIGNALS)
    test(`release ${what}: ${signal} at each change; who waits to write and who waits to read get it`, (t) =>
      each(t, `rwlock release ${what}`, (place) => {
        let waiting: Promise<unknown> | undefined
        return scene(place, (lock) => ({
          async prepared() {
            const grants = [lock.acquireWrite({ timeout }), lock.acquireRead({ timeout }), lock.acquireUpgradable({ timeout })]
            waiting = Promise.all(grants.map(async (grant) => (await grant).release()))
            await until(() => queueOf('rwlock', place.name) > 0, 'nobody waits')
          },
          async after() {
            await waiting
            await isWhole(lock, place.name)
          },
        }))
      }))

for (const what of ['write', 'upgrade'])
  for (const [killed, each] of KILLS)
    test(`${what} in vain: ${killed} at each change; a reader who came meanwhile gets it`, (t) =>
      each(t, `rwlock ${what} in vain`, (place) => {
        const held = new RwLock(place.name).acquireReadSync()
        return scene(place, (lock) => ({
          async meanwhile(actor) {
            await isWaiting(actor, place.name)
            const reader = await lock.acquireRead({ timeout })
            reader.release()
          },
          async after() {
            held.release()
            await isWhole(lock, place.name)
          },
        }))
      }))
