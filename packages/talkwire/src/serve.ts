import { isMainThread } from 'node:worker_threads'
import { checkAbilities } from './abilities.js'
import { parseAddress } from './address.js'
import { Channels, checkDescriptors } from './channel.js'
import {
  isContract,
  type Contract,
  type ContractClient,
  type EventInput,
  type EventNames,
  type ExactHandlers,
  type Functions,
  type FunctionsClient,
  type Handlers,
} from './contract/contract.js'
import { claim, type Claim } from './discovery/names.js'
import { TalkwireError } from './error.js'
import { answerHello } from './hello.js'
import { newSession, openSession, warn } from './open-session.js'
import { adapterFor, isDialect } from './registry.js'
import { listenDialect, newToken, type DialectService } from './serve-dialect.js'
import { isShareable, shareListener } from './serve-shared.js'
import { validateKey, type AuthKey } from './session/auth.js'
import { createClient } from './session/client.js'
import type { Incoming } from './session/incoming.js'
import { withDefaults, type Limits } from './session/limits.js'
import { linkEnded, linkOver } from './session/link.js'
import { contractService, functionsService, paramsOf, type Method, type Service } from './session/service.js'
import type { ServerInterceptor, Session, SessionStats } from './session/session.js'
import { answersBy } from './signalling.js'
import type { Guest } from './transports/one-port.js'
import type { Connection, Listener, Peer, Traits, Transport } from './transports/transport.js'
import type { RtcOptions } from './transports/webrtc-meeting.js'

export interface ServeOptions {
  /** Where to listen. Default: whoever started us by `connect('spawn:…')`, `fork:` or `worker:`; else the service's own name on a Unix socket, `unix:bank`. */
  readonly listen?: string | readonly string[]
  /**
   * Listeners on `tcp:`, `tls:` and `unix:` answer other protocols beside our own messages, recognised from the first bytes: names such
   * as `http`, `ws`, `xmlrpc`, `soap`, `mcp`; or `all` that can carry the service and are installed.
   */
  readonly protocols?: 'all' | readonly string[]
  /** Announce the service under its name even if it listens neither on `unix:` + name nor on `shm:` + name. */
  readonly announce?: boolean
  /** A secret that both sides know; at least 16 bytes. Needed, or TLS, to listen beyond loopback. */
  readonly authkey?: AuthKey
  /** Listen beyond loopback without authentication. Anyone who reaches the port can call. */
  readonly insecure?: boolean
  /** What clients show to `http:` and other protocols that browsers reach. Default: a random one, `service.token`; false: none. */
  readonly token?: string | false
  /** Names of this machine, beside those of the address and of loopback, under which browsers may reach it: `bank.example:8080`. */
  readonly hosts?: readonly string[]
  /** Pages of other origins that may call: `https://bank.example`. Default: none. */
  readonly origins?: readonly string[]
  /** For `tls:` and `https:`: key, certificate, and the authority of the clients, as for `tls.createServer`. */
  readonly tls?: import('node:tls').TlsOptions
  /** For `unix:`: lets a peer in. By default our own uid and root. */
  readonly allow?: (peer: Peer) => boolean
  /** For `webrtc:`: the STUN and TURN servers, and our own address. */
  readonly rtc?: RtcOptions
  /** Values of the kind `Descriptor` may travel, on `unix:` and Linux; clients have to ask for it, too. */
  readonly descriptors?: boolean
  readonly limits?: Partial<Limits>
  readonly interceptors?: readonly ServerInterceptor[]
  /** What callers serve in return: the type and the schemas of `ctx.caller`. */
  readonly caller?: Contract
  /** Milliseconds of silence after which a peer is asked whether it lives. Default: 15,000 on tcp and tls, else none. */
  readonly heartbeat?: number
  /** Errors that handlers did not declare. Default: a process warning. */
  readonly onError?: (error: unknown, method: string) => void
  readonly signal?: AbortSignal
}

export interface RunningService<Events = { emit(event: string, payload?: unknown): void }> extends ServiceBase {
  readonly emit: Events extends { emit: infer E } ? E : never
}

interface ServiceBase {
  readonly name: string
  /** Where peers can really connect. */
  readonly addresses: readonly string[]
  /** What clients must show where `token` of the options says so; undefined: nothing is asked for. */
  readonly token: string | undefined
  /** Everyone who is connected. */
  readonly peers: readonly Peer[]
  stats(): readonly SessionStats[]
  /** How many connections ended otherwise than by closing, by the code of the reason. */
  readonly ends: Readonly<Record<string, number>>
  /** Takes no new calls; calls in flight finish and their answers arrive, streams are told to stop; then the connections end. What is left after `timeout` milliseconds (default 5,000) is aborted. */
  close(options?: { readonly timeout?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

type Emit<C extends Contract> = { emit<K extends EventNames<C>>(event: K, payload: EventInput<C, K>): void }
type CallerOf<O> = O extends { caller: infer C extends Contract } ? ContractClient<C> : FunctionsClient<Functions>

/**
 * Serves a contract, or plain functions under a name. Resolves when it listens everywhere.
 * Rejects with ADDRESS_IN_USE, PERMISSION_DENIED, INVALID_ADDRESS, UNSUPPORTED; nothing listens then.
 * Throws TypeError for missing or excess handlers.
 */
export function serve(name: string, functions: object, options?: ServeOptions): Promise<RunningService>
export function serve<const C extends Contract, const H extends Handlers<C, CallerOf<O>>, const O extends ServeOptions = {}>(
  contract: C,
  handlers: H & ExactHandlers<C, H, CallerOf<O>>,
  options?: O & ServeOptions,
): Promise<RunningService<Emit<C>>>
export async function serve(what: Contract | string, handlers: object, options: ServeOptions = {}): Promise<RunningService<any>> {
  const service = isContract(what) ? contractService(what, handlers) : functionsService(what, handlers)
  return start(service, options)
}

async function start(service: Service, options: ServeOptions): Promise<RunningService<any>> {
  if (options.authkey !== undefined) validateKey(options.authkey)
  const limits = withDefaults(options.limits)
  const addresses = [options.listen ?? (await ownAddress(service.name))].flat()
  if (options.protocols && !addresses.some(isShareable))
    throw new TypeError('protocols are answered on listeners of tcp:, tls: and unix:; listen on one, or leave protocols out')
  if (addresses.length === 0) throw new TypeError('listen is an address or a list of at least one, such as "unix:bank"')
  const sessions = new Sessions()
  const named = addresses.some((address) => address === `unix:${service.name}` || address === `shm:${service.name}`)
  const own = options.announce || named ? claim(service.name) : undefined
  const listeners: Listener[] = []
  const hash = await hashOf(service)
  const token = validToken(options.token) ?? newToken()
  let guarded = false
  try {
    for (const address of addresses) {
      const { scheme } = parseAddress(address)
      const adapter = await adapterFor(scheme === '' ? 'unix' : scheme)
      checkListens(adapter, scheme)
      const heartbeat = options.heartbeat ?? HEARTBEAT[scheme] ?? 0
      const forEach = sessionOptions(service, options, limits, sessions, heartbeat, hash)
      const added = (session: Session): void => sessions.admit(session, limits.connections)
      guarded ||= adapter.tokens === true
      const served = { service, options, limits, token, forEach, added }
      if (isDialect(adapter)) listeners.push(await listenDialect(adapter, address, served))
      else {
        const shared =
          options.protocols && isShareable(address) ? await shareListener(address, options.protocols, acceptor(served), served) : undefined
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

/** Throws TypeError. */
function validToken(token: string | false | undefined): string | false | undefined {
  if (typeof token === 'string' && !/^[\w.~+/=-]{16,}$/.test(token))
    throw new TypeError('token is at least 16 letters, digits and . _ ~ + / = -, as in an Authorization header; or false')
  return token
}

/** The wire to whoever started us for it, while nobody has taken it; else the name. */
async function ownAddress(name: string): Promise<string> {
  // A thread has its process's environment, but not its wire.
  const [started, address] = isMainThread
    ? [process.env['TALKWIRE_FD'] !== undefined && (await import('./transports/stdio.js')).isGiven(), 'stdio:']
    : [(await import('./transports/worker.js')).isGiven(), 'worker:']
  return started ? address : `unix:${name}`
}

/** The open ones, and a count of how others ended. */
class Sessions extends Set<Session> {
  readonly channels = new Channels()
  readonly ends: Record<string, number> = {}

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
    this.channels.forget(session)
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
  if (options.descriptors) checkDescriptors(transport, address)
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
    ...(transport.arranged && { signalling: answersBy(serve, options, token), ...(options.rtc && { rtc: options.rtc }) }),
    ...(own && address === `unix:${service.name}` && { claim: own }),
  })
}

function sessionOptions(
  service: Service,
  options: ServeOptions,
  limits: Limits,
  sessions: Sessions,
  heartbeat: number,
  hash: string | undefined,
) {
  const onError = options.onError ?? warn
  return {
    side: 'acceptor' as const,
    limits,
    service,
    authkey: options.authkey,
    heartbeat,
    onError,
    ...(options.interceptors && options.interceptors.length > 0 && { interceptors: options.interceptors }),
    builtin: (session: Session, method: string, params: unknown) => {
      if (method === 'rpc.hello') return answerHello(session, params, service, hash, heartbeat, offerOf(session, options, sessions))
      if (method === 'rpc.discover') return discover(service, hash)
      throw new TalkwireError(
        'METHOD_NOT_FOUND',
        `there is no reserved method ${method.slice(0, 64)}; names that begin with "rpc." are Talkwire's own`,
      )
    },
    ...(options.descriptors && { onChannel: (side: Session, token: unknown) => sessions.channels.accept(side, token) }),
    callerOf: (session: Session, call: Incoming) => createClient(linkOver(session, options.caller, onError), { from: call }),
    onEvent: (): void => {},
    onClosed(session: Session, cause: TalkwireError | undefined) {
      linkEnded(session)
      sessions.gone(session, cause)
    },
  }
}

const offerOf = (session: Session, { descriptors }: ServeOptions, { channels }: Sessions): (() => string) | undefined =>
  descriptors ? () => channels.offer(session) : undefined

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
      if (failed) throw failed.reason
    },
    close: ({ timeout = 5_000 } = {}) => (closing ??= close(timeout)),
    [Symbol.asyncDispose]: () => (closing ??= close(5_000)),
  }
}
