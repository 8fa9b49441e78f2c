/** What goes to stdout and stderr: docs/cli.md, "What is printed". */
import { shapeOf, TalkwireError, type TypedArray } from '../index.js'

export const exitCode = { ok: 0, failed: 1, usage: 2, notFound: 3, interrupted: 130 } as const

/** The command line itself is wrong. */
export class UsageError extends Error {}

/** An error with the exit code that it means. */
export class Failure extends Error {
  constructor(
    readonly exitCode: number,
    readonly reason: unknown,
  ) {
    super(reason instanceof Error ? reason.message : String(reason), { cause: reason })
  }
}

// ── JSON ───────────────────────────────────────────────────────────────────────────────────────────

/** What a terminal would obey or a reader be misled by, beside what JSON escapes anyway. */
const UNSAFE = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
const quote = (text: string): string =>
  JSON.stringify(text).replace(UNSAFE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** A finished text, or the members of an array or object; an array's have no keys. */
type Node = string | { readonly keyed: boolean; readonly members: readonly (readonly [key: string, value: unknown])[] }

function nodeOf(value: unknown): Node {
  switch (typeof value) {
    case 'string':
      return quote(value)
    case 'number':
      return Number.isFinite(value) ? (Object.is(value, -0) ? '-0' : String(value)) : `"${value}"`
    case 'bigint':
    case 'boolean':
      return String(value)
    case 'function':
      return '"[function]"'
    case 'object':
      return value === null ? 'null' : objectNode(value)
    default:
      return 'null'
  }
}

function objectNode(value: object): Node {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'null' : quote(value.toISOString())
  if (value instanceof Set) return list([...value])
  if (value instanceof Map) {
    const entries = [...value] as [unknown, unknown][]
    return entries.every((entry): entry is [string, unknown] => typeof entry[0] === 'string')
      ? { keyed: true, members: entries }
      : list(entries)
  }
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return list(nested(value as TypedArray))
  if (Array.isArray(value)) return list(value)
  return { keyed: true, members: Object.entries(value).filter(([, member]) => member !== undefined) }
}

const list = (values: readonly unknown[]): Node => ({ keyed: false, members: values.map((value) => ['', value] as const) })

/** Row by row, where the array has a shape. */
function nested(array: TypedArray): unknown[] {
  let rows: unknown[] = Array.from(array as ArrayLike<unknown>)
  for (const size of (shapeOf(array) ?? []).slice(1).reverse()) {
    if (size === 0) return rows
    rows = Array.from({ length: rows.length / size }, (_, row) => rows.slice(row * size, (row + 1) * size))
  }
  return rows
}

/** One line of JSON. */
export function toLine(value: unknown): string {
  const node = nodeOf(value)
  if (typeof node === 'string') return node
  const members = node.members.map(([key, member]) => (node.keyed ? `${quote(key)}:${toLine(member)}` : toLine(member)))
  return node.keyed ? `{${members.join(',')}}` : `[${members.join(',')}]`
}

const WIDTH = 100

/** JSON to be read: what fits stands on one line, and so does a list of plain values. */
export function toText(value: unknown, indent = ''): string {
  const node = nodeOf(value)
  if (typeof node === 'string') return node
  const inner = `${indent}  `
  const members = node.members.map(([key, member]) => `${node.keyed ? `${quote(key)}: ` : ''}${toText(member, inner)}`)
  const [open, close] = node.keyed ? (['{', '}'] as const) : (['[', ']'] as const)
  if (members.length === 0) return open + close
  const line = node.keyed ? `{ ${members.join(', ')} }` : `[${members.join(', ')}]`
  const plain = !node.keyed && node.members.every(([, member]) => typeof nodeOf(member) === 'string')
  if (plain || (indent.length + line.length <= WIDTH && !line.includes('\n'))) return line
  return `${open}\n${members.map((member) => inner + member).join(',\n')}\n${indent}${close}`
}

/** Text from elsewhere, for the eyes of a person: one line that moves no cursor. */
export const clean = (text: string): string => quote(text).slice(1, -1).replaceAll('\\"', '"').replaceAll('\\\\', '\\')

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

// ── stdout ─────────────────────────────────────────────────────────────────────────────────────────

const closed = new AbortController()
/** Aborts when nobody reads our output any more. */
export const outputClosed: AbortSignal = closed.signal

/** To be called once, before anything is printed. */
export function watchOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (reason: NodeJS.ErrnoException) => {
      if (reason.code !== 'EPIPE') throw reason
      if (stream === process.stdout) closed.abort(reason)
    })
  }
}

/** A line on stdout. Resolves when there is room for more, or nobody reads. */
export async function print(line: string): Promise<void> {
  if (process.stdout.write(`${line}\n`) || outputClosed.aborted) return
  await new Promise<void>((resolve) => {
    const done = (): void => {
      process.stdout.off('drain', done)
      outputClosed.removeEventListener('abort', done)
      resolve()
    }
    process.stdout.on('drain', done)
    outputClosed.addEventListener('abort', done)
  })
}

export const note = (text: string): void => void process.stderr.write(`${text}\n`)

/** Resolves when all that was printed has left. */
export async function flush(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    if (stream.writableLength > 0 && !stream.destroyed) await new Promise((resolve) => stream.write('', resolve))
  }
}

// ── errors ─────────────────────────────────────────────────────────────────────────────────────────

/** An error on stderr: code, text and outcome on the first line, then the details; or all of it as one line of JSON. */
export function printError(reason: unknown, json: boolean): void {
  if (!(reason instanceof TalkwireError)) {
    const message = reason instanceof Error ? reason.message : String(reason)
    return note(json ? toLine({ error: { code: reason instanceof UsageError ? 'USAGE' : 'UNKNOWN', message } }) : `talkwire: ${message}`)
  }
  const { code, outcome, declared, details } = reason
  const plain = reason.message.replace(`[${code}] `, '')
  if (json) return note(toLine({ error: { code, message: plain, outcome, declared, ...(details !== undefined && { details }) } }))
  // What a child said on stderr has been seen there.
  const ended = code === 'PEER_EXITED' ? plain.replace(/; the last of its stderr:\n.*$/s, '') : plain
  note(`[${clean(code)}] ${clean(ended)} (outcome: ${outcome})`)
  if (details !== undefined && code !== 'PEER_EXITED') note(`details: ${toText(details)}`)
}
