/** What stands in a lock file: who has it, and a token that no other grant ever has. */
import { randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { isAlive, ownIdentity, processStat, type ProcessIdentity } from '../discovery/identity.js'
import { idOf, self } from '../memory/owner.js'

export interface LockText extends ProcessIdentity {
  readonly talkwire: 1
  readonly token: string
  /** Of which machine the pid is. */
  readonly host: string
  /** Milliseconds since 1970. */
  readonly since: number
}

let machine: string | undefined

/** Its name alone may be that of several. */
function thisMachine(): string {
  if (machine !== undefined) return machine
  let id = ''
  try {
    id = readFileSync('/etc/machine-id', 'utf8').trim()
  } catch {}
  return (machine = `${hostname()} ${id}`.trim())
}

/** For a new grant. The pid of a worker is that of its thread, which may end before the process does. */
export function newText(): LockText {
  const pid = process.platform === 'linux' ? idOf(self()) : process.pid
  const token = randomBytes(12).toString('hex')
  return { talkwire: 1, token, ...ownIdentity(), pid, start: processStat(pid)?.start ?? null, host: thisMachine(), since: Date.now() }
}

/** More is none of ours. */
const MOST = 4096

/** Undefined when there is no such file; null when it says nothing that we understand. Throws as `fs` does. */
export function readText(path: string): LockText | null | undefined {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (reason) {
    const { code } = reason as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP' || code === 'ENXIO') return null
    throw reason
  }
  try {
    const stat = fstatSync(fd)
    return stat.isFile() && stat.size <= MOST ? parseText(readFileSync(fd, 'utf8')) : null
  } finally {
    closeSync(fd)
  }
}

function parseText(text: string): LockText | null {
  try {
    const value = JSON.parse(text) as Partial<Record<keyof LockText, unknown>> | null
    const textOrNull = (item: unknown): boolean => item === null || typeof item === 'string'
    const valid =
      value?.talkwire === 1 &&
      /^[0-9a-f]{24}$/.test(String(value.token)) &&
      Number.isSafeInteger(value.pid) &&
      typeof value.host === 'string' &&
      typeof value.since === 'number' &&
      [value.start, value.boot, value.pidns].every(textOrNull)
    return valid ? (value as unknown as LockText) : null
  } catch {
    return null
  }
}

/** Whether who wrote it certainly is no more. Of another machine nobody here can know. */
export const isDead = (text: LockText): boolean => text.host === thisMachine() && !isAlive(text)
