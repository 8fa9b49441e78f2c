/** The documents that a client sends, one for each operation of its contract, and what they are answered with. Sans I/O. */
import type { Operation, Shape } from './operations.js'

export interface Reply {
  readonly data?: unknown
  readonly errors?: readonly unknown[]
}

/** As introspection tells it. */
export interface TypeRef {
  readonly kind: string
  readonly name: string | null
  readonly ofType?: TypeRef | null
}
/** Names of fields, and of each the arguments with their types as written in a document. */
export type RootFields = ReadonlyMap<string, ReadonlyMap<string, string>>
export type Roots = Readonly<Record<Operation['root'], RootFields>>

const TYPE = 'kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }'
const FIELDS = `{ fields { name args { name defaultValue type { ${TYPE} } } } }`
/** Which fields there are, and which types their arguments have: a foreign server has its own names for them. */
export const ROOTS = `query Roots { __schema { queryType ${FIELDS} mutationType ${FIELDS} subscriptionType ${FIELDS} } }`

/** Of the answer to `ROOTS`; undefined: it is none. */
export function rootsIn(data: unknown): Roots | undefined {
  const schema = (data as { __schema?: Record<string, unknown> } | null | undefined)?.__schema
  if (typeof schema !== 'object' || schema === null) return undefined
  return {
    Query: fieldsIn(schema['queryType']),
    Mutation: fieldsIn(schema['mutationType']),
    Subscription: fieldsIn(schema['subscriptionType']),
  }
}

function fieldsIn(root: unknown): RootFields {
  const { fields } = (root ?? {}) as {
    fields?: readonly { name: string; args?: readonly { name: string; type: TypeRef; defaultValue?: string | null }[] }[]
  }
  return new Map(
    (Array.isArray(fields) ? fields : []).map(({ name, args }) => [
      name,
      new Map((Array.isArray(args) ? args : []).map((each) => [each.name, argumentText(each)])),
    ]),
  )
}

/** What has a default may be left out, also where it may not be null. */
const argumentText = ({ type, defaultValue }: { type: TypeRef; defaultValue?: string | null }): string =>
  typeText((defaultValue ?? null) !== null && type.kind === 'NON_NULL' && type.ofType ? type.ofType : type)

function typeText({ kind, name, ofType }: TypeRef): string {
  if (kind === 'NON_NULL' && ofType) return `${typeText(ofType)}!`
  return kind === 'LIST' && ofType ? `[${typeText(ofType)}]` : (name ?? 'String')
}

/** `types`: of the field's arguments, where the server has told them. */
export function documentOf({ root, field, arguments: fields, output }: Operation, types: ReadonlyMap<string, string> | undefined): string {
  const known = fields.filter(({ name }) => !types || types.has(name))
  const variables = known.map(({ name, shape, optional }) => `$${name}: ${types?.get(name) ?? shapeText(shape, optional)}`)
  const args = known.map(({ name }) => `${name}: $${name}`)
  const list = (items: readonly string[]): string => (items.length > 0 ? `(${items.join(', ')})` : '')
  return `${root.toLowerCase()} ${field}${list(variables)} { ${field}${list(args)}${output ? selection(output.shape) : ''} }`
}

function shapeText(shape: Shape, optional: boolean): string {
  const name = shape.kind === 'scalar' ? shape.type : shape.kind === 'list' ? `[${shapeText(shape.item, false)}]` : shape.name
  return optional || shape.nullable ? name : `${name}!`
}

function selection(shape: Shape): string {
  if (shape.kind === 'list') return selection(shape.item)
  return shape.kind === 'object' ? ` { ${shape.fields.map(({ name, shape: inner }) => `${name}${selection(inner)}`).join(' ')} }` : ''
}
