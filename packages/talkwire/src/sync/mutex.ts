/** One at a time, across processes and languages: docs/sync/mutex.md, spec/sync.md. */
import { TalkwireError } from '../error.js'
import { isAlive, NOBODY, self } from '../memory/owner.js'
import { add, or, store, storeFloat, swapBig } from '../memory/store.js'
import { nextFence } from './fence.js'
import { inspectLock, type LockInfo } from './inspect.js'
import { Line, type Offer } from './line.js'
import { labelBytes, sign } from './label.js'
import { FAIR, LONG, WORD } from './lock-layout.js'
import { asTask, currentTask, want, type Task } from './order.js'
import { openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import { wakeFirst } from './queue.js'
import type { WaitOptions } from './tasks.js'

export interface MutexOptions {
  /**
   * Who came first gets it first, for all who use this mutex from now on. That is slower while many want it, because it is
   * free until the next one is awake. Without it, whoever has waited for 2 ms goes first.
   */
  readonly fair?: boolean
  /** What `inspect()` and `talkwire locks` tell of the holder, besides its pid and command. At most 32 bytes. */
  readonly label?: string
}

export class Mutex {
  private readonly state: Ownership

  /** By name, or in memory of your own. Throws INVALID_ADDRESS, INVALID_MEMORY, NO_SPACE, PERMISSION_DENIED, UNSUPPORTED, MISSING_PACKAGE. */
  constructor(place: string | LockPlace, { fair = false, label }: MutexOptions = {}) {
    const block = openLock('mutex', place)
    this.state = ownershipOf(block)
    if (label !== undefined) this.state.label = labelBytes(label)
    if (fair) or(block.word, WORD.flags, FAIR)
  }

  /** Waits for it without blocking. Rejects with DEADLINE_EXCEEDED or the signal's reason; then nothing is held. */
  acquire(options: WaitOptions = {}): Promise<Lock> {
    const task = currentTask()
    return task ? this.acquireIn(task, options) : this.state.line.wait(options)
  }

  private async acquireIn(task: Task, options: WaitOptions): Promise<Lock> {
    want(task, this.state.block.title)
    return this.heldBy(task, await this.state.line.wait(options))
  }

  private heldBy(task: Task | undefined, lock: Lock): Lock {
    task?.push({ title: this.state.block.title, isHeld: () => lock.isHeld })
    return lock
  }

  /** Blocks this thread, and with it the event loop, until it is there. Throws DEADLINE_EXCEEDED; DEADLOCK when this very thread holds it. */
  acquireSync({ timeout }: { readonly timeout?: number } = {}): Lock {
    const { state } = this
    const task = currentTask()
    if (task) want(task, state.block.title)
    if (state.held)
      throw new TalkwireError(
        'DEADLOCK',
        `${state.block.title} is held by a task of this very thread, which could never let go; await acquire()`,
      )
    return this.heldBy(task, state.line.waitSync(timeout))
  }

  /** Takes it if nobody has it and nobody is to go first; from a dead owner too. Does not block. */
  tryAcquire(): Lock | undefined {
    const lock = this.state.line.tryTake()
    return lock && this.heldBy(currentTask(), lock)
  }

  /**
   * Runs `work` as one task whose order of mutexes is watched, and returns what it returns. Whatever it begins counts as that
   * task; what takes locks by itself gets an `ordered` of its own. When it wants a mutex while it holds another one, and
   * before, some such task of this thread wanted them the other way round, at once or over others, `acquire` rejects and
   * `acquireSync` throws LOCK_ORDER with both places, before it waits. DEADLOCK when the task has that mutex already.
   */
  static ordered<T>(work: () => T): T {
    return asTask(work)
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

/** A grant of a mutex. No `Grant`: while a condition is waited for, it is let go of and had again. */
export class Lock implements Disposable, AsyncDisposable {
  private state: Ownership | undefined

  constructor(
    state: Ownership,
    private grant: { readonly fence: number; readonly abandoned: boolean },
  ) {
    this.state = state
  }

  /**
   * Larger than that of every earlier grant of this mutex. What is written to another system carries it, and is refused
   * there once a larger one was seen: a process may be stopped at any moment, and go on when it holds nothing any more.
   */
  get fence(): number {
    return this.grant.fence
  }

  /** Not let go of, nor waiting for a condition. */
  get isHeld(): boolean {
    return this.state !== undefined
  }

  /** An owner died within, and no one has called `repaired()` since. */
  get abandoned(): boolean {
    return this.grant.abandoned
  }

  /** For conditions: lets go, waits for what `meanwhile` waits for, and has the mutex again in any case. Throws CLOSED when it was released. */
  async without<T>(meanwhile: (mutex: Ownership) => Promise<T>): Promise<T> {
    const { state } = this
    if (!state) throw new TalkwireError('CLOSED', 'the lock was released; take it before you wait for a condition')
    const waiting = meanwhile(state)
    this.state = undefined
    state.letGo()
    try {
      return await waiting
    } finally {
      const again = await state.line.wait({})
      this.grant = again.grant
      this.state = state
    }
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

const states = new WeakMap<Block, Ownership>()

/** One for all handles of a block in this thread. */
export function ownershipOf(block: Block): Ownership {
  const state = states.get(block) ?? new Ownership(block)
  states.set(block, state)
  return state
}

/** The word of the owner, and those of this thread who want to be it. */
export class Ownership implements Offer<Lock> {
  held = false
  label: Uint8Array | undefined
  readonly ordered = true
  readonly many = false
  readonly line: Line<Lock>

  constructor(readonly block: Block) {
    this.line = new Line(this)
  }

  take(late: boolean): Lock | undefined {
    const { block } = this
    const free = Atomics.load(block.long, LONG.owner) === NOBODY
    if (free ? !swapBig(block.long, LONG.owner, NOBODY, self()) : !(late && inherit(block))) return undefined
    this.held = true
    const fence = nextFence(block)
    storeFloat(block.float, LONG.since, Date.now())
    sign(block, this.label)
    return new Lock(this, { fence, abandoned: Atomics.load(block.word, WORD.damaged) !== 0 })
  }

  isFree(): boolean {
    const owner = this.owner()
    return owner === NOBODY || !isAlive(owner)
  }

  owner(): bigint {
    return Atomics.load(this.block.long, LONG.owner)
  }

  lastGrant(): number {
    return this.block.float[LONG.fence]!
  }

  letGo(): void {
    const { block } = this
    this.held = false
    swapBig(block.long, LONG.owner, self(), NOBODY)
    wakeFirst(block)
    this.line.carryOn()
  }
}

/** Takes it from an owner that has ended. */
function inherit({ word, long }: Block): boolean {
  const owner = Atomics.load(long, LONG.owner)
  if (owner === NOBODY || isAlive(owner) || !swapBig(long, LONG.owner, owner, self())) return false
  store(word, WORD.damaged, 1)
  // Who waits for a condition learns of it, also when everything is repaired by the time that it looks.
  add(word, WORD.deaths, 1)
  return true
}
