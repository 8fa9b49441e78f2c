/**
 * A message is two frames, the topic and a body of JSON, or three: the topic, a JSON object `{ "type", "headers" }`, and the body.
 * docs/hub/zmq.md has it for foreign programs.
 */
import { TalkwireError } from '../../../error.js'
import { NO_HEADERS, type BodyType, type Headers, type Incoming, type Outgoing } from '../../driver.js'
import { foreignNames } from '../broker-names.js'

/** Bytes of a message with everything, at most. */
export const LARGEST = 64 * 1024 * 1024
const TYPES: readonly unknown[] = ['json', 'text', 'bytes'] satisfies readonly BodyType[]
const { toPart, fromPart } = foreignNames('\\s\\p{Cc}*>/+#')
const utf8 = new TextDecoder('utf-8', { fatal: true })

export const toZmq = (topic: string): string => topic.split('.').map(toPart).join('.')

/** Undefined: it is no text. */
export function fromZmq(frame: Uint8Array): string | undefined {
  try {
    return utf8.decode(frame).split('.').map(fromPart).join('.')
  } catch {
    return undefined
  }
}

/** What a topic that fits begins with: ZeroMQ sends what begins with the bytes that were subscribed to. */
export function beginningOf(pattern: string): string {
  const parts = pattern.split('.')
  const wild = parts.findIndex((part) => part === '*' || part === '>')
  if (wild < 0) return toZmq(pattern)
  return parts
    .slice(0, wild)
    .map((part) => `${toPart(part)}.`)
    .join('')
}

/** Throws MESSAGE_TOO_LARGE. The library keeps what it is given until it is sent, so the body is copied. */
export function framesOf(topic: string, { body, type, headers }: Outgoing): (string | Buffer)[] {
  const plain = type === 'json' && Object.keys(headers).length === 0
  const head = plain ? [] : [JSON.stringify({ type, headers })]
  const name = toZmq(topic)
  const size = body.length + Buffer.byteLength(name) + (plain ? 0 : Buffer.byteLength(head[0]!))
  if (size > LARGEST)
    throw new TalkwireError('MESSAGE_TOO_LARGE', `a message of ${size} bytes; ${LARGEST} are taken with topic and headers`)
  return [name, ...head, Buffer.from(body)]
}

/** Undefined: it is none of the two forms. */
export function messageOf([, ...rest]: readonly Buffer[]): Incoming | undefined {
  const body = rest.at(-1)
  if (!body || rest.length > 2) return undefined
  if (rest.length === 1) return { body, type: 'json', headers: NO_HEADERS }
  const head = parse(rest[0]!)
  return head && { body, ...head }
}

function parse(frame: Buffer): Omit<Incoming, 'body'> | undefined {
  let head: { readonly type?: unknown; readonly headers?: unknown } | null
  try {
    head = JSON.parse(frame.toString()) as typeof head
  } catch {
    return undefined
  }
  if (typeof head !== 'object' || head === null) return undefined
  const { type, headers } = head
  const named = Object.entries(typeof headers === 'object' && headers !== null ? headers : {})
  return {
    type: TYPES.includes(type) ? (type as BodyType) : undefined,
    headers: Object.fromEntries(named.filter(([name, value]) => name !== '__proto__' && typeof value === 'string')) as Headers,
  }
}
