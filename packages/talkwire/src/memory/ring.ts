/** Messages from one process to another through memory that both have: docs/memory/ring.md, spec/rings.md. */
import { Consumer } from './consumer.js'
import { Producer } from './producer.js'
import { openRing, type OpenRing, type RingPlace } from './ring-place.js'

export interface RingOptions {
  /** 'one' is faster. Both ends say the same. Default 'one'. */
  readonly producers?: 'one' | 'many'
}

/**
 * In order, each message read once. Whoever dies loses at most the message in its hand: what a producer had not committed is
 * skipped; what a consumer was handling is read again by the next one.
 */
export class Ring {
  private readonly ring: OpenRing

  /** Opens it, or makes it of zeros. Throws INVALID_MEMORY; RangeError and TypeError for a wrong place. */
  constructor(place: RingPlace, { producers = 'one' }: RingOptions = {}) {
    this.ring = openRing(producers === 'many' ? 'many producers' : 'one producer', place)
  }

  /** Bytes. */
  get capacity(): number {
    return this.ring.capacity
  }

  /** Bytes. */
  get maxMessage(): number {
    return this.ring.maxMessage
  }

  /** The writing end. Throws UNAVAILABLE when a living one has it (of many: all 60 places), INVALID_MEMORY. */
  producer(): Producer {
    return new Producer(this.ring)
  }

  /** The reading end. Throws UNAVAILABLE when a living one has it. */
  consumer(): Consumer {
    return new Consumer(this.ring)
  }
}
