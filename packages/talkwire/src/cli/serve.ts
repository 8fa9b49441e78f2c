import { basename, extname } from 'node:path'
import { serve as start, type RunningService, type ServeOptions } from '../index.js'
import { readAuthkey } from './authkey.js'
import { authkeyFile, json, text, texts, type Command, type Values } from './command.js'
import { interruption } from './interruption.js'
import { choose, importModule, type Emitter, type Served } from './modules.js'
import { clean, exitCode, note, print, toLine, UsageError } from './output.js'
import { servePython } from './python.js'

export const serve: Command = {
  usage: 'serve <module>',
  summary: "serve a file's functions, or its contract",
  help: `A .ts, .js, .mjs or .cjs file: its contract, answered by its export "handlers" or its default export;
else its exported functions; else the functions of its default export, or of its only exported object.
A .py file: its public functions.
Where it serves is said on stderr; stdout belongs to the functions. Ctrl-C and SIGTERM let calls in flight finish.`,
  options: {
    name: { type: 'string', value: 'name', help: "the name to be found under; default: the file's name, or the contract's" },
    listen: { type: 'string', multiple: true, value: 'address', help: 'where to listen; may be repeated; default: unix:<name>' },
    protocols: {
      type: 'string',
      multiple: true,
      value: 'name',
      help: 'what listeners of tcp:, tls: and unix: answer beside our own messages: all, or http, ws, xmlrpc, soap, mcp…; may be repeated',
    },
    export: { type: 'string', value: 'name', help: 'serve this export' },
    'authkey-file': authkeyFile,
    'token-file': {
      type: 'string',
      value: 'file',
      help: 'a file with the token that clients of http: and the like have to show; default: a random one',
    },
    insecure: { type: 'boolean', help: 'listen beyond this machine without a key or TLS' },
    json: { ...json, help: 'print {"name", "addresses", "pid", "token"} on stdout once it listens' },
  },
  examples: [
    ['talkwire serve calc.ts', 'as "calc", for every process of this user'],
    ['talkwire serve worker.py --name worker', 'Python'],
    ['talkwire serve bank.ts --listen unix:bank --listen tcp://127.0.0.1:7000', 'two wires'],
    ['talkwire serve bank.ts --listen tcp://127.0.0.1:7000 --protocols all', 'HTTP, WebSocket, XML-RPC, SOAP and MCP on the same port'],
    ['talkwire serve calc.ts --listen tcp://0.0.0.0:7000 --authkey-file key', 'for other machines that know the key'],
  ],
  words: { least: 1, most: 1 },
  run,
}

async function run([file]: readonly string[], values: Values): Promise<number> {
  const stop = interruption()
  if (extname(file!) === '.py') return servePython(pythonArguments(file!, values), stop)
  const authkey = readAuthkey(text(values, 'authkey-file'))
  const token = readAuthkey(text(values, 'token-file'))?.toString('latin1')
  const protocols = texts(values, 'protocols')
  const options: ServeOptions = {
    ...(authkey && { authkey }),
    ...(token !== undefined && { token }),
    ...(protocols.length > 0 && { protocols: protocols.includes('all') ? 'all' : protocols }),
    insecure: values['insecure'] === true,
    onError: (error, method) =>
      note(`talkwire: in "${clean(method)}": ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
  }
  const module = await importModule(file!)
  const service = await listen(choose(module, file!, text(values, 'export')), file!, values, options)
  if (values['json'] === true)
    await print(toLine({ name: service.name, addresses: service.addresses, pid: process.pid, token: service.token }))
  else for (const address of service.addresses) if (address !== 'stdio:') note(`${service.name} serves ${address}`)
  if (service.token !== undefined && token === undefined && values['json'] !== true) note(`clients of HTTP show the token ${service.token}`)
  await ending(stop)
  await service.close()
  return exitCode.ok
}

/** A signal, or nothing left that could call: the other end of stdio has gone. */
function ending(stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    process.once('beforeExit', () => resolve())
    if (stop.aborted) resolve()
    stop.addEventListener('abort', () => resolve(), { once: true })
  })
}

function listen(served: Served, file: string, values: Values, options: ServeOptions): Promise<RunningService> {
  const wish = text(values, 'name') ?? process.env['TALKWIRE_START']
  const name = 'contract' in served ? served.contract.name : (wish ?? nameOf(file))
  if (wish !== undefined && wish !== name)
    throw new UsageError(
      `the contract of ${file} makes the name "${name}"; to be found as "${wish}" too: --listen unix:${name} --listen unix:${wish}`,
    )
  const addresses = texts(values, 'listen')
  const all =
    addresses.length > 0 ? { ...options, listen: addresses, announce: wish !== undefined && !addresses.includes('stdio:') } : options
  if (!('contract' in served)) return start(name, served.functions, all)
  const { contract, handlers } = served
  if (typeof handlers !== 'function') return start(contract, handlers as never, all)
  const service = start(contract, handlers(emitter(() => running)) as never, all)
  let running: Emitter | undefined
  return service.then((ready) => {
    running = ready
    return ready
  })
}

/** A service's name from a file's: with "-" for what a name cannot hold. */
const nameOf = (file: string): string =>
  basename(file, extname(file))
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[._-]+/, '')
    .slice(0, 64) || 'service'

/** A service can only be told of events once it runs; nobody listens before. */
const emitter = (running: () => Emitter | undefined): Emitter => ({ emit: (event, payload) => running()?.emit(event, payload) })

/** The same options, for the other language. */
function pythonArguments(file: string, values: Values): string[] {
  const args = [file]
  for (const [name, value] of Object.entries(values)) {
    if (value === true) args.push(`--${name}`)
    else
      for (const each of typeof value === 'string' ? [value] : Array.isArray(value) ? (value as string[]) : [])
        args.push(`--${name}=${each}`)
  }
  return args
}
