/** Requests of one turn go in one call; while some calls are under way, what is asked gathers for the next. */
import { TalkwireError } from '../../../error.js'
import type { OpError } from '../../embedded/ops.js'

/** Calls under way; then requests gather. More would make smaller calls, and the hub slower. */
const UNDER_WAY = 2
/** Requests and bytes of one call. */
const MOST = 2000
const MOST_BYTES = 256 * 1024
/** What is as large as this gains nothing from company: it leaves at once, also beside others, as long as no more bytes than these are under way. */
const LARGE = MOST_BYTES / 2
const BYTES_UNDER_WAY = 4 * MOST_BYTES

export type Send = (requests: readonly (readonly unknown[])[]) => Promise<readonly unknown[]>

interface Request {
  readonly words: readonly unknown[]
  readonly size: number
  readonly resolve: (answer: unknown) => void
  readonly reject: (reason: unknown) => void
}

export class Lane {
  private waiting: Request[] = []
  private underWay = 0
  private bytesUnderWay = 0
  private planned = false
  private idle: (() => void)[] = []

  constructor(private readonly send: Send) {}

  /** `size`: bytes of its bodies. */
  ask<T>(words: readonly unknown[], size = 0): Promise<T> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ words, size, resolve: resolve as (answer: unknown) => void, reject })
      if (size >= LARGE && this.bytesUnderWay < BYTES_UNDER_WAY) this.leave()
      else this.plan()
    })
  }

  /** Resolves when nothing is asked and under way. */
  settled(): Promise<void> {
    if (this.waiting.length === 0 && this.underWay === 0) return Promise.resolve()
    return new Promise((resolve) => this.idle.push(resolve))
  }

  private plan(): void {
    if (this.planned || this.underWay >= UNDER_WAY) return
    this.planned = true
    process.nextTick(() => {
      this.planned = false
      while (this.waiting.length > 0 && this.underWay < UNDER_WAY) this.leave()
    })
  }

  private leave(): void {
    let count = 0
    let bytes = 0
    for (; count < this.waiting.length && count < MOST && (count === 0 || bytes + this.waiting[count]!.size <= MOST_BYTES); count++)
      bytes += this.waiting[count]!.size
    const requests = count === this.waiting.length ? this.waiting : this.waiting.splice(0, count)
    if (requests === this.waiting) this.waiting = []
    this.underWay++
    this.bytesUnderWay += bytes
    this.send(requests.map(({ words }) => words)).then(
      (answers) => {
        this.back(bytes)
        for (const [index, { resolve, reject }] of requests.entries()) {
          const answer = answers[index]
          if (isError(answer)) reject(new TalkwireError(answer.code, answer.message, { outcome: 'ran' }))
          else resolve(answer)
        }
      },
      (reason: unknown) => {
        this.back(bytes)
        for (const { reject } of requests) reject(reason)
      },
    )
  }

  private back(bytes: number): void {
    this.underWay--
    this.bytesUnderWay -= bytes
    if (this.waiting.length > 0) this.plan()
    else if (this.underWay === 0) for (const resolve of this.idle.splice(0)) resolve()
  }
}

/** Every other answer is a number, a list, true, false or null. */
const isError = (answer: unknown): answer is OpError =>
  typeof answer === 'object' && answer !== null && !Array.isArray(answer) && typeof (answer as OpError).code === 'string'
