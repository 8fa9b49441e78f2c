/** Messages with attachments, spec/wire.md § 2. Sans I/O. */
import { TalkwireError } from '../error.js'
import type { Writer } from './writer.js'

export const ENVELOPE = 0xc1
const FIXED = 8

const align = (offset: number): number => (offset + 7) & ~7

/**
 * Puts the envelope before the message that begins at `start` of the writer and returns the whole
 * payload's length. The attachments themselves are not written: that is for `takeAttachments`.
 */
export function seal(writer: Writer, start: number): number {
  const { attachments } = writer
  const headLength = writer.position - start
  if (attachments.length === 0) return headLength
  const prefix = FIXED + 4 * attachments.length
  writer.reserve(prefix)
  const { buffer } = writer
  buffer.copyWithin(start + prefix, start, writer.position)
  writer.position += prefix
  buffer[start] = ENVELOPE
  buffer[start + 1] = 0
  buffer.writeUInt16BE(attachments.length, start + 2)
  buffer.writeUInt32BE(headLength, start + 4)
  let length = prefix + headLength
  attachments.forEach((attachment, index) => {
    buffer.writeUInt32BE(attachment.byteLength, start + FIXED + 4 * index)
    length = align(length) + attachment.byteLength
  })
  return length
}

const zeros = Buffer.alloc(8)
/** What goes between an attachment and what stands before it, at `offset` bytes from the payload's start. */
const padding = (offset: number): Buffer => zeros.subarray(0, align(offset) - offset)

const NONE: readonly Uint8Array[] = []

/**
 * Takes from the writer what belongs behind the message that was sealed at `start`: its attachments, which are not copied, and
 * the zeros between them. The zeros before the first one are written, so that they leave in one buffer with the message.
 */
export function takeAttachments(writer: Writer, start: number): readonly Uint8Array[] {
  const { attachments } = writer
  if (attachments.length === 0) return NONE
  writer.attachments = []
  writer.bytes(padding(writer.position - start))
  const parts: Uint8Array[] = []
  let offset = writer.position - start
  for (const attachment of attachments) {
    const gap = padding(offset)
    if (gap.length > 0) parts.push(gap)
    parts.push(attachment)
    offset += gap.length + attachment.byteLength
  }
  return parts
}

export interface Opened {
  headStart: number
  headEnd: number
  /** Each attachment's bytes, aligned to 8 in their ArrayBuffer, owned by the receiver. */
  attachments: Uint8Array[]
}

/** Takes a payload that begins with `ENVELOPE` apart. Throws INVALID_MESSAGE. Copies unless `owned` and aligned. */
export function open(bytes: Buffer, start: number, end: number, owned: boolean): Opened {
  if (end - start < FIXED) throw broken('cut short')
  const count = bytes.readUInt16BE(start + 2)
  const headLength = bytes.readUInt32BE(start + 4)
  const headStart = start + FIXED + 4 * count
  const headEnd = headStart + headLength
  if (count === 0 || bytes[start + 1] !== 0) throw broken('no attachments, or a reserved bit set')
  if (headEnd > end) throw broken('the head is longer than the message')
  const attachments: Uint8Array[] = []
  let offset = headEnd - start
  for (let index = 0; index < count; index++) {
    const from = align(offset)
    offset = from + bytes.readUInt32BE(start + FIXED + 4 * index)
    if (start + offset > end) throw broken(`attachment ${index} is longer than the message`)
    attachments.push(take(bytes, start + from, start + offset, owned))
  }
  if (start + offset !== end) throw broken('bytes after the last attachment')
  return { headStart, headEnd, attachments }
}

function take(bytes: Buffer, start: number, end: number, owned: boolean): Uint8Array {
  const at = bytes.byteOffset + start
  if (owned && at % 8 === 0) return new Uint8Array(bytes.buffer, at, end - start)
  const { buffer } = Buffer.allocUnsafeSlow(end - start)
  const copy = new Uint8Array(buffer)
  copy.set(bytes.subarray(start, end))
  return copy
}

const broken = (what: string): TalkwireError => new TalkwireError('INVALID_MESSAGE', `broken envelope: ${what}`)
