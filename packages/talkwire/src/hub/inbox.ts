/** What came and was not yet asked for: bounded, with a stated policy, read as an async iterator. */
import { TalkwireError } from '../error.js'

/** `wait`: the sender, or the broker, waits. `drop-oldest`: the oldest are left out, and counted. `disconnect`: the subscription ends with LIMIT_EXCEEDED. */
export type SlowPolicy = 'wait' | 'drop-oldest' | 'disconnect'

export class Inbox<T> implements AsyncIterableIterator<T> {
  /** What is read, from `first` on; what comes gathers behind it, so that neither is ever moved. */
  private reading: (T | undefined)[] = []
  private first = 0
  private coming: T[] = []
  private readers: { resolve: (result: IteratorResult<T>) => void; reject: (reason: unknown) => void }[] = []
  /** It has ended: nothing comes any more. */
  over: { readonly error: TalkwireError | undefined } | undefined
  private paused = false
  /** So many were left out since the last that was read. */
  private missed = 0

  /** `room`: called when half is free again, after `push` said false. `stop`: called once, when the reader goes or policy ends it. */
  constructor(
    private readonly limit: number,
    private readonly policy: SlowPolicy,
    private readonly hooks: { room(): void; stop(): Promise<void> },
    private readonly withLost: (item: T, lost: number) => T,
  ) {}

  get size(): number {
    return this.reading.length - this.first + this.coming.length
  }

  /** False: enough for now. */
  push(item: T): boolean {
    if (this.over) return false
    const reader = this.readers.shift()
    if (reader) {
      reader.resolve({ value: this.told(item), done: false })
      return true
    }
    this.coming.push(item)
    if (this.size < this.limit) return true
    if (this.policy === 'wait') return !(this.paused = true)
    if (this.size > this.limit) this.overflow()
    return true
  }

  lost(count: number): void {
    this.missed += count
  }

  /** What is here is still read; then the error, or the end. */
  end(error?: TalkwireError): void {
    if (this.over) return
    this.over = { error }
    for (const { resolve, reject } of this.readers.splice(0)) {
      if (error) reject(error)
      else resolve({ value: undefined, done: true })
    }
  }

  /** What is there, if something is. */
  poll(): T | undefined {
    return this.size > 0 ? this.told(this.take()) : undefined
  }

  next(): Promise<IteratorResult<T>> {
    if (this.size > 0) return Promise.resolve({ value: this.told(this.take()), done: false })
    if (this.over?.error) return Promise.reject(this.over.error)
    if (this.over) return Promise.resolve({ value: undefined, done: true })
    return new Promise((resolve, reject) => this.readers.push({ resolve, reject }))
  }

  /** Nothing more is wanted: what is here is dropped. */
  async return(): Promise<IteratorResult<T>> {
    this.reading = []
    this.coming = []
    this.first = 0
    this.end()
    await this.hooks.stop()
    return { value: undefined, done: true }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  private take(): T {
    if (this.first === this.reading.length) {
      this.reading = this.coming
      this.coming = []
      this.first = 0
    }
    const item = this.reading[this.first]!
    this.reading[this.first++] = undefined
    if (this.paused && this.size <= this.limit >> 1) {
      this.paused = false
      this.hooks.room()
    }
    return item
  }

  /** What came, with how many were left out before it. */
  told(item: T): T {
    if (this.missed === 0) return item
    const { missed } = this
    this.missed = 0
    return this.withLost(item, missed)
  }

  private overflow(): void {
    if (this.policy === 'drop-oldest') {
      this.take()
      this.missed++
      return
    }
    this.end(
      new TalkwireError(
        'LIMIT_EXCEEDED',
        `more than ${this.limit} messages waited to be read; read faster, raise buffer, or take another "slow"`,
      ),
    )
    void this.hooks.stop()
  }
}

export interface Closable<T> extends AsyncIterableIterator<T>, AsyncDisposable {
  /** Nothing comes after it resolves; a loop over it ends. */
  close(): Promise<void>
}

/** What is read with `for await`, and ended by leaving the loop or by `close`. */
export function closable<T>(next: () => Promise<IteratorResult<T>>, close: () => Promise<void>): Closable<T> {
  const iterator: Closable<T> = {
    next,
    close,
    async return() {
      await close()
      return { value: undefined, done: true }
    },
    [Symbol.asyncIterator]: () => iterator,
    [Symbol.asyncDispose]: close,
  }
  return iterator
}
