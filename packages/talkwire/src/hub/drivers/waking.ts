/** A wait that others cut short. What they say between two waits is not missed. */
export interface Waking {
  readonly call: () => void
  /** What was said before is known. */
  readonly looks: () => void
  /** Resolves after so many milliseconds, or when somebody calls; at once when one did since we looked. */
  readonly pause: (milliseconds: number) => Promise<void>
}

export function waking(): Waking {
  let called = false
  let wake = (): void => {}
  return {
    call() {
      called = true
      wake()
    },
    looks() {
      called = false
    },
    pause(milliseconds) {
      if (called) return Promise.resolve()
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, milliseconds)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    },
  }
}
