/** File descriptors that Node itself does not let go of: dup2(2), fcntl(2). Linux and macOS. */
import type net from 'node:net'
import { libc } from './libc.js'

const F_DUPFD_CLOEXEC = process.platform === 'darwin' ? 67 : 1030

interface Calls {
  fcntl(fd: number, command: number, type: 'int', argument: number): number
  dup2(from: number, to: number): number
}
let calls: Calls | undefined

function load(): Calls | undefined {
  const library = process.platform === 'win32' ? undefined : libc()
  return (calls ??= library && {
    fcntl: library.func('int fcntl(int fd, int command, ...)') as Calls['fcntl'],
    dup2: library.func('int dup2(int from, int to)'),
  })
}

/** Another descriptor for the same, which no child inherits. Undefined where koffi is missing, or no more may be open. */
export function duplicate(fd: number): number | undefined {
  const copy = load()?.fcntl(fd, F_DUPFD_CLOEXEC, 'int', 3)
  return copy !== undefined && copy >= 0 ? copy : undefined
}

/**
 * Takes `fd` away: returns a descriptor for what it was, which no child inherits, and makes `fd` mean what `instead` does.
 * Undefined, with nothing changed, where koffi is missing. Does not block.
 */
export function takeDescriptor(fd: number, instead: number): number | undefined {
  const taken = duplicate(fd)
  if (taken !== undefined) load()!.dup2(instead, fd)
  return taken
}

/** The descriptor under a socket of Node's. Undefined once it is closed, and where there is none. */
export function descriptorUnder(socket: net.Socket): number | undefined {
  const fd = (socket as unknown as { _handle?: { fd?: unknown } })._handle?.fd
  return typeof fd === 'number' && fd >= 0 ? fd : undefined
}
