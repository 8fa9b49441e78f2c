/** No more than so many in so long. */
import { setTimeout as sleep } from 'node:timers/promises'
import { MAX_TIMER } from '../timers.js'

export interface Rate {
  readonly jobs: number
  /** Milliseconds. */
  readonly per: number
}

/** Turns are given in the order in which they are asked for, evenly: `per / jobs` milliseconds apart once the first `jobs` are used up. */
export class Pace {
  private readonly apart: number
  /** When the bucket would be full again, on the clock of performance.now(). */
  private full = 0

  constructor(private readonly rate: Rate) {
    if (!(rate.jobs > 0) || !(rate.per > 0)) throw new TypeError('a rate is { jobs, per }: so many jobs in so many milliseconds')
    this.apart = rate.per / rate.jobs
  }

  /** Resolves when it is our turn; with false when nobody is to begin any more. */
  async turn(stop: AbortSignal): Promise<boolean> {
    const now = performance.now()
    this.full = Math.max(this.full, now) + this.apart
    // In this order: what is lost of large numbers would be a wait for whoever is the first.
    const first = this.full - now - this.rate.per
    const begins = now + first
    for (let wait = first; wait > 0 && !stop.aborted; wait = begins - performance.now())
      await sleep(Math.min(wait, MAX_TIMER), undefined, { signal: stop }).catch(() => {})
    return !stop.aborted
  }
}
