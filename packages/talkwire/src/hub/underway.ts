/** What is on its way when a hub or a consumer closes, which waits for it. */
export interface Underway {
  /** Returns what it was given. */
  readonly keep: <T>(work: Promise<T>) => Promise<T>
  /** The same without a promise of its own: one call of each. */
  readonly began: () => void
  readonly ended: () => void
  /** Resolves when nothing is on its way. */
  readonly settled: () => Promise<void>
}

export function underway(): Underway {
  let count = 0
  let idle: (() => void)[] = []
  const began = (): void => void count++
  const ended = (): void => {
    if (--count > 0) return
    for (const resolve of idle) resolve()
    idle = []
  }
  return {
    began,
    ended,
    keep(work) {
      began()
      work.then(ended, ended)
      return work
    },
    settled: () => (count === 0 ? Promise.resolve() : new Promise((resolve) => idle.push(resolve))),
  }
}
