import type { State } from '../hub/index.js'
import { TalkwireError } from '../index.js'
import { json, text, type Command, type Values } from './command.js'
import { interruption } from './interruption.js'
import { actionOf, hubOption, withHub } from './opening.js'
import { exitCode, Failure, outputClosed, print, toLine, UsageError } from './output.js'
import { readJsonStdin, readMilliseconds, readWord, STDIN } from './words.js'

export const state: Command = {
  usage: 'state <get|set|delete|list|watch> <state> [key] [value]',
  summary: 'read and change keys and values of the hub',
  help: `get     the value, as JSON
set     a value: JSON, or else a word; "-" reads JSON from stdin
delete  a key
list    keys that begin so, one a line with their values
watch   the same, and then each change, until Ctrl-C`,
  options: {
    hub: hubOption,
    ttl: { type: 'string', value: 'ms', help: 'set: milliseconds until it is gone' },
    revision: { type: 'string', value: 'text', help: 'set, delete: only at this revision; set: "none" if there is to be none' },
    json,
  },
  examples: [
    ['talkwire state set sessions ada \'{"cart": 3}\' --ttl 60000', 'for a minute'],
    ['talkwire state get sessions ada', 'what it is'],
    ['talkwire state watch sessions', 'each change'],
  ],
  words: { least: 2, most: 4 },
  run,
}

interface Wish {
  readonly keys: State<any, any>
  readonly words: readonly string[]
  readonly values: Values
  readonly signal: AbortSignal
}

const actions: Readonly<Record<string, (wish: Wish) => Promise<void>>> = { get, set, delete: remove, list, watch }

async function run([action, name, ...words]: readonly string[], values: Values): Promise<number> {
  const act = actionOf(actions, action!, (known) => new UsageError(`talkwire state does not ${JSON.stringify(action)}; it does ${known}`))
  const signal = AbortSignal.any([interruption(), outputClosed])
  return withHub(values, signal, async (hub) => {
    await act({ keys: hub.state(name!), words, values, signal })
    return exitCode.ok
  })
}

const absent = (key: string): Failure =>
  new Failure(exitCode.notFound, new TalkwireError('NOT_FOUND', `there is no "${key}", or not at this revision`))

async function get({ keys, words, values }: Wish): Promise<void> {
  const found = await keys.get(keyOf(words, 1))
  if (!found) throw absent(words[0]!)
  await print(values['json'] === true ? toLine(found) : toLine(found.value))
}

async function set({ keys, words, values }: Wish): Promise<void> {
  const key = keyOf(words, 2)
  const value = words[1] === STDIN ? await readJsonStdin() : readWord(words[1]!)
  const ttl = readMilliseconds('ttl', text(values, 'ttl'))
  const wanted = text(values, 'revision')
  const revision = await keys.set(key, value, {
    ...(ttl !== undefined && { ttl }),
    ...(wanted !== undefined && { revision: wanted === 'none' ? null : wanted }),
  })
  if (revision === undefined)
    throw new TalkwireError('ALREADY_EXISTS', `"${key}" is at another revision; talkwire state get --json shows which`)
  await print(values['json'] === true ? toLine({ revision }) : revision)
}

async function remove({ keys, words, values }: Wish): Promise<void> {
  const revision = text(values, 'revision')
  if (!(await keys.delete(keyOf(words, 1), revision === undefined ? {} : { revision }))) throw absent(words[0]!)
}

async function list({ keys, words }: Wish): Promise<void> {
  for await (const { key, value, revision } of keys.entries(words[0] ?? '')) await print(toLine({ key, value, revision }))
}

async function watch({ keys, words, signal }: Wish): Promise<void> {
  const changes = await keys.watch(words[0] ?? '', { signal })
  try {
    for await (const change of changes)
      await print(
        change.gone ? toLine({ key: change.key, gone: true }) : toLine({ key: change.key, value: change.value, revision: change.revision }),
      )
  } catch (reason) {
    signal.throwIfAborted()
    throw reason
  }
}

function keyOf(words: readonly string[], count: number): string {
  if (words.length === count) return words[0]!
  throw new UsageError(
    count === 1 ? 'which key? talkwire state get <state> <key>' : 'a key and a value: talkwire state set <state> <key> <value>',
  )
}
