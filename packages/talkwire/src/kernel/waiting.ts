/** Pipes and processes that one can wait for: pipe2(2), poll(2), epoll(7), pidfd_open(2), dup3(2). Linux. */
import { closeSync, constants, readSync } from 'node:fs'
import net from 'node:net'
import { errno, linuxLibc, systemError } from './libc.js'

const O_CLOEXEC = 0o2000000
const POLLIN = 1
const EPOLLIN = 1
const EPOLLOUT = 4
const EPOLL_CTL_ADD = 1
/** struct epoll_event: packed to 12 bytes on some machines, 16 on others; the events come first. */
const EPOLL_EVENT_BYTES = 16
/** The same number on every architecture. */
const SYS_pidfd_open = 434

interface Calls {
  pipe2(fds: Int32Array, flags: number): number
  dup3(from: number, to: number, flags: number): number
  poll(fds: Int32Array, count: number, milliseconds: number): number
  sched_yield(): number
  epoll_create1(flags: number): number
  epoll_ctl(epoll: number, operation: number, fd: number, event: Buffer): number
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
    epoll_create1: c.func('int epoll_create1(int flags)') as Calls['epoll_create1'],
    epoll_ctl: c.func('int epoll_ctl(int epoll, int operation, int fd, void *event)') as Calls['epoll_ctl'],
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

const thrownAway = Buffer.allocUnsafe(64 * 1024)

/** Takes out what a descriptor that does not block has to be read, and forgets it. Throws as `fs` does. */
export function drain(fd: number): void {
  try {
    readSync(fd, thrownAway)
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code !== 'EAGAIN') throw reason
  }
}

/** What is read goes into one buffer, which is written over by the next piece. */
const PIECE = 4096

/**
 * Reads a descriptor in the event loop: any that epoll(7) takes, also a pidfd, a signalfd or an eventfd. It is taken over and
 * closed with the socket. libuv opens only pipes and sockets as streams, so one is opened, and its descriptor then becomes
 * the other one before the loop has seen it. (koffi's own poll handles abort the process when they fire while it ends.)
 */
export function readerOf(fd: number, onPiece: (bytes: number, buffer: Uint8Array) => void): net.Socket {
  const pipe = pipeInsteadOf(fd)
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

/** Where no pipe can be made, the descriptor that was taken over is closed, too. */
function pipeInsteadOf(fd: number): ReturnType<typeof makePipe> {
  try {
    return makePipe()
  } catch (reason) {
    closeSync(fd)
    throw reason
  }
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
export const onceEnded = (process: number, ended: () => void): (() => void) => onceUnreadable(process, ended, false)

/** For descriptors that become readable, and cannot be read, such as a pidfd: EINVAL is the news. */
function onceUnreadable(fd: number, told: () => void, keepsAlive: boolean): () => void {
  const socket = readerOf(fd, () => {})
  if (!keepsAlive) socket.unref()
  socket.once('error', told)
  return () => {
    socket.off('error', told)
    socket.on('error', () => {})
    socket.destroy()
  }
}

/**
 * Calls back once when a descriptor that epoll(7) takes is writable, such as a queue that was full. Keeps this process alive
 * meanwhile. Returns what ends it; to be called before the descriptor is closed. Throws as `fs` does: EMFILE.
 */
export const onceWritable = (fd: number, writable: () => void): (() => void) => onceReady(fd, EPOLLOUT, writable, true)

/** The same for what can be read, or has ended; nothing is read. */
export const onceReadable = (fd: number, readable: () => void, keepsAlive: boolean): (() => void) =>
  onceReady(fd, EPOLLIN, readable, keepsAlive)

function onceReady(fd: number, events: number, ready: () => void, keepsAlive: boolean): () => void {
  const epoll = native().epoll_create1(O_CLOEXEC)
  if (epoll < 0) throw systemError('epoll_create1', errno())
  const event = Buffer.alloc(EPOLL_EVENT_BYTES)
  event.writeUInt32LE(events, 0)
  if (native().epoll_ctl(epoll, EPOLL_CTL_ADD, fd, event) < 0) {
    const code = errno()
    closeSync(epoll)
    throw systemError('epoll_ctl', code)
  }
  // What libuv waits for is that something can be read. An epoll descriptor is readable when what it waits for is there.
  return onceUnreadable(epoll, ready, keepsAlive)
}

/** Lets others run first: sched_yield(2). Comes back at once when nobody wants to. */
export const yieldProcessor = (): void => void native().sched_yield()
