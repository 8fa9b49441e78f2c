/** Runs it once for all who ask, and again for who asks after it failed. Undefined: it is done, and nothing need be waited for. */
export function onceDone(action: () => Promise<void>): () => Promise<void> | undefined {
  let doing: Promise<void> | undefined
  let isDone = false
  return () => {
    if (isDone) return undefined
    return (doing ??= action().then(
      () => void (isDone = true),
      (reason: unknown) => {
        doing = undefined
        throw reason
      },
    ))
  }
}
