/** A contract of what an XML-RPC service tells by `system.methodSignature` and `system.methodHelp`. Sans I/O. */
import { rpc, type Contract, type Members, type Rpc } from '../contract/contract.js'
import { foreignContract } from '../contract/foreign.js'
import { fromJsonSchema } from '../contract/from-json-schema.js'
import type { JsonSchema } from '../contract/schema-walk.js'

export interface XmlRpcMethod {
  readonly name: string
  /** As `system.methodSignature` gives it: lists of types, the result's first; anything else: not known. */
  readonly signature?: unknown
  readonly help?: unknown
}

const TYPES: Readonly<Record<string, JsonSchema>> = {
  int: { type: 'integer' },
  i4: { type: 'integer' },
  i8: { type: 'integer' },
  double: { type: 'number' },
  boolean: { type: 'boolean' },
  string: { type: 'string' },
  'dateTime.iso8601': { 'x-talkwire': 'date' },
  base64: { 'x-talkwire': 'array', 'x-dtype': 'u1' },
  struct: { type: 'object' },
  array: { type: 'array' },
  nil: { type: 'null' },
}
/** What is not known is a list of arguments, whatever they are. */
const ANY = 'arguments'

/** Rejects with MISSING_PACKAGE. */
export async function contractOfMethods(name: string, methods: readonly XmlRpcMethod[]): Promise<Contract> {
  const members: Members = {}
  for (const method of methods) if (method.name !== '__proto__') members[method.name] = await methodOf(method)
  return foreignContract(name, 0, members)
}

async function methodOf({ signature, help }: XmlRpcMethod): Promise<Rpc> {
  const described: JsonSchema = typeof help === 'string' && help !== '' ? { description: help.slice(0, 2000) } : {}
  const signatures = readSignatures(signature)
  if (!signatures) {
    const input = { type: 'object', properties: { [ANY]: { type: 'array' } }, additionalProperties: false, ...described }
    return rpc({
      input: await fromJsonSchema(input, { optional: true }),
      output: await fromJsonSchema(true, { optional: true }),
      parameters: [`...${ANY}`],
    }) as Rpc
  }
  const parameters = parametersOf(signatures)
  const names = parameters.map((_, at) => `arg${at + 1}`)
  const required = names.slice(0, Math.min(...signatures.map((each) => each.length)) - 1)
  const properties = Object.fromEntries(names.map((name, at) => [name, parameters[at]!]))
  const input = { type: 'object', properties, required, additionalProperties: false, ...described }
  const output = unionOf(signatures.map(([result]) => result!))
  return rpc({
    ...(names.length > 0 && { input: await fromJsonSchema(input, { optional: required.length === 0 }), parameters: names }),
    output: await fromJsonSchema(output, { optional: true }),
  }) as Rpc
}

/** Undefined: nothing can be relied on. */
function readSignatures(value: unknown): string[][] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined
  const fit = value.every((each) => Array.isArray(each) && each.length > 0 && each.every((type) => typeof type === 'string'))
  return fit ? (value as string[][]) : undefined
}

const parametersOf = (signatures: readonly string[][]): JsonSchema[] =>
  Array.from({ length: Math.max(...signatures.map((each) => each.length)) - 1 }, (_, at) =>
    unionOf(signatures.flatMap((each) => each[at + 1] ?? [])),
  )

function unionOf(types: readonly string[]): JsonSchema {
  const all = [...new Set(types)].map((type) => (Object.hasOwn(TYPES, type) ? TYPES[type]! : {}))
  return all.length === 1 ? all[0]! : { anyOf: all }
}
