/** One input as JSON-RPC's params, and back; service.ts adds parameters by position. */

/** By name it is the object itself, by position its only element. */
export function asInput(params: unknown): unknown {
  if (!Array.isArray(params)) return params
  return params.length <= 1 ? params[0] : params
}

export function asParams(input: unknown): unknown {
  if (input === undefined) return undefined
  return isPlain(input) ? input : [input]
}

export const isPlain = (value: unknown): value is Record<string, unknown> => {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value) as unknown
  return prototype === Object.prototype || prototype === null
}
