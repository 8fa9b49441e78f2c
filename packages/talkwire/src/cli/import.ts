/** `talkwire import`: what others described, as a module with a contract and its types. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { discover, fromOpenApi, fromOpenRpc, type Contract } from '../index.js'
import { text, type Command, type Values } from './command.js'
import { connectingOptions, readConnecting } from './connecting.js'
import { interruption } from './interruption.js'
import { clean, exitCode, note, print, UsageError } from './output.js'
import { moduleOf, type Origin } from './typescript.js'

export const importCommand: Command = {
  usage: 'import <address or file>',
  summary: 'write a TypeScript module of a contract that others described',
  help: `A file is a .proto, or a .json with OpenAPI 3 or OpenRPC; the module holds it, and needs no other.
An address is asked what it offers, and the module asks it again when it runs: its types are those of today.`,
  options: {
    out: { type: 'string', value: 'file', help: 'where to write it; default: stdout' },
    service: { type: 'string', value: 'name', help: 'of a .proto with several services: which one' },
    ...connectingOptions,
  },
  examples: [
    ['talkwire import http://127.0.0.1:8000 --out shop.contract.ts', 'a service with an OpenAPI document'],
    ['talkwire import shop.openapi.json --out shop.contract.ts', 'the document itself'],
    ['talkwire import greeter.proto --service Greeter --out greeter.contract.ts', 'a gRPC service'],
  ],
  words: { least: 1, most: 1 },
  run,
}

async function run([from]: readonly string[], values: Values): Promise<number> {
  const { contract, origin } = /^[a-z][a-z0-9+]*:/.test(from!)
    ? await ofAddress(from!, values)
    : await ofFile(from!, text(values, 'service'))
  for (const [each, reason] of Object.entries(contract.foreign?.leftOut ?? {})) note(`left out: ${clean(each)}: ${clean(reason)}`)
  const module = await moduleOf(contract, origin)
  const out = text(values, 'out')
  if (out === undefined) await print(module.trimEnd())
  else writeFileSync(out, module)
  return exitCode.ok
}

interface Found {
  readonly contract: Contract
  readonly origin: Origin
}

async function ofAddress(address: string, values: Values): Promise<Found> {
  const { reconnect: _, ...options } = readConnecting(values, interruption())
  return {
    contract: await discover(address, options),
    origin: {
      from: address,
      imports: [
        ['discover', 'talkwire'],
        ['type DiscoverOptions', 'talkwire'],
      ],
      make: (type) => `/** Where it was found. */
export const address = ${JSON.stringify(address)}

/** The contract, as the service tells it: \`connect(await discover${type}(), address)\`. Rejects as \`discover\`. */
export async function discover${type}(at: string = address, options: DiscoverOptions = {}): Promise<${type}> {
  return (await discover(at, options)) as unknown as ${type}
}`,
    },
  }
}

async function ofFile(file: string, service: string | undefined): Promise<Found> {
  if (!existsSync(file)) throw new UsageError(`there is no file ${file} in ${process.cwd()}`)
  const said = readFileSync(file, 'utf8')
  if (extname(file) === '.proto') return ofProto(file, said, service)
  const document = documentIn(file, said)
  const reader = 'openrpc' in document ? 'fromOpenRpc' : 'fromOpenApi'
  try {
    const contract = await (reader === 'fromOpenRpc' ? fromOpenRpc(document) : fromOpenApi(document))
    return { contract, origin: holding(file, said, [reader, 'talkwire'], `${reader}(JSON.parse(description))`) }
  } catch (reason) {
    throw reason instanceof TypeError ? new UsageError(`${file}: ${reason.message}`) : reason
  }
}

function documentIn(file: string, said: string): object {
  try {
    const document: unknown = JSON.parse(said)
    if (typeof document === 'object' && document !== null) return document
  } catch {
    // As what is no document.
  }
  throw new UsageError(
    `${file} is no .proto and no JSON of OpenAPI or OpenRPC; YAML has to be JSON first, other services are asked at their address`,
  )
}

async function ofProto(file: string, said: string, service: string | undefined): Promise<Found> {
  const { protoContract } = await import('../protocols/grpc.js')
  const imports: Record<string, string> = {}
  addImports(said, dirname(file), imports)
  const options = { ...(service !== undefined && { service }), ...(Object.keys(imports).length > 0 && { imports }) }
  try {
    const contract = await protoContract(said, options)
    return {
      contract,
      origin: holding(file, said, ['protoContract', 'talkwire/protocols/grpc'], `protoContract(description, ${JSON.stringify(options)})`),
    }
  } catch (reason) {
    throw reason instanceof TypeError ? new UsageError(`${file}: ${reason.message}`) : reason
  }
}

/** Files beside it that it imports, and those that they do; what is not there is left to whoever reads the .proto. */
function addImports(said: string, folder: string, imports: Record<string, string>): void {
  for (const [, path] of said.matchAll(/^\s*import\s+(?:public\s+|weak\s+)?"([^"]+)"\s*;/gm)) {
    const file = join(folder, path!)
    if (Object.hasOwn(imports, path!) || !existsSync(file)) continue
    imports[path!] = readFileSync(file, 'utf8')
    addImports(imports[path!]!, folder, imports)
  }
}

/** A module that holds the description itself. */
const holding = (from: string, said: string, reader: readonly [string, string], make: string): Origin => ({
  from,
  imports: [reader],
  make: (type, value) => `const description = ${JSON.stringify(said).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')}

export const ${value} = (await ${make}) as unknown as ${type}`,
})
