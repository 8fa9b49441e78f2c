/** Where the processes of the storm note what they did: for each life of a producer the last number that it began, wrote, and that was read. */
import { ringBytes } from '../../src/memory/ring-layout.js'

export const LIVES = 16_384
export const JOURNAL = ringBytes(4096)
export const BEGUN_AT = 0
export const SENT_AT = LIVES
export const SEEN_AT = 2 * LIVES
export const SIZE = JOURNAL + 12 * LIVES
