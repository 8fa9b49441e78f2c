/** Errors in GraphQL: `{ message, path, extensions: { code, outcome, declared, details } }`, and back. Sans I/O. */
import type { GraphQLFormattedError } from 'graphql'
import { plainMessage, TalkwireError, type Code, type Outcome } from '../error.js'

export type FormattedError = GraphQLFormattedError

export const extensionsOf = (error: TalkwireError): Record<string, unknown> => ({
  code: error.code,
  outcome: error.outcome,
  ...(error.declared && { declared: true }),
  ...(error.details !== undefined && { details: error.details }),
})

export const formatted = (error: TalkwireError): FormattedError => ({ message: plainMessage(error), extensions: extensionsOf(error) })

const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])
/** What other servers call it: apollographql.com/docs/apollo-server/data/errors. */
const foreign: Readonly<Record<string, Code>> = {
  UNAUTHENTICATED: 'UNAUTHENTICATED',
  FORBIDDEN: 'PERMISSION_DENIED',
  BAD_USER_INPUT: 'INVALID_INPUT',
  BAD_REQUEST: 'INVALID_REQUEST',
  GRAPHQL_PARSE_FAILED: 'INVALID_REQUEST',
  GRAPHQL_VALIDATION_FAILED: 'INVALID_REQUEST',
  OPERATION_RESOLUTION_FAILURE: 'INVALID_REQUEST',
  INTERNAL_SERVER_ERROR: 'INTERNAL',
}

/** Never throws: an error is also made of what a foreign server calls one. `declared`: names of errors of the method. */
export function errorFrom(reported: unknown, declared: readonly string[] = []): TalkwireError {
  const { message, path, extensions } = (typeof reported === 'object' && reported !== null ? reported : {}) as Partial<
    Record<keyof FormattedError, unknown>
  >
  const given = (typeof extensions === 'object' && extensions !== null ? extensions : {}) as Record<string, unknown>
  const { code, outcome, details, ...rest } = given
  const text = typeof message === 'string' ? message : 'the server sent an error without a text'
  const ours = typeof code === 'string' && outcomes.has(outcome)
  if (ours) return new TalkwireError(code, text, { outcome: outcome as Outcome, declared: given['declared'] === true, details })
  const ran: Outcome = path === undefined ? 'not-sent' : 'ran'
  if (typeof code === 'string' && declared.includes(code))
    return new TalkwireError(code, text, { outcome: 'ran', declared: true, details: details === undefined ? rest : details })
  const name =
    typeof code === 'string' && Object.hasOwn(foreign, code) ? foreign[code]! : path === undefined ? 'INVALID_REQUEST' : 'UNKNOWN'
  return new TalkwireError(name, text, { outcome: ran, details: extensions })
}
