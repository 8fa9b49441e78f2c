/** Semaphores of System V, without waiting: semget(2), semop(2), semctl(2), sysvipc(7). Linux. */
import { readFileSync } from 'node:fs'
import { errno, linuxLibc, systemError, unlessBusy } from './libc.js'

const IPC_CREAT = 0o1000
const IPC_EXCL = 0o2000
const IPC_NOWAIT = 0o4000
const SEM_UNDO = 0o10000
const IPC_RMID = 0
const IPC_SET = 1
const IPC_STAT = 2
const GETPID = 11
const GETVAL = 12
const GETNCNT = 14
const SETVAL = 16
/** struct semid_ds begins with struct ipc_perm, in which the mode is at byte 20; all of it is smaller than this. */
const STATE_BYTES = 256
const MODE_AT = 20
/** SEMVMX. */
export const MOST_SYSTEM_V_PERMITS = 32_767

interface Calls {
  semget(key: number, count: number, flags: number): number
  semop(id: number, operations: Int16Array, count: number): number
  semctl(id: number, number: number, command: number, ...argument: unknown[]): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('a semaphore')
  return (calls = {
    semget: c.func('int semget(int key, int count, int flags)') as Calls['semget'],
    semop: c.func('int semop(int id, int16_t *operations, size_t count)') as Calls['semop'],
    semctl: c.func('int semctl(int id, int number, int command, ...)') as Calls['semctl'],
  })
}

const checked = (syscall: string, result: number): number => {
  if (result < 0) throw systemError(syscall, errno())
  return result
}

/** A new set of one semaphore of value 0. Returns its id. Throws as `fs` does: EEXIST, ENOSPC. */
export const createSemaphore = (key: number, mode: number): number =>
  checked('semget', native().semget(key, 1, IPC_CREAT | IPC_EXCL | mode))

/** The id of what has that key. Throws as `fs` does: ENOENT. */
export const findSemaphore = (key: number): number => checked('semget', native().semget(key, 0, 0))

export const setSemaphore = (id: number, value: number): void => void checked('semctl', native().semctl(id, 0, SETVAL, 'int', value))

export function setMode(id: number, mode: number): void {
  const state = Buffer.alloc(STATE_BYTES)
  checked('semctl', native().semctl(id, 0, IPC_STAT, 'void *', state))
  state.writeUInt32LE(mode, MODE_AT)
  checked('semctl', native().semctl(id, 0, IPC_SET, 'void *', state))
}

/** Adds to its value, or takes from it: false when there is not so much. `undo`: reverted when this process ends. Throws as `fs` does: ERANGE, EIDRM, EINVAL. */
export function changeSemaphore(id: number, by: 1 | -1, undo: boolean): boolean {
  const operation = Int16Array.of(0, by, IPC_NOWAIT | (undo ? SEM_UNDO : 0))
  return unlessBusy('semop', () => native().semop(id, operation, 1)) !== undefined
}

export const valueOfSemaphore = (id: number): number => checked('semctl', native().semctl(id, 0, GETVAL))

/** Pid of who changed it last; 0: nobody. */
export const lastOfSemaphore = (id: number): number => checked('semctl', native().semctl(id, 0, GETPID))

/** How many processes block in the kernel for it. */
export const waitingForSemaphore = (id: number): number => checked('semctl', native().semctl(id, 0, GETNCNT))

/** Throws as `fs` does: EPERM, EINVAL. */
export const removeSemaphore = (id: number): void => void checked('semctl', native().semctl(id, 0, IPC_RMID))

/** Its permissions, and when its value was changed (ms since 1970; 0: never); anybody may see them. Undefined when it is gone. */
export function semaphoreStatus(id: number): { readonly mode: number; readonly changed: number } | undefined {
  // key semid perms nsems uid gid cuid cgid otime ctime
  const lines = readFileSync('/proc/sysvipc/sem', 'utf8').split('\n')
  const fields = lines.map((line) => line.trim().split(/\s+/)).find(([, other]) => other === String(id))
  return fields && { mode: parseInt(fields[2]!, 8), changed: Number(fields[8]) * 1000 }
}
