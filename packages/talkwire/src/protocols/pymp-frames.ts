/**
 * Messages of Python's multiprocessing.connection: a signed 32-bit length, the highest byte first, then so many bytes. Sans I/O.
 * (Of more than 2 GiB Python says -1 and a 64-bit length; no limit here lets those in.)
 */
import { TalkwireError } from '../error.js'
import { GrowingBytes } from './growing.js'

const HEAD = 4

export class LengthReader {
  private readonly head = Buffer.alloc(HEAD)
  private headSize = 0
  private body: GrowingBytes | undefined

  /** `limit` may be raised while it reads. */
  constructor(public limit: number) {}

  /** Bytes of a message that has begun and is not whole; undefined between two. */
  get partial(): number | undefined {
    if (this.body) return HEAD + this.body.size
    return this.headSize > 0 ? this.headSize : undefined
  }

  /** Whole messages, each the reader's gift to whoever takes it. Throws MESSAGE_TOO_LARGE; it is of no more use then. */
  *push(chunk: Buffer): Generator<Buffer> {
    for (let at = 0; at < chunk.length;) {
      if (!this.body) at += this.readHead(chunk, at)
      if (!this.body) return
      at += this.body.take(chunk, at)
      const { whole } = this.body
      if (!whole) return
      this.body = undefined
      yield whole
    }
  }

  private readHead(chunk: Buffer, at: number): number {
    const count = chunk.copy(this.head, this.headSize, at)
    this.headSize += count
    if (this.headSize < HEAD) return count
    const need = this.head.readInt32BE(0)
    if (need < 0 || need > this.limit)
      throw new TalkwireError(
        'MESSAGE_TOO_LARGE',
        `a message of ${need < 0 ? 'more than 2 GiB' : `${need} bytes`}, the limit is ${this.limit}`,
      )
    this.headSize = 0
    this.body = new GrowingBytes(need)
    return count
  }
}

export function framed(message: Buffer): Buffer {
  const whole = Buffer.allocUnsafe(HEAD + message.length)
  whole.writeInt32BE(message.length, 0)
  message.copy(whole, HEAD)
  return whole
}
