/** What certainly, possibly or certainly did not happen at the callee: see `TalkwireError.outcome`. */
export type Outcome = 'not-sent' | 'maybe-ran' | 'ran'

/** Stable identifiers. Texts may change in any release, codes only in a major one. */
export type Code =
  | 'PEER_NOT_FOUND'
  | 'ADDRESS_IN_USE'
  | 'INVALID_ADDRESS'
  | 'PERMISSION_DENIED'
  | 'CONNECTION_CLOSED'
  | 'CONNECTION_LOST'
  | 'UNAVAILABLE'
  | 'MESSAGE_TOO_LARGE'
  | 'TOO_DEEP'
  | 'FORBIDDEN_KEY'
  | 'INVALID_MESSAGE'
  | 'INVALID_REQUEST'
  | 'METHOD_NOT_FOUND'
  | 'INVALID_INPUT'
  | 'INVALID_OUTPUT'
  | 'INTERNAL'
  | 'CANCELLED'
  | 'DEADLINE_EXCEEDED'
  | 'LIMIT_EXCEEDED'
  | 'UNAUTHENTICATED'
  | 'CONTRACT_MISMATCH'
  | 'UNSUPPORTED'
  | 'MISSING_PACKAGE'
  | 'START_FAILED'
  | 'PEER_EXITED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'NO_SPACE'
  | 'INVALID_MEMORY'
  | 'CLOSED'
  | 'DEADLOCK'
  | 'BROKEN_BARRIER'
  | 'LOCK_ORDER'
  | 'UNKNOWN'

export interface TalkwireErrorOptions {
  readonly cause?: unknown
  readonly outcome?: Outcome
  readonly details?: unknown
  /** True for an error that the contract declares; `code` is then its name there. */
  readonly declared?: boolean
}

/**
 * The only error class that leaves this package for what the caller could not have prevented.
 * Wrong arguments are a `TypeError`; a cancelled call rejects with the signal's own reason.
 */
export class TalkwireError extends Error {
  override readonly name = 'TalkwireError'
  /** One of `Code`, or the name of a declared error. */
  readonly code: Code | (string & {})
  /**
   * What happened to the call: `not-sent`, the function has certainly not run (repeating is safe);
   * `maybe-ran`, nobody here can know; `ran`, it ran and failed, or its answer could not be used.
   */
  readonly outcome: Outcome
  readonly declared: boolean
  /** The payload of a declared error; validation issues; otherwise absent. */
  readonly details: unknown

  constructor(code: Code | (string & {}), message: string, options: TalkwireErrorOptions = {}) {
    super(`[${code}] ${message}`, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.outcome = options.outcome ?? 'not-sent'
    this.declared = options.declared ?? false
    this.details = options.details
  }

  /** Gives any caught value a code. A `TalkwireError` is returned as it is. */
  static from(reason: unknown, code: Code = 'UNKNOWN', outcome: Outcome = 'not-sent'): TalkwireError {
    if (reason instanceof TalkwireError) return reason
    const message = reason instanceof Error ? reason.message : String(reason)
    return new TalkwireError(code, message, { cause: reason, outcome })
  }

  /** Survives two copies of this package in one process. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && value.name === 'TalkwireError' && 'outcome' in value && 'code' in value
  }

  /** The same error with another outcome, for when the middle knows more than the place that threw. */
  withOutcome(outcome: Outcome): TalkwireError {
    if (outcome === this.outcome) return this
    const copy = new TalkwireError(this.code, '', { cause: this.cause, outcome, details: this.details, declared: this.declared })
    copy.message = this.message
    return copy
  }
}

/** The text without the leading code, as it travels on the wire. */
export function plainMessage(error: TalkwireError): string {
  const prefix = `[${error.code}] `
  return error.message.startsWith(prefix) ? error.message.slice(prefix.length) : error.message
}
