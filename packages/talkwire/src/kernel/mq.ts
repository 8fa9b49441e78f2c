/** Message queues of POSIX, without waiting: mq_overview(7). Linux, where a queue's descriptor is one of a file. */
import { constants } from 'node:fs'
import { linuxLibc, restarting, unlessBusy } from './libc.js'

/** MQ_PRIO_MAX - 1. */
export const HIGHEST_PRIORITY = 32_767

/** struct mq_attr: eight longs, of which these are the second, third and fourth. */
const ATTRIBUTE_BYTES = 64
const [MESSAGES_AT, SIZE_AT, WAITING_AT] = [8, 16, 24]
const SEEK_SET = 0

interface Calls {
  mq_open(name: string, flags: number, ...creation: unknown[]): number
  mq_send(queue: number, bytes: Uint8Array, length: number, priority: number): number
  mq_receive(queue: number, buffer: Uint8Array, length: number, priority: Uint32Array): number
  mq_getattr(queue: number, attributes: Buffer): number
  mq_unlink(name: string): number
  lseek(queue: number, offset: number, from: number): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('a message queue')
  return (calls = {
    mq_open: c.func('int mq_open(const char *name, int flags, ...)') as Calls['mq_open'],
    mq_send: c.func('int mq_send(int queue, const void *bytes, size_t length, unsigned int priority)') as Calls['mq_send'],
    mq_receive: c.func('int64_t mq_receive(int queue, void *buffer, size_t length, _Out_ unsigned int *priority)') as Calls['mq_receive'],
    mq_getattr: c.func('int mq_getattr(int queue, void *attributes)') as Calls['mq_getattr'],
    mq_unlink: c.func('int mq_unlink(const char *name)') as Calls['mq_unlink'],
    lseek: c.func('int64_t lseek(int queue, int64_t offset, int from)') as Calls['lseek'],
  })
}

/** How much a queue holds. */
export interface QueueSize {
  readonly messages: number
  /** Bytes of one message. */
  readonly messageSize: number
}

/** Opens what has the name, for both ways. The kernel sets O_CLOEXEC. Throws as `fs` does: ENOENT, EACCES, EMFILE. */
export const openQueue = (name: string): number =>
  restarting('mq_open', () => native().mq_open(`/${name}`, constants.O_RDWR | constants.O_NONBLOCK), name)

/** Makes what nobody has. The umask is taken from the mode. Throws as `fs` does: EEXIST, EINVAL, EMFILE (also for RLIMIT_MSGQUEUE), ENOSPC. */
export function createQueue(name: string, { messages, messageSize }: QueueSize, mode: number): number {
  const attributes = Buffer.alloc(ATTRIBUTE_BYTES)
  attributes.writeBigInt64LE(BigInt(messages), MESSAGES_AT)
  attributes.writeBigInt64LE(BigInt(messageSize), SIZE_AT)
  const flags = constants.O_RDWR | constants.O_NONBLOCK | constants.O_CREAT | constants.O_EXCL
  return restarting('mq_open', () => native().mq_open(`/${name}`, flags, 'unsigned int', mode, 'void *', attributes), name)
}

/** False when it is full. Throws as `fs` does: EMSGSIZE. */
export const sendTo = (queue: number, bytes: Uint8Array, priority: number): boolean =>
  unlessBusy('mq_send', () => native().mq_send(queue, bytes, bytes.length, priority)) !== undefined

const priorityOf = new Uint32Array(1)

/** The oldest message of the highest priority; the buffer takes as much as one may have. Undefined when there is none. */
export function receiveFrom(queue: number, buffer: Uint8Array): { readonly length: number; readonly priority: number } | undefined {
  const length = unlessBusy('mq_receive', () => Number(native().mq_receive(queue, buffer, buffer.length, priorityOf)))
  return length === undefined ? undefined : { length, priority: priorityOf[0]! }
}

export function attributesOf(queue: number): QueueSize & { readonly waiting: number } {
  const attributes = Buffer.alloc(ATTRIBUTE_BYTES)
  restarting('mq_getattr', () => native().mq_getattr(queue, attributes))
  const long = (at: number): number => Number(attributes.readBigInt64LE(at))
  return { messages: long(MESSAGES_AT), messageSize: long(SIZE_AT), waiting: long(WAITING_AT) }
}

/** Throws as `fs` does: ENOENT, EACCES. */
export const unlinkQueue = (name: string): void => void restarting('mq_unlink', () => native().mq_unlink(`/${name}`), name)

/** Where read(2) of the descriptor begins, which gives a line about the queue: at its start again, so that it is not at its end. */
export const rewindQueue = (queue: number): void => void native().lseek(queue, 0, SEEK_SET)
