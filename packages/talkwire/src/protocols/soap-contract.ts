/** A contract of what a foreign WSDL says. Sans I/O. */
import { rpc, type Contract, type Members, type Rpc } from '../contract/contract.js'
import { foreignContract } from '../contract/foreign.js'
import { fromJsonSchema } from '../contract/from-json-schema.js'
import type { JsonSchema, Subschema } from '../contract/schema-walk.js'
import type { ForeignService } from './soap-foreign.js'
import type { Field, Message, Operation, Scalar, Structure } from './soap-schema.js'

/** Rejects with MISSING_PACKAGE. */
export async function contractOfWsdl({ name, operations, leftOut }: ForeignService): Promise<Contract> {
  const members: Members = {}
  for (const operation of operations.values()) {
    if (operation.name === '__proto__') continue
    const { request, answer } = operation
    const required = [...request.structure.fields.values()].some((field) => !field.optional && !field.list)
    members[operation.name] = rpc({
      ...(request.structure.fields.size > 0 && { input: await fromJsonSchema(schemaOf(request), { optional: !required }) }),
      errors: await errorsOf(operation),
      ...(answer.structure.fields.size > 0 && { output: await fromJsonSchema(schemaOf(answer), { optional: isOptional(answer) }) }),
    }) as Rpc
  }
  return foreignContract(name, 0, members, leftOut)
}

async function errorsOf({ errors }: Operation): Promise<Rpc['errors']> {
  const schemas: Record<string, Rpc['errors'][string]> = {}
  for (const [name, message] of errors) schemas[name] = await fromJsonSchema(schemaOf(message))
  return schemas
}

const isOptional = ({ structure, bare }: Message): boolean => bare !== undefined && structure.fields.get(bare)?.optional === true

function schemaOf({ structure, bare }: Message): JsonSchema {
  const names = new Map<Structure, string>()
  const $defs: Record<string, Subschema> = {}
  const refer = (of: Structure): Subschema => {
    const known = names.get(of)
    if (known !== undefined) return { $ref: `#/$defs/${known}` }
    const name = `${of.name.replaceAll(/[^\w.-]/g, '_')}_${names.size}`
    names.set(of, name)
    $defs[name] = true
    $defs[name] = object(of)
    return { $ref: `#/$defs/${name}` }
  }
  const fieldSchema = ({ of, list, nullable }: Field): Subschema => {
    const one = of.kind === 'scalar' ? (scalars[of.type] ?? {}) : refer(of)
    const orNull: Subschema = nullable ? { anyOf: [one, { type: 'null' }] } : one
    return list ? { type: 'array', items: orNull } : orNull
  }
  const object = ({ fields }: Structure): JsonSchema => ({
    type: 'object',
    properties: Object.fromEntries([...fields.values()].map((field) => [field.name, fieldSchema(field)])),
    required: [...fields.values()].filter(({ optional, list }) => !optional && !list).map(({ name }) => name),
    additionalProperties: false,
  })
  const own = bare === undefined ? object(structure) : fieldSchema(structure.fields.get(bare)!)
  return { ...(own as JsonSchema), ...(names.size > 0 && { $defs }) }
}

const scalars: Readonly<Record<Scalar['type'], JsonSchema>> = {
  string: { type: 'string' },
  double: { type: 'number' },
  long: { type: 'integer' },
  integer: { 'x-talkwire': 'bigint' },
  boolean: { type: 'boolean' },
  base64Binary: { 'x-talkwire': 'array', 'x-dtype': 'u1' },
  dateTime: { 'x-talkwire': 'date' },
}
