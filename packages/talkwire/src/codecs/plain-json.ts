/** JSON for peers that know nothing else: spec/wire.md § 5, the table's last column. Sans I/O. */
import { TalkwireError } from '../error.js'
import { DEPTH, tooMany, VALUES, type CodecContext } from './codec.js'
import type { DepthLimits } from './depth.js'
import { hasMoreValues, parse, revive, stringify } from './json.js'
import { Writer } from './writer.js'

export interface PlainLimits extends DepthLimits {
  readonly values?: number
}

/** For values whose depth was looked at before. */
export const LOOKED_AT: PlainLimits = { depth: Infinity }

const context = ({ depth = DEPTH, values = VALUES }: PlainLimits): CodecContext => ({
  depth,
  values,
  extended: false,
  binary: false,
  references: undefined,
})
/** The depth of what is outermost. */
const first = ({ around = 0 }: PlainLimits): number => 1 - around
const unused = new Writer()
const nothing = { all: [], taken: 0 }

/** The text of a value: dates as ISO 8601, bytes as base64, big integers as text. Throws TypeError for what cannot be sent, TOO_DEEP, FORBIDDEN_KEY. */
export const toJson = (value: unknown, limits: PlainLimits = {}): string => stringify(unused, value, context(limits), first(limits))

/** The value of a text. Throws INVALID_MESSAGE, TOO_DEEP, FORBIDDEN_KEY, LIMIT_EXCEEDED. */
export const fromJson = (bytes: Buffer, limits: PlainLimits = {}): unknown => checkJson(parseJson(bytes, limits), limits)

/** The same in two steps, for those who answer what they refuse: a value that nobody has looked at. Throws INVALID_MESSAGE, LIMIT_EXCEEDED. */
export function parseJson(bytes: Buffer, { values = VALUES }: PlainLimits = {}): unknown {
  if (hasMoreValues(bytes, 0, bytes.length, values)) throw tooMany(values)
  return parse(bytes, 0, bytes.length)
}

/** That value. Throws TOO_DEEP, FORBIDDEN_KEY. */
export const checkJson = (value: unknown, limits: PlainLimits = {}): unknown => revive(value, first(limits), nothing, context(limits))

/** The value of a text that is one already. Throws as `fromJson`. */
export function fromJsonText(text: string, limits: PlainLimits = {}): unknown {
  return fromJson(Buffer.from(text), limits)
}

/** One JSON text a line: NDJSON. Holds back what is no whole line yet. */
export class LineReader {
  private rest: Buffer[] = []
  private size = 0

  constructor(private readonly limit: number) {}

  /** Lines that end in this chunk, without their ends; empty ones are left out. Throws MESSAGE_TOO_LARGE. */
  *push(chunk: Buffer): Generator<Buffer> {
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const line = this.rest.length > 0 ? Buffer.concat([...this.rest, chunk.subarray(from, end)]) : chunk.subarray(from, end)
      this.rest = []
      this.size = 0
      from = end + 1
      if (line.length > this.limit) throw this.tooLong()
      const trimmed = line.at(-1) === 13 ? line.subarray(0, -1) : line
      if (trimmed.length > 0) yield trimmed
    }
    if (from === chunk.length) return
    this.rest.push(chunk.subarray(from))
    this.size += chunk.length - from
    if (this.size > this.limit) throw this.tooLong()
  }

  /** What stands after the last end of a line. */
  last(): Buffer | undefined {
    return this.rest.length > 0 ? Buffer.concat(this.rest) : undefined
  }

  private tooLong(): TalkwireError {
    return new TalkwireError('MESSAGE_TOO_LARGE', `a line of more than ${this.limit} bytes; send less at a time, or raise limits.message`)
  }
}
