/** JSON-RPC 2.0 over HTTP: `POST /rpc` with one request or a batch. Status 200 whatever the answers say, 204 where there is none. */
import { fromJson, LOOKED_AT, toJson } from '../codecs/plain-json.js'
import { TalkwireError } from '../error.js'
import type { Service } from '../session/service.js'
import type { Caller, DialectServerOptions, OpenCall } from './dialect.js'
import { metaOf } from './http-meta.js'
import { readBody, type Exchange } from './http-server.js'
import { isParams, toWireError, type Id, type Meta } from './message.js'

export const RPC_PATH = '/rpc'

/** `send` gets the text of all answers, undefined where none is wanted. */
export function answerRpc(
  { request, response, caller }: Exchange,
  service: Service,
  { limits }: DialectServerOptions,
  send: (text: string | undefined) => void,
): void {
  const calls: OpenCall[] = []
  let over = false
  response.once('close', () => {
    over = true
    for (const call of calls) call.cancel()
  })
  const finish = (text: string | undefined): void => {
    if (!over) send(text)
  }
  readBody(request, limits, (error, body) => {
    if (error) return finish(errorText(null, error))
    let entries: unknown
    let meta: Meta | undefined
    try {
      entries = fromJson(body, limits)
      meta = metaOf(request.headers)
    } catch (reason) {
      return finish(errorText(null, TalkwireError.from(reason)))
    }
    if (!Array.isArray(entries)) return one(entries, caller, service, meta, calls, finish)
    if (entries.length === 0 || entries.length > limits.batch)
      return finish(
        errorText(
          null,
          entries.length === 0
            ? new TalkwireError('INVALID_REQUEST', 'an empty batch; send at least one request')
            : new TalkwireError('LIMIT_EXCEEDED', `a batch of more than ${limits.batch}; send several`),
        ),
      )
    many(entries, limits.message, (entry, done) => one(entry, caller, service, meta, calls, done), finish)
  })
}

/** All answers, in the order of the requests. */
function many(
  entries: readonly unknown[],
  most: number,
  start: (entry: unknown, done: (text: string | undefined) => void) => void,
  finish: (text: string | undefined) => void,
): void {
  const texts: (string | undefined)[] = []
  let open = entries.length
  let size = 0
  entries.forEach((entry, index) =>
    start(entry, (text) => {
      size += text?.length ?? 0
      texts[index] = size > most && text !== undefined ? errorText(idOf(entry), tooLarge(most)) : text
      if (--open > 0) return
      const answers = texts.filter((each) => each !== undefined)
      finish(answers.length > 0 ? `[${answers.join(',')}]` : undefined)
    }),
  )
}

const tooLarge = (most: number): TalkwireError =>
  new TalkwireError('MESSAGE_TOO_LARGE', `the answers of the batch are more than ${most} bytes; ask for less at a time`, { outcome: 'ran' })

function one(
  entry: unknown,
  caller: Caller,
  service: Service,
  meta: Meta | undefined,
  calls: OpenCall[],
  done: (text: string | undefined) => void,
): void {
  const id = idOf(entry)
  const { jsonrpc, method, params } = (typeof entry === 'object' && entry !== null ? entry : {}) as Record<string, unknown>
  if (jsonrpc !== '2.0' || typeof method !== 'string' || !isParams(params) || params === null)
    return done(errorText(id ?? null, new TalkwireError('INVALID_REQUEST', 'not a request of JSON-RPC 2.0')))
  const isCall = Object.hasOwn(entry as object, 'id')
  const known = service.methods.get(method)
  const refusal = known?.outputStream || known?.inputStream ? streams(method) : reserved(method)
  if (refusal) return done(isCall ? errorText(id, refusal) : undefined)
  let answered = false
  const tell = (answer: string): void => {
    if (answered || !isCall) return
    answered = true
    done(answer)
  }
  const call = caller.call(method, params, meta, {
    result: (value) => tell(`{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${toJson(value ?? null, LOOKED_AT)}}`),
    error: (error) => tell(errorText(id, error)),
    item() {
      tell(errorText(id, streams(method)))
      return 0
    },
  })
  if (isCall) calls.push(call)
  // Nobody waits for a notification, and it runs on when the connection is gone.
  else done(undefined)
}

const streams = (method: string): TalkwireError =>
  new TalkwireError(
    'UNSUPPORTED',
    `"${method}" streams, which a request of JSON-RPC over HTTP cannot; POST to the method's own path, or take ws:`,
  )

/** Hello, subscriptions and references belong to a connection, and here is none that lasts. */
const reserved = (method: string): TalkwireError | undefined =>
  /^(rpc\.(?!discover$)|\$|#)/.test(method)
    ? new TalkwireError('METHOD_NOT_FOUND', `${method.slice(0, 64)} is for connections that last; take ws: or tcp: for it`)
    : undefined

function idOf(entry: unknown): Id {
  const id: unknown = (entry as { id?: unknown } | null | undefined)?.id
  return typeof id === 'string' || typeof id === 'number' ? id : null
}

const errorText = (id: Id, error: TalkwireError): string =>
  `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"error":${toJson(toWireError(error), LOOKED_AT)}}`
