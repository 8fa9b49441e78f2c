/**
 * What a transport is: it moves whole messages between two ends, in order, and always notices the end.
 *
 * Third parties write transports against this file and prove them with `talkwire/compliance`.
 */
import type { Writer } from '../codecs/writer.js'
import type { TalkwireError } from '../error.js'

/** Who is at the other end, as far as the kernel or the handshake vouches for it; never taken from the payload. */
export interface Peer {
  readonly address: string
  readonly pid?: number
  readonly uid?: number
  readonly gid?: number
  readonly host?: string
  /** Authenticated name: the subject of a TLS certificate, or `authkey`. */
  readonly identity?: string
}

/** What a connection calls when something arrives. Given to it before the first message can. */
export interface Sink {
  /** One whole message, bytes `start` to `end` of `bytes`. They belong to the connection and change after the call: copy what must outlive it, unless `owned` is true. */
  message(bytes: Buffer, start: number, end: number, owned: boolean): void
  /** One whole message on a connection of `kind: 'values'`; it belongs to the sink. */
  value(value: unknown): void
  /** The connection takes messages again, after a send returned false. */
  drained(): void
  /** The peer sends no more, but may still read; `reason` where more is known, such as a child's exit. Who implements this must `close()`; without it the connection ends by itself. */
  ended?(reason?: TalkwireError): void
  /** What arrives is no messages any more; nothing else will. Who implements this may send a last word and must end the connection; without it the connection is aborted with this error. */
  broken?(error: TalkwireError): void
  /** The last call, exactly once. No `cause`: one side closed on purpose and everything sent has arrived. */
  closed(cause?: TalkwireError): void
}

/** What every connection has, whatever it carries. */
export interface ConnectionBase {
  readonly peer: Peer
  /** True: single messages may be lost, and overtake each other. None comes twice. */
  readonly lossy?: boolean
  /** Events only: `in`, they arrive here; `out`, they leave here, all of them. Nothing is answered. */
  readonly oneWay?: 'in' | 'out' | undefined
  /** Holds incoming messages back; the peer is slowed down, nothing is lost. May let through what has already been read. */
  pause(): void
  resume(): void
  /** Delivers what was sent, then ends. Resolves when the connection has ended. Calling it twice is calling it once. */
  close(): Promise<void>
  /** Drops what was not delivered and ends now; `sink.closed(cause)` follows. */
  abort(cause: TalkwireError): void
  /** Asks the kernel whether a peer that sends no more is there at all. If it is known to be gone, the connection ends. For `Sink.ended`; where the wire cannot tell, it is missing. */
  probe?(): void
  /** The connection is over, without a word to the peer; a descriptor of its socket stays, which the caller owns. For channels. */
  detach?(): number | undefined
  /** Bytes taken by `commit`/`post` that the kernel (or the receiver) has not yet taken. */
  readonly buffered: number
  /** How many messages of those sent are certainly still here: they are lost for sure, and certainly not with the peer, when the connection ends now. */
  readonly unsent: number
  /** Whether the connection may keep the process alive, as Node's `ref()`. */
  ref(): void
  unref(): void
}

/** Messages are bytes. `begin`, write into the writer, then `commit` or `rollback`: no message needs a buffer of its own. */
export interface ByteConnection extends ConnectionBase {
  readonly kind: 'bytes'
  /** False: only JSON text may be sent (a line framing, Node's IPC with JSON serialization). */
  readonly binary: boolean
  /** Opens a message. Throws CONNECTION_CLOSED. Exactly one `commit` or `rollback` must follow, in the same turn. */
  begin(): Writer
  /** Ends the message: it will be sent, in order, at the latest when this turn ends. `attachments` of the writer are sent without a copy and must not change until `buffered` is 0. False: taken, but wait for `sink.drained()`. Throws MESSAGE_TOO_LARGE (with the message rolled back). */
  commit(): boolean
  /** Payload bytes of the last message that was committed, attachments included. */
  readonly committed: number
  rollback(): void
  /** The peer takes no larger messages; never raises the limit. */
  limitSend(bytes: number): void
}

/** Messages are structured-cloneable values. */
export interface ValueConnection extends ConnectionBase {
  readonly kind: 'values'
  /** As `commit`; `size` says about how many bytes the value is, where the sender knows. Throws CONNECTION_CLOSED, or DataCloneError for what cannot be cloned. */
  post(value: unknown, size?: number): boolean
}

export type Connection = ByteConnection | ValueConnection

export interface Listener {
  /** Where peers can really connect: port 0 and temporary names are filled in. */
  readonly address: string
  /** No new connections; open ones stay. Frees the address. */
  close(): Promise<void>
}

/** What a transport can do. The compliance suite tests every claim. */
export interface Traits {
  /** Messages arrive in the order sent. */
  readonly ordered: boolean
  /** Every message arrives, or the connection ends with a cause. */
  readonly reliable: boolean
  /** A send really says false while the peer does not read. */
  readonly backpressure: boolean
  readonly crossProcess: boolean
  readonly crossHost: boolean
  /** The listener serves more than one connection at a time. */
  readonly manyConnections: boolean
  /** `peer` carries pid and uid from the kernel (with koffi). */
  readonly peerCredentials: boolean
  /** Bytes of the largest message, where the wire itself has a limit. */
  readonly maxMessage?: number
}

export interface TransportOptions {
  /** Largest message in bytes, in both directions. Default 64 MiB. */
  readonly maxMessage?: number
  readonly signal?: AbortSignal
  /** How messages are delimited on a stream of bytes, chosen by who connects. Default `length`. */
  readonly framing?: 'length' | 'header' | 'line'
  /**
   * Milliseconds for what comes before a connection's first message: reaching the other host, TLS, a place in its queue. Default:
   * HANDSHAKE where one looks again and again; where the kernel waits, no limit of ours.
   */
  readonly handshake?: number
}

export type Accept = (connection: Connection) => Sink

export interface Transport<Options extends TransportOptions = TransportOptions> {
  /** The address scheme without the colon; also the name of the file and of the doc page. */
  readonly scheme: string
  readonly traits: Traits
  /** Only calls that are answered once, from who connects to who listens, and no hello. Default: all that a session says. */
  readonly carries?: 'calls'
  /** Browsers reach it: clients show a token, and Host and Origin are checked. */
  readonly tokens?: true
  /** Two sides arrange each connection over another one, which the address names behind the scheme. */
  readonly arranged?: true
  /** Rejects with PEER_NOT_FOUND, START_FAILED, PERMISSION_DENIED, UNAUTHENTICATED, INVALID_ADDRESS, or the signal's reason. */
  connect?(address: string, sink: Sink, options?: Options): Promise<Connection>
  /** A socket of its own to a listener, on which `first` has been sent; nobody reads it. For wires that carry descriptors. */
  openChannel?(address: string, first: Buffer, options?: Options): Promise<number>
  /** What it means on this wire that the peer ended the connection before it answered anything. */
  unanswered?(error: TalkwireError, address: string): TalkwireError
  /** Rejects with ADDRESS_IN_USE, PERMISSION_DENIED, INVALID_ADDRESS. `accept` runs before the first message of a connection. */
  listen?(address: string, accept: Accept, options?: Options): Promise<Listener>
}

export const MAX_MESSAGE = 64 * 1024 * 1024
export const HANDSHAKE = 5000
