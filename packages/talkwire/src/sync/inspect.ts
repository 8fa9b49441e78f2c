/** Who holds a lock and who waits, for people. */
import { readFileSync } from 'node:fs'
import { LONG, WORD } from './lock-layout.js'
import { idOf, isAlive, NOBODY } from '../memory/owner.js'
import type { Block } from './place.js'
import { waiters } from './queue.js'

export interface Party {
  /** Of the process; of a worker: of its thread. */
  readonly pid: number
  /** As it was started; empty when it has ended or is another user's. */
  readonly command: string
  /** Since when it holds or waits. */
  readonly since: Date
}

export interface LockInfo {
  readonly holder: (Party & { readonly label: string; readonly alive: boolean }) | undefined
  /** In the order in which they came. One party for all tasks of a thread; more than 29 are not listed. */
  readonly waiters: readonly Party[]
  /** An owner died within, and no one has repaired yet. */
  readonly abandoned: boolean
  /** Of the last grant; 0 before the first. */
  readonly fence: number
}

export function inspectLock(block: Block): LockInfo {
  const { word, long, float, label } = block
  const owner = Atomics.load(long, LONG.owner)
  const alive = owner !== NOBODY && isAlive(owner)
  const end = label.indexOf(0)
  return {
    holder:
      owner === NOBODY
        ? undefined
        : { ...party(owner, float[LONG.since]!), label: Buffer.from(label.subarray(0, end < 0 ? undefined : end)).toString(), alive },
    waiters: waiters(block).map(({ who, since }) => party(who, since)),
    abandoned: Atomics.load(word, WORD.damaged) !== 0 || (owner !== NOBODY && !alive),
    fence: float[LONG.fence]!,
  }
}

function party(owner: bigint, since: number): Party {
  const pid = idOf(owner)
  return { pid, command: commandOf(pid), since: new Date(since) }
}

const MOST = 200

/** As it was started; empty when it has ended. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim().slice(0, MOST)
  } catch {
    return ''
  }
}
