/** Who is at the other end of a Unix socket, as the kernel knows it: unix(7), SO_PEERCRED. */
import type net from 'node:net'
import { descriptorUnder } from './descriptors.js'
import { libc } from './libc.js'

export interface Credentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

const SOL_SOCKET = 1
const SO_PEERCRED = 17

let getsockopt: ((fd: number, level: number, name: number, value: Buffer, length: Int32Array) => number) | undefined

/** Undefined where the kernel or koffi cannot tell: not Linux, koffi not installed. Does not block. */
export function peerCredentials(socket: net.Socket): Credentials | undefined {
  const fd = descriptorUnder(socket)
  if (fd === undefined || process.platform !== 'linux') return undefined
  getsockopt ??= libc()?.func(
    'int getsockopt(int fd, int level, int name, _Inout_ uint8_t *value, _Inout_ uint32_t *length)',
  ) as typeof getsockopt
  if (!getsockopt) return undefined
  const value = Buffer.alloc(12)
  const length = Int32Array.of(12)
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0) return undefined
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) }
}

/** Whether `peerCredentials` can tell anything on this machine. */
export const seesCredentials = (): boolean => process.platform === 'linux' && libc() !== undefined
