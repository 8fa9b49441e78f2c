/** One datagram of a peer that knows only JSON-RPC: a request, a notification or a batch, and the answer to it in one datagram. */
import { TalkwireError } from '../error.js'
import type { MessagePipe } from './message-connection.js'
import type { Peer, Sink } from './transport.js'

/** Who forges the sender of a datagram gets this many times its bytes sent to the victim, at most, as in QUIC. */
const AMPLIFICATION = 3
/** Every error fits into so much. */
const LEAST_ANSWER = 1024

export interface PlainHooks {
  answer(bytes: Buffer): void
  ended(): void
}

export class PlainPipe implements MessagePipe {
  readonly binary = false
  readonly lossy = true
  private state: 'open' | 'closed' = 'open'
  private sink: Sink | undefined
  private cause: TalkwireError | undefined

  constructor(
    readonly peer: Peer,
    readonly maxMessage: number,
    private readonly hooks: PlainHooks,
  ) {}

  /** A JSON object or array begins like that. */
  static isText(bytes: Buffer): boolean {
    return bytes[0] === 0x7b || bytes[0] === 0x5b
  }

  /** Bytes that its answer may have where its sender may be forged; undefined: it is too short for any answer. */
  static mostFor(bytes: Buffer): number | undefined {
    const most = AMPLIFICATION * bytes.length
    return most < LEAST_ANSWER ? undefined : most
  }

  /** The message, and that no other follows: what was asked is still answered. */
  deliver(bytes: Buffer, sink: Sink): void {
    this.sink = sink
    if (this.state === 'closed') return sink.closed(this.cause)
    try {
      sink.message(bytes, 0, bytes.length, true)
    } catch (reason) {
      return this.abort(TalkwireError.from(reason, 'CONNECTION_LOST'))
    }
    if ((this.state as string) === 'closed') return
    if (sink.ended) sink.ended()
    else void this.close()
  }

  ended(): TalkwireError | undefined {
    return this.state === 'open' ? undefined : (this.cause ?? new TalkwireError('CONNECTION_CLOSED', 'this datagram was answered'))
  }

  send(bytes: Buffer): boolean {
    this.hooks.answer(bytes)
    return true
  }

  buffered(): number {
    return 0
  }

  unsent(): number {
    return 0
  }

  pause(): void {}
  resume(): void {}
  ref(): void {}
  unref(): void {}

  close(): Promise<void> {
    this.finish(undefined)
    return Promise.resolve()
  }

  abort(cause: TalkwireError): void {
    this.finish(cause)
  }

  private finish(cause: TalkwireError | undefined): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.cause = cause
    this.hooks.ended()
    this.sink?.closed(cause)
  }
}
