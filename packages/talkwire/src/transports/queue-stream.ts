/** Two queues of the kernel's as one duplex stream: what is written leaves in pieces, each a message. spec/queues.md. */
import { Duplex } from 'node:stream'
import { TalkwireError } from '../error.js'

/** `torn`: the other end has aborted. It comes before all that waits. */
export type Piece = { readonly is: 'data'; readonly bytes: Buffer } | { readonly is: 'end' } | { readonly is: 'torn' }

/** What a kind of queue gives: one queue to write to, one to read from. */
export interface QueuePair {
  /** Bytes of the largest piece. */
  readonly pieceSize: number
  /** False when the queue is full. Throws when it is gone. */
  send(piece: Piece): boolean
  receive(): Piece | undefined
  /** Calls `look` in each turn in which there are some, until it is called with nothing. */
  listen(look: (() => void) | undefined): void
  /** Calls back once when there may be room. Returns what ends that. */
  onceRoom(room: () => void): () => void
  /** Drops what the other side has not taken, and says so to it. Throws nothing. */
  tear(): void
  /** `lost`: nobody is at the other side any more. */
  close(lost: boolean): void
  ref(): void
  unref(): void
}

/** Pieces taken in one turn, so that an endless sender does not starve timers. */
const PIECES_A_TURN = 64

export class QueueStream extends Duplex {
  private reading = false
  private heardEnd = false
  private lost: TalkwireError | undefined
  private quiet: (() => void) | undefined
  private blocked: ((error: Error) => void) | undefined

  constructor(private readonly pair: QueuePair) {
    super({ allowHalfOpen: true })
  }

  ref(): void {
    this.pair.ref()
  }

  unref(): void {
    this.pair.unref()
  }

  /** There are pieces. */
  private readonly look = (): void => {
    try {
      this.takePieces()
    } catch (reason) {
      // Somebody took the queue away.
      this.destroy(TalkwireError.from(reason, 'CONNECTION_LOST'))
    }
  }

  private takePieces(): void {
    for (let count = 0; this.reading && count < PIECES_A_TURN; count++) {
      const piece = this.pair.receive()
      if (!piece) return this.checkLost()
      if (piece.is === 'torn') return void this.destroy(new TalkwireError('CONNECTION_LOST', 'the other end aborted'))
      if (piece.is === 'end') {
        this.heardEnd = true
        this.stopReading()
        this.push(null)
      } else if (!this.push(piece.bytes)) this.stopReading()
    }
  }

  /** The other process has ended: what it sent is still delivered, and nothing will be taken any more. */
  lose(cause: TalkwireError): void {
    this.lost = cause
    if (this.blocked) this.blocked(cause)
    else if (this.reading) this.look()
  }

  override _read(): void {
    if (this.heardEnd) return
    this.reading = true
    this.pair.listen(this.look)
    // Nobody sends any more, so nobody tells.
    if (this.lost) setImmediate(this.look)
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const { pieceSize } = this.pair
    let offset = 0
    this.sendAll(() => {
      const piece = bytes.subarray(offset, offset + pieceSize)
      offset += pieceSize
      return piece.length > 0 ? { is: 'data', bytes: piece } : undefined
    }, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    let next: Piece | undefined = { is: 'end' }
    this.sendAll(() => {
      const piece = next
      next = undefined
      return piece
    }, done)
  }

  override _destroy(reason: Error | null, done: (error?: Error | null) => void): void {
    this.stopReading()
    this.quiet?.()
    if (!this.heardEnd || !this.writableFinished) this.pair.tear()
    this.pair.close(this.lost !== undefined)
    done(reason)
  }

  private sendAll(next: () => Piece | undefined, done: (error?: Error | null) => void): void {
    let piece = next()
    const go = (): void => {
      this.quiet = this.blocked = undefined
      try {
        for (; piece; piece = next()) if (!this.pair.send(piece)) return wait()
      } catch (reason) {
        // The queue is gone, or no descriptor is to be had to wait for room.
        return done(TalkwireError.from(reason, 'CONNECTION_LOST'))
      }
      done()
    }
    const wait = (): void => {
      if (this.lost) return done(this.lost)
      this.quiet = this.pair.onceRoom(go)
      this.blocked = (error) => {
        this.quiet?.()
        this.quiet = this.blocked = undefined
        done(error)
      }
    }
    go()
  }

  private stopReading(): void {
    if (!this.reading) return
    this.reading = false
    this.pair.listen(undefined)
  }

  private checkLost(): void {
    if (this.lost && !this.heardEnd) this.destroy(this.lost)
  }
}
