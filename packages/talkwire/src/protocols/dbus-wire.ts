/** A connection of D-Bus: agreeing on who is there, then messages in both directions, with their descriptors. */
import { closeSync } from 'node:fs'
import type net from 'node:net'
import { Descriptor } from '../descriptor.js'
import { TalkwireError } from '../error.js'
import { receiveWith, sendWith } from '../kernel/descriptor-stream.js'
import { descriptorUnder, duplicate } from '../kernel/descriptors.js'
import { onceReadable, onceWritable } from '../kernel/waiting.js'
import type { Limits } from '../session/limits.js'
import type { Authentication } from './dbus-auth.js'
import { MessageReader, type Message, type Written } from './dbus-message.js'
import { MAX_DESCRIPTORS } from './dbus-values.js'
import { Pace, type SocketConnection } from './socket-site.js'

export interface WireEvents {
  open(): void
  /** Descriptors are the receiver's to close; undefined: there were too many, and they are closed. */
  message(message: Message, descriptors: readonly Descriptor[] | undefined): void
  /** The bytes are no messages, or the other side is not let in; nothing more is read. */
  broken(error: TalkwireError): void
}

/** Descriptors that came and whose message did not yet. */
const MOST_EARLY = 4 * MAX_DESCRIPTORS
const NOTHING = Buffer.alloc(0)

export class Wire {
  private readonly reader: MessageReader
  private authentication: Authentication | undefined
  /** Both sides take descriptors. */
  descriptors = false
  guid = ''
  private early: number[] = []
  private held = 0
  private corked = false
  private over = false
  private pace: Pace | undefined
  private stopWaiting: (() => void) | undefined
  private readonly outbox: { readonly bytes: Buffer; readonly fds: readonly number[] }[] = []

  /** `own`: Node does not read the socket, because it would lose descriptors. */
  constructor(
    private readonly connection: SocketConnection,
    private readonly limits: Limits,
    own: boolean,
    private readonly on: WireEvents,
  ) {
    const { socket } = connection
    this.reader = new MessageReader(limits)
    const take = (chunk: Buffer): void => this.take(chunk)
    socket.once('close', () => this.drop())
    if (own)
      connection.reading = readOurselves(
        socket,
        (fds) => this.arrived(fds),
        take,
        (error) => this.fail(error),
      )
    else socket.on('data', take)
  }

  /** Before anything has arrived. */
  authenticate(begin: (send: (text: string) => void) => Authentication): void {
    const { socket } = this.connection
    this.authentication = begin((text) => socket.writable && socket.write(text, 'latin1'))
  }

  /** From now on a message that has begun has to go on. */
  hurry(): void {
    this.pace = new Pace(this.connection, this.limits.handshake, () => this.reader.partial)
  }

  private take(chunk: Buffer): void {
    try {
      const bytes = this.authentication ? this.agree(chunk) : chunk
      if (!bytes) return
      for (const message of this.reader.push(bytes)) {
        if (this.over || this.connection.socket.destroyed) return
        this.pace?.whole()
        this.deliver(message)
      }
      this.pace?.look()
      if (this.reader.partial === undefined && this.early.length > 0)
        throw new TalkwireError('INVALID_MESSAGE', 'descriptors of D-Bus without their message')
    } catch (reason) {
      this.fail(TalkwireError.from(reason, 'INVALID_MESSAGE'))
    }
  }

  private agree(chunk: Buffer): Buffer | undefined {
    const rest = this.authentication!.push(chunk)
    if (!rest) return undefined
    this.descriptors = this.authentication!.descriptors
    this.guid = this.authentication!.guid
    this.authentication = undefined
    this.on.open()
    return rest
  }

  private deliver(message: Message): void {
    const { descriptors: count } = message
    if (count > this.early.length) throw new TalkwireError('INVALID_MESSAGE', `${count} descriptors of D-Bus were announced and not sent`)
    const fds = this.early.splice(0, count)
    if (this.held + count <= this.limits.descriptors)
      return this.on.message(
        message,
        fds.map((fd) => this.hold(fd)),
      )
    fds.forEach((fd) => closeSync(fd))
    this.on.message(message, undefined)
  }

  private hold(fd: number): Descriptor {
    this.held++
    return Descriptor.received(fd, () => this.held--)
  }

  private arrived(fds: readonly number[]): void {
    this.early.push(...fds)
    if (this.early.length > MOST_EARLY) throw new TalkwireError('LIMIT_EXCEEDED', 'descriptors of D-Bus without their messages')
  }

  private fail(error: TalkwireError): void {
    if (this.over) return
    this.over = true
    this.on.broken(error)
  }

  /** False: taken, but the other side is slow. Throws UNSUPPORTED, TypeError for descriptors that are not open. */
  send({ bytes, descriptors }: Written): boolean {
    const { socket } = this.connection
    if (!socket.writable) return true
    if (descriptors.length > 0 && !this.descriptors)
      throw new TalkwireError(
        'UNSUPPORTED',
        'this connection carries no descriptors; pass { descriptors: true } on both sides, on Linux with koffi',
      )
    if (descriptors.length === 0 && this.outbox.length === 0) return this.write(bytes)
    this.outbox.push({ bytes, fds: copiesOf(descriptors) })
    this.connection.waiting += bytes.length
    if (this.outbox.length === 1) this.pump()
    return true
  }

  /** What leaves in one turn leaves in one piece. */
  private write(bytes: Buffer): boolean {
    const { socket } = this.connection
    if (!this.corked) {
      this.corked = true
      socket.cork()
      process.nextTick(() => this.flush())
    }
    return socket.write(bytes)
  }

  private flush(): void {
    if (!this.corked) return
    this.corked = false
    this.connection.socket.uncork()
  }

  /** Descriptors go beside the first byte of their message, so what is before it has to be in the kernel. */
  private pump(): void {
    const { socket } = this.connection
    for (let first = this.outbox[0]; first; first = this.outbox[0]) {
      const fd = descriptorUnder(socket)
      if (fd === undefined || socket.destroyed) return
      if (first.fds.length === 0) {
        this.shift()
        this.write(first.bytes)
        continue
      }
      if (socket.writableLength > 0 || this.corked) {
        this.flush()
        socket.write(NOTHING, (error) => {
          if (!error) this.pump()
        })
        return
      }
      if (!this.sendFirst(fd, first.bytes, first.fds)) return
    }
  }

  /** False: there is no room, and this goes on when there is; or it is over. */
  private sendFirst(socket: number, bytes: Buffer, fds: readonly number[]): boolean {
    try {
      const sent = sendWith(socket, bytes, fds)
      if (sent === undefined) {
        this.stopWaiting = onceWritable(socket, () => this.pump())
        return false
      }
      this.shift()
      if (sent < bytes.length) this.write(bytes.subarray(sent))
      return true
    } catch (cause) {
      this.connection.abort(new TalkwireError('CONNECTION_LOST', `descriptors could not be sent: ${(cause as Error).message}`, { cause }))
      return false
    }
  }

  private shift(): void {
    const { bytes, fds } = this.outbox.shift()!
    this.connection.waiting -= bytes.length
    fds.forEach((fd) => closeSync(fd))
  }

  private drop(): void {
    this.over = true
    // A socket that is closed never becomes writable.
    this.stopWaiting?.()
    while (this.outbox.length > 0) this.shift()
    this.early.splice(0).forEach((fd) => closeSync(fd))
  }
}

/** Copies, which we close: whoever lent one may close his own before it has left. */
function copiesOf(descriptors: readonly Descriptor[]): number[] {
  const fds: number[] = []
  try {
    for (const each of descriptors) {
      const copy = duplicate(each.fd)
      if (copy === undefined) throw new TypeError('the descriptor to be sent is not open, or this process may have no more open')
      fds.push(copy)
    }
  } catch (reason) {
    fds.forEach((fd) => closeSync(fd))
    throw reason
  }
  for (const each of descriptors) if (each.ownership === 'given') each.close()
  return fds
}

/** Most pieces in one turn. */
const PIECES = 16

function readOurselves(
  socket: net.Socket,
  arrived: (fds: readonly number[]) => void,
  take: (chunk: Buffer) => void,
  fail: (error: TalkwireError) => void,
): NonNullable<SocketConnection['reading']> {
  let paused = false
  let keepsAlive = true
  let stop: (() => void) | undefined
  let soon: NodeJS.Immediate | undefined
  const idle = (): void => {
    stop?.()
    stop = undefined
    clearImmediate(soon)
    soon = undefined
  }
  const look = (): void => {
    idle()
    try {
      for (let piece = 0; piece < PIECES; piece++) {
        const fd = descriptorUnder(socket)
        if (paused || socket.destroyed || fd === undefined) return
        const got = receiveWith(fd)
        if (!got) {
          stop = onceReadable(fd, look, keepsAlive)
          return
        }
        arrived(got.fds)
        if (got.cut)
          throw new TalkwireError('LIMIT_EXCEEDED', 'descriptors of D-Bus were lost: too many in one message, or in this process')
        if (got.bytes.length === 0) return void socket.destroySoon()
        take(got.bytes)
      }
      soon = setImmediate(look)
    } catch (reason) {
      if (reason instanceof TalkwireError) fail(reason)
      else socket.destroy(reason as Error)
    }
  }
  socket.once('close', idle)
  soon = setImmediate(look)
  return {
    pause: () => ((paused = true), idle(), socket),
    resume: () => ((paused = false), soon || stop || (soon = setImmediate(look)), socket),
    ref: () => ((keepsAlive = true), again(), socket),
    unref: () => ((keepsAlive = false), again(), socket),
  }
  /** Waits anew, with what was just said about keeping the process alive. */
  function again(): void {
    if (!stop || socket.destroyed) return
    idle()
    soon = setImmediate(look)
  }
}
