/** Those of one thread that wait for the same thing, in the order in which they came. Each may give up by itself. */
import { timedOut } from './waiting.js'
import { after } from '../timers.js'

export interface WaitOptions {
  /** Milliseconds; 0 tries once. Default: as long as it takes. */
  readonly timeout?: number
  /** Ends the waiting: it rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

interface Task<T, O> {
  readonly options: O
  resolve(value: T): void
  reject(reason: unknown): void
}

export class Tasks<T, O extends WaitOptions = WaitOptions> {
  private readonly tasks = new Set<Task<T, O>>()

  constructor(
    private readonly title: string,
    /** Nobody waits any more. */
    private readonly empty: () => void,
  ) {}

  get size(): number {
    return this.tasks.size
  }

  /** What the one that came first wants. */
  get first(): O | undefined {
    for (const { options } of this.tasks) return options
    return undefined
  }

  /** Rejects with DEADLINE_EXCEEDED or the signal's reason; the task is then no longer among them. */
  add(options: O): Promise<T> {
    const { timeout, signal } = options
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
        this.tasks.delete(task)
        if (this.tasks.size === 0) this.empty()
      }
      const task: Task<T, O> = {
        options,
        resolve(value) {
          leave()
          resolve(value)
        },
        reject(reason) {
          leave()
          reject(reason as Error)
        },
      }
      const abort = (): void => task.reject(signal!.reason)
      const timer = after(timeout, () => task.reject(timedOut(this.title, timeout!)))
      signal?.addEventListener('abort', abort)
      this.tasks.add(task)
    })
  }

  /** Settles the one that came first. */
  resolveFirst(value: T): void {
    for (const task of this.tasks) return task.resolve(value)
  }

  rejectAll(reason: unknown): void {
    for (const task of this.tasks) task.reject(reason)
  }
}
