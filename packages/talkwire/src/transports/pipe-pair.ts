/** Two one-way streams as one duplex: stdin and stdout, two FIFOs. */
import type { Socket } from 'node:net'
import { Duplex, type Readable, type Writable } from 'node:stream'

type Referable = { ref?(): void; unref?(): void }

/** Each is called once. */
export interface PipePairHooks {
  /** Before the first of the two is closed. */
  ending?(): void
  /** When both are. */
  gone?(): void
}

export class PipePair extends Duplex {
  private begun = false

  constructor(
    private readonly input: Readable,
    private readonly output: Writable,
    private readonly hooks: PipePairHooks = {},
  ) {
    super({ allowHalfOpen: true })
    input.on('data', (chunk) => {
      if (!this.push(chunk)) input.pause()
    })
    input.on('end', () => this.push(null))
    input.on('error', (reason) => this.destroy(reason))
    // Without 'end' it was torn off.
    input.on('close', () => input.readableEnded || this.destroy())
    output.on('error', (reason) => this.destroy(reason))
    // When a child exits, Node tears its stdin off: what it said last may not have been read yet.
    output.on('close', () => output.writableFinished || !this.readableEnded || this.destroy())
  }

  /** As a socket's. */
  get bytesRead(): number | undefined {
    return (this.input as Partial<Socket>).bytesRead
  }

  ref(): void {
    for (const each of [this.input, this.output] as Referable[]) each.ref?.()
  }

  unref(): void {
    for (const each of [this.input, this.output] as Referable[]) each.unref?.()
  }

  override _read(): void {
    this.input.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.output.write(chunk, done)
  }

  override _writev(chunks: readonly { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.output.cork()
    chunks.forEach(({ chunk }, index) => this.output.write(chunk, index === chunks.length - 1 ? done : undefined))
    this.output.uncork()
  }

  override _final(done: (error?: Error | null) => void): void {
    this.ending()
    if (this.output.destroyed) done()
    else this.output.end(done)
  }

  override _destroy(reason: Error | null, done: (error?: Error | null) => void): void {
    this.ending()
    this.input.destroy()
    this.output.destroy()
    this.hooks.gone?.()
    done(reason)
  }

  private ending(): void {
    if (this.begun) return
    this.begun = true
    this.hooks.ending?.()
  }
}
