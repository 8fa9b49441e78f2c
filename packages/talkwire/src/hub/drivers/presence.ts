/** Brokers that are asked over connections which a library makes and ends as it likes: whether anybody answers, and how it ends. */
import { TalkwireError } from '../../error.js'
import type { OpenOptions } from '../driver.js'
import { underway } from '../underway.js'
import { calls, isAway, pauses, untilAnswered, type Pauses } from './broker.js'

export interface Presence {
  /** Nobody answering was not noticed, and it does not end. */
  readonly open: boolean
  readonly ending: boolean
  /** Throws CLOSED, and UNAVAILABLE while nobody answers. */
  ready(): void
  /** Nobody answered. Asks until somebody does. */
  lost(cause: TalkwireError): void
  /** Waited for by `close`. Returns what it was given. */
  readonly keep: <T>(work: Promise<T>) => Promise<T>
  /** Called when somebody answers again. */
  readonly back: (what: () => unknown) => () => void
  /** Called before the end; what it returns is waited for. */
  readonly closing: (what: () => unknown) => () => void
  /** Resolves when it is worth trying again after this reason, if there is one, or when it ends. Tells reasons that are no lost connection. */
  readonly again: (pause: Pauses, reason: unknown, what: string, signal?: AbortSignal) => Promise<void>
  /** Resolves when what was under way has ended, and `end` behind it. */
  close(end: () => unknown): Promise<void>
}

/** `silence`: what is said while nobody answers. `there` rejects as long as that is so. */
export function presence(silence: string, there: () => Promise<void>, { onConnection, onError }: OpenOptions): Presence {
  const backs = calls()
  const closings = calls()
  const asked = underway()
  let state: 'open' | 'away' | 'closing' | 'closed' = 'open'
  let wake: (() => void) | undefined
  let closed: Promise<void> | undefined

  const ending = (): boolean => state === 'closing' || state === 'closed'
  const lost = async (cause: TalkwireError): Promise<void> => {
    if (state !== 'open') return
    state = 'away'
    onConnection({ state: 'lost', cause })
    const pause = pauses()
    wake = pause.end
    if (!(await untilAnswered(there, pause, ending))) return
    state = 'open'
    onConnection({ state: 'connected' })
    await backs.all()
  }
  const close = async (end: () => unknown): Promise<void> => {
    await closings.all()
    // While nobody answers nothing more can be done.
    state = state === 'away' ? 'closed' : 'closing'
    wake?.()
    await asked.settled()
    state = 'closed'
    await end()
  }
  return {
    get open() {
      return state === 'open'
    },
    get ending() {
      return ending()
    },
    ready() {
      if (state === 'closed') throw new TalkwireError('CLOSED', 'the hub was closed', { outcome: 'not-sent' })
      if (state === 'away') throw new TalkwireError('UNAVAILABLE', silence, { outcome: 'not-sent' })
    },
    lost: (cause) => void lost(cause),
    keep: asked.keep,
    back: (what) => backs.add(what),
    closing: (what) => closings.add(what),
    async again(pause, reason, what, signal) {
      if (reason !== undefined && !isAway(reason)) onError(reason, what)
      const forget = [closings.add(pause.end)]
      await new Promise<void>((resolve) => {
        if (signal) {
          const abort = (): void => (pause.end(), resolve())
          signal.addEventListener('abort', abort)
          forget.push(() => signal.removeEventListener('abort', abort))
        }
        if (state === 'away') forget.push(backs.add(resolve), closings.add(resolve))
        else void pause.next().then(resolve)
      })
      for (const each of forget) each()
    },
    close: (end) => (closed ??= close(end)),
  }
}
