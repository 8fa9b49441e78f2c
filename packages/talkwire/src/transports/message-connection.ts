/** A connection over anything that already keeps message borders: its maker gives `send` and the ends, the rest is here. */
import { seal, takeAttachments } from '../codecs/envelope.js'
import { Writer } from '../codecs/writer.js'
import type { TalkwireError } from '../error.js'
import { tooLargeToSend } from './refusals.js'
import { MAX_MESSAGE, type ByteConnection, type Peer } from './transport.js'

export interface MessagePipe {
  readonly peer: Peer
  readonly binary: boolean
  readonly lossy?: boolean
  readonly oneWay?: 'in' | 'out'
  readonly maxMessage?: number | undefined
  /** Sends one message; the bytes are the pipe's. False: wait. */
  send(bytes: Buffer): boolean
  pause(): void
  resume(): void
  close(): Promise<void>
  abort(cause: TalkwireError): void
  buffered(): number
  unsent(): number
  ref(): void
  unref(): void
  /** Why nothing can be sent any more; undefined while it can. */
  ended(): TalkwireError | undefined
}

export class MessageConnection implements ByteConnection {
  readonly kind = 'bytes'
  committed = 0
  private readonly writer = new Writer(1024)
  private maxSend: number

  constructor(private readonly pipe: MessagePipe) {
    this.maxSend = pipe.maxMessage ?? MAX_MESSAGE
  }

  get peer(): Peer {
    return this.pipe.peer
  }

  get binary(): boolean {
    return this.pipe.binary
  }

  get lossy(): boolean {
    return this.pipe.lossy === true
  }

  get oneWay(): 'in' | 'out' | undefined {
    return this.pipe.oneWay
  }

  get buffered(): number {
    return this.pipe.buffered()
  }

  get unsent(): number {
    return this.pipe.unsent()
  }

  begin(): Writer {
    const ended = this.pipe.ended()
    if (ended) throw ended
    return this.writer
  }

  rollback(): void {
    this.writer.position = 0
    this.writer.attachments = []
  }

  commit(): boolean {
    const { writer } = this
    const length = seal(writer, 0)
    if (length > this.maxSend) {
      this.rollback()
      throw tooLargeToSend(length, this.maxSend)
    }
    const bytes = Buffer.allocUnsafeSlow(length)
    const behind = takeAttachments(writer, 0)
    let offset = writer.buffer.copy(bytes, 0, 0, writer.position)
    for (const part of behind) {
      bytes.set(part, offset)
      offset += part.byteLength
    }
    writer.position = 0
    this.committed = length
    return this.pipe.send(bytes)
  }

  limitSend(bytes: number): void {
    this.maxSend = Math.min(this.maxSend, bytes)
  }

  pause(): void {
    this.pipe.pause()
  }

  resume(): void {
    this.pipe.resume()
  }

  close(): Promise<void> {
    return this.pipe.close()
  }

  abort(cause: TalkwireError): void {
    this.pipe.abort(cause)
  }

  ref(): void {
    this.pipe.ref()
  }

  unref(): void {
    this.pipe.unref()
  }
}
