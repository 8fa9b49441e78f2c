/** Bytes of a Unix socket with the descriptors that come among them: sendmsg(2), recvmsg(2), SCM_RIGHTS of unix(7). Linux. Nothing here blocks. */
import { closeSync, ftruncateSync } from 'node:fs'
import { MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT, MSG_NOSIGNAL, SCM_RIGHTS, socketCalls, SOL_SOCKET } from './descriptor-channel.js'
import { unlessBusy } from './libc.js'
import { createMemfd, map } from './mapping.js'

/** Most in one message: of more the kernel closes the others, and says so. */
export const MOST_DESCRIPTORS = 16

/** Where things are: struct msghdr (56 bytes), struct iovec (16), struct cmsghdr (16) with the descriptors, then bytes. */
const AT = { message: 0, vector: 64, control: 128, bytes: 4096 } as const
const CONTROL_HEAD = 16
const CONTROL = CONTROL_HEAD + 4 * MOST_DESCRIPTORS
const PIECE = 64 * 1024

interface Area {
  readonly view: DataView
  readonly bytes: Buffer
  readonly address: bigint
}
let area: Area | undefined

/** The structures hold addresses of one another, so they live where the address is known. */
function prepare(length: number, control: number): Area {
  area ??= makeArea()
  const { view, address } = area
  const at = (offset: number): bigint => address + BigInt(offset)
  view.setBigUint64(AT.message, 0n, true)
  view.setUint32(AT.message + 8, 0, true)
  view.setBigUint64(AT.message + 16, at(AT.vector), true)
  view.setBigUint64(AT.message + 24, 1n, true)
  view.setBigUint64(AT.message + 32, control > 0 ? at(AT.control) : 0n, true)
  view.setBigUint64(AT.message + 40, BigInt(control), true)
  view.setUint32(AT.message + 48, 0, true)
  view.setBigUint64(AT.vector, at(AT.bytes), true)
  view.setBigUint64(AT.vector + 8, BigInt(length), true)
  return area
}

function makeArea(): Area {
  const fd = createMemfd('talkwire')
  try {
    ftruncateSync(fd, AT.bytes + PIECE)
    const { buffer, address } = map(fd, AT.bytes + PIECE, true)
    return { view: new DataView(buffer), bytes: Buffer.from(buffer, AT.bytes, PIECE), address }
  } finally {
    closeSync(fd)
  }
}

/** Sends the first of these bytes, with the descriptors. How many bytes went; undefined: there is no room now, and nothing went. Throws as `fs` does. */
export function sendWith(socket: number, bytes: Buffer, fds: readonly number[]): number | undefined {
  const length = Math.min(bytes.length, PIECE)
  const { view, bytes: piece, address } = prepare(length, CONTROL_HEAD + 4 * fds.length)
  bytes.copy(piece, 0, 0, length)
  view.setBigUint64(AT.control, BigInt(CONTROL_HEAD + 4 * fds.length), true)
  view.setInt32(AT.control + 8, SOL_SOCKET, true)
  view.setInt32(AT.control + 12, SCM_RIGHTS, true)
  fds.forEach((fd, index) => view.setInt32(AT.control + CONTROL_HEAD + 4 * index, fd, true))
  return unlessBusy('sendmsg', () => Number(socketCalls().sendmsg(socket, address, MSG_DONTWAIT | MSG_NOSIGNAL)))
}

export interface Received {
  /** A copy. None: the peer sends no more. */
  readonly bytes: Buffer
  /** The caller's to close; no child inherits them. */
  readonly fds: readonly number[]
  /** There were more than one message may have, or than this process may have open. */
  readonly cut: boolean
}

/** What has arrived, undefined: nothing. Throws as `fs` does. */
export function receiveWith(socket: number): Received | undefined {
  const { view, bytes, address } = prepare(PIECE, CONTROL)
  const count = unlessBusy('recvmsg', () => Number(socketCalls().recvmsg(socket, address, MSG_DONTWAIT | MSG_CMSG_CLOEXEC)))
  if (count === undefined) return undefined
  const fds: number[] = []
  const hasSome = view.getBigUint64(AT.message + 40, true) >= BigInt(CONTROL_HEAD) && view.getInt32(AT.control + 12, true) === SCM_RIGHTS
  const end = hasSome ? Number(view.getBigUint64(AT.control, true)) : 0
  for (let at = CONTROL_HEAD; at + 4 <= end; at += 4) fds.push(view.getInt32(AT.control + at, true))
  return { bytes: Buffer.from(bytes.subarray(0, count)), fds, cut: (view.getUint32(AT.message + 48, true) & MSG_CTRUNC) !== 0 }
}
