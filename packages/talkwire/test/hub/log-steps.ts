/** What the process of log-killed.test.ts appends, one after another, and what is held after each of them. */
import type { LogRecord } from '../../src/hub/embedded/log-types.js'
import { set } from './log-shelf.js'

export const SEGMENT = 2048
/** With them segments begin, and are cleaned and removed: the first values of keys 2 to 4 stay. */
export const STEPS = 10

const changesOf = (step: number): [key: number, value: string][] => [
  [1, `${step}`.padEnd(600, '-')],
  [2 + Math.min(step, 3), `also ${step}`],
]

export const recordsOf = (step: number): LogRecord[] => changesOf(step).map(([key, value]) => set(key, value))

/** As `Shelf.state` says it, after so many steps. */
export function stateAfter(steps: number): string {
  const held = new Map<number, string>()
  for (let step = 0; step < steps; step++) for (const [key, value] of changesOf(step)) held.set(key, value)
  return JSON.stringify([...held].sort((a, b) => a[0] - b[0]))
}
