import { setTimeout as delay } from 'node:timers/promises'
import { checkAbilities } from './abilities.js'
import { parseAddress, quoteWords } from './address.js'
import { checkDescriptors, openChannel } from './channel.js'
import { chooseAddress } from './choose.js'
import {
  isContract,
  type CallOptions,
  type Client,
  type Contract,
  type Functions,
  type FunctionsClient,
  type Handlers,
} from './contract/contract.js'
import { find, list, type Entry } from './discovery/names.js'
import { isGone, startService } from './discovery/start.js'
import { TalkwireError } from './error.js'
import { sayHello } from './hello.js'
import { newSession, openSession, warn } from './open-session.js'
import { adapterFor, isDialect } from './registry.js'
import { dialDialect } from './connect-dialect.js'
import { nearest } from './suggest.js'
import { validateKey, type AuthKey } from './session/auth.js'
import { createClient, linkOf } from './session/client.js'
import { withDefaults, type Limits } from './session/limits.js'
import { Link, linkEnded, linkOver, type ClientInterceptor, type ConnectionChange, type ReconnectOptions } from './session/link.js'
import { contractService, functionsService, type Service } from './session/service.js'
import type { Session } from './session/session.js'
import { callsBy, type SignallingClient } from './signalling.js'
import type { RtcOptions } from './transports/webrtc-meeting.js'

/** A program and its arguments, as they are: nothing is split, quoted or expanded. */
export type Command = readonly string[]

export interface ConnectOptions {
  /** The address, or a command to spawn; without it the contract's own name. */
  readonly address?: string | Command
  /** A command that serves the name, started when nothing is found: exactly once, however many clients ask. */
  readonly start?: Command
  /** Milliseconds that the service may still be missing: until then connecting is tried again. Default 0. */
  readonly wait?: number
  readonly authkey?: AuthKey
  /** What a service on `http:` and the like wants to be shown: its `token`. */
  readonly token?: string
  /** For `tls:` and `https:`: as for `tls.connect`. */
  readonly tls?: import('node:tls').ConnectionOptions
  /** What this side serves on the connection, made by `implement`: the service reaches it as `ctx.caller`. */
  readonly serve?: Implementation
  /** Values of the kind `Descriptor` may travel, on `unix:` and Linux; the service has to say so, too. */
  readonly descriptors?: boolean
  readonly limits?: Partial<Limits>
  readonly interceptors?: readonly ClientInterceptor[]
  /** Default: on for what has a name or an address, off for child processes, threads and memory. */
  readonly reconnect?: ReconnectOptions | boolean
  /** Told when the connection is there, is lost, is there again, and is closed for good. */
  readonly onConnection?: (change: ConnectionChange) => void
  readonly heartbeat?: number
  /** Codecs to offer, best first. Default `['msgpack', 'json']`. */
  readonly codecs?: readonly string[]
  /** Errors that nobody waits for, such as a listener's. Default: a process warning. */
  readonly onError?: (error: unknown, what: string) => void
  readonly signal?: AbortSignal
  /** For `spawn:` and `fork:`: what is added to the child's environment, and its working directory. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** For `spawn:`, `fork:` and `worker:`: the child may outlive the connection, and a process also us. Otherwise it is ended. */
  readonly detached?: boolean
  /** How messages are delimited on sockets and `spawn+stdio:`: `line` and `header` (`Content-Length`) are what other JSON-RPC servers know. Default there `length`, for `spawn+stdio:` `line`. */
  readonly framing?: 'length' | 'header' | 'line'
  /** For `ipc:`: the child that was forked. */
  readonly child?: import('node:child_process').ChildProcess
  /** For `webrtc:` without an address behind it: a client of the contract `signalling`, by which the service is reached. */
  readonly signalling?: SignallingClient
  /** For `webrtc:`: the STUN and TURN servers, and our own address. */
  readonly rtc?: RtcOptions
  /** For `worker:`: what the thread finds in `workerData`, besides its wire. */
  readonly workerData?: object
}

/** A contract or functions with what answers for them. */
export interface Implementation {
  readonly service: Service
}

/** Handlers for a contract, or plain functions, to be passed as `connect(…, { serve })`. Throws TypeError for missing or excess handlers. */
export function implement<const C extends Contract>(contract: C, handlers: Handlers<C, FunctionsClient<Functions>>): Implementation
export function implement(functions: object): Implementation
export function implement(what: Contract | object, handlers?: object): Implementation {
  return { service: isContract(what) ? contractService(what, handlers ?? {}) : functionsService('client', what) }
}

/**
 * Connects to a service, by name or by address, or to a child that a command starts: `connect(['python3', 'worker.py'])` is
 * `spawn:` without quoting. Resolves when the service has answered.
 * Rejects with PEER_NOT_FOUND, START_FAILED, CONTRACT_MISMATCH, UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ADDRESS, or the signal's reason.
 */
export function connect<C extends Contract>(
  contract: C,
  address?: string | Command | ConnectOptions,
  options?: ConnectOptions,
): Promise<Client<C>>
export function connect<F extends object = Functions>(address: string | Command, options?: ConnectOptions): Promise<FunctionsClient<F>>
export async function connect(
  target: Contract | string | Command,
  second?: string | Command | ConnectOptions,
  third?: ConnectOptions,
): Promise<any> {
  const contract = isContract(target) ? target : undefined
  const options: ConnectOptions = { ...(isPlace(second) ? { ...third, address: second } : second) }
  const place = placeOf(options.address ?? (contract ? contract.name : (target as string | Command)))
  if (options.authkey !== undefined) validateKey(options.authkey)
  const limits = limitsFor(place.address, options.limits)
  const { start: _, ...unstarted } = options
  const link = new Link({
    contract,
    interceptors: options.interceptors ?? [],
    reconnect: reconnectOptions(place.address, options.reconnect),
    onError: options.onError ?? warn,
    onConnection: options.onConnection,
    open: (onEvent, onClosed, start) => reach(place, contract, start ? options : unstarted, limits, onEvent, onClosed),
  })
  await tryWithin(options.wait, place.address, options.signal, () => link.open())
  return createClient(link)
}

/** What connecting starts, and what is arranged first, has more time to answer. */
export const limitsFor = (address: string, limits: Partial<Limits> | undefined): Limits =>
  withDefaults({ ...(PATIENT.has(schemeOf(address)) && { handshake: START_PATIENCE }), ...limits })

/** Where to connect; with a command its address only tells of it. */
interface Place {
  readonly address: string
  readonly command?: Command
}
const isPlace = (value: unknown): value is string | Command => typeof value === 'string' || Array.isArray(value)

function placeOf(target: string | Command): Place {
  if (!Array.isArray(target)) return { address: target as string }
  const command = target as Command
  if (command.length === 0 || command.some((word) => typeof word !== 'string'))
    throw new TypeError('a list is a command to spawn: a program and its arguments, such as ["python3", "worker.py"]')
  return { address: `spawn:${quoteWords(command).replaceAll(/[\0\r\n]/g, ' ')}`, command }
}

/** Milliseconds between attempts, at first and at most. */
const FIRST_PAUSE = 20
const LONGEST_PAUSE = 250
/** Nobody is there, or somebody who is just ending. */
const ABSENT = new Set(['PEER_NOT_FOUND', 'UNAVAILABLE', 'CONNECTION_LOST', 'CONNECTION_CLOSED'])

/** Again and again, until somebody is there or `wait` milliseconds are over; without them once. */
export async function tryWithin<T>(
  wait: number | undefined,
  address: string,
  signal: AbortSignal | undefined,
  attempt: () => Promise<T>,
): Promise<T> {
  if (wait === undefined) return attempt()
  if (typeof wait !== 'number' || !(wait >= 0)) throw new TypeError('wait is a number of milliseconds, such as 5000')
  const end = performance.now() + wait
  for (let pause = FIRST_PAUSE; ; pause = Math.min(LONGEST_PAUSE, pause * 2)) {
    try {
      return await attempt()
    } catch (reason) {
      // What connecting starts does not come by waiting.
      if (!(reason instanceof TalkwireError) || !ABSENT.has(reason.code) || STARTED.has(schemeOf(address))) throw reason
      const left = end - performance.now()
      if (left <= 0) throw reason
      await sleep(Math.min(pause, left), signal)
    }
  }
}

/** Rejects with the signal's reason. */
async function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await delay(milliseconds, undefined, { signal }).catch(() => signal!.throwIfAborted())
}

/** The same client with options for every call: `withOptions(client, { timeout: 1000 }).add(2, 5)`. Closing either closes both. */
export function withOptions<T extends object>(client: T, options: CallOptions): T {
  return createClient(linkOf(client), options) as T
}

/** The session under a client: `stats()`, `peer`. Undefined while it reconnects. */
export const sessionOf = (client: object): Session | undefined => linkOf(client).session

const LASTING = new Set([
  '',
  'unix',
  'shm',
  'mmap',
  'tcp',
  'tls',
  'fifo',
  'file',
  'mq',
  'sysv',
  'udp',
  'ws',
  'wss',
  'http',
  'https',
  'xmlrpc+http',
  'xmlrpc+https',
  'mcp+http',
  'mcp+https',
  'pymp',
  'dbus',
  'dbus+unix',
  'grpc',
  'grpcs',
  'grpc+unix',
  'connect+http',
  'connect+https',
  'connect+h2c',
  'grpcweb+http',
  'grpcweb+https',
  'thrift+tcp',
  'thrift+unix',
  'thrift+http',
  'thrift+https',
  'soap+http',
  'soap+https',
  'nodeipc',
  'varlink',
  'graphql+http',
  'graphql+https',
  'webrtc',
])
/** What is started by connecting may take its time before it answers. */
const STARTED = new Set(['spawn', 'spawn+stdio', 'fork', 'worker', 'mcp+spawn', 'varlink+spawn'])
/** Between two sides that signal, many ways may be tried. */
const PATIENT = new Set([...STARTED, 'webrtc'])
const START_PATIENCE = 30_000
const schemeOf = (address: string): string => parseAddress(address).scheme

function reconnectOptions(address: string, wish: ReconnectOptions | boolean | undefined): ReconnectOptions | false {
  if (typeof wish === 'object') return wish
  return (wish ?? LASTING.has(schemeOf(address))) ? {} : false
}

type OnEvent = (event: string, payload: unknown, lost: number) => void
type OnClosed = (session: Session, cause: TalkwireError | undefined) => void

/** A name is looked up first. What is found may be just ending; who may start the service then waits for that, and tries once more. */
async function reach(
  place: Place,
  contract: Contract | undefined,
  options: ConnectOptions,
  limits: Limits,
  onEvent: OnEvent,
  onClosed: OnClosed,
): Promise<Session> {
  const name = place.address
  if (schemeOf(name) !== '') return dial(place, contract, options, limits, onEvent, onClosed)
  const entry = await resolveName(name, options)
  const address = addressOf(entry)
  try {
    return await dial({ address }, contract, options, limits, onEvent, onClosed)
  } catch (reason) {
    const ending = options.start && reason instanceof TalkwireError && ABSENT.has(reason.code)
    if (!ending || !(await isGone(entry, options.signal))) throw reason
  }
  return dial({ address: addressOf(await resolveName(name, options)) }, contract, options, limits, onEvent, onClosed)
}

async function dial(
  { address, command }: Place,
  contract: Contract | undefined,
  options: ConnectOptions,
  limits: Limits,
  onEvent: OnEvent,
  onClosed: OnClosed,
): Promise<Session> {
  const { scheme } = parseAddress(address)
  const transport = await adapterFor(scheme)
  if (!transport.connect)
    throw new TalkwireError('UNSUPPORTED', `nobody can connect to ${scheme}:, it is an address to listen on; connect to the service's name`)
  if (isDialect(transport)) return dialDialect(transport, address, contract, options, limits, onEvent, onClosed)
  checkAbilities(transport, address, { contract, authkey: options.authkey, bothWays: options.serve !== undefined })
  if (options.descriptors) checkDescriptors(transport, address)
  const session = newSession({
    side: 'connector',
    limits,
    service: options.serve?.service,
    onEvent,
    onClosed(own, cause) {
      linkEnded(own)
      onClosed(own, cause)
    },
    onError: options.onError ?? warn,
    callerOf: (own, call) => createClient(linkOver(own, contract, options.onError ?? warn), { from: call }),
  })
  const connection = await transport.connect!(address, session, {
    maxMessage: limits.message,
    ...(options.signal && { signal: options.signal }),
    ...(options.tls && { tls: options.tls }),
    ...(options.token !== undefined && { token: options.token }),
    ...(options.env && { env: options.env }),
    ...(options.cwd && { cwd: options.cwd }),
    ...(command && { command }),
    ...(options.detached && { detached: true }),
    ...(options.framing && { framing: options.framing }),
    ...(options.child && { child: options.child }),
    ...(options.workerData && { workerData: options.workerData }),
    ...(transport.arranged && { signalling: callsBy(connect, options, limits.handshake), ...(options.rtc && { rtc: options.rtc }) }),
    handshake: limits.handshake,
  })
  openSession(session, connection)
  if (transport.carries === 'calls') {
    session.state = 'open'
    return session
  }
  const onAbort = (): void => session.abort(TalkwireError.from(options.signal!.reason, 'CANCELLED'))
  options.signal?.addEventListener('abort', onAbort, { once: true })
  try {
    await sayHello(session, {
      contract: contract?.foreign ? undefined : contract,
      serves: options.serve?.service.contract?.id ?? null,
      heartbeat: options.heartbeat ?? 0,
      codecs: options.codecs,
      authkey: options.authkey,
      ...(options.descriptors && {
        openChannel: (token: string) => openChannel(session, transport, address, token, { handshake: limits.handshake }),
      }),
    })
  } catch (reason) {
    const plain = TalkwireError.from(reason, 'CONNECTION_LOST')
    const error = plain.code.startsWith('CONNECTION_') && transport.unanswered ? transport.unanswered(plain, address) : plain
    session.abort(error)
    options.signal?.throwIfAborted()
    throw error.withOutcome('not-sent')
  } finally {
    options.signal?.removeEventListener('abort', onAbort)
  }
  return session
}

async function resolveName(name: string, options: ConnectOptions): Promise<Entry> {
  let found = find(name)
  if ('reason' in found && (options.start || (found.claimed && options.wait === undefined)))
    found = await startService(name, options.start, options.signal)
  if ('reason' in found)
    throw new TalkwireError(
      'PEER_NOT_FOUND',
      `${found.reason}${meant(name)} start it, or pass { start: [command] } or ${options.wait === undefined ? '{ wait: milliseconds }' : 'a longer wait'}`,
    )
  return found
}

function meant(name: string): string {
  const near = nearest(
    name,
    list().map((entry) => entry.name),
  )
  return near === undefined ? ';' : `; did you mean "${near}"? Otherwise`
}

function addressOf({ name, addresses }: Entry): string {
  const address = chooseAddress(addresses)
  if (!address)
    throw new TalkwireError(
      'PEER_NOT_FOUND',
      `"${name}" listens only on ${addresses.join(', ') || 'nothing'}, and this side has no way there by name; let it listen on unix:${name} too, or pass an address that both sides know`,
    )
  return address
}
