/** A file's bytes as typed arrays. */
import { TalkwireError } from '../error.js'
import type { Mapping } from '../kernel/mapping.js'

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
  private readonly arrays = new Set<WeakRef<object>>()
  /** When so many are in `arrays`, those that were collected are taken out. */
  private crowd = 64
  private bytes: number
  private shown = false

  constructor(
    private mapping: Mapping | undefined,
    private readonly what: string,
  ) {
    this.bytes = mapping!.buffer.byteLength
  }

  get size(): number {
    return this.bytes
  }

  /** Shows another mapping from now on; earlier arrays show theirs. */
  replace(mapping: Mapping): void {
    this.end()
    this.mapping = mapping
    this.bytes = mapping.buffer.byteLength
  }

  /** `length` elements from byte `offset` on; without one, all that fit. Throws RangeError with the numbers in it, CLOSED. */
  array<T extends object>(type: ViewConstructor<T>, offset = 0, length?: number): T {
    const { buffer } = this.mapped()
    const size = type.BYTES_PER_ELEMENT
    if (!Number.isSafeInteger(offset) || offset < 0 || offset % size !== 0 || offset > this.size)
      throw new RangeError(`offset ${offset} of a ${type.name}: take a multiple of ${size} from 0 to ${this.size}`)
    const most = Math.floor((this.size - offset) / size)
    const count = length ?? most
    if (!Number.isSafeInteger(count) || count < 0 || count > most)
      throw new RangeError(`${count} elements of ${size} bytes from byte ${offset} on: there is room for ${most}`)
    const array = new type(buffer, offset, count)
    this.shown = true
    this.arrays.add(new WeakRef(array))
    if (this.arrays.size >= this.crowd) this.crowd = Math.max(64, 2 * this.held)
    return array
  }

  /** Gives no more arrays. Returns how many are still held and keep the memory mapped. */
  close(): number {
    if (this.mapping) this.end()
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

  private end(): void {
    const mapping = this.mapped()
    this.mapping = undefined
    if (!this.shown) mapping.unmap()
    this.shown = false
  }

  /** Throws CLOSED. */
  mapped(): Mapping {
    if (this.mapping) return this.mapping
    throw new TalkwireError('CLOSED', `${this.what} was closed; open it again`)
  }
}

/** Bytes of memory that is made. Throws RangeError. */
export function validateSize(size: number): void {
  if (!Number.isSafeInteger(size) || size < 1) throw new RangeError(`${size} bytes of memory: take a whole number from 1 on`)
}
