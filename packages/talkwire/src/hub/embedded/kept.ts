/** Messages that are kept: of each rule a list, oldest first, whose messages stand in the log. Sans I/O. */
import { isObject, visibleInput } from './checks.js'
import type { Place } from './log-types.js'

/** How much of what matches a pattern is kept: the oldest go when one of them is reached. */
export interface KeepRule {
  readonly pattern: string
  readonly messages: number
  readonly bytes: number
  /** Milliseconds. */
  readonly age: number
}

export interface KeptMessage {
  readonly position: number
  readonly topic: string
  /** Milliseconds since 1970, for "from a time". */
  readonly time: number
  /** Hub time, for the rule's age. */
  readonly taken: number
  readonly size: number
  readonly stamp: number
  place: Place
  /** Packed; undefined: in the log. */
  bytes: Buffer | undefined
}

export class KeptList {
  private messages: KeptMessage[] = []
  private first = 0
  private bytes = 0
  /** So many left before the first. */
  dropped = 0

  constructor(public rule: KeepRule) {}

  get size(): number {
    return this.messages.length - this.first
  }

  add(message: KeptMessage): void {
    this.messages.push(message)
    this.bytes += message.size
  }

  /** Replayed out of order: what the log moved stands behind what came later. */
  sort(): void {
    this.messages.sort((one, other) => one.position - other.position)
  }

  /** What is too much or too old; told to `gone`. */
  trim(now: number, gone: (message: KeptMessage) => void): void {
    while (this.size > 0) {
      const oldest = this.messages[this.first]!
      if (this.size <= this.rule.messages && this.bytes <= this.rule.bytes && now - oldest.taken <= this.rule.age) return
      this.messages[this.first++] = undefined as unknown as KeptMessage
      this.bytes -= oldest.size
      this.dropped++
      gone(oldest)
      if (this.first >= 1024 && this.first * 2 >= this.messages.length) {
        this.messages.splice(0, this.first)
        this.first = 0
      }
    }
  }

  /** When the oldest is too old. */
  get next(): number {
    return this.size > 0 ? this.messages[this.first]!.taken + this.rule.age : Infinity
  }

  has(position: number): boolean {
    return this.after(position - 1)?.position === position
  }

  /** The first behind a position. */
  after(position: number): KeptMessage | undefined {
    return this.messages[this.search((message) => message.position > position)]
  }

  /** The position before the first that was taken at a time or later. */
  before(time: number): number | undefined {
    const found = this.messages[this.search((message) => message.time >= time)]
    return found && found.position - 1
  }

  private search(fits: (message: KeptMessage) => boolean): number {
    let low = this.first
    let high = this.messages.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (fits(this.messages[middle]!)) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** Throws INVALID_INPUT. */
export function keepRule(value: unknown): KeepRule {
  if (!isObject(value)) throw visibleInput('a rule is { pattern, messages, bytes, age }')
  const { pattern, messages = Infinity, bytes = Infinity, age = Infinity } = value
  if (typeof pattern !== 'string') throw visibleInput('a rule has a pattern, such as "orders.>"')
  for (const [name, limit] of Object.entries({ messages, bytes, age }))
    if (typeof limit !== 'number' || !(limit > 0)) throw visibleInput(`${name} of a rule is a positive number`)
  return { pattern, messages: messages as number, bytes: bytes as number, age: age as number }
}
