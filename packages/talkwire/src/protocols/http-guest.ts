/** Several protocols over HTTP/1.1 on a listener that others share: each by its path, on one server without a port of its own. */
import http, { type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { closerOf, HttpGuard, refuseUpgrade } from '../transports/http-guard.js'
import type { Guest } from '../transports/one-port.js'
import type { Peer } from '../transports/transport.js'
import type { Admit, DialectServerOptions } from './dialect.js'
import { pathOf, serveSite, settingsFor, upgradesOf, type Request, type Site } from './http-server.js'

/** The beginning of a connection in HTTP/2 (RFC 9113 § 3.4), which looks like a request of HTTP/1.1. */
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
const MAY_BE_A_METHOD = /^[A-Z]{0,20}$/
const METHOD = /^[A-Z]{1,20} /

/** Takes over the connection of a request for WebSocket. */
export type OnUpgrade = (guard: HttpGuard) => (request: IncomingMessage, socket: Duplex, head: Buffer) => void

export interface HttpGuestOptions extends DialectServerOptions {
  /** The address that was asked for, as the guard reads it. */
  readonly address: string
  readonly secure: boolean
}

/** `sites`: whose claim fits first has a request; the first without claims has what is left. */
export function httpGuest(sites: readonly Site[], admit: Admit, options: HttpGuestOptions, onUpgrade?: OnUpgrade): Guest {
  const server = http.createServer({ ...settingsFor(options) })
  const guard = new HttpGuard(options)
  const peers = new WeakMap<Socket, Peer>()
  const peerOf = (socket: Socket): Peer => peers.get(socket) ?? { address: options.address }
  serveSite(server, guard, together(sites), admit, peerOf)
  const others = onUpgrade?.(guard)
  if (others || sites.some(({ upgrade }) => upgrade))
    server.on('upgrade', (request: Request, stream: Duplex, head: Buffer) => {
      const own = sites.find(({ upgrade, claims }) => upgrade && claims?.(pathOf(request)))
      if (own) upgradesOf(guard, own, admit, peerOf)(request, stream, head)
      else if (others) others(request, stream, head)
      else refuseUpgrade(stream, 404)
    })
  // A server that does not listen looks for late headers only when it is told that it does.
  server.emit('listening')
  return {
    name: 'http',
    alpn: 'http/1.1',
    recognises(bytes) {
      const first = bytes.toString('latin1')
      if (first.startsWith('PRI') && PREFACE.startsWith(first)) return undefined
      return METHOD.test(first) || (MAY_BE_A_METHOD.test(first) ? undefined : false)
    },
    take(socket, peer) {
      peers.set(socket, peer)
      server.emit('connection', socket)
    },
    bound: (address) => guard.reachedAt(options.address, address),
    close: closerOf(server),
  }
}

/** One site out of many. A request that none of them may have got is refused in the words of whose path it is. */
export function together(sites: readonly Site[]): Site {
  const last = sites.find(({ claims }) => !claims) ?? sites[0]!
  const owner = (path: string): Site => sites.find(({ claims }) => claims?.(path)) ?? last
  return {
    scheme: last.scheme,
    handle: (exchange) => owner(exchange.path).handle(exchange),
    public: (request, response, path) => owner(path).public?.(request, response, path) ?? false,
    refuse: (response, status, error) => owner(pathOf(response.req)).refuse(response, status, error),
    onEvent(socket, event, payload) {
      let more = true
      for (const { onEvent } of sites) if (onEvent) more = onEvent(socket, event, payload) && more
      return more
    },
    closing(socket) {
      for (const { closing } of sites) closing?.(socket)
    },
  }
}
