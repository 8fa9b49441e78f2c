/** Functions of the main entry that few programs call, and whose modules are loaded when they do: an import costs half a millisecond a module. */
import type { Entry } from './discovery/names.js'

/** As in contract/json-schema.ts. */
export const jsonSchema: typeof import('./contract/json-schema.js').jsonSchema = async (...args) =>
  (await import('./contract/json-schema.js')).jsonSchema(...args)

/** As in contract/hash.ts. */
export const contractHash: typeof import('./contract/hash.js').contractHash = async (...args) =>
  (await import('./contract/hash.js')).contractHash(...args)

/** As in contract/from-openapi.ts. */
export const fromOpenApi: typeof import('./contract/from-openapi.js').fromOpenApi = async (...args) =>
  (await import('./contract/from-openapi.js')).fromOpenApi(...args)

/** As in contract/from-openrpc.ts. */
export const fromOpenRpc: typeof import('./contract/from-openrpc.js').fromOpenRpc = async (...args) =>
  (await import('./contract/from-openrpc.js')).fromOpenRpc(...args)

/** As in contract/from-json-schema.ts. */
export const fromJsonSchema: typeof import('./contract/from-json-schema.js').fromJsonSchema = async (...args) =>
  (await import('./contract/from-json-schema.js')).fromJsonSchema(...args)

/** As in bridge.ts. */
export const bridge: typeof import('./bridge.js').bridge = async (...args) => (await import('./bridge.js')).bridge(...args)

/** As in discover.ts. */
export const discover: typeof import('./discover.js').discover = async (...args) => (await import('./discover.js')).discover(...args)

/** As in discover.ts. */
export const speaksForeign: typeof import('./discover.js').speaksForeign = async (...args) =>
  (await import('./discover.js')).speaksForeign(...args)

/** As in contract/compare.ts. */
export const compareContracts = async (
  ...args: Parameters<typeof import('./contract/compare.js').compareContracts>
): Promise<ReturnType<typeof import('./contract/compare.js').compareContracts>> =>
  (await import('./contract/compare.js')).compareContracts(...args)

/** As in contract/openrpc.ts. */
export const openRpc = async (
  ...args: Parameters<typeof import('./contract/openrpc.js').openRpc>
): Promise<ReturnType<typeof import('./contract/openrpc.js').openRpc>> => (await import('./contract/openrpc.js')).openRpc(...args)

/** As in discovery/names.ts. */
export const find = async (name: string): Promise<ReturnType<typeof import('./discovery/names.js').find>> =>
  (await import('./discovery/names.js')).find(name)

/** As in discovery/names.ts. */
export const list = async (): Promise<Entry[]> => (await import('./discovery/names.js')).list()
