/** What waits at the hub for one subscriber or one group: pieces of messages, bounded, with a stated policy. Sans I/O. */
import type { TalkwireError } from '../../error.js'
import { visibleError } from '../../session/validate.js'
import type { HubLimits } from './limits.js'

/** `wait`: publishers' confirmations wait. `drop-oldest`: the oldest pieces go, and are counted. `disconnect`: it ends with LIMIT_EXCEEDED. */
export type Slow = 'wait' | 'drop-oldest' | 'disconnect'
export const SLOW: readonly Slow[] = ['wait', 'drop-oldest', 'disconnect']

interface Piece {
  source: Buffer
  start: number
  end: number
  count: number
  stamp: number
}

/** The most bytes that leave in one piece. */
const PORTION = 128 * 1024

export interface Portion {
  readonly lost: number
  /** Packed messages; may be shared with other subscribers. */
  readonly bytes: Uint8Array
}

export class Subscriber {
  private pieces: Piece[] = []
  private first = 0
  private count = 0
  private bytes = 0
  private lost = 0
  private waiting: (() => void)[] = []
  ended: TalkwireError | undefined
  /** Reads what is kept, and has not caught up: what is kept is not offered. */
  replaying = false
  /** Something may be taken, or it ended. */
  wake: () => void = () => {}

  constructor(
    readonly pattern: string,
    readonly slow: Slow,
    private readonly limits: HubLimits,
  ) {}

  get full(): boolean {
    return this.count >= this.limits.buffer || this.bytes >= this.limits.bufferBytes
  }

  /** Messages. */
  get size(): number {
    return this.count
  }

  /** Something is here, or in what is kept. */
  get held(): boolean {
    return this.count > 0 || this.lost > 0 || this.replaying
  }

  /** `count` messages, bytes `start` to `end` of `source`, which may leave when what has this stamp is synced. */
  offer(source: Buffer, start: number, end: number, count: number, stamp: number): void {
    if (this.ended) return
    const last = this.pieces.at(-1)
    if (last && this.first < this.pieces.length && last.source === source && last.end === start && last.stamp === stamp) {
      last.end = end
      last.count += count
    } else this.pieces.push({ source, start, end, count, stamp })
    this.count += count
    this.bytes += end - start
    if (this.slow !== 'wait' && this.full) this.overflow()
    this.wake()
  }

  /** Calls back, once, when there is room; false: there is. */
  waits(call: () => void): boolean {
    if (this.slow !== 'wait' || !this.full || this.ended) return false
    this.waiting.push(call)
    return true
  }

  /** What may leave by now, at most so many messages; undefined: nothing. */
  take(synced: number, most = Infinity): Portion | undefined {
    const { lost } = this
    const taken: Piece[] = []
    let bytes = 0
    let count = 0
    while (this.first < this.pieces.length && count < most) {
      const piece = this.pieces[this.first]!
      const size = piece.end - piece.start
      if (piece.stamp > synced || (bytes > 0 && bytes + size > PORTION)) break
      taken.push(piece.count > most - count ? this.split(piece, most - count) : this.shift())
      bytes += size
      count += taken.at(-1)!.count
    }
    if (taken.length === 0 && lost === 0) return undefined
    this.lost = 0
    this.freed()
    return { lost, bytes: joined(taken) }
  }

  end(reason: TalkwireError): void {
    this.ended ??= reason
    this.pieces = []
    this.first = this.count = this.bytes = 0
    this.freed()
    this.wake()
  }

  private shift(): Piece {
    const piece = this.pieces[this.first]!
    this.pieces[this.first++] = undefined as unknown as Piece
    if (this.first >= 1024 || this.first === this.pieces.length) {
      this.pieces.splice(0, this.first)
      this.first = 0
    }
    this.count -= piece.count
    this.bytes -= piece.end - piece.start
    return piece
  }

  /** The first so many messages of the first piece. */
  private split(piece: Piece, count: number): Piece {
    let end = piece.start
    for (let index = 0; index < count; index++) end += 4 + piece.source.readUInt32LE(end)
    const head = { ...piece, end, count }
    piece.start = end
    piece.count -= count
    this.count -= count
    this.bytes -= end - head.start
    return head
  }

  private overflow(): void {
    if (this.slow === 'disconnect') {
      this.end(
        visibleError(
          'LIMIT_EXCEEDED',
          `more than ${this.limits.buffer} messages or ${this.limits.bufferBytes} bytes waited for this subscriber; read faster, or take another "slow"`,
        ),
      )
      return
    }
    // The newest stays, however large it is.
    while (this.full && this.pieces.length - this.first > 1) this.lost += this.shift().count
  }

  private freed(): void {
    if (this.full || this.waiting.length === 0) return
    for (const call of this.waiting.splice(0)) call()
  }
}

function joined(pieces: readonly Piece[]): Uint8Array {
  if (pieces.length === 1) return pieces[0]!.source.subarray(pieces[0]!.start, pieces[0]!.end)
  return Buffer.concat(pieces.map(({ source, start, end }) => source.subarray(start, end)))
}
