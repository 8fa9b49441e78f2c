/** Frames of STOMP 1.2: a command, headers, an empty line, a body, a zero. Sans I/O. */
import { TalkwireError } from '../../../error.js'

export interface Frame {
  readonly command: string
  /** The first of a name counts. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\r': '\\r', '\n': '\\n', ':': '\\c' }
const MEANT: Readonly<Record<string, string>> = { '\\\\': '\\', '\\r': '\r', '\\n': '\n', '\\c': ':' }
/** Bytes of a command and its headers. */
const LONGEST_HEAD = 1_048_576
const NONE = Buffer.alloc(0)
const LF = 10
const CR = 13

const escape = (text: string): string => text.replaceAll(/[\\\r\n:]/g, (character) => ESCAPES[character]!)
const unescape = (text: string): string => {
  if (!text.includes('\\')) return text
  return text.replaceAll(/\\.?/gs, (written) => MEANT[written] ?? fail(`the escape ${JSON.stringify(written)}`))
}

function fail(what: string): never {
  throw new TalkwireError('INVALID_MESSAGE', `STOMP: ${what} is not of version 1.2`)
}

/** `CONNECT` is written as in 1.0, which escapes nothing. A body has its length before it, since it may have zeros. */
export function encodeFrame(command: string, headers: Readonly<Record<string, string>>, body: Uint8Array | undefined): Buffer {
  const write = command === 'CONNECT' ? (text: string): string => text : escape
  let head = `${command}\n`
  for (const [name, value] of Object.entries(headers)) head += `${write(name)}:${write(value)}\n`
  if (!body) return Buffer.from(`${head}\n\0`)
  const start = Buffer.from(`${head}content-length:${body.length}\n\n`)
  const frame = Buffer.allocUnsafe(start.length + body.length + 1)
  frame.set(start)
  frame.set(body, start.length)
  frame[frame.length - 1] = 0
  return frame
}

interface Head {
  readonly command: string
  readonly headers: Map<string, string>
  /** Undefined: up to the next zero. */
  readonly length: number | undefined
}

/** Takes chunks as they come, and throws INVALID_MESSAGE for what is no frame: nothing after that can be read. */
export function frameReader(onFrame: (frame: Frame) => void): (chunk: Buffer) => void {
  let parts: Buffer[] = []
  let size = 0
  /** What is known of a frame whose body has not come. */
  let head: Head | undefined
  /** Bytes without which looking again is in vain. */
  let needed = 1
  const read = (bytes: Buffer): number => {
    let at = 0
    for (;;) {
      if (!head) {
        // A line between frames is a heartbeat.
        while (bytes[at] === LF || bytes[at] === CR) at++
        const end = endOfHead(bytes, at)
        if (end < 0) {
          if (bytes.length - at > LONGEST_HEAD) fail('a head without an end')
          needed = bytes.length - at + 1
          return at
        }
        head = readHead(bytes.toString('utf8', at, end))
        at = end + 1
      }
      const { command, headers, length } = head
      const end = length === undefined ? bytes.indexOf(0, at) : at + length
      if (end < 0 || end >= bytes.length) {
        needed = end < 0 ? bytes.length - at + 1 : length! + 1
        return at
      }
      if (bytes[end] !== 0) fail('a body without a zero behind it')
      head = undefined
      onFrame({ command, headers, body: end > at ? Buffer.from(bytes.subarray(at, end)) : NONE })
      at = end + 1
    }
  }
  return (chunk) => {
    parts.push(chunk)
    size += chunk.length
    if (size < needed) return
    const bytes = parts.length === 1 ? chunk : Buffer.concat(parts, size)
    needed = 1
    const rest = bytes.subarray(read(bytes))
    parts = rest.length > 0 ? [rest] : []
    size = rest.length
  }
}

/** The line feed of the empty line. */
function endOfHead(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(LF, from); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at + 1] === LF) return at + 1
    if (bytes[at + 1] === CR && bytes[at + 2] === LF) return at + 2
  }
  return -1
}

function readHead(text: string): Head {
  const [command = '', ...lines] = text.split('\n').map((line) => line.replace(/\r$/, ''))
  const read = command === 'CONNECTED' ? (part: string): string => part : unescape
  const headers = new Map<string, string>()
  for (const line of lines) {
    if (line === '') continue
    const colon = line.indexOf(':')
    if (colon < 0) fail(`the header ${JSON.stringify(line.slice(0, 80))}`)
    const name = read(line.slice(0, colon))
    if (!headers.has(name)) headers.set(name, read(line.slice(colon + 1)))
  }
  const said = headers.get('content-length')
  if (said !== undefined && !/^\d{1,10}$/.test(said)) fail(`the content-length ${said.slice(0, 80)}`)
  return { command, headers, length: said === undefined ? undefined : Number(said) }
}
