/**
 * Memory that several processes share, by name, by descriptor or by a path: docs/memory/shared-memory.md. The bytes are the
 * caller's alone, no header of ours stands in them. The names are those of Python's `multiprocessing.shared_memory`.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync } from 'node:fs'
import { isAlive } from '../discovery/identity.js'
import { TalkwireError } from '../error.js'
import { findMappers, type Mappers } from '../kernel/mappers.js'
import { map, needMapping, reserve, SEAL, sealsOf } from '../kernel/mapping.js'
import { memoryError, unless } from './errors.js'
import { pathOfSegment, SHM, validateSegmentName } from './names.js'
import { readRecord } from './record.js'
import { createAnonymous, createSegment, freeIfAbandoned, keepSegment, openSegment, removeStrayRecords, unlinkSegment } from './segment.js'
import { validateSize, View, type ViewConstructor } from './view.js'

export interface CreateOptions {
  /** Permissions. Default 0o600: this user only. */
  readonly mode?: number
  /** It stays when its maker and all its users crash. Without it, what a crash left behind is taken away by whoever wants the name next. */
  readonly persist?: boolean
  /** The first bytes, before anybody sees the name. Default zeros. */
  readonly content?: Uint8Array
}

export interface OpenOptions {
  /** Then a write to it ends the process (SIGSEGV), because JavaScript has no arrays that refuse writes. */
  readonly readOnly?: boolean
}

/** What `SharedMemory.list()` tells of one. */
export interface SegmentInfo {
  readonly name: string
  /** Bytes. */
  readonly size: number
  readonly mode: number
  readonly uid: number
  /** Which process made it with Talkwire, and whether that one still runs. */
  readonly creator: { readonly pid: number; readonly since: Date; readonly alive: boolean } | undefined
  /** Its maker crashed, did not mean to leave it, and nobody has it: the next one who wants the name takes it away, as does `clean`. */
  readonly abandoned: boolean
  /** Processes that have it mapped, of those that we may look into. */
  readonly users: readonly number[]
}

export class SharedMemory implements Disposable {
  private readonly view: View
  private made = false

  private constructor(
    /** Undefined for anonymous memory. */
    readonly name: string | undefined,
    /** Closed by `close()`; not to be closed by anybody else. */
    readonly fd: number,
    readonly readOnly: boolean,
  ) {
    try {
      const { size, blocks } = fstatSync(fd)
      if (size === 0) throw new TalkwireError('INVALID_MEMORY', `${name ?? 'the memory'} has no bytes (yet); its maker sets the size`)
      // Others leave holes, for which there may be no page when somebody touches them: a SIGBUS.
      if (!readOnly && blocks * 512 < size) reserve(fd, size, name)
      this.view = new View(map(fd, size, !readOnly), name === undefined ? 'anonymous memory' : `shared memory ${name}`)
    } catch (reason) {
      closeSync(fd)
      throw reason
    }
    open.add(this)
  }

  /**
   * Makes `size` bytes of zeros under a name that nobody has. Throws ALREADY_EXISTS, NO_SPACE, PERMISSION_DENIED,
   * INVALID_ADDRESS, LIMIT_EXCEEDED, MISSING_PACKAGE, UNSUPPORTED; RangeError. Blocks while the kernel finds the pages, so
   * that none is missing later.
   */
  static create(name: string, size: number, { mode = 0o600, persist = false, content }: CreateOptions = {}): SharedMemory {
    const plain = validateSegmentName(name)
    validateSize(size)
    if (content && content.length > size) throw new RangeError(`${content.length} bytes of content do not fit ${size} bytes of memory`)
    needMapping()
    return memoryError(pathOfSegment(plain), () => {
      freeIfAbandoned(plain)
      const memory = new SharedMemory(plain, createSegment(plain, size, mode, persist, content), false)
      memory.made = !persist
      return memory
    })
  }

  /**
   * Opens what is there, if it is this user's. Throws NOT_FOUND, NO_SPACE for pages that its maker left out, PERMISSION_DENIED, INVALID_ADDRESS, INVALID_MEMORY,
   * LIMIT_EXCEEDED, MISSING_PACKAGE, UNSUPPORTED.
   */
  static open(name: string, { readOnly = false }: OpenOptions = {}): SharedMemory {
    const plain = validateSegmentName(name)
    needMapping()
    return memoryError(pathOfSegment(plain), () => new SharedMemory(plain, openSegment(plain, readOnly), readOnly))
  }

  /** Opens what is there, or makes it. What is there may be larger than `size`; INVALID_MEMORY when it is smaller. Throws as both do. */
  static openOrCreate(name: string, size: number, options: CreateOptions = {}): SharedMemory {
    for (;;) {
      const memory =
        unless('ALREADY_EXISTS', () => SharedMemory.create(name, size, options)) ?? unless('NOT_FOUND', () => SharedMemory.open(name))
      if (memory && memory.size >= size) return memory
      if (!memory) continue
      memory.close()
      throw new TalkwireError(
        'INVALID_MEMORY',
        `shared memory ${name} has ${memory.size} bytes, not ${size}; unlink it or take another name`,
      )
    }
  }

  /** `size` bytes of zeros without a name, which nobody can make smaller: a sealed memfd. Others open its `path`, or get its descriptor. */
  static anonymous(size: number): SharedMemory {
    validateSize(size)
    needMapping()
    return memoryError('anonymous memory', () => new SharedMemory(undefined, createAnonymous(size), false))
  }

  /**
   * Memory at a path or behind a descriptor, for example `path` of another process's anonymous one. It must be sealed against
   * shrinking: of a file that anybody cuts off, the next touch would end this process. Throws INVALID_MEMORY, NOT_FOUND,
   * PERMISSION_DENIED, LIMIT_EXCEEDED, MISSING_PACKAGE, UNSUPPORTED. A descriptor stays the caller's.
   */
  static attach(from: string | number, { readOnly = false }: OpenOptions = {}): SharedMemory {
    const path = typeof from === 'number' ? `/proc/self/fd/${from}` : from
    needMapping()
    return memoryError(path, () => {
      const fd = openSync(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK)
      if ((sealsOf(fd) & SEAL.shrink) !== 0) return new SharedMemory(undefined, fd, readOnly)
      closeSync(fd)
      throw new TalkwireError(
        'INVALID_MEMORY',
        `${path} is not sealed against shrinking; its maker adds F_SEAL_SHRINK, or open it with MappedFile`,
      )
    })
  }

  /** Takes the name away; who has it open keeps it. Throws NOT_FOUND, PERMISSION_DENIED. */
  static unlink(name: string): void {
    const plain = validateSegmentName(name)
    memoryError(pathOfSegment(plain), () => unlinkSegment(plain))
  }

  /** All there are on this machine, whoever made them. Looks into every process: some milliseconds. Throws UNSUPPORTED. */
  static list(): SegmentInfo[] {
    needMapping()
    const mappers = findMappers()
    return readdirSync(SHM).flatMap((name) => describe(name, mappers) ?? [])
  }

  /** Takes away all that crashed processes of this user left behind, and nobody has. Returns the names. Throws UNSUPPORTED, UNAVAILABLE. */
  static clean(): string[] {
    needMapping()
    return memoryError(SHM, () => {
      const names = readdirSync(SHM).filter(freeIfAbandoned)
      removeStrayRecords()
      return names
    })
  }

  /** Bytes. */
  get size(): number {
    return this.view.size
  }

  /** Where other processes of this user open anonymous memory, as long as this one has it open. */
  get path(): string {
    return this.name === undefined ? `/proc/${process.pid}/fd/${this.fd}` : pathOfSegment(this.name)
  }

  /** All of it. Throws CLOSED. */
  get bytes(): Uint8Array {
    return this.view.array(Uint8Array)
  }

  /** `length` elements from byte `offset` on; without one, all that fit. Not a copy. Throws RangeError, CLOSED. */
  array<T extends object>(type: ViewConstructor<T>, offset?: number, length?: number): T {
    return this.view.array(type, offset, length)
  }

  /** Arrays that are still reachable, or were not collected yet; they keep the memory mapped. */
  get held(): number {
    return this.view.held
  }

  get closed(): boolean {
    return this.view.closed
  }

  /** Gives no more arrays; those that were given stay valid. Returns how many are still held. The name stays: see `unlink`. */
  close(): number {
    if (!open.delete(this)) return this.view.held
    if (this.made) keepSegment(this.name!, this.fd)
    closeSync(this.fd)
    return this.view.close()
  }

  /** Takes the name away, if it is still this memory's; who has it open keeps it. Throws PERMISSION_DENIED, CLOSED. */
  unlink(): void {
    const { name } = this
    if (name === undefined) return
    if (this.view.closed)
      throw new TalkwireError(
        'CLOSED',
        `shared memory ${name} was closed; SharedMemory.unlink(${JSON.stringify(name)}) takes away what has the name now`,
      )
    unless('NOT_FOUND', () => memoryError(this.path, () => unlinkSegment(name, fstatSync(this.fd).ino)))
    this.made = false
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** What this process has open. One that ends well closes all of it; what one leaves that fails is taken away like after a crash. */
const open = new Set<SharedMemory>()
process.on('exit', (code) => {
  if (code === 0) for (const memory of open) memory.close()
})

function describe(name: string, mappers: Mappers): SegmentInfo | undefined {
  const stat = lstatSync(pathOfSegment(name), { throwIfNoEntry: false })
  // POSIX semaphores are in the same folder: sem_overview(7).
  if (!stat?.isFile() || name.startsWith('sem.')) return undefined
  const record = readRecord(name, stat)
  const users = mappers.of(stat)
  const alive = record !== undefined && isAlive(record)
  return {
    name,
    size: stat.size,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    creator: record && { pid: record.pid, since: new Date(record.since), alive },
    abandoned: record !== undefined && !record.kept && !alive && users.length === 0,
    users,
  }
}
