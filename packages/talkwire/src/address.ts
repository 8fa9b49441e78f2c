import { TalkwireError } from './error.js'

/** `scheme:rest`; without a scheme it is a service's name. */
export interface Address {
  readonly scheme: string
  readonly rest: string
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/
const RESERVED_ENDING = /\.(json|sock|lock)$/

/** Whether a text may name a service, a socket or a claim: spec/names.md. Nothing else ever becomes part of a path. */
export const isName = (text: string): boolean => NAME.test(text) && !RESERVED_ENDING.test(text)

/** Throws INVALID_ADDRESS. */
export function validateName(text: string): string {
  if (!isName(text))
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `${JSON.stringify(text.slice(0, 80))} is no name; write 1 to 64 letters, digits, ".", "_" or "-", beginning with a letter or digit and not ending with .json, .sock or .lock${text.includes('/') ? "; a socket's path is written unix:/path" : ''}`,
    )
  return text
}

/** Splits an address; a bare name has the scheme ''. Throws INVALID_ADDRESS. */
export function parseAddress(text: string): Address {
  if (typeof text !== 'string') throw new TypeError('an address is a string, such as "unix:bank" or "tcp://127.0.0.1:7000"')
  if (text.includes('\0') || /[\r\n]/.test(text))
    throw new TalkwireError(
      'INVALID_ADDRESS',
      'an address holds no NUL, CR or LF; a command with several lines goes as a list, connect([program, …])',
    )
  const match = /^([a-z][a-z0-9+]*):(.*)$/s.exec(text)
  if (match) return { scheme: match[1]!, rest: match[2]! }
  return { scheme: '', rest: validateName(text) }
}

export interface HostPort {
  readonly host: string
  readonly port: number
  readonly query: URLSearchParams
}

/** The part after `tcp:`; `[::1]:7000` as in a URL. Throws INVALID_ADDRESS. */
export function parseHostPort(address: string): HostPort {
  const match = /^[a-z][a-z0-9+]*:\/\/(\[[0-9a-fA-F:.%a-z]+\]|[A-Za-z0-9._-]{1,253}):(\d{1,5})\/?(?:\?(.*))?$/.exec(address)
  const port = Number(match?.[2])
  if (!match || port > 65_535)
    throw new TalkwireError(
      'INVALID_ADDRESS',
      `${JSON.stringify(address.slice(0, 120))} is no host and port; write for example tcp://127.0.0.1:7000`,
    )
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port, query: new URLSearchParams(match[3]) }
}

/** The words of a command, quoted as for a shell; nothing is expanded. Throws INVALID_ADDRESS. */
export function parseWords(text: string): string[] {
  const words: string[] = []
  let word: string | undefined
  const pattern = /'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([ \t]+)|([^\s'"\\]+)|(.)/gs
  for (const [, single, double, escaped, space, plain, rest] of text.matchAll(pattern)) {
    if (rest !== undefined)
      throw new TalkwireError(
        'INVALID_ADDRESS',
        `a quote or a backslash has no partner in ${JSON.stringify(text.slice(0, 120))}; close it, or pass the command as a list`,
      )
    if (space === undefined) word = (word ?? '') + (single ?? double?.replace(/\\(["\\])/g, '$1') ?? escaped ?? plain!)
    else if (word !== undefined) {
      words.push(word)
      word = undefined
    }
  }
  if (word !== undefined) words.push(word)
  if (words.length === 0) throw new TalkwireError('INVALID_ADDRESS', 'there is no command; write for example spawn:python3 worker.py')
  return words
}

/** Words as the part of an address that `parseWords` reads. */
export const quoteWords = (words: readonly string[]): string =>
  words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ')
