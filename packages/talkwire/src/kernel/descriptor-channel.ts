/** A Unix socket on which descriptors travel: sendmsg(2), recvmsg(2), SCM_RIGHTS of unix(7). Linux. Nothing here blocks. */
import { closeSync, ftruncateSync } from 'node:fs'
import { TalkwireError } from '../error.js'
import { linuxLibc, restarting, unlessBusy } from './libc.js'
import { createMemfd, map } from './mapping.js'

const AF_UNIX = 1
const SOCK_STREAM = 1
const SOCK_NONBLOCK = 0o4000
const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const SCM_RIGHTS = 1
export const MSG_CTRUNC = 0x8
export const MSG_DONTWAIT = 0x40
export const MSG_NOSIGNAL = 0x4000
export const MSG_CMSG_CLOEXEC = 0x40000000

/** Where things are in a page: struct msghdr (56 bytes), struct iovec (16), what is sent with a descriptor, struct cmsghdr with one. */
const AT = { message: 0, vector: 64, number: 96, control: 128 } as const
/** CMSG_LEN(sizeof(int)): of more descriptors in one message the kernel closes the others. */
const CONTROL = 20
const NUMBER = 4

interface Calls {
  socket(domain: number, type: number, protocol: number): number
  connect(fd: number, address: Buffer, length: number): number
  send(fd: number, bytes: Buffer, length: number, flags: number): number
  sendmsg(fd: number, message: bigint, flags: number): number
  recvmsg(fd: number, message: bigint, flags: number): number
}
interface Page {
  readonly view: DataView
  readonly address: bigint
}
let calls: Calls | undefined
let page: Page | undefined

/** Throws UNSUPPORTED or MISSING_PACKAGE. */
export function socketCalls(): Calls {
  if (calls) return calls
  if (process.arch !== 'x64' && process.arch !== 'arm64')
    throw new TalkwireError('UNSUPPORTED', `descriptors are not sent on ${process.arch}; pass a path`)
  const c = linuxLibc('sending descriptors')
  return (calls = {
    socket: c.func('int socket(int domain, int type, int protocol)') as Calls['socket'],
    connect: c.func('int connect(int fd, const uint8_t *address, uint32_t length)') as Calls['connect'],
    send: c.func('int64_t send(int fd, const uint8_t *bytes, size_t length, int flags)') as Calls['send'],
    sendmsg: c.func('int64_t sendmsg(int fd, void *message, int flags)') as Calls['sendmsg'],
    recvmsg: c.func('int64_t recvmsg(int fd, void *message, int flags)') as Calls['recvmsg'],
  })
}

/** Throws UNSUPPORTED or MISSING_PACKAGE. */
export const needDescriptors = (): void => void socketCalls()

/** The structures hold addresses of one another, so they live where the address is known. */
function messagePage(): Page {
  if (page) return page
  const fd = createMemfd('talkwire')
  try {
    ftruncateSync(fd, 4096)
    const { buffer, address } = map(fd, 4096, true)
    return (page = { view: new DataView(buffer), address })
  } finally {
    closeSync(fd)
  }
}

function prepare(): Page {
  const found = messagePage()
  const { view, address } = found
  const at = (offset: number): bigint => address + BigInt(offset)
  view.setBigUint64(AT.message, 0n, true)
  view.setUint32(AT.message + 8, 0, true)
  view.setBigUint64(AT.message + 16, at(AT.vector), true)
  view.setBigUint64(AT.message + 24, 1n, true)
  view.setBigUint64(AT.message + 32, at(AT.control), true)
  view.setBigUint64(AT.message + 40, BigInt(CONTROL), true)
  view.setUint32(AT.message + 48, 0, true)
  view.setBigUint64(AT.vector, at(AT.number), true)
  view.setBigUint64(AT.vector + 8, BigInt(NUMBER), true)
  return found
}

/** Sends a descriptor with its number. Throws as `fs` does: EAGAIN, ETOOMANYREFS, EPIPE, EBADF. */
export function sendDescriptor(channel: number, number: number, fd: number): void {
  const { view, address } = prepare()
  view.setUint32(AT.number, number)
  view.setBigUint64(AT.control, BigInt(CONTROL), true)
  view.setInt32(AT.control + 8, SOL_SOCKET, true)
  view.setInt32(AT.control + 12, SCM_RIGHTS, true)
  view.setInt32(AT.control + 16, fd, true)
  restarting('sendmsg', () => Number(socketCalls().sendmsg(channel, address, MSG_DONTWAIT | MSG_NOSIGNAL)))
}

export interface Arrived {
  readonly number: number
  /** Undefined when this process has as many open as it may. */
  readonly fd: number | undefined
  /** There were more than one, or there was no room for it. */
  readonly cut: boolean
}

const NOTHING = ['EAGAIN', 'ECONNRESET']

/** The next one; its descriptor is not inherited. Undefined where nothing has arrived, or the peer has closed. Throws as `fs` does. */
export function receiveDescriptor(channel: number): Arrived | undefined {
  const { view, address } = prepare()
  const bytes = unlessBusy('recvmsg', () => Number(socketCalls().recvmsg(channel, address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)), NOTHING)
  if (bytes === undefined || bytes === 0) return undefined
  const hasOne = view.getBigUint64(AT.message + 40, true) >= BigInt(CONTROL) && view.getInt32(AT.control + 12, true) === SCM_RIGHTS
  return {
    number: bytes === NUMBER ? view.getUint32(AT.number) : 0,
    fd: hasOne ? view.getInt32(AT.control + 16, true) : undefined,
    cut: (view.getUint32(AT.message + 48, true) & MSG_CTRUNC) !== 0,
  }
}

/** Of `struct sockaddr_un`, unix(7). */
const SUN_PATH = 108

/** A socket that is connected to a listener at a path; a NUL in front makes it abstract. Throws as `fs` does: EAGAIN when its queue is full. */
export function connectUnix(path: string): number {
  const name = Buffer.from(path)
  if (!path.startsWith('\0')) return connectTo(Buffer.concat([name, Buffer.alloc(1)]), path)
  try {
    return connectTo(name, path)
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw reason
    // libuv before 1.46 fills abstract names up with zeros, which makes them others.
    return connectTo(Buffer.concat([name, Buffer.alloc(SUN_PATH - name.length)]), path)
  }
}

function connectTo(name: Buffer, path: string): number {
  const address = Buffer.alloc(2 + name.length)
  address.writeUInt16LE(AF_UNIX)
  name.copy(address, 2)
  const fd = restarting('socket', () => socketCalls().socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))
  try {
    restarting('connect', () => socketCalls().connect(fd, address, address.length), path)
    return fd
  } catch (reason) {
    closeSync(fd)
    throw reason
  }
}

/** Sends a few bytes on a socket that has room for them. Throws as `fs` does. */
export const sendBytes = (fd: number, bytes: Buffer): void =>
  void restarting('send', () => Number(socketCalls().send(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL)))
