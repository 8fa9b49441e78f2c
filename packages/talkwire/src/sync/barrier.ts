/** A place where so many wait for each other: docs/sync/barrier.md, spec/sync.md § 11. */
import { TalkwireError } from '../error.js'
import { isAlive, NOBODY } from '../memory/owner.js'
import { swap } from '../memory/store.js'
import { inspectBarrier, type BarrierInfo } from './inspect.js'
import { ARRIVAL_BITS, ARRIVALS, isBrokenState, SLOTS, WORD } from './lock-layout.js'
import { agree, openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import { answer, dequeue, enqueue, wakeAll, type Place } from './queue.js'
import { freeSlot, ownersOf, reap, takeSlot, type Range } from './slots.js'
import { Tasks, type WaitOptions } from './tasks.js'
import { keepLooking } from './waiting.js'

const MOST = 64

export class Barrier {
  private readonly block: Block

  /** For so many `parties` (1 to 64; all who use it say the same), by name, or in memory of your own (2048 bytes). Throws as `Mutex` does. */
  constructor(
    place: string | LockPlace,
    readonly parties: number,
  ) {
    if (!Number.isInteger(parties) || parties < 1 || parties > MOST)
      throw new RangeError(`${parties} parties: take a whole number from 1 to ${MOST}`)
    this.block = openLock('barrier', place)
    agree(this.block, WORD.limit, parties, 'parties')
  }

  get isBroken(): boolean {
    return isBrokenState(stateOf(this.block))
  }

  /**
   * Resolves when all parties are there; the barrier is then ready for the next time. Rejects for all with BROKEN_BARRIER
   * when one of those who wait dies, or gives up: then DEADLINE_EXCEEDED or the signal's reason is what that one gets.
   */
  async wait(options: WaitOptions = {}): Promise<void> {
    options.signal?.throwIfAborted()
    const { promise, end } = this.arrive(options)
    try {
      await promise
    } finally {
      end()
    }
  }

  private arrive(options: WaitOptions): { promise: Promise<void>; end: () => void } {
    const { block, parties } = this
    let arrival: Arrival | undefined
    let place: Place | undefined
    const attempt = (late: boolean): boolean => {
      if (place) answer(block, place)
      place ??= enqueue(block)
      arrival ??= arriveAt(block, parties)
      if (late) breakIfDead(block, arrival?.generation ?? generationOf(stateOf(block)))
      return arrival !== undefined && isPassed(block, arrival)
    }
    let stop: (() => void) | undefined
    const tasks = new Tasks<void>(block.title, () => stop?.())
    const promise = tasks.add(options)
    stop = keepLooking({ title: block.title, attempt, owner: () => NOBODY }, (failure) => {
      if (failure === undefined) tasks.resolveFirst()
      else tasks.rejectAll(failure)
    })
    const end = (): void => {
      stop?.()
      // Whoever leaves before all are there takes a part away that the others count on.
      if (arrival) breakGeneration(block, arrival.generation)
      if (arrival) freeSlot(block, arrival.slot)
      if (place) dequeue(block, place)
    }
    return { promise, end }
  }

  /** Who is there; whether it is broken, or will be as soon as one of them looks, because a party died. */
  inspect(): BarrierInfo {
    return inspectBarrier(this.block)
  }

  /**
   * Makes it usable again after it broke, as soon as everybody who waited has learned of it and left; the dead need not. Does
   * nothing when it is not broken. Rejects with DEADLINE_EXCEEDED or the signal's reason; then it is still broken.
   */
  async reset(options: WaitOptions = {}): Promise<void> {
    options.signal?.throwIfAborted()
    const { block } = this
    let stop: (() => void) | undefined
    const tasks = new Tasks<void>(block.title, () => stop?.())
    const promise = tasks.add(options)
    const owner = (): bigint => ownersOf(block, ALL)[0] ?? NOBODY
    stop = keepLooking({ title: block.title, attempt: () => begin(block), owner }, () => tasks.resolveFirst())
    await promise
  }

  /** Takes a name away. Who has it open keeps the old one. Throws NOT_FOUND. */
  static unlink(name: string): void {
    unlinkLock('barrier', name)
  }
}

interface Arrival {
  readonly generation: number
  readonly slot: number
}

/**
 * One step counts an arrival, begins the next generation, or breaks this one, so that whoever waits for a generation never takes
 * one for the other.
 */
const stateOf = ({ word }: Block): number => Atomics.load(word, WORD.value)
const generationOf = (state: number): number => state >>> ARRIVAL_BITS
const afterThat = (state: number): number => (generationOf(state) + 1) << ARRIVAL_BITS
const ALL: Range = { from: 0, count: SLOTS }

/** The slot is taken first: whoever is counted is known, so that its death is seen. Undefined when there is none. */
function arriveAt(block: Block, parties: number): Arrival | undefined {
  if (isBrokenState(stateOf(block))) throw broken(block)
  const taken = takeSlot(block, ALL, false)
  if (!taken) return undefined
  for (;;) {
    const state = stateOf(block)
    if (isBrokenState(state)) {
      freeSlot(block, taken.slot)
      throw broken(block)
    }
    const isLast = (state & ARRIVALS) + 1 === parties
    if (!swap(block.word, WORD.value, state, isLast ? afterThat(state) : state + 1)) continue
    if (isLast) wakeAll(block)
    return { generation: generationOf(state), slot: taken.slot }
  }
}

function isPassed(block: Block, { generation }: Arrival): boolean {
  const state = stateOf(block)
  if (generationOf(state) !== generation) return true
  if (isBrokenState(state)) throw broken(block)
  return false
}

function breakIfDead(block: Block, generation: number): void {
  if (!ownersOf(block, ALL).every(isAlive)) breakGeneration(block, generation)
}

/** Nothing when it is over, or broken. */
function breakGeneration(block: Block, generation: number): void {
  for (;;) {
    const state = stateOf(block)
    if (generationOf(state) !== generation || isBrokenState(state)) return
    if (swap(block.word, WORD.value, state, state | ARRIVALS)) return wakeAll(block)
  }
}

/** The next generation after a broken one. False while one who waited for that is there: it would think that it has passed. */
function begin(block: Block): boolean {
  breakIfDead(block, generationOf(stateOf(block)))
  const state = stateOf(block)
  if (!isBrokenState(state)) return true
  reap(block, ALL)
  return ownersOf(block, ALL).length === 0 && swap(block.word, WORD.value, state, afterThat(state))
}

const broken = (block: Block): TalkwireError =>
  new TalkwireError(
    'BROKEN_BARRIER',
    `a party of ${block.title} died or gave up while others waited; await reset() in all that are left, and begin anew`,
  )
