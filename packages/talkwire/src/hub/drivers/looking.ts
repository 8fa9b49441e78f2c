/** Whoever follows something in a broker looks when it is told to, one look at a time, and once more if it was told meanwhile. */
export interface Looking {
  readonly look: () => void
  /** Resolves when nobody looks. */
  readonly idle: () => Promise<void>
}

export function looking(pass: () => Promise<void>, closed: () => boolean, failed: (reason: unknown) => void | Promise<void>): Looking {
  let again = false
  let running: Promise<void> | undefined
  const run = async (): Promise<void> => {
    while (again && !closed()) {
      again = false
      await pass()
    }
  }
  const look = (): void => {
    again = true
    if (closed() || running) return
    running = run()
      .catch(failed)
      .finally(() => {
        running = undefined
        if (again) look()
      })
  }
  return { look, idle: async () => running }
}
