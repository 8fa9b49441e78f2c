/** Where a connection over rings writes its messages: a short one right where it will be read, so that it is not copied. */
import { Writer } from '../codecs/writer.js'
import { FULL, type Producer } from '../memory/producer.js'

/** Bytes of the ring that a message may take before it is moved to memory of its own. */
const ROOM = 4096
/** Positions are counted from the beginning of a window, so that what is moved out of the ring needs no more than this before it. */
const WINDOW = 1 << 14
/** Longer messages give their memory back. */
const MAX_IDLE = 256 * 1024

/** A part of the ring's data, to its end. */
interface Window {
  readonly buffer: Buffer
  readonly view: DataView
}

function windowsOf({ bytes }: Producer['data']): Window[] {
  return Array.from({ length: Math.ceil(bytes.length / WINDOW) }, (_, n) => {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset + n * WINDOW, bytes.length - n * WINDOW)
    return { buffer, view: new DataView(buffer.buffer, buffer.byteOffset, buffer.length) }
  })
}

export class RingWriter extends Writer {
  /** Where the message begins. */
  start = 0
  /** The message is being written into the ring; nobody reads it before `publish`. */
  inRing = false
  private readonly windows: readonly Window[]
  private own: Buffer
  private ownView: DataView

  /** `header`: bytes to be left free before each message. */
  constructor(
    private readonly producer: Producer,
    private readonly header: number,
  ) {
    super(1024)
    this.windows = windowsOf(producer.data)
    this.own = this.buffer
    this.ownView = this.view
  }

  /** A message follows, which is written into the ring if it may be and there is room. */
  begin(mayEnter: boolean): void {
    if (this.inRing) return
    const offset = mayEnter ? this.producer.tryClaim(ROOM) : FULL
    if (offset === FULL) return this.useOwn()
    const window = this.windows[offset >> 14]!
    if (this.buffer !== window.buffer) {
      this.buffer = window.buffer
      this.view = window.view
    }
    this.start = this.position = (offset & (WINDOW - 1)) + this.header
    this.limit = this.start - this.header + ROOM
    this.inRing = true
  }

  /** The next message is written elsewhere; this one was published, copied, or is thrown away. */
  reset(): void {
    if (this.inRing) this.producer.abort()
    if (this.own.length > MAX_IDLE) this.replace(Buffer.allocUnsafeSlow(this.initialSize))
    this.inRing = false
    this.start = this.position = 0
  }

  /** What was written into the ring is the message, whole. Its header stands before it. Wakes nobody. */
  publish(): void {
    this.producer.shrink(this.position - this.start + this.header)
    this.inRing = false
    this.producer.commit(true)
  }

  /** Goes on elsewhere, at the same positions, with room for `size` more bytes. */
  leaveRing(size: number): void {
    const { buffer, start, position } = this
    if (this.own.length < position + size) this.setOwn(Buffer.allocUnsafeSlow(position + size))
    buffer.copy(this.own, start, start, position)
    this.producer.abort()
    this.useOwn()
  }

  override replace(buffer: Buffer): void {
    super.replace(buffer)
    this.setOwn(buffer)
    this.inRing = false
  }

  protected override grow(size: number): void {
    if (this.inRing) this.leaveRing(size)
    else super.grow(size)
  }

  private setOwn(buffer: Buffer): void {
    this.own = buffer
    this.ownView = new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
  }

  private useOwn(): void {
    this.buffer = this.own
    this.view = this.ownView
    this.limit = this.own.length
    this.inRing = false
  }
}
