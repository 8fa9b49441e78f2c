/** Signals to a certain process, and with a value: pidfd_send_signal(2), signalfd(2), signal(7). Linux. */
import { readFileSync } from 'node:fs'
import { errno, linuxLibc, systemError } from './libc.js'
import { readerOf } from './waiting.js'

/** The same number on every architecture. */
const SYS_pidfd_send_signal = 424
/** To the thread whose number is the process's, from Linux 6.9 on. */
const PIDFD_SIGNAL_THREAD = 1
/** siginfo_t on 64 bits: int signal; int errno; int code; 4 unused; int pid; int uid; the value. */
const SIGINFO_BYTES = 128
const SI_QUEUE = -1
const SIGSET_BYTES = 128
const SIG_BLOCK = 0
const SIG_IGN = 1n
const SFD_NONBLOCK = 0o4000
const SFD_CLOEXEC = 0o2000000
/** Of struct signalfd_siginfo: all of it, and where the value of sigqueue(3) is. */
const NEWS_BYTES = 128
const NEWS_VALUE = 44

interface Calls {
  syscall(number: number, ...args: unknown[]): number
  pthread_sigmask(how: number, set: Buffer, old: null): number
  signal(number: number, handler: bigint): unknown
  signalfd(fd: number, set: Buffer, flags: number): number
  sigrtmin(): number
  sigrtmax(): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('sending a signal')
  return (calls = {
    syscall: c.func('long syscall(long number, ...)') as Calls['syscall'],
    pthread_sigmask: c.func('int pthread_sigmask(int how, const void *set, void *old)') as Calls['pthread_sigmask'],
    signal: c.func('void *signal(int number, void *handler)') as Calls['signal'],
    signalfd: c.func('int signalfd(int fd, const void *set, int flags)') as Calls['signalfd'],
    sigrtmin: c.func('int __libc_current_sigrtmin()') as Calls['sigrtmin'],
    sigrtmax: c.func('int __libc_current_sigrtmax()') as Calls['sigrtmax'],
  })
}

/** The numbers that are free for use. Throws UNSUPPORTED, MISSING_PACKAGE. */
export const realTimeSignals = (): { readonly first: number; readonly last: number } => ({
  first: native().sigrtmin(),
  last: native().sigrtmax(),
})

/**
 * Sends it to the process that `openProcess` opened, and to no other. With a value, to its main thread, and queued. Returns
 * what the kernel says, as in `fs` errors: ESRCH, it has ended; EPERM; EAGAIN, its queue is full.
 */
export function sendSignal(process: number, number: number, value?: number): 'ESRCH' | 'EPERM' | 'EAGAIN' | undefined {
  let result = send(process, number, value, value === undefined ? 0 : PIDFD_SIGNAL_THREAD)
  if (result === 'EINVAL' && value !== undefined) result = send(process, number, value, 0)
  if (result === undefined || result === 'ESRCH' || result === 'EPERM' || result === 'EAGAIN') return result
  throw systemError('pidfd_send_signal', result)
}

function send(fd: number, number: number, value: number | undefined, flags: number): string | undefined {
  const info = value === undefined ? null : siginfo(number, value)
  const sent = native().syscall(SYS_pidfd_send_signal, 'int', fd, 'int', number, 'void *', info, 'unsigned int', flags)
  return sent < 0 ? errno() : undefined
}

function siginfo(number: number, value: number): Buffer {
  const info = Buffer.alloc(SIGINFO_BYTES)
  info.writeInt32LE(number, 0)
  info.writeInt32LE(SI_QUEUE, 8)
  info.writeInt32LE(process.pid, 16)
  info.writeUInt32LE(process.getuid!(), 20)
  info.writeInt32LE(value, 24)
  return info
}

/** Whether that process catches, blocks or ignores it, as far as its main thread goes. Of any other signal it would die. */
export function survives(pid: number, number: number): boolean {
  let status: string
  try {
    status = readFileSync(`/proc/${pid}/status`, 'latin1')
  } catch {
    return false
  }
  const bit = 1n << BigInt(number - 1)
  return [...status.matchAll(/^Sig(?:Blk|Ign|Cgt):\s*([\da-f]+)$/gm)].some(([, mask]) => (BigInt(`0x${mask}`) & bit) !== 0n)
}

/**
 * Calls back with the value of each such signal that is sent to this main thread. One that is sent to the process as a whole
 * may be taken by any of Node's other threads, where it is ignored: nothing can be done about those, but nobody dies of it.
 * To be called once for a number, in the main thread; there is no way back. Does not keep the process alive.
 */
export function receiveRealTime(number: number, receive: (value: number) => void): void {
  const set = Buffer.alloc(SIGSET_BYTES)
  set[(number - 1) >> 3] = 1 << ((number - 1) & 7)
  native().pthread_sigmask(SIG_BLOCK, set, null)
  native().signal(number, SIG_IGN)
  const fd = native().signalfd(-1, set, SFD_NONBLOCK | SFD_CLOEXEC)
  if (fd < 0) throw systemError('signalfd', errno())
  const reader = readerOf(fd, (length, buffer) => {
    const view = new DataView(buffer.buffer, buffer.byteOffset, length)
    for (let at = 0; at + NEWS_BYTES <= length; at += NEWS_BYTES) receive(view.getInt32(at + NEWS_VALUE, true))
  })
  reader.unref()
}
