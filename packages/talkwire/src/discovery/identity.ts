/** Which process this is, and whether another one still is the one it was: spec/names.md. */
import { readFileSync, readlinkSync } from 'node:fs'

export interface ProcessIdentity {
  readonly pid: number
  /** Field 22 of /proc/<pid>/stat; null where there is none. A pid alone may have been given to somebody else. */
  readonly start: string | null
  readonly boot: string | null
  readonly pidns: string | null
}

let own: ProcessIdentity | undefined

export function ownIdentity(): ProcessIdentity {
  return (own ??= {
    pid: process.pid,
    start: processStat(process.pid)?.start ?? null,
    boot: attempt(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()),
    pidns: attempt(() => readlinkSync('/proc/self/ns/pid')),
  })
}

function attempt(read: () => string): string | null {
  try {
    return read()
  } catch {
    return null
  }
}

/** The state letter and start time; undefined when there is no such process, or no /proc. */
export function processStat(pid: number): { state: string; start: string } | undefined {
  const text = attempt(() => readFileSync(`/proc/${pid}/stat`, 'latin1'))
  if (text === null) return undefined
  // The command, in parentheses, may itself hold spaces and parentheses.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return { state: fields[0]!, start: fields[19]! }
}

/** Whether that very process runs. A zombie does not; one in another pid namespace is taken for alive. */
export function isAlive(identity: ProcessIdentity): boolean {
  const here = ownIdentity()
  if (identity.boot !== null && here.boot !== null && identity.boot !== here.boot) return false
  if (identity.pidns !== here.pidns) return true
  const stat = processStat(identity.pid)
  if (stat) return stat.state !== 'Z' && stat.state !== 'X' && (identity.start === null || stat.start === identity.start)
  return here.start === null && signalReaches(identity.pid)
}

/** For systems without /proc. */
function signalReaches(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (reason) {
    return (reason as NodeJS.ErrnoException).code === 'EPERM'
  }
}
