#!/usr/bin/env node
/** The command `talkwire`: docs/cli.md. Built on what every user of the package has. */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { TalkwireError } from '../index.js'
import { bridge } from './bridge.js'
import { call } from './call.js'
import type { Command, Values } from './command.js'
import { complete, completion } from './completion.js'
import { describe } from './describe.js'
import { doctor } from './doctor.js'
import { help, overview } from './help.js'
import { hub } from './hub.js'
import { importCommand } from './import.js'
import { Interrupted } from './interruption.js'
import { lease } from './lease.js'
import { locks } from './locks.js'
import { ls } from './ls.js'
import { exitCode, Failure, flush, note, outputClosed, print, printError, UsageError, watchOutput } from './output.js'
import { pub } from './pub.js'
import { queue } from './queue.js'
import { serve } from './serve.js'
import { state } from './state.js'
import { sub } from './sub.js'
import { nearest } from '../suggest.js'
import { watch } from './watch.js'

const commands: Readonly<Record<string, Command>> = {
  serve,
  call,
  bridge,
  ls,
  describe,
  import: importCommand,
  watch,
  locks,
  hub,
  pub,
  sub,
  queue,
  state,
  lease,
  doctor,
  completion,
}

async function main([name, ...args]: readonly string[]): Promise<number> {
  if (name === '--version') return printed(version())
  if (name === '--help' || name === '-h' || (name === 'help' && args.length === 0)) return printed(overview(commands))
  if (name === 'help') return main([args[0]!, '--help'])
  if (name === 'complete') return printed((await complete(args.slice(args[0] === '--' ? 1 : 0), commands)).join('\n'))
  if (name === undefined) {
    note(overview(commands))
    return exitCode.usage
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (!command) {
    const near = nearest(name, Object.keys(commands))
    throw new UsageError(`there is no command "${name}"${near ? `; did you mean "${near}"?` : ''}; talkwire --help lists them`)
  }
  if (args.slice(0, indexOf(args, '--')).some((arg) => arg === '--help' || arg === '-h')) return printed(help(command))
  const { words, values } = parse(name, command, args)
  return command.run(words, values)
}

const indexOf = (args: readonly string[], word: string): number => (args.includes(word) ? args.indexOf(word) : args.length)

async function printed(text: string): Promise<number> {
  if (text !== '') await print(text)
  return exitCode.ok
}

function version(): string {
  const { version: own } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
  return own
}

/** Marks words that begin like an option and are a number; no argument of a process can hold it. */
const NUMBER = '\0'

/** Throws UsageError. */
function parse(name: string, { options, words }: Command, args: readonly string[]): { words: string[]; values: Values } {
  let parsed: { positionals: string[]; values: object }
  try {
    parsed = parseArgs({ args: args.map((arg) => (/^-\.?\d/.test(arg) ? NUMBER + arg : arg)), options, allowPositionals: true })
  } catch (reason) {
    throw new UsageError(`${optionProblem(reason as Error, Object.keys(options))}\ntalkwire ${name} --help shows how`, { cause: reason })
  }
  const plain = <T>(value: T): T =>
    (typeof value === 'string' ? value.replace(NUMBER, '') : Array.isArray(value) ? value.map(plain) : value) as T
  const positionals = parsed.positionals.map(plain)
  if (positionals.length < words.least || positionals.length > words.most) {
    throw new UsageError(`usage: talkwire ${commands[name]!.usage}\ntalkwire ${name} --help shows more`)
  }
  return {
    words: positionals,
    values: Object.fromEntries(Object.entries(parsed.values).map(([key, value]) => [key, plain(value)])) as Values,
  }
}

/** Node's own text, but for what was mistyped. */
function optionProblem({ message }: Error, options: readonly string[]): string {
  const [, typed] = /^Unknown option '(--?[^']*)'/.exec(message) ?? []
  if (typed === undefined) return message
  const near = nearest(
    typed,
    [...options, 'help'].map((option) => `--${option}`),
  )
  return `there is no option ${typed}${near ? `; did you mean "${near}"?` : ''}; a word that begins with "-" goes after --`
}

function exitCodeOf(reason: unknown): number {
  if (reason instanceof Failure) return reason.exitCode
  if (reason instanceof UsageError || (reason instanceof TalkwireError && reason.code === 'INVALID_ADDRESS')) return exitCode.usage
  return exitCode.failed
}

async function run(args: readonly string[]): Promise<number> {
  watchOutput()
  try {
    return await main(args)
  } catch (reason) {
    // Nobody reads on, or somebody told us to stop: that is no error of anybody's.
    if (outputClosed.aborted) return exitCode.ok
    if (reason instanceof Interrupted) return reason.exitCode
    printError(reason instanceof Failure ? reason.reason : reason, args.includes('--json'))
    return exitCodeOf(reason)
  }
}

const code = await run(process.argv.slice(2))
await flush()
process.exit(code)
