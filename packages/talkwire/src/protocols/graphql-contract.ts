/** What a GraphQL schema tells of itself, as a contract: every field of its roots that can be asked for without knowing more. Sans I/O. */
import { rpc, stream, type Contract, type Members } from '../contract/contract.js'
import { foreignContract } from '../contract/foreign.js'
import { fromJsonSchema } from '../contract/from-json-schema.js'
import type { JsonSchema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'
import { CONTRACT } from './operations.js'
import type { TypeRef } from './graphql-text.js'

/** Objects in objects that an answer shows; graphs of types mostly have no end. */
const LEVELS = 4
/** Fields that one answer shows. */
const FIELDS = 300

const REF = 'kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }'
const FIELD = `name args { name defaultValue type { ${REF} } } type { ${REF} }`
export const TYPES = `query Types { __schema { queryType { name } mutationType { name } subscriptionType { name } types { kind name fields { ${FIELD} } inputFields { name defaultValue type { ${REF} } } enumValues { name } } } }`

interface Argument {
  readonly name: string
  readonly defaultValue?: string | null
  readonly type: TypeRef
}
interface FieldInfo {
  readonly name: string
  readonly args: readonly Argument[]
  readonly type: TypeRef
}
interface TypeInfo {
  readonly kind: string
  readonly name: string
  readonly fields: readonly FieldInfo[] | null
  readonly inputFields: readonly Argument[] | null
  readonly enumValues: readonly { readonly name: string }[] | null
}
interface SchemaInfo {
  readonly queryType: { readonly name: string } | null
  readonly mutationType: { readonly name: string } | null
  readonly subscriptionType: { readonly name: string } | null
  readonly types: readonly TypeInfo[]
}

/** `data`: of the answer to `TYPES`; `id`: of the contract, where a service of ours has told it. Rejects with UNSUPPORTED, MISSING_PACKAGE. */
export async function contractFrom(data: unknown, id = 'graphql/0'): Promise<Contract> {
  const schema = (data as { __schema?: SchemaInfo } | undefined)?.__schema
  if (!schema || !Array.isArray(schema.types))
    throw new TalkwireError('UNSUPPORTED', 'the server does not tell its schema: introspection is off')
  const types = new Types(schema.types)
  const members: Members = Object.create(null) as Members
  const leftOut: Record<string, string> = {}
  const roots = [schema.queryType, schema.mutationType, schema.subscriptionType]
  for (const [index, root] of roots.entries()) {
    for (const field of types.fieldsOf(root?.name)) {
      if (field.name === CONTRACT) continue
      const output = types.output(field.type)
      if (output === undefined) leftOut[field.name] = 'its answer is a union, or an object without a field that can be asked for'
      else if (field.name in members) leftOut[`${root!.name}.${field.name}`] = `there is a field of that name in another root`
      else members[field.name] = await memberOf(field, types, output, index)
    }
  }
  const slash = id.lastIndexOf('/')
  return foreignContract(id.slice(0, slash), Number(id.slice(slash + 1)), members, leftOut)
}

async function memberOf({ args }: FieldInfo, types: Types, output: JsonSchema, root: number): Promise<Members[string]> {
  const input = args.length > 0 ? await fromJsonSchema(types.argumentsSchema(args)) : undefined
  const result = await fromJsonSchema(output)
  return rpc({ ...(input && { input }), output: root === 2 ? stream(result) : result, idempotent: root === 0 })
}

const NULL = { type: 'null' }
const SCALARS: Readonly<Record<string, JsonSchema>> = {
  String: { type: 'string' },
  ID: { type: 'string' },
  Boolean: { type: 'boolean' },
  Float: { type: 'number' },
  Int: { type: 'integer', minimum: -(2 ** 31), maximum: 2 ** 31 - 1 },
  SafeInt: { type: 'integer' },
}

class Types {
  private readonly byName: ReadonlyMap<string, TypeInfo>
  private left = FIELDS

  constructor(types: readonly TypeInfo[]) {
    this.byName = new Map(types.map((type) => [type.name, type]))
  }

  fieldsOf(name: string | undefined): readonly FieldInfo[] {
    return (name === undefined ? undefined : this.byName.get(name)?.fields) ?? []
  }

  argumentsSchema(args: readonly Argument[]): JsonSchema {
    const $defs: Record<string, JsonSchema> = {}
    return { ...this.inputObject(args, $defs), ...(Object.keys($defs).length > 0 && { $defs }) }
  }

  private inputObject(fields: readonly Argument[], $defs: Record<string, JsonSchema>): JsonSchema {
    const required = fields.filter(({ type, defaultValue }) => type.kind === 'NON_NULL' && (defaultValue ?? null) === null)
    return {
      type: 'object',
      properties: Object.fromEntries(fields.map(({ name, type }) => [name, this.input(type, $defs)])),
      required: required.map(({ name }) => name),
      additionalProperties: false,
    }
  }

  private input(type: TypeRef, $defs: Record<string, JsonSchema>): JsonSchema {
    if (type.kind === 'NON_NULL') return this.inputPlain(type.ofType!, $defs)
    return orNull(this.inputPlain(type, $defs))
  }

  private inputPlain({ kind, name, ofType }: TypeRef, $defs: Record<string, JsonSchema>): JsonSchema {
    if (kind === 'LIST' && ofType) return { type: 'array', items: this.input(ofType, $defs) }
    if (kind !== 'INPUT_OBJECT' || name === null) return this.leaf(kind, name)
    if (!Object.hasOwn($defs, name)) {
      $defs[name] = {}
      $defs[name] = this.inputObject(this.byName.get(name)?.inputFields ?? [], $defs)
    }
    return { $ref: `#/$defs/${name}` }
  }

  /** Undefined: nothing of it can be asked for. */
  output(type: TypeRef): JsonSchema | undefined {
    this.left = FIELDS
    return this.outputOf(type, [])
  }

  private outputOf(type: TypeRef, above: readonly string[]): JsonSchema | undefined {
    if (type.kind === 'NON_NULL') return this.outputPlain(type.ofType!, above)
    const plain = this.outputPlain(type, above)
    return plain && orNull(plain)
  }

  private outputPlain({ kind, name, ofType }: TypeRef, above: readonly string[]): JsonSchema | undefined {
    if (kind === 'LIST' && ofType) {
      const items = this.outputOf(ofType, above)
      return items && { type: 'array', items }
    }
    if (kind === 'UNION' || name === null) return undefined
    return kind === 'OBJECT' || kind === 'INTERFACE' ? this.object(name, above) : this.leaf(kind, name)
  }

  private object(name: string, above: readonly string[]): JsonSchema | undefined {
    if (above.includes(name) || above.length >= LEVELS) return undefined
    const properties: Record<string, JsonSchema> = {}
    for (const field of this.fieldsOf(name)) {
      // What has to be given an argument cannot be asked for along the way.
      if (field.args.some(({ type, defaultValue }) => type.kind === 'NON_NULL' && (defaultValue ?? null) === null)) continue
      if (--this.left < 0) break
      const schema = this.outputOf(field.type, [...above, name])
      if (schema) properties[field.name] = schema
    }
    const names = Object.keys(properties)
    return names.length > 0 ? { type: 'object', title: name, properties, required: names, additionalProperties: false } : undefined
  }

  private leaf(kind: string, name: string | null): JsonSchema {
    if (kind === 'ENUM') return { type: 'string', enum: (this.byName.get(name!)?.enumValues ?? []).map((value) => value.name) }
    return name !== null && Object.hasOwn(SCALARS, name) ? SCALARS[name]! : {}
  }
}

const orNull = (schema: JsonSchema): JsonSchema => (Object.keys(schema).length === 0 ? schema : { anyOf: [schema, NULL] })
