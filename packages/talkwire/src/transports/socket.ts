/** What the socket transports share: dialling, accepting, and the meaning of their error codes. */
import net from 'node:net'
import { TalkwireError, type Code } from '../error.js'
import { CERTIFICATE_ADVICE, isCertificate } from '../trust.js'
import { Reception, type Guest } from './one-port.js'
import { adopt, dial, StreamConnection } from './stream-connection.js'
import { HANDSHAKE, type Accept, type Peer, type Sink, type TransportOptions } from './transport.js'

const codes: Record<string, Code> = {
  ENOENT: 'PEER_NOT_FOUND',
  ECONNREFUSED: 'PEER_NOT_FOUND',
  ENXIO: 'PEER_NOT_FOUND',
  ENOTFOUND: 'PEER_NOT_FOUND',
  EHOSTUNREACH: 'PEER_NOT_FOUND',
  ENETUNREACH: 'PEER_NOT_FOUND',
  ETIMEDOUT: 'PEER_NOT_FOUND',
  EADDRINUSE: 'ADDRESS_IN_USE',
  EEXIST: 'ADDRESS_IN_USE',
  EACCES: 'PERMISSION_DENIED',
  EPERM: 'PERMISSION_DENIED',
  ENOTSOCK: 'ADDRESS_IN_USE',
  EAI_AGAIN: 'PEER_NOT_FOUND',
  EADDRNOTAVAIL: 'INVALID_ADDRESS',
  EMFILE: 'LIMIT_EXCEEDED',
  ENFILE: 'LIMIT_EXCEEDED',
}

const advice: Partial<Record<Code, string>> = {
  PEER_NOT_FOUND: 'start the service there, or pass { wait: milliseconds }',
  ADDRESS_IN_USE: 'end what is there, or choose another address',
  PERMISSION_DENIED: 'choose an address that this user may use',
  INVALID_ADDRESS: 'choose an address of this machine',
  LIMIT_EXCEEDED: 'close connections, or raise ulimit -n',
  UNAUTHENTICATED: CERTIFICATE_ADVICE,
}

/** A system error as ours; `what` says what was tried. */
export function fromSystem(reason: unknown, what: string): TalkwireError {
  if (reason instanceof TalkwireError) return reason
  const { code: name = '' } = reason as NodeJS.ErrnoException
  const code = codes[name] ?? (isCertificate(name) ? 'UNAUTHENTICATED' : 'CONNECTION_LOST')
  return new TalkwireError(code, `${what}: ${(reason as Error).message}${advice[code] ? `; ${advice[code]}` : ''}`, { cause: reason })
}

/** Connects a stream socket and hands it to a connection before its first byte can arrive. Rejects with the signal's reason or `fromSystem`. */
export function connectSocket(
  target: net.NetConnectOpts,
  address: string,
  sink: Sink,
  options: TransportOptions,
  peerOf: (socket: net.Socket) => Peer,
): Promise<StreamConnection> {
  return open(
    dial(target),
    'connect',
    address,
    options,
    (reason) => fromSystem(reason, `cannot connect to ${address}`),
    (socket) =>
      new StreamConnection(socket, () => peerOf(socket), { maxMessage: options.maxMessage, framing: options.framing ?? 'length' }).attach(
        sink,
      ),
  )
}

/** Waits for `event` of a socket and gives it to `use` in the same turn. Until then the signal, `options.handshake` and errors end it. */
export function open<S extends net.Socket, T>(
  socket: S,
  event: 'connect' | 'secureConnect',
  address: string,
  { signal, handshake }: TransportOptions,
  explain: (reason: unknown) => unknown,
  use: (socket: S) => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const fail = (reason: unknown): void => {
      settle()
      // What a socket that was given up still says concerns nobody.
      socket.on('error', () => {}).destroy()
      reject(reason as Error)
    }
    const onAbort = (): void => fail(signal!.reason)
    const onError = (reason: unknown): void => fail(explain(reason))
    const timer =
      handshake === undefined
        ? undefined
        : setTimeout(
            () =>
              fail(
                new TalkwireError(
                  'PEER_NOT_FOUND',
                  `${address} did not answer within ${handshake} ms; check the address and the network, or raise limits.handshake`,
                ),
              ),
            handshake,
          )
    const settle = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('error', onError)
    }
    if (signal?.aborted) return onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.once('error', onError)
    socket.once(event, () => {
      settle()
      try {
        resolve(use(socket))
      } catch (reason) {
        fail(reason)
      }
    })
  })
}

/** What a listener of bytes can be told beside: who else answers on it. */
export interface SharedOptions extends TransportOptions {
  readonly guests?: readonly Guest[]
  /** Most connections at a time, whatever they speak. */
  readonly connections?: number
}

/** A server whose sockets become connections, or their guests'. `admit` may refuse one by throwing. */
export function createServer(accept: Accept, options: SharedOptions, admit: (socket: net.Socket) => Peer): net.Server {
  const { maxMessage, guests, connections } = options
  const stream = { maxMessage }
  const reception = guests && receptionFor(guests, accept, options)
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true }, (accepted) => {
    const socket = reception ? accepted : adopt(accepted)
    let peer: Peer
    try {
      peer = admit(socket)
    } catch {
      // Refused before its first byte: whoever is not allowed in is told nothing.
      socket.destroy()
      return
    }
    if (reception) return reception.receive(socket, peer)
    const connection = new StreamConnection(socket, peer, stream)
    connection.attach(accept(connection))
  })
  if (reception) endWith(server, reception)
  if (reception && connections !== undefined) server.maxConnections = connections
  return server
}

/** What no guest knows is one of our framings, or told in words that it is none. */
export const receptionFor = (
  guests: readonly Guest[],
  accept: Accept,
  { maxMessage, handshake = HANDSHAKE }: TransportOptions,
): Reception =>
  new Reception(guests, handshake, (socket, peer) => {
    const connection = new StreamConnection(socket, peer, { maxMessage })
    connection.attach(accept(connection))
  })

/** Closing the listener ends what is undecided. */
export function endWith(server: net.Server, reception: Reception): void {
  const close = server.close.bind(server)
  server.close = (done) => {
    reception.close()
    return close(done)
  }
}

/**
 * The connections on which nobody has said anything yet, as browsers make them in advance. A server that is closed leaves them
 * open, which keeps its process for as long as a first word may take.
 */
export function silentOf(server: net.Server): { spoke(socket: net.Socket): void; end(): void } {
  const silent = new Map<unknown, net.Socket>()
  server.on('connection', (socket: net.Socket) => {
    const key = keyOf(socket)
    silent.set(key, socket)
    socket.once('close', () => silent.get(key) === socket && silent.delete(key))
  })
  return {
    spoke: (socket) => void silent.delete(keyOf(socket)),
    end() {
      for (const socket of silent.values()) socket.destroy()
    },
  }
}

/** Of TLS and the socket below it the same. */
const keyOf = (socket: net.Socket): unknown => (socket.remotePort === undefined ? socket : `${socket.remotePort} ${socket.remoteAddress}`)

/** Resolves once the server listens. Rejects with `fromSystem`. */
export function listening(server: net.Server, start: () => void, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (reason: unknown): void => reject(fromSystem(reason, `cannot listen on ${address}`))
    server.once('error', onError)
    server.once('listening', () => {
      server.off('error', onError)
      // EMFILE and its like: this connection is lost, the service goes on.
      server.on('error', () => {})
      resolve()
    })
    start()
  })
}
