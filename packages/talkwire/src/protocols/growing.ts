/** The bytes of one message whose length was announced. Sans I/O. */

/** Memory for them is taken as they arrive. */
const FIRST = 64 * 1024

export class GrowingBytes {
  private bytes: Buffer
  size: number

  /** `need`: bytes in all, of which `begun` are there. */
  constructor(
    private readonly need: number,
    begun: Buffer = Buffer.alloc(0),
  ) {
    this.bytes = Buffer.allocUnsafeSlow(Math.min(need, FIRST))
    this.size = begun.copy(this.bytes)
  }

  /** Takes what belongs to it from `at` on; returns how much that was. */
  take(chunk: Buffer, at: number): number {
    const count = Math.min(this.need - this.size, chunk.length - at)
    const wanted = this.size + count
    if (wanted > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.min(this.need, Math.max(wanted, 2 * this.bytes.length)))
      this.bytes.copy(grown, 0, 0, this.size)
      this.bytes = grown
    }
    chunk.copy(this.bytes, this.size, at, at + count)
    this.size = wanted
    return count
  }

  /** All of them, once they are there: a gift to whoever takes it. */
  get whole(): Buffer | undefined {
    return this.size < this.need ? undefined : this.bytes.subarray(0, this.need)
  }
}
