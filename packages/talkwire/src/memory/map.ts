/** Keys and values that any process reads and writes: docs/memory/value.md, spec/values.md § 3. */
import { TalkwireError } from '../error.js'
import { yieldProcessor } from '../kernel/waiting.js'
import { idOf, isAlive, isBusy, NOBODY, self } from './owner.js'
import {
  ENTRY,
  ENTRY_HEADER,
  HEADER,
  openShared,
  padded,
  STATE,
  validateBytes,
  validatePlace,
  validateWritable,
  WORD,
  WRITER_LONG,
  type SharedPlace,
} from './shared-layout.js'
import { put, release, store, storeBig, swapBig } from './store.js'
import { readVersion, untilSeen, writeVersion, type Versions } from './versions.js'

export interface MapSizes {
  /** Keys that it holds at most. */
  readonly entries: number
  /** Bytes of a key at most, as UTF-8. */
  readonly key: number
  /** Bytes of a value at most. */
  readonly value: number
}

const entryBytes = (key: number, value: number): number => ENTRY_HEADER + padded(key) + 2 * padded(value)

/** Bytes of memory for such a map. Throws RangeError. */
export function mapBytes({ entries, key, value }: MapSizes): number {
  if (!Number.isInteger(entries) || entries < 1 || entries > 2 ** 24)
    throw new RangeError(`a map of ${entries} entries: take a whole number from 1 to 2^24`)
  return HEADER + entries * entryBytes(validateBytes(key, 'a key'), validateBytes(value, 'a value'))
}

/** Milliseconds until who writes counts as stopped: it needs some microseconds. */
const PATIENCE = 1000
/** Milliseconds for one that is seen at work: on a busy machine it may be out of the processor, and others may come before. */
const MOST_PATIENCE = 10_000
const SPINS = 100
/** Milliseconds between two questions whether it lives. */
const LOOK_AGAIN = 4

export class SharedMap {
  readonly sizes: MapSizes
  private readonly title: string
  private readonly words: Int32Array
  private readonly long: BigInt64Array
  private readonly bytes: Uint8Array
  private readonly stride: number

  /** Opens it, or makes it of zeros. Throws INVALID_MEMORY; RangeError and TypeError for a wrong place. */
  constructor(
    private readonly place: SharedPlace,
    sizes?: MapSizes,
  ) {
    validatePlace(place, 'a shared map')
    const { memory, offset = 0 } = place
    const room = memory.size - offset
    if (sizes && mapBytes(sizes) > room)
      throw new RangeError(`a map of these sizes needs ${mapBytes(sizes)} bytes; there are ${room} from byte ${offset} on`)
    const header = openShared('map', place, [
      [WORD.size, sizes?.entries],
      [WORD.maxKey, sizes?.key],
      [WORD.maxValue, sizes?.value],
    ])
    this.title = `the shared map at byte ${offset} of ${memory.path}`
    this.sizes = {
      entries: Atomics.load(header, WORD.size),
      key: Atomics.load(header, WORD.maxKey),
      value: Atomics.load(header, WORD.maxValue),
    }
    const needed = this.needed()
    if (!(needed <= room))
      throw new TalkwireError('INVALID_MEMORY', `${this.title} has other sizes than fit into ${room} bytes; open all of its memory`)
    this.stride = entryBytes(this.sizes.key, this.sizes.value)
    this.words = memory.array(Int32Array, offset, needed / 4)
    this.long = memory.array(BigInt64Array, offset, HEADER / 8)
    this.bytes = memory.array(Uint8Array, offset, needed)
  }

  /** A copy of the value, whole; undefined when the key is not there. Does not block. Throws INVALID_MEMORY when it cannot be read. */
  get(key: string): Uint8Array | undefined {
    const wanted = this.keyOf(key)
    const seen = untilSeen(() => this.look(wanted))
    if (!seen) throw this.restless()
    return seen.value
  }

  has(key: string): boolean {
    return this.get(key) !== undefined
  }

  /**
   * Sets it for all. False: there is no room for one more key. Who dies in the middle leaves the old value or the new one.
   * Blocks for some microseconds while others write. Throws LIMIT_EXCEEDED, UNAVAILABLE when a writer is stopped in the middle.
   */
  set(key: string, value: Uint8Array): boolean {
    const wanted = this.keyOf(key)
    if (value.length > this.sizes.value)
      throw new TalkwireError(
        'LIMIT_EXCEEDED',
        `a value of ${value.length} bytes; ${this.title} takes ${this.sizes.value} at most. Make it larger`,
      )
    return this.alone(() => {
      const { at, free } = this.find(wanted)
      if (at !== undefined) {
        writeVersion(this.versionsOf(at), value)
        return true
      }
      if (free === undefined) return false
      this.insert(free, wanted, value)
      return true
    })
  }

  /** True when it was there. Blocks and throws as `set` does. */
  delete(key: string): boolean {
    const wanted = this.keyOf(key)
    return this.alone(() => {
      const { at } = this.find(wanted)
      if (at === undefined) return false
      store(this.words, at + ENTRY.state, STATE.removed)
      this.tidy(at)
      return true
    })
  }

  /** What is there now; while others write, some of it before and some of it after. */
  *entries(): IterableIterator<[key: string, value: Uint8Array]> {
    for (let n = 0; n < this.sizes.entries; n++) {
      const at = this.entryAt(n)
      const seen = untilSeen(() => this.copy(at))
      if (!seen) throw this.restless()
      if (seen.key) yield [Buffer.from(seen.key).toString(), seen.value]
    }
  }

  /** Keys that are there. Looks at all of the map. */
  get size(): number {
    let size = 0
    for (let n = 0; n < this.sizes.entries; n++) if (Atomics.load(this.words, this.entryAt(n) + ENTRY.state) === STATE.used) size++
    return size
  }

  /** Bytes; not a number when the sizes that were found are none. */
  private needed(): number {
    const { entries, key, value } = this.sizes
    return Math.min(entries, key, value) < 1
      ? Number.NaN
      : HEADER + entries * (ENTRY_HEADER + 8 * (Math.ceil(key / 8) + 2 * Math.ceil(value / 8)))
  }

  private restless(): TalkwireError {
    return new TalkwireError('INVALID_MEMORY', `${this.title} changes all the time, or is broken; does anybody write there in another way?`)
  }

  private keyOf(key: string): Wanted {
    const bytes = Buffer.from(key)
    if (bytes.length > this.sizes.key)
      throw new TalkwireError(
        'LIMIT_EXCEEDED',
        `a key of ${bytes.length} bytes; ${this.title} takes ${this.sizes.key} at most. Make it larger`,
      )
    return { bytes, hash: hashOf(bytes) }
  }

  /** Its first word. */
  private entryAt(n: number): number {
    return (HEADER + n * this.stride) / 4
  }

  private versionsOf(at: number): Versions {
    const { key, value } = this.sizes
    const first = 4 * at + ENTRY_HEADER + padded(key)
    return {
      words: this.words,
      version: at + ENTRY.version,
      begun: at + ENTRY.begun,
      length: at + ENTRY.length,
      most: value,
      bytes: this.bytes,
      buffers: [first, first + padded(value)],
    }
  }

  /** Undefined: something changed meanwhile; look again. */
  private look(wanted: Wanted): { value: Uint8Array | undefined } | undefined {
    const { at } = this.find(wanted)
    if (at === undefined) return { value: undefined }
    const seen = this.copy(at)
    // Another key may have come into its place.
    return seen?.key && wanted.bytes.equals(seen.key) ? seen : undefined
  }

  /** One entry, of one moment; without a key when it is not used. Undefined: it changed meanwhile. */
  private copy(at: number): { key?: Uint8Array; value: Uint8Array } | undefined {
    const { words } = this
    if (Atomics.load(words, at + ENTRY.state) !== STATE.used) return { value: NOTHING }
    const version = Atomics.load(words, at + ENTRY.version)
    const length = Atomics.load(words, at + ENTRY.keyLength)
    if (length < 0 || length > this.sizes.key) return undefined
    const start = 4 * at + ENTRY_HEADER
    const key = this.bytes.slice(start, start + length)
    const seen = readVersion(this.versionsOf(at))
    // A new key makes the version two higher, and is begun before; so this key is that value's.
    return seen && ((seen.version - version) | 0) <= 1 && ((Atomics.load(words, at + ENTRY.begun) - version) | 0) <= 1
      ? { key, value: seen.value }
      : undefined
  }

  /** Where the key is, and where it could be put. */
  private find({ bytes, hash }: Wanted): { at: number | undefined; free: number | undefined } {
    const { words } = this
    const { entries } = this.sizes
    let free: number | undefined
    for (let n = 0, slot = (hash >>> 0) % entries; n < entries; n++, slot = (slot + 1) % entries) {
      const at = this.entryAt(slot)
      const state = Atomics.load(words, at + ENTRY.state)
      if (state !== STATE.used) free ??= at
      if (state === STATE.free) break
      if (state === STATE.used && Atomics.load(words, at + ENTRY.hash) === hash && this.hasKey(at, bytes)) return { at, free }
    }
    return { at: undefined, free }
  }

  private hasKey(at: number, key: Uint8Array): boolean {
    if (Atomics.load(this.words, at + ENTRY.keyLength) !== key.length) return false
    const start = 4 * at + ENTRY_HEADER
    return Buffer.compare(key, this.bytes.subarray(start, start + key.length)) === 0
  }

  private insert(at: number, { bytes, hash }: Wanted, value: Uint8Array): void {
    const { words } = this
    // Whoever still reads what was here learns of it before the key changes.
    store(words, at + ENTRY.begun, (Atomics.load(words, at + ENTRY.version) + 2) | 0)
    this.bytes.set(bytes, 4 * at + ENTRY_HEADER)
    put(words, at + ENTRY.keyLength, bytes.length)
    put(words, at + ENTRY.hash, hash)
    writeVersion(this.versionsOf(at), value, 2)
    release(words, at + ENTRY.state, STATE.used)
  }

  /** Removed entries before a free one are free: nobody looks for anything behind them. */
  private tidy(at: number): void {
    const { words } = this
    const { entries } = this.sizes
    const last = (at * 4 - HEADER) / this.stride
    if (Atomics.load(words, this.entryAt((last + 1) % entries) + ENTRY.state) !== STATE.free) return
    for (let n = 0, slot = last; n < entries; n++, slot = (slot + entries - 1) % entries) {
      const state = this.entryAt(slot) + ENTRY.state
      if (Atomics.load(words, state) !== STATE.removed) return
      store(words, state, STATE.free)
    }
  }

  private alone<T>(write: () => T): T {
    validateWritable(this.place, this.title)
    this.take()
    try {
      return write()
    } finally {
      storeBig(this.long, WRITER_LONG, NOBODY)
    }
  }

  /** One writer at a time. One who died in the middle left nothing that is seen. */
  private take(): void {
    const { long } = this
    const start = performance.now()
    let end = start + PATIENCE
    for (let lookAt = 0; ; yieldProcessor()) {
      for (let n = 0; n < SPINS; n++) if (swapBig(long, WRITER_LONG, NOBODY, self())) return
      const now = performance.now()
      if (now < lookAt) continue
      lookAt = now + LOOK_AGAIN
      const other = Atomics.load(long, WRITER_LONG)
      if (other === NOBODY) continue
      if (!isAlive(other) && swapBig(long, WRITER_LONG, other, self())) return
      if (now <= end) continue
      end = now + PATIENCE
      if (now > start + MOST_PATIENCE || other === self() || !isBusy(other))
        throw new TalkwireError(
          'UNAVAILABLE',
          `pid ${idOf(other)} has written to ${this.title} for ${Math.round(now - start)} ms; if it is stopped, continue or end it, and try again`,
        )
    }
  }
}

interface Wanted {
  readonly bytes: Buffer
  readonly hash: number
}

const NOTHING = new Uint8Array(0)

/** FNV-1a, 32 bits. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash | 0
}
