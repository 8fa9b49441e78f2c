/** A session over a connection, with the protocol that fits it. */
import { JsonRpc } from './protocols/jsonrpc.js'
import { ValueProtocol } from './protocols/values.js'
import { Session, type SessionOptions } from './session/session.js'
import type { Connection } from './transports/transport.js'

export function openSession(session: Session, connection: Connection): Session {
  const { depth, batch } = session.limits
  const wire = connection.kind === 'bytes' ? new JsonRpc(connection, session, { depth, batch }) : new ValueProtocol(connection, session, { depth })
  return session.open(connection, wire)
}

export const newSession = (options: SessionOptions): Session => new Session(options)

/** What happens to errors that nobody asked for, unless told otherwise: they are not swallowed. */
export function warn(error: unknown, what: string): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.emitWarning(`in "${what}": ${text}`, 'TalkwireWarning')
}
