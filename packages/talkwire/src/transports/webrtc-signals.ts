/** What two sides tell each other before they have a data channel, and a queue for it. Nothing of Node's: pages use it, too. */
import { TalkwireError } from '../error.js'

/** A description of one side (SDP, with the fingerprint of its certificate), or one more way to reach it. */
export type Signal = { readonly type: 'offer' | 'answer'; readonly sdp: string } | { readonly candidate: string; readonly mid: string }

/** Calls the other side: ours go there, what comes is theirs. Ends when `over` says so. */
export type Meet = (signals: AsyncIterable<Signal>, over: AbortSignal) => AsyncIterable<Signal>

/** Characters of a description and of a candidate; those of a data channel have about 500 and 100. */
const LONGEST_SDP = 16 * 1024
const LONGEST_CANDIDATE = 1024
/** Signals of one side. A machine with many networks has a few dozen candidates. */
const MOST_SIGNALS = 100

const isText = (value: unknown, longest: number): boolean => typeof value === 'string' && value.length <= longest

export function isSignal(value: unknown): value is Signal {
  const { type, sdp, candidate, mid } = (value ?? {}) as Record<string, unknown>
  if (type !== undefined) return (type === 'offer' || type === 'answer') && isText(sdp, LONGEST_SDP)
  return isText(candidate, LONGEST_CANDIDATE) && isText(mid, 64)
}

/** Each of them, checked. Throws INVALID_INPUT for what is none, LIMIT_EXCEEDED for too many, and what the source throws. */
export async function eachSignal(signals: AsyncIterable<Signal>, take: (signal: Signal) => Promise<void> | void): Promise<void> {
  let count = 0
  for await (const signal of signals) {
    if (!isSignal(signal)) throw new TalkwireError('INVALID_INPUT', 'this is no description and no candidate of WebRTC')
    if (++count > MOST_SIGNALS) throw new TalkwireError('LIMIT_EXCEEDED', `more than ${MOST_SIGNALS} descriptions and candidates`)
    await take(signal)
  }
}

/** What is pushed is iterated, by one reader. */
export interface Queue<T> extends AsyncIterable<T> {
  push(value: T): void
  /** What was pushed is still read, then it ends, or fails. Pushing after it is nothing. */
  end(reason?: unknown): void
}

export function createQueue<T>(): Queue<T> {
  const items: T[] = []
  let over: { readonly reason: unknown } | undefined
  let wake = (): void => {}
  return {
    push(value) {
      if (!over) items.push(value)
      wake()
    },
    end(reason) {
      over ??= { reason }
      wake()
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        while (items.length > 0) yield items.shift()!
        if (over) break
        await new Promise<void>((resolve) => (wake = resolve))
      }
      if (over.reason !== undefined) throw over.reason as Error
    },
  }
}
