/** Who may ask over HTTP and WebSocket: under which host, from which pages, with which token. RFC 9110 § 7.2, RFC 6454, RFC 6750. */
import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { TalkwireError } from '../error.js'
import { listening, silentOf } from './socket.js'
import { boundAddress, isLoopback } from './tcp.js'
import type { Listener } from './transport.js'

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]']

export interface GuardOptions {
  readonly secure: boolean
  /** False or absent: none is wanted. */
  readonly token?: string | false
  /** Names under which it is reached, beside loopback's and the address's own: `bank.example:8080`. */
  readonly hosts?: readonly string[]
  /** Pages that may call, beside our own. */
  readonly origins?: readonly string[]
}

export interface Refusal {
  readonly status: number
  readonly error: TalkwireError
}

export interface Judgement {
  readonly refusal?: Refusal
  /** A page of another origin that may call. */
  readonly origin?: string
}

const denied = (text: string): Judgement => ({ refusal: { status: 403, error: new TalkwireError('PERMISSION_DENIED', text) } })
const ALLOWED: Judgement = {}

export class HttpGuard {
  private readonly hosts = new Set<string>()
  private readonly origins: ReadonlySet<string>
  private readonly expected: Buffer | undefined
  /** Whether an address at which requests arrive is loopback's. To find out takes longer than all else here. */
  private readonly local = new Map<string, boolean>()

  constructor(private readonly options: GuardOptions) {
    this.origins = new Set(options.origins)
    this.expected = options.token ? Buffer.from(options.token) : undefined
  }

  /** Names under which the listener is reached: a page whose own name was made to point here has another. */
  reachedAt(asked: string, bound: string): void {
    const { hostname, port } = asHttp(bound)
    const usual = this.options.secure ? 443 : 80
    const number = Number(port || 80)
    for (const name of [...LOOPBACK_NAMES, hostname, asHttp(asked).hostname]) {
      this.hosts.add(`${name}:${number}`)
      if (number === usual) this.hosts.add(name)
    }
    for (const each of this.options.hosts ?? []) this.hosts.add(each.toLowerCase())
  }

  /** By host and page; the token is another question. */
  judge({ headers, socket }: IncomingMessage): Judgement {
    const host = (headers.host ?? '').toLowerCase()
    // Beyond loopback it is reached under names that only the user knows; then the token and TLS keep strangers out.
    if ((this.isLocal(socket.localAddress ?? '') || this.options.hosts) && !this.hosts.has(host))
      return denied(`this service is not known as ${JSON.stringify(host.slice(0, 200))}; call it by its address, or name it in hosts`)
    const { origin } = headers
    if (origin === undefined || origin === `${this.options.secure ? 'https' : 'http'}://${host}`) return ALLOWED
    if (this.origins.has(origin)) return { origin }
    return denied(`pages of ${origin.slice(0, 200)} may not call this service; name the origin in origins`)
  }

  private isLocal(address: string): boolean {
    let local = this.local.get(address)
    if (local === undefined) this.local.set(address, (local = isLoopback(address.replace(/^::ffff:/, ''))))
    return local
  }

  /** Whether the request shows the token, or none is wanted. `shown` is one that came otherwise than in the header. */
  knows({ headers: { authorization } }: IncomingMessage, shown?: string): boolean {
    if (!this.expected) return true
    const token = shown ?? (/^bearer /i.test(authorization ?? '') ? authorization!.slice(7).trim() : undefined)
    return token !== undefined && sameSecret(token, this.expected)
  }
}

const asHttp = (address: string): URL => new URL(address.replace(/^[\w+]+:/, 'http:'))

/** In a time that tells its length at most. */
function sameSecret(text: string, expected: Buffer): boolean {
  const shown = Buffer.from(text)
  return shown.length === expected.length && timingSafeEqual(shown, expected)
}

export const noToken = (): TalkwireError => new TalkwireError('UNAUTHENTICATED', 'this service wants its token: "Authorization: Bearer …"')

/** Ends the server, and the connections on which no request is. To be called when it has its listeners. */
export function closerOf(server: Server): () => void {
  const silent = silentOf(server)
  const spoke = ({ socket }: IncomingMessage): void => silent.spoke(socket)
  server.on('request', spoke)
  // With a listener, what asks for another protocol is no request any more.
  if (server.listenerCount('upgrade') > 0) server.on('upgrade', spoke)
  return () => {
    server.close()
    server.closeIdleConnections()
    silent.end()
  }
}

/** Listens, and tells the guard under which names. Rejects as `listening`. */
export async function listenGuarded(
  server: Server,
  guard: HttpGuard,
  at: { readonly host: string; readonly port: number },
  address: string,
): Promise<Listener> {
  const close = closerOf(server)
  await listening(server, () => server.listen(at), address)
  const bound = boundAddress(address, server)
  guard.reachedAt(address, bound)
  return { address: bound, close: async () => close() }
}

const statuses: Readonly<Record<number, string>> = { 400: 'Bad Request', 401: 'Unauthorized', 403: 'Forbidden', 404: 'Not Found' }

/** No WebSocket: said in HTTP, since nothing else was agreed on. */
export function refuseUpgrade(socket: Duplex, status: number): void {
  socket.on('error', () => {})
  socket.end(`HTTP/1.1 ${status} ${statuses[status] ?? 'Refused'}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
