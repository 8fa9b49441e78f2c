/** How long a call may take. */
import type { CallOptions } from '../contract/contract.js'

/** Milliseconds that a call with these options has; undefined: as long as it takes. Throws TypeError for what is no time. */
export function remaining(options: CallOptions | undefined): number | undefined {
  const inherited = options?.from?.deadline === undefined ? undefined : options.from.deadline - performance.now()
  if (options?.timeout === undefined) return inherited
  validateTimeout(options.timeout)
  return inherited === undefined ? options.timeout : Math.min(options.timeout, inherited)
}

/** Throws TypeError. */
export function validateTimeout(timeout: number | undefined): void {
  if (timeout !== undefined && !(timeout > 0)) throw new TypeError(`timeout is a positive number of milliseconds, not ${String(timeout)}`)
}

const TRACE = ['traceparent', 'tracestate', 'baggage'] as const

/** The metadata of a call made on behalf of another: its trace context goes on, the rest does not. */
export function inheritMetadata({ from, metadata }: CallOptions): Record<string, string> | undefined {
  const inherited: Record<string, string> = {}
  for (const key of TRACE) {
    const value = from?.metadata[key]
    if (value !== undefined) inherited[key] = value
  }
  const all = { ...inherited, ...metadata }
  return Object.keys(all).length > 0 ? all : undefined
}
