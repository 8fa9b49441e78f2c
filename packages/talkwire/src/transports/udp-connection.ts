/** One end of a connection over datagrams, once both sides have agreed on it. */
import { TalkwireError } from '../error.js'
import type { MessagePipe } from './message-connection.js'
import { connectionClosed, tooLargeArrived } from './refusals.js'
import type { Peer, Sink } from './transport.js'
import { createPacket, HEADER, MAX_PAYLOAD, Packet, Seen, type ParsedPacket } from './udp-packets.js'

/** Milliseconds until a datagram that wants an answer is sent again: the first time, then twice as long each time. */
export const FIRST_RETRY = 50
/** How often in all. */
const CLOSE_TRIES = 5
/** Bytes that may wait in this process; more are dropped, as the network would. */
const MOST_WAITING = 4 * 1024 * 1024

/** The socket under it, which it may share with others. */
export interface Wire {
  send(bytes: readonly Buffer[], sent: () => void): void
  /** It is over: nothing more comes and goes. */
  release(): void
  ref(): void
  unref(): void
}

export class UdpPipe implements MessagePipe {
  readonly binary = false
  readonly lossy = true
  readonly maxMessage: number
  private sink: Sink | undefined
  private state: 'open' | 'closing' | 'closed' = 'open'
  private cause: TalkwireError | undefined
  private paused = false
  private number = 0
  private waiting = 0
  private retry: NodeJS.Timeout | undefined
  private readonly seen = new Seen()
  private resolve!: () => void
  private readonly done = new Promise<void>((resolve) => {
    this.resolve = resolve
  })

  constructor(
    readonly id: string,
    readonly peer: Peer,
    private readonly wire: Wire,
    maxMessage = MAX_PAYLOAD,
  ) {
    this.maxMessage = Math.min(maxMessage, MAX_PAYLOAD)
  }

  /** Gives it its sink. It may have been ended by whoever made the sink. */
  attach(sink: Sink): void {
    this.sink = sink
    if (this.state === 'closed') sink.closed(this.cause)
  }

  receive({ kind, number }: ParsedPacket, bytes: Buffer): void {
    if (this.state === 'closed') return
    if (kind === Packet.data) this.take(number, bytes)
    else if (kind === Packet.abort)
      this.finish(new TalkwireError('CONNECTION_LOST', 'the other end aborted, or does not know this connection'))
    else if (kind === Packet.close) {
      this.tell(Packet.closed)
      this.finish(undefined)
    } else if (kind === Packet.closed && this.state === 'closing') this.finish(undefined)
  }

  ended(): TalkwireError | undefined {
    return this.state === 'open' ? undefined : (this.cause ?? connectionClosed())
  }

  /** Always true: there is nobody to wait for. */
  send(bytes: Buffer): boolean {
    if (this.waiting + bytes.length > MOST_WAITING) return true
    this.number = (this.number + 1) >>> 0 || 1
    this.transmit([createPacket(Packet.data, this.id, this.number), bytes])
    return true
  }

  buffered(): number {
    return this.waiting
  }

  unsent(): number {
    return 0
  }

  /** What comes meanwhile is dropped. */
  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  close(): Promise<void> {
    if (this.state === 'open') {
      this.state = 'closing'
      this.sayClose(0)
    }
    return this.done
  }

  abort(cause: TalkwireError): void {
    if (this.state === 'closed') return
    this.tell(Packet.abort)
    this.finish(cause)
  }

  ref(): void {
    this.wire.ref()
  }

  unref(): void {
    this.wire.unref()
  }

  /** Nobody answers any more. */
  lose(cause: TalkwireError): void {
    if (this.state !== 'closed') this.finish(this.state === 'closing' ? undefined : cause)
  }

  private take(number: number, bytes: Buffer): void {
    if (this.paused || this.state !== 'open' || !this.seen.add(number)) return
    try {
      if (bytes.length - HEADER > this.maxMessage) throw tooLargeArrived(bytes.length - HEADER, this.maxMessage)
      this.sink?.message(bytes, HEADER, bytes.length, true)
    } catch (reason) {
      const error = TalkwireError.from(reason, 'CONNECTION_LOST')
      if (this.sink?.broken) this.sink.broken(error)
      else this.abort(error)
    }
  }

  private sayClose(tries: number): void {
    if (tries === CLOSE_TRIES) return this.finish(undefined)
    this.tell(Packet.close)
    this.retry = setTimeout(() => this.sayClose(tries + 1), FIRST_RETRY * 2 ** tries)
  }

  private tell(kind: typeof Packet.close | typeof Packet.closed | typeof Packet.abort): void {
    this.transmit([createPacket(kind, this.id)])
  }

  private transmit(bytes: readonly Buffer[]): void {
    const size = bytes.reduce((sum, each) => sum + each.length, 0)
    this.waiting += size
    this.wire.send(bytes, () => {
      this.waiting -= size
    })
  }

  private finish(cause: TalkwireError | undefined): void {
    this.state = 'closed'
    this.cause = cause
    clearTimeout(this.retry)
    this.wire.release()
    this.sink?.closed(cause)
    this.resolve()
  }
}
