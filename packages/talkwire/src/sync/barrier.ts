/** A place where so many wait for each other: docs/sync/barrier.md, spec/sync.md § 11. */
import { TalkwireError } from '../error.js'
import { isAlive, NOBODY } from '../memory/owner.js'
import { store, swap } from '../memory/store.js'
import { inspectBarrier, type BarrierInfo } from './inspect.js'
import { SLOTS, WORD } from './lock-layout.js'
import { agree, openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import { answer, dequeue, enqueue, wakeAll, type Place } from './queue.js'
import { freeSlot, ownersOf, takeSlot, type Range } from './slots.js'
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
    return Atomics.load(this.block.word, WORD.damaged) !== 0
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
      return arrival !== undefined && isPassed(block, arrival, late)
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
      if (arrival && generationOf(block) === arrival.generation) this.break()
      if (arrival) freeSlot(block, arrival.slot)
      if (place) dequeue(block, place)
    }
    return { promise, end }
  }

  private break(): void {
    store(this.block.word, WORD.damaged, 1)
    wakeAll(this.block)
  }

  /** Who is there; whether it is broken, or will be as soon as one of them looks, because a party died. */
  inspect(): BarrierInfo {
    return inspectBarrier(this.block)
  }

  /** Makes it usable again after it broke. Call it when nobody waits. */
  reset(): void {
    for (let slot = 0; slot < SLOTS; slot++) freeSlot(this.block, slot)
    store(this.block.word, WORD.value, (generationOf(this.block) + 1) << COUNT_BITS)
    store(this.block.word, WORD.damaged, 0)
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

/** `value` is the generation, and in its lowest bits how many have come: one step counts an arrival and begins the next generation. */
const COUNT_BITS = 7
const COUNT = (1 << COUNT_BITS) - 1
const generationOf = ({ word }: Block): number => Atomics.load(word, WORD.value) >>> COUNT_BITS
const ALL: Range = { from: 0, count: SLOTS }

/** The slot is taken first: whoever is counted is known, so that its death is seen. Undefined when there is none. */
function arriveAt(block: Block, parties: number): Arrival | undefined {
  refuseBroken(block)
  const taken = takeSlot(block, ALL, false)
  if (!taken) return undefined
  for (;;) {
    const value = Atomics.load(block.word, WORD.value)
    const generation = value >>> COUNT_BITS
    const isLast = (value & COUNT) + 1 === parties
    if (!swap(block.word, WORD.value, value, isLast ? (generation + 1) << COUNT_BITS : value + 1)) continue
    if (isLast) wakeAll(block)
    return { generation, slot: taken.slot }
  }
}

function isPassed(block: Block, { generation }: Arrival, late: boolean): boolean {
  if (generationOf(block) !== generation) return true
  if (late) breakIfDead(block)
  refuseBroken(block)
  return false
}

function breakIfDead(block: Block): void {
  if (ownersOf(block, ALL).every(isAlive)) return
  store(block.word, WORD.damaged, 1)
  wakeAll(block)
}

function refuseBroken(block: Block): void {
  if (Atomics.load(block.word, WORD.damaged) !== 0)
    throw new TalkwireError(
      'BROKEN_BARRIER',
      `a party of ${block.title} died or gave up while others waited; reset() it when nobody waits, and begin anew`,
    )
}
