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
