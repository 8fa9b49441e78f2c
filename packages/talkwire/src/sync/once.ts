/** Something that is done once, by whichever process comes first: docs/sync/once.md, spec/sync.md § 9. */
import { store } from '../memory/store.js'
import { inspectLock, type LockInfo } from './inspect.js'
import { WORD } from './lock-layout.js'
import { ownershipOf } from './mutex.js'
import { openLock, unlinkLock, type Block, type LockPlace } from './place.js'
import type { WaitOptions } from './tasks.js'

/** Stays done when all who used it have ended, until it is unlinked or the machine starts anew. */
export class Once {
  private readonly block: Block

  /** By name, or in memory of your own (1024 bytes). Throws as `Mutex` does. */
  constructor(place: string | LockPlace) {
    this.block = openLock('once', place)
  }

  get isDone(): boolean {
    return Atomics.load(this.block.word, WORD.value) !== 0
  }

  /**
   * Resolves when it is done; true when it was done here. Others wait meanwhile. When `work` throws, or its process dies, it
   * is not done, and the next one does it. Rejects with what `work` throws, DEADLINE_EXCEEDED, the signal's reason.
   */
  async run(work: () => unknown, options: WaitOptions = {}): Promise<boolean> {
    if (this.isDone) return false
    using lock = await ownershipOf(this.block).line.wait(options)
    if (this.isDone) return false
    await work()
    store(this.block.word, WORD.value, 1)
    lock.repaired()
    return true
  }

  /** Who does it, who waits. */
  inspect(): LockInfo & { readonly isDone: boolean } {
    return { ...inspectLock(this.block), isDone: this.isDone }
  }

  /** Takes a name away: then it is not done any more. Throws NOT_FOUND. */
  static unlink(name: string): void {
    unlinkLock('once', name)
  }
}
