/** The bodies of the log's records: numbers little-endian, texts and bytes with their length before them. */

const FIRST = 64 * 1024
const KEPT = 1024 * 1024
const decoder = new TextDecoder()

/** Writes bodies one behind the other into one buffer; they are valid until `reset`. */
export class BodyWriter {
  private buffer = Buffer.allocUnsafeSlow(FIRST)
  private start = 0
  private at = 0

  /** What was written since the last `end`. */
  end(): Uint8Array {
    const body = this.buffer.subarray(this.start, this.at)
    this.start = this.at
    return body
  }

  reset(): void {
    this.start = this.at = 0
    if (this.buffer.length > KEPT) this.buffer = Buffer.allocUnsafeSlow(FIRST)
  }

  byte(value: number): this {
    this.room(1)
    this.buffer[this.at++] = value
    return this
  }

  number(value: number): this {
    this.room(8)
    this.at = this.buffer.writeDoubleLE(value, this.at)
    return this
  }

  text(value: string): this {
    const most = value.length * 3
    this.room(4 + most)
    const length = this.buffer.write(value, this.at + 4)
    this.buffer.writeUInt32LE(length, this.at)
    this.at += 4 + length
    return this
  }

  bytes(value: Uint8Array): this {
    this.room(4 + value.length)
    this.buffer.writeUInt32LE(value.length, this.at)
    this.buffer.set(value, this.at + 4)
    this.at += 4 + value.length
    return this
  }

  numbers(values: readonly number[]): this {
    this.number(values.length)
    for (const value of values) this.number(value)
    return this
  }

  private room(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return
    const used = this.at - this.start
    const larger = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, used + bytes))
    this.buffer.copy(larger, 0, this.start, this.at)
    this.buffer = larger
    this.start = 0
    this.at = used
  }
}

/** Reads what a `BodyWriter` wrote. Throws RangeError for a body that ends early. */
export class BodyReader {
  private at = 0
  private readonly view: DataView

  constructor(private readonly body: Uint8Array) {
    this.view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  }

  byte(): number {
    return this.view.getUint8(this.at++)
  }

  number(): number {
    this.at += 8
    return this.view.getFloat64(this.at - 8, true)
  }

  text(): string {
    return decoder.decode(this.piece())
  }

  /** A copy, the caller's own. */
  bytes(): Uint8Array {
    return Buffer.from(this.piece())
  }

  numbers(): number[] {
    const count = this.number()
    if (!(count * 8 <= this.body.length - this.at)) throw new RangeError(`a body of ${this.body.length} bytes has no ${count} numbers`)
    return Array.from({ length: count }, () => this.number())
  }

  private piece(): Uint8Array {
    const length = this.view.getUint32(this.at, true)
    const start = this.at + 4
    if (start + length > this.body.length) throw new RangeError(`a body of ${this.body.length} bytes ends early`)
    this.at = start + length
    return this.body.subarray(start, this.at)
  }
}
