/** Pipes and processes that one can wait for: pipe2(2), poll(2), pidfd_open(2). Linux. */
import { constants } from 'node:fs'
import { errno, linuxLibc, systemError } from './libc.js'

const O_CLOEXEC = 0o2000000
const POLLIN = 1
/** The same number on every architecture. */
const SYS_pidfd_open = 434

interface Calls {
  pipe2(fds: Int32Array, flags: number): number
  poll(fds: Int32Array, count: number, milliseconds: number): number
  syscall(number: number, type: 'int', pid: number, type2: 'unsigned int', flags: number): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('waiting for another process')
  return (calls = {
    pipe2: c.func('int pipe2(_Out_ int *fds, int flags)') as Calls['pipe2'],
    poll: c.func('int poll(_Inout_ int *fds, unsigned long count, int milliseconds)') as Calls['poll'],
    syscall: c.func('long syscall(long number, ...)') as Calls['syscall'],
  })
}

/** Its two ends, which neither block nor are inherited. Throws as `fs` does. */
export function makePipe(): { readonly read: number; readonly write: number } {
  const fds = new Int32Array(2)
  if (native().pipe2(fds, constants.O_NONBLOCK | O_CLOEXEC) < 0) throw systemError('pipe2', errno())
  return { read: fds[0]!, write: fds[1]! }
}

/** A descriptor that becomes readable when the process ends, a zombie's too. Undefined when it has ended, or `pid` is a thread's. */
export function openProcess(pid: number): number | undefined {
  const fd = native().syscall(SYS_pidfd_open, 'int', pid, 'unsigned int', 0)
  if (fd >= 0) return fd
  const code = errno()
  if (code === 'ESRCH' || code === 'EINVAL' || code === 'ENOENT') return undefined
  throw systemError('pidfd_open', code)
}

/** Waits for one of them, at most so long; a signal ends it early. Which one it was, if any. Blocks this thread: for the synchronous forms only. */
export function waitReadable(fds: readonly number[], milliseconds: number): number | undefined {
  // struct pollfd: int fd; short events; short revents
  const list = new Int32Array(fds.flatMap((fd) => [fd, POLLIN]))
  const count = native().poll(list, fds.length, Math.max(0, Math.ceil(milliseconds)))
  if (count < 0 && errno() !== 'EINTR') throw systemError('poll', errno())
  return count > 0 ? fds.find((_, index) => list[2 * index + 1]! >>> 16 !== 0) : undefined
}
