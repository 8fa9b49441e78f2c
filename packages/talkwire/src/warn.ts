/** Warnings a second: a peer that provokes errors must not fill the log, nor the time that writing it takes. */
const MOST_WARNINGS = 10
let second = -Infinity
let errors = 0

/** What happens to errors that nobody asked for, unless told otherwise: they are not swallowed. */
export function warn(error: unknown, what: string): void {
  const now = performance.now()
  if (now - second >= 1000) {
    if (errors > MOST_WARNINGS) process.emitWarning(`${errors - MOST_WARNINGS} more errors were not shown`, 'TalkwireWarning')
    second = now
    errors = 0
  }
  if (++errors > MOST_WARNINGS) return
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.emitWarning(`in "${what}": ${text}`, 'TalkwireWarning')
}
