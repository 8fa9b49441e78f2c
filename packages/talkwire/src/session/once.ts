/** Waiting for one event. */
import type { CallOptions, Listener } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { validateTimeout } from './deadline.js'
import { after } from '../timers.js'
import type { CallPath } from './link.js'

/** Listeners that hand on what they get: what comes with an event is then their reader's to close. */
const keepers = new WeakSet<Listener<any>>()
export const isKeeper = (listener: Listener<any>): boolean => keepers.has(listener)

/**
 * The payload of the next event, which may come after a lost connection has healed. Rejects with DEADLINE_EXCEEDED,
 * the signal's reason, what the service has against the subscription, or CONNECTION_CLOSED once the client has ended.
 */
export function once(link: CallPath, event: string, options: Pick<CallOptions, 'signal' | 'timeout'> = {}): Promise<unknown> {
  const { signal, timeout } = options
  return new Promise((resolve, reject) => {
    validateTimeout(timeout)
    signal?.throwIfAborted()
    const settled = new AbortController()
    const settle = <T>(how: (value: T) => void) => {
      return (value: T): void => {
        settled.abort()
        how(value)
      }
    }
    const fail = settle<unknown>(reject)
    const done = settle(resolve)
    keepers.add(done)
    const subscribing = link.on(event, done)
    subscribing.catch(fail)
    const late = (): void => fail(new TalkwireError('DEADLINE_EXCEEDED', `no event "${event}" came within ${timeout} ms; raise timeout`))
    const timer = after(timeout, late)
    const forget = link.onEnded((cause) => fail(gone(event, cause)))
    signal?.addEventListener('abort', () => fail(signal.reason), { signal: settled.signal })
    const over = (): void => {
      clearTimeout(timer)
      forget()
      subscribing.then((off) => off()).catch(() => {})
    }
    if (settled.signal.aborted) over()
    else settled.signal.addEventListener('abort', over, { once: true })
  })
}

const gone = (event: string, cause: TalkwireError | undefined): TalkwireError =>
  new TalkwireError('CONNECTION_CLOSED', `the connection ended before "${event}" came; connect() makes a new one`, { cause })
