/**
 * Waiting for what rings no bell: locks of the kernel, and files. One looks again at growing pauses; where the kernel tells
 * of a change, at once. Tasks of one thread wait in a row, of which the first one looks.
 */
import { TalkwireError } from '../error.js'
import { Pauses } from '../memory/pauses.js'
import type { Grant } from './grant.js'
import { Tasks, type WaitOptions } from './tasks.js'
import { timedOut } from './waiting.js'

/** One who wants it, from its first look to its last. */
export interface Attempt<G extends Grant = Grant> {
  /** Takes it if it can be had. Does not block. */
  take(): G | undefined
  /** Whether this very thread has it, so that blocking the thread would be for ever. */
  isOurs(): boolean
  /** Calls back when it may be free now. Returns what ends that. */
  watch(changed: () => void): () => void
  /** Blocks this thread until it may be free, for at most so many milliseconds. True when it may be. */
  sleep(milliseconds: number): boolean
  /** It looks no more. */
  end(): void
}

export class Turns<O extends WaitOptions, G extends Grant = Grant> {
  private readonly tasks: Tasks<G, O>
  private stop: (() => void) | undefined
  private again: (() => void) | undefined

  constructor(
    private readonly title: string,
    private readonly begin: (options: O) => Attempt<G>,
  ) {
    this.tasks = new Tasks(title, () => this.stop?.())
  }

  /** Waits for it without blocking. Rejects with DEADLINE_EXCEEDED or the signal's reason; then nothing is held. */
  async acquire(options: O): Promise<G> {
    options.signal?.throwIfAborted()
    const grant = this.tasks.size === 0 ? this.tryAcquire(options) : undefined
    if (grant) return grant
    const turn = this.tasks.add(options)
    this.lookForFirst()
    return turn
  }

  /** Blocks this thread. Throws DEADLINE_EXCEEDED, and DEADLOCK when this very thread has it. */
  acquireSync(options: O): G {
    const { timeout = Infinity } = options
    const end = performance.now() + timeout
    const attempt = this.begin(options)
    try {
      for (const pauses = new Pauses(); ;) {
        const grant = attempt.take()
        if (grant) return grant
        const left = end - performance.now()
        if (left <= 0) throw timedOut(this.title, timeout)
        if (attempt.isOurs())
          throw new TalkwireError('DEADLOCK', `${this.title} is held by this very thread, which could never let go; await acquire()`)
        if (attempt.sleep(Math.min(pauses.next(), left))) pauses.reset()
      }
    } finally {
      attempt.end()
    }
  }

  /** Takes it if it can be had. Does not block. */
  tryAcquire(options: O): G | undefined {
    const attempt = this.begin(options)
    try {
      return attempt.take()
    } finally {
      attempt.end()
    }
  }

  /** To be called when something of it was let go of here. */
  released(): void {
    this.again?.()
  }

  private lookForFirst(): void {
    const options = this.tasks.first
    if (this.stop || !options) return
    try {
      this.lookFor(options, this.begin(options))
    } catch (reason) {
      this.fail(reason)
    }
  }

  private fail(reason: unknown): void {
    this.stop?.()
    this.tasks.rejectAll(reason)
  }

  private lookFor(options: O, attempt: Attempt<G>): void {
    const pauses = new Pauses()
    let timer: NodeJS.Timeout | undefined
    let quiet = (): void => {}
    const stop = (this.stop = () => {
      this.stop = this.again = undefined
      clearTimeout(timer)
      quiet()
      attempt.end()
    })
    const look = (): void => {
      clearTimeout(timer)
      // Who was first may have given up, and the next one may want something else.
      if (this.tasks.first !== options) return next()
      const grant = attempt.take()
      if (grant) return next(grant)
      timer = setTimeout(guarded, pauses.next())
    }
    const next = (grant?: G): void => {
      stop()
      if (grant) this.tasks.resolveFirst(grant)
      this.lookForFirst()
    }
    const guarded = (): void => {
      try {
        look()
      } catch (reason) {
        this.fail(reason)
      }
    }
    this.again = () => {
      pauses.reset()
      guarded()
    }
    quiet = attempt.watch(this.again)
    guarded()
  }
}
