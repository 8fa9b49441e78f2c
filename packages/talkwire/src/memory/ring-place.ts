/** Rings in memory that processes share: made by who comes first, and checked by all. */
import { TalkwireError } from '../error.js'
import type { MappedFile } from './mapped-file.js'
import { KIND, kindWord, MAX_LOG2, maxMessageOf, MIN_LOG2, RING_ALIGNMENT, RING_HEADER, WORD, type RingKind } from './ring-layout.js'
import { wakeSeats, type Side } from './seats.js'
import type { SharedMemory } from './shared-memory.js'
import { swap } from './store.js'

/** Room for a ring. The bytes were zeros when the first one came. */
export interface RingPlace {
  readonly memory: SharedMemory | MappedFile
  /** Bytes from its start; a multiple of 8. Default 0. */
  readonly offset?: number
  /** Bytes, `ringBytes(capacity)`. Default: the largest ring that fits. */
  readonly size?: number
}

/** The same bytes in three widths; offsets of messages are multiples of 8. */
export interface RingData {
  readonly bytes: Uint8Array
  readonly words: Int32Array
  readonly floats: Float64Array
}

/** A ring as one thread has it open. */
export interface OpenRing {
  readonly title: string
  readonly kind: RingKind
  /** Bytes, a power of two. */
  readonly capacity: number
  /** Bytes. */
  readonly maxMessage: number
  readonly header: Int32Array
  readonly long: BigInt64Array
  readonly data: RingData
  /** Says that something was published to those of that side who said that they sleep. */
  wake(side: Side): void
}

/** `wake` where whoever sleeps has no bell in its seat. Throws INVALID_MEMORY; RangeError and TypeError for a wrong place. */
export function openRing(kind: RingKind, { memory, offset = 0, size }: RingPlace, wake?: (side: Side) => void): OpenRing {
  if (typeof memory?.array !== 'function') throw new TypeError('a ring is placed by { memory, offset, size }')
  if (memory.readOnly) throw new TypeError('both ends of a ring write to its memory; open that without readOnly')
  if (offset % RING_ALIGNMENT !== 0) throw new RangeError(`offset ${offset} of a ring: take a multiple of ${RING_ALIGNMENT}`)
  const title = `the ring at byte ${offset} of ${'path' in memory ? memory.path : 'memory'}`
  const room = size ?? memory.size - offset
  const most = Math.min(MAX_LOG2, Math.floor(Math.log2(Math.max(1, room - RING_HEADER))))
  if (most < MIN_LOG2) throw new RangeError(`${title}: ${room} bytes; take ringBytes(capacity)`)
  const header = memory.array(Int32Array, offset, RING_HEADER / 4)
  swap(header, WORD.kind, 0, kindWord(kind, most))
  const capacity = capacityOf(title, kind, Atomics.load(header, WORD.kind), most)
  const start = offset + RING_HEADER
  const ring: OpenRing = {
    title,
    kind,
    capacity,
    maxMessage: maxMessageOf(capacity),
    header,
    long: memory.array(BigInt64Array, offset, RING_HEADER / 8),
    data: {
      bytes: memory.array(Uint8Array, start, capacity),
      words: memory.array(Int32Array, start, capacity / 4),
      floats: memory.array(Float64Array, start, capacity / 8),
    },
    wake: wake ?? ((side) => wakeSeats(ring, side)),
  }
  return ring
}

function capacityOf(title: string, kind: RingKind, word: number, most: number): number {
  const log2 = word & 0xff
  if (word !== kindWord(kind, log2)) {
    const other = Object.keys(KIND).find((name) => word === kindWord(name as RingKind, log2))
    throw new TalkwireError(
      'INVALID_MEMORY',
      `${title} is ${other ? `one of kind "${other}"` : 'no ring of this version'}, not "${kind}"; take another place`,
    )
  }
  if (log2 < MIN_LOG2 || log2 > most)
    throw new TalkwireError('INVALID_MEMORY', `${title} has 2^${log2} bytes of data, but room for 2^${most}; open all of its memory`)
  return 2 ** log2
}

/** Why a message of so many bytes is refused. */
export function tooLarge({ title, maxMessage }: OpenRing, length: number): Error {
  if (!Number.isSafeInteger(length) || length < 0) return new RangeError(`a message of ${length} bytes: take a whole number from 0 on`)
  return new TalkwireError(
    'MESSAGE_TOO_LARGE',
    `${length} bytes; ${title} takes ${maxMessage} at most: a quarter of it. Send it in parts, or make a larger ring`,
  )
}
