/** TCP: `tcp://127.0.0.1:7000`, `tcp://[::1]:7000`, `tcp://localhost:0`. Beyond loopback it wants an authkey. */
import { lookup } from 'node:dns/promises'
import net from 'node:net'
import { parseHostPort, type HostPort } from '../address.js'
import { TalkwireError } from '../error.js'
import { connectSocket, createServer, listening, type SharedOptions } from './socket.js'
import type { Peer, Traits, Transport } from './transport.js'

/** Milliseconds of silence after which the kernel asks whether the other host is there. */
const KEEP_ALIVE = 30_000
const traits: Traits = {
  ordered: true,
  reliable: true,
  backpressure: true,
  crossProcess: true,
  crossHost: true,
  manyConnections: true,
  peerCredentials: false,
}

export interface TcpOptions extends SharedOptions {
  /** The session checks an authkey: it may be reached by others. */
  readonly authenticated?: boolean
  /** Let anyone in who reaches the port. */
  readonly insecure?: boolean
}

export const tcp: Transport<TcpOptions> = {
  scheme: 'tcp',
  traits,

  async connect(address, sink, options = {}) {
    const { host, port } = hostPort(address)
    const target = { host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE }
    return connectSocket(target, address, sink, options, () => ({ address, host }))
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    const { host, port } = await bindable(
      address,
      options.authenticated || options.insecure,
      'give both sides an authkey, take tls:, or say insecure: true',
    )
    const server = createServer(accept, options, (socket) => {
      socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE)
      return remoteOf('tcp', socket, address)
    })
    await listening(server, () => server.listen({ host, port }), address)
    const bound = boundAddress(address, server)
    for (const guest of options.guests ?? []) guest.bound?.(bound)
    return { address: bound, close: async () => void server.close() }
  },
}

/** Throws INVALID_ADDRESS, also for a query: there is nothing to set. */
export function hostPort(address: string): HostPort {
  const parsed = parseHostPort(address)
  if (parsed.query.size > 0)
    throw new TalkwireError('INVALID_ADDRESS', `${JSON.stringify(address.slice(0, 120))} has a query; options are passed as options`)
  return parsed
}

/** The number to listen on. Rejects with PERMISSION_DENIED when others could reach it and nothing keeps them out. */
export async function bindable(address: string, guarded: boolean | undefined, advice: string): Promise<{ host: string; port: number }> {
  const { host, port } = hostPort(address)
  const number = net.isIP(host.replace(/%.*/, '')) ? host : await resolve(host, address)
  if (!guarded && !isLoopback(number))
    throw new TalkwireError('PERMISSION_DENIED', `anyone who reaches ${address} could call; ${advice}, or listen on 127.0.0.1`)
  return { host: number, port }
}

async function resolve(host: string, address: string): Promise<string> {
  try {
    return (await lookup(host)).address
  } catch (reason) {
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `cannot listen on ${address}: ${(reason as Error).message}; choose an address of this machine`,
      {
        cause: reason,
      },
    )
  }
}

/** Whether an address is of this machine alone. */
export function isLoopback(number: string): boolean {
  const loopback = new net.BlockList()
  loopback.addSubnet('127.0.0.0', 8)
  loopback.addAddress('::1', 'ipv6')
  return loopback.check(number.replace(/%.*/, ''), net.isIPv6(number.replace(/%.*/, '')) ? 'ipv6' : 'ipv4')
}

/** The address with the port that the kernel chose; the host stays as it was written. */
export function boundAddress(address: string, server: net.Server): string {
  return address.replace(/:\d+\/?$/, `:${(server.address() as net.AddressInfo).port}`)
}

export function remoteOf(scheme: string, { remoteAddress: host, remoteFamily, remotePort }: net.Socket, fallback: string): Peer {
  if (host === undefined) return { address: fallback }
  return { address: `${scheme}://${remoteFamily === 'IPv6' ? `[${host}]` : host}:${remotePort}`, host }
}
