/** What a session does over a wire that loses messages: it repeats what may be repeated, and remembers what it answered. */
import { TalkwireError } from '../error.js'
import type { Id, Kind } from '../protocols/message.js'

/** Milliseconds until a call is sent again: the first time, then twice as long each time up to the last. */
const FIRST = 50
const LAST = 1000
/** Milliseconds that a call without a deadline waits, so that each settles. */
const PATIENCE = 10_000

/** Calls `again` at growing pauses, and `late` once when nothing came for long. Returns what ends that. */
export function insist(again: () => void, late: (() => void) | undefined): () => void {
  let pause = FIRST
  let timer: NodeJS.Timeout
  const wait = (): void => {
    // Not all at the same moment: together they would be lost again.
    timer = setTimeout(repeat, pause * (0.75 + Math.random() / 2))
    pause = Math.min(2 * pause, LAST)
  }
  const repeat = (): void => {
    again()
    wait()
  }
  wait()
  const limit = late && setTimeout(late, PATIENCE)
  return () => {
    clearTimeout(timer)
    clearTimeout(limit)
  }
}

export const unanswered = (method: string, repeated: boolean): TalkwireError =>
  new TalkwireError(
    'DEADLINE_EXCEEDED',
    `"${method}" was not answered within ${PATIENCE} ms over a wire that loses messages; ${repeated ? 'see whether the other side runs' : 'declare it idempotent if it may be repeated'}, or pass timeout`,
    { outcome: 'maybe-ran' },
  )

/** How many answers are kept for questions that come again. One has 64 KiB at most. */
const KEPT = 64

interface Answer {
  readonly kind: typeof Kind.result | typeof Kind.error
  readonly value: unknown
}

/** The last answers of one connection, so that what comes again is not run again. */
export class Answers {
  private readonly answers = new Map<Id, Answer>()

  keep(id: Id, kind: Answer['kind'], value: unknown): void {
    this.answers.set(id, { kind, value })
    if (this.answers.size <= KEPT) return
    const [oldest] = this.answers.keys()
    this.answers.delete(oldest!)
  }

  of(id: Id): Answer | undefined {
    return this.answers.get(id)
  }
}
