/** One call that a server of gRPC or Connect was asked for, until its answer has left. */
import { TalkwireError } from '../error.js'
import { paramsOf } from '../session/service.js'
import type { Answer, DialectServerOptions, OpenCall } from './dialect.js'
import { COMPRESSED, frame, FrameReader, HEAD, inflated, tooLarge } from './grpc-frames.js'
import type { Idiom } from './grpc-idioms.js'
import { metaOf } from './grpc-meta.js'
import type { Exchange } from './grpc-site.js'
import type { Meta } from './message.js'
import { decode, encode } from './protobuf-codec.js'
import { fromProtoJson, toProtoJson } from './protobuf-json.js'
import { EMPTY, type Message, type Method } from './protobuf-model.js'
import { timeFor, tooSlow } from './slowness.js'

/** Bytes of a stream's output that may wait in the kernel and here. */
const WINDOW = 256 * 1024

/** What answers a path. */
export interface Route {
  readonly method: Method
  /** Nobody answers: the caller hears so at once. */
  readonly oneway?: boolean
  readonly open: (exchange: Exchange, params: unknown, meta: Meta | undefined, answer: ServerCall) => OpenCall
}

export class ServerCall implements Answer {
  private call: OpenCall | undefined
  private done = false
  private ended = false
  /** Bytes of input that the handler has not taken yet. */
  private unread = 0
  private whole: Buffer | undefined
  private readonly frames: FrameReader
  private timer: NodeJS.Timeout | undefined

  constructor(
    private readonly exchange: Exchange,
    private readonly idiom: Idiom,
    private readonly route: Route,
    private readonly options: DialectServerOptions,
  ) {
    this.frames = new FrameReader(options.limits.message)
  }

  run(): void {
    const { exchange, idiom, route } = this
    exchange.onClose(() => this.closed())
    if (idiom.bare && (route.method.inputStream || route.method.outputStream))
      return this.fail(
        new TalkwireError('UNSUPPORTED', `"${route.method.member}" streams; its content type is application/connect+json or +proto`),
      )
    if (exchange.method === 'GET') return this.runGet()
    if (route.method.inputStream) this.guarded(() => this.begin(undefined))
    else this.watch()
    this.read()
  }

  private runGet(): void {
    const { method } = this.route
    if (!method.idempotent) return this.exchange.only(405, { allow: 'POST' })
    const query = new URLSearchParams(this.exchange.query)
    const said = query.get('message') ?? ''
    this.guarded(() => {
      const bytes = Buffer.from(said, query.get('base64') === '1' ? 'base64url' : 'utf8')
      const compression = query.get('compression') ?? undefined
      this.begin(
        this.valueOf(compression && compression !== 'identity' ? inflated(bytes, compression, this.options.limits.message) : bytes),
      )
    })
  }

  // ── what comes ─────────────────────────────────────────────────────────────────────────────────

  private read(): void {
    const { body } = this.exchange
    const bare: Buffer[] = []
    let size = 0
    let text = ''
    body.on('data', (chunk: Buffer) =>
      this.guarded(() => {
        if (this.ended) return
        if (!this.idiom.bare) {
          if (!this.idiom.text) return this.take(chunk)
          text += chunk.toString('latin1')
          const whole = text.length - (text.length % 4)
          this.take(Buffer.from(text.slice(0, whole), 'base64'))
          text = text.slice(whole)
          return
        }
        size += chunk.length
        if (size > this.options.limits.message) throw tooLarge(this.options.limits.message)
        bare.push(chunk)
      }),
    )
    body.on('end', () =>
      this.guarded(() => {
        if (this.ended) return
        this.stopWatching()
        if (this.idiom.bare) this.whole = this.plain(Buffer.concat(bare, size))
        this.inputEnded()
      }),
    )
  }

  private plain(bytes: Buffer): Buffer {
    const encoding = this.exchange.headers[this.idiom.encoding]
    return encoding === undefined || encoding === 'identity' ? bytes : inflated(bytes, String(encoding), this.options.limits.message)
  }

  private take(chunk: Buffer): void {
    for (const { flags, body } of this.frames.push(chunk)) {
      if (flags > COMPRESSED) {
        // The end of what a client of Connect streams; trailers of gRPC-Web.
        if (flags === 2 || flags === 0x80) continue
        throw new TalkwireError('INVALID_MESSAGE', `a frame with the flags ${flags}, which mean nothing`)
      }
      this.message(
        flags === COMPRESSED
          ? inflated(body, String(this.exchange.headers[this.idiom.encoding] ?? 'identity'), this.options.limits.message)
          : body,
      )
      if (this.ended) return
    }
    if (this.frames.since !== undefined && this.timer === undefined) this.watch()
  }

  private message(bytes: Buffer): void {
    if (!this.route.method.inputStream) {
      if (this.whole) throw new TalkwireError('INVALID_REQUEST', `"${this.route.method.member}" takes one message`)
      this.whole = bytes
      return
    }
    this.unread += bytes.length
    this.call!.input(this.valueOf(bytes), bytes.length)
    if (this.unread > this.options.limits.window / 2) this.exchange.body.pause()
  }

  private inputEnded(): void {
    this.ended = true
    if (this.frames.held > 0) throw new TalkwireError('INVALID_MESSAGE', 'the last message ends before its end')
    if (this.route.method.inputStream) return this.call!.endInput()
    if (!this.whole) throw new TalkwireError('INVALID_REQUEST', `"${this.route.method.member}" takes a message, and none came`)
    this.begin(this.valueOf(this.whole))
  }

  private valueOf(bytes: Buffer): unknown {
    const { input } = this.route.method
    const { limits } = this.options
    return this.idiom.json ? fromProtoJson(input, bytes, limits) : decode(input, bytes, limits)
  }

  private begin(value: unknown): void {
    const { method, oneway } = this.route
    const meta = metaOf(this.exchange.headers, method.inputStream ? { input: true } : undefined)
    const params = method.inputStream ? [] : method.input === EMPTY ? undefined : paramsOf(value)
    const call = this.route.open(this.exchange, params, method.outputStream ? { ...meta, credit: WINDOW } : meta, this)
    this.call = call
    if (oneway && !this.done) this.result(undefined)
  }

  grantInput(bytes: number): void {
    this.unread -= bytes
    if (this.unread <= this.options.limits.window / 2) this.exchange.body.resume()
  }

  private guarded(action: () => void): void {
    try {
      action()
    } catch (reason) {
      const error = TalkwireError.from(reason)
      this.ended = true
      this.call?.endInput(error)
      this.call?.cancel()
      this.error(error)
    }
  }

  // ── what comes too slowly ──────────────────────────────────────────────────────────────────────

  private watch(): void {
    const { handshake } = this.options.limits
    const since = performance.now()
    this.timer = setTimeout(() => {
      this.timer = undefined
      const begun = this.frames.since
      if (this.done || (begun === undefined && this.route.method.inputStream)) return
      if (performance.now() - (begun ?? since) < timeFor(this.frames.held, handshake)) return this.watch()
      this.guarded(() => {
        throw tooSlow('the message', handshake)
      })
    }, handshake)
  }

  private stopWatching(): void {
    clearTimeout(this.timer)
    this.timer = undefined
  }

  // ── what leaves ────────────────────────────────────────────────────────────────────────────────

  /** The head of an answer whose messages are still to come. */
  open(): void {
    if (!this.exchange.begun) this.exchange.head(200, this.idiom.head, this.idiom.trailers)
  }

  result(value: unknown): void {
    if (this.done) return
    const { method } = this.route
    if (method.outputStream) {
      this.finish()
      return
    }
    const bytes = this.bytesOf(method.output, value)
    this.done = true
    this.stopWatching()
    if (this.idiom.bare) return this.exchange.only(200, this.idiom.head, bytes)
    this.open()
    this.exchange.write(bytes)
    this.idiom.end(this.exchange)
  }

  item(value: unknown): number {
    const bytes = this.bytesOf(this.route.method.output, value)
    this.open()
    this.exchange.write(bytes, () => this.call?.grant(bytes.length))
    return bytes.length
  }

  /** An element that nobody waits for. Returns false while the caller is too slow for more. */
  push(value: unknown): boolean {
    this.open()
    return this.exchange.write(this.bytesOf(this.route.method.output, value))
  }

  /** The end of a stream. */
  finish(error?: TalkwireError): void {
    if (this.done) return
    this.done = true
    this.stopWatching()
    if (!error) this.open()
    if (this.exchange.begun) this.idiom.end(this.exchange, error, this.route.method.errors)
    else this.idiom.fail(this.exchange, error!, this.route.method.errors)
  }

  error(error: TalkwireError): void {
    this.finish(error)
  }

  private fail(error: TalkwireError): void {
    this.finish(error)
    this.exchange.body.resume()
  }

  private bytesOf(message: Message, value: unknown): Uint8Array {
    const { limits } = this.options
    if (this.idiom.bare) return this.idiom.json ? Buffer.from(toProtoJson(message, value, limits)) : encode(message, value, 0, limits)
    const bytes = this.idiom.json
      ? Buffer.concat([Buffer.alloc(HEAD), Buffer.from(toProtoJson(message, value, limits))])
      : encode(message, value, HEAD, limits)
    const framed = frame(bytes)
    return this.idiom.text ? Buffer.from(Buffer.from(framed).toString('base64')) : framed
  }

  /** The answer has left, or whoever asked is gone. */
  private closed(): void {
    this.stopWatching()
    if (!this.done) this.call?.cancel()
    this.done = true
    this.ended = true
  }
}
