/** The calling side of gRPC: any server of it, by our contract. One HTTP/2 connection. */
import http2, { type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import { TalkwireError } from '../error.js'
import { inputOf } from '../session/service.js'
import type { ConnectionBase } from '../transports/transport.js'
import type { Answer, Callee, DialectClientOptions, OpenCall } from './dialect.js'
import { eventAnswer, framed, methodOf, Reading } from './grpc-call-client.js'
import { ENCODINGS } from './grpc-frames.js'
import { askWhether, type Asked } from './grpc-ask.js'
import { HEALTH, healthFile } from './grpc-health.js'
import { grpcTimeout, metaHeaders } from './grpc-meta.js'
import { fromStatus, readStatus, statusOfHttp, unpercent } from './grpc-status.js'
import { dialTls, hear, Http2ClientConnection } from './grpc-http2-client.js'
import type { Meta } from './message.js'
import { fullName, pathOf, type File } from './protobuf-model.js'
import { fileOf } from './protobuf-schema.js'
import { dialSocket } from './socket-site.js'

/** Bytes of a stream's output that may be unread. */
const WINDOW = 256 * 1024
const HEADERS = { 'content-type': 'application/grpc', te: 'trailers', 'grpc-accept-encoding': ENCODINGS }
const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM, NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR } = http2.constants

/** Rejects as `Dialect.connect`. */
export async function connectGrpc(
  address: string,
  secure: boolean,
  options: DialectClientOptions,
): Promise<{ connection: ConnectionBase; callee: Callee }> {
  const { connection, callee } = await openCallee(address, secure, options)
  try {
    await callee.askWhether()
  } catch (reason) {
    connection.abort(TalkwireError.from(reason))
    throw reason
  }
  return { connection, callee }
}

type Opening = Omit<DialectClientOptions, 'contract' | 'onEvent' | 'onClosed'> & Partial<DialectClientOptions>

/** A connection of which nobody knows yet what is behind it. Rejects as `Dialect.connect`. */
export async function openCallee(
  address: string,
  secure: boolean,
  options: Opening,
): Promise<{ connection: ConnectionBase; callee: GrpcCallee }> {
  options.signal?.throwIfAborted()
  const all: DialectClientOptions = { contract: undefined, onEvent: () => {}, onClosed: () => {}, ...options }
  const file = all.contract ? await fileOf(all.contract) : healthFile
  const socket = secure ? await dialTls(address, ['h2'], all) : await dialSocket(address, all)
  const connection = new Http2ClientConnection(address, socket, secure, all)
  return { connection, callee: new GrpcCallee(connection, file, all) }
}

export class GrpcCallee implements Callee, Asked {
  private readonly headers: Readonly<Record<string, string>>
  private readonly events = new Map<string, OpenCall>()

  constructor(
    private readonly connection: Http2ClientConnection,
    private readonly file: File,
    private readonly options: DialectClientOptions,
  ) {
    this.headers = { ...connection.headers, ...HEADERS }
  }

  askWhether(): Promise<void> {
    return askWhether(this.connection.address, this.file, this.options, (file, answer) =>
      this.start(file, HEALTH, { service: fullName(this.file) }, undefined, answer),
    )
  }

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    return this.start(this.file, method, inputOf(params), meta, answer)
  }

  /** A call of any service. Throws as `Callee.call`. */
  start(file: File, member: string, input: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    const method = methodOf(file, member)
    const body = method.inputStream ? undefined : framed(method.input, input, this.options)
    const { session, gone } = this.connection
    const all = {
      ...this.headers,
      ':path': pathOf(file, method.name),
      ...(meta?.timeout !== undefined && { 'grpc-timeout': grpcTimeout(meta.timeout) }),
      ...metaHeaders(meta),
    }
    if (gone || session.destroyed || session.closed)
      throw new TalkwireError('CONNECTION_CLOSED', `${this.connection.address} takes no more calls on this connection`)
    const stream = session.request(all)
    const call = new GrpcCall(stream, new Reading(method, answer, this.options), this.connection, this.options)
    if (body) stream.end(body)
    return call.open
  }

  subscribe(event: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const ended = (reason: TalkwireError | undefined): void => {
        this.events.delete(event)
        const error = reason ?? new TalkwireError('CONNECTION_LOST', `the events of ${this.connection.address} ended`)
        reject(error)
        if (!this.connection.gone) this.connection.abort(error)
      }
      const method = methodOf(this.file, event)
      const { session } = this.connection
      const stream = session.request({ ...this.headers, ':path': pathOf(this.file, method.name) })
      const reading = new Reading(
        method,
        eventAnswer(event, this.options, (bytes) => call.open.grant(bytes), ended),
        this.options,
      )
      const call = new GrpcCall(stream, reading, this.connection, this.options)
      stream.once('response', (head) => {
        if (head['grpc-status'] === undefined) resolve()
      })
      stream.end(framed(method.input, undefined, this.options))
      this.events.set(event, call.open)
    })
  }

  unsubscribe(event: string): void {
    this.events.get(event)?.cancel()
    this.events.delete(event)
  }
}

/** One call, until its answer is there. */
class GrpcCall {
  readonly open: OpenCall
  private status: IncomingHttpHeaders | undefined
  private http = 200

  constructor(
    private readonly stream: ClientHttp2Stream,
    private readonly reading: Reading,
    private readonly connection: Http2ClientConnection,
    private readonly options: DialectClientOptions,
  ) {
    stream.on('error', () => {})
    hear(
      stream,
      (headers) => this.head(headers),
      (chunk) => this.data(chunk),
    )
    stream.on('trailers', (headers) => (this.status = headers))
    stream.on('close', () => this.closed())
    this.open = {
      cancel: () => {
        reading.settled = true
        if (!stream.closed) stream.close(NGHTTP2_CANCEL)
      },
      grant: (bytes) => {
        reading.waiting -= bytes
        if (reading.waiting < WINDOW) stream.resume()
      },
      input: (value) => {
        const bytes = framed(reading.method.input, value, options)
        if (!stream.writableEnded && !stream.closed) stream.write(bytes, () => reading.answer.grantInput?.(bytes.length))
        return bytes.length
      },
      endInput: (error) => {
        // The server must not take half of a stream for the whole.
        if (error) stream.close(NGHTTP2_CANCEL)
        else stream.end()
      },
    }
  }

  private head(headers: IncomingHttpHeaders): void {
    this.http = Number(headers[':status'])
    const encoding = headers['grpc-encoding']
    if (encoding !== undefined) this.reading.encoding = String(encoding)
    if (headers['grpc-status'] !== undefined) this.status = headers
    const type = String(headers['content-type'] ?? '')
    if (this.http === 200 && !type.startsWith('application/grpc')) this.http = 0
  }

  private data(chunk: Buffer): void {
    if (this.http !== 200) return
    try {
      this.reading.push(chunk)
    } catch (reason) {
      this.reading.fail(TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('ran'))
      this.stream.close(NGHTTP2_CANCEL)
    }
    if (this.reading.waiting >= WINDOW) this.stream.pause()
  }

  private closed(): void {
    const { reading, status } = this
    if (reading.settled) return
    const code = status?.['grpc-status']
    if (code !== undefined) {
      const number = Number(code)
      if (number === 0) return reading.finish()
      const text = unpercent(String(status!['grpc-message'] ?? ''))
      const details = status!['grpc-status-details-bin']
      return reading.fail(fromStatus(number, text, details === undefined ? [] : readStatus(String(details)), reading.method.errors))
    }
    reading.fail(this.reason())
  }

  /** Why the server said nothing. */
  private reason(): TalkwireError {
    const { stream, connection, http } = this
    if (stream.rstCode === NGHTTP2_REFUSED_STREAM)
      return new TalkwireError('UNAVAILABLE', `${connection.address} refused the call; try again`)
    if (stream.rstCode === NGHTTP2_ENHANCE_YOUR_CALM)
      return new TalkwireError('LIMIT_EXCEEDED', `${connection.address} says that this is too much`, { outcome: 'maybe-ran' })
    if (http === 0)
      return new TalkwireError('INVALID_MESSAGE', `${connection.address} answers, but not with gRPC`, { outcome: 'maybe-ran' })
    if (http !== 200) return fromStatus(statusOfHttp(http), `${connection.address} answered with the status ${http} of HTTP`, [], undefined)
    const never = stream.id === undefined || stream.pending
    if (never) return connection.lost().withOutcome('not-sent')
    const cut = stream.rstCode !== NGHTTP2_NO_ERROR && !connection.session.destroyed
    return cut
      ? new TalkwireError('CONNECTION_LOST', `${connection.address} cut the call off (code ${stream.rstCode} of HTTP/2)`, {
          outcome: 'maybe-ran',
        })
      : connection.lost()
  }
}
