/**
 * What comes, handed to a callback, one after another. As long as the callback keeps up nothing is queued, and no message costs a promise,
 * an await and the result of an iterator, which are more than half of what one costs.
 */
import type { Inbox } from './inbox.js'

export interface Listener extends AsyncDisposable {
  /** Nothing is handed over after it resolves; what runs goes on. */
  close(): Promise<void>
  /** Resolves when it is closed, and the last handler has ended; rejects with what ended it. */
  readonly closed: Promise<void>
}

export interface Handing<T> {
  /** False: enough for now. */
  came(inbox: Inbox<T>, item: T): boolean
  /** Nothing comes any more. What waits is still handed over. */
  over(inbox: Inbox<T>): void
  readonly closed: Promise<void>
}

/** `read`: undefined is left out. `failed`: what a handler threw. */
export function handingOf<T, M>(
  read: (item: T) => M | undefined | Promise<M | undefined>,
  handler: (message: M) => unknown,
  failed: (reason: unknown, item: T) => void,
): Handing<T> {
  let busy = false
  let settle!: { resolve(): void; reject(reason: unknown): void }
  const closed = new Promise<void>((resolve, reject) => (settle = { resolve, reject }))
  closed.catch(() => {})
  const later = async (message: Promise<M | undefined>): Promise<unknown> => {
    const known = await message
    return known === undefined ? undefined : handler(known)
  }
  const settled = async (running: PromiseLike<unknown>, item: T): Promise<void> => {
    try {
      await running
    } catch (reason) {
      failed(reason, item)
    }
  }
  /** A promise: it goes on, until that resolves. */
  const hand = (item: T): Promise<void> | undefined => {
    try {
      const message = read(item)
      if (message === undefined) return undefined
      const done = message instanceof Promise ? later(message) : handler(message)
      return isPromise(done) ? settled(done, item) : undefined
    } catch (reason) {
      failed(reason, item)
      return undefined
    }
  }
  const goOn = async (inbox: Inbox<T>, running: Promise<void>): Promise<void> => {
    busy = true
    await running
    for (let item = inbox.poll(); item !== undefined; item = inbox.poll()) await hand(item)
    busy = false
    end(inbox)
  }
  const end = ({ over }: Inbox<T>): void => {
    if (!over || busy) return
    if (over.error) settle.reject(over.error)
    else settle.resolve()
  }
  return {
    came(inbox, item) {
      if (busy) return inbox.push(item)
      if (inbox.over) return false
      const running = hand(inbox.told(item))
      if (running) void goOn(inbox, running)
      return true
    },
    over: end,
    closed,
  }
}

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
