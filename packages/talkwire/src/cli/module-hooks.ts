/** Node's module hooks, in a thread of Node's own: see modules.ts. */
import { readFile } from 'node:fs/promises'
import { createRequire, type InitializeHook, type LoadHook, type ResolveHook } from 'node:module'
import { fileURLToPath } from 'node:url'

interface Data {
  /** The package that takes types out; undefined where Node does it itself. */
  readonly amaro: string | undefined
  readonly talkwire: string
}

type Transform = (source: string, options: { mode: 'strip-only'; filename: string }) => { code: string }

let data: Data
let transform: Transform | undefined

export const initialize: InitializeHook<Data> = (given) => {
  data = given
  if (data.amaro !== undefined)
    ({ transformSync: transform } = createRequire(import.meta.url)(fileURLToPath(data.amaro)) as { transformSync: Transform })
}

/** What TypeScript writes as `./x.js` may be `./x.ts`. `talkwire` is this one: `context()` of another copy would know nothing of our calls. */
export const resolve: ResolveHook = async (specifier, context, next) => {
  if (specifier === 'talkwire') return { url: data.talkwire, format: 'module', shortCircuit: true }
  try {
    return await next(specifier, context)
  } catch (reason) {
    const script = /^(\.{1,2}\/.*|file:.*)\.([mc]?)js$/.exec(specifier)
    if (script) {
      try {
        return await next(`${script[1]}.${script[2]}ts`, context)
      } catch {
        throw reason
      }
    }
    throw reason
  }
}

export const load: LoadHook = async (url, context, next) => {
  const kind = /^file:.*\.([mc]?)ts$/.exec(url)?.[1]
  if (kind === undefined || !transform) return next(url, context)
  const path = fileURLToPath(url)
  const code = withoutTypes(await readFile(path, 'utf8'), path, transform)
  return { format: kind === 'c' ? 'commonjs' : 'module', source: `${code}\n//# sourceURL=${url}`, shortCircuit: true }
}

/** Throws SyntaxError, also for what leaves more than types behind: enums, namespaces, parameter properties. */
function withoutTypes(source: string, filename: string, transformSync: Transform): string {
  try {
    return transformSync(source, { mode: 'strip-only', filename }).code
  } catch (reason) {
    const { message = String(reason), startLine } = reason as { message?: string; startLine?: number }
    throw new SyntaxError(`${filename}${startLine === undefined ? '' : `:${startLine}`}: ${message}`, { cause: reason })
  }
}
