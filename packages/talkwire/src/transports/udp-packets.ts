/** The datagrams between two Talkwire peers over `udp:`: spec/udp.md. Sans I/O. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

export const Packet = { hello: 1, cookie: 2, open: 3, opened: 4, data: 5, close: 6, closed: 7, abort: 8 } as const
export type PacketKind = (typeof Packet)[keyof typeof Packet]

const MAGIC = 0x5457
const VERSION = 1
const ID_AT = 4
const ID_BYTES = 8
const NUMBER_AT = 12
export const HEADER = 16
export const COOKIE = 16
/** A hello is longer than the answer to it: whoever forges its sender gains nothing. */
export const HELLO_BYTES = 64

/** What fits into one datagram: UDP over IPv4, less our header. */
export const MAX_DATAGRAM = 65_507
export const MAX_PAYLOAD = MAX_DATAGRAM - HEADER

export interface ParsedPacket {
  readonly kind: PacketKind
  /** Of the connection, in hexadecimal digits. */
  readonly id: string
  readonly number: number
}

/** Undefined for what is none. Never throws. */
export function parsePacket(bytes: Buffer): ParsedPacket | undefined {
  if (bytes.length < HEADER || bytes.readUInt16BE() !== MAGIC || bytes[2] !== VERSION) return undefined
  const kind = bytes[3]!
  if (kind < Packet.hello || kind > Packet.abort) return undefined
  return { kind: kind as PacketKind, id: bytes.toString('hex', ID_AT, ID_AT + ID_BYTES), number: bytes.readUInt32BE(NUMBER_AT) }
}

/** The header, with room for `extra` zeros behind it. */
export function createPacket(kind: PacketKind, id: string, number = 0, extra = 0): Buffer {
  const bytes = Buffer.alloc(HEADER + extra)
  bytes.writeUInt16BE(MAGIC)
  bytes[2] = VERSION
  bytes[3] = kind
  bytes.write(id, ID_AT, 'hex')
  bytes.writeUInt32BE(number, NUMBER_AT)
  return bytes
}

export const newId = (): string => randomBytes(ID_BYTES).toString('hex')

/** Milliseconds for which a cookie is good, at least; at most twice as long. */
const COOKIE_LIFE = 30_000

/** Proves that whoever sends it gets what is sent to its address, without anything that the server would have to remember. */
export class Cookies {
  private readonly secret = randomBytes(32)

  make(host: string, port: number, id: string, age = 0): Buffer {
    const epoch = Math.floor(performance.now() / COOKIE_LIFE) - age
    return createHmac('sha256', this.secret).update(`${epoch} ${host} ${port} ${id}`).digest().subarray(0, COOKIE)
  }

  isGood(cookie: Buffer, host: string, port: number, id: string): boolean {
    return cookie.length === COOKIE && [0, 1].some((age) => timingSafeEqual(cookie, this.make(host, port, id, age)))
  }
}

/** How far numbers may be apart. Older ones count as seen. */
const WINDOW = 1024

/** Which numbers were there already: the network may bring a datagram twice, and late. */
export class Seen {
  private highest = 0
  private readonly last = new Uint32Array(WINDOW)

  /** False when it was there before, or is too old to know. Numbers begin with 1. */
  add(number: number): boolean {
    if (number === 0 || number + WINDOW <= this.highest || this.last[number % WINDOW] === number) return false
    this.last[number % WINDOW] = number
    this.highest = Math.max(this.highest, number)
    return true
  }
}
