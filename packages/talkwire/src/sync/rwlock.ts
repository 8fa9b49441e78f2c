/** Many readers or one writer, across processes and languages: docs/sync/rwlock.md, spec/sync.md § 7. */
import { TalkwireError } from '../error.js'
import { isAlive, NOBODY, self } from '../memory/owner.js'
import { or, store, storeFloat, swapBig } from '../memory/store.js'
import { nextFence } from './fence.js'
import { Grant } from './grant.js'
import { inspectRwLock, type RwLockInfo } from './inspect.js'
import { labelBytes, sign } from './label.js'
import { Line, type Offer } from './line.js'
import { FAIR, LONG, WORD } from './lock-layout.js'
import { openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import { wakeAll } from './queue.js'
import { freeSlot, ownersOf, READERS, reap, SHARES, takeShare, UPGRADER, type Range } from './slots.js'
import type { WaitOptions } from './tasks.js'

export interface RwLockOptions {
  /** Writers go in the order in which they came, for all who use it from now on. */
  readonly fair?: boolean
  /** What `inspect()` and `talkwire locks` tell of the writer, besides its pid and command. At most 32 bytes. */
  readonly label?: string
}

type SyncOptions = Pick<WaitOptions, 'timeout'>

const NONE: Range = { from: 0, count: 0 }

/** A grant that others may have at the same time. */
export class ReadLock extends Grant {
  constructor(
    letGo: () => void,
    /** A writer died within, and no one has called `repaired()` since. */
    readonly abandoned: boolean,
  ) {
    super(letGo)
  }
}

/** A grant to one alone. */
export class WriteLock extends ReadLock {
  constructor(
    letGo: () => void,
    abandoned: boolean,
    /** Larger than that of every earlier writer. */
    readonly fence: number,
    private readonly block: Block,
  ) {
    super(letGo, abandoned)
  }

  /** Says that the data are whole again, so that those who come are not told. Throws CLOSED after `release()`. */
  repaired(): void {
    if (this.isReleased) throw released('repair what it guards while it is held')
    store(this.block.word, WORD.damaged, 0)
  }
}

const released = (fix: string): TalkwireError => new TalkwireError('CLOSED', `the lock was released; ${fix}`)

/** A reader's grant that may become the writer's; one has it at a time, readers may be there too. */
export class UpgradableLock extends ReadLock {
  private readonly end = new AbortController()

  constructor(
    letGo: () => void,
    abandoned: boolean,
    private readonly line: Line<WriteLock>,
  ) {
    super(letGo, abandoned)
  }

  /**
   * Waits until the readers have gone. The reader's share stays: nobody can write in between. Rejects with DEADLINE_EXCEEDED,
   * the signal's reason, and CLOSED when this lock is released meanwhile: without its share it would write beside another's.
   */
  upgrade(options: WaitOptions = {}): Promise<WriteLock> {
    const { signal = this.end.signal } = options
    return this.line.wait({ ...options, signal: AbortSignal.any([signal, this.end.signal]) })
  }

  override release(): void {
    this.end.abort(released('upgrade() it while it is held'))
    super.release()
  }
}

export class RwLock {
  private readonly state: State

  /** By name, or in memory of your own (3072 bytes). At most 127 readers at a time; more of them wait. Throws as `Mutex` does. */
  constructor(place: string | LockPlace, { fair = false, label }: RwLockOptions = {}) {
    const block = openLock('rwlock', place)
    this.state = states.get(block) ?? new State(block)
    states.set(block, this.state)
    if (label !== undefined) this.state.label = labelBytes(label)
    if (fair) or(block.word, WORD.flags, FAIR)
  }

  /** Waits until nobody writes. Rejects with DEADLINE_EXCEEDED or the signal's reason. */
  acquireRead(options: WaitOptions = {}): Promise<ReadLock> {
    return this.state.readers.wait(options)
  }

  /** Waits until nobody reads or writes. Who comes to read meanwhile waits. */
  acquireWrite(options: WaitOptions = {}): Promise<WriteLock> {
    return this.state.writers.wait(options)
  }

  /** Waits until nobody writes, and nobody else has such a one. */
  acquireUpgradable(options: WaitOptions = {}): Promise<UpgradableLock> {
    return this.state.upgraders.wait(options)
  }

  /** Blocks this thread. Throws DEADLINE_EXCEEDED; DEADLOCK when this very thread writes. */
  acquireReadSync({ timeout }: SyncOptions = {}): ReadLock {
    this.state.refuse(this.state.owner() === self())
    return this.state.readers.waitSync(timeout)
  }

  /** Blocks this thread. Throws DEADLINE_EXCEEDED; DEADLOCK when this very thread reads or writes. */
  acquireWriteSync({ timeout }: SyncOptions = {}): WriteLock {
    this.state.refuse(this.state.owner() === self() || ownersOf(this.state.block, SHARES).includes(self()))
    return this.state.writers.waitSync(timeout)
  }

  /** At once or not at all. */
  tryAcquireRead(): ReadLock | undefined {
    return this.state.readers.tryTake()
  }

  /** At once or not at all. */
  tryAcquireWrite(): WriteLock | undefined {
    return this.state.writers.tryTake()
  }

  /** The writer, or the one who waits for the readers to go; who reads, who waits. */
  inspect(): RwLockInfo {
    return inspectRwLock(this.state.block)
  }

  /** Takes a name away. Who has it open keeps the old one. Throws NOT_FOUND. */
  static unlink(name: string): void {
    unlinkLock('rwlock', name)
  }
}

/** One for all handles of a lock in this thread. */
const states = new WeakMap<Block, State>()

class State {
  label: Uint8Array | undefined
  readonly readers: Line<ReadLock>
  readonly writers: Line<WriteLock>
  readonly upgraders: Line<UpgradableLock>

  constructor(readonly block: Block) {
    const upgrades = new Line(this.offerWrite(UPGRADER))
    this.readers = new Line(this.offerShare(READERS, (give) => new ReadLock(give, this.isDamaged())))
    this.upgraders = new Line(this.offerShare(UPGRADER, (give) => new UpgradableLock(give, this.isDamaged(), upgrades)))
    this.writers = new Line(this.offerWrite(undefined))
  }

  refuse(deadlock: boolean): void {
    if (deadlock)
      throw new TalkwireError('DEADLOCK', `${this.block.title} is held by a task of this very thread, which could never let go; await it`)
  }

  owner(): bigint {
    return Atomics.load(this.block.long, LONG.owner)
  }

  private isDamaged(): boolean {
    return Atomics.load(this.block.word, WORD.damaged) !== 0
  }

  /** Everybody who waits looks again. */
  private changed(): void {
    wakeAll(this.block)
    for (const line of [this.writers, this.upgraders, this.readers]) line.carryOn()
  }

  private offerShare<T>(range: Range, grant: (give: () => void) => T): Offer<T> {
    const { block } = this
    const give = (slot: number) => (): void => {
      freeSlot(block, slot)
      this.changed()
    }
    return {
      block,
      ordered: false,
      many: true,
      held: false,
      take: (late) => {
        if (this.owner() !== NOBODY && !(late && this.unseat(this.owner()))) return undefined
        const taken = takeShare(block, range, late)
        if (!taken) return undefined
        if (this.owner() === NOBODY) return grant(give(taken.slot))
        // A writer came in between; it may have seen the share and wait for its end.
        freeSlot(block, taken.slot)
        wakeAll(block)
        return undefined
      },
      isFree: () => this.owner() === NOBODY,
      owner: () => this.owner(),
      lastGrant: () => block.float[LONG.fence]!,
    }
  }

  /** For somebody who has the upgrader's share, that one does not count. */
  private offerWrite(own: Range | undefined): Offer<WriteLock> {
    const { block } = this
    let claimed = false
    const unclaim = (): void => {
      if (!claimed) return
      claimed = false
      swapBig(block.long, LONG.owner, self(), NOBODY)
      this.changed()
    }
    const others = own ? READERS : SHARES
    // An upgrader waits for the writer's word, so it is not kept from that one; from readers it is, until they have gone.
    const first = own ? NONE : UPGRADER
    return {
      block,
      // Whoever has claimed it keeps all others out, also those who were before: it has to go on.
      get ordered() {
        return own === undefined && !claimed
      },
      many: false,
      held: false,
      giveUp: unclaim,
      take: (late, waits) => {
        if (late) reap(block, others)
        // To claim it only to give it back would keep readers out, and wake everybody, oneself too, who would claim it again.
        if (!claimed && ownersOf(block, waits ? first : others).length > 0) return undefined
        claimed ||= this.claim(late)
        if (!claimed) return undefined
        if (ownersOf(block, others).length === 0) {
          claimed = false
          const fence = nextFence(block)
          storeFloat(block.float, LONG.since, Date.now())
          sign(block, this.label)
          return new WriteLock(() => this.letGo(), this.isDamaged(), fence, block)
        }
        // One who may upgrade came in between.
        if (!waits || ownersOf(block, first).length > 0) unclaim()
        return undefined
      },
      isFree: () => this.owner() === NOBODY || !isAlive(this.owner()),
      owner: () => (claimed ? (ownersOf(block, others)[0] ?? NOBODY) : this.owner()),
      lastGrant: () => block.float[LONG.fence]!,
    }
  }

  private claim(late: boolean): boolean {
    const { long, word } = this.block
    const owner = this.owner()
    if (owner === NOBODY) return swapBig(long, LONG.owner, NOBODY, self())
    if (!late || isAlive(owner) || !swapBig(long, LONG.owner, owner, self())) return false
    store(word, WORD.damaged, 1)
    return true
  }

  /** Takes the writer's word from one who died, and gives it back. */
  private unseat(owner: bigint): boolean {
    if (isAlive(owner) || !this.claim(true)) return false
    swapBig(this.block.long, LONG.owner, self(), NOBODY)
    return true
  }

  private letGo(): void {
    swapBig(this.block.long, LONG.owner, self(), NOBODY)
    this.changed()
  }
}
