/** System V segments, for programs that have them already: docs/memory/shared-memory.md, sysvipc(7). They have keys in place of names. */
import { statSync } from 'node:fs'
import { TalkwireError } from '../error.js'
import { needMapping } from '../kernel/mapping.js'
import { attachSystemV, createSystemV, findSystemV, listSystemV, removeSystemV, type SystemVSegment } from '../kernel/system-v-memory.js'
import { memoryError, REMOVED, unless, type Refusals } from './errors.js'
import type { OpenOptions } from './shared-memory.js'
import { validateSize, View, type ViewConstructor } from './view.js'

/** A key, or what C programs make one of: ftok(3). */
export type SystemVPlace = number | { readonly path: string; readonly project: number }

export interface SystemVOptions {
  /** Permissions. Default 0o600: this user only. */
  readonly mode?: number
}

/** Nobody can make one smaller. It stays until it is removed, also when all its users have crashed: see `list` and ipcs(1). */
export class SystemVMemory implements Disposable {
  private readonly view: View

  private constructor(
    /** Undefined for one without a key. */
    readonly key: number | undefined,
    /** The kernel's number of it, by which others `attach` it. */
    readonly id: number,
    readonly readOnly: boolean,
  ) {
    this.view = new View(attachSystemV(id, readOnly), title(key, id))
  }

  /** `size` bytes of zeros under a key that nobody has; undefined: without one. Throws ALREADY_EXISTS, NO_SPACE, INVALID_MEMORY (too large), MISSING_PACKAGE, UNSUPPORTED; RangeError. */
  static create(key: number | undefined, size: number, { mode = 0o600 }: SystemVOptions = {}): SystemVMemory {
    if (key !== undefined) validateKey(key)
    validateSize(size)
    needMapping()
    return kernel(key, undefined, () => new SystemVMemory(key, createSystemV(key, size, mode), false))
  }

  /** What has that key. Throws NOT_FOUND, PERMISSION_DENIED, MISSING_PACKAGE, UNSUPPORTED; RangeError. */
  static open(key: number, { readOnly = false }: OpenOptions = {}): SystemVMemory {
    validateKey(key)
    needMapping()
    return kernel(key, undefined, () => new SystemVMemory(key, findSystemV(key), readOnly))
  }

  /** Opens what is there, or makes it. What is there may be larger; INVALID_MEMORY when it is smaller. Throws as both do. */
  static openOrCreate(key: number, size: number, options: SystemVOptions = {}): SystemVMemory {
    for (;;) {
      const memory =
        unless('ALREADY_EXISTS', () => SystemVMemory.create(key, size, options)) ?? unless('NOT_FOUND', () => SystemVMemory.open(key))
      if (!memory) continue
      if (memory.size >= size) return memory
      memory.close()
      throw new TalkwireError('INVALID_MEMORY', `${title(key)} has ${memory.size} bytes, not ${size}; remove it or take another key`)
    }
  }

  /** By the kernel's number. Throws NOT_FOUND, PERMISSION_DENIED, MISSING_PACKAGE, UNSUPPORTED. */
  static attach(id: number, { readOnly = false }: OpenOptions = {}): SystemVMemory {
    needMapping()
    return kernel(undefined, id, () => new SystemVMemory(undefined, id, readOnly))
  }

  /** Takes away what has that key; who has it attached keeps it. Throws NOT_FOUND, PERMISSION_DENIED. */
  static remove(key: number): void {
    validateKey(key)
    needMapping()
    kernel(key, undefined, () => removeSystemV(findSystemV(key)))
  }

  /** All there are on this machine, whoever made them. */
  static list(): SystemVSegment[] {
    needMapping()
    return listSystemV()
  }

  /** The key that C programs make of a path and a number from 1 to 255: ftok(3). Throws NOT_FOUND. */
  static keyOf(path: string, project: number): number {
    const { dev, ino } = memoryError(path, () => statSync(path))
    return ((project & 0xff) << 24) | ((dev & 0xff) << 16) | Number(BigInt(ino) & 0xffffn)
  }

  /** Bytes. */
  get size(): number {
    return this.view.size
  }

  /** All of it. Throws CLOSED. */
  get bytes(): Uint8Array {
    return this.view.array(Uint8Array)
  }

  /** `length` elements from byte `offset` on; without one, all that fit. Not a copy. Throws RangeError, CLOSED. */
  array<T extends object>(type: ViewConstructor<T>, offset?: number, length?: number): T {
    return this.view.array(type, offset, length)
  }

  /** Arrays that are still reachable, or were not collected yet; they keep the memory attached. */
  get held(): number {
    return this.view.held
  }

  /** Gives no more arrays; those that were given stay valid. Returns how many are still held. The segment stays: see `remove`. */
  close(): number {
    return this.view.close()
  }

  /** Takes it away; who has it attached keeps it. What is gone already is no error. Throws PERMISSION_DENIED. */
  remove(): void {
    unless('NOT_FOUND', () => kernel(this.key, this.id, () => removeSystemV(this.id)))
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

const title = (key: number | undefined, id?: number): string =>
  key !== undefined ? `System V memory with the key ${key}` : id !== undefined ? `System V memory ${id}` : 'System V memory'

/** Where there is no id yet. */
const TOO_LARGE: Refusals = { EINVAL: ['INVALID_MEMORY', 'a segment may not be that large; see ipcs -lm, kernel.shmmax'] }

const kernel = <T>(key: number | undefined, id: number | undefined, action: () => T): T =>
  memoryError(title(key, id), action, id === undefined ? TOO_LARGE : REMOVED)

/** A key is a signed number of 32 bits that is not 0. Throws RangeError. */
export function validateKey(key: number): void {
  if (!Number.isInteger(key) || key === 0 || key !== (key | 0))
    throw new RangeError(`${key} is no System V key; take a whole number of 32 bits that is not 0, or keyOf(path, project)`)
}

/** The key of a place. Throws NOT_FOUND; RangeError. */
export function keyOfPlace(place: SystemVPlace): number {
  if (typeof place !== 'number') return SystemVMemory.keyOf(place.path, place.project)
  validateKey(place)
  return place
}
