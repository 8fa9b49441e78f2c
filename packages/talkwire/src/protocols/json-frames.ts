/** JSON texts, each with the same byte behind it that no JSON text holds: node-ipc and varlink. Sans I/O. */
import { toJson, type PlainLimits } from '../codecs/plain-json.js'
import { TalkwireError } from '../error.js'

export class DelimitedReader {
  private parts: Buffer[] = []
  private size = 0

  constructor(
    private readonly delimiter: number,
    private readonly limit: number,
  ) {}

  /** Bytes of a text that has begun and is not whole; undefined between two. */
  get partial(): number | undefined {
    return this.parts.length > 0 ? this.size : undefined
  }

  /** Texts that end in this chunk. Throws MESSAGE_TOO_LARGE; it is of no more use then. */
  *push(chunk: Buffer): Generator<Buffer> {
    let from = 0
    for (let end = chunk.indexOf(this.delimiter); end >= 0; end = chunk.indexOf(this.delimiter, from)) {
      this.add(chunk.subarray(from, end))
      const whole = this.parts.length === 1 ? this.parts[0]! : Buffer.concat(this.parts, this.size)
      this.parts = []
      this.size = 0
      from = end + 1
      yield whole
    }
    if (from < chunk.length) this.add(chunk.subarray(from))
  }

  private add(part: Buffer): void {
    this.size += part.length
    if (this.size > this.limit)
      throw new TalkwireError(
        'MESSAGE_TOO_LARGE',
        `a message of more than ${this.limit} bytes; send less at a time, or raise limits.message`,
      )
    this.parts.push(part)
  }
}

/** A value and its delimiter. Throws as `toJson`, and MESSAGE_TOO_LARGE. */
export function delimited(value: unknown, delimiter: number, limits: PlainLimits & { readonly message: number }): Buffer {
  const text = toJson(value, limits)
  const size = Buffer.byteLength(text)
  if (size > limits.message)
    throw new TalkwireError('MESSAGE_TOO_LARGE', `a message of ${size} bytes, the limit is ${limits.message}; send less at a time`)
  const bytes = Buffer.allocUnsafe(size + 1)
  bytes.write(text)
  bytes[size] = delimiter
  return bytes
}
