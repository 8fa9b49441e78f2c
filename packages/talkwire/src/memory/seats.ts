/** Who writes and who reads a ring, and who of them sleeps: spec/rings.md § 3. */
import { TalkwireError } from '../error.js'
import { bellDescriptor, ring as ringBell } from './bell.js'
import { idOf, isAlive, NOBODY, self } from './owner.js'
import { SEAT, seatLong, SEATS, seatWord, WORD } from './ring-layout.js'
import type { OpenRing } from './ring-place.js'
import { store, storeBig, swap, swapBig } from './store.js'

export type Side = 'writers' | 'readers'

const firstOf = (side: Side): number => (side === 'writers' ? 0 : SEATS)
const sleepWord = (side: Side): number => (side === 'writers' ? WORD.writersSleep : WORD.readersSleep)

/** Of one word: eight bits of the seat, and how often it was taken, so that a dead one's word is not its successor's. */
const SEAT_MASK = 0xff
const GENERATIONS = 0x7f_ffff

/** Takes one of the first `count` seats; a dead one's too. Throws UNAVAILABLE when all are the living's. */
export function sit({ title, header, long }: OpenRing, side: Side, count: number): number {
  const first = firstOf(side)
  for (const purge of [false, true])
    for (let seat = first; seat < first + count; seat++) {
      if (purge) free(long, seat)
      if (!swapBig(long, seatLong(seat), NOBODY, self())) continue
      const at = seatWord(seat)
      store(header, at + SEAT.sleeping, 0)
      const before = Atomics.load(header, at + SEAT.generation) & GENERATIONS
      store(header, at + SEAT.generation, (before % GENERATIONS) + 1)
      return seat
    }
  const pids = Array.from({ length: count }, (_, n) => idOf(Atomics.load(long, seatLong(first + n))))
  throw new TalkwireError(
    'UNAVAILABLE',
    `${title} has ${count} of ${count} ${side} already (pid ${pids.slice(0, 5).join(', ')}); end one, or close() it there`,
  )
}

export const leave = ({ long }: OpenRing, seat: number): void => storeBig(long, seatLong(seat), NOBODY)

function free(long: BigInt64Array, seat: number): void {
  const who = Atomics.load(long, seatLong(seat))
  if (who !== NOBODY && !isAlive(who)) swapBig(long, seatLong(seat), who, NOBODY)
}

/** Says in one word who sits there now; never 0, never negative. */
export const wordOf = ({ header }: OpenRing, seat: number): number =>
  ((Atomics.load(header, seatWord(seat) + SEAT.generation) & GENERATIONS) << 8) | (seat & SEAT_MASK)

/** Whether who wrote that word sits there no more, or is dead. Reads a file below /proc. */
export function isGone(ring: OpenRing, word: number): boolean {
  const seat = word & SEAT_MASK
  if (seat >= SEATS || wordOf(ring, seat) !== word) return true
  const who = Atomics.load(ring.long, seatLong(seat))
  return who === NOBODY || !isAlive(who)
}

/** Says that somebody sleeps, who is woken in another way than by a seat's bell. Whoever publishes something from here on wakes it; so look once more after this. */
export const saySleeps = ({ header }: OpenRing, side: Side): void => store(header, sleepWord(side), 1)

/** Takes it back, for one that is about to be woken. */
export const sayAwake = ({ header }: OpenRing, side: Side): void => store(header, sleepWord(side), 0)

/** Says that this one sleeps. Whoever publishes something from here on rings; so look once more after this. */
export function lieDown({ header }: OpenRing, side: Side, seat: number): void {
  const at = seatWord(seat)
  store(header, at + SEAT.bell, bellDescriptor())
  store(header, at + SEAT.sleeping, 1)
  store(header, sleepWord(side), 1)
}

export const getUp = ({ header }: OpenRing, seat: number): void => store(header, seatWord(seat) + SEAT.sleeping, 0)

/** Rings for all that sleep. Does not block. */
export function wakeSeats({ header, long }: OpenRing, side: Side): void {
  // Whoever lies down from here on says so again, and whoever did before is found.
  store(header, sleepWord(side), 0)
  const first = firstOf(side)
  for (let seat = first; seat < first + SEATS; seat++) {
    const at = seatWord(seat)
    if (Atomics.load(header, at + SEAT.sleeping) === 0 || !swap(header, at + SEAT.sleeping, 1, 0)) continue
    const who = Atomics.load(long, seatLong(seat))
    if (who !== NOBODY) ringBell(who, Atomics.load(header, at + SEAT.bell))
  }
}
