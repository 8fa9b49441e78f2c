/** Runs it once for all who ask, and again for who asks after it failed. */
export function onceDone(action: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined
  return () =>
    (done ??= action().catch((reason: unknown) => {
      done = undefined
      throw reason
    }))
}
