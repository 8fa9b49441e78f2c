/** A session over a connection, with the protocol that fits it. */
import { JsonRpc } from './protocols/jsonrpc.js'
import { ValueProtocol } from './protocols/values.js'
import { Session, type SessionOptions } from './session/session.js'
import type { Connection } from './transports/transport.js'

export function openSession(session: Session, connection: Connection): Session {
  const { depth, batch, values } = session.limits
  const wire =
    connection.kind === 'bytes'
      ? new JsonRpc(connection, session, { depth, batch, values })
      : new ValueProtocol(connection, session, { depth })
  return session.open(connection, wire)
}

export const newSession = (options: SessionOptions): Session => new Session(options)

/** Warnings a second: a peer that provokes errors must not fill the log, nor the time that writing it takes. */
const MOST_WARNINGS = 10
let second = -Infinity
let errors = 0

/** What happens to errors that nobody asked for, unless told otherwise: they are not swallowed. */
export function warn(error: unknown, what: string): void {
  const now = performance.now()
  if (now - second >= 1000) {
    if (errors > MOST_WARNINGS) process.emitWarning(`${errors - MOST_WARNINGS} more errors were not shown`, 'TalkwireWarning')
    second = now
    errors = 0
  }
  if (++errors > MOST_WARNINGS) return
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.emitWarning(`in "${what}": ${text}`, 'TalkwireWarning')
}
