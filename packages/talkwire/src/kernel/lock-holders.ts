/** Who has a file locked, as the kernel knows it: proc_pid_fdinfo(5), proc_locks(5). Linux. */
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { deviceText, processes } from './proc.js'

export interface LockHolder {
  readonly pid: number
  readonly shared: boolean
}

/** As /proc names them. Open file description locks and those of POSIX are one kind: they meet. */
const WORDS = { flock: ['FLOCK'], ofd: ['OFDLCK', 'POSIX'] } as const

/**
 * Those that have the locked opening of the file, each process once. /proc/locks alone knows no holder of an open file
 * description lock, and of flock(2) only who took it, which may have ended and left it to a child. It is asked for those
 * whose descriptors we may not see. Looks at each descriptor of each process: some milliseconds.
 */
export function lockHolders(path: string, kind: keyof typeof WORDS): LockHolder[] {
  const { dev, ino } = statSync(path)
  const found = new Map<number, boolean>()
  for (const [pid, shared] of fromTable(dev, ino, kind)) found.set(pid, shared)
  if (found.size === 0) return []
  for (const pid of processes())
    for (const fd of descriptorsOf(pid)) {
      const lock = isFile(`/proc/${pid}/fd/${fd}`, dev, ino) ? lockIn(text(`/proc/${pid}/fdinfo/${fd}`), kind) : undefined
      if (lock !== undefined) found.set(Number(pid), lock)
    }
  return Array.from(found, ([pid, shared]) => ({ pid, shared })).filter(({ pid }) => pid > 0 && text(`/proc/${pid}/stat`) !== '')
}

const LINE = /^\d+: (?<kind>\w+) +\S+ +(?<mode>READ|WRITE) (?<pid>-?\d+) (?<device>[\da-f]+:[\da-f]+):(?<inode>\d+) /

/** Lines of who waits begin with an arrow and do not match. */
function fromTable(dev: number, ino: number, kind: keyof typeof WORDS): [pid: number, shared: boolean][] {
  const device = deviceText(dev)
  return text('/proc/locks')
    .split('\n')
    .map((line) => LINE.exec(line)?.groups)
    .filter((lock) => lock?.['inode'] === String(ino) && lock['device'] === device && isKind(lock['kind'], kind))
    .map((lock) => [Number(lock!['pid']), lock!['mode'] === 'READ'])
}

const isKind = (word: string | undefined, kind: keyof typeof WORDS): boolean => (WORDS[kind] as readonly string[]).includes(word ?? '')

function lockIn(info: string, kind: keyof typeof WORDS): boolean | undefined {
  for (const [, word, mode] of info.matchAll(/^lock:\t\d+: (\w+) +\S+ +(READ|WRITE) /gm)) if (isKind(word, kind)) return mode === 'READ'
  return undefined
}

function descriptorsOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`)
  } catch {
    return []
  }
}

function isFile(path: string, dev: number, ino: number): boolean {
  try {
    const stat = statSync(path)
    return stat.ino === ino && stat.dev === dev
  } catch {
    return false
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}
