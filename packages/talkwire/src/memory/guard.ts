/**
 * Who may take names of shared memory away, one at a time: spec/memory.md § 2. Between looking whose a name is and taking it
 * away, nobody else of this user does so; other users cannot (/dev/shm is sticky).
 */
import { closeSync, constants, openSync } from 'node:fs'
import { join } from 'node:path'
import { TalkwireError } from '../error.js'
import { tryFlock } from '../kernel/mapping.js'
import { sleepSync } from './pauses.js'
import { recordDirectory } from './record.js'

/** Longer than anybody needs who is not stopped. */
const PATIENCE = 1000

/** Runs it as the only one. Throws UNAVAILABLE when another process that does so is stopped. Blocks for a few system calls. */
export function exclusively<T>(action: () => T): T {
  const path = lockPath()
  if (path === undefined) return action()
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    if (patiently(() => tryFlock(fd, true))) return action()
  } finally {
    closeSync(fd)
  }
  throw new TalkwireError('UNAVAILABLE', `${path} is locked by another process; let that one go on (SIGCONT), or end it`)
}

/** Undefined when there is no such directory and none can be made: a process that ends must be able to tidy up still. */
function lockPath(): string | undefined {
  try {
    return join(recordDirectory(), 'lock')
  } catch {
    return undefined
  }
}

/** Asks until it is so; false after a second. Blocks meanwhile. */
export function patiently(holds: () => boolean): boolean {
  for (const end = performance.now() + PATIENCE; !holds(); sleepSync(1)) if (performance.now() > end) return false
  return true
}
