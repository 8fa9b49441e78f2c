/** Waiting until something can be had: woken by a bell, by the owner's end, and now and then by the clock. spec/sync.md § 4. */
import { closeSync } from 'node:fs'
import { TalkwireError } from '../error.js'
import { onceEnded } from '../kernel/waiting.js'
import { onBell, waitForBell } from '../memory/bell.js'
import { openOwner } from '../memory/ended.js'
import { NOBODY } from '../memory/owner.js'

/** What is waited for. */
export interface Waitable {
  readonly title: string
  /** Takes it if it can be had. `late`: nobody rang; whoever has it, or is to go first, may be dead. */
  attempt(late: boolean): boolean
  /** Whose end may change that; NOBODY if nobody's. */
  owner(): bigint
}

/**
 * Milliseconds between two looks that no bell asked for. They find what no bell tells: that whoever was about to ring died,
 * or an owner that nobody watched. Short while a lock is busy, long when the same owner stays.
 */
const FIRST_LOOK = 4
const LAST_LOOK = 32

export const timedOut = (title: string, timeout: number): TalkwireError =>
  new TalkwireError('DEADLINE_EXCEEDED', `${title} was not to be had within ${timeout} ms; its inspect() tells who has it`)

/** Looks again and again until `attempt` succeeded; then calls `done`, with what it threw if it did. Returns what ends that. Does not block. */
export function keepLooking(what: Waitable, done: (failure?: unknown) => void): () => void {
  let pause = FIRST_LOOK
  let timer: NodeJS.Timeout | undefined
  const owner = watchOwner(() => look(true))
  const look = (late: boolean): void => {
    clearTimeout(timer)
    try {
      if (what.attempt(late)) return finish()
      // Most waits are over before it would pay to watch anybody.
      if (late) pause = owner.watch(what.owner()) ? FIRST_LOOK : Math.min(2 * pause, LAST_LOOK)
    } catch (reason) {
      return finish(reason)
    }
    timer = setTimeout(look, pause, true)
  }
  const finish = (failure?: unknown): void => {
    stop()
    done(failure)
  }
  const quiet = onBell(() => look(false))
  const stop = (): void => {
    clearTimeout(timer)
    quiet()
    owner.close()
  }
  look(false)
  return stop
}

/** Blocks this thread until `attempt` succeeded. Throws DEADLINE_EXCEEDED; then nothing was taken. */
export function waitSync(what: Waitable, timeout = Infinity): void {
  const end = performance.now() + timeout
  let pause = FIRST_LOOK
  let watched = NOBODY
  let process: number | undefined
  try {
    for (let next = performance.now() + pause, late = false; !what.attempt(late);) {
      const now = performance.now()
      if (now >= end) throw timedOut(what.title, timeout)
      if (late) {
        const owner = what.owner()
        pause = owner === watched ? Math.min(2 * pause, LAST_LOOK) : FIRST_LOOK
        if (owner !== watched && process !== undefined) closeSync(process)
        if (owner !== watched) process = openOwner((watched = owner))
        next = now + pause
      }
      late = !waitForBell(process, Math.min(next, end) - now)
    }
  } finally {
    if (process !== undefined) closeSync(process)
  }
}

/** Calls back when the owner that is watched last has ended. Of a thread the next look tells. */
function watchOwner(ended: () => void): { watch(owner: bigint): boolean; close(): void } {
  let watched = NOBODY
  let stop: (() => void) | undefined
  const close = (): void => {
    stop?.()
    stop = undefined
  }
  return {
    close,
    /** True when it is another one than before. */
    watch(owner) {
      if (owner === watched) return false
      close()
      watched = owner
      const process = openOwner(owner)
      if (process !== undefined) stop = onceEnded(process, ended)
      return true
    },
  }
}
