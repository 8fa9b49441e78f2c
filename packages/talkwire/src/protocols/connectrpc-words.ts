/**
 * What a client of Connect and one of gRPC-Web say and are told: heads, ends, errors. Sans I/O.
 * https://connectrpc.com/docs/protocol, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 */
import type { IncomingHttpHeaders } from 'node:http'
import { TalkwireError } from '../error.js'
import { grpcTimeout, metaHeaders } from './grpc-meta.js'
import { fromStatus, readStatus, statusOfHttp, STATUSES, unpercent, type Detail } from './grpc-status.js'
import type { Meta } from './message.js'
import type { Message, Method } from './protobuf-model.js'

type Errors = ReadonlyMap<string, Message>

/** How a call ended. */
export type End = 'well' | TalkwireError

export interface Words {
  /** A call with one message each way has no frames. */
  bare(method: Method): boolean
  headers(method: Method, meta: Meta | undefined): Record<string, string>
  /** The header that says how messages are compressed. */
  encoding(method: Method): string
  /** What a head says before its body is there. Undefined: the answer follows. `text`: the body says why it failed. */
  head(status: number, headers: IncomingHttpHeaders, method: Method): End | 'text' | undefined
  /** A frame that is no message. Undefined: it means nothing to us. Throws INVALID_MESSAGE. */
  special(flags: number, body: Buffer, errors: Errors): End | undefined
  /** The body of a failure that `head` called a text. */
  failure(status: number, body: Buffer, errors: Errors): TalkwireError
}

const ENCODINGS = 'gzip, deflate'
/** Connect has ten digits. */
const LONGEST = 9_999_999_999

const notSpoken = (what: string, type: string | undefined): TalkwireError =>
  new TalkwireError(
    'INVALID_MESSAGE',
    `the server answers, but not with ${what}: its content type is ${JSON.stringify((type ?? 'none').slice(0, 80))}`,
    { outcome: 'maybe-ran' },
  )

const ofHttp = (status: number): TalkwireError =>
  fromStatus(statusOfHttp(status), `the server answered with the status ${status} of HTTP`, [], undefined)

const typeOf = (headers: IncomingHttpHeaders): string => (headers['content-type'] ?? '').split(';', 1)[0]!.trim().toLowerCase()

// ── Connect ──────────────────────────────────────────────────────────────────────────────────────

const END_STREAM = 2
const isBare = ({ inputStream, outputStream }: Method): boolean => !inputStream && !outputStream

export const connectWords: Words = {
  bare: isBare,
  headers: (method, meta) => ({
    ...metaHeaders(meta),
    'content-type': isBare(method) ? 'application/proto' : 'application/connect+proto',
    'connect-protocol-version': '1',
    [isBare(method) ? 'accept-encoding' : 'connect-accept-encoding']: ENCODINGS,
    'user-agent': 'talkwire',
    ...(meta?.timeout !== undefined && { 'connect-timeout-ms': String(Math.min(LONGEST, Math.max(0, Math.ceil(meta.timeout)))) }),
  }),
  encoding: (method) => (isBare(method) ? 'content-encoding' : 'connect-content-encoding'),
  head(status, headers, method) {
    if (isBare(method) && status !== 200) return 'text'
    if (status !== 200) return ofHttp(status)
    return typeOf(headers) === (isBare(method) ? 'application/proto' : 'application/connect+proto')
      ? undefined
      : notSpoken('Connect', headers['content-type'])
  },
  special(flags, body, errors) {
    if (!(flags & END_STREAM)) return undefined
    const told = jsonOf(body)
    if (!isObject(told)) throw new TalkwireError('INVALID_MESSAGE', 'the end of the stream is no JSON object')
    return told['error'] === undefined ? 'well' : (errorOf(told['error'], errors) ?? badError())
  },
  failure: (status, body, errors) => errorOf(jsonOf(body), errors) ?? ofHttp(status),
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
const badError = (): TalkwireError => new TalkwireError('UNKNOWN', 'the server failed, and does not say how', { outcome: 'ran' })

function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
}

/** `{ code, message, details }`. Undefined: it is none. Never throws: an error that is badly said is an error still. */
function errorOf(told: unknown, errors: Errors): TalkwireError | undefined {
  if (!isObject(told)) return undefined
  const number = STATUSES.indexOf(told['code'] as (typeof STATUSES)[number])
  if (number < 1) return undefined
  const { message, details } = told
  return fromStatus(number, typeof message === 'string' ? message : '', Array.isArray(details) ? details.flatMap(detailOf) : [], errors)
}

const detailOf = (told: unknown): Detail[] =>
  isObject(told) && typeof told['type'] === 'string' && typeof told['value'] === 'string'
    ? [{ type: told['type'].slice(told['type'].lastIndexOf('/') + 1), value: new Uint8Array(Buffer.from(told['value'], 'base64')) }]
    : []

// ── gRPC-Web ─────────────────────────────────────────────────────────────────────────────────────

const TRAILERS = 0x80

export const webWords: Words = {
  bare: () => false,
  headers: (_, meta) => ({
    ...metaHeaders(meta),
    'content-type': 'application/grpc-web+proto',
    accept: 'application/grpc-web+proto',
    'x-grpc-web': '1',
    'grpc-accept-encoding': ENCODINGS,
    'user-agent': 'talkwire',
    ...(meta?.timeout !== undefined && { 'grpc-timeout': grpcTimeout(meta.timeout) }),
  }),
  encoding: () => 'grpc-encoding',
  head(status, headers, { errors }) {
    if (headers['grpc-status'] !== undefined) return endOf((name) => headers[name] as string | undefined, errors)
    if (status !== 200) return ofHttp(status)
    return /^application\/grpc-web(\+proto)?$/.test(typeOf(headers)) ? undefined : notSpoken('gRPC-Web', headers['content-type'])
  },
  special(flags, body, errors) {
    if (!(flags & TRAILERS)) return undefined
    const lines = new Map(
      body
        .toString('latin1')
        .split('\r\n')
        .map((line) => {
          const colon = line.indexOf(':')
          return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()] as const
        }),
    )
    return endOf((name) => lines.get(name), errors)
  },
  failure: ofHttp,
}

/** What trailers say. Throws INVALID_MESSAGE where they say nothing. */
function endOf(get: (name: string) => string | undefined, errors: Errors): End {
  const code = get('grpc-status')
  if (code === undefined || !/^\d{1,3}$/.test(code)) throw new TalkwireError('INVALID_MESSAGE', 'the trailers have no grpc-status')
  if (Number(code) === 0) return 'well'
  const details = get('grpc-status-details-bin')
  return fromStatus(Number(code), unpercent(get('grpc-message') ?? ''), details === undefined ? [] : readStatus(details), errors)
}
