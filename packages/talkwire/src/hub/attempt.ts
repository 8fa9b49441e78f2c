/** One try of one job: what its handler has in its hands, and more time for it as long as the handler runs. */
import type { Base } from './base.js'
import type { Headers, Job as DriverJob } from './driver.js'
import type { Results } from './results.js'
import { MAX_TIMER } from '../timers.js'

/** A job in the hands of its consumer. */
export interface Job<T = unknown> {
  readonly id: string
  readonly data: T
  readonly headers: Headers
  /** 1 the first time; 0 where the broker does not count. */
  readonly attempt: number
  readonly time: Date | undefined
  /** Aborts when the job is not ours any more: the time ran out, or the connection was lost. What is done after that may be done twice. */
  readonly signal: AbortSignal
  /** For whoever follows the job, where the queue keeps results. */
  progress(value: unknown): Promise<void>
  /** So many milliseconds more, from now on. While a handler runs, this is done for it. */
  extend(milliseconds: number): Promise<void>
  /** Not to be tried again: it becomes a dead letter, and what the handler returns is ignored. */
  dead(reason: string): Promise<void>
}

export const LONGEST_REASON = 500

export const bury = (base: Base, job: DriverJob, reason: string): Promise<void> =>
  base.has('dead') ? job.dead(reason.slice(0, LONGEST_REASON)) : job.ack()

/**
 * Methods are getters, so that handlers may take a job apart, `({ data, progress }) => …`, and nothing is made that nobody asks for. A
 * class, because an object literal with a getter takes 2.7 KB.
 */
export class Attempt implements Job {
  readonly id: string
  readonly headers: Headers
  readonly attempt: number
  readonly time: Date | undefined
  buried = false
  /** Why it is not ours any more. */
  lost: unknown
  /** Of its worker, among what it has in hand; it was looked at there before. */
  place = 0
  old = false
  private controller: AbortController | undefined

  constructor(
    private readonly base: Base,
    private readonly job: DriverJob,
    readonly data: unknown,
    private readonly kept: Results | undefined,
  ) {
    this.id = job.id
    this.headers = job.headers
    this.attempt = job.attempt
    this.time = job.time === undefined ? undefined : new Date(job.time)
  }

  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    if (this.lost) this.controller.abort(this.lost)
    return this.controller.signal
  }

  get progress() {
    return async (value: unknown): Promise<void> => this.kept?.progress(this.id, value)
  }

  get extend() {
    return async (milliseconds: number): Promise<void> => {
      await this.base.need('extend')
      await this.job.extend(milliseconds)
    }
  }

  get dead() {
    return async (reason: string): Promise<void> => {
      await this.base.need('dead')
      this.buried = true
      await bury(this.base, this.job, reason)
      await this.kept?.failed(this.id, reason)
    }
  }

  renew(visibility: number): void {
    this.job.extend(visibility).catch((reason: unknown) => {
      this.lost ??= reason
      this.controller?.abort(reason)
    })
  }
}

export interface Renewal {
  add(attempt: Attempt): void
  remove(attempt: Attempt): void
}

/**
 * Asks for more time for each attempt before half of its time is over. One timer for all, and places in a list that are used again: a
 * timer for each, or a set, costs more than the rest of a short job.
 */
export function renewal(visibility: number): Renewal {
  const places: (Attempt | undefined)[] = []
  const free: number[] = []
  let timer: NodeJS.Timeout | undefined
  const isIdle = (): boolean => free.length === places.length
  const look = (): void => {
    for (const attempt of places) {
      if (!attempt) continue
      if (attempt.old) attempt.renew(visibility)
      attempt.old = !attempt.old
    }
    if (!isIdle()) return
    clearInterval(timer)
    timer = undefined
  }
  return {
    add(attempt) {
      if (!timer) timer = setInterval(look, Math.max(1, Math.min(visibility / 4, MAX_TIMER)))
      else if (isIdle()) timer.ref()
      attempt.place = free.pop() ?? places.length
      places[attempt.place] = attempt
    },
    remove({ place }) {
      places[place] = undefined
      free.push(place)
      // Its next look is no reason for a process to live on.
      if (isIdle()) timer?.unref()
    },
  }
}
