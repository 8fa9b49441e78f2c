/** A file, locked by the kernel, for whoever knows flock(2) or the record locks of POSIX: docs/sync/file-lock.md. */
import { closeSync, constants, fstatSync, lstatSync, openSync, statSync, type Stats } from 'node:fs'
import { resolve } from 'node:path'
import { TalkwireError } from '../error.js'
import { lockedFile, type FileLockKind, type LockedFile } from '../kernel/file-locks.js'
import { EVENT } from '../kernel/inotify.js'
import { linuxLibc } from '../kernel/libc.js'
import { tryFlock, unlockFlock } from '../kernel/mapping.js'
import { tryRecordLock, unlockRecordLock } from '../kernel/record-lock.js'
import { memoryError } from '../memory/errors.js'
import { FileEvents, onFileEvent } from './file-events.js'
import { Grant } from './grant.js'
import { commandOf } from './inspect.js'
import type { WaitOptions } from './tasks.js'
import { Turns, type Attempt } from './turns.js'

export interface FileLockOptions {
  /**
   * 'flock' (default) meets flock(1), Python's `fcntl.flock` and `filelock`. 'ofd' meets `fcntl.lockf`, `lockf(3)` and the record
   * locks of POSIX. On file systems of this machine the two do not see each other.
   */
  readonly kind?: FileLockKind
}

export interface SharedWaitOptions extends WaitOptions {
  /** Together with others who want it shared, too. Default: alone. */
  readonly shared?: boolean
}

export interface FileLockInfo {
  /** Each process that has it: after a fork without exec, several have the same. */
  readonly holders: readonly (FileParty & { readonly shared: boolean })[]
  /** Those that block in the kernel, and those that wait as we do. Since when, neither says. */
  readonly waiters: readonly FileParty[]
}

export interface FileParty {
  readonly pid: number
  readonly command: string
}

export class FileLock {
  readonly path: string
  private readonly kind: FileLockKind
  private readonly turns: Turns<SharedWaitOptions>

  /** Makes nothing yet. Throws UNSUPPORTED and MISSING_PACKAGE. */
  constructor(path: string, { kind = 'flock' }: FileLockOptions = {}) {
    if (kind !== 'flock' && kind !== 'ofd') throw new TypeError("the kind of a file lock is 'flock' or 'ofd'")
    linuxLibc('a file lock')
    this.path = resolve(path)
    this.kind = kind
    this.turns = new Turns(`file lock ${this.path}`, ({ shared = false }) => new FileAttempt(this.path, kind, shared))
  }

  /**
   * Waits for it without blocking; makes the file (mode 0600) if it is not there. Rejects with DEADLINE_EXCEEDED or the
   * signal's reason, NOT_FOUND when the folder is missing, PERMISSION_DENIED, LIMIT_EXCEEDED, UNSUPPORTED.
   */
  acquire(options: SharedWaitOptions = {}): Promise<Grant> {
    return this.turns.acquire(options)
  }

  /** Blocks this thread, and with it the event loop. Throws as `acquire` rejects; DEADLOCK when this very thread holds it. */
  acquireSync(options: Pick<SharedWaitOptions, 'timeout' | 'shared'> = {}): Grant {
    return this.turns.acquireSync(options)
  }

  /** Takes it if it can be had. Does not block. */
  tryAcquire(options: Pick<SharedWaitOptions, 'shared'> = {}): Grant | undefined {
    return this.turns.tryAcquire(options)
  }

  /** Who holds it and who waits, whatever program that is. Takes some milliseconds. */
  inspect(): FileLockInfo {
    const stat = statSync(this.path, { throwIfNoEntry: false })
    return stat ? fileLockInfo(lockedFile(stat, this.kind)) : { holders: [], waiters: [] }
  }
}

export const fileLockInfo = ({ holders, waiters }: LockedFile): FileLockInfo => ({
  holders: holders.map((holder) => ({ ...holder, command: commandOf(holder.pid) })),
  waiters: waiters.map((pid) => ({ pid, command: commandOf(pid) })),
})

/** Of this thread. */
const held = new Set<{ readonly kind: FileLockKind; readonly stat: Stats }>()

const isSame = (a: Stats | undefined, b: Stats): boolean => a?.ino === b.ino && a.dev === b.dev

class FileAttempt implements Attempt {
  /** One opening for the whole wait: each closing of one wakes all who wait for the file. */
  private fd: number | undefined
  private events: FileEvents | undefined

  constructor(
    private readonly path: string,
    private readonly kind: FileLockKind,
    private readonly shared: boolean,
  ) {}

  take(): Grant | undefined {
    return memoryError(`file lock ${this.path}`, () => {
      for (;;) {
        const fd = this.open()
        const locked = this.kind === 'flock' ? tryFlock(fd, !this.shared) : tryRecordLock(fd, !this.shared)
        // A file that was removed or replaced is locked in vain: whoever comes opens another one.
        if (isSame(statSync(this.path, { throwIfNoEntry: false }), fstatSync(fd))) return locked ? this.granted(fd) : undefined
        this.end()
      }
    })
  }

  private open(): number {
    return (this.fd ??= openPlain(this.path, this.shared ? constants.O_RDONLY : constants.O_RDWR))
  }

  private granted(fd: number): Grant {
    const entry = { kind: this.kind, stat: fstatSync(fd) }
    held.add(entry)
    this.fd = undefined
    return new Grant(() => {
      held.delete(entry)
      // The kernel tells of a closing a moment before it lets go of the lock.
      if (this.kind === 'flock') unlockFlock(fd)
      else unlockRecordLock(fd)
      closeSync(fd)
    })
  }

  isOurs(): boolean {
    const stat = fstatSync(this.open())
    return [...held].some((entry) => entry.kind === this.kind && isSame(entry.stat, stat))
  }

  watch(changed: () => void): () => void {
    return memoryError(`file lock ${this.path}`, () => onFileEvent(`/proc/self/fd/${this.open()}`, EVENT.closed, changed))
  }

  sleep(milliseconds: number): boolean {
    if (this.events) return this.events.wait(milliseconds)
    this.events = new FileEvents(`/proc/self/fd/${this.open()}`, EVENT.closed)
    // What was closed before is told of by nobody.
    return true
  }

  end(): void {
    this.events?.end()
    if (this.fd !== undefined) closeSync(this.fd)
    this.fd = this.events = undefined
  }
}

/** Without O_CREAT first: in a folder like /tmp the kernel may refuse that for another user's file, which we may open. */
function openPlain(path: string, mode: number): number {
  if (lstatSync(path, { throwIfNoEntry: false })?.isFile() === false)
    throw new TalkwireError('INVALID_ADDRESS', `${path} is no plain file; take a path where there is one, or nothing`)
  const flags = mode | constants.O_NOFOLLOW | constants.O_NONBLOCK
  return openUnless('ENOENT', path, flags) ?? openSync(path, flags | constants.O_CREAT, 0o600)
}

function openUnless(code: string, path: string, flags: number): number | undefined {
  try {
    return openSync(path, flags)
  } catch (reason) {
    if ((reason as NodeJS.ErrnoException).code === code) return undefined
    throw reason
  }
}
