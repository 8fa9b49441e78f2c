/** Who has files locked and who waits for that, as the kernel knows it: proc_locks(5), proc_pid_fdinfo(5), inotify(7). Linux. */
import { readdirSync, readFileSync, readlinkSync, statSync, type Stats } from 'node:fs'
import { EVENT } from './inotify.js'
import { deviceText, processes } from './proc.js'

/** Open file description locks and those of POSIX are one kind: they meet. */
export type FileLockKind = 'flock' | 'ofd'

export interface LockHolder {
  readonly pid: number
  readonly shared: boolean
}

export interface LockedFile {
  readonly kind: FileLockKind
  /** As one who has it open sees it; undefined when those may not be looked into. */
  readonly path: string | undefined
  readonly holders: readonly LockHolder[]
  /** Pids of those that block in the kernel, and of those that wait for its closing with inotify, as `FileLock` does. */
  readonly waiters: readonly number[]
}

/** As /proc names them. */
const KINDS: Readonly<Record<string, FileLockKind>> = { FLOCK: 'flock', OFDLCK: 'ofd', POSIX: 'ofd' }
const LINE = /\d+: (?<waits>-> )?(?<word>\w+) +\S+ +(?<mode>READ|WRITE) +(?<pid>-?\d+) (?<device>[\da-f]+:[\da-f]+):(?<inode>\d+) /g

interface Found {
  readonly kind: FileLockKind
  path: string | undefined
  readonly holders: Map<number, boolean>
  readonly waiters: Set<number>
}

/** All of this machine. Looks at each descriptor of each process: some milliseconds. */
export function lockedFiles(): LockedFile[] {
  return Array.from(scan().values(), toLockedFile)
}

/** One of them; without holders when nobody has it. */
export function lockedFile(stat: Stats, kind: FileLockKind): LockedFile {
  const found = scan().get(`${kind} ${fileOf(stat)}`)
  return found ? toLockedFile(found) : { kind, path: undefined, holders: [], waiters: [] }
}

/** Pids of those who watch a file for exactly these events. */
export function watchersOf(stat: Stats, mask: number): number[] {
  const file = fileOf(stat)
  const pids = new Set<number>()
  for (const { pid, info } of descriptors(() => false)) if (watchesIn(info, mask).includes(file)) pids.add(pid)
  return [...pids]
}

const fileOf = ({ dev, ino }: Stats): string => `${deviceText(dev)}:${ino}`

/**
 * /proc/locks alone knows no holder of an open file description lock, and of flock(2) only who took it, which may have ended
 * and left it to a child. It is asked for those whose descriptors we may not see.
 */
function scan(): Map<string, Found> {
  const files = new Map<string, Found>()
  for (const { kind, file, pid, shared, waits } of locksIn(text('/proc/locks'))) {
    const found = files.get(`${kind} ${file}`) ?? { kind, path: undefined, holders: new Map(), waiters: new Set() }
    files.set(`${kind} ${file}`, found)
    if (waits) found.waiters.add(pid)
    else found.holders.set(pid, shared)
  }
  const isLocked = (file: string): boolean => files.has(`flock ${file}`) || files.has(`ofd ${file}`)
  if (files.size > 0) for (const descriptor of descriptors(isLocked)) complete(files, descriptor)
  return files
}

function complete(files: ReadonlyMap<string, Found>, { pid, path, info }: Descriptor): void {
  for (const { kind, file, shared } of locksIn(info)) {
    const found = files.get(`${kind} ${file}`)
    found?.holders.set(pid, shared)
    if (found) found.path ??= path
  }
  for (const file of watchesIn(info, EVENT.closed)) for (const kind of ['flock', 'ofd']) files.get(`${kind} ${file}`)?.waiters.add(pid)
}

const toLockedFile = ({ kind, path, holders, waiters }: Found): LockedFile => ({
  kind,
  path,
  holders: Array.from(holders, ([pid, shared]) => ({ pid, shared })).filter(({ pid }) => isThere(pid)),
  waiters: [...waiters].filter(isThere),
})

/** -1 and 0 stand for those whom the kernel does not name to us. */
const isThere = (pid: number): boolean => pid > 0 && text(`/proc/${pid}/stat`) !== ''

interface Line extends LockHolder {
  readonly kind: FileLockKind
  readonly file: string
  readonly waits: boolean
}

function locksIn(lines: string): Line[] {
  return Array.from(lines.matchAll(LINE), ({ groups }) => groups!)
    .filter(({ word }) => KINDS[word!] !== undefined)
    .map(({ word, mode, pid, device, inode, waits }) => ({
      kind: KINDS[word!]!,
      file: `${device}:${inode}`,
      pid: Number(pid),
      shared: mode === 'READ',
      waits: waits !== undefined,
    }))
}

/** Files that an inotify descriptor watches for exactly these events. The kernel packs the device in its own way. */
function watchesIn(info: string, mask: number): string[] {
  const hex = (number: number): string => number.toString(16).padStart(2, '0')
  return Array.from(info.matchAll(/^inotify wd:\S+ ino:(\S+) sdev:(\S+) mask:(\S+) /gm), (match) =>
    match.slice(1).map((part) => parseInt(part, 16)),
  )
    .filter(([, , watched]) => watched === mask)
    .map(([inode, device]) => `${hex(device! >>> 20)}:${hex(device! & 0xfffff)}:${inode}`)
}

interface Descriptor {
  readonly pid: number
  readonly path: string
  /** Of fdinfo. */
  readonly info: string
}

const INOTIFY = 'anon_inode:inotify'

/** Those that watch files, and those of the files themselves. Most are neither. */
function* descriptors(isWanted: (file: string) => boolean): Iterable<Descriptor> {
  for (const pid of processes())
    for (const fd of descriptorsOf(pid)) {
      const at = `/proc/${pid}/fd/${fd}`
      const path = linkOf(at)
      if (path === INOTIFY || (path?.startsWith('/') && isFile(at, isWanted)))
        yield { pid: Number(pid), path, info: text(`/proc/${pid}/fdinfo/${fd}`) }
    }
}

function descriptorsOf(pid: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`)
  } catch {
    return []
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}

function isFile(path: string, isWanted: (file: string) => boolean): boolean {
  try {
    return isWanted(fileOf(statSync(path)))
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
