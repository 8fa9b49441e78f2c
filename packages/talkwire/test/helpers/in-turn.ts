/**
 * One process that dies within many operations at once: in place of a change of the first one it begins the second, in place of a
 * change of that one the third, and in the end it is killed. None of them ever goes on, so each is left as by a kill of its own.
 */
import { writeSync } from 'node:fs'

/** To be killed in place of change number `at`, or to be done when it is 0. `arm` counts from then on. */
export type Turn = (arm: () => void) => void

/** `arm(at, instead)` counts changes from then on, and does that in place of number `at`; `counted` says how many there were. */
export interface Counter {
  arm(at: number, instead: () => void): void
  counted(): number
}

/** Does them in turn. Says so when one comes to its end, and which; only a single one ends this process in good order. */
export function dieInTurn({ arm, counted }: Counter, ats: readonly number[], turnOf: (n: number) => Turn): void {
  const begin = (n: number): void => {
    if (n === ats.length) end()
    turnOf(n)(() => arm(ats[n]!, () => begin(n + 1)))
    writeSync(1, `changes ${counted()} of ${n}\n`)
    if (ats.length > 1) end()
  }
  begin(0)
}

const end = (): void => void process.kill(process.pid, 'SIGKILL')
