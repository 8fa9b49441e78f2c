/** Named semaphores of POSIX, shared with C and Python: docs/sync/semaphores.md. */
import { lstatSync } from 'node:fs'
import { TalkwireError } from '../error.js'
import { findMappers } from '../kernel/mappers.js'
import {
  MOST_PERMITS,
  openPosix,
  pathOfSemaphore,
  postPosix,
  SEMAPHORE_BYTES,
  tryPosix,
  unlinkPosix,
  valueOfPosix,
  type PosixHandle,
} from '../kernel/posix-semaphore.js'
import { memoryError } from '../memory/errors.js'
import { validateSegmentName } from '../memory/names.js'
import type { FileParty } from './file-lock.js'
import { commandOf } from './inspect.js'
import { KernelSemaphore, validatePermits } from './kernel-semaphore.js'

export interface PosixSemaphoreOptions {
  /** It is made with so many if it is not there; one that is there keeps its own. Default: it must be there. */
  readonly permits?: number
  /** Permissions when it is made; the umask is taken from them. Default 0o600: this user only. */
  readonly mode?: number
}

export class PosixSemaphore extends KernelSemaphore {
  readonly name: string
  private readonly handle: PosixHandle

  /** By its name, with or without the slash that C programs write before it. Throws NOT_FOUND, PERMISSION_DENIED, INVALID_ADDRESS, INVALID_MEMORY, MISSING_PACKAGE, UNSUPPORTED; RangeError. */
  constructor(name: string, { permits, mode = 0o600 }: PosixSemaphoreOptions = {}) {
    const plain = validateSegmentName(name)
    validatePermits(permits, MOST_PERMITS)
    super(`semaphore ${plain}`)
    this.name = plain
    this.handle = memoryError(`semaphore ${plain}`, () => {
      checkFile(plain)
      return openPosix(plain, permits, mode)
    })
  }

  /** Permits that nobody has. */
  get value(): number {
    return valueOfPosix(this.handle)
  }

  /** Who has it open: the kernel does not know which of them took permits. Takes some milliseconds. */
  inspect(): { readonly value: number; readonly users: readonly FileParty[] } {
    const stat = lstatSync(pathOfSemaphore(this.name), { throwIfNoEntry: false })
    const pids = stat ? findMappers().of(stat) : []
    return { value: this.value, users: pids.map((pid) => ({ pid, command: commandOf(pid) })) }
  }

  /** Takes the name away. Who has it open keeps the old one. Throws NOT_FOUND, PERMISSION_DENIED. */
  static unlink(name: string): void {
    const plain = validateSegmentName(name)
    memoryError(`semaphore ${plain}`, () => unlinkPosix(plain))
  }

  protected override take(): boolean {
    return tryPosix(this.handle)
  }

  protected override give(): void {
    memoryError(`semaphore ${this.name}`, () => postPosix(this.handle))
  }
}

/** The C library maps whatever has the name, and a touch behind a file's end is a SIGBUS. */
function checkFile(name: string): void {
  const stat = lstatSync(pathOfSemaphore(name), { throwIfNoEntry: false })
  if (stat && !(stat.isFile() && stat.size >= SEMAPHORE_BYTES))
    throw new TalkwireError('INVALID_MEMORY', `${pathOfSemaphore(name)} is no semaphore; remove it, or take another name`)
}
