/** The calling side of Connect and gRPC-Web: any server of them, by our contract. */
import type { IncomingHttpHeaders } from 'node:http'
import { isStream, type Contract } from '../contract/contract.js'
import { TalkwireError } from '../error.js'
import { inputOf } from '../session/service.js'
import type { ConnectionBase } from '../transports/transport.js'
import { openLine, type Hearing, type Line, type Posting } from './connectrpc-line.js'
import type { End, Words } from './connectrpc-words.js'
import type { Answer, Callee, DialectClientOptions, OpenCall } from './dialect.js'
import { askWhether, type Asked } from './grpc-ask.js'
import { eventAnswer, framed, methodOf, Reading } from './grpc-call-client.js'
import { inflated, tooLarge } from './grpc-frames.js'
import { HEALTH, healthFile } from './grpc-health.js'
import type { Meta } from './message.js'
import { encode } from './protobuf-codec.js'
import { fullName, pathOf, type File, type Method } from './protobuf-model.js'
import { fileOf } from './protobuf-schema.js'

/** Bytes of a stream's output that may be unread. */
const WINDOW = 256 * 1024

type Opening = Omit<DialectClientOptions, 'contract' | 'onEvent' | 'onClosed'> & Partial<DialectClientOptions>

/** `h2`: HTTP/2 in the clear. Rejects as `Dialect.connect`. */
export async function connectRpc(
  address: string,
  words: Words,
  h2: boolean,
  options: DialectClientOptions,
): Promise<{ connection: ConnectionBase; callee: Callee }> {
  const { connection, callee, duplex } = await openRpc(address, words, h2, options)
  try {
    if (!duplex) needsHttp1(options.contract!, address)
    await callee.askWhether()
  } catch (reason) {
    connection.abort(TalkwireError.from(reason))
    throw reason
  }
  return { connection, callee }
}

/** A line of which nobody knows yet what is behind it. Rejects as `Dialect.connect`. */
export async function openRpc(
  address: string,
  words: Words,
  h2: boolean,
  options: Opening,
): Promise<{ connection: ConnectionBase; callee: RpcCallee; duplex: boolean }> {
  options.signal?.throwIfAborted()
  const all: DialectClientOptions = { contract: undefined, onEvent: () => {}, onClosed: () => {}, ...options }
  const file = all.contract ? await fileOf(all.contract) : healthFile
  const line = await openLine(address, h2, all)
  return { connection: line.connection, callee: new RpcCallee(address, line, words, file, all), duplex: line.duplex }
}

/** Throws UNSUPPORTED for streams both ways: HTTP/1.1 answers when it has all of the question. */
function needsHttp1(contract: Contract, address: string): void {
  for (const [name, member] of Object.entries(contract.members))
    if (member.kind === 'rpc' && isStream(member.input) && isStream(member.output))
      throw new TalkwireError(
        'UNSUPPORTED',
        `${address} has no HTTP/2, and the streams both ways of "${name}" of ${contract.id} need it; take connect+h2c: or grpc:`,
      )
}

export class RpcCallee implements Callee, Asked {
  private readonly events = new Map<string, OpenCall>()

  constructor(
    private readonly address: string,
    private readonly line: Line,
    private readonly words: Words,
    private readonly file: File,
    private readonly options: DialectClientOptions,
  ) {}

  askWhether(): Promise<void> {
    return askWhether(this.address, this.file, this.options, (file, answer) =>
      this.start(file, HEALTH, { service: fullName(this.file) }, undefined, answer),
    )
  }

  call(method: string, params: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    return this.start(this.file, method, inputOf(params), meta, answer)
  }

  start(file: File, member: string, input: unknown, meta: Meta | undefined, answer: Answer): OpenCall {
    return this.open(file, methodOf(file, member), input, meta, answer).open
  }

  private open(file: File, method: Method, input: unknown, meta: Meta | undefined, answer: Answer, opened?: () => void): RpcCall {
    const { line, words, options, address } = this
    const body = method.inputStream ? undefined : bodyOf(words, method, input, options)
    const headers = words.headers(method, meta)
    if (line.gone) throw new TalkwireError('CONNECTION_CLOSED', `${address} takes no more calls on this connection`)
    const lasts = method.inputStream || method.outputStream
    return new RpcCall(words, new Reading(method, answer, options), options, opened, (hearing) =>
      line.post(`${line.prefix}${pathOf(file, method.name)}`, headers, body, lasts, hearing),
    )
  }

  subscribe(event: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const ended = (reason: TalkwireError | undefined): void => {
        this.events.delete(event)
        const error = reason ?? new TalkwireError('CONNECTION_LOST', `the events of ${this.address} ended`)
        reject(error)
        if (!this.line.gone) this.line.connection.abort(error)
      }
      const answer = eventAnswer(event, this.options, (bytes) => call.open.grant(bytes), ended)
      const call = this.open(this.file, methodOf(this.file, event), undefined, undefined, answer, resolve)
      this.events.set(event, call.open)
    })
  }

  unsubscribe(event: string): void {
    this.events.get(event)?.cancel()
    this.events.delete(event)
  }
}

const bodyOf = (words: Words, method: Method, input: unknown, options: DialectClientOptions): Uint8Array =>
  words.bare(method) ? encode(method.input, input, 0, options.limits) : framed(method.input, input, options)

/** One call, until its answer is there. */
class RpcCall implements Hearing {
  readonly open: OpenCall
  private readonly posting: Posting
  private status = 0
  private state: 'reading' | 'text' | 'over' = 'over'
  /** What has no frames, and failures. */
  private readonly chunks: Buffer[] = []
  private size = 0

  constructor(
    private readonly words: Words,
    private readonly reading: Reading,
    private readonly options: DialectClientOptions,
    private readonly opened: (() => void) | undefined,
    post: (hearing: Hearing) => Posting,
  ) {
    const posting = post(this)
    this.posting = posting
    this.open = {
      cancel: () => {
        reading.settled = true
        posting.cut()
      },
      grant: (bytes) => {
        reading.waiting -= bytes
        if (reading.waiting < WINDOW) posting.resume()
      },
      input: (value) => {
        const bytes = framed(reading.method.input, value, options)
        posting.write(bytes, () => reading.answer.grantInput?.(bytes.length))
        return bytes.length
      },
      endInput: (error) => {
        // The server must not take half of a stream for the whole.
        if (error) posting.cut()
        else posting.end()
      },
    }
  }

  head(status: number, headers: IncomingHttpHeaders): void {
    this.status = status
    this.guarded(() => {
      const { method } = this.reading
      const encoding = headers[this.words.encoding(method)]
      if (encoding !== undefined) this.reading.encoding = String(encoding)
      const told = this.words.head(status, headers, method)
      if (told !== undefined && told !== 'text') return this.over(told)
      this.state = told ?? 'reading'
      this.opened?.()
    })
  }

  data(chunk: Buffer): void {
    if (this.state === 'over') return
    this.guarded(() => {
      if (this.state === 'text' || this.words.bare(this.reading.method)) return this.collect(chunk)
      this.reading.push(chunk, (flags, body) => {
        const end = this.words.special(flags, body, this.reading.method.errors)
        if (end) this.over(end)
      })
    })
    if (this.reading.waiting >= WINDOW) this.posting.pause()
  }

  private collect(chunk: Buffer): void {
    this.size += chunk.length
    if (this.size > this.options.limits.message) throw tooLarge(this.options.limits.message)
    this.chunks.push(chunk)
  }

  end(): void {
    const { reading, words, options } = this
    this.guarded(() => {
      if (reading.settled) return
      if (this.state === 'reading' && !words.bare(reading.method))
        throw new TalkwireError('INVALID_MESSAGE', `"${reading.method.member}" ended without saying how`)
      const all = Buffer.concat(this.chunks, this.size)
      const body = plainEncoding(reading.encoding) ? all : inflated(all, reading.encoding, options.limits.message)
      if (this.state === 'text') return this.over(words.failure(this.status, body, reading.method.errors))
      reading.message(body)
      this.over('well')
    })
  }

  broke(reason: TalkwireError): void {
    this.reading.fail(reason)
  }

  private over(end: End): void {
    this.state = 'over'
    if (end === 'well') this.reading.finish()
    else this.reading.fail(end)
  }

  private guarded(action: () => void): void {
    try {
      action()
    } catch (reason) {
      this.state = 'over'
      this.reading.fail(TalkwireError.from(reason, 'INVALID_MESSAGE').withOutcome('ran'))
      this.posting.cut()
    }
  }
}

const plainEncoding = (encoding: string | undefined): boolean => encoding === undefined || encoding === 'identity'
