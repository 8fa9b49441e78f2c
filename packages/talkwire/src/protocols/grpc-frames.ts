/** Messages in a body: a byte of flags, four of length, the message. gRPC, gRPC-Web and streams of Connect have them. Sans I/O. */
import { gunzipSync, inflateSync } from 'node:zlib'
import { TalkwireError } from '../error.js'

/** Bytes before a message. */
export const HEAD = 5
export const COMPRESSED = 1

/** Fills the room that `encode(message, value, HEAD)` has left. */
export function frame(bytes: Uint8Array, flags = 0): Uint8Array {
  const size = bytes.length - HEAD
  bytes[0] = flags
  bytes[1] = size >>> 24
  bytes[2] = size >>> 16
  bytes[3] = size >>> 8
  bytes[4] = size
  return bytes
}

/** Holds back what is no whole message yet. */
export class FrameReader {
  private rest: Buffer[] = []
  private size = 0
  /** Since when a message is not whole, on the clock of `performance.now()`. */
  since: number | undefined

  constructor(private readonly limit: number) {}

  /** Bytes of the message that is not whole yet. */
  get held(): number {
    return this.size
  }

  /** The messages that end in this chunk. Throws MESSAGE_TOO_LARGE at the head of one that is. */
  *push(chunk: Buffer): Generator<{ flags: number; body: Buffer }> {
    let bytes = chunk
    if (this.size > 0) {
      this.rest.push(chunk)
      this.size += chunk.length
      if (this.size < this.needed()) return
      bytes = Buffer.concat(this.rest)
      this.rest = []
      this.size = 0
    }
    let at = 0
    for (;;) {
      if (bytes.length - at < HEAD) break
      const length = bytes.readUInt32BE(at + 1)
      if (length > this.limit) throw tooLarge(this.limit)
      if (bytes.length - at < HEAD + length) break
      yield { flags: bytes[at]!, body: bytes.subarray(at + HEAD, at + HEAD + length) }
      at += HEAD + length
    }
    this.since = at < bytes.length ? performance.now() : undefined
    if (at === bytes.length) return
    this.rest = [bytes.subarray(at)]
    this.size = bytes.length - at
  }

  /** Nothing is joined before a message can be whole: else each small chunk would cost as much as all before it. */
  private needed(): number {
    const head = this.rest[0]!.length >= HEAD ? this.rest[0]! : Buffer.concat(this.rest)
    if (head.length < HEAD) return HEAD
    if (head !== this.rest[0]) this.rest = [head]
    const length = head.readUInt32BE(1)
    return length > this.limit ? 0 : HEAD + length
  }
}

export const tooLarge = (limit: number): TalkwireError =>
  new TalkwireError('MESSAGE_TOO_LARGE', `a message of more than ${limit} bytes; send less at a time, or raise limits.message`)

export const ENCODINGS = 'identity,gzip,deflate'
const inflaters = new Map([
  ['gzip', gunzipSync],
  ['deflate', inflateSync],
])

/** A compressed message as it was. Throws UNSUPPORTED, MESSAGE_TOO_LARGE, INVALID_MESSAGE. */
export function inflated(body: Buffer, encoding: string | undefined, limit: number): Buffer {
  const inflate = inflaters.get(encoding ?? '')
  if (!inflate)
    throw new TalkwireError(
      'UNSUPPORTED',
      `the encoding ${JSON.stringify((encoding ?? 'identity').slice(0, 40))} is not known here; take ${ENCODINGS}`,
    )
  try {
    return inflate(body, { maxOutputLength: limit })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limit)
    throw new TalkwireError('INVALID_MESSAGE', `the message is not ${encoding}: ${(cause as Error).message}`, { cause })
  }
}
