/** Who waits for whom, and where that runs in a circle. Tasks of one thread count as one: any of them may let go. */
import { idOf, isAlive, NOBODY } from '../memory/owner.js'
import { LONG, type Kind } from './lock-layout.js'
import { availableOf, isCounting, permitsOf } from './permits.js'
import { waiters, type Words } from './queue.js'
import { ownersOf, SHARES, UPGRADER } from './slots.js'

export interface Wait {
  readonly lock: string
  /** Ids of processes, or of workers' threads. */
  readonly who: number
  readonly holders: readonly number[]
  /** One of them is enough. Otherwise all of them have to let go. */
  readonly any: boolean
  /** The same in two looks: it waited, and they held it, all the time in between. */
  readonly stamp: string
}

export interface DeadlockMember {
  readonly pid: number
  /** What the one before waits for: kind and name. */
  readonly holds: string
  readonly wants: string
}

/** Of a lock in memory. Who waits for an event, a notice, a signal or a party waits for nobody in particular. */
export function waitsIn(lock: string, kind: Kind, words: Words): Wait[] {
  const any = kind === 'semaphore'
  const fence = Atomics.load(words.long, LONG.fence)
  return waiters(words).map(({ who, sequence }) => ({
    lock,
    who: idOf(who),
    holders: heldBy(kind, words, who)
      .filter((holder) => holder !== who && isAlive(holder))
      .map(idOf),
    any,
    stamp: `${sequence} ${fence}`,
  }))
}

function heldBy(kind: Kind, words: Words, who: bigint): bigint[] {
  if (kind === 'semaphore') return isCounting(words) || availableOf(words) > 0 ? [] : ownersOf(words, permitsOf(words))
  if (kind !== 'mutex' && kind !== 'once' && kind !== 'rwlock') return []
  const owner = Atomics.load(words.long, LONG.owner)
  if (owner !== NOBODY && owner !== who) return [owner]
  if (kind !== 'rwlock') return []
  // It has the writer's word, and waits for the readers to go; or else for the one who may become the writer.
  const upgrader = ownersOf(words, UPGRADER)
  return owner === who || upgrader.length === 0 ? ownersOf(words, SHARES) : upgrader
}

/** What is in both looks, of which one began when the other had ended. */
export function lasting(first: readonly Wait[], second: readonly Wait[]): Wait[] {
  const known = new Set(first.map(keyOf))
  return second.filter((wait) => known.has(keyOf(wait)))
}

const keyOf = ({ lock, who, holders, stamp }: Wait): string => [lock, who, stamp, ...holders].join('\0')

/** Each deadlock by one circle of it; each member waits for the next one, the last for the first. */
export function deadlocksIn(waits: readonly Wait[]): DeadlockMember[][] {
  const stuck = stuckOf(waits)
  const next = new Map(stuck.map((wait) => [wait.who, wait]))
  const follow = ({ who, holders }: Wait): number => holders.find((holder) => holder !== who && next.has(holder))!
  const seen = new Set<number>()
  const circles: DeadlockMember[][] = []
  for (const start of next.keys()) {
    const path: Wait[] = []
    let who = start
    for (; !seen.has(who); who = follow(path.at(-1)!)) {
      seen.add(who)
      path.push(next.get(who)!)
    }
    const first = path.findIndex((wait) => wait.who === who)
    if (first >= 0) circles.push(membersOf(path.slice(first)))
  }
  return circles
}

const membersOf = (circle: readonly Wait[]): DeadlockMember[] =>
  circle.map(({ who, lock }, index) => ({ pid: who, holds: circle.at(index - 1)!.lock, wants: lock }))

/** The waits that nobody can end who does not wait in vain too. */
function stuckOf(waits: readonly Wait[]): Wait[] {
  let stuck = waits
  for (;;) {
    const still = new Set(stuck.map(({ who }) => who))
    const left = stuck.filter(({ who, holders, any }) => {
      const others = holders.filter((holder) => holder !== who)
      return any ? others.length > 0 && others.every((holder) => still.has(holder)) : others.some((holder) => still.has(holder))
    })
    if (left.length === stuck.length) return left
    stuck = left
  }
}
