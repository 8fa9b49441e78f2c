/** Waiting for something to read, or for room: spec/rings.md § 7. */
import { TalkwireError } from '../error.js'
import { yieldProcessor } from '../kernel/waiting.js'
import { onBell, waitForBell } from './bell.js'
import type { OpenRing } from './ring-place.js'
import { getUp, lieDown, type Side } from './seats.js'
import { after } from '../timers.js'

/**
 * `spin`: looks all the time, for the shortest answer; takes a whole processor. `yield`: lets others run between two looks.
 * `park`: sleeps until the other side rings; costs nothing meanwhile. `adaptive`: one after the other.
 */
export type Wait = 'spin' | 'yield' | 'park' | 'adaptive'

export interface SyncWaitOptions {
  /** Default 'adaptive'. */
  readonly wait?: Wait
  /** Milliseconds. Default: as long as it takes. */
  readonly timeout?: number
}

export interface WaitOptions extends SyncWaitOptions {
  /** Ends the waiting: it rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

/** Looks in a row. More would take the processor from whoever is to write. */
const SPINS = 100
/** Looks between which others may run, before one sleeps. */
const YIELDS = 50
/**
 * Milliseconds between two looks that no bell asked for, twice as long each time, and short again after a ring. They find what no
 * bell tells: that whoever was about to ring died, or that a claim is a dead one's.
 */
const FIRST_LOOK = 4
const LAST_LOOK = 1024

const timedOut = ({ title }: OpenRing, timeout: number): TalkwireError =>
  new TalkwireError('DEADLINE_EXCEEDED', `${title} was not ready within ${timeout} ms; is the other side running?`)

function spin(ready: () => boolean): boolean {
  for (let n = 0; n < SPINS; n++) if (ready()) return true
  return false
}

/** Blocks this thread until `ready()`. Who has no seat is not rung for, and looks by itself. Throws DEADLINE_EXCEEDED, and what `ready` throws. */
export function waitForSync(
  ring: OpenRing,
  side: Side,
  seat: number | undefined,
  ready: () => boolean,
  { wait = 'adaptive', timeout = Infinity }: SyncWaitOptions,
): void {
  const end = performance.now() + timeout
  let pause = FIRST_LOOK
  for (let turn = 0; ; turn++) {
    if (wait === 'spin' || (wait === 'adaptive' && turn === 0) ? spin(ready) : ready()) return
    const left = end - performance.now()
    if (left <= 0) throw timedOut(ring, timeout)
    if (wait === 'spin') continue
    if (wait === 'yield' || (wait === 'adaptive' && turn < YIELDS)) yieldProcessor()
    else {
      if (seat !== undefined) lieDown(ring, side, seat)
      try {
        if (ready()) return
        pause = waitForBell(undefined, Math.min(pause, left)) ? FIRST_LOOK : Math.min(2 * pause, LAST_LOOK)
      } finally {
        if (seat !== undefined) getUp(ring, seat)
      }
    }
  }
}

/** Resolves once `ready()`, and lets the event loop run meanwhile. Rejects with DEADLINE_EXCEEDED, the signal's reason, and what `ready` throws. */
export function waitFor(
  ring: OpenRing,
  side: Side,
  seat: number | undefined,
  ready: () => boolean,
  { wait = 'adaptive', timeout, signal }: WaitOptions,
): Promise<void> {
  if (signal?.aborted) return Promise.reject(signal.reason as Error)
  return new Promise((resolve, reject) => {
    let immediate: NodeJS.Immediate | undefined
    let stopParking: (() => void) | undefined
    const settle = (failure?: unknown, failed = failure !== undefined): void => {
      clearTimeout(deadline)
      clearImmediate(immediate)
      stopParking?.()
      signal?.removeEventListener('abort', abort)
      if (failed) reject(failure as Error)
      else resolve()
    }
    const abort = (): void => settle(signal!.reason, true)
    const deadline = after(timeout, () => settle(timedOut(ring, timeout!)))
    signal?.addEventListener('abort', abort)
    let turn = 0
    const look = (): void => {
      try {
        if (wait === 'spin' || (wait === 'adaptive' && turn === 0) ? spin(ready) : ready()) return settle()
      } catch (reason) {
        return settle(reason, true)
      }
      if (wait === 'park' || (wait === 'adaptive' && turn++ >= YIELDS)) stopParking = park(ring, side, seat, ready, settle)
      else immediate = setImmediate(look)
    }
    look()
  })
}

/** Sleeps. Calls `done` once, with what `ready` threw if it did. Returns what ends it. */
function park(ring: OpenRing, side: Side, seat: number | undefined, ready: () => boolean, done: (failure?: unknown) => void): () => void {
  let pause = FIRST_LOOK
  let timer: NodeJS.Timeout | undefined
  const stop = (): void => {
    clearTimeout(timer)
    quiet()
    if (seat !== undefined) getUp(ring, seat)
  }
  const liesDownAndSees = (): boolean => {
    if (seat === undefined) return false
    lieDown(ring, side, seat)
    return ready()
  }
  const look = (late: boolean): void => {
    clearTimeout(timer)
    try {
      if (ready() || liesDownAndSees()) {
        stop()
        return done()
      }
    } catch (reason) {
      stop()
      return done(reason)
    }
    pause = late ? Math.min(2 * pause, LAST_LOOK) : FIRST_LOOK
    timer = setTimeout(look, pause, true)
  }
  const quiet = onBell(() => look(false))
  look(false)
  return stop
}
