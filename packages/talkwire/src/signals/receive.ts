/** Signals that come: heard once for each number, for all groups of this process. */
import { isMainThread } from 'node:worker_threads'
import { TalkwireError } from '../error.js'
import { receiveRealTime } from '../kernel/signal.js'
import type { KnownSignal } from './words.js'

type Receive = (value: number | undefined) => void

/** Never taken back: of a signal that is still on its way, or that somebody sends who has not noticed that we left, the process would die. */
const receivers = new Map<number, Set<Receive>>()

/** Calls back for each; of plain ones that come together, once. Returns what ends it. Throws UNSUPPORTED in a worker. */
export function receive({ number, plain }: KnownSignal, callback: Receive): () => void {
  if (!isMainThread) throw new TalkwireError('UNSUPPORTED', 'signals come to the main thread; join there, and post to the worker')
  const those = receivers.get(number) ?? listen(number, plain)
  those.add(callback)
  return () => void those.delete(callback)
}

function listen(number: number, plain: KnownSignal['plain']): Set<Receive> {
  const those = new Set<Receive>()
  const tell = (value: number | undefined): void => {
    for (const callback of those) callback(value)
  }
  if (plain === undefined) receiveRealTime(number, tell)
  else process.on(plain, once(tell))
  receivers.set(number, those)
  return those
}

/** However many come before the event loop gets there. */
function once(tell: (value: undefined) => void): () => void {
  let pending = false
  return () => {
    if (pending) return
    pending = true
    setImmediate(() => {
      pending = false
      tell(undefined)
    })
  }
}
