/** What the two ends of a session of HTTP/2 have in common as connections. */
import type http2 from 'node:http2'
import type { TalkwireError } from '../error.js'
import type { ConnectionBase, Peer } from '../transports/transport.js'

export abstract class Http2ConnectionBase implements ConnectionBase {
  readonly unsent = 0
  abstract readonly peer: Peer
  abstract readonly session: http2.Http2Session
  abstract readonly buffered: number
  cause: TalkwireError | undefined

  /** Right before it closes on purpose. */
  protected abstract closes(): void

  // Each call has a window of its own.
  pause(): void {}
  resume(): void {}

  close(): Promise<void> {
    this.closes()
    return new Promise((resolve) => {
      if (this.session.destroyed) return resolve()
      this.session.once('close', () => resolve())
      this.session.close()
    })
  }

  abort(cause: TalkwireError): void {
    this.cause ??= cause
    this.session.destroy()
  }

  ref(): void {
    if (!this.session.destroyed) this.session.ref()
  }

  unref(): void {
    if (!this.session.destroyed) this.session.unref()
  }
}
