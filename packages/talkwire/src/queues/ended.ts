/** Tells when a process has ended, or a worker's thread. */
import { closeSync } from 'node:fs'
import { onceEnded, openProcess } from '../kernel/waiting.js'
import { idOf, isAlive, self } from '../memory/owner.js'

/** Milliseconds between two looks at a worker's thread, for which the kernel has no descriptor. */
const LOOK = 1000

/** Calls back once, in a later turn. Does not keep this process alive. Returns what ends it. */
export function whenEnded(owner: bigint, ended: () => void): () => void {
  if (owner === self()) return () => {}
  const process = openProcess(idOf(owner))
  if (process !== undefined && isAlive(owner)) return onceEnded(process, ended)
  if (process !== undefined) closeSync(process)
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
