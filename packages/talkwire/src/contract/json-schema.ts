/** A contract as plain data that any language can read: JSON Schema (draft 2020-12) for everything that travels. */
import type { Contract, Rpc, Stream } from './contract.js'
import { isStream } from './contract.js'
import { takesUndefined, toJsonSchema } from './schema-libraries.js'
import { eachSubschema, isObject, type JsonSchema } from './schema-walk.js'
import type { StandardSchema } from './standard-schema.js'

export type { JsonSchema } from './schema-walk.js'

type Schema = StandardSchema<any, any>

/** Survives JSON: it can be stored beside a release and compared with the next (`compareContracts`). */
export interface ContractDescription {
  readonly id: string
  readonly name: string
  readonly version: number
  readonly methods: Readonly<Record<string, MethodDescription>>
  readonly events: Readonly<Record<string, EventDescription>>
  /** What the descriptions leave open, and why; there they say "anything". */
  readonly undescribed: readonly Undescribed[]
}

export interface MethodDescription {
  /** null: none. */
  readonly input: ValueDescription | null
  readonly output: ValueDescription | null
  /** Details of each declared error. */
  readonly errors: Readonly<Record<string, JsonSchema>>
  readonly idempotent: boolean
  readonly oneway: boolean
  /** Names of the input's members in the order in which they may go by position. */
  readonly parameters?: readonly string[]
}

export interface ValueDescription {
  /** One value, or one element of the stream. Types beyond JSON carry `x-talkwire`: see schema-libraries.ts. */
  readonly schema: JsonSchema
  readonly stream: boolean
  /** The value may be left out. */
  readonly optional: boolean
}

export interface EventDescription {
  readonly payload: JsonSchema
}

export interface Undescribed {
  /** `deposit.input/properties/amount`. */
  readonly path: string
  readonly reason: string
}

/**
 * Describes what travels, which is what a schema takes, before its transforms. Refinements that a library does not
 * tell leave no trace. Never rejects: what cannot be described is listed in `undescribed`.
 */
export async function jsonSchema(contract: Contract): Promise<ContractDescription> {
  const methods: Record<string, MethodDescription> = {}
  const events: Record<string, EventDescription> = {}
  for (const [name, member] of Object.entries(contract.members)) {
    if (member.kind === 'rpc') methods[name] = await describeMethod(member)
    else events[name] = { payload: await toJsonSchema(member.payload) }
  }
  return { id: contract.id, name: contract.name, version: contract.version, methods, events, undescribed: listUndescribed(methods, events) }
}

export async function describeMethod(method: Rpc): Promise<MethodDescription> {
  const errors: Record<string, JsonSchema> = {}
  for (const [name, schema] of Object.entries(method.errors)) errors[name] = await toJsonSchema(schema)
  return {
    input: await describeValue(method.input),
    output: await describeValue(method.output),
    errors,
    idempotent: method.idempotent,
    oneway: method.oneway,
    ...(method.parameters && { parameters: method.parameters }),
  }
}

async function describeValue(of: Schema | Stream | undefined): Promise<ValueDescription | null> {
  if (of === undefined) return null
  if (isStream(of)) return { schema: await toJsonSchema(of.item), stream: true, optional: false }
  const schema = await toJsonSchema(of)
  return { schema, stream: false, optional: takesUndefined(of, schema) }
}

function listUndescribed(methods: Record<string, MethodDescription>, events: Record<string, EventDescription>): Undescribed[] {
  const found: Undescribed[] = []
  for (const [name, method] of Object.entries(methods)) {
    if (method.input) collect(method.input.schema, `${name}.input`, found)
    if (method.output) collect(method.output.schema, `${name}.output`, found)
    for (const [error, schema] of Object.entries(method.errors)) collect(schema, `${name}.errors.${error}`, found)
  }
  for (const [name, { payload }] of Object.entries(events)) collect(payload, `${name}.payload`, found)
  return found
}

function collect(schema: JsonSchema, path: string, found: Undescribed[]): void {
  if (schema['x-talkwire'] === 'undescribed') found.push({ path, reason: String(schema['$comment']) })
  eachSubschema(schema, (inner, pointer) => {
    if (isObject(inner)) collect(inner, path + pointer, found)
  })
}
