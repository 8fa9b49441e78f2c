/** Those of one thread who want the same thing of a lock. Together they have one place in the queue that all processes share. */
import { store } from '../memory/store.js'
import { FAIR, WORD } from './lock-layout.js'
import type { Block } from './place.js'
import { answer, dequeue, enqueue, isFirst, remain, wakeFirst, type Place } from './queue.js'
import { Tasks, type WaitOptions } from './tasks.js'
import { keepLooking, waitSync, type Waitable } from './waiting.js'

/** What there is to be had. */
export interface Offer<T> {
  readonly block: Block
  /**
   * Takes it if it is free. `late`: nobody rang, so whoever has it may be dead; then it is free. `waits`: whoever asks goes on
   * to wait, and `giveUp` is called if that was in vain: half of it may be kept until then.
   */
  take(late: boolean, waits: boolean): T | undefined
  giveUp?(): void
  /** Whether `take` would get it. Looks for the dead, too. */
  isFree(): boolean
  /** Whose end would free it; NOBODY if nobody's alone. */
  owner(): bigint
  /** This thread has all there is: its next one waits for `carryOn`. */
  readonly held: boolean
  /** The number of the last grant. */
  lastGrant(): number | bigint
  /** Whether several may have it at a time, so that there may be more when one was taken. */
  readonly many: boolean
  /** Whether those who came first go first, once one of them has waited too long or the lock is fair. */
  readonly ordered: boolean
}

/** Milliseconds after which a waiter is no longer passed by those who come later. */
const HUNGRY = 2
/** Looks before a thread sleeps. More would take the processor from an owner that needs it. */
const SPINS = 100
/** Milliseconds between two questions whether an owner lives, by somebody who does not wait. Each costs some microseconds. */
const LOOK_AGAIN = 4

export class Line<T> {
  private readonly tasks: Tasks<T>
  private stopLooking: (() => void) | undefined
  private lookedAt = 0

  constructor(readonly offer: Offer<T>) {
    this.tasks = new Tasks(offer.block.title, () => this.stopLooking?.())
  }

  /** At once or not at all. From the dead, too, if nobody did that a moment ago. */
  tryTake(): T | undefined {
    const taken = this.takeInTurn(undefined, false, false)
    if (taken !== undefined) return taken
    const now = performance.now()
    if (now - this.lookedAt < LOOK_AGAIN) return undefined
    this.lookedAt = now
    return this.takeInTurn(undefined, true, false)
  }

  /** Rejects with DEADLINE_EXCEEDED or the signal's reason; then nothing was taken. */
  wait(options: WaitOptions): Promise<T> {
    if (options.signal?.aborted) return Promise.reject(options.signal.reason as Error)
    const taken = this.tasks.size === 0 ? this.takeInTurn(undefined, false, false) : undefined
    if (taken !== undefined) return Promise.resolve(taken)
    const turn = this.tasks.add(options)
    this.carryOn()
    return turn
  }

  /** Blocks this thread. Throws DEADLINE_EXCEEDED; then nothing was taken. */
  waitSync(timeout: number | undefined): T {
    for (let spin = 0; spin < SPINS; spin++) {
      const taken = this.takeInTurn(undefined, false, false)
      if (taken !== undefined) return taken
    }
    const wish = new Wish(this)
    try {
      waitSync(wish, timeout)
    } finally {
      wish.leave()
    }
    return wish.taken!
  }

  /** Gets it for the first of the tasks. To be called when this thread has let go. */
  carryOn(): void {
    if (this.stopLooking || this.tasks.size === 0 || this.offer.held) return
    const wish = new Wish(this)
    let stop: (() => void) | undefined
    const end = (): void => {
      this.stopLooking = undefined
      stop?.()
      wish.leave()
    }
    this.stopLooking = end
    stop = keepLooking(wish, (failure) => {
      end()
      if (wish.taken === undefined) this.tasks.rejectAll(failure)
      else this.tasks.resolveFirst(wish.taken)
      this.carryOn()
    })
    if (this.stopLooking !== end) stop()
  }

  /** Undefined when it is not free, or somebody who waits is to go first. */
  takeInTurn(place: Place | undefined, late: boolean, waits: boolean): T | undefined {
    const { offer } = this
    return !offer.ordered || mayGo(offer.block, place) ? offer.take(late, waits) : undefined
  }
}

/** Whether it is this one's turn. */
function mayGo(block: Block, place: Place | undefined): boolean {
  const { word } = block
  const strict = Atomics.load(word, WORD.hungry) !== 0 || (Atomics.load(word, WORD.flags) & FAIR) !== 0
  return !strict || Atomics.load(word, WORD.waiting) === 0 || isFirst(block, place)
}

/** One who wants it and has a place in the queue. */
class Wish<T> implements Waitable {
  taken: T | undefined
  private place: Place | undefined
  private readonly since = performance.now()
  /** The last grant when it was free and another's turn, at the look before. */
  private left: number | bigint | undefined

  constructor(private readonly line: Line<T>) {}

  get title(): string {
    return this.line.offer.block.title
  }

  owner(): bigint {
    return this.line.offer.owner()
  }

  attempt(late: boolean): boolean {
    const { block } = this.line.offer
    if (this.place) answer(block, this.place)
    this.taken = this.line.takeInTurn(this.place, late, true)
    if (this.taken === undefined && !this.place) {
      // Whoever lets go from here on finds the place; whoever did before is found by the second look.
      this.place = enqueue(block)
      this.taken = this.line.takeInTurn(this.place, late, true)
    }
    if (this.taken === undefined && late) this.passOne()
    if (this.taken === undefined && this.place) remain(block)
    if (this.taken === undefined && this.place && performance.now() - this.since > HUNGRY) store(block.word, WORD.hungry, 1)
    return this.taken !== undefined
  }

  /** Free now, and since the look before: whoever is to go first is stopped, or dead, and is passed. */
  private passOne(): void {
    const { offer } = this.line
    const grant = offer.isFree() ? offer.lastGrant() : undefined
    if (grant !== undefined && grant === this.left) this.taken = offer.take(true, true)
    this.left = grant
  }

  leave(): void {
    const { offer } = this.line
    const { block, many } = offer
    if (this.taken === undefined) offer.giveUp?.()
    if (!this.place) return
    if (Atomics.load(block.word, WORD.hungry) !== 0 && isFirst(block, this.place)) store(block.word, WORD.hungry, 0)
    dequeue(block, this.place)
    this.place = undefined
    // Somebody may have let go and rung here, in vain or for more than one.
    if (many || this.taken === undefined) wakeFirst(block)
  }
}
