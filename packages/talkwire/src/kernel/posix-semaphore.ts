/** Named semaphores of POSIX, without waiting: sem_overview(7). */
import { constants } from 'node:fs'
import { errno, linuxLibc, restarting, systemError, unlessBusy } from './libc.js'

/** Where the C library keeps it; of no use but to look at. */
export const pathOfSemaphore = (name: string): string => `/dev/shm/sem.${name}`

/** What sem_t takes on 64 bits; a file with less would be a SIGBUS. */
export const SEMAPHORE_BYTES = 32
/** SEM_VALUE_MAX. */
export const MOST_PERMITS = 2 ** 31 - 1

/** Where it is mapped. It stays so until the process ends. */
export type PosixHandle = bigint

interface Calls {
  sem_open(name: string, flags: number, ...creation: (string | number)[]): PosixHandle | null
  sem_trywait(semaphore: PosixHandle): number
  sem_post(semaphore: PosixHandle): number
  sem_getvalue(semaphore: PosixHandle, value: Int32Array): number
  sem_unlink(name: string): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('a semaphore')
  return (calls = {
    sem_open: c.func('void *sem_open(const char *name, int flags, ...)') as Calls['sem_open'],
    sem_trywait: c.func('int sem_trywait(void *semaphore)') as Calls['sem_trywait'],
    sem_post: c.func('int sem_post(void *semaphore)') as Calls['sem_post'],
    sem_getvalue: c.func('int sem_getvalue(void *semaphore, _Out_ int *value)') as Calls['sem_getvalue'],
    sem_unlink: c.func('int sem_unlink(const char *name)') as Calls['sem_unlink'],
  })
}

/** Opens it; with `permits` it is made if it is not there. Throws as `fs` does: ENOENT, EACCES. */
export function openPosix(name: string, permits: number | undefined, mode: number): PosixHandle {
  const library = native()
  for (;;) {
    const handle =
      permits === undefined
        ? library.sem_open(`/${name}`, 0)
        : library.sem_open(`/${name}`, constants.O_CREAT, 'unsigned int', mode, 'unsigned int', permits)
    if (handle) return handle
    const code = errno()
    if (code !== 'EINTR') throw systemError('sem_open', code, name)
  }
}

/** False when there is no permit. */
export function tryPosix(semaphore: PosixHandle): boolean {
  return unlessBusy('sem_trywait', () => native().sem_trywait(semaphore)) !== undefined
}

/** Throws as `fs` does: EOVERFLOW. */
export const postPosix = (semaphore: PosixHandle): void => void restarting('sem_post', () => native().sem_post(semaphore))

export function valueOfPosix(semaphore: PosixHandle): number {
  const value = new Int32Array(1)
  native().sem_getvalue(semaphore, value)
  return value[0]!
}

/** Throws as `fs` does: ENOENT, EACCES. */
export const unlinkPosix = (name: string): void => void restarting('sem_unlink', () => native().sem_unlink(`/${name}`), name)
