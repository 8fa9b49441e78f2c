/**
 * How messages are delimited on a byte stream: spec/wire.md § 1. Sans I/O.
 *
 *   length   0               4
 *            +---------------+----------------------+
 *            | length u32 BE | `length` bytes       |
 *            +---------------+----------------------+
 *   header   Content-Length: N CR LF [other headers] CR LF, N bytes
 *   line     one JSON text LF
 */
import { TalkwireError } from '../error.js'
import { tooLargeArrived } from './refusals.js'

export type Framing = 'length' | 'header' | 'line'

export const LENGTH_HEADER = 4
const MAX_HEADER_BLOCK = 4096
const LF = 10
const CR = 13
/** Memory reserved for an announced body, as a multiple of what has really arrived. */
const MAX_AMPLIFICATION = 128
const MIN_BODY = 64 * 1024

/** The framing that a first byte announces, or undefined. */
export function recognise(byte: number): Framing | undefined {
  if (byte <= 0x08) return 'length'
  if (byte === 0x43 || byte === 0x63) return 'header'
  if (byte === 0x7b || byte === 0x5b || byte === 9 || byte === LF || byte === CR || byte === 0x20) return 'line'
  return undefined
}

/** Called once per message; `owned` says that the bytes are nobody else's and may be kept. */
export type OnMessage = (bytes: Buffer, start: number, end: number, owned: boolean) => void

/**
 * Cuts chunks into messages. Iterative, and linear in the bytes whatever the chunk borders are.
 * `push` throws INVALID_MESSAGE or MESSAGE_TOO_LARGE; after that the reader is of no more use.
 */
export class FrameReader {
  /** Stops delivery at once, also in the middle of a chunk. */
  stopped = false
  /** Holds messages back; bytes pushed meanwhile are kept. */
  paused = false
  framing: Framing | undefined

  /** The body being assembled; its capacity may be less than `need`. */
  private body: Buffer | undefined
  private have = 0
  private need = 0
  /** An incomplete length or header block. */
  private head: Buffer | undefined
  private stash: Buffer | undefined

  constructor(
    private readonly maxMessage: number,
    private readonly onMessage: OnMessage,
    framing?: Framing,
  ) {
    this.framing = framing
  }

  /** True between the first and the last byte of a message. */
  get midMessage(): boolean {
    return this.body !== undefined || this.head !== undefined || this.stash !== undefined
  }

  push(chunk: Buffer, start = 0, end = chunk.length): void {
    if (this.stopped || start === end) return
    if (this.paused) return this.keep(chunk, start, end)
    this.framing ??= recognise(chunk[start]!)
    if (this.framing === 'length') this.pushLength(chunk, start, end)
    else if (this.framing === 'header') this.pushHeader(chunk, start, end)
    else if (this.framing === 'line') this.pushLine(chunk, start, end)
    else this.refuseFirst(chunk[start]!)
  }

  /** Whoever begins so may be a person or a text protocol: the last word to it is a line. */
  private refuseFirst(byte: number): never {
    this.framing = 'line'
    throw new TalkwireError(
      'INVALID_MESSAGE',
      `a first byte 0x${byte.toString(16).padStart(2, '0')} begins no known framing; send a u32 length, "Content-Length:" or JSON`,
    )
  }

  resume(): void {
    this.paused = false
    const stash = this.stash
    if (!stash) return
    this.stash = undefined
    this.push(stash)
  }

  /** Where the next bytes may be read to directly: the rest of a large body. Report them with `filled`. */
  window(): Buffer | undefined {
    const { body } = this
    if (!body || this.paused || this.framing === 'line') return undefined
    const end = Math.min(body.length, this.need)
    return end - this.have >= MIN_BODY / 2 ? body.subarray(this.have, end) : undefined
  }

  filled(count: number): void {
    this.have += count
    if (this.have === this.need) this.deliverBody()
    else this.ensureCapacity(1)
  }

  /** No more bytes will come: a last line needs no LF. */
  finish(): void {
    if (this.framing !== 'line' || !this.body || this.stopped || this.paused) return
    const line = this.body
    const length = this.have
    this.dropBody()
    this.deliverLine(line, 0, length, true)
  }

  private keep(chunk: Buffer, start: number, end: number): void {
    const piece = chunk.subarray(start, end)
    this.stash = this.stash ? Buffer.concat([this.stash, piece]) : Buffer.from(piece)
  }

  /** After a delivered message: true when the rest of the chunk must wait. */
  private halted(chunk: Buffer, at: number, end: number): boolean {
    if (this.stopped) return true
    if (!this.paused) return false
    if (at < end) this.keep(chunk, at, end)
    return true
  }

  private pushLength(chunk: Buffer, start: number, end: number): void {
    let at = start
    if (this.body) {
      at += this.fillBody(chunk, at, end)
      if (this.body || this.halted(chunk, at, end)) return
    }
    if (this.head) {
      const missing = LENGTH_HEADER - this.head.length
      if (end - at < missing) {
        this.head = Buffer.concat([this.head, chunk.subarray(at, end)])
        return
      }
      const length = Buffer.concat([this.head, chunk.subarray(at, at + missing)]).readUInt32BE(0)
      this.head = undefined
      at += missing
      this.beginBody(length, end - at)
      at += this.fillBody(chunk, at, end)
      if (this.body || this.halted(chunk, at, end)) return
    }
    while (end - at >= LENGTH_HEADER) {
      const length = ((chunk[at]! << 24) | (chunk[at + 1]! << 16) | (chunk[at + 2]! << 8) | chunk[at + 3]!) >>> 0
      if (length > this.maxMessage) throw tooLarge(length, this.maxMessage)
      const body = at + LENGTH_HEADER
      if (end - body < length) {
        this.beginBody(length, end - body)
        this.fillBody(chunk, body, end)
        return
      }
      at = body + length
      this.onMessage(chunk, body, at, false)
      if (this.stopped || this.paused) return void this.halted(chunk, at, end)
    }
    if (at < end) this.head = Buffer.from(chunk.subarray(at, end))
  }

  private pushHeader(chunk: Buffer, start: number, end: number): void {
    let at = start
    while (at < end) {
      if (!this.body) {
        const used = this.takeHeaderBlock(chunk, at, end)
        if (used < 0) return
        at += used
      }
      at += this.fillBody(chunk, at, end)
      if (this.body || this.halted(chunk, at, end)) return
    }
  }

  /** Returns how many bytes of the chunk belong to the header block, or −1 when it is not complete yet. */
  private takeHeaderBlock(chunk: Buffer, start: number, end: number): number {
    const before = this.head?.length ?? 0
    const slice = chunk.subarray(start, Math.min(end, start + MAX_HEADER_BLOCK + 4 - before))
    const block = this.head ? Buffer.concat([this.head, slice]) : slice
    const close = block.indexOf('\r\n\r\n')
    if (close < 0) {
      if (block.length >= MAX_HEADER_BLOCK) throw new TalkwireError('INVALID_MESSAGE', `a header block over ${MAX_HEADER_BLOCK} bytes`)
      this.head = Buffer.from(block)
      return -1
    }
    this.head = undefined
    const match = /^content-length:[ \t]*(\d{1,10})[ \t]*$/im.exec(block.toString('latin1', 0, close))
    if (!match) throw new TalkwireError('INVALID_MESSAGE', 'a header block without a valid Content-Length')
    this.beginBody(Number(match[1]), end - start)
    return close + 4 - before
  }

  private pushLine(buffer: Buffer, start: number, end: number): void {
    // A read buffer goes on behind `end`, and would be searched in vain for every few bytes.
    const chunk = end === buffer.length ? buffer : buffer.subarray(0, end)
    let at = start
    while (at < end) {
      const newline = chunk.indexOf(LF, at)
      const stop = newline < 0 ? end : newline
      if (this.have + stop - at > this.maxMessage) throw tooLarge(this.have + stop - at, this.maxMessage)
      if (stop === end) {
        this.appendLine(chunk, at, end)
        return
      }
      if (this.body) {
        this.appendLine(chunk, at, stop)
        const line = this.body
        const length = this.have
        this.dropBody()
        this.deliverLine(line, 0, length, true)
      } else this.deliverLine(chunk, at, stop, false)
      at = stop + 1
      if (this.halted(chunk, at, end)) return
    }
  }

  private appendLine(chunk: Buffer, start: number, end: number): void {
    this.body ??= Buffer.allocUnsafe(Math.max(256, end - start))
    this.need = this.have + end - start
    this.ensureCapacity(end - start)
    chunk.copy(this.body, this.have, start, end)
    this.have = this.need
  }

  private deliverLine(bytes: Buffer, start: number, end: number, owned: boolean): void {
    if (end > start && bytes[end - 1] === CR) end--
    if (end > start) this.onMessage(bytes, start, end, owned)
  }

  private beginBody(length: number, arrived: number): void {
    if (length > this.maxMessage) throw tooLarge(length, this.maxMessage)
    const size = Math.min(length, Math.max(MIN_BODY, arrived * MAX_AMPLIFICATION))
    this.body = size < 4096 ? Buffer.allocUnsafe(size) : Buffer.allocUnsafeSlow(size)
    this.have = 0
    this.need = length
  }

  private fillBody(chunk: Buffer, start: number, end: number): number {
    const count = Math.min(end - start, this.need - this.have)
    this.ensureCapacity(count)
    chunk.copy(this.body!, this.have, start, start + count)
    this.have += count
    if (this.have === this.need) this.deliverBody()
    return count
  }

  private ensureCapacity(count: number): void {
    const body = this.body!
    if (this.have + count <= body.length) return
    const limit = this.framing === 'line' ? this.maxMessage : this.need
    const factor = this.framing === 'line' ? 2 : MAX_AMPLIFICATION
    const grown = Buffer.allocUnsafeSlow(Math.min(limit, Math.max(this.have + count, this.have * factor, 1024)))
    body.copy(grown, 0, 0, this.have)
    this.body = grown
  }

  private deliverBody(): void {
    const body = this.body!
    const length = this.need
    this.dropBody()
    this.onMessage(body, 0, length, true)
  }

  private dropBody(): void {
    this.body = undefined
    this.have = 0
    this.need = 0
  }
}

function tooLarge(length: number, limit: number): TalkwireError {
  const text = String.fromCharCode(length >>> 24, (length >>> 16) & 255, (length >>> 8) & 255, length & 255)
  // Whoever answers in words has not understood us: the length is the beginning of a sentence.
  const advice = /^[ -~]{4}$/.test(text)
    ? `that is the text ${JSON.stringify(text)}: most likely the other end speaks another protocol`
    : undefined
  return tooLargeArrived(length, limit, advice)
}
