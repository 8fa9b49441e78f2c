/**
 * Errors of gRPC and Connect: a number, a text, and details as `google.rpc.Status` has them; and back. Sans I/O.
 * https://grpc.github.io/grpc/core/md_doc_statuscodes.html
 */
import { TalkwireError, plainMessage, type Outcome } from '../error.js'
import { decode, encode } from './protobuf-codec.js'
import { ERROR_INFO, STATUS, VALUE, type Message } from './protobuf-model.js'

export const STATUSES = [
  'ok',
  'canceled',
  'unknown',
  'invalid_argument',
  'deadline_exceeded',
  'not_found',
  'already_exists',
  'permission_denied',
  'resource_exhausted',
  'failed_precondition',
  'aborted',
  'out_of_range',
  'unimplemented',
  'internal',
  'unavailable',
  'data_loss',
  'unauthenticated',
] as const

const numbers: Readonly<Record<string, number>> = {
  CANCELLED: 1,
  INVALID_MESSAGE: 3,
  INVALID_REQUEST: 3,
  INVALID_INPUT: 3,
  TOO_DEEP: 3,
  FORBIDDEN_KEY: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  NOT_SERVED: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  MESSAGE_TOO_LARGE: 8,
  LIMIT_EXCEEDED: 8,
  METHOD_NOT_FOUND: 12,
  UNSUPPORTED: 12,
  INTERNAL: 13,
  INVALID_OUTPUT: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
}
const UNKNOWN = 2
/** The request was fine, and the service has its reason: what declared errors are, unless their name is one of the others. */
const DECLARED = 9
const byName = new Map(STATUSES.map((name, number) => [name.replaceAll('_', ''), number]))

export function numberOf(error: TalkwireError): number {
  if (error.declared) return byName.get(error.code.toLowerCase()) ?? DECLARED
  return Object.hasOwn(numbers, error.code) ? numbers[error.code]! : UNKNOWN
}

const foreign: readonly (readonly [code: string, outcome: Outcome])[] = [
  ['INVALID_MESSAGE', 'ran'],
  ['CANCELLED', 'maybe-ran'],
  ['UNKNOWN', 'ran'],
  ['INVALID_INPUT', 'ran'],
  ['DEADLINE_EXCEEDED', 'maybe-ran'],
  ['NOT_FOUND', 'ran'],
  ['ALREADY_EXISTS', 'ran'],
  ['PERMISSION_DENIED', 'ran'],
  ['LIMIT_EXCEEDED', 'maybe-ran'],
  ['FAILED_PRECONDITION', 'ran'],
  ['ABORTED', 'ran'],
  ['OUT_OF_RANGE', 'ran'],
  ['METHOD_NOT_FOUND', 'not-sent'],
  ['INTERNAL', 'ran'],
  ['UNAVAILABLE', 'maybe-ran'],
  ['DATA_LOSS', 'ran'],
  ['UNAUTHENTICATED', 'not-sent'],
]

/** One detail: the name of its message, and its bytes. */
export interface Detail {
  readonly type: string
  readonly value: Uint8Array
}

/** Of our ErrorInfo: an error with another domain has its own words. */
const DOMAIN = 'talkwire'
const TYPE_URL = 'type.googleapis.com/'

/** What an error says beside number and text. `errors`: the messages of the method's declared ones. */
export function detailsOf(error: TalkwireError, errors: ReadonlyMap<string, Message> | undefined): Detail[] {
  const info = { reason: error.code, domain: DOMAIN, metadata: { outcome: error.outcome, ...(error.declared && { declared: 'true' }) } }
  const all: Detail[] = [{ type: ERROR_INFO.name, value: encode(ERROR_INFO, info) }]
  if (error.details === undefined) return all
  const message = error.declared ? errors?.get(error.code) : undefined
  try {
    all.push(
      message ? { type: message.name, value: encode(message, error.details) } : { type: VALUE.name, value: encode(VALUE, error.details) },
    )
  } catch {
    // Details that cannot be said are no reason to keep the error back.
  }
  return all
}

/** `google.rpc.Status`, as the trailer has it in base64. */
export const statusBytes = (code: number, message: string, details: readonly Detail[]): Uint8Array =>
  encode(STATUS, { code, message, details: details.map(({ type, value }) => ({ type_url: TYPE_URL + type, value })) })

/** The details of `google.rpc.Status`. Never throws: an error that is badly said is an error still. */
export function readStatus(base64: string): Detail[] {
  try {
    const { details } = decode(STATUS, Buffer.from(base64, 'base64')) as { details: { type_url: string; value: Uint8Array }[] }
    return details.map(({ type_url: url, value }) => ({ type: url.slice(url.lastIndexOf('/') + 1), value }))
  } catch {
    return []
  }
}

interface Info {
  readonly reason: string
  readonly domain: string
  readonly metadata: Readonly<Record<string, string>>
}
const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])

/** An error from what a server said. Never throws. */
export function fromStatus(
  status: number,
  text: string,
  details: readonly Detail[],
  errors: ReadonlyMap<string, Message> | undefined,
): TalkwireError {
  const [code, outcome] = foreign[status] ?? foreign[UNKNOWN]!
  const message = text || `the server answered with status ${status} (${STATUSES[status] ?? 'unknown'})`
  const info = infoIn(details)
  const declared = [...(errors ?? [])].find(([name, { name: type }]) =>
    info?.domain === DOMAIN ? info.metadata['declared'] === 'true' && info.reason === name : details.some((each) => each.type === type),
  )
  if (declared) {
    const [name, type] = declared
    return new TalkwireError(name, message, { outcome: 'ran', declared: true, details: valueIn(details, type) })
  }
  if (info?.domain !== DOMAIN) return new TalkwireError(code, message, { outcome, ...(details.length > 0 && { details }) })
  const said = info.metadata['outcome']
  return new TalkwireError(info.reason, message, {
    outcome: outcomes.has(said) ? (said as Outcome) : outcome,
    declared: info.metadata['declared'] === 'true',
    details: valueIn(details, VALUE),
  })
}

const infoIn = (details: readonly Detail[]): Info | undefined => valueIn(details, ERROR_INFO) as Info | undefined

function valueIn(details: readonly Detail[], message: Message): unknown {
  const found = details.find(({ type }) => type === message.name)
  try {
    return found && decode(message, found.value)
  } catch {
    return undefined
  }
}

/** The text of an error as `grpc-message` has it: printable ASCII, the rest percent-encoded. */
export const percent = (error: TalkwireError): string =>
  plainMessage(error)
    .replaceAll(/[\uD800-\uDFFF]/gu, '\uFFFD')
    .replaceAll(/[^\x20-\x24\x26-\x7e]/gu, (character) =>
      [...Buffer.from(character)].map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`).join(''),
    )

export function unpercent(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** What a status of HTTP means where gRPC says nothing. https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md */
export const statusOfHttp = (http: number): number =>
  ({ 400: 13, 401: 16, 403: 7, 404: 12, 408: 4, 409: 10, 413: 8, 415: 13, 429: 14, 499: 1, 502: 14, 503: 14, 504: 14 })[http] ?? UNKNOWN
