/** So many at a time, across processes and languages: docs/sync/semaphore.md, spec/sync.md § 6. */
import { TalkwireError } from '../error.js'
import { NOBODY } from '../memory/owner.js'
import { add, or, swap } from '../memory/store.js'
import { nextFenceOfMany } from './fence.js'
import { Grant } from './grant.js'
import { inspectSemaphore, type SemaphoreInfo } from './inspect.js'
import { Line, type Offer } from './line.js'
import { COUNTING, FAIR, LONG, SLOTS, WORD } from './lock-layout.js'
import { availableOf, countOf, isCounting, permitsOf } from './permits.js'
import { agree, openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import { wakeFirst } from './queue.js'
import { freeSlot, ownersOf, takeShare } from './slots.js'
import type { WaitOptions } from './tasks.js'

export interface SemaphoreOptions {
  /** How many may have one at a time: 1 to 128; all who use it say the same. With `signalling`: how many there are at first, from 0 on. */
  readonly permits: number
  /** Who came first gets one first, for all who use it from now on. */
  readonly fair?: boolean
  /** A count instead of permits that belong to somebody: anyone may `post()`, and what a process took does not come back when it dies. */
  readonly signalling?: boolean
}

/** A grant of a semaphore. */
export class Permit extends Grant {
  constructor(
    letGo: () => void,
    /** Larger than that of every earlier grant of this semaphore. */
    readonly fence: number,
    /** Whoever had it before died with it. */
    readonly inherited: boolean,
  ) {
    super(letGo)
  }
}

export class Semaphore {
  private readonly line: Line<Permit>
  private readonly block: Block
  private readonly signalling: boolean

  /** By name, or in memory of your own (3072 bytes). Throws as `Mutex` does; INVALID_MEMORY also when others say another number of permits. */
  constructor(place: string | LockPlace, { permits, fair = false, signalling = false }: SemaphoreOptions) {
    const [least, most] = signalling ? [0, 0x7fff_ffff] : [1, SLOTS]
    if (!Number.isInteger(permits) || permits < least || permits > most)
      throw new RangeError(`${permits} permits: take a whole number from ${least} to ${most}`)
    this.block = openLock('semaphore', place)
    this.signalling = signalling
    if (signalling) agreeOnSignals(this.block, permits)
    else agreeOnPermits(this.block, permits)
    this.line = lines.get(this.block) ?? new Line(signalling ? counted(this.block) : owned(this.block, permits))
    lines.set(this.block, this.line)
    if (fair) or(this.block.word, WORD.flags, FAIR)
  }

  /** Waits for one without blocking. Rejects with DEADLINE_EXCEEDED or the signal's reason; then nothing is held. */
  acquire(options: WaitOptions = {}): Promise<Permit> {
    return this.line.wait(options)
  }

  /** Blocks this thread, and with it the event loop, until there is one. Throws DEADLINE_EXCEEDED. */
  acquireSync({ timeout }: { readonly timeout?: number } = {}): Permit {
    return this.line.waitSync(timeout)
  }

  /** Takes one if there is one and nobody is to go first. Does not block. */
  tryAcquire(): Permit | undefined {
    return this.line.tryTake()
  }

  /** One more, for whoever waits. Only with `signalling`. Does not block. */
  post(): void {
    if (!this.signalling)
      throw new TypeError(
        `${this.block.title} has permits that belong to somebody: release() what acquire() gave, or make it with { signalling: true }`,
      )
    post(this.block, this.line)
  }

  /** How many could be had at this moment, those of the dead among them. */
  get available(): number {
    return availableOf(this.block)
  }

  /** Who has permits, who waits. */
  inspect(): SemaphoreInfo {
    return inspectSemaphore(this.block)
  }

  /** Takes a name away. Who has it open keeps the old one. Throws NOT_FOUND. */
  static unlink(name: string): void {
    unlinkLock('semaphore', name)
  }
}

/** One for all handles of a semaphore in this thread. */
const lines = new WeakMap<Block, Line<Permit>>()

function agreeOnPermits(block: Block, permits: number): void {
  if (isCounting(block)) throw otherUse(block, 'signalling')
  agree(block, WORD.limit, permits, 'permits')
}

/** The limit of a counting one is its first count plus one, so that 0 says that nobody has set it. */
function agreeOnSignals(block: Block, permits: number): void {
  if (Atomics.load(block.word, WORD.limit) !== 0 && !isCounting(block)) throw otherUse(block, 'permits')
  or(block.word, WORD.flags, COUNTING)
  swap(block.word, WORD.limit, 0, permits + 1)
}

function owned(block: Block, permits: number): Offer<Permit> {
  return {
    block,
    ordered: true,
    many: true,
    held: false,
    take(late) {
      const taken = takeShare(block, permitsOf(block), late)
      if (!taken) return undefined
      const give = (): void => {
        freeSlot(block, taken.slot)
        wakeFirst(block)
        lines.get(block)!.carryOn()
      }
      return new Permit(give, nextFenceOfMany(block), taken.inherited)
    },
    isFree: () => availableOf(block) > 0,
    // Any of several: their ends are found by looking.
    owner: () => (permits === 1 ? (ownersOf(block, permitsOf(block))[0] ?? NOBODY) : NOBODY),
    lastGrant: () => Atomics.load(block.long, LONG.fence),
  }
}

function counted(block: Block): Offer<Permit> {
  return {
    block,
    ordered: true,
    many: true,
    held: false,
    take() {
      for (;;) {
        const value = Atomics.load(block.word, WORD.value)
        if (Atomics.load(block.word, WORD.limit) - 1 + value <= 0) return undefined
        if (swap(block.word, WORD.value, value, value - 1))
          return new Permit(() => post(block, lines.get(block)!), nextFenceOfMany(block), false)
      }
    },
    isFree: () => countOf(block) > 0,
    owner: () => NOBODY,
    lastGrant: () => Atomics.load(block.long, LONG.fence),
  }
}

function post(block: Block, line: Line<Permit>): void {
  add(block.word, WORD.value, 1)
  wakeFirst(block)
  line.carryOn()
}

const otherUse = (block: Block, use: string): TalkwireError =>
  new TalkwireError('INVALID_MEMORY', `${block.title} is used for ${use}; say the same { signalling } everywhere, or take another name`)
