/** JSON with the `$` tags and attachments of spec/wire.md § 5. Sans I/O. */
import { TalkwireError } from '../error.js'
import { bytesOf, forbidden, isPlainObject, tooDeep, unsendable, type Codec, type CodecContext } from './codec.js'
import { invalid, mapObject, revive, tagged, time } from './json-values.js'
import { readText } from './text.js'
import type { Writer } from './writer.js'

export { revive } from './json-values.js'

// ── writing ──────────────────────────────────────────────────────────────────────────────────────

/** The JSON text of a value; binary goes to `writer.attachments`. `depth`: where the value stands. */
export function stringify(writer: Writer, value: unknown, context: CodecContext, depth = 1): string {
  return JSON.stringify(
    isOrdinary(value, depth, context) ? value : context.extended ? tagged(value, depth, writer, context) : plain(value, depth, context),
  )
}

/** True when JSON.stringify says it all: most values are, and are then not copied. */
function isOrdinary(value: unknown, depth: number, context: CodecContext): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true
    case 'number':
      return value - value === 0 && (value !== 0 || 1 / value > 0)
    case 'object':
      break
    default:
      return false
  }
  if (value === null) return true
  if (depth >= context.depth) return false
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) if (!isOrdinary(value[index], depth + 1, context)) return false
    return true
  }
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return false
  let keys = 0
  let tag = false
  for (const key in value) {
    const item = (value as Record<string, unknown>)[key]
    if (item !== undefined) {
      keys++
      if (key.charCodeAt(0) === 0x24) tag = true
      if (!isOrdinary(item, depth + 1, context)) return false
    }
    if (forbidden(key, item)) return false
  }
  return !(tag && keys === 1)
}

/** For a peer that knows only JSON: what the table's last column says. */
function plain(value: unknown, depth: number, context: CodecContext): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (value === undefined) return null
  if (typeof value === 'function' || typeof value === 'symbol') throw unsendable(value)
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Date) return new Date(time(value)).toISOString()
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return Buffer.from(bytesOf(value)).toString('base64')
  if (depth >= context.depth) throw tooDeep(context.depth)
  const inner = (item: unknown): unknown => plain(item, depth + 1, context)
  if (Array.isArray(value)) return value.map(inner)
  if (value instanceof Set) return Array.from(value, inner)
  if (value instanceof Map) return mapObject(Object.fromEntries(Array.from(value, ([key, item]) => [String(key), item])), inner)
  if (!isPlainObject(value)) throw unsendable(value)
  return mapObject(value, inner)
}

// ── reading ──────────────────────────────────────────────────────────────────────────────────────

/**
 * Whether a text holds more than `most` values. Counted before it is parsed: parsing a million objects costs 200 MB
 * and a second. Only commas and opening brackets are looked at, so an empty array counts twice.
 */
export function hasMoreValues(bytes: Buffer, start: number, end: number, most: number): boolean {
  // A value takes two bytes at least.
  if (end - start <= 2 * most) return false
  let count = 0
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!
    if (byte === QUOTE) at = endOfString(bytes, at + 1, end)
    else if ((byte === COMMA || byte === BRACKET || byte === BRACE) && ++count > most) return true
  }
  return false
}

const [QUOTE, COMMA, BRACKET, BRACE, BACKSLASH] = [0x22, 0x2c, 0x5b, 0x7b, 0x5c]
/** Above this a native search is faster than a loop. */
const LONG = 32

/** Where the closing quote is, or the end. */
function endOfString(bytes: Buffer, from: number, end: number): number {
  let at = from
  for (; at < end && at < from + LONG; at++) {
    if (bytes[at] === QUOTE) return at
    if (bytes[at] === BACKSLASH) at++
  }
  for (let quote = bytes.indexOf(QUOTE, at); quote >= 0 && quote < end; quote = bytes.indexOf(QUOTE, quote + 1)) {
    let slashes = 0
    while (quote - slashes > at && bytes[quote - slashes - 1] === BACKSLASH) slashes++
    if (slashes % 2 === 0) return quote
  }
  return end
}

/** Parses one JSON text without looking inside the values. Throws INVALID_MESSAGE. */
export function parse(bytes: Buffer, start: number, end: number): unknown {
  const text = readText(bytes, start, end)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new TalkwireError('INVALID_MESSAGE', `not JSON: ${(cause as Error).message}`, { cause })
  }
}

export const json: Codec = {
  name: 'json',
  encode: (writer, value, context) => void writer.text(stringify(writer, value, context)),
  decode(bytes, start, end, attachments, context) {
    const beside = { all: attachments, taken: 0 }
    const value = revive(parse(bytes, start, end), 1, beside, context)
    if (beside.taken !== attachments.length) throw invalid('an attachment that nothing refers to')
    return value
  },
}
