/** A file's bytes as memory, shared with every process that maps the same file: docs/memory/mapped-file.md, mmap(2). */
import { closeSync, constants, fdatasync, fstatSync, openSync } from 'node:fs'
import { promisify } from 'node:util'
import { TalkwireError } from '../error.js'
import { map, needMapping, reserve, sync } from '../kernel/mapping.js'
import { memoryError } from './errors.js'
import { validateSize, View, type ViewConstructor } from './view.js'

export interface MappedFileOptions {
  /** Bytes that the file has at least: it is made, or made larger, if need be. Without it, a file of one byte at least must be there. */
  readonly size?: number
  /** Permissions of a file that is made. Default 0o600. */
  readonly mode?: number
  /** Then a write to it ends the process (SIGSEGV), because JavaScript has no arrays that refuse writes. */
  readonly readOnly?: boolean
}

/**
 * Somebody who makes the file smaller while it is mapped ends this process with the next touch behind its end (SIGBUS): there
 * is no way to survive that. Map only what programs write that you trust, or take `SharedMemory`.
 */
export class MappedFile implements Disposable {
  private readonly view: View
  /** Flushes that have not ended: until then the number of the descriptor must not become another file's. */
  private flushing = 0

  private constructor(
    readonly path: string,
    private readonly fd: number,
    size: number,
    readonly readOnly: boolean,
  ) {
    this.view = new View(map(fd, size, !readOnly), path)
  }

  /**
   * Throws NOT_FOUND, PERMISSION_DENIED, NO_SPACE, INVALID_MEMORY, LIMIT_EXCEEDED, MISSING_PACKAGE, UNSUPPORTED. Blocks while
   * the file system finds the blocks.
   */
  static open(path: string, { size, mode = 0o600, readOnly = false }: MappedFileOptions = {}): MappedFile {
    if (size !== undefined) validateSize(size)
    needMapping()
    return memoryError(path, () => {
      const flags = readOnly ? constants.O_RDONLY : size === undefined ? constants.O_RDWR : constants.O_RDWR | constants.O_CREAT
      const fd = openSync(path, flags | constants.O_NONBLOCK, mode)
      try {
        if (!fstatSync(fd).isFile()) throw new TalkwireError('INVALID_MEMORY', `${path} is no regular file; only those can be mapped`)
        if (size !== undefined && fstatSync(fd).size < size && !readOnly) reserve(fd, size, path)
        const bytes = fstatSync(fd).size
        if (bytes < (size ?? 1))
          throw new TalkwireError(
            'INVALID_MEMORY',
            `${path} has ${bytes} bytes, not ${size ?? 1}; open it with { size } and without readOnly`,
          )
        return new MappedFile(path, fd, bytes, readOnly)
      } catch (reason) {
        closeSync(fd)
        throw reason
      }
    })
  }

  /** Bytes that are mapped. */
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

  /**
   * Makes the file at least `size` bytes large and maps all of it anew, also what another process has added; arrays that were
   * given before show the same bytes still. Throws NO_SPACE, CLOSED, PERMISSION_DENIED when it is read-only.
   */
  grow(size: number): void {
    validateSize(size)
    this.view.mapped()
    memoryError(this.path, () => {
      const enough = fstatSync(this.fd).size >= size
      if (!enough && this.readOnly)
        throw new TalkwireError('PERMISSION_DENIED', `${this.path} was opened with readOnly; open it without to make it larger`)
      if (!enough) reserve(this.fd, size, this.path)
      this.view.replace(map(this.fd, fstatSync(this.fd).size, !this.readOnly))
    })
  }

  /** Resolves when everything that was written is on the disk. Does not block. Throws CLOSED, and what the disk says (EIO). */
  async flush(): Promise<void> {
    this.view.mapped()
    this.flushing++
    try {
      await promisify(fdatasync)(this.fd)
    } finally {
      this.flushing--
      this.release()
    }
  }

  /** The same, and blocks until it is done: msync(2). */
  flushSync(): void {
    sync(this.view.mapped(), this.size)
  }

  /** Arrays that are still reachable, or were not collected yet; they keep the file mapped. */
  get held(): number {
    return this.view.held
  }

  /** Gives no more arrays; those that were given stay valid. Returns how many are still held. What was written stays in the file. */
  close(): number {
    if (this.view.closed) return this.view.held
    const held = this.view.close()
    this.release()
    return held
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private release(): void {
    if (this.view.closed && this.flushing === 0) closeSync(this.fd)
  }
}
