/** The bytes of the log's files: spec/hub-log.md. */
import zlib from 'node:zlib'
import type { Place } from './log-types.js'

export const SEGMENT_HEADER = 64
export const BATCH_HEADER = 36
export const RECORD_HEADER = 12
/** Bytes of records in a batch, unless one append has more: what a flipped byte costs at most. */
export const BATCH_LIMIT = 256 * 1024

const MAGIC = Buffer.from('talkwlog')
const VERSION = 1
const ID = 8

/** CRC-32 as zlib has it. Node's own since 20.15. */
export const crc32: (bytes: Uint8Array) => number = zlib.crc32 ?? crc32ByTable

let table: Uint32Array | undefined

export function crc32ByTable(bytes: Uint8Array): number {
  table ??= Uint32Array.from({ length: 256 }, (_, index) => {
    let value = index
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
    return value
  })
  let crc = -1
  for (const byte of bytes) crc = (crc >>> 8) ^ table[(crc ^ byte) & 255]!
  return ~crc >>> 0
}

const readPlace = (bytes: Buffer, at: number): Place => bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32

function writePlace(bytes: Buffer, at: number, place: Place): void {
  bytes.writeUInt32LE(place % 2 ** 32, at)
  bytes.writeUInt32LE(Math.floor(place / 2 ** 32), at + 4)
}

/** What a segment says of itself. `first` is the place of its first byte, and where the segment before it ends. */
export interface SegmentHead {
  /** The log's own, random: nobody who gives bodies can make bytes that look like a batch. */
  readonly id: Buffer
  readonly number: number
  readonly first: Place
  /** Segments with smaller numbers were needed no more. */
  readonly oldest: number
}

export function encodeHead({ id, number, first, oldest }: SegmentHead): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER)
  MAGIC.copy(bytes)
  bytes.writeUInt32LE(VERSION, 8)
  id.copy(bytes, 16)
  writePlace(bytes, 24, first)
  bytes.writeUInt32LE(number, 32)
  bytes.writeUInt32LE(oldest, 36)
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60)
  return bytes
}

/** Undefined when it is damaged, or of a version that is not known here. */
export function decodeHead(bytes: Buffer): SegmentHead | undefined {
  if (bytes.length < SEGMENT_HEADER || bytes.readUInt32LE(60) !== crc32(bytes.subarray(0, 60))) return undefined
  if (!bytes.subarray(0, 8).equals(MAGIC) || bytes.readUInt32LE(8) !== VERSION) return undefined
  return {
    id: Buffer.from(bytes.subarray(16, 16 + ID)),
    first: readPlace(bytes, 24),
    number: bytes.readUInt32LE(32),
    oldest: bytes.readUInt32LE(36),
  }
}

/** By what a batch is known as one of this segment. */
export type Origin = Pick<SegmentHead, 'id' | 'first'>

export interface Batch {
  /** Behind the header. */
  readonly length: number
  readonly oldest: number
  /** Everything below was on disk before this was written. */
  readonly synced: Place
}

/** Writes the header of the batch at `at`, whose records stand behind it already. */
export function sealBatch(bytes: Buffer, at: number, batch: Batch, id: Buffer, place: Place): void {
  id.copy(bytes, at)
  bytes.writeUInt32LE(batch.length, at + 12)
  writePlace(bytes, at + 16, place)
  writePlace(bytes, at + 24, batch.synced)
  bytes.writeUInt32LE(batch.oldest, at + 32)
  bytes.writeUInt32LE(crc32(bytes.subarray(at + 12, at + BATCH_HEADER + batch.length)), at + 8)
}

/** Undefined unless a whole batch of this segment stands there. */
export function batchAt(bytes: Buffer, at: number, { id, first }: Origin): Batch | undefined {
  if (at + BATCH_HEADER > bytes.length || bytes.compare(id, 0, ID, at, at + ID) !== 0) return undefined
  const length = bytes.readUInt32LE(at + 12)
  const end = at + BATCH_HEADER + length
  if (end > bytes.length || readPlace(bytes, at + 16) !== first + at) return undefined
  if (bytes.readUInt32LE(at + 8) !== crc32(bytes.subarray(at + 12, end))) return undefined
  return { length, synced: readPlace(bytes, at + 24), oldest: bytes.readUInt32LE(at + 32) }
}

/** A batch, or what stands between two of them and is none. Offsets in the segment. */
export interface Stretch {
  readonly from: number
  readonly to: number
  readonly batch: Batch | undefined
}

/** The batches of a segment and the damage between them, in order. What is behind the last one is not told of. */
export function* walk(bytes: Buffer, origin: Origin): Generator<Stretch> {
  let from = SEGMENT_HEADER
  for (;;) {
    const batch = batchAt(bytes, from, origin)
    const to = batch ? from + BATCH_HEADER + batch.length : nextBatch(bytes, from + 1, origin)
    if (to === undefined) return
    yield { from, to, batch }
    from = to
  }
}

function nextBatch(bytes: Buffer, from: number, origin: Origin): number | undefined {
  for (let at = bytes.indexOf(origin.id, from); at >= 0; at = bytes.indexOf(origin.id, at + 1)) if (batchAt(bytes, at, origin)) return at
  return undefined
}

/** Where a segment without a header begins, by the first batch in it that is whole. */
export function firstByBatch(bytes: Buffer, id: Buffer): Place | undefined {
  for (let at = bytes.indexOf(id, 1); at >= 0; at = bytes.indexOf(id, at + 1)) {
    if (at + BATCH_HEADER > bytes.length) return undefined
    const first = readPlace(bytes, at + 16) - at
    if (batchAt(bytes, at, { id, first })) return first
  }
  return undefined
}

/** The id of a log, when all that is left of it is one segment without a header: that of its first batch, if it is whole. */
export function idByBatch(bytes: Buffer): Buffer | undefined {
  if (bytes.length < SEGMENT_HEADER + BATCH_HEADER) return undefined
  const id = Buffer.from(bytes.subarray(SEGMENT_HEADER, SEGMENT_HEADER + ID))
  return firstByBatch(bytes, id) === undefined ? undefined : id
}

/** `back`: bytes from the beginning of its batch, by which a reader finds the checksum. Returns where the next one goes. */
export function writeRecord(bytes: Buffer, at: number, kind: number, body: Uint8Array, back: number): number {
  bytes.writeUInt32LE(body.length, at)
  bytes.writeUInt32LE(kind, at + 4)
  bytes.writeUInt32LE(back, at + 8)
  bytes.set(body, at + RECORD_HEADER)
  return at + RECORD_HEADER + body.length
}

export const recordLength = (bytes: Buffer, at: number): number => RECORD_HEADER + bytes.readUInt32LE(at)
export const recordKind = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 4)
export const recordBack = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at + 8)
/** A view. */
export const recordBody = (bytes: Buffer, at: number): Buffer => bytes.subarray(at + RECORD_HEADER, at + recordLength(bytes, at))

/** Calls back with where each record of a batch begins. */
export function eachRecord(bytes: Buffer, from: number, to: number, visit: (at: number) => void): void {
  for (let at = from + BATCH_HEADER; at < to; at += recordLength(bytes, at)) visit(at)
}

const ZEROS = Buffer.alloc(64 * 1024)

export function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += ZEROS.length) {
    const part = bytes.subarray(at, at + ZEROS.length)
    if (part.compare(ZEROS, 0, part.length) !== 0) return false
  }
  return true
}
