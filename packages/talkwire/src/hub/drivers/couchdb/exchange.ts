/** One request to CouchDB and its answer, and what an answer that is none is called. */
import http from 'node:http'
import https from 'node:https'
import { TalkwireError, type Outcome } from '../../../error.js'
import { isCertificate } from '../../../trust.js'

/** What is read of one answer, or of one line of a feed. */
export const LARGEST = 1 << 26
/** Milliseconds that nothing comes, not even a heartbeat, until nobody is there. */
export const SILENCE = 30_000

export interface Answer {
  readonly status: number
  readonly body: Buffer
}

export type Asked = https.RequestOptions & { readonly method: string; readonly path: string }

export function send(asked: Asked, body: string | undefined): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (asked.protocol === 'https:' ? https : http).request(asked, resolve)
    request.on('error', reject)
    request.setTimeout(SILENCE, () => request.destroy(silent()))
    request.end(body)
  })
}

const silent = (): Error => Object.assign(new Error(`no answer for ${SILENCE} ms`), { code: 'ETIMEDOUT' })

export async function readAll(response: http.IncomingMessage, outcome: Outcome): Promise<Answer> {
  const parts: Buffer[] = []
  let size = 0
  if (Number(response.headers['content-length']) > LARGEST) response.destroy(tooLarge('an answer', outcome))
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length
    if (size > LARGEST) throw tooLarge('an answer', outcome)
    parts.push(part)
  }
  return { status: response.statusCode!, body: Buffer.concat(parts) }
}

/** The lines that are not empty, as they come. */
export async function* linesOf(response: http.IncomingMessage): AsyncGenerator<string, void, undefined> {
  // While whoever asked does not want more, nobody is to be heard.
  response.socket.setTimeout(0)
  let parts: string[] = []
  let size = 0
  const text = response.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string, undefined>
  try {
    for (;;) {
      const timer = setTimeout(() => response.destroy(silent()), SILENCE)
      const { value, done } = await text.next().finally(() => clearTimeout(timer))
      if (done) return
      for (const [index, part] of value.split('\n').entries()) {
        if (index > 0) {
          const line = parts.join('')
          parts = []
          size = 0
          if (line.trim() !== '') yield line
        }
        size += part.length
        if (size > LARGEST) throw tooLarge('a line of the feed', 'not-sent')
        parts.push(part)
      }
    }
  } finally {
    response.destroy()
  }
}

const tooLarge = (what: string, outcome: Outcome): TalkwireError =>
  new TalkwireError('MESSAGE_TOO_LARGE', `CouchDB: ${what} has more than ${LARGEST} bytes`, { outcome })

export function parse(text: string, outcome: Outcome): any {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new TalkwireError('INVALID_MESSAGE', `CouchDB: an answer is no JSON: ${text.slice(0, LONGEST_TEXT)}`, { cause, outcome })
  }
}

const LONGEST_TEXT = 200
const NOBODY = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH)$/
const NO_HTTP = /^HPE_(?!INVALID_EOF_STATE$)/

/** Of what was asked and not answered. */
export function unanswered(reason: unknown, outcome: Outcome): TalkwireError {
  const { code = '', message } = reason as NodeJS.ErrnoException
  const say = (our: string, how: Outcome): TalkwireError =>
    new TalkwireError(our, `CouchDB: ${message || code}`, { cause: reason, outcome: how })
  if (NOBODY.test(code) || isCertificate(code)) return say('UNAVAILABLE', 'not-sent')
  return NO_HTTP.test(code) ? say('INVALID_MESSAGE', outcome) : say('CONNECTION_LOST', outcome)
}

const CODES: Readonly<Record<number, readonly [code: string, outcome?: Outcome]>> = {
  400: ['INVALID_INPUT', 'not-sent'],
  401: ['UNAUTHENTICATED', 'not-sent'],
  403: ['PERMISSION_DENIED', 'not-sent'],
  404: ['NOT_FOUND', 'not-sent'],
  413: ['MESSAGE_TOO_LARGE', 'not-sent'],
  429: ['LIMIT_EXCEEDED', 'not-sent'],
  502: ['UNAVAILABLE'],
  503: ['UNAVAILABLE'],
  504: ['UNAVAILABLE'],
  507: ['NO_SPACE', 'not-sent'],
}

/** Of an answer that says no. */
export function refused({ status, body }: Answer, outcome: Outcome): TalkwireError {
  const text = body.toString('utf8', 0, 4 * LONGEST_TEXT)
  if (status < 200 || (status >= 300 && status < 400))
    return new TalkwireError('INVALID_MESSAGE', `CouchDB: the answer is ${status}, which is followed nowhere; say the address itself`, {
      outcome,
    })
  const [code, known = outcome] = CODES[status] ?? ['UNKNOWN']
  return new TalkwireError(code, `CouchDB: ${status}: ${text.trim().slice(0, LONGEST_TEXT)}`, { outcome: known })
}
