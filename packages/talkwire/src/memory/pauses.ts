/** Looking again and again at what tells nobody. */

/** Milliseconds between two looks: short at first, never long. */
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

const never = new Int32Array(new SharedArrayBuffer(4))

/** Blocks this thread, and with it the event loop. */
export const sleepSync = (milliseconds: number): void => void Atomics.wait(never, 0, 0, milliseconds)
