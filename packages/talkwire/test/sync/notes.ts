/** Where two processes tell each other what they do, in words of shared memory. */
export const NOTE = {
  /** 1 while that one is within. */
  actor: 0,
  other: 1,
  /** How often somebody found another one within. */
  wrong: 2,
  /** How often something was done. */
  done: 3,
} as const
