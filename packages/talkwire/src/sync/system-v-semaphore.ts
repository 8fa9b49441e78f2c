/** Semaphores of System V, for programs that have them already, and for permits that the dead give back: docs/sync/semaphores.md. */
import { join } from 'node:path'
import { runtimeDirectory } from '../discovery/names.js'
import {
  changeSemaphore,
  createSemaphore,
  findSemaphore,
  lastOfSemaphore,
  MOST_SYSTEM_V_PERMITS,
  removeSemaphore,
  semaphoreStatus,
  setMode,
  setSemaphore,
  valueOfSemaphore,
  waitingForSemaphore,
} from '../kernel/system-v-semaphore.js'
import { memoryError, REMOVED, unless } from '../memory/errors.js'
import { changing } from '../memory/store.js'
import { keyOfPlace, type SystemVPlace } from '../memory/system-v.js'
import { FileLock } from './file-lock.js'
import { commandOf, type Party } from './inspect.js'
import { KernelSemaphore, validatePermits } from './kernel-semaphore.js'

export interface SystemVSemaphoreOptions {
  /** It is made with so many if it is not there; one that is there keeps its own. Default: it must be there. */
  readonly permits?: number
  /** What this process has taken is given back when it ends, however that is. Default true; false for those who only give signals. */
  readonly undo?: boolean
  /** Permissions when it is made. Default 0o600: this user only. */
  readonly mode?: number
}

export interface SystemVSemaphoreInfo {
  /** Permits that nobody has. */
  readonly value: number
  /** Who took or gave one last, and when, to the second; it may have ended. */
  readonly last: Party | undefined
  /** How many processes block in the kernel for one. Those that wait as we do are not known to it. */
  readonly waiting: number
}

/** The first semaphore of the set that has the key. */
export class SystemVSemaphore extends KernelSemaphore {
  readonly key: number
  /** The kernel's number of the set. */
  readonly id: number
  private readonly undo: boolean

  /** Throws NOT_FOUND, PERMISSION_DENIED, NO_SPACE, MISSING_PACKAGE, UNSUPPORTED; RangeError. */
  constructor(place: SystemVPlace, { permits, undo = true, mode = 0o600 }: SystemVSemaphoreOptions = {}) {
    const key = keyOfPlace(place)
    validatePermits(permits, MOST_SYSTEM_V_PERMITS)
    super(title(key))
    this.key = key
    this.undo = undo
    this.id = kernel(key, () => (permits === undefined ? findSemaphore(key) : openOrMake(key, permits, mode)))
  }

  /** Permits that nobody has. Throws NOT_FOUND. */
  get value(): number {
    return kernel(this.key, () => valueOfSemaphore(this.id))
  }

  /** The kernel does not tell who has permits. Throws NOT_FOUND. */
  inspect(): SystemVSemaphoreInfo {
    const { id, key, value } = this
    const [pid, waiting] = kernel(key, () => [lastOfSemaphore(id), waitingForSemaphore(id)])
    const since = new Date(semaphoreStatus(id)?.changed ?? 0)
    return { value, last: pid === 0 ? undefined : { pid, command: commandOf(pid), since }, waiting }
  }

  /** Takes it away; for those who wait it is NOT_FOUND. Throws NOT_FOUND, PERMISSION_DENIED. */
  static remove(place: SystemVPlace): void {
    const key = keyOfPlace(place)
    kernel(key, () => removeSemaphore(findSemaphore(key)))
  }

  protected override take(): boolean {
    return kernel(this.key, () => changeSemaphore(this.id, -1, this.undo))
  }

  protected override give(): void {
    kernel(this.key, () => changeSemaphore(this.id, 1, this.undo))
  }
}

const title = (key: number): string => `System V semaphore ${key}`

const kernel = <T>(key: number, action: () => T): T => memoryError(title(key), action, REMOVED)

/** A bit of the mode that means nothing to the kernel: this set was made, and has not got its permits yet. */
const UNFINISHED = 0o001

/**
 * Making a set and giving it its permits are two calls, between which its maker may die. All makers of this user take turns,
 * so one that finds a set unfinished knows that its maker is dead.
 */
function openOrMake(key: number, permits: number, mode: number): number {
  using _ = new FileLock(join(runtimeDirectory(), 'system-v-semaphores.flock')).acquireSync({ timeout: MAKING })
  const found = unless('NOT_FOUND', () => kernel(key, () => findSemaphore(key)))
  if (found !== undefined && ((semaphoreStatus(found)?.mode ?? 0) & UNFINISHED) === 0) return found
  changing()
  const id = found ?? createSemaphore(key, 0o600 | UNFINISHED)
  changing()
  setSemaphore(id, permits)
  changing()
  setMode(id, mode & ~UNFINISHED)
  return id
}

/** Milliseconds; it takes others some microseconds, unless they are stopped. */
const MAKING = 5000
