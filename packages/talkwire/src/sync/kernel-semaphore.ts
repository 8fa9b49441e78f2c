/** What both kinds of the kernel's semaphores have in common: they tell nobody that a permit is there, so one looks again. */
import { sleepSync } from '../memory/pauses.js'
import { Grant } from './grant.js'
import type { WaitOptions } from './tasks.js'
import { Turns, type Attempt } from './turns.js'

export abstract class KernelSemaphore {
  private readonly turns: Turns<WaitOptions>

  protected constructor(title: string) {
    const attempt: Attempt = {
      take: () => this.tryAcquire(),
      // Others may give permits, and often do: it is no deadlock to wait for one more.
      isOurs: () => false,
      watch: () => () => {},
      sleep(milliseconds) {
        sleepSync(milliseconds)
        return false
      },
      end() {},
    }
    this.turns = new Turns(title, () => attempt)
  }

  /** Takes a permit if there is one. */
  protected abstract take(): boolean
  protected abstract give(): void

  /** Waits for a permit without blocking. Rejects with DEADLINE_EXCEEDED or the signal's reason; NOT_FOUND when it was removed. */
  acquire(options: WaitOptions = {}): Promise<Grant> {
    return this.turns.acquire(options)
  }

  /** Blocks this thread, and with it the event loop. Throws as `acquire` rejects. */
  acquireSync(options: Pick<WaitOptions, 'timeout'> = {}): Grant {
    return this.turns.acquireSync(options)
  }

  /** Takes a permit if there is one. Does not block. */
  tryAcquire(): Grant | undefined {
    return this.take() ? new Grant(() => this.post()) : undefined
  }

  /** Gives a permit, whether or not one was taken: for those who wait for a signal. Throws LIMIT_EXCEEDED when there are as many as can be. */
  post(): void {
    this.give()
    this.turns.released()
  }
}

/** Throws RangeError. */
export function validatePermits(permits: number | undefined, most: number): void {
  if (permits !== undefined && !(Number.isInteger(permits) && permits >= 0 && permits <= most))
    throw new RangeError(`${permits} permits: take a whole number from 0 to ${most}`)
}
