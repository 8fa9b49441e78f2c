/** Deadline, metadata and trace context of a call as headers of gRPC and Connect, both ways. Sans I/O. */
import { TalkwireError } from '../error.js'
import type { Meta } from './message.js'

export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>

const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }
/** Headers that say something of the request, not of the call. */
const OWN = new Set(
  `authorization connection content-encoding content-length content-type cookie date expect forwarded host http2-settings keep-alive
  origin proxy-connection referer te trailer transfer-encoding upgrade user-agent via x-grpc-web x-user-agent`.split(/\s+/),
)
const isOwn = (name: string): boolean => OWN.has(name) || /^(:|grpc-|connect-|accept|sec-|access-control-)/.test(name)
const BINARY = '-bin'

const decoder = new TextDecoder('utf-8', { fatal: true })

/** Throws INVALID_REQUEST. */
export function metaOf(headers: Headers, more?: Meta): Meta | undefined {
  let metadata: Record<string, string> | undefined
  for (const name in headers) {
    const value = headers[name]
    if (value === undefined || isOwn(name) || name === '__proto__') continue
    const text = typeof value === 'string' ? value : value.join(', ')
    const [key, said] = name.endsWith(BINARY) ? fromBinary(name, text) : [name, text]
    if (key !== '__proto__') (metadata ??= {})[key] = said
  }
  const timeout = timeoutOf(headers)
  if (metadata === undefined && timeout === undefined) return more
  return { ...more, ...(metadata && { metadata }), ...(timeout !== undefined && { timeout }) }
}

/** Text that no header can carry comes in base64, under a name that says so; other bytes stay as they came. */
function fromBinary(name: string, text: string): [key: string, value: string] {
  try {
    return [name.slice(0, -BINARY.length), decoder.decode(Buffer.from(text, 'base64'))]
  } catch {
    return [name, text]
  }
}

function timeoutOf(headers: Headers): number | undefined {
  const grpc = headers['grpc-timeout']
  if (grpc !== undefined) {
    const match = /^(\d{1,8})([HMSmun])$/.exec(String(grpc))
    if (!match) throw new TalkwireError('INVALID_REQUEST', 'grpc-timeout is up to eight digits and one of H, M, S, m, u, n')
    return Number(match[1]) * UNITS[match[2]!]!
  }
  const connect = headers['connect-timeout-ms']
  if (connect === undefined) return undefined
  if (!/^\d{1,10}$/.test(String(connect))) throw new TalkwireError('INVALID_REQUEST', 'connect-timeout-ms is up to ten digits')
  return Number(connect)
}

/** The headers that `metaOf` reads. Throws TypeError for keys that no header may have. */
export function metaHeaders(meta: Meta | undefined): Record<string, string> {
  const headers: Record<string, string> = {}
  if (meta?.metadata)
    for (const [key, value] of Object.entries(meta.metadata)) {
      const name = key.toLowerCase()
      if (!/^[a-z0-9_.-]+$/.test(name) || isOwn(name))
        throw new TypeError(
          `metadata cannot be called ${JSON.stringify(key)} over gRPC; take letters, digits, "_", "-" and ".", and no name of the protocol's own`,
        )
      if (/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(value) && !name.endsWith(BINARY)) headers[name] = value
      else headers[name.endsWith(BINARY) ? name : name + BINARY] = Buffer.from(value).toString('base64').replace(/=+$/, '')
    }
  return headers
}

/** At most eight digits: what is longer is said in seconds. */
export function grpcTimeout(milliseconds: number): string {
  const rounded = Math.max(0, Math.ceil(milliseconds))
  return rounded < 1e8 ? `${rounded}m` : `${Math.min(99_999_999, Math.ceil(rounded / 1000))}S`
}
