/**
 * Where messages are written: one growing slab, so that a turn's messages leave in one write and
 * no message needs a buffer of its own. `buffer` changes when it grows: read it again after `reserve`.
 */
export class Writer {
  buffer: Buffer
  /** DataView over the same bytes. */
  view: DataView
  position = 0
  /** Bytes of the buffer that may be written. */
  limit: number
  /** Binary arguments of the message being written that travel beside it, in order; not copied. */
  attachments: Uint8Array[] = []

  constructor(readonly initialSize = 8192) {
    this.buffer = Buffer.allocUnsafeSlow(initialSize)
    this.view = new DataView(this.buffer.buffer)
    this.limit = initialSize
  }

  /** Makes room for `size` more bytes. Never blocks; throws RangeError above Node's buffer limit. */
  reserve(size: number): void {
    if (this.position + size > this.limit) this.grow(size)
  }

  protected grow(size: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.max(this.buffer.length * 2, this.position + size))
    this.buffer.copy(grown, 0, 0, this.position)
    this.replace(grown)
  }

  /** Starts over on another slab; the old one now belongs to whoever took it. */
  replace(buffer: Buffer): void {
    this.buffer = buffer
    this.view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
    this.limit = buffer.length
  }

  /** Writes text as UTF-8 and returns how many bytes that took. */
  text(value: string): number {
    this.reserve(value.length * 3)
    const written = this.buffer.write(value, this.position)
    this.position += written
    return written
  }

  bytes(value: Uint8Array): void {
    this.reserve(value.length)
    this.buffer.set(value, this.position)
    this.position += value.length
  }
}
