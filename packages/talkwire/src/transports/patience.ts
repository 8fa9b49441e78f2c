/**
 * How long one looks for the next message before one sleeps. To be woken takes some ten microseconds on both sides; to look takes
 * a processor. So it looks for as long as that has paid off lately: not at all while messages are rare, or while others want
 * the processor, the other side perhaps among them.
 */
import { yieldProcessor } from '../kernel/waiting.js'
import type { Consumer } from '../memory/consumer.js'

/** Milliseconds, as all times here. What is not there by then was worth sleeping for. */
const MOST = 0.2
const LEAST = 0.02
/** Without a look at anything else of this process. */
const SPIN = 0.02
/** Between two looks at the clock. */
const LOOKS = 64
/** Who lets others run and comes back later than this has let somebody run. */
const CROWDED = 0.01
/** Then nobody looks for so long; twice as long each time, until looking pays off again. */
const FIRST_REST = 1
const LAST_REST = 64
/** One processor is as good as another: what one connection has found out holds for all. */
let rest = FIRST_REST
let restUntil = 0

export class Patience {
  private budget = 0
  /** When it began to wait; 0: it does not. */
  private since = 0

  /** There was something. */
  worked(): void {
    if (this.since === 0) return
    if (this.budget > 0) rest = FIRST_REST
    this.budget = Math.min(MOST, 2 * this.budget)
    this.since = 0
  }

  /** Somebody had to wake us. */
  rung(): void {
    if (this.since === 0) return
    // To be woken took some of it: awake, the next answer comes sooner.
    const now = performance.now()
    const waited = now - this.since
    if (waited < MOST && now > restUntil) this.budget = Math.max(LEAST, this.budget, 2 * waited)
    this.since = 0
  }

  /** Lets others run; true if there were any. */
  private isCrowded(): boolean {
    const before = performance.now()
    yieldProcessor()
    const now = performance.now()
    if (now - before < CROWDED) return false
    this.budget = 0
    restUntil = now + rest
    rest = Math.min(LAST_REST, 2 * rest)
    return true
  }

  /** Looks for a while. True: look again, after other work had its turn. False: sleep. */
  wait(consumer: Consumer): boolean {
    let now = performance.now()
    if (this.since === 0) this.since = now
    const end = this.since + this.budget
    const spin = Math.min(end, now + SPIN)
    for (; now < spin; now = performance.now()) for (let look = 0; look < LOOKS; look++) if (consumer.hasMessage) return true
    return this.endures(now)
  }

  /** The same for what is not worth to be looked at all the time. True: look again in a later turn. False: sleep. */
  goesOn(): boolean {
    const now = performance.now()
    if (this.since === 0) this.since = now
    return this.endures(now)
  }

  private endures(now: number): boolean {
    const end = this.since + this.budget
    if (this.budget > 0 && this.isCrowded()) return false
    if (now < end) return true
    this.budget = this.budget > LEAST ? this.budget / 2 : 0
    return false
  }
}
