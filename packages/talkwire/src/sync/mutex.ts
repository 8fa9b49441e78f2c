/** One at a time, across processes and languages: docs/sync/mutex.md, spec/sync.md. */
import { TalkwireError } from '../error.js'
import { store, storeFloat, swapBig } from '../memory/store.js'
import { inspectLock, type LockInfo } from './inspect.js'
import { FAIR, LABEL, LONG, WORD } from './lock-layout.js'
import { isAlive, NOBODY, self } from '../memory/owner.js'
import { openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import { answer, dequeue, enqueue, isFirst, wakeFirst, type Place } from './queue.js'
import { Tasks, type WaitOptions } from './tasks.js'
import { keepLooking, waitSync, type Waitable } from './waiting.js'

export interface MutexOptions {
  /**
   * Who came first gets it first, for all who use this mutex from now on. That is slower while many want it, because it is
   * free until the next one is awake. Without it, whoever has waited for 2 ms goes first.
   */
  readonly fair?: boolean
  /** What `inspect()` and `talkwire locks` tell of the holder, besides its pid and command. At most 32 bytes. */
  readonly label?: string
}

/** Milliseconds after which a waiter is no longer passed by those who come later. */
const HUNGRY = 2
/** Looks before a thread sleeps. More would take the processor from an owner that needs it. */
const SPINS = 100
/** Milliseconds. */
const LOOK_AGAIN = 4

export class Mutex {
  private readonly state: State

  /** By name, or in memory of your own. Throws INVALID_ADDRESS, INVALID_MEMORY, NO_SPACE, PERMISSION_DENIED, UNSUPPORTED, MISSING_PACKAGE. */
  constructor(place: string | LockPlace, { fair = false, label }: MutexOptions = {}) {
    const block = openLock('mutex', place)
    this.state = states.get(block) ?? new State(block)
    states.set(block, this.state)
    if (label !== undefined) this.state.label = labelBytes(label)
    if (fair) store(block.word, WORD.flags, FAIR)
  }

  /** Waits for it without blocking. Rejects with DEADLINE_EXCEEDED or the signal's reason; then nothing is held. */
  acquire(options: WaitOptions = {}): Promise<Lock> {
    const { state } = this
    if (options.signal?.aborted) return Promise.reject(options.signal.reason as Error)
    const lock = state.tasks.size === 0 ? state.take(undefined, false) : undefined
    if (lock) return Promise.resolve(lock)
    const turn = state.tasks.add(options)
    state.wait()
    return turn
  }

  /** Blocks this thread, and with it the event loop, until it is there. Throws DEADLINE_EXCEEDED; DEADLOCK when this very thread holds it. */
  acquireSync({ timeout = Infinity }: { readonly timeout?: number } = {}): Lock {
    const { state } = this
    if (state.held)
      throw new TalkwireError(
        'DEADLOCK',
        `${state.block.title} is held by a task of this very thread, which could never let go; await acquire()`,
      )
    for (let spin = 0; spin < SPINS; spin++) {
      const lock = state.take(undefined, false)
      if (lock) return lock
    }
    const wish = new Wish(state)
    try {
      waitSync(wish, timeout)
    } finally {
      wish.leave()
    }
    return wish.lock!
  }

  /** Takes it if nobody has it and nobody is to go first; from a dead owner too. Does not block. */
  tryAcquire(): Lock | undefined {
    const { state } = this
    return state.take(undefined, false) ?? (state.isDue() ? state.take(undefined, true) : undefined)
  }

  /** Takes a name away. Who has it open keeps the old one, so do it when nobody uses it. Processes do it as they end. Throws NOT_FOUND. */
  static unlink(name: string): void {
    unlinkLock('mutex', name)
  }

  /** Who holds it, who waits. */
  inspect(): LockInfo {
    return inspectLock(this.state.block)
  }
}

/** A grant of a mutex. */
export class Lock implements Disposable, AsyncDisposable {
  private state: State | undefined

  constructor(
    state: State,
    /**
     * Larger than that of every earlier grant of this mutex. What is written to another system carries it, and is refused
     * there once a larger one was seen: a process may be stopped at any moment, and go on when it holds nothing any more.
     */
    readonly fence: number,
    /** An owner died within, and no one has called `repaired()` since. */
    readonly abandoned: boolean,
  ) {
    this.state = state
  }

  /** Says that the data are whole again, so that the next owner is not told. Throws CLOSED after `release()`. */
  repaired(): void {
    if (!this.state) throw new TalkwireError('CLOSED', 'the lock was released; repair what it guards while it is held')
    store(this.state.block.word, WORD.damaged, 0)
  }

  /** Lets go. Does not block; a second time does nothing. */
  release(): void {
    const { state } = this
    this.state = undefined
    state?.letGo()
  }

  [Symbol.dispose](): void {
    this.release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release()
  }
}

/** One for all handles of a mutex in this thread. */
const states = new WeakMap<Block, State>()

class State {
  held = false
  label: Uint8Array | undefined
  readonly tasks: Tasks<Lock>
  private stopLooking: (() => void) | undefined
  private lookedAt = 0

  constructor(readonly block: Block) {
    this.tasks = new Tasks(block.title, () => this.stopLooking?.())
  }

  /** `late`: also from a dead owner. */
  take(place: Place | undefined, late: boolean, overtake = false): Lock | undefined {
    const { block } = this
    if (!overtake && !mayGo(block, place)) return undefined
    const free = Atomics.load(block.long, LONG.owner) === NOBODY
    if (free ? !swapBig(block.long, LONG.owner, NOBODY, self()) : !(late && inherit(block))) return undefined
    this.held = true
    const fence = (block.float[LONG.fence] || FIRST_FENCE()) + 1
    storeFloat(block.float, LONG.fence, fence)
    storeFloat(block.float, LONG.since, Date.now())
    if (this.label || block.label[0] !== 0) sign(block.label, this.label)
    return new Lock(this, fence, Atomics.load(block.word, WORD.damaged) !== 0)
  }

  letGo(): void {
    const { block } = this
    this.held = false
    swapBig(block.long, LONG.owner, self(), NOBODY)
    wakeFirst(block)
    if (this.tasks.size > 0) this.wait()
  }

  /** Gets it for the first of the tasks. */
  wait(): void {
    if (this.stopLooking || this.held) return
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
      if (wish.lock) this.tasks.resolveFirst(wish.lock)
      else this.tasks.rejectAll(failure)
    })
    if (this.stopLooking !== end) stop()
  }

  /** Whether it is time again to ask whether the owner lives, which costs some microseconds. */
  isDue(): boolean {
    const now = performance.now()
    if (now - this.lookedAt < LOOK_AGAIN) return false
    this.lookedAt = now
    return true
  }
}

/** One who wants it and has a place in the queue. */
class Wish implements Waitable {
  lock: Lock | undefined
  private place: Place | undefined
  private readonly since = performance.now()
  private lastOwner = -1n
  private lastFence = -1

  constructor(private readonly state: State) {}

  get title(): string {
    return this.state.block.title
  }

  attempt(late: boolean): boolean {
    const { state } = this
    const { block } = state
    if (state.held) return false
    if (this.place) answer(block, this.place)
    const overtake = late && this.isLeft()
    this.lock = state.take(this.place, late, overtake)
    if (!this.lock && !this.place) {
      // Whoever lets go from here on finds the place; whoever did before is found by the second look.
      this.place = enqueue(block)
      this.lock = state.take(this.place, late, overtake)
    }
    if (!this.lock && this.place && performance.now() - this.since > HUNGRY) store(block.word, WORD.hungry, 1)
    return this.lock !== undefined
  }

  /** Nobody has had it since the look before: whoever is to go first is stopped, or slow, and may be passed. */
  private isLeft(): boolean {
    const { long, float } = this.state.block
    const owner = Atomics.load(long, LONG.owner)
    const fence = float[LONG.fence]!
    const left = owner === this.lastOwner && fence === this.lastFence
    this.lastOwner = owner
    this.lastFence = fence
    return left && (owner === NOBODY || !isAlive(owner))
  }

  owner(): bigint {
    return Atomics.load(this.state.block.long, LONG.owner)
  }

  leave(): void {
    const { block } = this.state
    if (!this.place) return
    if (Atomics.load(block.word, WORD.hungry) !== 0 && isFirst(block, this.place)) store(block.word, WORD.hungry, 0)
    dequeue(block, this.place)
    this.place = undefined
    // Somebody may have let go and rung here, in vain.
    if (!this.lock) wakeFirst(block)
  }
}

/** Whether it is this one's turn: somebody who waits may have to go first. */
function mayGo(block: Block, place: Place | undefined): boolean {
  const { word } = block
  const ordered = Atomics.load(word, WORD.hungry) !== 0 || (Atomics.load(word, WORD.flags) & FAIR) !== 0
  return !ordered || Atomics.load(word, WORD.waiting) === 0 || isFirst(block, place)
}

/** Takes it from an owner that has ended. */
function inherit({ word, long }: Block): boolean {
  const owner = Atomics.load(long, LONG.owner)
  if (owner === NOBODY || isAlive(owner) || !swapBig(long, LONG.owner, owner, self())) return false
  store(word, WORD.damaged, 1)
  return true
}

/** Later than all of a lock of the same name that was taken away: microseconds since 1970. */
const FIRST_FENCE = (): number => Date.now() * 1000

function labelBytes(label: string): Uint8Array {
  const bytes = Buffer.from(label)
  if (bytes.length > LABEL.size || bytes.includes(0)) throw new RangeError(`a label has at most ${LABEL.size} bytes, and no NUL`)
  return bytes
}

function sign(place: Uint8Array, label: Uint8Array | undefined): void {
  place.fill(0)
  if (label) place.set(label)
}
