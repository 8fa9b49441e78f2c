/** What the clients of gRPC and Connect have in common: one call, from its frames and its end to an answer. Sans I/O. */
import { TalkwireError } from '../error.js'
import { paramsOf } from '../session/service.js'
import type { Answer, DialectClientOptions } from './dialect.js'
import { COMPRESSED, frame, FrameReader, HEAD, inflated } from './grpc-frames.js'
import { decode, encode } from './protobuf-codec.js'
import { EMPTY, type File, type Message, type Method } from './protobuf-model.js'

export const methodOf = (file: File, member: string): Method => {
  const method = file.methods.find((each) => each.member === member)
  if (!method) throw new TalkwireError('METHOD_NOT_FOUND', `the contract has no method ${JSON.stringify(member.slice(0, 128))}`)
  return method
}

export const framed = (message: Message, value: unknown, { limits }: DialectClientOptions): Uint8Array =>
  frame(encode(message, value, HEAD, limits))

export class Reading {
  settled = false
  /** Bytes of output that the caller has not taken yet. */
  waiting = 0
  private unary: { value: unknown } | undefined
  private readonly frames: FrameReader
  encoding: string | undefined

  constructor(
    readonly method: Method,
    readonly answer: Answer,
    private readonly options: DialectClientOptions,
  ) {
    this.frames = new FrameReader(options.limits.message)
  }

  /** Messages; what is none goes to `special`. Throws INVALID_MESSAGE, MESSAGE_TOO_LARGE, … */
  push(chunk: Buffer, special?: (flags: number, body: Buffer) => void): void {
    const { limits } = this.options
    for (const { flags, body } of this.frames.push(chunk)) {
      if (this.settled) return
      const bytes = flags & COMPRESSED ? inflated(body, this.encoding, limits.message) : body
      if (flags > COMPRESSED) special?.(flags, bytes)
      else this.message(bytes)
    }
  }

  /** One message. Throws INVALID_MESSAGE, also for a second one where there is only one. */
  message(bytes: Buffer): void {
    const { output, outputStream, member } = this.method
    const value = decode(output, bytes, this.options.limits)
    if (outputStream) {
      this.waiting += bytes.length
      this.answer.item(value, bytes.length)
      return
    }
    if (this.unary) throw new TalkwireError('INVALID_MESSAGE', `"${member}" was answered twice`)
    this.unary = { value }
  }

  /** The whole answer is here, and the server says that all is well. */
  finish(): void {
    if (this.settled) return
    this.settled = true
    const { output, outputStream, member } = this.method
    if (outputStream) return this.answer.result(null)
    if (!this.unary)
      return this.answer.error(new TalkwireError('INVALID_MESSAGE', `"${member}" was answered without a message`, { outcome: 'ran' }))
    this.answer.result(output === EMPTY ? undefined : this.unary.value)
  }

  fail(error: TalkwireError): void {
    if (this.settled) return
    this.settled = true
    this.answer.error(error)
  }
}

/** An answer that tells a listener of events. */
export const eventAnswer = (
  event: string,
  { onEvent }: DialectClientOptions,
  granted: (bytes: number) => void,
  ended: (reason: TalkwireError | undefined) => void,
): Answer => ({
  result: () => ended(undefined),
  error: ended,
  item(value, size) {
    onEvent(event, paramsOf(value))
    granted(size)
    return size
  },
})
