/**
 * Where the words of a lock are: spec/sync.md § 3. Zeroed memory is a lock that nobody has.
 *
 *   0  u32 kind        'TW', version, which kind of lock    8  i64 owner
 *   4  u32 flags                                           16  f64 fence      number of the last grant
 *  24  f64 since       of the last grant, ms since 1970    32  u32 damaged    an owner died, no one repaired yet
 *  36  u32 waiting     somebody may wait                   40  u32 sequence   given last
 *  44  u32 hungry      somebody has waited too long        48  u32 limit      permits, parties
 *  52  u32 value       of a counter, an event, a generation   56  u32 deaths  of owners within
 *  64  u8[32] label    of the owner, UTF-8
 *  96  29 waiters of 32 bytes
 *       0  i64 who     0: free          8  u32 sequence  0: not waiting (yet)    12  u32 bell
 *      16  f64 since                   24  u32 rung
 *       28  u32 mode    what it waits for, if there are kinds
 * 1024  128 slots, i64   who has a part of it: a permit, a reader's share, an arrival   (not in a mutex)
 * 2048  128 times, f64   since when, ms since 1970                                       (not in a barrier either)
 */
export const LOCK_BYTES = 1024
/** Of the largest of them. */
export const MOST_LOCK_BYTES = 3072
export const LOCK_ALIGNMENT = 8

/** Indices of 32-bit words. */
export const WORD = { kind: 0, flags: 1, damaged: 8, waiting: 9, sequence: 10, hungry: 11, limit: 12, value: 13, deaths: 14 } as const
/** Indices of 64-bit words, owners and floats alike. */
export const LONG = { owner: 1, fence: 2, since: 3 } as const
export const LABEL = { offset: 64, size: 32 } as const

export const KIND = { mutex: 1, semaphore: 2, rwlock: 3, condition: 4, barrier: 5, event: 6, once: 7 } as const
export type Kind = keyof typeof KIND
/** 'TW', layout 1. */
export const kindWord = (kind: Kind): number => 0x5457_0100 | KIND[kind]

/** Of those that have slots. */
const SLOTTED: { readonly [kind in Kind]?: number } = { semaphore: MOST_LOCK_BYTES, rwlock: MOST_LOCK_BYTES, barrier: 2048 }
export const bytesOf = (kind: Kind): number => SLOTTED[kind] ?? LOCK_BYTES

/** Bits of `flags`. */
export const FAIR = 1
export const COUNTING = 2

/** The first of the slots, and how many there are. */
export const SLOT_LONG = 128
export const SLOTS = 128
/** The time of the first of them: a 64-bit word. */
export const SLOT_SINCE = 256

export const WAITERS = 29
/** Of waiter `n`: its first 32-bit and 64-bit word. */
export const waiterWord = (n: number): number => 24 + 8 * n
export const waiterLong = (n: number): number => 12 + 4 * n
export const WAITER = { sequence: 2, bell: 3, rung: 6, mode: 7 } as const
export const WAITER_LONG = { who: 0, since: 2 } as const

/** A barrier's `value` is its generation, and in these lowest bits how many have come, or `BROKEN`. */
export const ARRIVAL_BITS = 7
export const ARRIVALS = (1 << ARRIVAL_BITS) - 1
const BROKEN = ARRIVALS
export const isBrokenState = (value: number): boolean => (value & ARRIVALS) === BROKEN
