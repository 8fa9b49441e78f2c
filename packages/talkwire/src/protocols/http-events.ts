/** Server-sent events (HTML Living Standard § 9.2), written and read. Sans I/O. */
import { TalkwireError } from '../error.js'

/** `data` holds no end of a line: JSON never does. */
export const eventText = (data: string, name?: string): string =>
  name === undefined ? `data: ${data}\n\n` : `event: ${name}\ndata: ${data}\n\n`
/** Keeps proxies and readers from giving up. */
export const BEAT = ':\n\n'

export interface ServerEvent {
  readonly name: string
  readonly data: string
  /** Characters that it took on the wire. */
  readonly size: number
}

/** Chunks of text in, events out. */
export class EventReader {
  /** Of the line that has not ended yet. */
  private parts: string[] = []
  private waiting = 0
  private name = ''
  private data: string[] = []
  private size = 0

  constructor(private readonly limit: number) {}

  /** Throws MESSAGE_TOO_LARGE. A line ends with LF or CR LF; a CR alone, which the standard allows too, ends none. */
  *push(chunk: string): Generator<ServerEvent> {
    this.parts.push(chunk)
    this.waiting += chunk.length
    this.check(this.size + this.waiting)
    if (!chunk.includes('\n')) return
    const lines = this.parts.join('').split(/\r?\n/)
    const rest = lines.pop()!
    this.parts = rest === '' ? [] : [rest]
    this.waiting = rest.length
    for (const line of lines) {
      this.size += line.length + 1
      if (line === '') {
        if (this.data.length > 0) yield { name: this.name || 'message', data: this.data.join('\n'), size: this.size }
        this.forget()
      } else this.field(line)
    }
  }

  private forget(): void {
    this.name = ''
    this.data = []
    this.size = 0
  }

  private field(line: string): void {
    const colon = line.indexOf(':')
    if (colon === 0) return
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (field === 'data') this.data.push(value)
    else if (field === 'event') this.name = value
  }

  private check(size: number): void {
    if (size > this.limit)
      throw new TalkwireError('MESSAGE_TOO_LARGE', `an event of more than ${this.limit} characters; raise limits.message`)
  }
}
