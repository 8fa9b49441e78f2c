/** What two sessions say to each other, whatever it looks like on the wire: spec/wire.md § 3. */
import type { References } from '../codecs/codec.js'
import { TalkwireError, plainMessage, type Code, type Outcome } from '../error.js'

/** The numbers are MessagePack's first element; `error` shares 1 with `result` there. */
export const Kind = {
  call: 0,
  result: 1,
  notify: 2,
  item: 3,
  input: 4,
  end: 5,
  credit: 6,
  inputCredit: 7,
  cancel: 8,
  progress: 9,
  error: 10,
} as const
export type Kind = (typeof Kind)[keyof typeof Kind]

export type Id = number | string | null

export interface Meta {
  readonly timeout?: number
  readonly metadata?: Readonly<Record<string, string>>
  readonly input?: true
  readonly credit?: number
}

/** An error as it travels. */
export interface WireError {
  readonly code: number
  readonly message: string
  readonly data?: unknown
}

/** A connection seen as messages. Sans I/O but for the connection under it. */
export interface Wire {
  /**
   * Sends one message; which of the arguments count depends on the kind:
   * call (id, method, params, meta) · result (id, value) · error (id, WireError) · notify (method, params) ·
   * item, input, progress (id, value) · end (id, WireError or undefined) · credit, inputCredit (id, bytes) · cancel (id).
   * False: taken, but wait for `drained`. Throws what the codec and the connection throw; nothing was sent then.
   */
  send(kind: Kind, id: Id, method: string, value: unknown, meta?: Meta): boolean
  /** What the last message counts against credit, in bytes. */
  readonly sent: number
  /** Agreed by hello: values and references of spec § 5, and the codec to write. */
  extend(codec: string, binary: boolean, references: References): void
  readonly extended: boolean
  /** Streams are slowed down by their readers. */
  readonly credits: boolean
  /** Codecs that this wire can write, best first. */
  readonly codecs: readonly string[]
  readonly binary: boolean
  /** One payload; calls the receiver. */
  read(bytes: Buffer, start: number, end: number, owned: boolean): void
  /** One message of a connection that carries values. */
  readValue(value: unknown): void
  /** The peer takes no larger messages. */
  limitSend(bytes: number): void
}

/** What a wire calls for each message. */
export interface Receiver {
  receive(kind: Kind, id: Id, method: string, value: unknown, meta: Meta | undefined, size: number): void
  /** A payload that cannot be understood. `id` is the request's, if that much could be read; with `ofResponse` it is the id of our own call, whose answer this was. */
  misunderstood(error: TalkwireError, id: Id, ofResponse?: boolean): void
}

const numbers: Record<string, number> = {
  INVALID_MESSAGE: -32700,
  INVALID_REQUEST: -32600,
  METHOD_NOT_FOUND: -32601,
  INVALID_INPUT: -32602,
  INTERNAL: -32603,
  INVALID_OUTPUT: -32603,
  CANCELLED: -32800,
  DEADLINE_EXCEEDED: -32001,
  LIMIT_EXCEEDED: -32002,
  UNAUTHENTICATED: -32003,
  CONTRACT_MISMATCH: -32004,
  UNAVAILABLE: -32005,
  MESSAGE_TOO_LARGE: -32006,
  TOO_DEEP: -32007,
  FORBIDDEN_KEY: -32008,
}
const DECLARED = -32010
const names = new Map(
  Object.entries(numbers)
    .filter(([name]) => name !== 'INVALID_OUTPUT')
    .map(([name, number]) => [number, name as Code]),
)
const ranByDefault = new Set([-32603, DECLARED])
const maybeRan = new Set([-32800, -32001])
const outcomes = new Set<unknown>(['not-sent', 'maybe-ran', 'ran'])

export function toWireError(error: TalkwireError): WireError {
  const code = error.declared ? DECLARED : (numbers[error.code] ?? -32603)
  const data: Record<string, unknown> = { code: error.code, outcome: error.outcome }
  if (error.details !== undefined) data['details'] = error.details
  return { code, message: plainMessage(error), data }
}

/** Never throws: an error is also made of what a foreign peer calls one. */
export function fromWireError(wire: unknown): TalkwireError {
  const { code, message, data } = (typeof wire === 'object' && wire !== null ? wire : {}) as {
    code?: unknown
    message?: unknown
    data?: unknown
  }
  const number = typeof code === 'number' ? code : 0
  const said = typeof data === 'object' && data !== null && 'code' in data
  // By hand, a declared error is said without an outcome: it has one.
  const ours = (said && ('outcome' in data || number === DECLARED) ? data : undefined) as
    | { code: unknown; outcome?: unknown; details?: unknown }
    | undefined
  const declared = number === DECLARED && ours !== undefined
  const name = ours && typeof ours.code === 'string' ? ours.code : (names.get(number) ?? 'UNKNOWN')
  const fallback: Outcome = ranByDefault.has(number) ? 'ran' : maybeRan.has(number) ? 'maybe-ran' : names.has(number) ? 'not-sent' : 'ran'
  return new TalkwireError(name, typeof message === 'string' ? message : 'the peer sent an error without a text', {
    declared,
    outcome: ours && outcomes.has(ours.outcome) ? (ours.outcome as Outcome) : fallback,
    details: ours ? ours.details : data,
    ...(!ours && name === 'UNKNOWN' && { cause: wire }),
  })
}

/** By name or by position. */
export const isParams = (value: unknown): boolean => value === undefined || (typeof value === 'object' && value !== null)

/** Throws INVALID_REQUEST for what is no `meta`. */
export function readMeta(value: unknown): Meta {
  const meta = value as Record<string, unknown>
  const { timeout, metadata, input, credit } =
    typeof meta === 'object' && meta !== null ? meta : ({ timeout: 'none' } as Record<string, unknown>)
  const valid =
    (timeout === undefined || (typeof timeout === 'number' && timeout >= 0)) &&
    (credit === undefined || (Number.isSafeInteger(credit) && (credit as number) >= 0)) &&
    (input === undefined || input === true) &&
    (metadata === undefined || isTextMap(metadata))
  if (!valid)
    throw new TalkwireError('INVALID_REQUEST', 'meta holds timeout and credit (numbers), input (true) and metadata (an object of strings)')
  return meta as Meta
}

function isTextMap(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.entries(value).every(([key, text]) => typeof text === 'string' && key !== '__proto__')
}
