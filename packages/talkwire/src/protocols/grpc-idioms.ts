/**
 * How gRPC, gRPC-Web and Connect say the same: heads, ends, errors. Sans I/O but for the exchange that they write to.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, PROTOCOL-WEB.md, https://connectrpc.com/docs/protocol
 */
import { plainMessage, type TalkwireError } from '../error.js'
import { frame, HEAD } from './grpc-frames.js'
import type { Exchange } from './grpc-site.js'
import { detailsOf, numberOf, percent, statusBytes, STATUSES, type Detail } from './grpc-status.js'
import type { Message } from './protobuf-model.js'

type Errors = ReadonlyMap<string, Message> | undefined
type Answering = Omit<Exchange, 'caller'>

export interface Idiom {
  /** One message is the whole body: no frames. */
  readonly bare: boolean
  readonly json: boolean
  /** Frames travel as base64. */
  readonly text: boolean
  /** Its end is in trailers. */
  readonly trailers: boolean
  /** The header that says how messages are compressed. */
  readonly encoding: string
  /** Of an answer that begins well. */
  readonly head: Readonly<Record<string, string>>
  /** After the head. */
  end(exchange: Answering, error?: TalkwireError, errors?: Errors): void
  /** Instead of the head. */
  fail(exchange: Answering, error: TalkwireError, errors?: Errors): void
}

/** What a content type asks for; undefined: none of these. */
export function idiomOf({ headers, framed, method, query }: Pick<Exchange, 'headers' | 'framed' | 'method' | 'query'>): Idiom | undefined {
  if (method === 'GET') return /(^|&)encoding=json(&|$)/.test(query) ? connectJson : connectProto
  const type = String(headers['content-type'] ?? '')
    .split(';', 1)[0]!
    .trim()
    .toLowerCase()
  return (framed ? IDIOMS : WITHOUT_TRAILERS).get(type)
}

// ── gRPC ─────────────────────────────────────────────────────────────────────────────────────────

function trailersOf(error: TalkwireError | undefined, errors: Errors): Record<string, string> {
  if (!error) return { 'grpc-status': '0' }
  const code = numberOf(error)
  const details = Buffer.from(statusBytes(code, plainMessage(error), detailsOf(error, errors))).toString('base64')
  // Headers have limits; an error without its details is better than none.
  const fits = details.length < 6_000
  return {
    'grpc-status': String(code),
    'grpc-message': percent(error).slice(0, 4_000),
    ...(fits && { 'grpc-status-details-bin': details.replace(/=+$/, '') }),
  }
}

const grpc = (type: string): Idiom => ({
  bare: false,
  json: false,
  text: false,
  trailers: true,
  encoding: 'grpc-encoding',
  head: { 'content-type': type, 'grpc-accept-encoding': 'identity,gzip,deflate' },
  end: (exchange, error, errors) => exchange.end(undefined, trailersOf(error, errors)),
  fail: (exchange, error, errors) => exchange.only(200, { 'content-type': type, ...trailersOf(error, errors) }),
})

// ── gRPC-Web ─────────────────────────────────────────────────────────────────────────────────────

const TRAILERS = 0x80

function inFrame(flags: number, body: Buffer): Uint8Array {
  return frame(Buffer.concat([Buffer.alloc(HEAD), body]), flags)
}

const web = (type: string, text: boolean): Idiom => {
  const last = (error: TalkwireError | undefined, errors: Errors): Uint8Array => {
    const lines = Object.entries(trailersOf(error, errors)).map(([name, value]) => `${name}: ${value}\r\n`)
    const bytes = inFrame(TRAILERS, Buffer.from(lines.join('')))
    return text ? Buffer.from(Buffer.from(bytes).toString('base64')) : bytes
  }
  return {
    bare: false,
    json: false,
    text,
    trailers: false,
    encoding: 'grpc-encoding',
    head: { 'content-type': type },
    end: (exchange, error, errors) => exchange.end(last(error, errors)),
    fail: (exchange, error, errors) => exchange.only(200, { 'content-type': type }, last(error, errors)),
  }
}

// ── Connect ──────────────────────────────────────────────────────────────────────────────────────

const END_STREAM = 2
const HTTP_STATUS = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]

const detailJson = ({ type, value }: Detail): unknown => ({ type, value: Buffer.from(value).toString('base64').replace(/=+$/, '') })

const errorJson = (error: TalkwireError, errors: Errors): unknown => ({
  code: STATUSES[numberOf(error)],
  message: plainMessage(error),
  details: detailsOf(error, errors).map(detailJson),
})

const connect = (type: string, json: boolean): Idiom => {
  const fail: Idiom['fail'] = (exchange, error, errors) =>
    exchange.only(
      HTTP_STATUS[numberOf(error)]!,
      { 'content-type': 'application/json' },
      Buffer.from(JSON.stringify(errorJson(error, errors))),
    )
  return {
    bare: true,
    json,
    text: false,
    trailers: false,
    encoding: 'content-encoding',
    head: { 'content-type': type },
    end: (exchange, error, errors) => (error ? fail(exchange, error, errors) : exchange.end()),
    fail,
  }
}

const connectStream = (type: string, json: boolean): Idiom => {
  const last = (error: TalkwireError | undefined, errors: Errors): Uint8Array =>
    inFrame(END_STREAM, Buffer.from(JSON.stringify(error ? { error: errorJson(error, errors) } : {})))
  const head = { 'content-type': type }
  return {
    bare: false,
    json,
    text: false,
    trailers: false,
    encoding: 'connect-content-encoding',
    head,
    end: (exchange, error, errors) => exchange.end(last(error, errors)),
    fail: (exchange, error, errors) => exchange.only(200, head, last(error, errors)),
  }
}

const connectJson = connect('application/json', true)
const connectProto = connect('application/proto', false)
const WITHOUT_TRAILERS = new Map<string, Idiom>([
  ['application/json', connectJson],
  ['application/proto', connectProto],
  ['application/connect+json', connectStream('application/connect+json', true)],
  ['application/connect+proto', connectStream('application/connect+proto', false)],
  ['application/grpc-web', web('application/grpc-web+proto', false)],
  ['application/grpc-web+proto', web('application/grpc-web+proto', false)],
  ['application/grpc-web-text', web('application/grpc-web-text+proto', true)],
  ['application/grpc-web-text+proto', web('application/grpc-web-text+proto', true)],
])
const IDIOMS = new Map<string, Idiom>([
  ...WITHOUT_TRAILERS,
  ['application/grpc', grpc('application/grpc')],
  ['application/grpc+proto', grpc('application/grpc+proto')],
])
export const TYPES = [...IDIOMS.keys()].join(', ')
