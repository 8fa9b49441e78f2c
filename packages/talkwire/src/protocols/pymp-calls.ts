/**
 * Calls as Python has them, in both forms: plain tuples on a connection, and those of multiprocessing.managers. Sans I/O.
 *
 *   plain     (method, args, kwargs)            ('ok', value)        ('error', {'code': …, 'message': …})
 *   manager   (ident, method, args, kwargs)     ('#RETURN', value)   ('#ERROR', exception)   ('#TRACEBACK', text)
 *
 * Source: Lib/multiprocessing/managers.py.
 */
import { TalkwireError, plainMessage, type Outcome } from '../error.js'
import { PickledError, Tuple, type PickleLimits } from './pickle.js'

export interface PythonCall {
  /** Undefined: a plain call. null: one to the manager itself. */
  readonly ident: string | null | undefined
  readonly method: string
  readonly args: readonly unknown[]
  readonly kwargs: Readonly<Record<string, unknown>>
}

/** Throws INVALID_REQUEST. */
export function readCall(message: unknown): PythonCall {
  const fields: readonly unknown[] = Array.isArray(message) ? message : []
  const [ident, method, args, kwargs] = fields.length === 4 ? fields : [undefined, ...fields]
  const fits =
    (fields.length === 3 || (fields.length === 4 && (ident === null || typeof ident === 'string'))) &&
    typeof method === 'string' &&
    Array.isArray(args) &&
    typeof kwargs === 'object' &&
    kwargs !== null &&
    !Array.isArray(kwargs) &&
    !(kwargs instanceof Map) &&
    !(kwargs instanceof Set)
  if (!fits)
    throw new TalkwireError('INVALID_REQUEST', 'a call is the tuple (method, args, kwargs), or a manager’s (ident, method, args, kwargs)')
  return { ident, method, args, kwargs } as PythonCall
}

/** Params as in JSON-RPC. Throws INVALID_REQUEST. */
export function paramsFrom({ method, args, kwargs }: PythonCall): unknown {
  const named = Object.keys(kwargs).length > 0
  if (named && args.length > 0)
    throw new TalkwireError('INVALID_REQUEST', `"${method.slice(0, 100)}" takes its arguments by position or by name, not both`)
  return named ? kwargs : args
}

/** An input without a member goes by position: by name it would be no input at all. */
export function callOf(method: string, params: unknown, ident?: string | null): Tuple {
  const named = typeof params === 'object' && params !== null && !Array.isArray(params) && Object.keys(params).length > 0
  const args = named || params === undefined ? [] : Array.isArray(params) ? (params as unknown[]) : [params]
  const call = [method, new Tuple(...args), named ? params : {}]
  return ident === undefined ? new Tuple(...call) : new Tuple(ident, ...call)
}

export const resultOf = (manager: boolean, value: unknown): Tuple => new Tuple(manager ? '#RETURN' : 'ok', value)

// ── errors ───────────────────────────────────────────────────────────────────────────────────────

const EXCEPTIONS: Readonly<Record<string, string>> = {
  METHOD_NOT_FOUND: 'AttributeError',
  INVALID_INPUT: 'ValueError',
  INVALID_REQUEST: 'TypeError',
}

export function errorOf(manager: boolean, error: TalkwireError): Tuple {
  const info = {
    code: error.code,
    message: plainMessage(error),
    outcome: error.outcome,
    declared: error.declared,
    details: error.details,
  }
  if (!manager) return new Tuple('error', info)
  const type = error.declared || !Object.hasOwn(EXCEPTIONS, error.code) ? 'RuntimeError' : EXCEPTIONS[error.code]!
  return new Tuple('#ERROR', new PickledError(type, [error.message, info]))
}

export const tracebackOf = (error: TalkwireError): Tuple => new Tuple('#TRACEBACK', error.message)

const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])

/** What an answer says. Throws the error that it is; INVALID_MESSAGE for what is no answer. */
export function valueOf(message: unknown): unknown {
  const [kind, value] = Array.isArray(message) && message.length === 2 ? (message as unknown[]) : []
  if (kind === 'ok' || kind === '#RETURN') return value
  if (kind === 'error' || kind === '#ERROR') throw value instanceof PickledError ? fromException(value) : fromInfo(value)
  if (kind === '#TRACEBACK' || kind === '#UNSERIALIZABLE') throw fromTraceback(String(value))
  throw new TalkwireError('INVALID_MESSAGE', "an answer is the tuple ('ok', value) or ('error', …)", { outcome: 'ran' })
}

function fromInfo(value: unknown): TalkwireError {
  const { code, message, outcome, declared, details } = (typeof value === 'object' && value !== null ? value : {}) as Record<
    string,
    unknown
  >
  if (typeof code !== 'string') return new TalkwireError('UNKNOWN', String(value).slice(0, 1000), { outcome: 'ran', details: value })
  return new TalkwireError(code, typeof message === 'string' ? message : code, {
    outcome: outcomes.has(outcome) ? (outcome as Outcome) : 'ran',
    declared: declared === true,
    details: details ?? undefined,
  })
}

function fromException({ type, args }: PickledError): TalkwireError {
  const info = args[1]
  if (typeof info === 'object' && info !== null && 'code' in info && 'outcome' in info) return fromInfo(info)
  const text = args.length === 0 ? type : `${type}: ${args.map(String).join(', ')}`
  return new TalkwireError('UNKNOWN', text.slice(0, 1000), { outcome: 'ran', details: { type, args } })
}

/** Of a traceback only the last line is for a caller. */
function fromTraceback(text: string): TalkwireError {
  const last = text.trimEnd().split('\n').at(-1)!.slice(0, 1000)
  return /is not in exposed|has no attribute/.test(last)
    ? new TalkwireError('METHOD_NOT_FOUND', last)
    : new TalkwireError('UNKNOWN', last, { outcome: 'ran' })
}

export const answerLimits = (limits: PickleLimits): PickleLimits => ({
  message: limits.message!,
  depth: limits.depth!,
  around: limits.around ?? 0,
  values: limits.values!,
  errors: true,
})
