/** Foreign protocols of a service: a session for each peer that a dialect lets in. */
import { checkDialectServes } from './abilities.js'
import { TalkwireError } from './error.js'
import { newSession } from './open-session.js'
import { dialectLimits, ServedWire, type Admit, type Dialect, type DialectServerOptions } from './protocols/dialect.js'
import type { ServeOptions } from './serve.js'
import type { Limits } from './session/limits.js'
import type { Service } from './session/service.js'
import type { Session, SessionOptions } from './session/session.js'
import type { Listener } from './transports/transport.js'
import { warn } from './warn.js'

export interface DialectService {
  readonly service: Service
  readonly options: ServeOptions
  readonly limits: Limits
  readonly token: string | false
  readonly forEach: SessionOptions
  /** Counts a new session, and ends it when there are too many. */
  readonly added: (session: Session) => void
}

/** Rejects as `serve`. */
export async function listenDialect(dialect: Dialect, address: string, served: DialectService): Promise<Listener> {
  checkDialectServes(dialect, served.service)
  checkKey(dialect, served.options)
  if (served.options.descriptors) (await import('./channel.js')).checkDialectDescriptors(dialect)
  return dialect.listen!(address, served.service, admitFor(dialect, served), dialectOptions(served))
}

/** Throws UNSUPPORTED where whoever calls has no way to prove the authkey. */
export function checkKey({ scheme, provesKey }: Dialect, { authkey }: ServeOptions): void {
  if (authkey === undefined || provesKey) return
  throw new TalkwireError(
    'UNSUPPORTED',
    `${scheme}: cannot prove an authkey, so nobody could call there; serve that address by a serve(…) of its own, without authkey`,
  )
}

/** A session for each peer that a dialect lets in. */
export const admitFor =
  (dialect: Dialect | undefined, { forEach, limits, added }: DialectService): Admit =>
  (connection, onEvent) => {
    const session = newSession(dialect?.provesKey ? { ...forEach, auth: undefined } : forEach)
    const wire = new ServedWire(session, onEvent, limits.depth)
    session.open(connection, wire)
    session.admit()
    session.peerWindow = limits.window
    added(session)
    return wire
  }

export function dialectOptions({ options, limits, token }: DialectService): DialectServerOptions {
  return {
    limits: dialectLimits(limits),
    token,
    insecure: options.insecure === true,
    onError: options.onError ?? warn,
    ...(options.authkey !== undefined && { authkey: options.authkey }),
    ...(options.tls && { tls: options.tls }),
    ...(options.descriptors && { descriptors: true }),
    ...(options.allow && { allow: options.allow }),
    ...(options.hosts && { hosts: options.hosts }),
    ...(options.origins && { origins: options.origins }),
    ...(options.signal && { signal: options.signal }),
  }
}
