import { readdirSync, readlinkSync } from 'node:fs'

/** The descriptors that a process holds, and what they are of. */
export function descriptorsOf(pid: number | 'self'): Map<number, string> {
  const folder = `/proc/${pid}/fd`
  const found = new Map<number, string>()
  for (const fd of readdirSync(folder)) {
    try {
      found.set(Number(fd), readlinkSync(`${folder}/${fd}`))
    } catch {
      // The one that read the folder, or one that was closed meanwhile: a program that starts reads this and that.
    }
  }
  return found
}
