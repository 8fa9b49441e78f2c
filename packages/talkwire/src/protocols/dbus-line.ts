/** Calls, answers and signals over one connection of D-Bus, to a bus or to one other side. */
import type net from 'node:net'
import type { Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import type { Limits } from '../session/limits.js'
import type { Peer } from '../transports/transport.js'
import type { Authentication } from './dbus-auth.js'
import { DRIVER, errorOf, readError } from './dbus-errors.js'
import { bodyOf, ended, Flag, Type, writeMessage, type Fields, type Message } from './dbus-message.js'
import { splitSignature, typeOf } from './dbus-types.js'
import type { Writer } from './dbus-values.js'
import { Wire } from './dbus-wire.js'
import { lost, SocketConnection } from './socket-site.js'

export type Arrived = readonly Descriptor[] | undefined

export interface LineEvents {
  open(): void
  call(message: Message, descriptors: Arrived): void
  signal(message: Message): void
  broken(error: TalkwireError): void
  closed(cause: TalkwireError | undefined): void
}

interface Waiting {
  /** Who was asked; undefined: there is only one who could answer. */
  readonly from: string | undefined
  reply(message: Message, descriptors: Arrived): void
  fail(error: TalkwireError): void
}

export const closeAll = (descriptors: Arrived): void => descriptors?.forEach((each) => each.close())

export class Line {
  readonly connection: SocketConnection
  readonly wire: Wire
  /** Our name on a bus. */
  unique: string | undefined
  private serial = 0
  private readonly waiting = new Map<number, Waiting>()

  constructor(
    socket: net.Socket,
    peer: Peer,
    readonly limits: Limits,
    descriptors: boolean,
    authenticate: (send: (text: string) => void) => Authentication,
    private readonly on: LineEvents,
  ) {
    this.connection = new SocketConnection(socket, peer, (cause) => {
      for (const each of this.waiting.values()) each.fail(lost(cause))
      this.waiting.clear()
      on.closed(cause)
    })
    this.wire = new Wire(this.connection, limits, descriptors, {
      open: () => on.open(),
      broken: (error) => on.broken(error),
      message: (message, arrived) => this.message(message, arrived),
    })
    this.wire.authenticate(authenticate)
  }

  private message(message: Message, descriptors: Arrived): void {
    if (message.type === Type.call) return this.on.call(message, descriptors)
    if (message.type === Type.signal) this.on.signal(message)
    // Types of later versions are to be ignored.
    else if (message.type === Type.result || message.type === Type.error) return this.reply(message, descriptors)
    closeAll(descriptors)
  }

  private reply(message: Message, descriptors: Arrived): void {
    const { replySerial, sender, type } = message
    const waiting = this.waiting.get(replySerial!)
    const asked = waiting && (waiting.from === undefined || sender === waiting.from || (type === Type.error && sender === DRIVER))
    // From somebody who was not asked, or of a call that was given up.
    if (!asked) return closeAll(descriptors)
    this.waiting.delete(replySerial!)
    waiting.reply(message, descriptors)
  }

  /** Sends a message. Its serial. Throws what `body` throws, MESSAGE_TOO_LARGE, UNSUPPORTED. */
  send(fields: Fields, body?: (writer: Writer) => void): number {
    const serial = (this.serial = this.serial >= 0xffff_ffff ? 1 : this.serial + 1)
    this.wire.send(writeMessage(fields, serial, this.limits, body))
    return serial
  }

  /** A call that is answered. What it returns gives it up. */
  request(fields: Omit<Fields, 'type'>, body: ((writer: Writer) => void) | undefined, waiting: Waiting): () => void {
    if (this.connection.socket.destroyed) {
      process.nextTick(() => waiting.fail(lost(undefined).withOutcome('not-sent')))
      return () => {}
    }
    const serial = this.send({ ...fields, type: Type.call }, body)
    this.waiting.set(serial, waiting)
    return () => this.waiting.delete(serial)
  }

  get busy(): boolean {
    return this.waiting.size > 0
  }

  /** A call whose values need no contract. Rejects with what is answered. */
  ask(fields: Omit<Fields, 'type' | 'signature'>, signature = '', ...values: unknown[]): Promise<unknown[]> {
    return new Promise((resolve, reject) => {
      const types = splitSignature(signature).map((each) => typeOf(each))
      const body = (writer: Writer): void => types.forEach((type, index) => writer.write(type, values[index]))
      this.request({ ...fields, signature }, body, {
        from: fields.destination,
        fail: reject,
        reply: (message, descriptors) => {
          closeAll(descriptors)
          try {
            if (message.type === Type.error) throw readError(message, this.limits)
            const reader = bodyOf(message, this.limits)
            const told = splitSignature(message.signature).map((each) => reader.read(typeOf(each)))
            ended(reader)
            resolve(told)
          } catch (reason) {
            reject(TalkwireError.from(reason, 'INVALID_MESSAGE'))
          }
        },
      })
    })
  }

  /** A call to the bus itself. */
  driver(member: string, signature = '', ...values: unknown[]): Promise<unknown[]> {
    return this.ask({ destination: DRIVER, path: '/org/freedesktop/DBus', interface: DRIVER, member }, signature, ...values)
  }

  /** Answers a call, unless nobody waits for that. Throws what `body` throws. */
  result(to: Message, signature: string, body?: (writer: Writer) => void): void {
    if ((to.flags & Flag.noReply) !== 0) return
    this.send({ ...this.back(to), type: Type.result, signature }, body)
  }

  error(to: Message, error: TalkwireError, of = '', declared?: Parameters<typeof errorOf>[2]): void {
    if ((to.flags & Flag.noReply) !== 0) return
    const { errorName, signature, body } = errorOf(error, of, declared)
    this.send({ ...this.back(to), type: Type.error, errorName, signature }, body)
  }

  private back({ serial, sender }: Message): Pick<Fields, 'flags' | 'replySerial' | 'destination'> {
    return { flags: Flag.noReply, replySerial: serial, ...(sender !== undefined && { destination: sender }) }
  }
}
