/** A browser's WebSocket that carries a session's messages: JSON in text frames, with typed arrays in binary ones. spec/wire.md § 2. */
import { TalkwireError } from '../error.js'

export interface SocketSink {
  /** `size` is what it counts against credit: its bytes. */
  message(text: string, attachments: readonly Uint8Array[], size: number): void
  /** The last call, exactly once. No `cause`: a side closed on purpose. */
  closed(cause?: TalkwireError): void
}

export interface Socket {
  readonly buffered: number
  /** Returns the bytes. */
  send(text: string, attachments: readonly Uint8Array[]): number
  close(): void
  abort(cause: TalkwireError): void
}

export interface DialOptions {
  readonly token?: string | undefined
  /** Milliseconds. */
  readonly timeout: number
  readonly signal?: AbortSignal | undefined
}

/** Reaches a service; `maxMessage` is the largest message that is taken from it, in bytes. */
export type Dial = (address: string, options: DialOptions, sink: SocketSink, maxMessage: number) => Promise<Socket>

const PROTOCOL = 'talkwire.v1'
const TOKEN_PREFIX = 'talkwire.token.'
/** Milliseconds for the other side's end. */
const FAREWELL = 2_000
const ENVELOPE = 0xc1
const FIXED = 8
/** States of a WebSocket. */
const CONNECTING = 0
const OPEN = 1

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder('utf-8', { fatal: true })
const align = (offset: number): number => (offset + 7) & ~7
const sizeOf = (text: string): number => (/[^\0-\x7f]/.test(text) ? utf8.encode(text).length : text.length)

/** Rejects with PEER_NOT_FOUND, INVALID_ADDRESS, or the signal's reason. A browser does not tell a page why nobody answers. */
export function openSocket(address: string, { token, timeout, signal }: DialOptions, sink: SocketSink): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const socket = dial(address, token)
    let over = false
    const end = (cause?: TalkwireError): void => {
      if (!over) sink.closed(cause)
      over = true
    }
    const late = AbortSignal.timeout(timeout)
    for (const each of [signal, late])
      each?.addEventListener('abort', () => {
        if (socket.readyState !== CONNECTING) return
        over = true
        reject(each === late ? noAnswer(address) : each.reason)
        socket.close()
      })
    socket.binaryType = 'arraybuffer'
    socket.onopen = () =>
      resolve({
        get buffered() {
          return socket.bufferedAmount
        },
        send: (text, attachments) => send(socket, text, attachments),
        close() {
          socket.close(1000)
          setTimeout(end, FAREWELL)
        },
        abort(cause) {
          end(cause)
          socket.close()
        },
      })
    socket.onmessage = ({ data }: { data: string | ArrayBuffer }) => {
      try {
        if (!over) receive(data, sink)
      } catch (cause) {
        end(new TalkwireError('CONNECTION_LOST', `the peer broke the protocol: ${String(cause)}`, { cause, outcome: 'maybe-ran' }))
        socket.close()
      }
    }
    socket.onclose = ({ code }) => {
      reject(noAnswer(address))
      // Closed on purpose, going away, closed without a code.
      const orderly = code === 1000 || code === 1001 || code === 1005
      end(
        orderly
          ? undefined
          : new TalkwireError('CONNECTION_LOST', `the peer is gone, and did not say so (${code})`, { outcome: 'maybe-ran' }),
      )
    }
  })
}

function dial(address: string, token: string | undefined): WebSocket {
  try {
    return new WebSocket(address, token === undefined ? [PROTOCOL] : [PROTOCOL, TOKEN_PREFIX + token])
  } catch (cause) {
    throw new TalkwireError('INVALID_ADDRESS', `${address} is no ws: or wss: address`, { cause })
  }
}

const noAnswer = (address: string): TalkwireError =>
  new TalkwireError(
    'PEER_NOT_FOUND',
    `cannot connect to ${address}: nobody is there, the token is wrong, or the service does not name this page in origins; browsers do not tell which`,
  )

function send(socket: WebSocket, text: string, attachments: readonly Uint8Array[]): number {
  if (socket.readyState !== OPEN) throw new TalkwireError('CONNECTION_CLOSED', 'the connection was closed')
  if (attachments.length === 0) {
    socket.send(text)
    return sizeOf(text)
  }
  const bytes = sealed(utf8.encode(text), attachments)
  socket.send(bytes)
  return bytes.length
}

/** One message as bytes, for wires that have no text. */
export const encode = (text: string, attachments: readonly Uint8Array[]): Uint8Array =>
  attachments.length === 0 ? utf8.encode(text) : sealed(utf8.encode(text), attachments)

function sealed(head: Uint8Array, attachments: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const prefix = FIXED + 4 * attachments.length
  let length = prefix + head.length
  const places = attachments.map(({ byteLength }) => {
    const at = align(length)
    length = at + byteLength
    return at
  })
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  bytes[0] = ENVELOPE
  view.setUint16(2, attachments.length)
  view.setUint32(4, head.length)
  bytes.set(head, prefix)
  attachments.forEach((each, index) => {
    view.setUint32(FIXED + 4 * index, each.byteLength)
    bytes.set(each, places[index])
  })
  return bytes
}

export function receive(data: string | ArrayBuffer, sink: SocketSink): void {
  if (typeof data === 'string') return sink.message(data, [], sizeOf(data))
  const bytes = new Uint8Array(data)
  if (bytes[0] !== ENVELOPE) return sink.message(fromUtf8.decode(bytes), [], bytes.length)
  const view = new DataView(data)
  const count = view.getUint16(2)
  let offset = FIXED + 4 * count + view.getUint32(4)
  const text = fromUtf8.decode(bytes.subarray(FIXED + 4 * count, offset))
  const attachments = Array.from({ length: count }, (_, index) => {
    const from = align(offset)
    const size = view.getUint32(FIXED + 4 * index)
    offset = from + size
    return new Uint8Array(data, from, size)
  })
  sink.message(text, attachments, bytes.length)
}
