/** A file's bytes as typed arrays. */
import { TalkwireError } from '../error.js'
import { map, sync, type Mapping } from '../kernel/mapping.js'

export interface ViewConstructor<T> {
  readonly BYTES_PER_ELEMENT: number
  readonly name: string
  new (buffer: ArrayBuffer, offset: number, length: number): T
}

/**
 * A mapping and the arrays that show it. JavaScript cannot take an array back: the memory stays mapped until the last of
 * them is collected, whatever was closed or unlinked. So a late one shows old bytes, never somebody else's.
 */
export class View {
  private mapping: Mapping | undefined
  private readonly arrays = new Set<WeakRef<object>>()

  constructor(
    private readonly fd: number,
    private bytes: number,
    private readonly readOnly: boolean,
    private readonly what: string,
  ) {
    this.mapping = map(fd, bytes, !readOnly)
  }

  get size(): number {
    return this.bytes
  }

  /** Shows a file that has become larger; earlier arrays show its beginning still. */
  grow(size: number): void {
    this.open()
    this.mapping = map(this.fd, size, !this.readOnly)
    this.bytes = size
  }

  /** `length` elements from byte `offset` on; without one, all that fit. Throws RangeError with the numbers in it, CLOSED. */
  array<T extends object>(type: ViewConstructor<T>, offset = 0, length?: number): T {
    const { buffer } = this.open()
    const size = type.BYTES_PER_ELEMENT
    if (!Number.isSafeInteger(offset) || offset < 0 || offset % size !== 0 || offset > this.size)
      throw new RangeError(`offset ${offset} of a ${type.name}: take a multiple of ${size} from 0 to ${this.size}`)
    const most = Math.floor((this.size - offset) / size)
    const count = length ?? most
    if (!Number.isSafeInteger(count) || count < 0 || count > most)
      throw new RangeError(`${count} elements of ${size} bytes from byte ${offset} on: there is room for ${most}`)
    const array = new type(buffer, offset, count)
    this.arrays.add(new WeakRef(array))
    return array
  }

  /** Writes what changed to the file: msync(2). Blocks until it is there. */
  flush(): void {
    sync(this.open(), this.size)
  }

  /** Gives no more arrays. Returns how many are still held and keep the memory mapped. */
  close(): number {
    this.mapping = undefined
    return this.held
  }

  /** Arrays that are still reachable, or were not collected yet. */
  get held(): number {
    for (const reference of this.arrays) if (reference.deref() === undefined) this.arrays.delete(reference)
    return this.arrays.size
  }

  get closed(): boolean {
    return this.mapping === undefined
  }

  private open(): Mapping {
    if (this.mapping) return this.mapping
    throw new TalkwireError('CLOSED', `${this.what} was closed; open it again`)
  }
}

/** Bytes of memory that is made. Throws RangeError. */
export function validateSize(size: number): void {
  if (!Number.isSafeInteger(size) || size < 1) throw new RangeError(`${size} bytes of memory: take a whole number from 1 on`)
}
