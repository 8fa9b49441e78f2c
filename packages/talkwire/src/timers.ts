/** The longest that Node's timers and those of browsers count, milliseconds. Longer ones fire at once. */
export const MAX_TIMER = 2 ** 31 - 1

/** Runs it in so many milliseconds, at most MAX_TIMER; undefined, Infinity: never. */
export const after = (milliseconds: number | undefined, run: () => void) =>
  milliseconds === undefined || milliseconds === Infinity ? undefined : setTimeout(run, Math.min(milliseconds, MAX_TIMER))
