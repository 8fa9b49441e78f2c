/** Both ends of a stream, with credit in bytes: spec/wire.md § 3. */
import { TalkwireError } from '../error.js'

type Resolve = (result: IteratorResult<unknown> | Promise<IteratorResult<unknown>>) => void

interface Item {
  readonly value: unknown
  readonly size: number
}

export interface ReaderOptions {
  readonly window: number
  /** Lets the sender send `bytes` more. */
  grant(bytes: number): void
  /** The consumer wants no more. */
  stop(): void
  /** The schema's validation, where there is one. */
  readonly validate?: ((value: unknown) => unknown) | undefined
  /** Nobody gets it. */
  readonly drop?: (value: unknown) => void
}

/**
 * The receiving end: an async iterator over what arrives. Holds at most `window` bytes and one item,
 * because the sender has no credit for more.
 */
export class StreamReader implements AsyncIterableIterator<unknown> {
  private readonly items: Item[] = []
  private head = 0
  private waiting: Resolve[] = []
  private failing: ((reason: unknown) => void)[] = []
  private state: 'open' | 'ended' | 'failed' | 'stopped' = 'open'
  private reason: unknown
  private credit: number
  private consumed = 0

  constructor(private readonly options: ReaderOptions) {
    this.credit = options.window
  }

  /** One element arrived. False: it came without credit. */
  push(value: unknown, size: number): boolean {
    if (this.state !== 'open') {
      this.options.drop?.(value)
      return true
    }
    if (this.credit <= 0) return false
    this.credit -= size
    const resolve = this.waiting.shift()
    if (resolve) {
      this.failing.shift()
      this.take({ value, size }, resolve)
    } else this.items.push({ value, size })
    return true
  }

  end(): void {
    if (this.state !== 'open') return
    this.state = 'ended'
    if (this.head === this.items.length) this.settle()
  }

  fail(reason: unknown): void {
    if (this.state !== 'open') return
    this.state = 'failed'
    this.reason = reason
    if (this.head === this.items.length) this.settle()
  }

  next(): Promise<IteratorResult<unknown>> {
    return new Promise((resolve, reject) => {
      const item = this.items[this.head]
      if (item) {
        this.items[this.head++] = undefined as unknown as Item
        if (this.head === this.items.length) {
          this.items.length = 0
          this.head = 0
        }
        this.take(item, resolve)
      } else if (this.state === 'open') {
        this.waiting.push(resolve)
        this.failing.push(reject)
      } else if (this.state === 'failed') {
        this.state = 'stopped'
        reject(this.reason)
      } else resolve({ done: true, value: undefined })
    })
  }

  return(): Promise<IteratorResult<unknown>> {
    const wasOpen = this.state === 'open'
    this.state = 'stopped'
    while (this.head < this.items.length) this.options.drop?.(this.items[this.head++]!.value)
    this.items.length = this.head = 0
    this.settle()
    if (wasOpen) this.options.stop()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  private take({ value, size }: Item, resolve: Resolve): void {
    this.consumed += size
    if (this.state === 'open' && this.consumed * 2 >= this.options.window) {
      this.credit += this.consumed
      this.options.grant(this.consumed)
      this.consumed = 0
    }
    const { validate } = this.options
    if (!validate) return resolve({ done: false, value })
    resolve(
      Promise.resolve()
        .then(() => validate(value))
        .then(
          (valid) => ({ done: false, value: valid }),
          (reason) => {
            this.options.drop?.(value)
            return this.refuse(reason)
          },
        ),
    )
  }

  private async refuse(reason: unknown): Promise<never> {
    await this.return()
    throw reason
  }

  private settle(): void {
    const { waiting, failing } = this
    this.waiting = []
    this.failing = []
    if (this.state === 'failed' && failing.length > 0) {
      this.state = 'stopped'
      failing.shift()!(this.reason)
      waiting.shift()
    }
    for (const resolve of waiting) resolve({ done: true, value: undefined })
  }
}

/** The sending end's account. */
export class Credit {
  private wake: (() => void) | undefined

  constructor(private available: number) {}

  spend(bytes: number): void {
    this.available -= bytes
  }

  /** Throws INVALID_MESSAGE for what is no credit. */
  add(bytes: unknown): void {
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 0) throw new TalkwireError('INVALID_MESSAGE', 'a credit is a number of bytes')
    this.available += bytes as number
    this.notify()
  }

  /** Undefined when there is credit; else resolves when `notify` is called, for whatever reason. */
  wait(): Promise<void> | undefined {
    if (this.available > 0) return undefined
    return this.pause()
  }

  pause(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve
    })
  }

  notify(): void {
    const { wake } = this
    this.wake = undefined
    wake?.()
  }
}

export interface PumpOptions {
  readonly credit: Credit
  /** Sends one element and returns its size; may throw. */
  send(value: unknown): number
  /** It is not sent. */
  readonly drop?: (value: unknown) => void
  /** A promise while the connection is full. */
  full(): Promise<void> | undefined
  readonly stopped: () => boolean
  /** Asks the iterator; by default just that. */
  readonly next?: (iterator: Iterator<unknown> | AsyncIterator<unknown>) => IteratorResult<unknown> | Promise<IteratorResult<unknown>>
}

/** Sends all of an iterable while credit lasts. Resolves true at its end, false when stopped; rejects with what it or `send` throws. The iterable is always closed. */
export async function pump(source: AsyncIterable<unknown> | Iterable<unknown>, options: PumpOptions): Promise<boolean> {
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  let finished = false
  try {
    for (;;) {
      for (let wait = options.credit.wait() ?? options.full(); wait; wait = options.credit.wait() ?? options.full()) {
        if (options.stopped()) return false
        await wait
      }
      if (options.stopped()) return false
      const step = await (options.next ? options.next(iterator) : iterator.next())
      if (options.stopped()) {
        if (!step.done) options.drop?.(step.value)
        return false
      }
      if (step.done) {
        finished = true
        return true
      }
      options.credit.spend(options.send(step.value))
    }
  } finally {
    // Not awaited: a generator that waits for something else would keep the end of the stream back.
    if (!finished) void Promise.resolve(iterator.return?.()).catch(() => {})
  }
}

export const isIterable = (value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> =>
  typeof value === 'object' &&
  value !== null &&
  (Symbol.asyncIterator in value || (Symbol.iterator in value && typeof (value as unknown as Iterator<unknown>).next === 'function'))
