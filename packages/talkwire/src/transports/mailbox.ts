/**
 * Backpressure and honest ends over a channel that has neither: a thread's port, Node's IPC. What arrives is
 * acknowledged when the sink has it, and only so much is on its way unacknowledged; the rest waits here. Each side
 * says when it sends no more, and a channel that just vanishes is a loss.
 */
import { TalkwireError } from '../error.js'
import { connectionClosed } from './refusals.js'
import type { Sink } from './transport.js'

/** Unacknowledged bytes from which a send says false, and messages wait here. */
const HIGH_WATER_MARK = 256 * 1024
const LOW_WATER_MARK = HIGH_WATER_MARK / 2
const ACKNOWLEDGE_AT = HIGH_WATER_MARK / 8
/** Delivered in one turn after a pause. */
const MESSAGES_A_TURN = 256

/** What one side tells the other. `acknowledged` bytes travel with everything. */
export type Note<T> =
  | { readonly is: 'message'; readonly size: number; readonly value: T }
  | { readonly is: 'acknowledgement' | 'end' | 'abort' }

export interface Channel<T> {
  /** Throws what cannot be sent; a channel that is gone takes everything silently. */
  send(note: Note<T>, acknowledged: number): void
  /** A copy of a message that has to wait, for its sender may change it meanwhile. Throws what cannot be copied. */
  copy(value: T): T
  /** Hands a message to the sink. */
  deliver(value: T): void
  /** After the end: nothing will be sent any more. */
  release(): void
}

interface Message<T> {
  readonly value: T
  readonly size: number
}

export class Mailbox<T> {
  private sink: Sink | undefined
  private inbox: Message<T>[] = []
  private outbox: Message<T>[] = []
  /** Bytes that the other side has not acknowledged. */
  private underway = 0
  /** Bytes in the outbox. */
  private waiting = 0
  private owed = 0
  private acknowledging = false
  private refused = false
  private paused = false
  private delivering = false
  private deaf = false
  private state: 'open' | 'closing' | 'closed' = 'open'
  private far: 'open' | 'ended' | 'lost' = 'open'
  private told = false
  private cause: TalkwireError | undefined
  private resolve!: () => void
  readonly closed = new Promise<void>((resolve) => {
    this.resolve = resolve
  })

  constructor(private readonly channel: Channel<T>) {}

  /** Gives it its sink. Before that nothing arrives. */
  open(sink: Sink): void {
    this.sink = sink
    // It may have been aborted by whoever made the sink.
    if (this.state === 'closed') sink.closed(this.cause)
  }

  /** Bytes that were posted and that the other side's sink has not. */
  get buffered(): number {
    return this.underway + this.waiting
  }

  /** Messages that have not left. */
  get unsent(): number {
    return this.outbox.length
  }

  /** Why nothing can be sent; undefined while something can. */
  get ended(): TalkwireError | undefined {
    if (this.state === 'open' && this.far !== 'lost') return undefined
    return this.cause ?? connectionClosed()
  }

  post(value: T, size: number): boolean {
    const { ended } = this
    if (ended) throw ended
    if (this.outbox.length > 0 || this.underway > HIGH_WATER_MARK) {
      this.outbox.push({ value: this.channel.copy(value), size })
      this.waiting += size
    } else this.transmit(value, size)
    if (this.buffered > HIGH_WATER_MARK) this.refused = true
    return !this.refused
  }

  private transmit(value: T, size: number): void {
    this.channel.send({ is: 'message', size, value }, this.owed)
    this.owed = 0
    this.underway += size
  }

  /** What the other side said. */
  receive(note: Note<T>, acknowledged: number): void {
    if (this.state === 'closed') return
    if (acknowledged > 0) this.acknowledge(acknowledged)
    if ((this.state as string) === 'closed') return
    if (note.is === 'message') this.take(note)
    else if (note.is === 'end') {
      this.far = 'ended'
      this.advance()
    } else if (note.is === 'abort') this.finish(new TalkwireError('CONNECTION_LOST', 'the other end aborted'))
  }

  /** The channel is gone. What arrived is still delivered. */
  lost(cause: TalkwireError): void {
    if (this.state === 'closed' || this.far !== 'open') return
    this.far = 'lost'
    this.cause ??= cause
    this.advance()
  }

  /** What arrives is no use any more. */
  ignore(): void {
    this.deaf = true
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    queueMicrotask(this.advance)
  }

  close(): Promise<void> {
    if (this.state === 'open') {
      this.state = 'closing'
      this.paused = false
      if (this.outbox.length === 0) this.sendEnd()
      queueMicrotask(this.advance)
    }
    return this.closed
  }

  private sendEnd(): void {
    this.channel.send({ is: 'end' }, this.owed)
    this.owed = 0
  }

  abort(cause: TalkwireError): void {
    if (this.state === 'closed') return
    this.channel.send({ is: 'abort' }, 0)
    this.finish(cause)
  }

  private take({ value, size }: { value: T; size: number }): void {
    if (this.paused || this.delivering || this.inbox.length > 0) this.inbox.push({ value, size })
    else {
      this.hand(value, size)
      if (this.inbox.length > 0) queueMicrotask(this.advance)
    }
  }

  private hand(value: T, size: number): void {
    this.delivering = true
    try {
      if (!this.deaf) this.channel.deliver(value)
    } finally {
      this.delivering = false
    }
    this.owed += size
    if (this.owed >= ACKNOWLEDGE_AT) this.sendAcknowledgement()
    else if (!this.acknowledging) {
      // With luck an answer takes it along before.
      this.acknowledging = true
      setImmediate(this.sendAcknowledgement)
    }
  }

  private readonly sendAcknowledgement = (): void => {
    this.acknowledging = false
    if (this.owed === 0 || this.state === 'closed') return
    const { owed } = this
    this.owed = 0
    this.channel.send({ is: 'acknowledgement' }, owed)
  }

  private acknowledge(bytes: number): void {
    this.underway = Math.max(0, this.underway - bytes)
    let sent = 0
    for (; sent < this.outbox.length && this.underway <= HIGH_WATER_MARK; sent++) {
      const { value, size } = this.outbox[sent]!
      this.waiting -= size
      this.transmit(value, size)
    }
    if (sent > 0) {
      this.outbox.splice(0, sent)
      if (this.outbox.length === 0 && this.state === 'closing') {
        this.sendEnd()
        this.advance()
      }
    }
    if (!this.refused || this.state !== 'open' || this.buffered > LOW_WATER_MARK) return
    this.refused = false
    this.sink!.drained()
  }

  /** Delivers what waits, then sees to the end. */
  private readonly advance = (): void => {
    if (this.state === 'closed' || this.delivering) return
    for (let count = 0; this.inbox.length > 0 && !this.paused; count++) {
      // A macro task: an endless sender must not starve timers.
      if (count === MESSAGES_A_TURN) return void setImmediate(this.advance)
      const { value, size } = this.inbox.shift()!
      this.hand(value, size)
      if ((this.state as string) === 'closed') return
    }
    if (this.inbox.length === 0) this.checkEnd()
  }

  private checkEnd(): void {
    if (this.far === 'lost') return this.finish(this.cause)
    if (this.far === 'open') return
    if (this.state === 'closing') return this.outbox.length === 0 ? this.finish(undefined) : undefined
    if (this.told) return
    this.told = true
    if (this.sink!.ended) this.sink!.ended()
    else void this.close()
  }

  private finish(cause: TalkwireError | undefined): void {
    this.state = 'closed'
    this.cause = cause
    this.inbox = []
    this.outbox = []
    this.waiting = 0
    this.channel.release()
    this.sink?.closed(cause)
    this.resolve()
  }
}
