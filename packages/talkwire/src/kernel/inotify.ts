/** What happens to files, as the kernel tells it: inotify(7). Linux. */
import { errno, linuxLibc, systemError } from './libc.js'

const IN_NONBLOCK = 0o4000
const IN_CLOEXEC = 0o2000000
/** struct inotify_event: int watch; uint32 mask, cookie, length of the name; the name. */
const HEADER = 16

/** Bits of a mask. */
export const EVENT = { attributes: 0x4, written: 0x8, closed: 0x18, removed: 0x400, moved: 0x800 } as const

interface Calls {
  inotify_init1(flags: number): number
  inotify_add_watch(fd: number, path: string, mask: number): number
  inotify_rm_watch(fd: number, watch: number): number
}
let calls: Calls | undefined

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('watching a file')
  return (calls = {
    inotify_init1: c.func('int inotify_init1(int flags)') as Calls['inotify_init1'],
    inotify_add_watch: c.func('int inotify_add_watch(int fd, const char *path, uint32_t mask)') as Calls['inotify_add_watch'],
    inotify_rm_watch: c.func('int inotify_rm_watch(int fd, int watch)') as Calls['inotify_rm_watch'],
  })
}

/** A descriptor that is readable when something happened; undefined when this user has as many as allowed (128, unless set otherwise). */
export function createInotify(): number | undefined {
  const fd = native().inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
  if (fd >= 0) return fd
  const code = errno()
  if (code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM') return undefined
  throw systemError('inotify_init1', code)
}

/** The number of the watch, the same for the same file. Undefined when the file is gone, or this user watches as much as allowed. */
export function addWatch(fd: number, path: string, mask: number): number | undefined {
  const watch = native().inotify_add_watch(fd, path, mask)
  if (watch >= 0) return watch
  const code = errno()
  if (code === 'ENOSPC' || code === 'ENOMEM' || code === 'ENOENT' || code === 'EACCES') return undefined
  throw systemError('inotify_add_watch', code, path)
}

/** Does nothing for a watch that ended with its file. */
export const removeWatch = (fd: number, watch: number): void => void native().inotify_rm_watch(fd, watch)

/** The watches of the events in the first bytes of a buffer. */
export function watchesIn(buffer: Uint8Array, length: number): Set<number> {
  const { buffer: bytes, byteOffset } = buffer
  const view = new DataView(bytes, byteOffset, length)
  const watches = new Set<number>()
  for (let at = 0; at < length; at += HEADER + view.getUint32(at + 12, true)) watches.add(view.getInt32(at, true))
  return watches
}
