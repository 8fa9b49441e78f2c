/** TLS: `tls://bank.example:7000`. Both sides show a certificate, and both are checked. */
import tls, { type ConnectionOptions, type TlsOptions as ServerOptions, type TLSSocket } from 'node:tls'
import net from 'node:net'
import { TalkwireError } from '../error.js'
import { isCertificate, refuseBlindness } from '../trust.js'
import { endWith, fromSystem, listening, open, receptionFor, silentOf, type SharedOptions } from './socket.js'
import { StreamConnection, type StreamOptions } from './stream-connection.js'
import { bindable, boundAddress, hostPort, remoteOf } from './tcp.js'
import type { Traits, Transport } from './transport.js'

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

export interface TlsOptions extends SharedOptions {
  /** As for `tls.connect` and `tls.createServer`. */
  readonly tls?: ConnectionOptions | ServerOptions
  /** The session checks an authkey: without client certificates it may be reached by others. */
  readonly authenticated?: boolean
  readonly insecure?: boolean
}

const isSystem = (reason: unknown): boolean => typeof (reason as NodeJS.ErrnoException).syscall === 'string'

export const tlsTransport: Transport<TlsOptions> = {
  scheme: 'tls',
  traits,

  async connect(address, sink, options = {}) {
    options.signal?.throwIfAborted()
    const { host, port } = hostPort(address)
    const settings = (options.tls ?? {}) as ConnectionOptions
    const socket = tls.connect({
      ...settings,
      ...floor(settings),
      host,
      port,
      servername: settings.servername ?? (net.isIP(host) ? '' : host),
      rejectUnauthorized: true,
      allowHalfOpen: true,
    } as ConnectionOptions)
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE)
    let spoke = false
    socket.once('keylog', () => {
      spoke = true
    })
    const explain = (reason: unknown): TalkwireError => refusal(reason, address, spoke)
    return open(socket, 'secureConnect', address, options, explain, () => {
      const peer = { address, host, ...identity(socket) }
      return new StreamConnection(socket, peer, {
        maxMessage: options.maxMessage,
        framing: options.framing ?? 'length',
        explain: (cause) => unless(cause, address),
      } satisfies StreamOptions).attach(sink)
    })
  },

  async listen(address, accept, options = {}) {
    options.signal?.throwIfAborted()
    const settings = (options.tls ?? {}) as ServerOptions
    const checksClients = settings.requestCert !== false
    validateServer(settings, checksClients)
    const { host, port } = await bindable(
      address,
      checksClients || options.authenticated || options.insecure,
      'let clients show certificates (requestCert), give both sides an authkey, or say insecure: true',
    )
    const handshake = options.handshake === undefined ? {} : { handshakeTimeout: options.handshake }
    const reception = options.guests && receptionFor(options.guests, accept, options)
    const names = options.guests?.flatMap(({ alpn }) => alpn ?? [])
    const alpn = names && { ALPNProtocols: [...new Set(names)] }
    const server = tls.createServer(
      { ...settings, ...floor(settings), ...handshake, ...alpn, requestCert: checksClients, rejectUnauthorized: checksClients },
      (socket) => {
        // Not before: a peer that leaves in the middle of its handshake would be waited for.
        socket.allowHalfOpen = true
        handshakes.spoke(socket)
        socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE)
        const peer = { ...remoteOf('tls', socket, address), ...(checksClients && identity(socket)) }
        if (reception) return reception.receive(socket, peer)
        const connection = new StreamConnection(socket, peer, { maxMessage: options.maxMessage })
        connection.attach(accept(connection))
      },
    )
    const handshakes = silentOf(server)
    if (reception) endWith(server, reception)
    if (reception && options.connections !== undefined) server.maxConnections = options.connections
    // Node reports a failed handshake and leaves the connection to whoever listens.
    server.on('tlsClientError', (_, socket) => socket.destroy())
    await listening(server, () => server.listen({ host, port }), address)
    const bound = boundAddress(address, server)
    for (const guest of options.guests ?? []) guest.bound?.(bound)
    return { address: bound, close: async () => (handshakes.end(), void server.close()) }
  },

  // Node's servers look at a certificate when the handshake is over, and just hang up.
  unanswered: (error, address) =>
    new TalkwireError(
      'UNAUTHENTICATED',
      `${address} ended the connection before it answered: most likely it does not accept our certificate (tls.cert, tls.key)`,
      { cause: error },
    ),
}

const floor = ({ minVersion }: ServerOptions | ConnectionOptions): { minVersion: 'TLSv1.2' | 'TLSv1.3' } => ({
  minVersion: minVersion === 'TLSv1.3' ? 'TLSv1.3' : 'TLSv1.2',
})

function validateServer(settings: ServerOptions, checksClients: boolean): void {
  refuseBlindness(settings)
  if (!(settings.key && settings.cert) && !settings.pfx && !settings.SNICallback)
    throw new TypeError('to listen on tls: pass tls: { key, cert, ca }')
  // Node would fall back on the public authorities, and any web site's certificate would open the door.
  if (checksClients && !settings.ca)
    throw new TypeError('tls.ca says whose certificates clients may show; for clients without any say tls: { requestCert: false }')
}

function identity(socket: TLSSocket): { identity?: string } {
  const name: unknown = socket.getPeerCertificate().subject?.CN
  return typeof name === 'string' ? { identity: name } : {}
}

/** What went wrong before there was a connection; `spoke`: the other side had begun its part of the handshake. */
function refusal(reason: unknown, address: string, spoke: boolean): TalkwireError {
  if (isSystem(reason)) return fromSystem(reason, `cannot connect to ${address}`)
  const { code = '', message } = reason as NodeJS.ErrnoException
  if (isCertificate(code))
    return new TalkwireError('UNAUTHENTICATED', `${address}: ${message} (${code}); check tls.ca, tls.cert and the name in the address`, {
      cause: reason,
    })
  const error = new TalkwireError(
    'PEER_NOT_FOUND',
    `what answers at ${address} does not speak TLS as we do: ${message}; check that it listens on tls:`,
    { cause: reason },
  )
  return code === 'ECONNRESET' && spoke ? tlsTransport.unanswered!(error, address) : error
}

/** In TLS 1.3 we are through before a server that misses our certificate says so. */
function unless(cause: TalkwireError | undefined, address: string): TalkwireError | undefined {
  const reason = cause?.cause as NodeJS.ErrnoException | undefined
  return reason?.code !== undefined && isCertificate(reason.code) ? refusal(reason, address, true) : cause
}
