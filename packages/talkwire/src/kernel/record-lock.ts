/**
 * Locks of a file that belong to its opening, as flock(2) has them, of the kind that meets the record locks of POSIX: fcntl(2),
 * "open file description locks". Linux. The record locks of POSIX themselves are not offered: a process loses them all as
 * soon as any descriptor of the file closes in it.
 */
import { linuxLibc, unlessBusy } from './libc.js'

const F_OFD_SETLK = 37
const F_RDLCK = 0
const F_WRLCK = 1
const F_UNLCK = 2
/** struct flock on 64 bits: short type; short whence; 4 unused; long start; long length; int pid; 4 unused. */
const BYTES = 32

const HELD = ['EAGAIN', 'EACCES']

let fcntl: ((fd: number, command: number, type: 'void *', lock: Buffer) => number) | undefined

function setLock(fd: number, type: number): boolean {
  fcntl ??= linuxLibc('a file lock').func('int fcntl(int fd, int command, ...)') as NonNullable<typeof fcntl>
  const lock = Buffer.alloc(BYTES)
  lock.writeInt16LE(type)
  const call = fcntl
  return unlessBusy('fcntl', () => call(fd, F_OFD_SETLK, 'void *', lock), HELD) !== undefined
}

/**
 * Locks all of the file without waiting: false when somebody else has it. Exclusive needs a descriptor open for writing, shared
 * one for reading. The kernel lets go when the last descriptor of this opening closes. Throws as `fs` does.
 */
export const tryRecordLock = (fd: number, exclusive: boolean): boolean => setLock(fd, exclusive ? F_WRLCK : F_RDLCK)

export const unlockRecordLock = (fd: number): void => void setLock(fd, F_UNLCK)
