/**
 * D-Bus: `dbus:session`, `dbus:system`, `dbus:unix:path=…` are buses, `…#org.example.Bank/org/example/Bank` an object there;
 * `dbus+unix:/path` is one other side without a bus. docs/protocols/dbus.md.
 */
import { randomBytes } from 'node:crypto'
import type net from 'node:net'
import type { Contract } from '../contract/contract.js'
import { fromOpenRpc } from '../contract/from-openrpc.js'
import { TalkwireError } from '../error.js'
import { needDescriptors } from '../kernel/descriptor-channel.js'
import type { Service } from '../session/service.js'
import type { ConnectionBase, Listener, Peer } from '../transports/transport.js'
import type { Guest } from '../transports/one-port.js'
import { admit as admitPeer, peerOf } from '../transports/unix.js'
import { interfaceOf, knownInterface, noBus, pathOf, placeOf, targetsOf } from './dbus-address.js'
import { clientAuthentication, serverAuthentication, type Authentication } from './dbus-auth.js'
import { contractTargets, ObjectCallee, ownTargets, plainTargets, type ObjectPlace, type Targets } from './dbus-client.js'
import { contractOfObject } from './dbus-contract.js'
import { DRIVER } from './dbus-errors.js'
import { readObject, type ObjectNode } from './dbus-introspection.js'
import { closeAll, Line, type Arrived, type LineEvents } from './dbus-line.js'
import { bodyOf, Flag, Type, type Message } from './dbus-message.js'
import { CONTRACT, introspectionOf, operationsOf, PROPERTIES, propertyOf, ServedObject } from './dbus-object.js'
import { writeArguments } from './dbus-values.js'
import type {
  Admit,
  Callee,
  Caller,
  Dialect,
  DialectClientOptions,
  DialectDiscoverOptions,
  DialectServerOptions,
  DialectTraits,
} from './dialect.js'
import { dialSocket, dialTarget, listenSockets, lost, socketGuest, type Dialling, type Meet } from './socket-site.js'

export { Variant } from './dbus-types.js'

const traits: DialectTraits = {
  inputStream: false,
  outputStream: false,
  duplex: false,
  events: true,
  oneway: true,
  progress: false,
  deadline: false,
  metadata: false,
  cancellation: false,
  untyped: false,
  crossHost: false,
}

export const dbus: Dialect = {
  scheme: 'dbus',
  speaks: 'calls',
  traits,
  descriptors: true,
  listen: listenBus,
  connect: connectBus,
  discover: discoverOnBus,
}

/** A contract as D-Bus introspects it. Rejects with UNSUPPORTED for what D-Bus has no type or name for. */
export const dbusInterface = async (contract: Contract): Promise<string> =>
  introspectionOf(await operationsOf(contract), interfaceOf(contract))

/** The contract of introspection in XML. Rejects with TypeError where it has no interface, INVALID_MESSAGE for what is none, MISSING_PACKAGE. */
export async function dbusContract(introspection: string): Promise<Contract> {
  const object = readObject(introspection)
  if (object.interfaces.size === 0) throw new TypeError('this is no introspection of D-Bus with an interface')
  return contractOfObject('', object)
}

export const dbusPeer: Dialect = {
  scheme: 'dbus+unix',
  speaks: 'calls',
  traits,
  descriptors: true,
  listen: listenPeers,
  guest: guestOfPeers,
  connect: connectPeer,
  discover: discoverPeer,
}

// ── the beginning of a connection ────────────────────────────────────────────────────────────────

type Opening = Dialling & { readonly descriptors?: boolean }
const ignored = (): void => {}

/** Resolves when the other side has let us in. `on.closed` is told of what is lost after that. */
async function openLine(
  address: string,
  dial: (paused: boolean) => Promise<net.Socket>,
  { limits, signal, descriptors = false }: Opening,
  on: Pick<LineEvents, 'call' | 'signal' | 'closed'>,
): Promise<Line> {
  if (descriptors) needDescriptors()
  const socket = await dial(descriptors)
  return new Promise((resolve, reject) => {
    let open = false
    const refuse = (error: TalkwireError): void => {
      settle()
      socket.destroy()
      reject((signal?.aborted ? (signal.reason as Error) : error.withOutcome('not-sent')) as Error)
    }
    const onAbort = (): void => refuse(new TalkwireError('CANCELLED', 'connecting was cancelled'))
    const silent = `${address} did not let us in within ${limits.handshake} ms; is it a bus? Or raise limits.handshake`
    const timer = setTimeout(() => refuse(new TalkwireError('UNAUTHENTICATED', silent)), limits.handshake)
    const settle = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    const line: Line = new Line(
      socket,
      peerOf(address, socket),
      limits,
      descriptors,
      (send) => clientAuthentication(process.getuid?.() ?? 0, descriptors, send),
      {
        open() {
          open = true
          settle()
          resolve(line)
        },
        call: (message, arrived) => on.call(message, arrived),
        signal: (message) => on.signal(message),
        broken: (error) => (open ? line.connection.abort(error) : refuse(error)),
        closed: (cause) =>
          open
            ? on.closed(cause)
            : refuse(cause ?? new TalkwireError('UNAUTHENTICATED', `${address} ended the connection before it let us in`)),
      },
    )
  })
}

/** A bus that knows us. */
async function openBus(bus: string, options: Opening, on: Pick<LineEvents, 'call' | 'signal' | 'closed'>): Promise<Line> {
  const line = await dialBus(bus, options, on)
  return guarded(line, async () => {
    const [unique] = await line.driver('Hello')
    line.unique = String(unique)
    return line
  })
}

/** An address may name several sockets: the first that there is. */
async function dialBus(bus: string, options: Opening, on: Pick<LineEvents, 'call' | 'signal' | 'closed'>): Promise<Line> {
  let failure: TalkwireError | undefined
  for (const target of targetsOf(bus))
    try {
      return await openLine(bus, (paused) => dialTarget(target, bus, options, paused), options, on)
    } catch (reason) {
      options.signal?.throwIfAborted()
      failure ??= noBus(bus, TalkwireError.from(reason))
    }
  throw failure
}

/** What fails before there is a client or a service ends the connection. */
async function guarded<T>(line: Line, make: () => Promise<T>): Promise<T> {
  try {
    return await make()
  } catch (reason) {
    line.connection.socket.destroy()
    throw reason instanceof TalkwireError ? reason.withOutcome('not-sent') : reason
  }
}

/** Ends what waits for answers that do not come. */
async function within<T>(line: Line, { limits, signal }: Dialling, make: () => Promise<T>): Promise<T> {
  const late = new TalkwireError(
    'UNAVAILABLE',
    `no answer from ${line.connection.peer.address} within ${limits.handshake} ms (limits.handshake)`,
  )
  const timer = setTimeout(() => line.connection.abort(late), limits.handshake)
  const onAbort = (): void => line.connection.abort(new TalkwireError('CANCELLED', 'connecting was cancelled'))
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    return await make()
  } catch (reason) {
    signal?.throwIfAborted()
    throw reason
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
  }
}

// ── serving on a bus ─────────────────────────────────────────────────────────────────────────────

/** RequestName: not in a queue behind somebody else, and nobody takes it from us. */
const DO_NOT_QUEUE = 4
const OWNED = new Set<unknown>([1, 4])
/** Calls of one caller that wait until it is known who that is. */
const MOST_EARLY = 1000

async function objectOf(service: Service, path: string | undefined): Promise<ServedObject> {
  const contract = service.contract!
  const of = interfaceOf(contract)
  return new ServedObject(service, await operationsOf(contract), of, path ?? pathOf(of))
}

async function listenBus(address: string, service: Service, admit: Admit, options: DialectServerOptions): Promise<Listener> {
  const place = placeOf(address)
  const object = await objectOf(service, place.path)
  const name = place.name ?? object.of
  const callers = new Map<string, BusCaller>()
  let over = false
  let served = false
  const line: Line = await openBus(place.bus, options, {
    call: (message, descriptors) => callerOf(message.sender!).take(message, descriptors),
    signal(message) {
      if (message.sender !== DRIVER || message.member !== 'NameOwnerChanged') return
      const reader = bodyOf(message, options.limits)
      callers.get(reader.text())?.left()
    },
    closed(cause) {
      over = true
      for (const caller of callers.values()) caller.left(lost(cause))
      if (served) options.onError(cause ?? lost(undefined), `${address}: the bus is gone, and with it the name ${name}; serve again`)
    },
  })
  const leave = (): void => {
    if (!served && callers.size === 0) void line.connection.close()
  }
  const callerOf = (sender: string): BusCaller => {
    const known = callers.get(sender)
    if (known) return known
    const caller = new BusCaller(sender, line, object, admit, options, () => {
      callers.delete(sender)
      leave()
    })
    callers.set(sender, caller)
    return caller
  }
  // The bus as a peer: it hands signals on to whoever listens.
  const bus = new BusCaller(DRIVER, line, object, admit, options, () => {
    callers.delete(DRIVER)
    leave()
  })
  return guarded(line, () =>
    within(line, options, async () => {
      callers.set(DRIVER, bus)
      await bus.tellsSignals()
      await line.driver('AddMatch', 's', `type='signal',sender='${DRIVER}',member='NameOwnerChanged',arg2=''`)
      const [outcome] = await line.driver('RequestName', 'su', name, DO_NOT_QUEUE)
      if (!OWNED.has(outcome))
        throw new TalkwireError('ADDRESS_IN_USE', `${name} is somebody else's on ${place.bus}; end what has it, or choose another name`)
      served = true
      return {
        address: `${place.bus}#${name}${object.path}`,
        async close() {
          if (!served) return
          served = false
          if (!over) await line.driver('ReleaseName', 's', name).catch(ignored)
          leave()
        },
      }
    }),
  )
}

/** One of those who call over the bus, as a session sees it. */
class BusCaller implements ConnectionBase {
  readonly unsent = 0
  peer: Peer
  private caller: Caller | undefined
  private early: (readonly [Message, Arrived])[] | undefined
  private done = false

  constructor(
    private readonly name: string,
    private readonly line: Line,
    private readonly object: ServedObject,
    private readonly admit: Admit,
    private readonly options: DialectServerOptions,
    private readonly onDone: () => void,
  ) {
    this.peer = { address: `dbus:${name}`, identity: name }
  }

  /** Signals leave through this one. */
  async tellsSignals(): Promise<void> {
    const { object, line } = this
    this.caller = this.admit(this, (event, payload) => tell(line, object, event, payload))
    line.connection.socket.on('drain', () => this.caller?.drained())
    await Promise.all([...object.operations.signals.keys()].map((event) => this.caller!.subscribe(event)))
  }

  take(message: Message, descriptors: Arrived): void {
    if (this.caller) return this.object.call(this.line, this.caller, message, descriptors)
    if (this.early) {
      if (this.early.length < MOST_EARLY) return void this.early.push([message, descriptors])
      closeAll(descriptors)
      return this.line.error(message, new TalkwireError('LIMIT_EXCEEDED', `more than ${MOST_EARLY} calls before it is known who calls`))
    }
    this.early = [[message, descriptors]]
    this.identify().then(
      (peer) => this.begin(peer),
      (reason: unknown) => this.refuse(TalkwireError.from(reason)),
    )
  }

  /** Who that is, as the bus was told by the kernel. Rejects with PERMISSION_DENIED. */
  private async identify(): Promise<Peer> {
    const [told] = (await this.line.driver('GetConnectionCredentials', 's', this.name)) as [Record<string, unknown>]
    const { UnixUserID: uid, ProcessID: pid } = told
    return admitPeer({ ...this.peer, ...(typeof uid === 'number' && { uid }), ...(typeof pid === 'number' && { pid }) }, true, this.options)
  }

  private begin(peer: Peer): void {
    const early = this.early!
    this.early = []
    if (this.done) return early.forEach(([, descriptors]) => closeAll(descriptors))
    this.peer = peer
    this.caller = this.admit(this)
    for (const [message, descriptors] of early) this.take(message, descriptors)
  }

  private refuse(error: TalkwireError): void {
    const early = this.early!
    this.early = undefined
    for (const [message, descriptors] of early) {
      closeAll(descriptors)
      this.line.error(message, error)
    }
    this.end()
  }

  /** It has left the bus. */
  left(cause?: TalkwireError): void {
    this.end(cause)
  }

  private end(cause?: TalkwireError): void {
    if (this.done) return
    this.done = true
    this.onDone()
    this.caller?.closed(cause)
  }

  get buffered(): number {
    return this.line.connection.buffered
  }

  // All callers share the connection to the bus: who holds one holds it.
  pause(): void {
    this.line.connection.hold(`${this.name} is held`, true)
  }

  resume(): void {
    this.line.connection.hold(`${this.name} is held`, false)
  }

  /** What was answered is on its way; the connection to the bus ends with the last caller. */
  async close(): Promise<void> {
    this.resume()
    this.end()
    const { socket } = this.line.connection
    if (socket.writableEnded && !socket.closed) await new Promise<void>((resolve) => socket.once('close', () => resolve()))
  }

  abort(cause: TalkwireError): void {
    this.resume()
    this.end(cause)
  }

  ref(): void {
    this.line.connection.ref()
  }

  unref(): void {
    this.line.connection.unref()
  }
}

/** False: the other side is too slow. Throws what the values throw. */
function tell(line: Line, object: ServedObject, event: string, payload: unknown): boolean {
  const { operations, of, path } = object
  const values = operations.signals.get(event)
  if (!values) return true
  const value = Array.isArray(payload) && payload.length === 1 ? (payload as unknown[])[0] : payload
  line.send({ type: Type.signal, flags: Flag.noReply, path, interface: of, member: event, signature: values.signature }, (writer) =>
    writeArguments(writer, values, value),
  )
  const property = propertyOf(operations, event)
  if (property) {
    const changed = {
      type: Type.signal,
      flags: Flag.noReply,
      path,
      interface: PROPERTIES,
      member: 'PropertiesChanged',
      signature: 'sa{sv}as',
    }
    const now = values.as === 'members' ? (value as Record<string, unknown>)[values.names[0]!] : value
    line.send(changed, (writer) => object.writeChange(writer, property.name, now))
  }
  return line.connection.buffered < line.limits.outgoing
}

// ── serving without a bus ────────────────────────────────────────────────────────────────────────

async function listenPeers(address: string, service: Service, admit: Admit, options: DialectServerOptions): Promise<Listener> {
  const place = placeOf(address)
  if (place.name !== undefined)
    throw new TalkwireError('INVALID_ADDRESS', `without a bus there are no names; write ${place.bus}#${place.path ?? '/org/example/Bank'}`)
  const object = await objectOf(service, place.path)
  if (options.descriptors) needDescriptors()
  const guid = randomBytes(16).toString('hex')
  const listener = await listenSockets(
    place.bus,
    true,
    options,
    (socket, peer, meet) => serveOne(socket, peer, meet, object, guid, admit, options),
    options.descriptors,
  )
  return { ...listener, address: place.path === undefined ? listener.address : `${listener.address}#${place.path}` }
}

/** What begins so is D-Bus: as a length, of our own messages, it would be followed by what is no message. */
const GREETING = Buffer.from('\0AUTH')

/** Rejects with UNSUPPORTED for descriptors: they are lost to whoever looks at the first bytes. */
async function guestOfPeers(_address: string, service: Service, admit: Admit, options: DialectServerOptions): Promise<Guest> {
  if (options.descriptors)
    throw new TalkwireError('UNSUPPORTED', 'dbus: carries no descriptors beside other protocols; give it an address of its own, dbus+unix:')
  const object = await objectOf(service, undefined)
  const guid = randomBytes(16).toString('hex')
  const recognises = (first: Buffer): boolean | undefined => {
    const seen = Math.min(first.length, GREETING.length)
    if (!first.subarray(0, seen).equals(GREETING.subarray(0, seen))) return false
    return seen === GREETING.length ? true : undefined
  }
  return socketGuest('dbus', recognises, options, (socket, peer, meet) => serveOne(socket, peer, meet, object, guid, admit, options))
}

function serveOne(
  socket: net.Socket,
  peer: Peer,
  meet: Meet,
  object: ServedObject,
  guid: string,
  admit: Admit,
  options: DialectServerOptions,
): void {
  let caller: Caller | undefined
  const met = meet()
  const begin = (send: (text: string) => void): Authentication => serverAuthentication(peer.uid, options.descriptors === true, guid, send)
  const line: Line = new Line(socket, peer, options.limits, options.descriptors === true, begin, {
    open() {
      met()
      line.wire.hurry()
      caller = admit(line.connection, (event, payload) => tell(line, object, event, payload))
      for (const event of object.operations.signals.keys()) caller.subscribe(event).catch(ignored)
    },
    call: (message, descriptors) => object.call(line, caller!, message, descriptors),
    signal: ignored,
    // What is garbage ends its own connection, and nothing else.
    broken: (error) => (caller ? line.connection.abort(error) : socket.destroy()),
    closed: (cause) => caller?.closed(cause),
  })
  socket.on('drain', () => caller?.drained())
}

// ── calling ──────────────────────────────────────────────────────────────────────────────────────

type Connected = { readonly connection: ConnectionBase; readonly callee: Callee }

/** What an object says of itself; undefined: it says nothing. */
async function introspect(line: Line, { owner, path }: ObjectPlace): Promise<ObjectNode | undefined> {
  const fields = {
    path,
    interface: 'org.freedesktop.DBus.Introspectable',
    member: 'Introspect',
    ...(owner !== undefined && { destination: owner }),
  }
  const told = await line.ask(fields).catch((reason: unknown) => {
    if (line.connection.socket.destroyed) throw reason
    return []
  })
  return typeof told[0] === 'string' ? readObject(told[0]) : undefined
}

/** The object at the first of these paths that has one. */
async function objectAt(
  line: Line,
  owner: string | undefined,
  paths: readonly string[],
  options: DialectClientOptions,
  name?: string,
): Promise<{ place: ObjectPlace; targets: Targets }> {
  const [path, ...others] = paths as [string, ...string[]]
  const place = { owner, path }
  const node = await introspect(line, place)
  if (others.length > 0 && (node === undefined || node.interfaces.size === 0)) return objectAt(line, owner, others, options, name)
  return { place, targets: await targetsFor(line, place, node, options, name) }
}

async function targetsFor(
  line: Line,
  place: ObjectPlace,
  node: ObjectNode | undefined,
  { contract }: DialectClientOptions,
  name: string | undefined,
): Promise<Targets> {
  const where = `${name ?? line.connection.peer.address} at ${place.path}`
  if (!contract) {
    if (node && node.interfaces.size > 0) return plainTargets(node, name)
    throw new TalkwireError('UNSUPPORTED', `${where} does not say what it has; give connect a contract, or another path`)
  }
  const operations = await operationsOf(contract).catch((reason: unknown) => {
    // What we could not serve may still be called with the types of the other side.
    if (!node) throw reason
    return undefined
  })
  const own = knownInterface(contract)
  return node && node.interfaces.size > 0 ? contractTargets(contract, own, node, operations) : ownTargets(own ?? contract.name, operations!)
}

async function connectPeer(address: string, options: DialectClientOptions): Promise<Connected> {
  const { bus, path, name } = placeOf(address)
  const own = knownInterface(options.contract)
  const at = path ?? (own === undefined ? undefined : pathOf(own))
  if (name !== undefined || at === undefined)
    throw new TalkwireError('INVALID_ADDRESS', `without a bus an object has only its path; write ${bus}#/org/example/Bank`)
  let callee: ObjectCallee | undefined
  const line = await openLine(bus, (paused) => dialSocket(bus, options, paused), options, {
    call: (message, descriptors) => refuseCall(line, message, descriptors),
    signal: (message) => callee?.signal(message),
    closed: (cause) => callee && options.onClosed(cause),
  })
  return guarded(line, () =>
    within(line, options, async () => {
      const { place, targets } = await objectAt(line, undefined, [at], options)
      callee = new ObjectCallee(line, place, targets, options, ignored)
      return { connection: line.connection, callee }
    }),
  )
}

async function connectBus(address: string, options: DialectClientOptions): Promise<Connected> {
  const { bus, path, name: given } = placeOf(address)
  const own = knownInterface(options.contract)
  const name = given ?? own
  if (name === undefined)
    throw new TalkwireError('INVALID_ADDRESS', `who is called on ${bus}? Write ${bus}#org.example.Bank/org/example/Bank`)
  // A name of its own choice does not change where a contract's object is; a stranger's object is where its name says.
  const paths = new Set(path === undefined ? [...(own === undefined ? [] : [pathOf(own)]), pathOf(name)] : [path])
  const state = { owner: '', callee: undefined as ObjectCallee | undefined }
  const line: Line = await openBus(bus, options, {
    call: (message, descriptors) => refuseCall(line, message, descriptors),
    signal(message) {
      if (message.sender === DRIVER && message.member === 'NameOwnerChanged') ownerChanged(line, message, name, state)
      state.callee?.signal(message)
    },
    closed: (cause) => state.callee && options.onClosed(cause),
  })
  return guarded(line, () =>
    within(line, options, async () => {
      state.owner = await ownerOf(line, name, bus)
      const { place, targets } = await objectAt(line, state.owner, [...paths], options, name)
      if (state.owner === '') throw new TalkwireError('PEER_NOT_FOUND', `${name} has just left ${bus}; try again`)
      state.callee = new ObjectCallee(line, place, targets, options, () => void line.connection.close())
      return { connection: line.connection, callee: state.callee }
    }),
  )
}

/** Whoever has the name, started by the bus where it can; and from now on we hear of changes. Rejects with PEER_NOT_FOUND. */
async function ownerOf(line: Line, name: string, bus: string): Promise<string> {
  if (name === DRIVER) return DRIVER
  const watch = (arg: string): Promise<unknown> =>
    line.driver('AddMatch', 's', `type='signal',sender='${DRIVER}',member='NameOwnerChanged',arg0='${arg}'`)
  await watch(name)
  const ask = (): Promise<unknown> =>
    line.driver('GetNameOwner', 's', name).then(
      ([owner]) => owner,
      () => undefined,
    )
  let owner = await ask()
  if (owner === undefined) {
    await line.driver('StartServiceByName', 'su', name, 0).catch((reason: unknown) => {
      throw new TalkwireError(
        'PEER_NOT_FOUND',
        `nobody has the name ${name} on ${bus}: ${TalkwireError.from(reason).message}; start the service there, or pass { wait: milliseconds }`,
      )
    })
    owner = await ask()
  }
  if (typeof owner !== 'string') throw new TalkwireError('PEER_NOT_FOUND', `nobody has the name ${name} on ${bus}`)
  if (owner !== name) await watch(owner)
  return owner
}

/** The name may be given up before the connection is: what was asked is still answered, and nothing new is. */
function ownerChanged(line: Line, message: Message, name: string, state: { owner: string; callee: ObjectCallee | undefined }): void {
  const reader = bodyOf(message, line.limits)
  const who = reader.text()
  const before = reader.text()
  if (before === '' || before !== state.owner) return
  if (who !== name || who === state.owner) return line.connection.abort(lost(undefined))
  state.owner = ''
  if (!state.callee) return
  state.callee.gone = true
  if (!line.busy) void line.connection.close()
}

/** Nobody serves here. */
function refuseCall(line: Line, message: Message, descriptors: Arrived): void {
  closeAll(descriptors)
  line.error(message, new TalkwireError('METHOD_NOT_FOUND', 'this side serves nothing'))
}

// ── what an object offers ────────────────────────────────────────────────────────────────────────

/** Rejects as `Dialect.discover`. */
async function discoverOnBus(address: string, options: DialectDiscoverOptions): Promise<Contract> {
  const { bus, path, name } = placeOf(address)
  if (name === undefined)
    throw new TalkwireError('INVALID_ADDRESS', `who is asked on ${bus}? Write ${bus}#org.example.Bank/org/example/Bank`)
  const line: Line = await openBus(bus, options, { ...unheard, call: (message, arrived) => refuseCall(line, message, arrived) })
  return asked(line, options, async () => describe(line, { owner: await ownerOf(line, name, bus), path: path ?? pathOf(name) }, name))
}

/** Rejects as `Dialect.discover`. */
async function discoverPeer(address: string, options: DialectDiscoverOptions): Promise<Contract> {
  const { bus, path } = placeOf(address)
  if (path === undefined) throw new TalkwireError('INVALID_ADDRESS', `an object has a path; write ${bus}#/org/example/Bank`)
  const line: Line = await openLine(bus, (paused) => dialSocket(bus, options, paused), options, {
    ...unheard,
    call: (message, arrived) => refuseCall(line, message, arrived),
  })
  return asked(line, options, () => describe(line, { owner: undefined, path }, path.slice(1).replaceAll('/', '.')))
}

const unheard = { signal: ignored, closed: ignored }

async function asked<T>(line: Line, options: Opening, make: () => Promise<T>): Promise<T> {
  const found = await guarded(line, () => within(line, options, make))
  await line.connection.close()
  return found
}

async function describe(line: Line, place: ObjectPlace, name: string): Promise<Contract> {
  const node = await introspect(line, place)
  if (!node || node.interfaces.size === 0)
    throw new TalkwireError(
      'UNSUPPORTED',
      `the object ${place.path} of ${name} does not say what it has; write a contract for it, or name another path`,
    )
  const { owner, path } = place
  const own = node.interfaces.has(CONTRACT)
    ? await line.ask({ path, interface: CONTRACT, member: 'Describe', ...(owner !== undefined && { destination: owner }) })
    : []
  return typeof own[0] === 'string' ? fromOpenRpc(JSON.parse(own[0]), name) : contractOfObject(name, node)
}
