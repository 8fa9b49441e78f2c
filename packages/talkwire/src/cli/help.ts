import type { Command, Option } from './command.js'
import { table } from './output.js'

const EXIT_CODES = 'Exit codes: 0 ok, 1 the call failed, 2 wrong usage, 3 nothing found or no connection, 130 interrupted.'

export function overview(commands: Readonly<Record<string, Command>>): string {
  return `Call functions in other processes, and let them call yours.

${indented(table(Object.values(commands).map((command) => [`talkwire ${command.usage}`, command.summary])))}

talkwire <command> --help shows options and examples; talkwire --version.
${EXIT_CODES}`
}

export function help({ usage, summary, help: more, options, examples }: Command): string {
  const parts = [`talkwire ${usage}\n\n${summary[0]!.toUpperCase()}${summary.slice(1)}.`]
  if (more) parts.push(more)
  const rows = Object.entries(options).map(([name, option]) => [flag(name, option), option.help])
  parts.push(`Options\n${indented(table([...rows, ['--help', 'this text']]))}`)
  parts.push(`Examples\n${indented(table(examples.map(([line, what]) => [line, what])))}`)
  parts.push(EXIT_CODES)
  return parts.join('\n\n')
}

const flag = (name: string, { type, value, multiple }: Option): string =>
  `--${name}${type === 'string' ? ` <${value ?? 'text'}>` : ''}${multiple ? ' …' : ''}`
const indented = (text: string): string => text.replace(/^/gm, '  ')
