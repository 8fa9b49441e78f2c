/** What a change does to a peer that has the other version. */
import type { Change } from './compare.js'

export type Verdict = 'works' | 'breaks' | 'unknown'

/** `breaks` wins over `unknown`, `unknown` over `works`. */
export function worst(verdicts: readonly Verdict[]): Verdict {
  return verdicts.includes('breaks') ? 'breaks' : verdicts.includes('unknown') ? 'unknown' : 'works'
}

/** The changes in one word for each side. */
export function verdictOf(changes: readonly Change[]): { readonly oldClient: Verdict; readonly newClient: Verdict } {
  return { oldClient: worst(changes.map((one) => one.oldClient)), newClient: worst(changes.map((one) => one.newClient)) }
}
