/** How signals are called: `SIGUSR1`, `SIGUSR2`, and those for real time `SIGRTMIN+0` to the last. */
import { constants } from 'node:os'
import { realTimeSignals } from '../kernel/signal.js'

export type PlainSignal = 'SIGUSR1' | 'SIGUSR2'
export type SignalWord = PlainSignal | `SIGRTMIN+${number}`

export interface KnownSignal {
  readonly number: number
  /** Undefined for one of real time. */
  readonly plain: PlainSignal | undefined
}

/** Throws TypeError. */
export function parseSignal(word: string): KnownSignal {
  if (word === 'SIGUSR1' || word === 'SIGUSR2') return { number: constants.signals[word], plain: word }
  const offset = /^SIGRTMIN\+(\d{1,2})$/.exec(word)?.[1]
  const { first, last } = realTimeSignals()
  const number = first + Number(offset)
  if (offset === undefined || number > last)
    throw new TypeError(
      `${JSON.stringify(word)} is no signal to tell with; take SIGUSR1, SIGUSR2 or SIGRTMIN+0 to SIGRTMIN+${last - first}`,
    )
  return { number, plain: undefined }
}
