/** Values and bytes from a seed: a failure names it, and the same seed makes the same again. */
import { ndarray } from '../src/codecs/codec.js'

export class Random {
  private state: number

  constructor(seed: number) {
    this.state = Math.imul(seed, 2654435761) >>> 0
    for (let warm = 0; warm < 3; warm++) this.below(2)
  }

  /** An integer from 0 to `limit` − 1. */
  below(limit: number): number {
    // xorshift32: as good as is needed, and the same everywhere.
    let x = this.state || 1
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.state = x >>> 0
    return Math.floor((this.state / 2 ** 32) * limit)
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }

  bytes(most: number): Buffer {
    return Buffer.from(Array.from({ length: this.below(most + 1) }, () => this.below(256)))
  }

  /** Bytes changed, cut out, doubled or put in at a few places. */
  damage(bytes: Buffer): Buffer {
    let damaged = Buffer.from(bytes)
    for (let count = 1 + this.below(3); count > 0; count--) {
      const at = this.below(damaged.length + 1)
      const to = Math.min(damaged.length, at + this.below(6))
      const middle = this.pick([
        this.bytes(4),
        damaged.subarray(at, to),
        Buffer.concat([damaged.subarray(at, to), damaged.subarray(at, to)]),
        Buffer.alloc(0),
        Buffer.from([0xff, 0xff, 0xff, 0xff]),
      ])
      damaged = Buffer.concat([damaged.subarray(0, at), middle, damaged.subarray(to)])
    }
    return damaged
  }

  text(): string {
    const letters = ['a', 'b', '$', '"', '\\', '\0', '\n', ' ', 'ä', '€', '𝄞', '_', '0', '{', ':']
    return Array.from({ length: this.pick([0, 1, 2, 5, 12, 40, 300]) }, () => this.pick(letters)).join('')
  }

  private number(): number {
    return this.pick([
      () => this.below(300) - 150,
      () => (this.below(2 ** 32) - 2 ** 31) * (this.below(2 ** 21) + 1),
      () => (this.below(2000) - 1000) / 7,
      () => 2 ** this.below(64),
      () => this.pick([-0, NaN, Infinity, -Infinity, Number.MAX_VALUE, 5e-324]),
    ])()
  }

  private scalar(): unknown {
    return this.pick([
      () => this.number(),
      () => this.text(),
      () => this.pick([true, false, null]),
      () => BigInt(this.below(2 ** 32)) ** BigInt(1 + this.below(9)) * this.pick([1n, -1n]),
      () => new Date(this.below(2 ** 32) * 997 - 2e12),
      () => this.array(),
    ])()
  }

  private array(): unknown {
    const length = this.pick([0, 1, 3, 16, 1500])
    const data = this.pick([
      () => new Uint8Array(this.bytes(length)),
      () => Float64Array.from({ length }, () => this.number()),
      () => Int16Array.from({ length }, () => this.below(65_536)),
      () => BigInt64Array.from({ length }, () => BigInt(this.below(2 ** 32)) << 20n),
    ])()
    return this.below(4) === 0 ? ndarray(data, [1, data.length]) : data
  }

  /** Any value of the specification, at most `depth` containers deep. */
  value(depth: number): unknown {
    if (depth <= 0 || this.below(3) === 0) return this.scalar()
    const some = <T>(make: () => T): T[] => Array.from({ length: this.pick([0, 1, 1, 2, 5, 20]) >> (depth < 3 ? 0 : 1) }, make)
    const inner = (): unknown => (this.below(12) === 0 ? undefined : this.value(depth - 1))
    return this.pick([
      () => some(inner),
      () => Object.fromEntries(some(() => [this.key(), this.value(depth - 1)])),
      () => new Map(some(() => [this.below(4) ? this.scalar() : this.value(depth - 1), inner()])),
      () => new Set(some(inner)),
    ])()
  }

  private key(): string {
    const text = this.pick([
      () => this.text(),
      () => this.pick(['$', '$$', '$number', '$bin', '$undefined', 'a', 'id', 'then', 'toString']),
    ])()
    return text
  }
}
