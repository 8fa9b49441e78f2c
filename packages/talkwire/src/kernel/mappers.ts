/** Which processes have which file mapped, as the kernel knows it: proc_pid_maps(5). Linux. */
import { readFileSync } from 'node:fs'
import { deviceText, processes } from './proc.js'

export interface Mappers {
  /** Their pids. */
  of(file: { readonly dev: number; readonly ino: number }): readonly number[]
  /** There are processes that we may not look into: another user's. */
  readonly hidden: boolean
}

/** Looks into every process: some milliseconds. By device and inode, because a name may differ in another mount namespace. */
export function findMappers(): Mappers {
  const found = new Map<string, number[]>()
  let hidden = false
  for (const pid of processes()) {
    const text = mapsOf(pid)
    if (text === undefined) hidden = true
    else for (const file of new Set(filesIn(text))) found.set(file, [...(found.get(file) ?? []), Number(pid)])
  }
  return { of: ({ dev, ino }) => found.get(`${deviceText(dev)} ${ino}`) ?? [], hidden }
}

/** `device inode` of each line: address perms offset dev inode path. */
const filesIn = (maps: string): string[] => Array.from(maps.matchAll(/^\S+ \S+ \S+ (\S+ \d+)/gm), ([, file]) => file!)

/** Empty for a process that is gone; undefined for one that keeps us out. */
function mapsOf(pid: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8')
  } catch (reason) {
    const { code } = reason as NodeJS.ErrnoException
    return code === 'EACCES' || code === 'EPERM' ? undefined : ''
  }
}
