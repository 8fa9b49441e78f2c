/** How a connection of D-Bus begins: SASL EXTERNAL, lines of text before the first message. Sans I/O. Source: D-Bus Specification, "Authentication Protocol". */
import { TalkwireError } from '../error.js'

/** Most characters of a line, and most lines, before a side is let in. */
const LONGEST = 16 * 1024
const MOST_LINES = 20

/** Bytes of lines, and whatever comes behind the last one. */
class Lines {
  private text = ''
  private count = 0

  push(chunk: Buffer): void {
    this.text += chunk.toString('latin1')
  }

  next(): string | undefined {
    const end = this.text.indexOf('\r\n')
    if (end < 0 && this.text.length > LONGEST) throw refused('a line of more than 16 KiB')
    if (end < 0) return undefined
    if (++this.count > MOST_LINES) throw refused('too many commands before the first message')
    const line = this.text.slice(0, end)
    this.text = this.text.slice(end + 2)
    return line
  }

  get rest(): Buffer {
    return Buffer.from(this.text, 'latin1')
  }

  /** The byte before everything else. */
  skipNul(): boolean {
    if (this.text[0] !== '\0') return false
    this.text = this.text.slice(1)
    return true
  }

  get empty(): boolean {
    return this.text === ''
  }
}

const refused = (what: string): TalkwireError => new TalkwireError('UNAUTHENTICATED', `D-Bus: ${what}`)

export interface Authentication {
  /** Takes what arrives. Once it is done, the rest of that: bytes of messages. Throws UNAUTHENTICATED, INVALID_MESSAGE. */
  push(chunk: Buffer): Buffer | undefined
  /** Agreed on. */
  readonly descriptors: boolean
  /** Of the side that listens. */
  readonly guid: string
}

/** The side that connects: says who it is, and hears whether the other side knows that from the kernel. */
export function clientAuthentication(uid: number, wantsDescriptors: boolean, send: (text: string) => void): Authentication {
  const lines = new Lines()
  const state = { descriptors: false, guid: '', push }
  let accepted = false
  send(`\0AUTH EXTERNAL ${Buffer.from(String(uid)).toString('hex')}\r\n`)
  function begin(): Buffer {
    send('BEGIN\r\n')
    return lines.rest
  }
  function push(chunk: Buffer): Buffer | undefined {
    lines.push(chunk)
    for (let line = lines.next(); line !== undefined; line = lines.next()) {
      const [word, value = ''] = line.split(' ')
      if (!accepted) {
        if (word === 'DATA') send('DATA\r\n')
        else if (word !== 'OK') throw refused(`${JSON.stringify(line.slice(0, 80))}: the other side does not take uid ${uid}`)
        else {
          accepted = true
          state.guid = value
          if (!wantsDescriptors) return begin()
          send('NEGOTIATE_UNIX_FD\r\n')
        }
        continue
      }
      state.descriptors = word === 'AGREE_UNIX_FD'
      return begin()
    }
    return undefined
  }
  return state
}

/** The side that listens. `uid`: who is there, as the kernel says; undefined where it cannot tell, and only the socket's mode keeps others out. */
export function serverAuthentication(
  uid: number | undefined,
  takesDescriptors: boolean,
  guid: string,
  send: (text: string) => void,
): Authentication {
  const lines = new Lines()
  const state = { descriptors: false, guid, push }
  let begun = false
  let phase: 'auth' | 'data' | 'begin' = 'auth'
  const say = (line: string): void => send(`${line}\r\n`)
  /** An identity in hexadecimal; empty: the one that the kernel knows. */
  function take(identity: string): void {
    const claimed = Buffer.from(identity, 'hex').toString('latin1')
    const fits = /^([0-9a-f]{2})*$/i.test(identity) && (claimed === '' || uid === undefined || claimed === String(uid))
    phase = fits ? 'begin' : 'auth'
    say(fits ? `OK ${guid}` : 'REJECTED EXTERNAL')
  }
  function command(line: string): void {
    const [word, mechanism, identity] = line.split(' ')
    if (word === 'AUTH' && phase === 'auth') {
      if (mechanism !== 'EXTERNAL') return say('REJECTED EXTERNAL')
      if (identity !== undefined) return take(identity)
      phase = 'data'
      return say('DATA')
    }
    if (word === 'DATA' && phase === 'data') return take(mechanism ?? '')
    if ((word === 'CANCEL' || word === 'ERROR') && phase !== 'auth') {
      phase = 'auth'
      return say('REJECTED EXTERNAL')
    }
    if (word === 'NEGOTIATE_UNIX_FD' && phase === 'begin' && takesDescriptors) {
      state.descriptors = true
      return say('AGREE_UNIX_FD')
    }
    say('ERROR')
  }
  function push(chunk: Buffer): Buffer | undefined {
    lines.push(chunk)
    if (!begun) {
      if (lines.empty) return undefined
      if (!lines.skipNul()) throw refused('a connection begins with a NUL')
      begun = true
    }
    for (let line = lines.next(); line !== undefined; line = lines.next()) {
      if (line === 'BEGIN' && phase === 'begin') return lines.rest
      if (line === 'BEGIN') throw refused('BEGIN before AUTH')
      command(line)
    }
    return undefined
  }
  return state
}
