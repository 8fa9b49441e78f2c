/** What a client says is checked here, in the client's words. */
import type { TalkwireError } from '../../error.js'
import { visibleError } from '../../session/validate.js'
import type { Headers } from '../driver.js'

export const visibleInput = (text: string): TalkwireError => visibleError('INVALID_INPUT', text)

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const LONGEST = 255

/** Throws INVALID_INPUT. */
export function nameOf(value: unknown, what: string): string {
  // oxlint-disable-next-line no-control-regex
  if (typeof value === 'string' && value !== '' && value.length <= LONGEST && !/[\0-\x1f\x7f]/.test(value)) return value
  throw visibleInput(`${what} is a text of 1 to ${LONGEST} characters`)
}

/** A number from `least` to `most`; undefined takes the default. Throws INVALID_INPUT. */
export function numberOf(value: unknown, what: string, least: number, most: number, otherwise?: number): number {
  const number = value === undefined || value === null ? otherwise : value
  if (typeof number === 'number' && number >= least && number <= most) return number
  throw visibleInput(`${what} is a number from ${least} to ${most}`)
}

/** Throws INVALID_INPUT. */
export function wholeOf(value: unknown, what: string, least: number, most: number, otherwise?: number): number {
  const number = numberOf(value, what, least, most, otherwise)
  if (Number.isInteger(number)) return number
  throw visibleInput(`${what} is a whole number from ${least} to ${most}`)
}

export function listOf(value: unknown, what: string): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw visibleInput(`${what} is a list`)
}

export function headersOf(value: unknown): Headers {
  if (value === undefined || value === null) return {}
  if (isObject(value) && Object.values(value).every((each) => typeof each === 'string')) return value as Headers
  throw visibleInput('headers are texts by their names')
}
