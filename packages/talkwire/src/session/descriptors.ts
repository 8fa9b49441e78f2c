/** File descriptors that travel beside a connection: spec/descriptors.md. */
import { Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import { visibleError } from './validate.js'

/** What carries them, in order; nothing here waits. */
export interface Channel {
  /** Throws LIMIT_EXCEEDED while too many are on their way, CONNECTION_LOST. */
  send(number: number, fd: number): void
  /** The next one. `fd` is missing when this process has as many open as it may; `cut` when the peer sent more than one. */
  receive(): { readonly number: number; readonly fd: number | undefined; readonly cut: boolean } | undefined
  close(): void
}

export interface DescriptorHost {
  readonly descriptorLimit: number
  /** The peer broke a rule, or floods: it is told, and its connection ends. */
  broken(error: TalkwireError): void
}

/** Most in one message: D-Bus has found that to be enough. */
const MOST = 16
/** Most that were sent and not referred to, before one that was: messages that could not be sent after all. */
const MOST_SKIPPED = 64

export class DescriptorTable {
  /** Received and neither closed nor taken. */
  held = 0
  private sent = 0
  /** Of the message that was written last. */
  inMessage = 0
  private allowed = false
  private keeps = false
  private fresh: Descriptor[] = []

  constructor(
    private readonly host: DescriptorHost,
    private readonly channel: Channel,
  ) {}

  /** A message is going to be written. `keeps`: others get it, too, so what is given is closed by whoever sends it to all. */
  begin(allowed: boolean, keeps: boolean): void {
    this.allowed = allowed
    this.keeps = keeps
    this.inMessage = 0
  }

  /** Sends it, and returns what the message says in its place. Throws UNSUPPORTED, LIMIT_EXCEEDED, CLOSED, CONNECTION_LOST. */
  export(value: Descriptor): number {
    if (!this.allowed) throw visibleError('UNSUPPORTED', 'errors carry no descriptors; return what is to be handed over')
    if (++this.inMessage > MOST)
      throw new TalkwireError('LIMIT_EXCEEDED', `more than ${MOST} descriptors in one message; make several calls`)
    const number = this.sent + 1
    this.channel.send(number, value.fd)
    this.sent = number
    if (value.ownership === 'given' && !this.keeps) value.close()
    return number
  }

  /** The descriptor that a message refers to. Throws LIMIT_EXCEEDED and INVALID_MESSAGE. */
  import(number: number): Descriptor {
    if (this.fresh.length >= MOST) throw this.refuse('LIMIT_EXCEEDED', `more than ${MOST} descriptors in one message`)
    if (this.held >= this.host.descriptorLimit)
      throw this.refuse(
        'LIMIT_EXCEEDED',
        `${this.host.descriptorLimit} descriptors of this connection are open; close or take them, or raise limits.descriptors`,
      )
    for (let skipped = 0; skipped <= MOST_SKIPPED; skipped++) {
      const next = this.channel.receive()
      if (!next) throw this.refuse('INVALID_MESSAGE', `the descriptor ${number} was not sent`)
      if (next.cut && next.fd !== undefined) {
        this.drop(next.fd)
        throw this.refuse('LIMIT_EXCEEDED', 'several descriptors where one goes')
      }
      if (next.number === number && (next.fd !== undefined || next.cut)) return this.arrived(next.fd)
      // Its message could not be sent.
      this.drop(next.fd)
      if (next.number > number || next.number === 0) break
    }
    throw this.refuse('INVALID_MESSAGE', `the descriptor ${number} is not the one that comes next`)
  }

  private drop(fd: number | undefined): void {
    if (fd !== undefined) Descriptor.give(fd).close()
  }

  private arrived(fd: number | undefined): Descriptor {
    if (fd === undefined)
      throw new TalkwireError(
        'LIMIT_EXCEEDED',
        'this process has as many files open as it may, so a descriptor was lost; close some, or raise ulimit -n',
      )
    this.held++
    const descriptor = Descriptor.received(fd, () => this.held--)
    this.fresh.push(descriptor)
    return descriptor
  }

  private refuse(code: 'LIMIT_EXCEEDED' | 'INVALID_MESSAGE', text: string): TalkwireError {
    const error = new TalkwireError(code, text)
    this.host.broken(error)
    return error
  }

  /** Those of the message that was just read; undefined if it had none. */
  arrivals(): readonly Descriptor[] | undefined {
    if (this.fresh.length === 0) return undefined
    const { fresh } = this
    this.fresh = []
    return fresh
  }

  close(): void {
    closeAll(this.arrivals())
    this.channel.close()
  }
}

/** What an element of a stream counts besides its bytes, when that was the first credit: so many are on their way at most, not as many as are short. */
export const weightOf = (count: number, window: number): number => (count === 0 ? 0 : count * Math.ceil(window / MOST))

/** Hands a value over to listeners; what came with it is closed once they, and the promises that they return, are done. */
export function lend(descriptors: readonly Descriptor[], results: readonly unknown[]): void {
  const promises = results.filter((each) => each instanceof Promise)
  if (promises.length === 0) closeAll(descriptors)
  else void Promise.allSettled(promises).then(() => closeAll(descriptors))
}

export function closeAll(descriptors: readonly Descriptor[] | undefined): void {
  if (descriptors) for (const each of descriptors) each.close()
}
