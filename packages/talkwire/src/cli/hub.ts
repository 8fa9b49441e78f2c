import { connect } from '../index.js'
import { hubContract, serveHub } from '../hub/index.js'
import { readAuthkey } from './authkey.js'
import { authkeyFile, json, text, texts, type Command, type Values } from './command.js'
import { interruption } from './interruption.js'
import { clean, exitCode, Failure, note, print, table, toLine, UsageError } from './output.js'

export const hub: Command = {
  usage: 'hub [status] [name]',
  summary: 'run the hub that comes with Talkwire, or say how it is',
  help: `Programs start it themselves when they need it (openHub()); as a service of its own it can be given limits and addresses.
What it answers is on disk. Ctrl-C and SIGTERM let what was asked be answered.`,
  options: {
    folder: { type: 'string', value: 'path', help: 'where its files are; default: ~/.local/state/talkwire/<name>' },
    memory: { type: 'boolean', help: 'nothing is written: everything is gone with the process' },
    keep: { type: 'string', multiple: true, value: 'pattern', help: 'topics that are kept for replay; may be repeated' },
    listen: { type: 'string', multiple: true, value: 'address', help: 'where to listen beside unix:<name>; may be repeated' },
    'authkey-file': authkeyFile,
    json,
  },
  examples: [
    ['talkwire hub', 'for every process of this user'],
    ['talkwire hub status', 'what is in it'],
    ['talkwire hub jobs --folder /var/lib/jobs', 'another one, openHub("hub:jobs")'],
    ["talkwire hub --keep 'orders.>'", 'topics that can be replayed'],
    ['talkwire hub --listen tcp://0.0.0.0:7100 --authkey-file key', 'for other machines that know the key'],
  ],
  words: { least: 0, most: 2 },
  run,
}

async function run(words: readonly string[], values: Values): Promise<number> {
  if (words[0] === 'status') return status(words[1] ?? 'hub', values)
  if (words.length > 1) throw new UsageError('one hub has one name; talkwire hub status <name> says how it is')
  const stop = interruption()
  const authkey = readAuthkey(text(values, 'authkey-file'))
  const folder = text(values, 'folder')
  if (folder !== undefined && values['memory'] === true)
    throw new UsageError('--memory writes nothing, and --folder says where; leave one out')
  const service = await serveHub({
    name: words[0] ?? 'hub',
    ...(folder !== undefined && { folder }),
    ...(values['memory'] === true && { durability: 'memory' as const }),
    keep: texts(values, 'keep').map((pattern) => ({ pattern })),
    listen: texts(values, 'listen'),
    ...(authkey && { authkey }),
    onError: (error, what) => note(`talkwire: ${clean(what)}: ${clean(error instanceof Error ? error.message : String(error))}`),
  })
  if (values['json'] === true)
    await print(toLine({ name: service.name, addresses: service.addresses, folder: service.folder ?? null, pid: process.pid }))
  else
    note(
      `the hub ${service.name} serves ${service.addresses.join(', ')}; ${service.folder ? `its files are in ${service.folder}` : 'nothing is written'}`,
    )
  const failure = await Promise.race([service.failed, stopped(stop)])
  await service.close()
  if (failure) throw new Failure(exitCode.failed, failure)
  return exitCode.ok
}

const stopped = (stop: AbortSignal): Promise<undefined> =>
  new Promise((resolve) => {
    if (stop.aborted) resolve(undefined)
    stop.addEventListener('abort', () => resolve(undefined), { once: true })
  })

async function status(name: string, values: Values): Promise<number> {
  let client
  try {
    client = await connect(hubContract, name, { reconnect: false })
  } catch (reason) {
    throw new Failure(exitCode.notFound, reason)
  }
  try {
    const told = (await client.status()) as Record<string, unknown>
    if (values['json'] === true) await print(toLine(told))
    else await print(toText(told))
    return exitCode.ok
  } finally {
    await client.close()
  }
}

function toText({ queues = {}, ...rest }: Record<string, unknown>): string {
  const lines = [table(Object.entries(rest).map(([name, value]) => [name, typeof value === 'string' ? clean(value) : toLine(value)]))]
  const rows = Object.entries(queues as Record<string, Record<string, number>>).map(([name, counts]) => [
    clean(name),
    ...['ready', 'delayed', 'taken', 'dead'].map((each) => String(counts[each] ?? 0)),
  ])
  if (rows.length > 0) lines.push('', table([['QUEUE', 'READY', 'DELAYED', 'TAKEN', 'DEAD'], ...rows]))
  return lines.join('\n')
}
