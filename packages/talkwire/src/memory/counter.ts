/** A number that any process adds to: docs/memory/value.md. One plain integer in memory, without any header. */
import { validatePlace, type SharedPlace } from './shared-layout.js'
import { add, addBig } from './store.js'

export interface CounterOptions {
  /** 32: from -2^31 to 2^31 - 1, and around; ten times as fast. 64: 8 bytes. Default 64. All who use it say the same. */
  readonly bits?: 32 | 64
}

export class SharedCounter {
  private readonly words: Int32Array | BigInt64Array

  /** Four bytes, or eight. Throws RangeError and TypeError for a wrong place. */
  constructor(place: SharedPlace, { bits = 64 }: CounterOptions = {}) {
    validatePlace(place, 'a counter')
    if (bits !== 32 && bits !== 64) throw new RangeError(`a counter of ${String(bits)} bits: take 32 or 64`)
    const { memory, offset = 0 } = place
    if (memory.readOnly) throw new TypeError('a counter needs memory that can be written; open it without readOnly')
    this.words = bits === 32 ? memory.array(Int32Array, offset, 1) : memory.array(BigInt64Array, offset, 1)
  }

  /** Adds a whole number, and returns the sum: no other one gets the same. Beyond 2^53 it is rounded; see `big`. */
  add(amount = 1): number {
    if (!Number.isSafeInteger(amount)) throw new RangeError(`${amount} cannot be added: take a whole number`)
    const { words } = this
    return words instanceof Int32Array
      ? (add(words, 0, amount) + amount) | 0
      : Number(BigInt.asIntN(64, addBig(words, 0, BigInt(amount)) + BigInt(amount)))
  }

  /** Beyond 2^53 it is rounded; see `big`. */
  get value(): number {
    return Number(this.big)
  }

  /** Exactly. */
  get big(): bigint {
    return BigInt(this.words instanceof Int32Array ? Atomics.load(this.words, 0) : Atomics.load(this.words, 0))
  }
}
