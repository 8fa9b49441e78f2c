/** A multicast group: `udp://239.255.7.7:7000`. A service sends its events to whoever has joined; nothing comes back. */
import dgram from 'node:dgram'
import net from 'node:net'
import { parseHostPort } from '../address.js'
import { TalkwireError } from '../error.js'
import { MessageConnection, type MessagePipe } from './message-connection.js'
import { connectionClosed } from './refusals.js'
import { fromSystem } from './socket.js'
import { isLoopback, type TcpOptions } from './tcp.js'
import type { Accept, Connection, Listener, Peer, Sink, TransportOptions } from './transport.js'
import { MAX_DATAGRAM } from './udp-packets.js'

const groups = new net.BlockList()
groups.addSubnet('224.0.0.0', 4, 'ipv4')
groups.addSubnet('ff00::', 8, 'ipv6')

interface Group {
  readonly host: string
  readonly port: number
  readonly family: 'udp4' | 'udp6'
  /** The address of ours on whose network it is; undefined: the kernel's choice. */
  readonly through: string | undefined
}

/** Undefined for any other address. Throws INVALID_ADDRESS. */
export function parseGroup(address: string): Group | undefined {
  const { host, port, query } = parseHostPort(address)
  const version = net.isIP(host)
  if (version === 0 || !groups.check(host, version === 6 ? 'ipv6' : 'ipv4')) return undefined
  const through = query.get('interface') ?? undefined
  if (port > 0 && [...query.keys()].every((key) => key === 'interface') && (through === undefined || net.isIP(through) > 0))
    return { host, port, family: version === 6 ? 'udp6' : 'udp4', through }
  throw new TalkwireError(
    'INVALID_ADDRESS',
    `${JSON.stringify(address.slice(0, 120))}: a group has a port, and may have the address of a network card of ours: udp://239.255.7.7:7000?interface=192.168.1.5`,
  )
}

/** One who hears. Rejects with INVALID_ADDRESS, ADDRESS_IN_USE (somebody has the port for himself), the signal's reason. */
export async function joinGroup(group: Group, address: string, sink: Sink, { signal, maxMessage }: TransportOptions): Promise<Connection> {
  signal?.throwIfAborted()
  const socket = dgram.createSocket({ type: group.family, reuseAddr: true })
  const pipe = new GroupPipe(socket, group, { address, host: group.host }, 'in', maxMessage)
  try {
    await bound(socket, { port: group.port, address: group.host })
    socket.addMembership(group.host, group.through)
    signal?.throwIfAborted()
  } catch (reason) {
    socket.close()
    throw reason === signal?.reason ? reason : fromSystem(reason, `cannot join ${address}`)
  }
  pipe.attach(sink)
  socket.on('message', (bytes) => pipe.receive(bytes))
  return new MessageConnection(pipe)
}

/** The one who speaks: a connection that only sends. Rejects with PERMISSION_DENIED, INVALID_ADDRESS. */
export async function speakToGroup(group: Group, address: string, accept: Accept, options: TcpOptions): Promise<Listener> {
  options.signal?.throwIfAborted()
  if (!options.insecure && !(group.through !== undefined && isLoopback(group.through)))
    throw new TalkwireError('PERMISSION_DENIED', `anyone near who joins ${address} could read its events; say insecure: true`)
  const socket = dgram.createSocket(group.family)
  try {
    await bound(socket, { port: 0 })
    if (group.through !== undefined) socket.setMulticastInterface(group.through)
    socket.setMulticastLoopback(true)
  } catch (reason) {
    socket.close()
    throw fromSystem(reason, `cannot send to ${address}`)
  }
  const pipe = new GroupPipe(socket, group, { address, host: group.host }, 'out', options.maxMessage)
  pipe.attach(accept(new MessageConnection(pipe)))
  return { address, close: () => pipe.close() }
}

function bound(socket: dgram.Socket, options: dgram.BindOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(options, () => {
      socket.off('error', reject).on('error', () => {})
      resolve()
    })
  })
}

class GroupPipe implements MessagePipe {
  readonly binary = false
  readonly lossy = true
  readonly maxMessage: number
  private sink: Sink | undefined
  private closed = false
  private paused = false
  private cause: TalkwireError | undefined

  constructor(
    private readonly socket: dgram.Socket,
    private readonly group: Group,
    readonly peer: Peer,
    readonly oneWay: 'in' | 'out',
    maxMessage = MAX_DATAGRAM,
  ) {
    this.maxMessage = Math.min(maxMessage, MAX_DATAGRAM)
  }

  attach(sink: Sink): void {
    this.sink = sink
    if (this.closed) sink.closed(this.cause)
  }

  /** Anybody may send to the group, and nobody is told that it was nonsense. */
  receive(bytes: Buffer): void {
    if (this.closed || this.paused || bytes.length > this.maxMessage || !isNotification(bytes)) return
    try {
      this.sink!.message(bytes, 0, bytes.length, true)
    } catch (reason) {
      this.abort(TalkwireError.from(reason, 'CONNECTION_LOST'))
    }
  }

  ended(): TalkwireError | undefined {
    return this.closed ? (this.cause ?? connectionClosed()) : undefined
  }

  send(bytes: Buffer): boolean {
    if (this.oneWay === 'out') this.socket.send(bytes, this.group.port, this.group.host, () => {})
    return true
  }

  buffered(): number {
    return this.socket.getSendQueueSize?.() ?? 0
  }

  unsent(): number {
    return 0
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  async close(): Promise<void> {
    this.finish(undefined)
  }

  abort(cause: TalkwireError): void {
    this.finish(cause)
  }

  ref(): void {
    if (!this.closed) this.socket.ref()
  }

  unref(): void {
    if (!this.closed) this.socket.unref()
  }

  private finish(cause: TalkwireError | undefined): void {
    if (this.closed) return
    this.closed = true
    this.cause = cause
    // What was sent last leaves first.
    setImmediate(() => this.socket.close())
    this.sink?.closed(cause)
  }
}

function isNotification(bytes: Buffer): boolean {
  try {
    const message = JSON.parse(bytes.toString()) as { method?: unknown; id?: unknown } | null
    return typeof message?.method === 'string' && message.id === undefined
  } catch {
    return false
  }
}
