/** Pipes and processes that one can wait for: pipe2(2), poll(2), pidfd_open(2), dup3(2). Linux. */
import { closeSync, constants } from 'node:fs'
import net from 'node:net'
import { errno, linuxLibc, systemError } from './libc.js'

const O_CLOEXEC = 0o2000000
const POLLIN = 1
/** The same number on every architecture. */
const SYS_pidfd_open = 434

interface Calls {
  pipe2(fds: Int32Array, flags: number): number
  dup3(from: number, to: number, flags: number): number
  poll(fds: Int32Array, count: number, milliseconds: number): number
  sched_yield(): number
  syscall(number: number, type: 'int', pid: number, type2: 'unsigned int', flags: number): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('waiting for another process')
  return (calls = {
    pipe2: c.func('int pipe2(_Out_ int *fds, int flags)') as Calls['pipe2'],
    dup3: c.func('int dup3(int from, int to, int flags)') as Calls['dup3'],
    poll: c.func('int poll(_Inout_ int *fds, unsigned long count, int milliseconds)') as Calls['poll'],
    sched_yield: c.func('int sched_yield()') as Calls['sched_yield'],
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

/** What is read goes into one buffer, which is written over by the next piece. */
const PIECE = 4096

/**
 * Reads a descriptor in the event loop: any that epoll(7) takes, also a pidfd, a signalfd or an eventfd. It is taken over and
 * closed with the socket. libuv opens only pipes and sockets as streams, so one is opened, and its descriptor then becomes
 * the other one before the loop has seen it. (koffi's own poll handles abort the process when they fire while it ends.)
 */
export function readerOf(fd: number, onPiece: (bytes: number, buffer: Uint8Array) => void): net.Socket {
  const pipe = makePipe()
  const socket = readPipe(pipe.read, onPiece)
  closeSync(pipe.write)
  if (native().dup3(fd, pipe.read, O_CLOEXEC) < 0) {
    const code = errno()
    socket.destroy()
    throw systemError('dup3', code)
  }
  closeSync(fd)
  return socket
}

/** The same for the read end of a pipe. */
export function readPipe(fd: number, onPiece: (bytes: number, buffer: Uint8Array) => void): net.Socket {
  const onread = {
    buffer: new Uint8Array(PIECE),
    callback: (bytes: number, buffer: Uint8Array): boolean => {
      onPiece(bytes, buffer)
      return true
    },
  }
  return new net.Socket({ fd, readable: true, writable: false, onread } as net.SocketConstructorOpts)
}

/** Calls back once when a process that `openProcess` opened has ended. Does not keep this one alive. Returns what ends it. */
export function onceEnded(process: number, ended: () => void): () => void {
  // A pidfd becomes readable, and cannot be read: EINVAL is the news.
  const socket = readerOf(process, () => {})
  socket.unref()
  socket.once('error', ended)
  return () => {
    socket.off('error', ended)
    socket.on('error', () => {})
    socket.destroy()
  }
}

/** Lets others run first: sched_yield(2). Comes back at once when nobody wants to. */
export const yieldProcessor = (): void => void native().sched_yield()
