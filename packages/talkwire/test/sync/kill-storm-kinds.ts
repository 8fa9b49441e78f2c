/** What is true after a storm of kills, for each kind. */
import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import type { SharedMemory } from '../../src/memory/shared-memory.js'
import { mapBytes, SharedMap } from '../../src/memory/map.js'
import { isAlive } from '../../src/memory/owner.js'
import { ARRIVALS, SLOTS, WORD as LOCK_WORD } from '../../src/sync/lock-layout.js'
import { openLock } from '../../src/sync/place.js'
import { ownersOf } from '../../src/sync/slots.js'
import { Barrier, Condition, Mutex, RwLock, Semaphore } from '../../src/sync/index.js'
import { CONFIRMED, MAP, MAP_AT, numberIn, patternOf, PERMITS, ROOM, SHARES, WORD } from './journal.js'

export interface Place {
  readonly name: string
  readonly memory: SharedMemory
  readonly numbers: Int32Array
  readonly workers: number
}

interface StormKind {
  prepare?(place: Place): void
  /** Before the one that was killed is started anew. */
  restart?(place: Place, victim: number): Promise<void>
  /** Throws when anything is wrong. How much was completed. */
  check(place: Place, kills: number): Promise<number>
  end(name: string): void
}

const timeout = 60_000
const sum = (numbers: Int32Array): number => numbers.reduce((all, one) => all + one, 0)
const sharesOf = ({ numbers }: Place): number => sum(numbers.subarray(SHARES, CONFIRMED))
const confirmedOf = ({ numbers, workers }: Place): number => sum(numbers.subarray(CONFIRMED, CONFIRMED + workers))

/** Each addition that somebody had completed is there; at most one a kill was done and not noted. */
function isExact(place: Place, kills: number, damaged: boolean): number {
  const [total, shares, confirmed] = [place.numbers[WORD.total]!, sharesOf(place), confirmedOf(place)]
  // Only whoever died within may have added to the one and not to the other.
  assert.ok(total === shares || (damaged && total === shares + 1), `${total} in all, ${shares} in shares`)
  assert.ok(shares >= confirmed && shares <= confirmed + kills, `${shares} added, ${confirmed} confirmed, ${kills} killed`)
  return confirmed
}

export const kinds = {
  mutex: {
    async check(place, kills) {
      const mutex = new Mutex(place.name)
      const lock = await mutex.acquire({ timeout })
      const sections = isExact(place, kills, lock.abandoned)
      lock.repaired()
      lock.release()
      assert.deepEqual(mutex.inspect().waiters, [])
      return sections
    },
    end: (name) => Mutex.unlink(name),
  },
  semaphore: {
    async check(place, kills) {
      const semaphore = new Semaphore(place.name, { permits: 1 })
      const permit = await semaphore.acquire({ timeout })
      const sections = isExact(place, kills, permit.inherited)
      assert.equal(semaphore.tryAcquire(), undefined)
      permit.release()
      return sections
    },
    end: (name) => Semaphore.unlink(name),
  },
  permits: {
    async check(place) {
      const semaphore = new Semaphore(place.name, { permits: PERMITS })
      const permits = []
      for (let n = 0; n < PERMITS; n++) permits.push(await semaphore.acquire({ timeout }))
      assert.equal(semaphore.tryAcquire(), undefined)
      for (const permit of permits) permit.release()
      return confirmedOf(place)
    },
    end: (name) => Semaphore.unlink(name),
  },
  rwlock: {
    async check(place, kills) {
      const lock = new RwLock(place.name)
      const writer = await lock.acquireWrite({ timeout })
      const { numbers } = place
      if (!writer.abandoned) assert.equal(numbers[WORD.total], numbers[WORD.twin])
      const shares = sharesOf(place)
      const total = numbers[WORD.total]!
      assert.ok(total === shares || (writer.abandoned && total === shares + 1), `${total} written, ${shares} in shares`)
      writer.repaired()
      writer.release()
      assert.equal(lock.inspect().readers.length, 0)
      assert.ok(kills > 0)
      return confirmedOf(place)
    },
    end: (name) => RwLock.unlink(name),
  },
  condition: {
    async check(place, kills) {
      const { numbers } = place
      const mutex = new Mutex(place.name)
      const lock = await mutex.acquire({ timeout })
      lock.repaired()
      lock.release()
      const [put, taken] = [numbers[WORD.put]!, numbers[WORD.taken]!]
      assert.ok(put >= taken && put - taken <= ROOM, `${put} put in, ${taken} taken out`)
      const confirmed = confirmedOf(place)
      assert.ok(
        put + taken >= confirmed && put + taken <= confirmed + kills,
        `${put} in, ${taken} out, ${confirmed} confirmed, ${kills} killed`,
      )
      return confirmed
    },
    end(name) {
      Mutex.unlink(name)
      for (const what of ['room', 'entries']) Condition.unlink(`${name}-${what}`)
    },
  },
  barrier: {
    /** Nobody passes without the one that was killed. Once all others wait for it, they have passed the same rounds; then it joins them. */
    async restart({ name, numbers, workers }, victim) {
      const block = openLock('barrier', name)
      const isSettled = (): boolean =>
        (Atomics.load(block.word, LOCK_WORD.value) & ARRIVALS) === workers - 1 && ownersOf(block, { from: 0, count: SLOTS }).every(isAlive)
      const rounds = numbers.subarray(SHARES, SHARES + workers)
      for (const end = performance.now() + timeout; !isSettled(); await delay(1))
        assert.ok(performance.now() < end, 'not everybody comes to the next round')
      const others = Array.from(rounds).filter((_, worker) => worker !== victim)
      assert.equal(new Set(others).size, 1, `some passed a round, and some did not: ${others.join(' ')}`)
      Atomics.store(rounds, victim, others[0]!)
    },
    async check(place) {
      const { workers, name } = place
      const barrier = new Barrier(name, workers)
      // Those who were killed while they waited broke it, or nobody did.
      const parties = (): Promise<unknown>[] => Array.from({ length: workers }, () => barrier.wait({ timeout }))
      await Promise.allSettled(parties())
      await barrier.reset({ timeout })
      await Promise.all(parties())
      return confirmedOf(place)
    },
    end: (name) => Barrier.unlink(name),
  },
  map: {
    prepare: ({ memory }) => void new SharedMap({ memory, offset: MAP_AT }, MAP),
    async check(place) {
      const { memory, numbers, workers } = place
      assert.ok(mapBytes(MAP) <= memory.size - MAP_AT)
      const map = new SharedMap({ memory, offset: MAP_AT })
      for (let worker = 0; worker < workers; worker++) {
        const value = map.get(`w${worker}`)
        const seen = value ? numberIn(value) : 0
        const [begun, done] = [numbers[SHARES + worker]!, numbers[CONFIRMED + worker]!]
        assert.ok(seen === done || seen === begun, `worker ${worker}: ${seen}, of ${done} to ${begun}`)
      }
      assert.ok(map.set('one more', patternOf(1)))
      return confirmedOf(place)
    },
    end() {},
  },
} satisfies Record<string, StormKind> as Record<'mutex' | 'semaphore' | 'permits' | 'rwlock' | 'condition' | 'barrier' | 'map', StormKind>

export type Kind = keyof typeof kinds
