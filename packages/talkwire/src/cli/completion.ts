import { connect, list, sessionOf } from '../index.js'
import type { Command } from './command.js'
import { exitCode, print, UsageError } from './output.js'
import { describe, hangUp, type Target } from './target.js'

/** Each script asks `talkwire complete -- <words so far>` and offers what it prints. */
const SCRIPTS: Readonly<Record<string, string>> = {
  bash: `_talkwire() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(talkwire complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _talkwire talkwire`,
  zsh: `#compdef talkwire
_talkwire() {
  local -a candidates
  candidates=("\${(@f)$(talkwire complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${candidates[*]}" ]]; then compadd -a candidates; else _files; fi
}
compdef _talkwire talkwire`,
  fish: `complete -c talkwire -f -n 'not __fish_seen_subcommand_from serve' -a '(talkwire complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
complete -c talkwire -F -n '__fish_seen_subcommand_from serve' -a '(talkwire complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'`,
}

export const completion: Command = {
  usage: 'completion bash|zsh|fish',
  summary: 'print a script that completes commands, services and methods',
  options: {},
  examples: [
    ['eval "$(talkwire completion bash)"', 'in ~/.bashrc'],
    ['eval "$(talkwire completion zsh)"', 'in ~/.zshrc, after compinit'],
    ['talkwire completion fish > ~/.config/fish/completions/talkwire.fish', 'fish'],
  ],
  words: { least: 1, most: 1 },
  async run([shell]) {
    const script = Object.hasOwn(SCRIPTS, shell!) ? SCRIPTS[shell!] : undefined
    if (script === undefined) throw new UsageError(`no completion for "${shell}"; there is ${Object.keys(SCRIPTS).join(', ')}`)
    await print(script)
    return exitCode.ok
  },
}

/** Milliseconds for a service to say what it offers: somebody waits at a prompt. */
const PATIENCE = 1000
/** No shell sees anything in these but letters. */
const HARMLESS = /^[\w.:/@-]+$/

/** What can follow; the last word is the one being typed. Never throws: there may be nothing to offer. */
export async function complete(words: readonly string[], commands: Readonly<Record<string, Command>>): Promise<string[]> {
  const typed = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const candidates = await candidatesFor(before, typed, commands).catch(() => [])
  return candidates.filter((each) => each.startsWith(typed) && HARMLESS.test(each)).sort()
}

async function candidatesFor(before: readonly string[], typed: string, commands: Readonly<Record<string, Command>>): Promise<string[]> {
  if (before.length === 0) return [...Object.keys(commands), '--help', '--version']
  const [name] = before as [string]
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (!command) return []
  if (typed.startsWith('-')) return [...Object.keys(command.options), 'help'].map((option) => `--${option}`)
  const given = plainWords(before.slice(1), command)
  if (name === 'completion') return Object.keys(SCRIPTS)
  if (name === 'locks') return given.length === 0 ? lockNames() : []
  const takesService = name === 'call' || name === 'describe' || name === 'watch'
  if (!takesService) return []
  if (given.length === 0) return (await list()).map((entry) => entry.name)
  if (given.length > 1 || name === 'describe') return []
  const { methods, events } = await ask(given[0]!)
  return name === 'call' ? methods.map((method) => method.name) : [...events.keys()]
}

async function lockNames(): Promise<string[]> {
  const { listLocks } = await import('../sync/index.js')
  return listLocks().locks.map((lock) => lock.name)
}

/** Without options and their values. */
const plainWords = (words: readonly string[], { options }: Command): string[] =>
  words.filter((word, index) => !word.startsWith('-') && options[words[index - 1]?.replace(/^--/, '') ?? '']?.type !== 'string')

/** Only services that run: completing must not start anything. */
async function ask(name: string): ReturnType<typeof describe> {
  const signal = AbortSignal.timeout(PATIENCE)
  const entry = (await list()).find((each) => each.name === name)
  if (!entry) throw new UsageError(`no service "${name}"`)
  const client = await connect(name, { signal, reconnect: false })
  const target: Target = { name, entry, client, session: sessionOf(client)!, contract: undefined }
  try {
    return await describe(target, { signal })
  } finally {
    await hangUp(target, signal)
  }
}
