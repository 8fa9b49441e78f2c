import { bridge as start, type BridgeOptions } from '../index.js'
import { readAuthkey } from './authkey.js'
import { json, text, texts, type Command, type Values } from './command.js'
import { connectingOptions, readConnecting } from './connecting.js'
import { interruption } from './interruption.js'
import { clean, exitCode, note, print, toLine } from './output.js'

export const bridge: Command = {
  usage: 'bridge <from> <to…>',
  summary: 'serve any service that can be called under any other protocol',
  help: `What the service offers is asked of itself: OpenRPC, the tools of MCP, the introspection of XML-RPC and the like.
What the other protocol cannot carry is refused at the start. The service is found again when it restarts.
The options for connecting are those for <from>. Ctrl-C and SIGTERM let calls in flight finish.`,
  options: {
    name: { type: 'string', value: 'name', help: "the name it is served under; default: the service's own" },
    'serve-token-file': {
      type: 'string',
      value: 'file',
      help: 'a file with the token that clients of <to> have to show; default: a random one',
    },
    'no-token': { type: 'boolean', help: 'clients of <to> show no token' },
    protocols: {
      type: 'string',
      multiple: true,
      value: 'name',
      help: 'what listeners of tcp:, tls: and unix: answer beside: all, or http, ws, …',
    },
    insecure: { type: 'boolean', help: 'listen beyond this machine without a key or TLS' },
    ...connectingOptions,
    json: { ...json, help: 'print {"name", "addresses", "pid", "token"} on stdout once it listens' },
  },
  examples: [
    ['talkwire bridge xmlrpc+http://127.0.0.1:8000 http://127.0.0.1:8080', 'an XML-RPC server as REST'],
    ["talkwire bridge 'mcp+spawn:npx some-mcp-server' unix:tools", 'the tools of an MCP server as JSON-RPC'],
    ['talkwire bridge unix:/run/daemon.sock mcp: --framing line', 'a JSON-RPC daemon as tools of an AI client'],
  ],
  words: { least: 2, most: Infinity },
  run,
}

async function run([from, ...to]: readonly string[], values: Values): Promise<number> {
  const stop = interruption()
  const { signal: _signal, reconnect: _reconnect, ...reach } = readConnecting(values, stop)
  const token = readAuthkey(text(values, 'serve-token-file'))?.toString('latin1')
  const protocols = texts(values, 'protocols')
  const name = text(values, 'name')
  const service = await start(from!, to, {
    connect: { ...reach, onError: (error, what) => note(`talkwire: ${clean(what)}: ${clean(String(error))}`) },
    serve: {
      insecure: values['insecure'] === true,
      ...(values['no-token'] === true ? { token: false as const } : token !== undefined && { token }),
      ...(protocols.length > 0 && { protocols: protocols.includes('all') ? ('all' as const) : protocols }),
      onError: (error, method) => note(`talkwire: in "${clean(method)}": ${clean(String(error))}`),
    },
    ...(name !== undefined && { name }),
  } satisfies BridgeOptions)
  for (const [each, reason] of Object.entries(service.contract.foreign?.leftOut ?? {})) note(`left out: ${clean(each)}: ${clean(reason)}`)
  if (values['json'] === true)
    await print(toLine({ name: service.name, addresses: service.addresses, pid: process.pid, token: service.token }))
  else {
    for (const address of service.addresses) if (!/^(stdio|mcp):$/.test(address)) note(`${service.name} serves ${address}`)
    if (service.token !== undefined && token === undefined) note(`clients of HTTP show the token ${service.token}`)
  }
  await ended(stop, to)
  await service.close()
  return exitCode.ok
}

/** A signal; or the end of the one that stdin and stdout belong to. */
function ended(stop: AbortSignal, to: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    if (stop.aborted) resolve()
    stop.addEventListener('abort', () => resolve(), { once: true })
    if (to.some((address) => address === 'stdio:' || address === 'mcp:')) process.stdin.once('close', () => resolve())
  })
}
