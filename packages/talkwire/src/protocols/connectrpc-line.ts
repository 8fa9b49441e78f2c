/** A POST whose body and answer may both be streams, over HTTP/1.1 or HTTP/2: what Connect and gRPC-Web are called by. */
import http2 from 'node:http2'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { TalkwireError } from '../error.js'
import type { ConnectionBase } from '../transports/transport.js'
import type { DialectClientOptions } from './dialect.js'
import { dialTls, hear, Http2ClientConnection } from './grpc-http2-client.js'
import { AgentConnection, failures, isSecure, openPlace, type Place } from './http-agent.js'
import { dialSocket } from './socket-site.js'

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = http2.constants

/** What becomes of a POST: a head, chunks, then one of `end` and `broke`. */
export interface Hearing {
  head(status: number, headers: IncomingHttpHeaders): void
  data(chunk: Buffer): void
  /** The answer is whole, as far as HTTP can tell. */
  end(): void
  broke(reason: TalkwireError): void
}

export interface Posting {
  /** `done` is called when it has left. Nothing after the end. */
  write(bytes: Uint8Array, done: () => void): void
  end(): void
  /** Neither side hears more. */
  cut(): void
  pause(): void
  resume(): void
}

export interface Line {
  readonly connection: ConnectionBase
  /** What stands before a method's path; '' where nothing does. */
  readonly prefix: string
  /** Both sides may speak at once. */
  readonly duplex: boolean
  /** No new calls; those that run have their time. */
  readonly gone: boolean
  /** `body`: all of it; without, it is written and ended. `lasts`: the answer may take as long as it likes. */
  post(path: string, headers: Readonly<Record<string, string>>, body: Uint8Array | undefined, lasts: boolean, hearing: Hearing): Posting
}

/** `h2`: HTTP/2 in the clear. Over TLS both sides agree on a version. Rejects as `Dialect.connect`. */
export async function openLine(address: string, h2: boolean, options: DialectClientOptions): Promise<Line> {
  const place = openPlace(address, options)
  const server = place.path === '' ? address : address.slice(0, -place.path.length)
  const prefix = place.path.replace(/\/$/, '')
  if (h2) return overHttp2(new Http2ClientConnection(server, await dialSocket(server, options), false, options), prefix)
  if (!isSecure(address)) return overHttp1(place, prefix, options)
  const socket = await dialTls(server, ['h2', 'http/1.1'], options)
  if (socket.alpnProtocol === 'h2') return overHttp2(new Http2ClientConnection(server, socket, true, options), prefix)
  // HTTP/1.1 has a connection for each call at a time, and whoever makes those makes them by itself.
  socket.destroy()
  return overHttp1(place, prefix, options)
}

// ── HTTP/1.1 ─────────────────────────────────────────────────────────────────────────────────────

function overHttp1(place: Place, prefix: string, { onClosed }: DialectClientOptions): Line {
  const connection = new AgentConnection(place, onClosed)
  return {
    connection,
    prefix,
    duplex: false,
    gone: false,
    post(path, headers, body, lasts, hearing) {
      const request = place.request({
        ...place.base,
        ...(!lasts && { agent: place.calls }),
        method: 'POST',
        path,
        headers: { ...place.headers, ...headers, ...(body && { 'content-length': body.length }) },
      })
      let response: IncomingMessage | undefined
      const failure = failures(request)
      let over = false
      const broke = (reason: unknown): void => {
        if (over) return
        over = true
        hearing.broke(failure(reason))
      }
      connection.sent(request)
      request.on('error', broke)
      request.on('response', (arrived) => {
        response = arrived
        hearing.head(arrived.statusCode!, arrived.headers)
        arrived.on('error', broke)
        arrived.on('data', (chunk: Buffer) => {
          if (!over) hearing.data(chunk)
        })
        arrived.on('end', () => {
          if (over) return
          over = true
          hearing.end()
        })
      })
      if (body) request.end(body)
      else request.flushHeaders()
      return {
        write(bytes, done) {
          if (!request.writableEnded && !request.destroyed) request.write(bytes, () => done())
        },
        end: () => void request.end(),
        cut() {
          over = true
          request.destroy()
        },
        pause: () => void response?.pause(),
        resume: () => void response?.resume(),
      }
    },
  }
}

// ── HTTP/2 ───────────────────────────────────────────────────────────────────────────────────────

function overHttp2(connection: Http2ClientConnection, prefix: string): Line {
  return {
    connection,
    prefix,
    duplex: true,
    get gone() {
      return connection.gone || connection.session.destroyed || connection.session.closed
    },
    post(path, headers, body, _lasts, hearing) {
      const stream = connection.session.request({ ...connection.headers, ...headers, ':path': path })
      let over = false
      let whole = false
      stream.on('error', () => {})
      hear(
        stream,
        (told) => hearing.head(Number(told[':status']), told),
        (chunk) => {
          if (!over) hearing.data(chunk)
        },
      )
      stream.on('end', () => (whole = true))
      stream.on('close', () => {
        if (over) return
        over = true
        if (whole && stream.rstCode === NGHTTP2_NO_ERROR) hearing.end()
        else hearing.broke(reasonOf(stream, connection))
      })
      if (body) stream.end(body)
      return {
        write(bytes, done) {
          if (!stream.writableEnded && !stream.closed) stream.write(bytes, () => done())
        },
        end: () => void stream.end(),
        cut() {
          over = true
          if (!stream.closed) stream.close(NGHTTP2_CANCEL)
        },
        pause: () => void stream.pause(),
        resume: () => void stream.resume(),
      }
    },
  }
}

/** Why the answer is not whole. */
function reasonOf(stream: http2.ClientHttp2Stream, connection: Http2ClientConnection): TalkwireError {
  const { address, session } = connection
  if (stream.rstCode === NGHTTP2_REFUSED_STREAM) return new TalkwireError('UNAVAILABLE', `${address} refused the call; try again`)
  if (stream.id === undefined || stream.pending) return connection.lost().withOutcome('not-sent')
  if (session.destroyed || stream.rstCode === NGHTTP2_NO_ERROR) return connection.lost()
  return new TalkwireError('CONNECTION_LOST', `${address} cut the call off (code ${stream.rstCode} of HTTP/2)`, { outcome: 'maybe-ran' })
}
