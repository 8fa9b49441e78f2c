/** What can wait, a piece in each turn of the event loop. */

/** As many as take a few milliseconds. */
const A_TURN = 64

const waiting: (() => void)[] = []

/** Runs `action` in a later turn, after what was given before and together with few others. It must not throw. */
export function later(action: () => void): void {
  waiting.push(action)
  if (waiting.length === 1) setImmediate(run)
}

function run(): void {
  const now = waiting.splice(0, A_TURN)
  for (const action of now) action()
  if (waiting.length > 0) setImmediate(run)
}
