/** Whether the peer is read from: not while it asks for more than it takes. */
import { TalkwireError } from '../error.js'
import type { Session } from './session.js'

/** Milliseconds for a peer with `limits.outgoing` unread to read something, and between looks whether it did. */
const STALL = 10_000
const LOOK = 200

/** Why nothing is read from the peer at the moment. */
type Hold = 'notes' | 'outgoing'

/** More than `limits.outgoing` waits for the peer, until all of it has left. */
interface Stall {
  readonly timer: NodeJS.Timeout
  /** Bytes when it began; the least seen since the peer last read something, and when that was. */
  readonly level: number
  left: number
  since: number
}

export class Reading {
  private stall: Stall | undefined
  private held: readonly Hold[] = []

  constructor(private readonly session: Session) {}

  hold(why: Hold): void {
    if (!this.held.includes(why)) this.held = [...this.held, why]
    this.session.connection.pause()
  }

  unhold(why: Hold): void {
    if (!this.held.includes(why)) return
    this.held = this.held.filter((each) => each !== why)
    if (this.held.length === 0 && this.session.state !== 'closed') this.session.connection.resume()
  }

  /** A peer that asks and does not read the answers: it is not read from until it does, and not for ever. */
  outgrown(buffered: number): void {
    if (this.stall && buffered <= this.stall.level + 2 * this.session.limits.outgoing) return
    this.hold('outgoing')
    this.stall ??= { timer: setInterval(() => this.look(this.stall!), LOOK), level: buffered, left: buffered, since: performance.now() }
  }

  /** All has left, or nothing will. */
  drained(): void {
    if (!this.stall) return
    clearInterval(this.stall.timer)
    this.stall = undefined
    this.unhold('outgoing')
  }

  /** What its calls could add now would only make it worse. */
  get overfull(): boolean {
    return this.stall !== undefined && this.session.connection.buffered > this.stall.level + this.session.limits.outgoing
  }

  /**
   * Two that wait for each other to read would wait for ever. So a Talkwire peer that does not read is read
   * from again: its calls run while they add less than the limit, are refused while that adds less than the limit.
   */
  private look(stall: Stall): void {
    const { session } = this
    const { outgoing } = session.limits
    const { buffered } = session.connection
    if (buffered < stall.left) stall.since = performance.now()
    else if (performance.now() - stall.since >= STALL) {
      return session.abort(
        new TalkwireError('LIMIT_EXCEEDED', `the peer left more than ${outgoing} bytes unread for ${STALL} ms (limits.outgoing)`, {
          outcome: 'maybe-ran',
        }),
      )
    } else if (session.wire.extended && buffered <= stall.level + 2 * outgoing) this.unhold('outgoing')
    stall.left = buffered
  }
}
