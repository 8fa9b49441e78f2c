/** System V segments: shmget(2), shmat(2), shmctl(2), sysvipc(7). Linux. */
import { readFileSync } from 'node:fs'
import { errno, linuxLibc, systemError } from './libc.js'
import { mappingAt, type Mapping } from './mapping.js'

const IPC_PRIVATE = 0
const IPC_CREAT = 0o1000
const IPC_EXCL = 0o2000
const IPC_RMID = 0
const SHM_RDONLY = 0o10000
const FAILED = 2n ** 64n - 1n

interface Calls {
  shmget(key: number, size: number, flags: number): number
  shmat(id: number, address: null, flags: number): bigint
  shmdt(address: bigint): number
  shmctl(id: number, command: number, buffer: null): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('shared memory')
  return (calls = {
    shmget: c.func('int shmget(int key, size_t size, int flags)') as Calls['shmget'],
    shmat: c.func('void *shmat(int id, const void *address, int flags)') as Calls['shmat'],
    shmdt: c.func('int shmdt(const void *address)') as Calls['shmdt'],
    shmctl: c.func('int shmctl(int id, int command, void *buffer)') as Calls['shmctl'],
  })
}

/** A new segment; key undefined: without one. Returns its id. Throws as `fs` does: EEXIST, ENOSPC, EINVAL. */
export const createSystemV = (key: number | undefined, size: number, mode: number): number =>
  identified(native().shmget(key ?? IPC_PRIVATE, size, IPC_CREAT | IPC_EXCL | mode))

/** The id of what has that key. Throws as `fs` does: ENOENT, EACCES. */
export const findSystemV = (key: number): number => identified(native().shmget(key, 0, 0))

function identified(id: number): number {
  if (id < 0) throw systemError('shmget', errno())
  return id
}

/** Its size is the kernel's, and nobody can change it. Throws as `fs` does. */
export function attachSystemV(id: number, readOnly: boolean): Mapping {
  const address = native().shmat(id, null, readOnly ? SHM_RDONLY : 0)
  if (address === FAILED) throw systemError('shmat', errno())
  const size = listSystemV().find((segment) => segment.id === id)!.size
  return mappingAt(address, size, () => native().shmdt(address))
}

/** Its key is free from now on; its memory is when the last process has let go of it. Throws as `fs` does. */
export function removeSystemV(id: number): void {
  if (native().shmctl(id, IPC_RMID, null) < 0) throw systemError('shmctl', errno())
}

export interface SystemVSegment {
  /** 0: it has none. */
  readonly key: number
  readonly id: number
  /** Bytes. */
  readonly size: number
  readonly mode: number
  readonly uid: number
  /** Pid of who made it. */
  readonly creator: number
  /** How many times it is attached. */
  readonly attached: number
}

/** Also those that were removed and are still attached. */
export function listSystemV(): SystemVSegment[] {
  const [, ...lines] = readFileSync('/proc/sysvipc/shm', 'utf8').trimEnd().split('\n')
  return lines.map((line) => {
    // key shmid perms size cpid lpid nattch uid …
    const [key, id, mode, size, creator, , attached, uid] = line.trim().split(/\s+/)
    const numbers = { key, id, size, uid, creator, attached }
    const parsed = Object.fromEntries(Object.entries(numbers).map(([name, text]) => [name, Number(text)]))
    return { ...(parsed as unknown as Omit<SystemVSegment, 'mode'>), mode: parseInt(mode!, 8) & 0o777 }
  })
}
