/** Arguments as they are typed: docs/cli.md, "Arguments". */
import { UsageError } from './output.js'

const NAMED = /^([A-Za-z_$][\w$]*)=(.*)$/s
/** Whoever begins so means JSON; taking it for a word would hide a missing bracket. */
const JSON_START = /^[[{"]/

/** JSON, or else the word as it is. Whole numbers are exact, whatever their size. Throws UsageError for broken JSON. */
export function readWord(word: string): unknown {
  if (/^-?[1-9]\d*$/.test(word)) return Number.isSafeInteger(Number(word)) ? Number(word) : BigInt(word)
  try {
    return JSON.parse(word) as unknown
  } catch (reason) {
    if (JSON_START.test(word))
      throw new UsageError(
        `${word.length > 60 ? `${word.slice(0, 60)}…` : word} is no JSON: ${(reason as Error).message}; quote it for the shell, and a word that begins with [, { or " as JSON: '"[word]"'`,
      )
    return word
  }
}

export const STDIN = '-'

export interface Arguments {
  readonly positional: readonly unknown[]
  readonly named: Readonly<Record<string, unknown>> | undefined
}

/** `readStdin` is asked for where a `-` stands, at most once. Throws UsageError. */
export async function readArguments(words: readonly string[], readStdin: () => Promise<unknown>): Promise<Arguments> {
  const positional: unknown[] = []
  const named = new Map<string, unknown>()
  let stdin = false
  const read = async (word: string): Promise<unknown> => {
    if (word !== STDIN) return readWord(word)
    if (stdin) throw new UsageError('only one argument can come from stdin; write the others out')
    stdin = true
    return readStdin()
  }
  for (const word of words) {
    const [, name, value] = NAMED.exec(word) ?? []
    if (name === undefined) positional.push(await read(word))
    else if (named.has(name)) throw new UsageError(`${name}= is given twice; leave one out`)
    else named.set(name, await read(value!))
  }
  if (positional.length > 0 && named.size > 0)
    throw new UsageError(`arguments go by position or as name=value, not both; write a word with "=" as JSON: '"a=b"'`)
  return { positional, named: named.size > 0 ? Object.fromEntries(named) : undefined }
}

/** All of stdin as one JSON text. Throws UsageError. */
export async function readJsonStdin(): Promise<unknown> {
  let text = ''
  process.stdin.setEncoding('utf8')
  for await (const piece of process.stdin) text += piece as string
  try {
    return JSON.parse(text) as unknown
  } catch (reason) {
    throw new UsageError(`stdin is no JSON: ${(reason as Error).message}`)
  }
}

/** `key=value` pairs of text. Throws UsageError. */
export function readPairs(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=')
      if (at < 1) throw new UsageError(`--metadata takes key=value, not ${JSON.stringify(pair)}`)
      return [pair.slice(0, at), pair.slice(at + 1)] as const
    }),
  )
}

/** An option's whole number above 0. Throws UsageError. */
export function readCount(option: string, text: string | undefined): number | undefined {
  if (text === undefined || /^[1-9]\d{0,14}$/.test(text)) return text === undefined ? undefined : Number(text)
  throw new UsageError(`--${option} takes a whole number above 0, not ${JSON.stringify(text)}`)
}

/** An option's milliseconds. Throws UsageError. */
export function readMilliseconds(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const milliseconds = Number(text)
  if (!(milliseconds > 0)) throw new UsageError(`--${option} takes a positive number of milliseconds, not ${JSON.stringify(text)}`)
  return milliseconds
}
