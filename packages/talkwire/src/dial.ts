/** What `connect` does, loaded when it is first called: sessions are most of Talkwire, and many who import it only describe a contract. */
import { setTimeout as delay } from 'node:timers/promises'
import { checkAbilities } from './abilities.js'
import { parseAddress, quoteWords } from './address.js'
import type { Balanced, Directory } from './balance.js'
import type { Command, ConnectOptions } from './connect.js'
import { isContract, type Contract } from './contract/contract.js'
import type { Descriptor } from './descriptor.js'
import { TalkwireError } from './error.js'
import { sayHello } from './hello.js'
import { newSession, openSession } from './open-session.js'
import { adapterFor, isDialect } from './registry.js'
import { createClient } from './session/client.js'
import { withDefaults, type Limits } from './session/limits.js'
import { Link, linkEnded, linkOver, type ReconnectOptions } from './session/link.js'
import type { Session } from './session/session.js'
import { refuseBlindness } from './trust.js'
import { warn } from './warn.js'

/** As `connect`. */
export async function connectTo(
  target: Contract | string | Command,
  second?: string | Command | ConnectOptions,
  third?: ConnectOptions,
): Promise<any> {
  const contract = isContract(target) ? target : undefined
  const options: ConnectOptions = { ...(isPlace(second) ? { ...third, address: second } : second) }
  const place = placeOf(options.address ?? (contract ? contract.name : (target as string | Command)))
  refuseBlindness(options.tls)
  if (options.authkey !== undefined) (await import('./session/auth.js')).validateKey(options.authkey)
  if (options.hub) return createClient(await balanced(place.address, contract, options, options.hub))
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

async function balanced(service: string, contract: Contract | undefined, options: ConnectOptions, hub: Directory): Promise<Balanced> {
  if (schemeOf(service) !== '')
    throw new TypeError(`a hub knows services by their names; "${service}" is an address, connect to it without hub`)
  const { onError = warn, interceptors = [], balance = 'round-robin' } = options
  const reach = (address: string): Promise<Link> =>
    new Link({
      contract,
      interceptors: [],
      reconnect: false,
      onError,
      open: (onEvent, onClosed) => dial({ address }, contract, options, limitsFor(address, options.limits), onEvent, onClosed),
    }).open()
  const several = new (await import('./balance.js')).Balanced({ service, balance, contract, interceptors, onError, reach })
  await tryWithin(options.wait, service, options.signal, () => several.open(hub))
  return several
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

/** What is started by connecting may take its time before it answers. */
const STARTED = new Set(['spawn', 'spawn+stdio', 'fork', 'worker', 'mcp+spawn', 'varlink+spawn'])
/** Between two sides that signal, many ways may be tried. */
const PATIENT = new Set([...STARTED, 'webrtc'])
const START_PATIENCE = 30_000
/** Who is at their other end is there once: started by connecting, or given with this process. */
const ONCE = new Set([...STARTED, 'memory', 'ipc', 'stdio', 'mcp', 'varlink+stdio'])
const schemeOf = (address: string): string => parseAddress(address).scheme

function reconnectOptions(address: string, wish: ReconnectOptions | boolean | undefined): ReconnectOptions | false {
  if (typeof wish === 'object') return wish
  return (wish ?? !ONCE.has(schemeOf(address))) ? {} : false
}

type OnEvent = (event: string, payload: unknown, lost: number, descriptors?: readonly Descriptor[]) => void
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
  const { addressOf, resolveName } = await import('./by-name.js')
  const entry = await resolveName(name, options)
  const address = addressOf(entry)
  try {
    return await dial({ address }, contract, options, limits, onEvent, onClosed)
  } catch (reason) {
    const ending = options.start && reason instanceof TalkwireError && ABSENT.has(reason.code)
    if (!ending) throw reason
    const { isGone } = await import('./discovery/start.js')
    if (!(await isGone(entry, options.signal))) throw reason
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
  if (isDialect(transport))
    return (await import('./connect-dialect.js')).dialDialect(transport, address, contract, options, limits, onEvent, onClosed)
  checkAbilities(transport, address, { contract, authkey: options.authkey, bothWays: options.serve !== undefined })
  const channel = options.descriptors ? await import('./channel.js') : undefined
  channel?.checkDescriptors(transport, address)
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
    ...(transport.arranged && {
      signalling: (await import('./signalling.js')).callsBy(connectTo, options, limits.handshake),
      ...(options.rtc && { rtc: options.rtc }),
    }),
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
      ...(channel && {
        openChannel: (token: string) => channel.openChannel(session, transport, address, token, { handshake: limits.handshake }),
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
