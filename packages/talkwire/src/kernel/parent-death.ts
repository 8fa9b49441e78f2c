/** prctl(2), PR_SET_PDEATHSIG: the kernel tells this process when its parent is gone, even while JavaScript is busy. Linux. */
import { libc } from './libc.js'

const PR_SET_PDEATHSIG = 1
const SIGTERM = 15

/** SIGTERM for this process when its parent dies. False where the kernel or koffi cannot do that. Does not block. */
export function dieWithParent(): boolean {
  const prctl =
    process.platform === 'linux'
      ? (libc()?.func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)') as
          | ((...args: number[]) => number)
          | undefined)
      : undefined
  return prctl?.(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) === 0
}
