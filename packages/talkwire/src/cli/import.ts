/** `talkwire import`: what others described, as a module with a contract and its types. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, extname, join, posix } from 'node:path'
import { discover, fromOpenApi, fromOpenRpc, TalkwireError, type Contract } from '../index.js'
import { text, type Command, type Values } from './command.js'
import { connectingOptions, readConnecting } from './connecting.js'
import { interruption } from './interruption.js'
import { clean, exitCode, note, print, UsageError } from './output.js'
import { moduleOf, type Origin } from './typescript.js'

export const importCommand: Command = {
  usage: 'import <address or file>',
  summary: 'write a TypeScript module of a contract that others described',
  help: `A file is a .proto, .thrift, .wsdl or .varlink, an .xml of D-Bus (introspection), or a .json with OpenAPI 3 or OpenRPC;
the module holds it, and needs no other.
An address is asked what it offers, and the module asks it again when it runs: its types are those of today.`,
  options: {
    out: { type: 'string', value: 'file', help: 'where to write it; default: stdout' },
    service: { type: 'string', value: 'name', help: 'of a .proto or .thrift with several services: which one' },
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

/** How a description becomes a contract, here and in the module. */
interface Reader {
  readonly name: string
  readonly module: string
  readonly options?: object
  readonly read: (said: string, options: object | undefined) => Promise<Contract>
}

async function ofFile(file: string, service: string | undefined): Promise<Found> {
  if (!existsSync(file)) throw new UsageError(`there is no file ${file} in ${process.cwd()}`)
  const said = readFileSync(file, 'utf8')
  const { name, module, options, read } = await readerFor(file, said, service)
  try {
    const contract = await read(said, options)
    const given = name.startsWith('fromOpen') ? 'JSON.parse(description)' : 'description'
    return { contract, origin: holding(file, said, [name, module], `${name}(${given}${options ? `, ${JSON.stringify(options)}` : ''})`) }
  } catch (reason) {
    throw reason instanceof TypeError || (reason instanceof TalkwireError && reason.code === 'INVALID_MESSAGE')
      ? new UsageError(`${file}: ${reason.message}`)
      : reason
  }
}

async function readerFor(file: string, said: string, service: string | undefined): Promise<Reader> {
  const kind = extname(file)
  if (kind === '.proto' || kind === '.thrift') {
    const isProto = kind === '.proto'
    const beside = isProto ? besides(said, file, PROTO_IMPORT) : includedBy(said, file)
    const options = { ...(service !== undefined && { service }), ...beside }
    const some = Object.keys(options).length > 0 && { options }
    if (!isProto)
      return {
        name: 'thriftContract',
        module: 'talkwire/protocols/thrift',
        ...some,
        read: (await import('../protocols/thrift.js')).thriftContract,
      }
    return { name: 'protoContract', module: 'talkwire/protocols/grpc', ...some, read: (await import('../protocols/grpc.js')).protoContract }
  }
  if (kind === '.varlink') {
    const { varlinkContract } = await import('../protocols/varlink.js')
    return { name: 'varlinkContract', module: 'talkwire/protocols/varlink', read: varlinkContract }
  }
  if (kind === '.wsdl' || (kind === '.xml' && /<(\w+:)?definitions\b/.test(said))) {
    const { wsdlContract } = await import('../protocols/soap.js')
    const options = besides(said, file, XML_IMPORT)
    return { name: 'wsdlContract', module: 'talkwire/protocols/soap', ...(options && { options }), read: wsdlContract }
  }
  if (kind === '.xml') {
    const { dbusContract } = await import('../protocols/dbus.js')
    return { name: 'dbusContract', module: 'talkwire/protocols/dbus', read: dbusContract }
  }
  const document = documentIn(file, said)
  const [name, from] = 'openrpc' in document ? (['fromOpenRpc', fromOpenRpc] as const) : (['fromOpenApi', fromOpenApi] as const)
  return { name, module: 'talkwire', read: () => from(document) }
}

function documentIn(file: string, said: string): object {
  const kind = extname(file)
  if (kind === '.yaml' || kind === '.yml')
    throw new UsageError(`YAML has to be JSON first: npx js-yaml ${file} > ${file.slice(0, -kind.length)}.json`)
  try {
    const document: unknown = JSON.parse(said)
    if (typeof document === 'object' && document !== null) return document
  } catch {
    // As what is no document.
  }
  throw new UsageError(
    `${file} is no .proto, .thrift, .wsdl, .varlink, no .xml of D-Bus, and no JSON of OpenAPI or OpenRPC; other services are asked at their address`,
  )
}

const PROTO_IMPORT = /^\s*import\s+(?:public\s+|weak\s+)?"([^"]+)"\s*;/gm
const XML_IMPORT = /\b(?:schemaLocation|location)\s*=\s*["']([^"']+)["']/g

/** Files beside it that it imports, and those that they do, by their names there; what is not there is left to whoever reads it. */
function besides(said: string, file: string, pattern: RegExp): { imports: Record<string, string> } | undefined {
  const imports: Record<string, string> = {}
  const add = (text: string): void => {
    for (const [, path] of text.matchAll(pattern)) {
      const beside = join(dirname(file), path!)
      if (Object.hasOwn(imports, path!) || !existsSync(beside)) continue
      imports[path!] = readFileSync(beside, 'utf8')
      add(imports[path!]!)
    }
  }
  add(said)
  return Object.keys(imports).length > 0 ? { imports } : undefined
}

const THRIFT_INCLUDE = /^\s*include\s+["']([^"']+)["']/gm

/** As `besides`; a path is from the folder of whoever includes it, or else of the first. */
function includedBy(said: string, file: string): { imports: Record<string, string> } | undefined {
  const imports: Record<string, string> = {}
  const root = dirname(file)
  const add = (text: string, folder: string): void => {
    for (const [, path] of text.matchAll(THRIFT_INCLUDE)) {
      const name = [posix.join(folder, path!), posix.normalize(path!)].find((each) => existsSync(join(root, each)))
      if (name === undefined || Object.hasOwn(imports, name)) continue
      imports[name] = readFileSync(join(root, name), 'utf8')
      add(imports[name], posix.dirname(name))
    }
  }
  add(said, '.')
  return Object.keys(imports).length > 0 ? { imports } : undefined
}

/** A module that holds the description itself. */
const holding = (from: string, said: string, reader: readonly [string, string], make: string): Origin => ({
  from,
  imports: [reader],
  make: (type, value) => `const description = ${JSON.stringify(said).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')}

export const ${value} = (await ${make}) as unknown as ${type}`,
})
