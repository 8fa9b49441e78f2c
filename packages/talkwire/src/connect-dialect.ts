/** A client over a foreign protocol: a session that says its calls as the dialect does. */
import type { ConnectOptions } from './connect.js'
import { checkDialectCalls } from './abilities.js'
import type { Contract } from './contract/contract.js'
import { TalkwireError } from './error.js'
import { newSession } from './open-session.js'
import { CallingWire, dialectLimits, type Dialect } from './protocols/dialect.js'
import type { Limits } from './session/limits.js'
import { linkEnded } from './session/link.js'
import type { Session } from './session/session.js'
import { warn } from './warn.js'

/** Rejects as `connect`. */
export async function dialDialect(
  dialect: Dialect,
  address: string,
  contract: Contract | undefined,
  options: ConnectOptions,
  limits: Limits,
  onEvent: (event: string, payload: unknown, lost: number) => void,
  onClosed: (session: Session, cause: TalkwireError | undefined) => void,
): Promise<Session> {
  if (contract) checkDialectCalls(dialect, contract)
  if (options.descriptors) (await import('./channel.js')).checkDialectDescriptors(dialect)
  if (options.serve)
    throw new TalkwireError('UNSUPPORTED', `who is called over ${dialect.scheme}: cannot call back; take ws: or unix: with { serve }`)
  const session = newSession({
    side: 'connector',
    limits,
    onEvent,
    onError: options.onError ?? warn,
    onClosed(own, cause) {
      linkEnded(own)
      onClosed(own, cause)
    },
  })
  const { connection, callee } = await dialect.connect!(address, {
    limits: dialectLimits(limits),
    contract,
    onEvent: (event, payload) => onEvent(event, payload, 0),
    onClosed: (cause) => session.closed(cause),
    ...(options.token !== undefined && { token: options.token }),
    ...(options.tokens && { tokens: options.tokens }),
    ...(options.authkey !== undefined && { authkey: options.authkey }),
    ...(options.tls && { tls: options.tls }),
    ...(options.descriptors && { descriptors: true }),
    ...(options.env && { env: options.env }),
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.detached && { detached: true }),
    ...(options.signal && { signal: options.signal }),
  })
  session.open(connection, new CallingWire(callee, session, limits.depth))
  session.state = 'open'
  session.peerWindow = limits.window
  return session
}
