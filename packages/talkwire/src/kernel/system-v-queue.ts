/** Message queues of System V, without waiting: msgget(2), msgop(2), msgctl(2), sysvipc(7). Linux, 64 bits. */
import { readFileSync } from 'node:fs'
import { endianness } from 'node:os'
import { linuxLibc, restarting, unlessBusy } from './libc.js'

const IPC_PRIVATE = 0
const IPC_CREAT = 0o1000
const IPC_EXCL = 0o2000
const IPC_NOWAIT = 0o4000
const IPC_RMID = 0
const IPC_STAT = 2
/** struct msqid_ds: struct ipc_perm has 48 bytes, three times follow, then what is here; all of it is smaller than this. */
const STATE_BYTES = 256
const [COUNT_AT, CAPACITY_AT] = [80, 88]
/** struct msgbuf begins with the type, a long. */
const TYPE_BYTES = 8
const LITTLE = endianness() === 'LE'

interface Calls {
  msgget(key: number, flags: number): number
  msgsnd(id: number, message: Buffer, length: number, flags: number): number
  msgrcv(id: number, message: Buffer, length: number, type: number, flags: number): number
  msgctl(id: number, command: number, state: Buffer | null): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('a message queue')
  return (calls = {
    msgget: c.func('int msgget(int key, int flags)') as Calls['msgget'],
    msgsnd: c.func('int msgsnd(int id, const void *message, size_t length, int flags)') as Calls['msgsnd'],
    msgrcv: c.func('int64_t msgrcv(int id, void *message, size_t length, int64_t type, int flags)') as Calls['msgrcv'],
    msgctl: c.func('int msgctl(int id, int command, void *state)') as Calls['msgctl'],
  })
}

/** A new queue; key undefined: without one. Returns its id. Throws as `fs` does: EEXIST, ENOSPC. */
export const createSystemVQueue = (key: number | undefined, mode: number): number =>
  restarting('msgget', () => native().msgget(key ?? IPC_PRIVATE, IPC_CREAT | IPC_EXCL | mode))

/** The id of what has that key. Throws as `fs` does: ENOENT, EACCES. */
export const findSystemVQueue = (key: number): number => restarting('msgget', () => native().msgget(key, 0))

/** Throws as `fs` does: EPERM, EINVAL. */
export const removeSystemVQueue = (id: number): void => void restarting('msgctl', () => native().msgctl(id, IPC_RMID, null))

/** Bytes of the largest message that may be sent now: kernel.msgmax. */
export const largestMessage = (): number => Number(readFileSync('/proc/sys/kernel/msgmax', 'latin1'))

const EMPTY = ['ENOMSG']

/** Where messages are put together and taken apart. It grows when the kernel's limit has. */
let message: Buffer | undefined

function room(bytes: number): Buffer {
  if (!message || message.length < TYPE_BYTES + bytes) message = Buffer.alloc(TYPE_BYTES + Math.max(bytes, largestMessage()))
  return message
}

/** False when it is full. Throws as `fs` does: EINVAL (too long, or no such queue), EIDRM. */
export function sendSystemV(id: number, type: number, bytes: Uint8Array): boolean {
  const buffer = room(bytes.length)
  if (LITTLE) buffer.writeBigInt64LE(BigInt(type))
  else buffer.writeBigInt64BE(BigInt(type))
  buffer.set(bytes, TYPE_BYTES)
  return unlessBusy('msgsnd', () => native().msgsnd(id, buffer, bytes.length, IPC_NOWAIT)) !== undefined
}

/** The oldest message of a type; 0: of any; negative: of the lowest type up to so much. A copy. Undefined when there is none. Throws as `fs` does: EINVAL, EIDRM. */
export function receiveSystemV(id: number, type: number): { readonly type: number; readonly bytes: Buffer } | undefined {
  for (let size = 0; ; size = 2 * message!.length) {
    const buffer = room(size)
    try {
      const length = unlessBusy('msgrcv', () => Number(native().msgrcv(id, buffer, buffer.length - TYPE_BYTES, type, IPC_NOWAIT)), EMPTY)
      if (length === undefined) return undefined
      const of = Number(LITTLE ? buffer.readBigInt64LE() : buffer.readBigInt64BE())
      return { type: of, bytes: Buffer.from(buffer.subarray(TYPE_BYTES, TYPE_BYTES + length)) }
    } catch (reason) {
      // It was sent when more was allowed.
      if ((reason as NodeJS.ErrnoException).code !== 'E2BIG') throw reason
    }
  }
}

export interface SystemVQueueState {
  /** Messages in it. */
  readonly waiting: number
  /** Bytes that it holds in all. */
  readonly capacity: number
}

/** Throws as `fs` does: EINVAL, EIDRM, EACCES. */
export function stateOfSystemVQueue(id: number): SystemVQueueState {
  const state = Buffer.alloc(STATE_BYTES)
  restarting('msgctl', () => native().msgctl(id, IPC_STAT, state))
  const long = (at: number): number => Number(LITTLE ? state.readBigUInt64LE(at) : state.readBigUInt64BE(at))
  return { waiting: long(COUNT_AT), capacity: long(CAPACITY_AT) }
}
