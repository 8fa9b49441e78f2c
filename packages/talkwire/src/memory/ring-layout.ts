/**
 * Where the words of a ring are: spec/rings.md. Zeroed memory is a ring that nobody has made yet. Numbers are little-endian.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +---------------+-------+-------+-------------------------------+
 *    0| log2 capacity | kind  |version|             'TR'              |
 *     +---------------+-------+-------+-------------------------------+
 *   64|                             tail                              |  writers: the position behind the last record
 *   68|                           claiming                            |  who moves the tail, of many producers; 0: nobody
 *   72|                            intent                             |  broadcast: up to here bytes may change at any time
 *   76|                            latest                             |  broadcast: the position of the last record
 *     +---------------------------------------------------------------+
 *  128|                             head                              |  consumer: the position of the first record not yet read
 *  132|                             lost                              |  records whose producer died before it committed
 *     +---------------------------------------------------------------+
 *  192|                        writers sleep                          |  somebody may sleep: look at the seats
 *  196|                        readers sleep                          |
 *     +---------------------------------------------------------------+
 *  256|  60 seats of writers, then 60 of readers, of 32 bytes each:   |
 *     |    0 i64 who    8 u32 generation   12 u32 bell   16 u32 sleeping
 *     +---------------------------------------------------------------+
 * 4096|  data: capacity bytes                                         |
 *
 * A position counts bytes from the ring's beginning and wraps around at 2^32; its place is position mod capacity. A record:
 *
 *     +-+-------------------------------------------------------------+
 *    0|C|                  8 + bytes of the message                   |  negative while it is claimed and not committed
 *     +-+-------------------------------------------------------------+
 *    4|        who claims · negative: to be skipped · broadcast: number|
 *     +---------------------------------------------------------------+
 *    8|  the message, then nothing up to a multiple of 8              |
 *
 * No record runs over the end of the data: one to be skipped fills the rest.
 */
import { TalkwireError } from '../error.js'

export const RING_HEADER = 4096
export const RING_ALIGNMENT = 8

export const KIND = { 'one producer': 1, 'many producers': 2, broadcast: 3 } as const
export type RingKind = keyof typeof KIND
/** 'TR', layout 1. */
export const kindWord = (kind: RingKind, log2: number): number => 0x5452_1000 | (KIND[kind] << 8) | log2

export const MIN_LOG2 = 10
/** Differences of positions are signed. */
export const MAX_LOG2 = 30

/** Indices of 32-bit words of the header. */
export const WORD = {
  kind: 0,
  tail: 16,
  claiming: 17,
  intent: 18,
  latest: 19,
  head: 32,
  lost: 33,
  writersSleep: 48,
  readersSleep: 49,
} as const

export const SEATS = 60
/** Of seat `n`, writers first: its first 32-bit word and its 64-bit word. */
export const seatWord = (n: number): number => 64 + 8 * n
export const seatLong = (n: number): number => 32 + 4 * n
export const SEAT = { generation: 2, bell: 3, sleeping: 4 } as const

export const RECORD_HEADER = 8
export const SKIP = -1
/** Messages of a broadcast are numbered with 31 bits, so that no number is -1. */
export const NUMBERS = 0x7fff_ffff

/** Of the message at `tail`, when that at `latest` has the number `mark`. It is not yet before the tail while it is published. */
export const numberBehind = (tail: number, latest: number, mark: number): number => (mark + (((latest - tail) | 0) < 0 ? 1 : 0)) & NUMBERS

/** Bytes that a ring of that capacity needs. Throws RangeError. */
export function ringBytes(capacity: number): number {
  const log2 = Math.log2(capacity)
  if (!Number.isInteger(log2) || log2 < MIN_LOG2 || log2 > MAX_LOG2)
    throw new RangeError(`a ring of ${capacity} bytes: take a power of two from ${2 ** MIN_LOG2} to ${2 ** MAX_LOG2}`)
  return RING_HEADER + capacity
}

/** A quarter of it, so that a message always fits once the ring is empty, wherever it stands, and several fit one after another. */
export const maxMessageOf = (capacity: number): number => capacity / 4 - RECORD_HEADER

/** What is written there was written by nobody who keeps to the layout. */
export const broken = (title: string, what: string): TalkwireError =>
  new TalkwireError('INVALID_MEMORY', `${title} is broken: ${what}; somebody wrote into it who should not have. Make a new one`)
