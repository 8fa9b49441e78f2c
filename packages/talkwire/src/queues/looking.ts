/** Waiting for a message, or for room: one tries, and tries again whenever something says that it may go now. */
import { TalkwireError } from '../error.js'
import { after } from '../timers.js'

export interface QueueWaitOptions {
  /** Milliseconds. Default: as long as it takes. */
  readonly timeout?: number
  /** Ends the waiting: it rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

/** Calls back when it may go now, or with why that will not be told any more. Returns what ends that. */
export type Watch = (changed: () => void, failed: (reason: unknown) => void) => () => void

export const tooLate = (title: string, timeout: number): TalkwireError =>
  new TalkwireError('DEADLINE_EXCEEDED', `${title} was not ready within ${timeout} ms; see that somebody uses its other end`)

/** Resolves with the first value that is not undefined. Rejects with DEADLINE_EXCEEDED, the signal's reason, or what `attempt` throws. */
export function keepTrying<T>(title: string, attempt: () => T | undefined, watch: Watch, options: QueueWaitOptions): Promise<T> {
  const { timeout = Infinity, signal } = options
  if (signal?.aborted) return Promise.reject(signal.reason as Error)
  return new Promise((resolve, reject) => {
    let stop = (): void => {}
    const leave = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      stop()
    }
    const fail = (reason: unknown): void => {
      leave()
      reject(reason as Error)
    }
    const abort = (): void => fail(signal!.reason)
    const look = (): void => {
      try {
        const value = attempt()
        if (value === undefined) return
        leave()
        resolve(value)
      } catch (reason) {
        fail(reason)
      }
    }
    const timer = after(timeout, () => fail(tooLate(title, timeout)))
    signal?.addEventListener('abort', abort)
    try {
      stop = watch(look, fail)
    } catch (reason) {
      fail(reason)
    }
  })
}

/** Of what tells once: asked again each time, for others may have been faster. */
export const repeatedly =
  (once: (told: () => void) => () => void): Watch =>
  (changed, failed) => {
    let stopped = false
    let quiet: () => void
    const arm = (): void => {
      quiet = once(() => {
        changed()
        if (!stopped) rearm()
      })
    }
    const rearm = (): void => {
      try {
        arm()
      } catch (reason) {
        failed(reason)
      }
    }
    arm()
    return () => {
      stopped = true
      quiet()
    }
  }
