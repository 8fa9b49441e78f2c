/** One after the other for each name; others at the same time. */
export type Turns = <T>(name: string, work: () => Promise<T>) => Promise<T>

export function turns(): Turns {
  const last = new Map<string, Promise<unknown>>()
  return (name, work) => {
    const mine = (last.get(name) ?? Promise.resolve()).then(work)
    const over = mine.then(
      () => {},
      () => {},
    )
    last.set(name, over)
    void over.then(() => last.get(name) === over && last.delete(name))
    return mine
  }
}
