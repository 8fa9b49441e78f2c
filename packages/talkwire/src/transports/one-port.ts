/**
 * One listener for several protocols: which of them a connection speaks shows in its first bytes. Until then it costs a timer and
 * a few bytes, and there are never more than so many such connections.
 */
import type net from 'node:net'
import type { Peer } from './transport.js'

/** A protocol that answers beside others on one listener of bytes. */
export interface Guest {
  readonly name: string
  /** What it is called in ALPN (RFC 7301). */
  readonly alpn?: string
  /** Whether a connection that begins so is its own; undefined: that shows only in more bytes, at most MOST_FIRST. */
  recognises(first: Buffer): boolean | undefined
  /** The socket belongs to it from now on. Everything that came is still to be read. */
  take(socket: net.Socket, peer: Peer): void
  /** Where the listener really is, before anybody can connect. */
  bound?(address: string): void
  /** No new connections come; idle ones may go. */
  close(): void
}

/** Bytes in which every protocol shows itself: the longest is the name of a method in varlink. */
export const MOST_FIRST = 512
/** Connections that have not shown what they speak. When there are more the one that has waited for longest goes: who is honest speaks at once. */
export const MOST_UNDECIDED = 256

/** Hands each socket to whose it is. */
export class Reception {
  /** In the order in which they came. */
  private readonly undecided = new Map<net.Socket, () => void>()

  /** `patience`: milliseconds from the connection to the bytes that decide. `rest` takes what no guest wants. */
  constructor(
    private readonly guests: readonly Guest[],
    private readonly patience: number,
    private readonly rest: (socket: net.Socket, peer: Peer) => void,
  ) {}

  /** The socket must not have been read. */
  receive(socket: net.Socket, peer: Peer): void {
    for (const [oldest, forget] of this.undecided) {
      if (this.undecided.size < MOST_UNDECIDED) break
      forget()
      oldest.destroy()
    }
    let seen: Buffer = Buffer.alloc(0)
    const timer = setTimeout(() => socket.destroy(), this.patience)
    const forget = (): void => {
      clearTimeout(timer)
      socket.off('readable', look).off('end', look).off('close', forget)
      this.undecided.delete(socket)
    }
    const look = (): void => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null)
        seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk])
      const found = seen.length === 0 ? undefined : this.judge(seen.subarray(0, MOST_FIRST))
      if (found === undefined) {
        // Who sends no more has said all that it will.
        if (socket.readableEnded) socket.destroy()
        return
      }
      forget()
      socket.unshift(seen)
      if (found === 'nobody') this.rest(socket, peer)
      else found.take(socket, peer)
    }
    this.undecided.set(socket, forget)
    socket.on('error', () => {})
    socket.on('readable', look).on('end', look).on('close', forget)
  }

  /** Undefined: not yet. */
  private judge(first: Buffer): Guest | 'nobody' | undefined {
    let open = false
    for (const guest of this.guests) {
      const verdict = guest.recognises(first)
      if (verdict === true) return guest
      open ||= verdict === undefined
    }
    return open && first.length < MOST_FIRST ? undefined : 'nobody'
  }

  /** Those that have not said anything go; the others are their protocols'. */
  close(): void {
    for (const [socket, forget] of this.undecided) {
      forget()
      socket.destroy()
    }
    for (const guest of this.guests) guest.close()
  }
}
