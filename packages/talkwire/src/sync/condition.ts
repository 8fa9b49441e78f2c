/** Waiting for a change of what a mutex guards: docs/sync/condition.md, spec/sync.md § 10. */
import { TalkwireError } from '../error.js'
import { isAlive, NOBODY } from '../memory/owner.js'
import { waitersOf, type Waiters } from './inspect.js'
import { WORD } from './lock-layout.js'
import type { Lock, Ownership } from './mutex.js'
import { openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import { answer, enqueue, inheritNotice, isNotified, leaveCondition, notify, type Place } from './queue.js'
import { Tasks, type WaitOptions } from './tasks.js'
import { keepLooking } from './waiting.js'

export class Condition {
  private readonly block: Block

  /** By name, or in memory of your own (1024 bytes). Throws as `Mutex` does. */
  constructor(place: string | LockPlace) {
    this.block = openLock('condition', place)
  }

  /**
   * Lets go of the lock, waits for `notify()` or `notifyAll()`, and has the lock again when it settles, in any case; its
   * `fence` and `abandoned` are then the new grant's. It also resolves when the mutex's owner dies: look at the data, and
   * wait again if they are not as you want them. Rejects with DEADLINE_EXCEEDED or the signal's reason (`timeout` does not
   * count the time to get the lock again), CLOSED, and LIMIT_EXCEEDED when 29 wait already.
   */
  async wait(lock: Lock, options: WaitOptions = {}): Promise<void> {
    const { block } = this
    options.signal?.throwIfAborted()
    const place = enqueue(block)
    if (!place) throw new TalkwireError('LIMIT_EXCEEDED', `${block.title} has as many waiters as it has places for; use several conditions`)
    let woken = false
    try {
      await lock.without(async (mutex) => {
        await this.untilNotified(mutex, place, options)
        woken = true
      })
    } finally {
      // The place stays until the mutex is there again: if its owner dies before that, somebody else takes over what it was told.
      leaveCondition(block, place, woken)
    }
  }

  /** Wakes the one that has waited longest. Call it with the mutex held, after the change. Does not block. */
  notify(): void {
    notify(this.block, false)
  }

  /** Wakes all who wait. */
  notifyAll(): void {
    notify(this.block, true)
  }

  /** Who waits for a notice. */
  inspect(): { readonly waiters: Waiters } {
    return { waiters: waitersOf(this.block) }
  }

  /** Takes a name away. Who has it open keeps the old one. Throws NOT_FOUND. */
  static unlink(name: string): void {
    unlinkLock('condition', name)
  }

  private untilNotified(mutex: Ownership, place: Place, options: WaitOptions): Promise<void> {
    const { block } = this
    const deaths = deathsOf(mutex)
    let stop: (() => void) | undefined
    const tasks = new Tasks<void>(block.title, () => stop?.())
    const waiting = tasks.add(options)
    const attempt = (late: boolean): boolean => {
      answer(block, place)
      return isNotified(block, place) || (late && (hasDied(mutex, deaths) || inheritNotice(block, place)))
    }
    stop = keepLooking({ title: block.title, attempt, owner: () => mutex.owner() }, (failure) => {
      if (failure === undefined) tasks.resolveFirst()
      else tasks.rejectAll(failure)
    })
    return waiting
  }
}

const deathsOf = ({ block }: Ownership): number => Atomics.load(block.word, WORD.deaths)

function hasDied(mutex: Ownership, before: number): boolean {
  const owner = mutex.owner()
  return Atomics.load(mutex.block.word, WORD.damaged) !== 0 || deathsOf(mutex) !== before || (owner !== NOBODY && !isAlive(owner))
}
