/** The latest value, for many readers: docs/memory/value.md, spec/values.md. */
import { TalkwireError } from '../error.js'
import { idOf, isAlive, NOBODY, self } from './owner.js'
import {
  HEADER,
  openShared,
  padded,
  validateBytes,
  validatePlace,
  validateWritable,
  WORD,
  WRITER_LONG,
  type SharedPlace,
} from './shared-layout.js'
import { fence, store, storeBig, swapBig } from './store.js'
import { readVersion, untilSeen, writeVersion, type Versions } from './versions.js'
import { poll, ringWatchers, untilAnswered, watch, watchersIn, WATCHERS_BYTES, type ChangedOptions, type Watchers } from './watchers.js'

/** Where the buffers begin. */
const BUFFERS = HEADER + WATCHERS_BYTES

/** Bytes of memory for a value of at most so many. Throws RangeError. */
export const valueBytes = (size: number): number => BUFFERS + 2 * padded(validateBytes(size, 'a shared value'))

export class SharedValue {
  /** Bytes that a value has at most. */
  readonly size: number
  private readonly versions: Versions
  private readonly long: BigInt64Array
  private readonly watchers: Watchers
  private readonly title: string

  /** Opens it, or makes it of zeros, for at most `size` bytes. Throws INVALID_MEMORY; RangeError and TypeError for a wrong place. */
  constructor(
    private readonly place: SharedPlace,
    { size }: { readonly size?: number } = {},
  ) {
    validatePlace(place, 'a shared value')
    const { memory, offset = 0 } = place
    if (size !== undefined && offset + valueBytes(size) > memory.size)
      throw new RangeError(`a shared value of ${size} bytes needs ${valueBytes(size)} from byte ${offset} on; there are ${memory.size}`)
    const words = openShared('value', place, [[WORD.size, size]])
    this.title = `the shared value at byte ${offset} of ${memory.path}`
    this.size = Atomics.load(words, WORD.size)
    // Not rounded up before it is known to be small: near 2^31 that would be negative.
    if (this.size < 1 || this.size > memory.size || offset + BUFFERS + 2 * padded(this.size) > memory.size)
      throw new TalkwireError('INVALID_MEMORY', `${this.title} has ${this.size} bytes twice, which are not there; open all of its memory`)
    this.long = memory.array(BigInt64Array, offset, HEADER / 8)
    this.versions = {
      words,
      version: WORD.version,
      begun: WORD.begun,
      length: WORD.length,
      most: this.size,
      bytes: memory.array(Uint8Array, offset, BUFFERS + 2 * padded(this.size)),
      buffers: [BUFFERS, BUFFERS + padded(this.size)],
    }
    this.watchers = watchersIn(memory, offset + HEADER)
  }

  /** Changes with each value; 0 before the first. */
  get version(): number {
    return Atomics.load(this.versions.words, WORD.version)
  }

  /** A copy of the latest value, whole; undefined before the first. Does not block. Throws INVALID_MEMORY when none can be read. */
  read(): Uint8Array | undefined {
    return this.latest()?.value
  }

  /**
   * Resolves with the version once it is not `since` any more: 0 waits for the first value. What is written meanwhile is not
   * counted: `read()` gives the latest. Does not block, and costs nothing while nothing is written; only in memory that is
   * read-only it looks 50 times a second, because it cannot say where to ring. Rejects with DEADLINE_EXCEEDED, the signal's reason.
   */
  async changed(since: number, options: ChangedOptions = {}): Promise<number> {
    options.signal?.throwIfAborted()
    const answer = (): number | undefined => (this.version === since ? undefined : this.version)
    const { words } = this.versions
    const begin = (look: () => void): (() => void) =>
      this.place.memory.readOnly ? poll(look) : watch(this.watchers, look, () => store(words, WORD.watched, 1))
    return answer() ?? untilAnswered(this.title, answer, begin, options)
  }

  /** The value that is there, and the latest one after each change; of several changes between two steps, the last. Ends with the signal's reason. */
  async *values({ signal }: Pick<ChangedOptions, 'signal'> = {}): AsyncGenerator<Uint8Array, never> {
    for (let since = 0; ;) {
      await this.changed(since, signal ? { signal } : {})
      const { value, version } = this.latest()!
      since = version
      yield value
    }
  }

  private latest(): { readonly value: Uint8Array; readonly version: number } | undefined {
    if (this.version === 0) return undefined
    const seen = untilSeen(() => readVersion(this.versions))
    if (!seen)
      throw new TalkwireError(
        'INVALID_MEMORY',
        `${this.title} changes all the time, or is broken; is its writer the only one who writes there?`,
      )
    return seen
  }

  /** The writing end. Throws UNAVAILABLE when a living one has it. */
  writer(): ValueWriter {
    validateWritable(this.place, this.title)
    const { long } = this
    const other = Atomics.load(long, WRITER_LONG)
    if (!swapBig(long, WRITER_LONG, NOBODY, self()) && (isAlive(other) || !swapBig(long, WRITER_LONG, other, self())))
      throw new TalkwireError('UNAVAILABLE', `${this.title} has a writer already (pid ${idOf(other)}); end it, or close() it there`)
    return new ValueWriter(this.versions, this.watchers, this.title, () => storeBig(long, WRITER_LONG, NOBODY))
  }
}

export class ValueWriter implements Disposable {
  private closed = false

  constructor(
    private readonly versions: Versions,
    private readonly watchers: Watchers,
    private readonly title: string,
    private readonly leave: () => void,
  ) {}

  /** All readers see it from now on. Who dies here leaves the old value. Does not block. Throws LIMIT_EXCEEDED, CLOSED. */
  write(value: Uint8Array): void {
    if (this.closed) throw new TalkwireError('CLOSED', `this writer of ${this.title} was closed; make another one`)
    const { most } = this.versions
    if (value.length > most)
      throw new TalkwireError('LIMIT_EXCEEDED', `${value.length} bytes; ${this.title} takes ${most} at most. Make it larger`)
    writeVersion(this.versions, value)
    // After the version is there for all: whoever says from here on that it waits looks once more.
    fence()
    if (Atomics.load(this.versions.words, WORD.watched) !== 0) this.wake()
  }

  private wake(): void {
    const { words } = this.versions
    // Whoever comes from here on says so again, and whoever did before is found.
    store(words, WORD.watched, 0)
    if (ringWatchers(this.watchers)) store(words, WORD.watched, 1)
  }

  /** Lets somebody else write. A second time does nothing. */
  close(): void {
    if (this.closed) return
    this.closed = true
    this.leave()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
