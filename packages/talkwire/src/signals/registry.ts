/** The processes that are to be told: a file `<dir>/<pid>` each. docs/signals.md. */
import { randomBytes } from 'node:crypto'
import { linkSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ownIdentity, processStat } from '../discovery/identity.js'
import { TalkwireError } from '../error.js'

/** A pid file, as it was seen. */
export interface Member {
  readonly pid: number
  readonly path: string
  readonly inode: bigint
  /** Nanoseconds since 1970. */
  readonly written: bigint
  /** When its process began, as field 22 of /proc/<pid>/stat, and in which boot. Undefined in a file that only exists. */
  readonly identity: { readonly start: string; readonly boot: string } | undefined
}

/** Makes it, for this user alone. Throws PERMISSION_DENIED when others could put files into it: of them, our processes would die. */
export function openRegistry(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 })
  } catch (reason) {
    const { code, message } = reason as NodeJS.ErrnoException
    if (code !== 'EEXIST')
      throw new TalkwireError('PERMISSION_DENIED', `cannot make ${directory}: ${message}; make it, or take another`, { cause: reason })
  }
  const stat = lstatSync(directory)
  const problem = !stat.isDirectory()
    ? 'is no directory'
    : stat.uid !== process.getuid?.()
      ? 'belongs to another user'
      : (stat.mode & 0o022) !== 0
        ? 'can be written by others'
        : undefined
  if (problem)
    throw new TalkwireError('PERMISSION_DENIED', `the registry ${directory} ${problem}; take one that only you can write (mode 0700)`)
}

const NAME = /^[1-9]\d{0,9}$/
/** Bytes. More is not ours, and not read. */
const MOST = 256

export const membersOf = (directory: string): Member[] =>
  readdirSync(directory)
    .filter((name) => NAME.test(name))
    .flatMap((name) => read(join(directory, name), Number(name)) ?? [])

function read(path: string, pid: number): Member | undefined {
  try {
    const { ino, mtimeNs, size, ...stat } = lstatSync(path, { bigint: true })
    if ((Number(stat.mode) & 0o170000) !== 0o100000) return undefined
    const words = size > MOST ? null : /^(\d+) ([\da-f-]{36})\s*$/.exec(readFileSync(path, 'latin1'))
    return { pid, path, inode: ino, written: mtimeNs, identity: words ? { start: words[1]!, boot: words[2]! } : undefined }
  } catch {
    return undefined
  }
}

/** Writes the file of this process. */
export function register(directory: string): string {
  const path = join(directory, String(process.pid))
  const { start, boot } = ownIdentity()
  const draft = join(directory, `.${process.pid}.${randomBytes(6).toString('hex')}`)
  writeFileSync(draft, `${start} ${boot}\n`, { mode: 0o600, flag: 'wx' })
  renameSync(draft, path)
  return path
}

export type Verdict = 'member' | 'gone' | 'somebody else'

/** Plain files that were looked at, so that setting the clock afterwards changes nothing. */
const plain = new Map<string, string>()

/** Whether the process that now has the pid is the one that registered. To be asked after its pidfd was opened. */
export function judge(member: Member): Verdict {
  const stat = processStat(member.pid)
  if (!stat || stat.state === 'Z' || stat.state === 'X') return forget(member)
  if (member.identity) return member.identity.start === stat.start && member.identity.boot === ownIdentity().boot ? 'member' : 'gone'
  const seen = `${member.inode} ${member.written} ${stat.start}`
  if (plain.get(member.path) === seen) return 'member'
  if (ageOf(stat.start) + TOLERANCE < Date.now() - Number(member.written / 1_000_000n)) return 'somebody else'
  plain.set(member.path, seen)
  return 'member'
}

function forget({ path }: Member): 'gone' {
  plain.delete(path)
  return 'gone'
}

/** Milliseconds: what the clocks of processes, files and ours are apart. No pid is given again that soon. */
const TOLERANCE = 100

/** Milliseconds since a process began. /proc counts in hundredths of a second. */
const ageOf = (start: string): number => Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000 - Number(start) * 10

/** Removes the file if it still is that one, and not one of a new process with the same pid. */
export function removeFile({ path, inode, written }: Pick<Member, 'path' | 'inode' | 'written'>): void {
  const aside = join(path, '..', `.${randomBytes(6).toString('hex')}`)
  try {
    renameSync(path, aside)
    const now = lstatSync(aside, { bigint: true })
    if (now.ino !== inode || now.mtimeNs !== written) linkSync(aside, path)
  } catch (reason) {
    // Somebody else removed it, or a newer one is there already.
    if (!['ENOENT', 'EEXIST'].includes((reason as NodeJS.ErrnoException).code ?? '')) throw reason
  }
  try {
    unlinkSync(aside)
  } catch {}
}
