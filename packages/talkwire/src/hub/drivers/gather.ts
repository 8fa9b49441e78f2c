/** What many callers ask of the same queue in one turn goes in one request: it costs the promises and the way of one. */

export interface GatherOptions<T, R> {
  /** Resolves with an answer for each. */
  readonly send: (queue: string, items: readonly T[]) => Promise<readonly R[]>
  /** Of its body. Default 0. */
  readonly bytes?: (item: T) => number
  /** Nothing was done for any of them, and one may be at fault for all: each caller's go by themselves. */
  readonly tookNone?: (reason: unknown) => boolean
}

export type Gathered<T, R> = (queue: string, items: readonly T[]) => Promise<readonly R[]>

/** Items and bytes of one request, unless one caller has more. */
const MOST = 1000
const MOST_BYTES = 256 * 1024

interface Asked<T, R> {
  readonly items: readonly T[]
  readonly resolve: (answers: readonly R[]) => void
  readonly reject: (reason: unknown) => void
}

interface Gathering<T, R> {
  readonly asked: Asked<T, R>[]
  count: number
  bytes: number
}

export function gather<T, R>({ send, bytes = () => 0, tookNone = () => false }: GatherOptions<T, R>): Gathered<T, R> {
  let lists = new Map<string, Gathering<T, R>>()
  const together = async (queue: string, asked: readonly Asked<T, R>[]): Promise<void> => {
    const answers = await send(
      queue,
      asked.flatMap(({ items }) => items),
    )
    let from = 0
    for (const { items, resolve } of asked) resolve(answers.slice(from, (from += items.length)))
  }
  const leave = (queue: string, { asked }: Gathering<T, R>): void => {
    together(queue, asked).catch((reason: unknown) => {
      if (asked.length === 1 || !tookNone(reason)) for (const { reject } of asked) reject(reason)
      else for (const { items, resolve, reject } of asked) send(queue, items).then(resolve, reject)
    })
  }
  const leaveAll = (): void => {
    const all = lists
    lists = new Map()
    for (const [queue, list] of all) leave(queue, list)
  }
  return (queue, items) =>
    new Promise((resolve, reject) => {
      if (lists.size === 0) process.nextTick(leaveAll)
      const more = items.reduce((sum, item) => sum + bytes(item), 0)
      const known = lists.get(queue)
      if (known && known.bytes + more <= MOST_BYTES && known.count + items.length <= MOST) {
        known.bytes += more
        known.count += items.length
        known.asked.push({ items, resolve, reject })
        return
      }
      if (known) leave(queue, known)
      lists.set(queue, { asked: [{ items, resolve, reject }], count: items.length, bytes: more })
    })
}
