import { list, type Entry } from '../index.js'
import { json, type Command, type Values } from './command.js'
import { clean, exitCode, note, print, table, toLine } from './output.js'

export const ls: Command = {
  usage: 'ls',
  summary: "list this user's services on this machine",
  options: { json },
  examples: [
    ['talkwire ls', 'a table'],
    ["talkwire ls --json | jq -r '.[].name'", 'names only'],
  ],
  words: { least: 0, most: 0 },
  run,
}

async function run(_words: readonly string[], values: Values): Promise<number> {
  const entries = await list()
  if (values['json'] === true) await print(toLine(entries))
  else if (entries.length === 0) note('no service runs; talkwire serve <module> starts one')
  else await print(table([['NAME', 'PID', 'LANGUAGE', 'SINCE', 'CONTRACT', 'ADDRESSES'], ...entries.map(row)]))
  return exitCode.ok
}

function row({ name, pid, language, since, contract, addresses }: Entry): string[] {
  const began = new Date(since)
  return [
    name,
    String(pid),
    clean(language),
    Number.isNaN(began.getTime()) ? '?' : began.toISOString().slice(0, 19).replace('T', ' '),
    clean(contract ?? '-'),
    clean(addresses.join(' ')),
  ]
}
