/** Milliseconds between two looks at what tells nobody: short at first, never long. */
const FIRST = 1
const LAST = 32

export class Pauses {
  private pause = FIRST

  next(): number {
    const { pause } = this
    this.pause = Math.min(2 * pause, LAST)
    return pause
  }

  /** Something was there: more may follow soon. */
  reset(): void {
    this.pause = FIRST
  }
}
