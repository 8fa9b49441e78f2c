/** Contracts that are made of what a service tells of itself, and not written by anyone. */
import { isName } from '../address.js'
import { validateMethodName, type Contract, type Members } from './contract.js'

/**
 * A contract of a service that was not written with Talkwire. Every description has names that a contract has no place for: `name`
 * is made to fit, members that cannot be called by their names are left out and told in `foreign.leftOut`, beside those that
 * `leftOut` names already. Never throws.
 */
export function foreignContract(name: string, version: number, members: Members, leftOut: Readonly<Record<string, string>> = {}): Contract {
  const kept: Members = Object.create(null) as Members
  const out: Record<string, string> = { ...leftOut }
  for (const [member, value] of Object.entries(members)) {
    const reason = refusal(member)
    if (reason === undefined) kept[member] = value
    else out[member] = reason
  }
  const fit = nameLike(name)
  const number = Number.isSafeInteger(version) && version >= 0 && version < 1e9 ? version : 0
  return { kind: 'contract', id: `${fit}/${number}`, name: fit, version: number, members: kept, foreign: { leftOut: out } }
}

function refusal(name: string): string | undefined {
  try {
    validateMethodName(name)
    return undefined
  } catch (reason) {
    return (reason as Error).message
  }
}

/** The part of any text that may name a service. */
export function nameLike(text: string): string {
  const name = text
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[._-]+/, '')
    .slice(0, 64)
    .replace(/[._-]+$/, '')
  return isName(name) ? name : 'service'
}
