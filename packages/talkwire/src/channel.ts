/** The second connection of two peers, on which only descriptors travel: spec/descriptors.md. */
import { randomBytes } from 'node:crypto'
import { closeSync } from 'node:fs'
import { TalkwireError } from './error.js'
import { needDescriptors, receiveDescriptor, sendDescriptor } from './kernel/descriptor-channel.js'
import { DescriptorTable, type Channel } from './session/descriptors.js'
import type { Dialect } from './protocols/dialect.js'
import type { Session } from './session/session.js'
import type { Transport, TransportOptions } from './transports/transport.js'

/** Throws UNSUPPORTED or MISSING_PACKAGE. */
export function checkDescriptors(transport: Transport<any>, address: string): void {
  if (!transport.openChannel)
    throw new TalkwireError('UNSUPPORTED', `${address} carries no descriptors; take unix:, or leave { descriptors: true } away`)
  needDescriptors()
}

/** The same for a protocol of its own. */
export function checkDialectDescriptors({ scheme, descriptors }: Dialect): void {
  if (!descriptors)
    throw new TalkwireError('UNSUPPORTED', `${scheme}: carries no descriptors; take unix:, or leave { descriptors: true } away`)
  needDescriptors()
}

function channelOf(socket: number): Channel {
  return {
    send: (number, fd) => translated(() => sendDescriptor(socket, number, fd)),
    receive: () => receiveDescriptor(socket),
    close: () => closeSync(socket),
  }
}

function translated(send: () => void): void {
  try {
    send()
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EBADF') throw new TypeError('the descriptor to be sent is not open', { cause })
    if (code === 'EAGAIN' || code === 'ETOOMANYREFS')
      throw new TalkwireError('LIMIT_EXCEEDED', 'too many descriptors are on their way to a peer that reads too slowly', { cause })
    throw new TalkwireError('CONNECTION_LOST', `the channel for descriptors is gone: ${code}`, { cause })
  }
}

/** The side that connected: makes the channel that the other one offered by a token. */
export async function openChannel(
  session: Session,
  transport: Transport<any>,
  address: string,
  token: string,
  options: TransportOptions,
): Promise<void> {
  const text = Buffer.from(JSON.stringify({ jsonrpc: '2.0', method: '$/channel', params: { token } }))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(text.length)
  const socket = await transport.openChannel!(address, Buffer.concat([length, text]), options)
  session.descriptors = new DescriptorTable(session, channelOf(socket))
  if (session.state === 'closed') return session.descriptors.close()
  await ready(session)
}

function ready(session: Session): Promise<void> {
  return new Promise((resolve, reject) => {
    const { handshake } = session.limits
    const timer = setTimeout(
      () =>
        reject(
          new TalkwireError('DEADLINE_EXCEEDED', `the channel for descriptors was not taken within ${handshake} ms (limits.handshake)`),
        ),
      handshake,
    )
    session.onChannelReady = () => {
      clearTimeout(timer)
      session.onChannelReady = undefined
      if (session.state === 'closed') reject(session.cause ?? new TalkwireError('CONNECTION_CLOSED', 'the connection was closed'))
      else resolve()
    }
  })
}

/** The side that accepts: which session waits for which channel. */
export class Channels {
  private readonly waiting = new Map<string, Session>()

  /** What the peer has to show. */
  offer(session: Session): string {
    const token = randomBytes(32).toString('hex')
    this.waiting.set(token, session)
    return token
  }

  /** A connection that shows a token becomes the channel of its session, if the same process made both. Nobody else learns anything. */
  accept(side: Session, token: unknown): void {
    const session = typeof token === 'string' ? this.waiting.get(token) : undefined
    const same = session && session.peer.pid !== undefined && session.peer.pid === side.peer.pid && session.peer.uid === side.peer.uid
    const socket = same && session.state !== 'closed' ? side.connection.detach?.() : undefined
    if (!session || socket === undefined)
      return side.abort(new TalkwireError('UNAUTHENTICATED', 'nobody waits for this channel, or another process does'))
    this.waiting.delete(token as string)
    session.descriptors = new DescriptorTable(session, channelOf(socket))
    session.tell('$/channel', {})
  }

  forget(session: Session): void {
    for (const [token, each] of this.waiting) if (each === session) this.waiting.delete(token)
  }
}
