/** Typed arrays of any number of dimensions that several processes share: docs/memory/shared-array.md, spec/memory.md § 3. */
import { fchmodSync, fstatSync } from 'node:fs'
import { TalkwireError } from '../error.js'
import { ARRAYS } from '../dtypes.js'
import {
  encodeHeader,
  HEADER_BYTES,
  headerFor,
  parseHeader,
  WATCHERS_AT,
  WORD,
  type ArrayHeader,
  type ArrayOf,
  type SharedDType,
} from './array-layout.js'
import { unless } from './errors.js'
import { SharedMemory, type CreateOptions } from './shared-memory.js'
import { add, store } from './store.js'
import type { ViewConstructor } from './view.js'
import { poll, ringWatchers, untilAnswered, watch, watchersIn, type ChangedOptions, type Watchers } from './watchers.js'

export interface ArrayOpenOptions<D extends SharedDType> {
  /** What is there has this element type; INVALID_MEMORY when it has another one. */
  readonly dtype?: D
  /** Then a write to it ends the process (SIGSEGV), because JavaScript has no arrays that refuse writes. */
  readonly readOnly?: boolean
}

export class SharedArray<D extends SharedDType = SharedDType> implements Disposable {
  private headerWords: Int32Array | undefined
  private watchers: Watchers | undefined
  private elements: ArrayOf<D> | undefined
  /** Those who wait in `changed`. */
  private readonly waiting = new Set<() => void>()

  private constructor(
    /** What it is in. Its bytes begin with a header of 512. */
    readonly memory: SharedMemory,
    private readonly header: ArrayHeader,
  ) {
    this.headerWords = memory.array(Int32Array, 0, HEADER_BYTES / 4)
    this.watchers = watchersIn(memory, WATCHERS_AT)
  }

  /** A new one of zeros, under a name that nobody has. Throws what `SharedMemory.create` throws; RangeError and TypeError for a wrong shape. */
  static create<D extends SharedDType>(
    name: string,
    dtype: D,
    shape: number | readonly number[],
    options: Omit<CreateOptions, 'content'> = {},
  ): SharedArray<D> {
    const header = headerFor(dtype, [shape].flat())
    const content = encodeHeader(header)
    return new SharedArray<D>(SharedMemory.create(name, HEADER_BYTES + header.bytes, { ...options, content }), header)
  }

  /** A new one of zeros without a name; others attach the `path` of its `memory`. */
  static anonymous<D extends SharedDType>(dtype: D, shape: number | readonly number[]): SharedArray<D> {
    const header = headerFor(dtype, [shape].flat())
    const memory = SharedMemory.anonymous(HEADER_BYTES + header.bytes)
    memory.array(Uint8Array, 0, HEADER_BYTES).set(encodeHeader(header))
    return new SharedArray<D>(memory, header)
  }

  /**
   * Opens what is there. Throws what `SharedMemory.open` throws; INVALID_MEMORY when it is no shared array, or one of another
   * type; PERMISSION_DENIED when it is sealed and not opened with `readOnly`.
   */
  static open<D extends SharedDType = SharedDType>(name: string, options: ArrayOpenOptions<D> = {}): SharedArray<D> {
    try {
      return SharedArray.in(SharedMemory.open(name, options), options)
    } catch (reason) {
      // A sealed one cannot even be opened: say so, and not that a mode is wrong.
      if (reason instanceof TalkwireError && reason.code === 'PERMISSION_DENIED' && !options.readOnly) {
        using reader = unless('PERMISSION_DENIED', () => SharedArray.open<D>(name, { ...options, readOnly: true }))
        if (reader?.sealed) throw sealed(name, reason)
      }
      throw reason
    }
  }

  /** Opens anonymous memory by its path or a descriptor. Throws what `SharedMemory.attach` and `open` throw. */
  static attach<D extends SharedDType = SharedDType>(from: string | number, options: ArrayOpenOptions<D> = {}): SharedArray<D> {
    return SharedArray.in(SharedMemory.attach(from, options), options)
  }

  private static in<D extends SharedDType>(memory: SharedMemory, { dtype, readOnly = false }: ArrayOpenOptions<D>): SharedArray<D> {
    try {
      // One copy, which nobody changes any more, is looked at.
      const header = parseHeader(memory.array(Uint8Array, 0, Math.min(HEADER_BYTES, memory.size)).slice(), memory.size)
      if (dtype !== undefined && header.dtype !== dtype)
        throw new TalkwireError('INVALID_MEMORY', `the elements of ${memory.path} are ${header.dtype}, not ${dtype}`)
      const array = new SharedArray<D>(memory, header)
      if (array.sealed && !readOnly) throw sealed(memory.path)
      return array
    } catch (reason) {
      memory.close()
      throw reason
    }
  }

  /** Throws CLOSED. */
  private get words(): Int32Array {
    if (this.headerWords) return this.headerWords
    throw new TalkwireError('CLOSED', `${this.memory.path} was closed; open it again`)
  }

  get dtype(): D {
    return this.header.dtype as D
  }

  get shape(): readonly number[] {
    return this.header.shape
  }

  /** For each dimension, from one element to the next: indices of `values`. */
  get strides(): readonly number[] {
    return this.header.strides.map((stride) => stride / ARRAYS[this.dtype].BYTES_PER_ELEMENT)
  }

  /** All elements in the order of the memory, not a copy: element [i, j] is at i · strides[0] + j · strides[1]. Throws CLOSED. */
  get values(): ArrayOf<D> {
    const { offset, bytes, dtype } = this.header
    const constructor = ARRAYS[dtype] as unknown as ViewConstructor<ArrayOf<D>> & { BYTES_PER_ELEMENT: number }
    return (this.elements ??= this.memory.array(constructor, offset, bytes / constructor.BYTES_PER_ELEMENT))
  }

  /** How often something was published: 0 to 2³² − 1, and 0 again. Throws CLOSED. */
  get generation(): number {
    return Atomics.load(this.words, WORD.generation) >>> 0
  }

  /** Nobody writes to it any more. Throws INVALID_MEMORY, CLOSED. */
  get sealed(): boolean {
    const word = Atomics.load(this.words, WORD.sealed)
    if (word === 0 || word === 1) return word === 1
    throw new TalkwireError('INVALID_MEMORY', `the header of ${this.memory.path} was overwritten; unlink it`)
  }

  /** Says that what was written is complete. Wakes who waits for it. Returns the new generation. Throws PERMISSION_DENIED when it is sealed or read-only. */
  publish(): number {
    this.validateWritable()
    return this.next()
  }

  /**
   * Nobody shall write to it any more: who opens it from now on gets it for reading only, of a named one also from the kernel.
   * Arrays that writers have already cannot be taken away from them. Throws PERMISSION_DENIED when it is read-only.
   */
  seal(): void {
    if (this.sealed && this.memory.readOnly) return
    if (!this.sealed) this.validateWritable()
    store(this.words, WORD.sealed, 1)
    this.next()
    if (this.memory.name !== undefined) fchmodSync(this.memory.fd, fstatSync(this.memory.fd).mode & 0o555)
  }

  private validateWritable(): void {
    if (this.sealed) throw sealed(this.memory.path)
    if (this.memory.readOnly)
      throw new TalkwireError('PERMISSION_DENIED', `${this.memory.path} was opened with readOnly; open it without to publish`)
  }

  private next(): number {
    const generation = add(this.words, WORD.generation, 1) + 1
    ringWatchers(this.watchers!)
    return generation >>> 0
  }

  /**
   * Resolves with the generation once it is not `since` any more, or the array is sealed. Does not block, costs nothing
   * meanwhile; only who opened it with `readOnly` looks 50 times a second, because it cannot say where to ring. Throws
   * DEADLINE_EXCEEDED, CLOSED when it is closed meanwhile, INVALID_MEMORY, the signal's reason.
   */
  async changed(since: number, options: ChangedOptions = {}): Promise<number> {
    options.signal?.throwIfAborted()
    const answer = (): number | undefined => (this.generation !== since || this.sealed ? this.generation : undefined)
    const begin = (look: () => void): (() => void) => {
      this.waiting.add(look)
      const stop = this.memory.readOnly ? poll(look) : watch(this.watchers!, look)
      return () => {
        this.waiting.delete(look)
        stop()
      }
    }
    return answer() ?? untilAnswered(this.memory.path, answer, begin, options)
  }

  /** Arrays that are still reachable, or were not collected yet, those of the header included; they keep it mapped. */
  get held(): number {
    return this.memory.held
  }

  /** As `SharedMemory.close`. */
  close(): number {
    this.elements = undefined
    this.headerWords = undefined
    this.watchers = undefined
    for (const look of this.waiting) look()
    return this.memory.close()
  }

  /** As `SharedMemory.unlink`. */
  unlink(): void {
    this.memory.unlink()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

const sealed = (what: string, cause?: unknown): TalkwireError =>
  new TalkwireError('PERMISSION_DENIED', `${what} is sealed; open it with { readOnly: true }`, { cause })
