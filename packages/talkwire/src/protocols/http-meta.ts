/** Deadline, metadata and trace context of a call as headers of HTTP, both ways. Sans I/O. */
import type { IncomingHttpHeaders } from 'node:http'
import { TalkwireError } from '../error.js'
import type { Meta } from './message.js'

const TIMEOUT = 'talkwire-timeout'
const METADATA = 'talkwire-meta-'
/** W3C Trace Context and Baggage. */
const TRACE = ['traceparent', 'tracestate', 'baggage']
/** What a header cannot hold. Baggage has escapes of its own, which stay as they are. */
const UNSAID = /[^\x20-\x7e]/gu

/** What the headers of a request say of its call, beside `more`. Throws INVALID_REQUEST. */
export function metaOf(headers: IncomingHttpHeaders, more?: Meta): Meta | undefined {
  let metadata: Record<string, string> | undefined
  for (const name in headers) {
    const key = name.startsWith(METADATA) ? name.slice(METADATA.length) : TRACE.includes(name) ? name : undefined
    const value = headers[name]
    if (key !== undefined && key !== '__proto__' && typeof value === 'string')
      (metadata ??= {})[key] = key === name ? value : decoded(value)
  }
  const timeout = timeoutOf(headers)
  if (metadata === undefined && timeout === undefined) return more
  return { ...more, ...(metadata && { metadata }), ...(timeout !== undefined && { timeout }) }
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}

/** Ours in milliseconds, or the preference of RFC 7240 in seconds. */
function timeoutOf(headers: IncomingHttpHeaders): number | undefined {
  const own = headers[TIMEOUT]
  const wait = own === undefined ? /\bwait=(\d+)/.exec(String(headers['prefer'] ?? ''))?.[1] : undefined
  if (own === undefined) return wait === undefined ? undefined : Number(wait) * 1000
  const timeout = Number(own)
  if (own === '' || !(timeout >= 0)) throw new TalkwireError('INVALID_REQUEST', `${TIMEOUT} is a number of milliseconds`)
  return timeout
}

/** What a header's name may hold: RFC 9110 § 5.6.2. */
const NAME = /^[\w!#$%&'*+.^`|~-]*$/

/** The headers that `metaOf` reads. Throws TypeError for keys that no header may have. */
export function metaHeaders(meta: Meta | undefined): Record<string, string | number> {
  const headers: Record<string, string | number> = {}
  if (meta?.timeout !== undefined) headers[TIMEOUT] = Math.ceil(meta.timeout)
  for (const [key, value] of Object.entries(meta?.metadata ?? {})) {
    if (!NAME.test(key))
      throw new TypeError(`metadata cannot be called ${JSON.stringify(key)} over HTTP; take letters, digits, "_", "-" and "."`)
    const text = wellFormed(value)
    if (TRACE.includes(key)) headers[key] = text.replace(UNSAID, encodeURIComponent)
    else headers[`${METADATA}${key}`] = encodeURI(text)
  }
  return headers
}

/** Half of a character, which no header can hold, becomes the sign for one that is unknown. */
const wellFormed = (text: string): string => (/[\uD800-\uDFFF]/.test(text) ? Buffer.from(text).toString() : text)
