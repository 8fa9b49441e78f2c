/** The answer to `rpc.discover`: an OpenRPC document (spec.open-rpc.org). What OpenRPC has no word for stands under `x-talkwire`. */
import type { ContractDescription, JsonSchema, MethodDescription, ValueDescription } from './json-schema.js'
import { placer, type Placer } from './components.js'
import { isObject, isSubschema, type Subschema } from './schema-walk.js'

const OPENRPC_VERSION = '1.3.2'
/** Every declared error has this code: spec/wire.md § 6. */
const DECLARED_ERROR = -32010

/** A service without a contract: its functions, each with its parameters' names, or how many there are. */
export interface FunctionsDescription {
  readonly name: string
  readonly functions: readonly { readonly name: string; readonly parameters: number | readonly string[]; readonly streams?: boolean }[]
}

export interface OpenRpcOptions {
  /** `contractHash` of the contract. */
  readonly hash?: string
  /** Where the service can be reached. */
  readonly addresses?: readonly string[]
}

export interface OpenRpcDocument {
  readonly openrpc: string
  readonly info: { readonly title: string; readonly version: string }
  readonly servers?: readonly { readonly name: string; readonly url: string }[]
  readonly methods: readonly OpenRpcMethod[]
  readonly components?: { readonly schemas: Readonly<Record<string, Subschema>> }
  readonly 'x-talkwire': {
    readonly wire: 1
    /** null: the service has no contract. */
    readonly contract: string | null
    readonly hash?: string
    /** Payload of each event; `rpc.on` begins the delivery. */
    readonly events: Readonly<Record<string, { readonly payload: Subschema }>>
  }
}

export interface OpenRpcMethod {
  readonly name: string
  readonly paramStructure: 'by-name' | 'by-position' | 'either'
  readonly params: readonly OpenRpcContent[]
  /** Absent: oneway, or nothing is known of it. */
  readonly result?: OpenRpcContent
  readonly errors?: readonly { readonly code: number; readonly message: string; readonly data: unknown }[]
  /** Absent: the service has no contract. */
  readonly 'x-talkwire'?: {
    readonly input: OpenRpcValue | null
    readonly output: OpenRpcValue | null
    readonly errors: Readonly<Record<string, Subschema>>
    readonly idempotent: boolean
    readonly oneway: boolean
    readonly parameters?: readonly string[]
  }
  /** Of a function without a contract: it gives a stream. */
  readonly 'x-stream'?: true
}

/** One value, or the elements of a stream: they travel as `$/input` and `$/item`. */
export interface OpenRpcValue {
  readonly stream: boolean
  readonly optional: boolean
  readonly schema: Subschema
}

export interface OpenRpcContent {
  readonly name: string
  readonly required: boolean
  readonly schema: Subschema
}

/** Describes a service for clients that know OpenRPC, and fully for those that know Talkwire. */
export function openRpc(service: ContractDescription | FunctionsDescription, options: OpenRpcOptions = {}): OpenRpcDocument {
  const { hash, addresses } = options
  const place = placer()
  const hasContract = 'methods' in service
  const methods = hasContract
    ? Object.entries(service.methods).map(([name, method]) => contractMethod(name, method, place))
    : service.functions.map(plainFunction)
  const events = hasContract
    ? Object.entries(service.events).map(([name, { payload }]) => [name, { payload: place.schema(payload, `${name}.payload`) }] as const)
    : []
  return {
    openrpc: OPENRPC_VERSION,
    info: { title: service.name, version: hasContract ? String(service.version) : '0' },
    ...(addresses && { servers: addresses.map((url) => ({ name: service.name, url })) }),
    methods,
    ...(Object.keys(place.schemas).length > 0 && { components: { schemas: place.schemas } }),
    'x-talkwire': {
      wire: 1,
      contract: hasContract ? service.id : null,
      ...(hash !== undefined && { hash }),
      events: Object.fromEntries(events),
    },
  }
}

/** A function's `length` does not count optional parameters reliably, so none is called required. */
function plainFunction({ name, parameters, streams }: FunctionsDescription['functions'][number]): OpenRpcMethod {
  const names = typeof parameters === 'number' ? Array.from({ length: parameters }, (_, index) => `arg${index + 1}`) : parameters
  return {
    name,
    paramStructure: 'by-position',
    params: names.map((one) => ({ name: one, required: false, schema: true })),
    result: { name: 'result', required: false, schema: true },
    ...(streams && { 'x-stream': true as const }),
  }
}

function contractMethod(name: string, method: MethodDescription, place: Placer): OpenRpcMethod {
  const input = placeValue(method.input, `${name}.input`, place)
  const output = placeValue(method.output, `${name}.output`, place)
  const errors = Object.fromEntries(
    Object.entries(method.errors).map(([error, schema]) => [error, place.schema(schema, `${name}.errors.${error}`)]),
  )
  return {
    name,
    ...inPosition(describeParams(input, place), method.parameters),
    ...(!method.oneway && { result: describeResult(output) }),
    ...(Object.keys(errors).length > 0 && { errors: [describeErrors(errors)] }),
    'x-talkwire': {
      input,
      output,
      errors,
      idempotent: method.idempotent,
      oneway: method.oneway,
      ...(method.parameters && { parameters: method.parameters }),
    },
  }
}

const placeValue = (value: ValueDescription | null, name: string, place: Placer): OpenRpcValue | null =>
  value && { stream: value.stream, optional: value.optional, schema: place.schema(value.schema, name) }

/** A stream's response carries null; its elements came before it. */
function describeResult(output: OpenRpcValue | null): OpenRpcContent {
  if (!output || output.stream) return { name: 'result', required: true, schema: { type: 'null' } }
  return { name: 'result', required: !output.optional, schema: output.schema }
}

/** OpenRPC wants each code once in a method, so all declared errors share one entry and `data.code` tells them apart. */
function describeErrors(errors: Readonly<Record<string, Subschema>>): { code: number; message: string; data: unknown } {
  const data = Object.entries(errors).map(([name, details]) => ({
    type: 'object',
    properties: { code: { const: name }, outcome: { const: 'ran' }, details },
    required: ['code', 'details'],
  }))
  return {
    code: DECLARED_ERROR,
    message: `declared error: ${Object.keys(errors).join(', ')}`,
    data: data.length === 1 ? data[0] : { oneOf: data },
  }
}

// ── params ─────────────────────────────────────────────────────────────────────────────────────────

type Params = Pick<OpenRpcMethod, 'paramStructure' | 'params'>

/** An input that is a plain object travels by name, everything else by position: spec/wire.md § 3.1. */
function describeParams(input: OpenRpcValue | null, place: Placer): Params {
  if (!input || input.stream) return { paramStructure: 'by-position', params: [] }
  const kinds = shapesOf(input.schema, place, 0)
  if (kinds.length > 0 && kinds.every(isObjectSchema)) return { paramStructure: 'by-name', params: namedParams(kinds, !input.optional) }
  const only = { name: 'input', required: !input.optional, schema: input.schema }
  return { paramStructure: kinds.some((kind) => isObjectSchema(kind) || mayBeAnything(kind)) ? 'either' : 'by-position', params: [only] }
}

/** Who takes parameters by position takes them by name, too. */
function inPosition({ paramStructure, params }: Params, names: readonly string[] | undefined): Params {
  if (!names) return { paramStructure, params }
  const all = names.map((name) => params.find((param) => param.name === name) ?? { name, required: false, schema: true })
  return { paramStructure: 'either', params: all }
}

const isObjectSchema = (schema: Subschema): schema is JsonSchema => isObject(schema) && schema['type'] === 'object'
const mayBeAnything = (schema: Subschema): boolean =>
  schema === true ||
  (isObject(schema) &&
    (schema['type'] === undefined || [schema['type']].flat().includes('object')) &&
    !('const' in schema) &&
    !('enum' in schema) &&
    (schema['x-talkwire'] === undefined || schema['x-talkwire'] === 'undescribed'))

/** What a value can look like at the top. */
function shapesOf(schema: Subschema, place: Placer, depth: number): Subschema[] {
  if (!isObject(schema) || depth > 16) return [schema]
  const target = typeof schema['$ref'] === 'string' ? place.resolve(schema['$ref']) : undefined
  if (target !== undefined) return shapesOf(target, place, depth + 1)
  const union = [schema['anyOf'], schema['oneOf']].find(Array.isArray)
  return union ? union.filter(isSubschema).flatMap((one) => shapesOf(one, place, depth + 1)) : [schema]
}

/** Required ones first, as OpenRPC wants it; required is what every shape requires. */
function namedParams(kinds: readonly JsonSchema[], inputRequired: boolean): OpenRpcContent[] {
  const names = [...new Set(kinds.flatMap((kind) => Object.keys(propertiesOf(kind))))]
  const params = names.map((name): OpenRpcContent => {
    const schemas = kinds.flatMap((kind) => (Object.hasOwn(propertiesOf(kind), name) ? [propertiesOf(kind)[name]!] : []))
    const required = inputRequired && kinds.every((kind) => Array.isArray(kind['required']) && kind['required'].includes(name))
    return { name, required, schema: schemas.length === 1 ? schemas[0]! : { anyOf: schemas } }
  })
  return [...params.filter((param) => param.required), ...params.filter((param) => !param.required)]
}

const propertiesOf = (schema: JsonSchema): Record<string, Subschema> =>
  isObject(schema['properties']) ? (schema['properties'] as Record<string, Subschema>) : {}
