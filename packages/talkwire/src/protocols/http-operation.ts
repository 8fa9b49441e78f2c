/** A call as the request that an OpenAPI document says, and its answer. Sans I/O. */
import { fromJson, toJson, type PlainLimits } from '../codecs/plain-json.js'
import { randomUUID } from 'node:crypto'
import { errorOf, MULTIPART, type Credential, type Operation, type Parameter } from '../contract/from-openapi.js'
import { TalkwireError } from '../error.js'
import { fromProblem } from './http-problem.js'

export interface AskedRequest {
  readonly verb: string
  readonly path: string
  readonly headers: Readonly<Record<string, string | number>>
  readonly body: string | Uint8Array | undefined
}

/** By the names that a document has for them; `token` is for where one is enough. */
export interface Secrets {
  readonly token?: string
  readonly tokens?: Readonly<Record<string, string>>
}

const isJson = (type: string): boolean => /^application\/([\w.-]+\+)?json\b/i.test(type)

/** `below`: the path of the address, in place of the document's own. Throws TypeError for what has no place in a request, such as a path parameter that is missing. */
export function requestOf(operation: Operation, input: unknown, below: string, limits: PlainLimits, secrets: Secrets = {}): AskedRequest {
  const fields = operation.parameters.length > 0 ? ((input ?? {}) as Record<string, unknown>) : {}
  let path = (below.replace(/\/$/, '') || operation.base) + operation.path
  const query: string[] = []
  const headers: Record<string, string | number> = { accept: 'application/json, */*;q=0.5' }
  const cookies: string[] = []
  for (const parameter of operation.parameters) {
    const value = fields[parameter.key]
    if (parameter.in === 'path') path = path.replaceAll(`{${parameter.name}}`, pathPart(parameter, value))
    else if (value === undefined) continue
    else if (parameter.in === 'query') query.push(...pairs(parameter, value))
    else if (parameter.in === 'header') headers[parameter.name.toLowerCase()] = plainText(listed(parameter, value))
    else cookies.push(`${parameter.name}=${encodeURIComponent(listed(parameter, value))}`)
  }
  for (const [{ in: where, name, scheme }, secret] of shownBy(operation, secrets))
    if (where === 'query') query.push(`${encodeURIComponent(name)}=${encodeURIComponent(secret)}`)
    else if (where === 'cookie') cookies.push(`${name}=${secret.replaceAll(NO_COOKIE, encodeURIComponent)}`)
    else headers[name.toLowerCase()] = plainText(shown(scheme, secret))
  if (cookies.length > 0) headers['cookie'] = cookies.join('; ')
  const boundary = operation.body?.type === MULTIPART ? randomUUID() : undefined
  const body = bodyOf(operation, operation.body?.key === undefined ? input : fields[operation.body.key], limits, boundary)
  if (body !== undefined) {
    headers['content-type'] = boundary === undefined ? operation.body!.type : `${MULTIPART}; boundary=${boundary}`
  }
  return { verb: operation.verb, path: query.length > 0 ? `${path}?${query.join('&')}` : path, headers, body }
}

/** Throws UNAUTHENTICATED where secrets are missing; a service that wants one and gets none says itself what it thinks of that. */
function shownBy({ verb, path, ways }: Operation, secrets: Secrets): (readonly [Credential, string])[] {
  const { token, tokens } = secrets
  const secretOf = ({ of }: Credential, way: readonly Credential[]): string | undefined =>
    tokens && Object.hasOwn(tokens, of) ? tokens[of] : way.length === 1 ? token : undefined
  const way = ways.find((each) => each.every((one) => secretOf(one, each) !== undefined))
  if (way) return way.map((one) => [one, secretOf(one, way)!] as const)
  if (!tokens && ways.some(({ length }) => length === 1)) return []
  const wanted = ways.map((each) => each.map(({ of }) => JSON.stringify(of)).join(' and ')).join(', or ')
  const missing = ways[0]!.filter((one) => secretOf(one, ways[0]!) === undefined).map(({ of }) => JSON.stringify(of))
  throw new TalkwireError(
    'UNAUTHENTICATED',
    `${verb} ${path} wants to be shown ${wanted}; ${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} missing: give connect the secrets by these names, as tokens, or talkwire --secret-file name=file`,
    { outcome: 'not-sent' },
  )
}

/** What a cookie's value cannot hold as it is: RFC 6265 § 4.1.1. */
const NO_COOKIE = /[^\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+/g

const shown = (scheme: string, token: string): string =>
  scheme === '' ? token : `${scheme} ${scheme === 'Basic' ? Buffer.from(token).toString('base64') : token}`

function bodyOf({ body }: Operation, value: unknown, limits: PlainLimits, boundary: string | undefined): string | Uint8Array | undefined {
  if (!body || value === undefined) return undefined
  if (isJson(body.type)) return toJson(value, limits)
  if (boundary !== undefined) return multipart(value as Record<string, unknown>, boundary, body.parts ?? {})
  if (value instanceof Uint8Array) return value
  if (typeof value === 'string') return value
  return pairs({ key: '', name: '', in: 'query', style: 'form', explode: true }, value).join('&')
}

/** RFC 7578. Bytes are files, with the name of their field; objects are JSON; a list is its elements. */
function multipart(form: Record<string, unknown>, boundary: string, types: Readonly<Record<string, string>>): Uint8Array {
  const pieces: (string | Uint8Array)[] = []
  for (const [name, said] of Object.entries(form))
    for (const value of Array.isArray(said) ? (said as unknown[]) : [said]) {
      if (value === undefined || value === null) continue
      const isFile = value instanceof Uint8Array
      const isPlain = typeof value !== 'object' || value instanceof Date
      const type = Object.hasOwn(types, name) ? types[name] : isFile ? 'application/octet-stream' : isPlain ? undefined : 'application/json'
      const label = name.replaceAll(/["\r\n]/g, encodeURIComponent)
      pieces.push(`--${boundary}\r\ncontent-disposition: form-data; name="${label}"${isFile ? `; filename="${label}"` : ''}\r\n`)
      pieces.push(`${type === undefined ? '' : `content-type: ${type}\r\n`}\r\n`, isFile ? value : scalar(value), '\r\n')
    }
  pieces.push(`--${boundary}--\r\n`)
  return Buffer.concat(pieces.map((each) => (typeof each === 'string' ? Buffer.from(each) : each)))
}

// ── parameters: OpenAPI 3.1 § 4.8.12 ─────────────────────────────────────────────────────────────

function pathPart(parameter: Parameter, value: unknown): string {
  const text = value === undefined || value === null ? '' : listed(parameter, value, encodeURIComponent)
  // Otherwise it would be another path.
  if (text === '' || /^(\.|%2e)+$/i.test(text))
    throw new TypeError(`"${parameter.name}" is a part of the path, and cannot be ${JSON.stringify(value)}`)
  return parameter.style === 'label' ? `.${text}` : parameter.style === 'matrix' ? `;${parameter.name}=${text}` : text
}

const scalar = (value: unknown): string => {
  if (value === null) return ''
  if (value instanceof Date) return value.toISOString()
  return typeof value === 'object' ? JSON.stringify(value) : String(value as string)
}

/** One text for a list or an object. */
function listed({ style, explode }: Parameter, value: unknown, encode = (text: string): string => text): string {
  if (style === 'json') return encode(JSON.stringify(value))
  if (Array.isArray(value)) return value.map((each) => encode(scalar(each))).join(',')
  if (typeof value !== 'object' || value === null || value instanceof Date) return encode(scalar(value))
  return Object.entries(value)
    .map(([key, each]) => `${encode(key)}${explode ? '=' : ','}${encode(scalar(each))}`)
    .join(',')
}

const SEPARATORS: Readonly<Record<string, string>> = { spaceDelimited: '%20', pipeDelimited: '%7C' }

function pairs(parameter: Parameter, value: unknown): string[] {
  const { name, style, explode } = parameter
  const pair = (key: string, each: unknown): string => `${encodeURIComponent(key)}=${encodeURIComponent(scalar(each))}`
  if (style === 'json') return [pair(name, JSON.stringify(value))]
  if (Array.isArray(value))
    return explode
      ? value.map((each) => pair(name, each))
      : [`${encodeURIComponent(name)}=${value.map((each) => encodeURIComponent(scalar(each))).join(SEPARATORS[style] ?? ',')}`]
  if (typeof value !== 'object' || value === null || value instanceof Date) return [pair(name, value)]
  const entries = Object.entries(value as Record<string, unknown>).filter(([, each]) => each !== undefined)
  if (style === 'deepObject') return entries.map(([key, each]) => pair(`${name}[${key}]`, each))
  return explode
    ? entries.flatMap(([key, each]) => (Array.isArray(each) ? each.map((one) => pair(key, one)) : [pair(key, each)]))
    : [`${encodeURIComponent(name)}=${encodeURIComponent(listed(parameter, value))}`]
}

function plainText(text: string): string {
  if (/[^\t\x20-\x7e\x80-\xff]/.test(text)) throw new TypeError('a header is one line of Latin-1')
  return text
}

// ── answers ──────────────────────────────────────────────────────────────────────────────────────

/** The result; or the error: a declared one by its status, others as `fromProblem`. Throws INVALID_MESSAGE for JSON that is none. */
export function answerOf(operation: Operation, status: number, type: string | undefined, body: Buffer, limits: PlainLimits): unknown {
  if (status < 300) return valueOf(type, body, limits)
  const details = readable(type, body, limits)
  const name = errorOf(operation, status)
  if (name === undefined) return fromProblem(status, details)
  const { detail, message, title } = (typeof details === 'object' && details !== null ? details : {}) as Record<string, unknown>
  const text = [detail, message, title].find((each) => typeof each === 'string') ?? `the service answered with status ${status}`
  return new TalkwireError(name, text as string, { declared: true, outcome: 'ran', details })
}

function valueOf(type: string | undefined, body: Buffer, limits: PlainLimits): unknown {
  if (body.length === 0) return undefined
  if (type === undefined || isJson(type)) return fromJson(body, limits)
  return /^text\/|xml|yaml/i.test(type) ? body.toString() : new Uint8Array(body)
}

function readable(type: string | undefined, body: Buffer, limits: PlainLimits): unknown {
  try {
    return valueOf(type, body, limits)
  } catch {
    return body.toString()
  }
}
