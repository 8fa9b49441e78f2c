/** What `serve` does, loaded when it is first called. */
import { checkAbilities } from './abilities.js'
import { parseAddress } from './address.js'
import type { Channels } from './channel.js'
import { closeGiven, type Descriptor } from './descriptor.js'
import { claim, type Claim } from './discovery/names.js'
import { TalkwireError } from './error.js'
import { answerHello } from './hello.js'
import { newSession, openSession } from './open-session.js'
import type { Dialect } from './protocols/dialect.js'
import { adapterFor, isDialect } from './registry.js'
import type { DialectService } from './serve-dialect.js'
import type { RunningService, ServeOptions } from './serve.js'
import type { AuthKey } from './session/auth.js'
import { createClient } from './session/client.js'
import { closeAll } from './session/descriptors.js'
import type { Incoming } from './session/incoming.js'
import { withDefaults, type Limits } from './session/limits.js'
import { linkEnded, linkOver } from './session/link.js'
import { paramsOf, type Method, type Service } from './session/service.js'
import type { Session, SessionOptions } from './session/session.js'
import type { Guest } from './transports/one-port.js'
import type { Connection, Listener, Traits, Transport } from './transports/transport.js'
import { warn } from './warn.js'

/** As `serve`, of what was made of its handlers. */
export async function listen(service: Service, options: ServeOptions): Promise<RunningService<any>> {
  const auth = options.authkey === undefined ? undefined : await authOf(options.authkey)
  const limits = withDefaults(options.limits)
  const addresses = [options.listen ?? (await ownAddress(service.name))].flat()
  const shares = options.protocols ? await import('./serve-shared.js') : undefined
  if (shares && !addresses.some(shares.isShareable))
    throw new TypeError('protocols are answered on listeners of tcp:, tls: and unix:; listen on one, or leave protocols out')
  if (addresses.length === 0) throw new TypeError('listen is an address or a list of at least one, such as "unix:bank"')
  const sessions = new Sessions(options.descriptors ? new (await import('./channel.js')).Channels() : undefined)
  const name = typeof options.announce === 'string' ? options.announce : service.name
  const named = addresses.some((address) => address === `unix:${name}` || address === `shm:${name}`)
  const own = options.announce || named ? claim(name) : undefined
  const listeners: Listener[] = []
  const hash = await hashOf(service)
  let token = validToken(options.token)
  let guarded = false
  try {
    for (const address of addresses) {
      const { scheme } = parseAddress(address)
      const adapter = await adapterFor(scheme === '' ? 'unix' : scheme)
      checkListens(adapter, scheme)
      const heartbeat = options.heartbeat ?? HEARTBEAT[scheme] ?? 0
      const forEach = sessionOptions(service, options, limits, sessions, heartbeat, hash, auth)
      const added = (session: Session): void => sessions.admit(session, limits.connections)
      guarded ||= adapter.tokens === true
      if (shares || asksForToken(adapter)) token ??= await newToken()
      const served = { service, options, limits, token: token ?? false, forEach, added }
      if (isDialect(adapter)) {
        const { listenDialect } = await import('./serve-dialect.js')
        listeners.push(await listenDialect(adapter, address, served))
      } else {
        const shared = shares?.isShareable(address)
          ? await shares.shareListener(address, options.protocols!, acceptor(served), served)
          : undefined
        guarded ||= shared?.tokens === true
        const listener = await listenOn(adapter, address, served, own, shared?.guests).catch((reason: unknown) => {
          for (const guest of shared?.guests ?? []) guest.close()
          throw reason
        })
        const more = shared?.addresses(listener.address) ?? []
        listeners.push(listener, ...more.map((each) => ({ address: each, close: () => Promise.resolve() })))
      }
    }
    own?.announce({ contract: service.contract?.id ?? null, hash: hash ?? null, addresses: listeners.map(({ address }) => address) })
  } catch (reason) {
    await Promise.all(listeners.map((listener) => listener.close()))
    own?.release()
    throw reason
  }
  return running(service, listeners, sessions, own, guarded && token !== false ? token : undefined)
}

/** Rejects with TypeError for a key that is too short. */
async function authOf(key: AuthKey): Promise<SessionOptions['auth']> {
  const { authServer, validateKey } = await import('./session/auth.js')
  validateKey(key)
  return () => authServer(key)
}

/** Whether clients may have to show a token. */
const asksForToken = (adapter: Transport<any> | Dialect): boolean =>
  isDialect(adapter) || adapter.tokens === true || adapter.arranged === true

/** A secret that no one guesses, and that can be copied by hand. */
async function newToken(): Promise<string> {
  const { randomBytes } = await import('node:crypto')
  return randomBytes(24).toString('base64url')
}

/** Throws TypeError. */
function validToken(token: string | false | undefined): string | false | undefined {
  if (typeof token === 'string' && !/^[\w.~+/=-]{16,}$/.test(token))
    throw new TypeError('token is at least 16 letters, digits and . _ ~ + / = -, as in an Authorization header; or false')
  return token
}

/** The wire to whoever started us for it, while nobody has taken it; else the name. */
async function ownAddress(name: string): Promise<string> {
  // A thread has its process's environment, but not its wire.
  const { isMainThread } = await import('node:worker_threads')
  const [started, address] = isMainThread
    ? [process.env['TALKWIRE_FD'] !== undefined && (await import('./transports/stdio.js')).isGiven(), 'stdio:']
    : [(await import('./transports/worker.js')).isGiven(), 'worker:']
  return started ? address : `unix:${name}`
}

/** The open ones, and a count of how others ended. */
class Sessions extends Set<Session> {
  readonly ends: Record<string, number> = {}

  constructor(readonly channels: Channels | undefined) {
    super()
  }

  /** More than `most` are ended at once, as soon as they can say why. */
  admit(session: Session, most: number): void {
    if (this.size >= most)
      queueMicrotask(() =>
        session.abort(new TalkwireError('LIMIT_EXCEEDED', `${most} connections are open; close some, or raise limits.connections`)),
      )
    this.add(session)
  }

  gone(session: Session, cause: TalkwireError | undefined): void {
    this.delete(session)
    this.channels?.forget(session)
    if (cause) this.ends[cause.code] = (this.ends[cause.code] ?? 0) + 1
  }
}

/** A wire that nobody else can reach needs no pulse. */
const HEARTBEAT: Readonly<Record<string, number>> = { tcp: 15_000, tls: 15_000, udp: 15_000, webrtc: 15_000 }

/** Streams need every element, in order. Throws UNSUPPORTED. */
function checkStreams({ methods, name }: Service, { reliable, ordered }: Traits, scheme: string): void {
  if (reliable && ordered) return
  for (const method of methods.values())
    if (method.inputStream || method.outputStream)
      throw new TalkwireError(
        'UNSUPPORTED',
        `"${method.name}" of ${name} is a stream, and ${scheme}: loses messages and changes their order; listen on tcp: instead, or declare it without a stream`,
      )
}

/** Throws UNSUPPORTED. */
function checkListens({ listen }: { readonly listen?: unknown }, scheme: string): void {
  if (listen) return
  throw new TalkwireError(
    'UNSUPPORTED',
    `nobody can listen on ${scheme}:, it is an address to connect to; what it starts answers by serve() without listen`,
  )
}

const acceptor =
  ({ forEach, added }: DialectService) =>
  (connection: Connection): Session => {
    const session = newSession(forEach)
    openSession(session, connection)
    added(session)
    return session
  }

async function listenOn(
  transport: Transport<any>,
  address: string,
  served: DialectService,
  own: Claim | undefined,
  guests: readonly Guest[] | undefined,
): Promise<Listener> {
  const { service, options, limits, token } = served
  const { scheme } = parseAddress(address)
  if (options.descriptors) (await import('./channel.js')).checkDescriptors(transport, address)
  checkAbilities(transport, address, {
    contract: service.contract,
    streams: service.contract ? [] : [...service.methods.values()].filter((method) => method.outputStream).map(({ name }) => name),
    authkey: options.authkey,
    bothWays: options.caller !== undefined,
  })
  checkStreams(service, transport.traits, scheme)
  return transport.listen!(scheme === '' ? `unix:${address}` : address, acceptor(served), {
    ...(guests && { guests, connections: limits.connections }),
    maxMessage: limits.message,
    ...(options.signal && { signal: options.signal }),
    ...(options.allow && { allow: options.allow }),
    ...(options.tls && { tls: options.tls }),
    ...(transport.tokens && { token, hosts: options.hosts, origins: options.origins }),
    authenticated: options.authkey !== undefined,
    insecure: options.insecure === true,
    handshake: transport.arranged ? options.limits?.handshake : limits.handshake,
    onError: options.onError ?? warn,
    ...(transport.arranged && {
      signalling: (await import('./signalling.js')).answersBy((await import('./serve.js')).serve, options, token),
      ...(options.rtc && { rtc: options.rtc }),
    }),
    ...(own && address === `unix:${own.name}` && { claim: own }),
  })
}

function sessionOptions(
  service: Service,
  options: ServeOptions,
  limits: Limits,
  sessions: Sessions,
  heartbeat: number,
  hash: string | undefined,
  auth: SessionOptions['auth'],
) {
  const onError = options.onError ?? warn
  const { channels } = sessions
  return {
    side: 'acceptor' as const,
    limits,
    service,
    auth,
    heartbeat,
    onError,
    ...(options.interceptors && options.interceptors.length > 0 && { interceptors: options.interceptors }),
    builtin: (session: Session, method: string, params: unknown) => {
      if (method === 'rpc.hello') return answerHello(session, params, service, hash, heartbeat, offerOf(session, sessions))
      if (method === 'rpc.discover') return discover(service, hash)
      throw new TalkwireError(
        'METHOD_NOT_FOUND',
        `there is no reserved method ${method.slice(0, 64)}; names that begin with "rpc." are Talkwire's own`,
      )
    },
    ...(channels && { onChannel: (side: Session, token: unknown) => channels.accept(side, token) }),
    callerOf: (session: Session, call: Incoming) => createClient(linkOver(session, options.caller, onError), { from: call }),
    onEvent: (_event: string, _payload: unknown, _lost: number, descriptors?: readonly Descriptor[]) => closeAll(descriptors),
    onClosed(session: Session, cause: TalkwireError | undefined) {
      linkEnded(session)
      sessions.gone(session, cause)
    },
  }
}

const offerOf = (session: Session, { channels }: Sessions): (() => string) | undefined => channels && (() => channels.offer(session))

async function hashOf({ contract }: Service): Promise<string | undefined> {
  if (!contract) return undefined
  const { contractHash } = await import('./contract/hash.js')
  return contractHash(contract)
}

async function discover({ contract, name, methods }: Service, hash: string | undefined): Promise<unknown> {
  const { openRpc } = await import('./contract/openrpc.js')
  if (!contract) {
    const { parameterNames } = await import('./contract/parameters.js')
    const parametersOf = ({ source, handler }: Method): number | readonly string[] => (source && parameterNames(source)) ?? handler.length
    return openRpc({
      name,
      functions: [...methods.values()].map((method) => ({
        name: method.name,
        parameters: parametersOf(method),
        streams: method.outputStream,
      })),
    })
  }
  const { jsonSchema } = await import('./contract/json-schema.js')
  return openRpc(await jsonSchema(contract), hash === undefined ? {} : { hash })
}

function running(
  service: Service,
  listeners: readonly Listener[],
  sessions: Sessions,
  own: Claim | undefined,
  token: string | undefined,
): RunningService<any> {
  let closing: Promise<void> | undefined
  const close = async (timeout: number): Promise<void> => {
    await Promise.all(listeners.map((listener) => listener.close()))
    await Promise.all([...sessions].map((session) => session.close(timeout)))
    own?.release()
  }
  return {
    name: service.name,
    addresses: listeners.map(({ address }) => address),
    token,
    get peers() {
      return [...sessions].map(({ peer }) => peer)
    },
    stats: () => [...sessions].map((session) => session.stats()),
    ends: sessions.ends,
    emit(event: string, payload?: unknown): void {
      if (service.events && !service.events.has(event))
        throw new TypeError(`${service.contract!.id} has no event "${event}"; add it to the contract: ${event}: event(schema)`)
      const params = paramsOf(payload)
      let failed: { reason: unknown } | undefined
      for (const session of sessions) {
        try {
          session.emit(event, params)
        } catch (reason) {
          // One peer may take only smaller messages; the others get theirs.
          failed ??= { reason }
        }
      }
      // What was given was sent to all.
      if (sessions.channels) closeGiven(payload)
      if (failed) throw failed.reason
    },
    close: ({ timeout = 5_000 } = {}) => (closing ??= close(timeout)),
    [Symbol.asyncDispose]: () => (closing ??= close(5_000)),
  }
}
