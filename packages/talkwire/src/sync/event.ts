/** A flag that processes wait for: docs/sync/event.md, spec/sync.md § 8. */
import { NOBODY } from '../memory/owner.js'
import { store } from '../memory/store.js'
import { waitersOf, type Waiters } from './inspect.js'
import { Line } from './line.js'
import { WORD } from './lock-layout.js'
import { openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import { wakeAll } from './queue.js'
import type { WaitOptions } from './tasks.js'

/** Stays as it is when all who used it have ended, until it is unlinked. */
export class Event {
  private readonly block: Block
  private readonly line: Line<true>

  /** By name, or in memory of your own (1024 bytes). Throws as `Mutex` does. */
  constructor(place: string | LockPlace) {
    const block = openLock('event', place)
    this.block = block
    this.line =
      lines.get(block) ??
      new Line({
        block,
        ordered: false,
        many: true,
        held: false,
        take: () => this.isSet || undefined,
        isFree: () => this.isSet,
        owner: () => NOBODY,
        lastGrant: () => 0,
      })
    lines.set(block, this.line)
  }

  get isSet(): boolean {
    return Atomics.load(this.block.word, WORD.value) !== 0
  }

  /** Lets all pass who wait and who come, until `reset()`. Does not block. */
  set(): void {
    store(this.block.word, WORD.value, 1)
    wakeAll(this.block)
    this.line.carryOn()
  }

  /** From now on one waits again. */
  reset(): void {
    store(this.block.word, WORD.value, 0)
  }

  /** Resolves when it is set. Rejects with DEADLINE_EXCEEDED or the signal's reason. */
  async wait(options: WaitOptions = {}): Promise<void> {
    await this.line.wait(options)
  }

  /** Blocks this thread, and with it the event loop, until it is set. Throws DEADLINE_EXCEEDED. */
  waitSync({ timeout }: { readonly timeout?: number } = {}): void {
    this.line.waitSync(timeout)
  }

  /** Who waits for it. */
  inspect(): { readonly isSet: boolean; readonly waiters: Waiters } {
    return { isSet: this.isSet, waiters: waitersOf(this.block) }
  }

  /** Takes a name away. Who has it open keeps the old one. Throws NOT_FOUND. */
  static unlink(name: string): void {
    unlinkLock('event', name)
  }
}

const lines = new WeakMap<Block, Line<true>>()
