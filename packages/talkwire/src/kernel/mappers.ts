/** Which processes have a file mapped, as the kernel knows it: proc_pid_maps(5). Linux. */
import { readdirSync, readFileSync } from 'node:fs'

/** Their pids; without those that we may not look into (another user's). Reads a file of each process: some milliseconds. */
export function mappersOf(path: string, inode: number): number[] {
  // address perms offset dev inode path
  const ends = [` ${path}`, ` ${path} (deleted)`]
  const shows = (line: string): boolean => ends.some((end) => line.endsWith(end)) && line.split(' ', 5)[4] === String(inode)
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => mapsOf(pid).split('\n').some(shows))
    .map(Number)
}

function mapsOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8')
  } catch {
    return ''
  }
}
