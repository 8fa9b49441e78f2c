/** Files in memory, and memory of files: mmap(2), memfd_create(2), posix_fallocate(3), linkat(2), flock(2). Linux. */
import { constants } from 'node:fs'
import { getSystemErrorName } from 'node:util'
import { errno, linuxLibc, restarting, systemError, unlessBusy, viewOf } from './libc.js'

const PROT_READ = 1
const PROT_WRITE = 2
const MAP_SHARED = 1
const FAILED = 2n ** 64n - 1n
const MFD_CLOEXEC = 1
const MFD_ALLOW_SEALING = 2
const F_ADD_SEALS = 1033
const F_GET_SEALS = 1034
const AT_FDCWD = -100
const AT_SYMLINK_FOLLOW = 0x400
const MS_SYNC = 4
const LOCK_SH = 1
const LOCK_EX = 2
const LOCK_NB = 4
const LOCK_UN = 8

/** memfd seals: fcntl(2). */
export const SEAL = { seal: 1, shrink: 2, grow: 4, write: 8 } as const
/** open(2): a file that has no name yet. */
export const O_TMPFILE = constants.O_DIRECTORY | 0o20000000

interface Calls {
  mmap(address: null, length: number, protection: number, flags: number, fd: number, offset: number): bigint
  munmap(address: bigint, length: number): number
  msync(address: bigint, length: number, flags: number): number
  memfd_create(name: string, flags: number): number
  fcntl(fd: number, command: number, type: 'int', argument: number): number
  posix_fallocate(fd: number, offset: number, length: number): number
  linkat(from: number, path: string, to: number, name: string, flags: number): number
  flock(fd: number, operation: number): number
}
let calls: Calls | undefined

/** Throws UNSUPPORTED or MISSING_PACKAGE, before anything is made that could not be mapped. */
export const needMapping = (): void => void native()

function native(): Calls {
  if (calls) return calls
  const c = linuxLibc('shared memory')
  return (calls = {
    mmap: c.func('void *mmap(void *address, size_t length, int protection, int flags, int fd, int64_t offset)') as Calls['mmap'],
    munmap: c.func('int munmap(void *address, size_t length)') as Calls['munmap'],
    msync: c.func('int msync(void *address, size_t length, int flags)') as Calls['msync'],
    memfd_create: c.func('int memfd_create(const char *name, unsigned int flags)') as Calls['memfd_create'],
    fcntl: c.func('int fcntl(int fd, int command, ...)') as Calls['fcntl'],
    posix_fallocate: c.func('int posix_fallocate(int fd, int64_t offset, int64_t length)') as Calls['posix_fallocate'],
    linkat: c.func('int linkat(int from, const char *path, int to, const char *name, int flags)') as Calls['linkat'],
    flock: c.func('int flock(int fd, int operation)') as Calls['flock'],
  })
}

export interface Mapping {
  readonly buffer: ArrayBuffer
  readonly address: bigint
  /** Now. Only for a buffer that nobody else has ever seen. */
  unmap(): void
}

/** Where the mappings are that some buffer still shows, so that their end can be found. */
const unmapping = new FinalizationRegistry<() => void>((end) => end())

/** Memory that is mapped already, as a buffer. `end` unmaps it: once no view can reach the buffer any more. */
export function mappingAt(address: bigint, size: number, end: () => void): Mapping {
  const buffer = viewOf(address, size)
  refuseTransfer(buffer)
  unmapping.register(buffer, end, buffer)
  return {
    buffer,
    address,
    unmap() {
      unmapping.unregister(buffer)
      end()
    },
  }
}

/**
 * Maps the first `size` bytes of a file, shared with whoever maps it too. The caller has checked that the file is that large:
 * a touch behind its end is a SIGBUS, which nobody survives. Unmapped once no view can reach the buffer any more, never
 * before: a stale view of an address that is mapped anew would show what is there now. Throws as `fs` does.
 */
export function map(fd: number, size: number, write: boolean): Mapping {
  const protection = write ? PROT_READ | PROT_WRITE : PROT_READ
  const address = native().mmap(null, size, protection, MAP_SHARED, fd, 0)
  if (address === FAILED) throw systemError('mmap', errno())
  return mappingAt(address, size, () => native().munmap(address, size))
}

/**
 * Moved away, the memory would have a second owner, which the collection of the first one pulls it from under. postMessage and
 * structuredClone refuse it by themselves or copy it, because it is not V8's. `markAsUntransferable` would only add that Node 24
 * aborts when it ends and cannot detach it.
 */
function refuseTransfer(buffer: ArrayBuffer): void {
  const value = (): never => {
    throw new TypeError('shared memory cannot be transferred; copy it, or open it by name over there')
  }
  for (const method of ['transfer', 'transferToFixedLength']) Object.defineProperty(buffer, method, { value })
}

/** Writes changed pages of a mapped file to the disk: msync(2). Blocks until it is done. Throws as `fs` does. */
export function sync({ address }: Mapping, length: number): void {
  restarting('msync', () => native().msync(address, length, MS_SYNC))
}

/** A file without a name, closed on exec, to which seals can be added. Throws as `fs` does. */
export const createMemfd = (name: string): number =>
  restarting('memfd_create', () => native().memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING))

/** Throws as `fs` does: EPERM when the file is sealed against sealing. */
export const addSeals = (fd: number, seals: number): void => void restarting('fcntl', () => native().fcntl(fd, F_ADD_SEALS, 'int', seals))

/** 0 for a file that knows no seals. */
export const sealsOf = (fd: number): number => Math.max(0, native().fcntl(fd, F_GET_SEALS, 'int', 0))

/** Takes the memory or disk now, so that a lack of it is an error here and not a SIGBUS later. Blocks for as long as that takes. */
export function reserve(fd: number, size: number, path?: string): void {
  for (;;) {
    const number = native().posix_fallocate(fd, 0, size)
    if (number === 0) return
    const code = getSystemErrorName(-number)
    if (code !== 'EINTR') throw systemError('posix_fallocate', code, path)
  }
}

/** Gives a file that was opened with O_TMPFILE its name, in one step. Throws as `fs` does: EEXIST. */
export const nameFile = (fd: number, path: string): void =>
  void restarting('linkat', () => native().linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, path, AT_SYMLINK_FOLLOW), path)

/** flock(2) without waiting: false when somebody else has it. The kernel releases it when the last descriptor of this opening closes. */
export function tryFlock(fd: number, exclusive: boolean): boolean {
  return unlessBusy('flock', () => native().flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB)) !== undefined
}

export const unlockFlock = (fd: number): void => void restarting('flock', () => native().flock(fd, LOCK_UN))
