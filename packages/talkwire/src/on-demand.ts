/** Functions of the main entry that few programs call, and whose modules are loaded when they do: an import costs half a millisecond a module. */

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
