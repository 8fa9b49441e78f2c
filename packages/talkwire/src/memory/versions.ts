/**
 * Bytes that change as a whole, in two buffers: a reader never sees half of a change, and a writer that dies in the middle of one
 * leaves what was there. spec/values.md § 2.
 */
import { yieldProcessor } from '../kernel/waiting.js'
import { fence, put, release, store } from './store.js'

export interface Versions {
  readonly words: Int32Array
  /** Indices in `words`: the version, and the version that is being written; the lengths of both buffers. */
  readonly version: number
  readonly begun: number
  readonly length: number
  /** Bytes that a value has at most. */
  readonly most: number
  readonly bytes: Uint8Array
  /** Where the buffers begin in `bytes`. */
  readonly buffers: readonly [number, number]
}

/** For the one who may write. Readers see it at once, and as a whole. */
export function writeVersion(versions: Versions, value: Uint8Array, step = 1): void {
  const { words, bytes, buffers } = versions
  const next = nextVersion(Atomics.load(words, versions.version), step)
  store(words, versions.begun, next)
  fence()
  const buffer = next & 1
  bytes.set(value, buffers[buffer])
  put(words, versions.length + buffer, value.length)
  release(words, versions.version, next)
}

/** 0 stays the version of what was never written, and odd and even take turns. */
const nextVersion = (version: number, step: number): number => (version + step) | 0 || 2

/** What a reader sees of a change at most, and the version. Undefined: it was changed twice meanwhile; look again. */
export function readVersion(versions: Versions): { readonly value: Uint8Array; readonly version: number } | undefined {
  const { words, bytes, buffers, most } = versions
  const version = Atomics.load(words, versions.version)
  const length = Atomics.load(words, versions.length + (version & 1))
  if (length < 0 || length > most) return undefined
  const start = buffers[version & 1]!
  const value = bytes.slice(start, start + length)
  fence()
  const ahead = (Atomics.load(words, versions.begun) - version) | 0
  return ahead === 0 || ahead === 1 ? { value, version } : undefined
}

const SPINS = 100
const TRIES = 10_000
/** Milliseconds. What is whole is seen long before; on a machine that is busy so many tries would take many seconds. */
const PATIENCE = 200
/** Tries between two looks at the clock. */
const A_WHILE = 64

/** Looks until `look` has an answer; undefined when that is never. */
export function untilSeen<T>(look: () => T | undefined): T | undefined {
  for (let n = 0, end = 0; n < TRIES; n++) {
    const seen = look()
    if (seen !== undefined) return seen
    if (n < SPINS) continue
    if (n === SPINS) end = performance.now() + PATIENCE
    yieldProcessor()
    if (n % A_WHILE === 0 && performance.now() > end) return undefined
  }
  return undefined
}
