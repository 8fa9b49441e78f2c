/** A user's module, and what of it is served: docs/cli.md, "What is served". */
import { existsSync, readdirSync } from 'node:fs'
import { createRequire, register } from 'node:module'
import { basename, dirname, extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isContract, TalkwireError, type Contract } from '../index.js'
import { suggestion } from '../suggest.js'
import { Failure, exitCode, UsageError } from './output.js'

export interface Emitter {
  emit(event: string, payload?: unknown): void
}

export type Served =
  | { readonly contract: Contract; readonly handlers: object | ((service: Emitter) => object) }
  | { readonly functions: object }

const TYPESCRIPT = new Set(['.ts', '.mts', '.cts'])
const KNOWN = new Set([...TYPESCRIPT, '.js', '.mjs', '.cjs'])

/** Imports a file. Throws UsageError when there is none, MISSING_PACKAGE, and what the module throws. */
export async function importModule(file: string): Promise<Readonly<Record<string, unknown>>> {
  const path = resolve(file)
  if (!existsSync(path)) throw new UsageError(`there is no file ${file} in ${process.cwd()}${suggestion(basename(path), siblings(path))}`)
  if (!KNOWN.has(extname(path))) throw new UsageError(`${file} cannot be served: a module ends with ${[...KNOWN].join(', ')} or .py`)
  installHooks(path)
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>
  } catch (reason) {
    if (reason instanceof TalkwireError) throw reason
    throw new Failure(
      exitCode.failed,
      new Error(`cannot load ${file}: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}`, { cause: reason }),
    )
  }
}

/** What could be served from the same folder. */
function siblings(path: string): string[] {
  try {
    return readdirSync(dirname(path)).filter((file) => KNOWN.has(extname(file)) || extname(file) === '.py')
  } catch {
    return []
  }
}

/** For modules: TypeScript where Node has none of its own, `./x.js` that is `./x.ts`, and this very `talkwire` for all who import it. */
function installHooks(path: string): void {
  const native = Boolean((process.features as { typescript?: unknown }).typescript)
  const amaro = native ? undefined : findAmaro(path)
  if (TYPESCRIPT.has(extname(path)) && !native && amaro === undefined) {
    throw new TalkwireError(
      'MISSING_PACKAGE',
      `Node ${process.versions.node} runs no TypeScript by itself: npm install amaro, or take Node 22.18 or later, or serve the compiled .js file`,
    )
  }
  register('./module-hooks.js', import.meta.url, { data: { amaro, talkwire: new URL('../index.js', import.meta.url).href } })
}

/** Beside us, or beside the module. */
function findAmaro(path: string): string | undefined {
  for (const from of [import.meta.url, pathToFileURL(path)]) {
    try {
      return pathToFileURL(createRequire(from).resolve('amaro')).href
    } catch {
      // The next place.
    }
  }
  return undefined
}

// ── what is served ─────────────────────────────────────────────────────────────────────────────────

/** Throws UsageError when it is not clear. */
export function choose(module: Readonly<Record<string, unknown>>, file: string, wanted: string | undefined): Served {
  const exported = exportsOf(module)
  if (wanted !== undefined) return chosen(exported, file, wanted)
  const contracts = Object.keys(exported).filter((name) => isContract(exported[name]))
  if (contracts.length === 1) return withHandlers(exported, file, contracts[0]!)
  if (contracts.length > 1) throw new UsageError(`${file} exports several contracts: ${contracts.join(', ')}; choose with --export`)
  const functions = Object.entries(exported).filter(([name, value]) => name !== 'default' && isFunction(value))
  if (functions.length > 0) return { functions: Object.fromEntries(functions) }
  if (isServable(exported['default'])) return { functions: exported['default'] }
  const objects = Object.entries(exported).filter(([, value]) => isServable(value))
  if (objects.length > 1)
    throw new UsageError(
      `${file} exports several objects with functions: ${objects.map(([name]) => name).join(', ')}; choose with --export`,
    )
  if (objects.length === 0)
    throw new UsageError(`${file} exports no function and no contract; write for example export const add = (a, b) => a + b`)
  return { functions: objects[0]![1] as object }
}

/** The contract that a module exports. Throws UsageError when there is none, or several and none is `wanted`. */
export function contractIn(module: Readonly<Record<string, unknown>>, file: string, wanted: string | undefined): Contract {
  const exported = exportsOf(module)
  const names = Object.keys(exported).filter((name) => isContract(exported[name]))
  if (wanted !== undefined && !names.includes(wanted))
    throw new UsageError(`${file} exports no contract "${wanted}"; it exports ${names.join(', ') || 'none'}`)
  if (names.length === 0) throw new UsageError(`${file} exports no contract; write export const bank = contract('bank/1', { … })`)
  // A default export may be one of the others by another name.
  const contracts = new Set(names.map((name) => exported[name]))
  if (wanted === undefined && contracts.size > 1)
    throw new UsageError(`${file} exports several contracts: ${names.join(', ')}; choose with --export`)
  return exported[wanted ?? names[0]!] as Contract
}

/** Whether a word is a file of JavaScript or TypeScript, and not a name or an address. */
export const isModule = (word: string): boolean => !/^[a-z][a-z0-9+]*:/.test(word) && KNOWN.has(extname(word))

/** Of a CommonJS module the exports themselves. */
function exportsOf(module: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { default: own } = module
  return 'module.exports' in module && typeof own === 'object' && own !== null ? (own as Record<string, unknown>) : module
}

function chosen(exported: Readonly<Record<string, unknown>>, file: string, name: string): Served {
  const value = Object.hasOwn(exported, name) ? exported[name] : undefined
  if (value === undefined) throw new UsageError(`${file} exports no "${name}"; it exports ${Object.keys(exported).join(', ') || 'nothing'}`)
  if (isContract(value)) return withHandlers(exported, file, name)
  if (isFunction(value)) return { functions: { [name]: value } }
  if (isServable(value)) return { functions: value }
  throw new UsageError(`the export "${name}" of ${file} is no contract, function or object with functions; choose another with --export`)
}

function withHandlers(exported: Readonly<Record<string, unknown>>, file: string, name: string): Served {
  const handlers = exported['handlers'] ?? (name === 'default' ? undefined : exported['default'])
  if (typeof handlers !== 'object' && !isFunction(handlers))
    throw new UsageError(
      `${file} exports the contract "${name}" and nothing that answers for it; export const handlers = { … }, or make them the default export`,
    )
  return { contract: exported[name] as Contract, handlers: handlers as object }
}

const isFunction = (value: unknown): value is (...args: any[]) => any =>
  typeof value === 'function' && !/^class\b/.test(Function.prototype.toString.call(value))

/** Has functions, of its own or of its class. */
function isServable(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || isContract(value)) return false
  for (let at: object | null = value; at && at !== Object.prototype; at = Object.getPrototypeOf(at) as object | null) {
    for (const name of Object.getOwnPropertyNames(at))
      if (name !== 'constructor' && typeof Object.getOwnPropertyDescriptor(at, name)?.value === 'function') return true
  }
  return false
}
