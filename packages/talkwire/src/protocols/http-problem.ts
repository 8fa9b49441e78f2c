/** Errors over HTTP: problem details of RFC 9457, and back. Sans I/O. */
import { STATUS_CODES } from 'node:http'
import { TalkwireError, plainMessage, type Outcome } from '../error.js'

const statuses: Readonly<Record<string, number>> = {
  INVALID_MESSAGE: 400,
  INVALID_REQUEST: 400,
  INVALID_INPUT: 400,
  TOO_DEEP: 400,
  FORBIDDEN_KEY: 400,
  FAILED_PRECONDITION: 400,
  OUT_OF_RANGE: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  METHOD_NOT_FOUND: 404,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  ABORTED: 409,
  CANCELLED: 499,
  MESSAGE_TOO_LARGE: 413,
  LIMIT_EXCEEDED: 429,
  UNSUPPORTED: 501,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
}
/** A declared error: the request was understood, and the service has its reason. */
const DECLARED = 422

export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: string
  readonly outcome: Outcome
  readonly declared?: true
  readonly details?: unknown
}

export const statusOf = (error: TalkwireError): number =>
  error.declared ? DECLARED : Object.hasOwn(statuses, error.code) ? statuses[error.code]! : 500

export const problemOf = (error: TalkwireError, status = statusOf(error)): Problem => ({
  type: 'about:blank',
  title: error.code,
  status,
  detail: plainMessage(error),
  code: error.code,
  outcome: error.outcome,
  ...(error.declared && { declared: true as const }),
  ...(error.details !== undefined && { details: error.details }),
})

const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])
const byStatus: Readonly<Record<number, [code: string, outcome: Outcome]>> = {
  400: ['INVALID_INPUT', 'not-sent'],
  401: ['UNAUTHENTICATED', 'not-sent'],
  403: ['PERMISSION_DENIED', 'not-sent'],
  404: ['METHOD_NOT_FOUND', 'not-sent'],
  405: ['METHOD_NOT_FOUND', 'not-sent'],
  406: ['INVALID_REQUEST', 'not-sent'],
  408: ['DEADLINE_EXCEEDED', 'maybe-ran'],
  413: ['MESSAGE_TOO_LARGE', 'not-sent'],
  414: ['MESSAGE_TOO_LARGE', 'not-sent'],
  415: ['INVALID_REQUEST', 'not-sent'],
  422: ['INVALID_INPUT', 'ran'],
  426: ['UNSUPPORTED', 'not-sent'],
  429: ['LIMIT_EXCEEDED', 'not-sent'],
  431: ['MESSAGE_TOO_LARGE', 'not-sent'],
  501: ['UNSUPPORTED', 'not-sent'],
  503: ['UNAVAILABLE', 'maybe-ran'],
  504: ['DEADLINE_EXCEEDED', 'maybe-ran'],
}

/** Never throws: an error is also made of what a foreign server calls one. `who`: where nobody says more. */
export function fromProblem(status: number, body: unknown, who = 'the server'): TalkwireError {
  const { code, detail, title, outcome, declared, details } = (typeof body === 'object' && body !== null ? body : {}) as Partial<
    Record<keyof Problem, unknown>
  >
  const [name, meaning] = byStatus[status] ?? ['UNKNOWN', 'ran']
  const text =
    [detail, title].find((each) => typeof each === 'string') ??
    `${who} answered with status ${status} (${STATUS_CODES[status] ?? 'unknown'})`
  const ours = typeof code === 'string' && outcomes.has(outcome)
  return new TalkwireError(ours ? code : name, text as string, {
    outcome: ours ? (outcome as Outcome) : meaning,
    declared: ours && declared === true,
    details: ours ? details : body,
  })
}
