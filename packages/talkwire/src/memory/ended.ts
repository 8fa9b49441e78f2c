/** Tells when an owner has ended: a process, or a worker's thread. */
import { closeSync } from 'node:fs'
import { onceEnded, openProcess } from '../kernel/waiting.js'
import { idOf, isAlive, NOBODY, self } from './owner.js'

/** Milliseconds between two looks at a worker's thread, for which the kernel has no descriptor. */
const LOOK = 100

/**
 * A descriptor that becomes readable when that one has ended; the caller closes it. Undefined where there is none: for nobody,
 * this very thread, the dead and other threads. Throws as `fs` does: EMFILE.
 */
export function openOwner(owner: bigint): number | undefined {
  if (owner === NOBODY || owner === self()) return undefined
  const process = openProcess(idOf(owner))
  // Its id may have been given anew before it was opened.
  if (process === undefined || isAlive(owner)) return process
  closeSync(process)
  return undefined
}

/** Calls back once, in a later turn; never for this very thread. Does not keep this process alive. Returns what ends it. Throws as `fs` does. */
export function whenEnded(owner: bigint, ended: () => void): () => void {
  if (owner === self()) return () => {}
  const process = openOwner(owner)
  if (process !== undefined) return onceEnded(process, ended)
  const timer = setInterval(
    () => {
      if (isAlive(owner)) return
      clearInterval(timer)
      ended()
    },
    isAlive(owner) ? LOOK : 0,
  ).unref()
  return () => clearInterval(timer)
}
