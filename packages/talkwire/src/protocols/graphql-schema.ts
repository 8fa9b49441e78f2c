/** The operations of a contract as an executable schema: what a field does, its context says. Sans I/O. */
import type {
  GraphQLFieldConfig,
  GraphQLFieldConfigArgumentMap,
  GraphQLInputType,
  GraphQLOutputType,
  GraphQLSchema,
  GraphQLSchemaConfig,
} from 'graphql'
import { checkJson, LOOKED_AT, toJson } from '../codecs/plain-json.js'
import type { Contract } from '../contract/contract.js'
import { CONTRACT, inputFrom, SCALARS, type Field, type Operation, type ScalarName, type Shape } from './operations.js'
import type { Library } from './graphql-reader.js'

/** What the fields of one request do. */
export interface FieldContext {
  /** The value, or a promise of it. Throws, or rejects, with TalkwireError. */
  call(operation: Operation, input: unknown): unknown
  /** Of a method that streams, or of an event. */
  open(operation: Operation, input: unknown): AsyncIterableIterator<Element> | Promise<AsyncIterableIterator<Element>>
}

/** One value of a stream, or why there are no more. */
export type Element = { readonly value: unknown } | { readonly error: Error }

type FieldConfig = GraphQLFieldConfig<any, FieldContext>

/** Of any type, what JSON says. */
/** What is written in the document itself nobody has looked at. */
const ANY = { description: 'Any JSON value.', write: anyToJson, read: (value: unknown) => checkJson(value, LOOKED_AT) }

function anyToJson(value: unknown): unknown {
  return typeof value === 'object' && value !== null
    ? (JSON.parse(toJson(value, LOOKED_AT)) as unknown)
    : typeof value === 'bigint'
      ? String(value)
      : value
}

export function schemaOf(library: Library, contract: Contract, operations: Iterable<Operation>): GraphQLSchema {
  const types = new Types(library)
  const roots = new Map<Operation['root'], Record<string, FieldConfig>>([['Query', {}]])
  for (const operation of operations) {
    const fields = roots.get(operation.root) ?? {}
    roots.set(operation.root, fields)
    fields[operation.field] = fieldOf(operation, types)
  }
  roots.get('Query')![CONTRACT] = {
    type: new library.GraphQLNonNull(library.GraphQLString),
    description: 'The contract that is served.',
    resolve: () => contract.id,
  }
  const root = (name: Operation['root']): InstanceType<Library['GraphQLObjectType']> | undefined =>
    roots.has(name) ? new library.GraphQLObjectType({ name, fields: roots.get(name)! as never }) : undefined
  return new library.GraphQLSchema({
    description: contract.id,
    query: root('Query'),
    mutation: root('Mutation'),
    subscription: root('Subscription'),
  } as GraphQLSchemaConfig)
}

function fieldOf(operation: Operation, types: Types): FieldConfig {
  const { output, errors } = operation
  const args: GraphQLFieldConfigArgumentMap = {}
  for (const field of operation.arguments) args[field.name] = { type: types.input(field) }
  const common = {
    // Null where it fails: what else was asked for is answered all the same.
    type: output ? types.output({ ...output, optional: true }) : types.done,
    args,
    ...(errors.length > 0 && { description: `Errors: ${errors.join(', ')} (extensions.code)` }),
  }
  if (operation.root === 'Subscription')
    return {
      ...common,
      subscribe: (_source, given, context) => context.open(operation, inputFrom(operation, given)),
      resolve(element: Element) {
        if ('error' in element) throw element.error
        return element.value
      },
    }
  return { ...common, resolve: (_source, given, context) => context.call(operation, inputFrom(operation, given)) }
}

class Types {
  private readonly inputs = new Map<string, GraphQLInputType>()
  private readonly outputs = new Map<string, GraphQLOutputType>()
  private readonly scalars = new Map<ScalarName, InstanceType<Library['GraphQLScalarType']>>()
  private readonly enums = new Map<string, InstanceType<Library['GraphQLEnumType']>>()

  constructor(private readonly library: Library) {}

  /** Of a method that returns nothing: true. */
  get done(): GraphQLOutputType {
    return this.library.GraphQLBoolean
  }

  input({ shape, optional }: Field): GraphQLInputType {
    const type = this.inputType(shape)
    return optional || shape.nullable ? type : new this.library.GraphQLNonNull(type)
  }

  output({ shape, optional }: Field): GraphQLOutputType {
    const type = this.outputType(shape)
    return optional || shape.nullable ? type : new this.library.GraphQLNonNull(type)
  }

  private inputType(shape: Shape): any {
    const { GraphQLList, GraphQLInputObjectType } = this.library
    if (shape.kind === 'scalar') return this.scalar(shape.type)
    if (shape.kind === 'enum') return this.enumeration(shape.name, shape.values)
    if (shape.kind === 'list') return new GraphQLList(this.input({ name: '', shape: shape.item, optional: false }))
    return memo(this.inputs, shape.name, () => {
      const fields = Object.fromEntries(shape.fields.map((field) => [field.name, { type: this.input(field) }]))
      return new GraphQLInputObjectType({ name: shape.name, fields })
    })
  }

  private outputType(shape: Shape): any {
    const { GraphQLList, GraphQLObjectType } = this.library
    if (shape.kind === 'scalar') return this.scalar(shape.type)
    if (shape.kind === 'enum') return this.enumeration(shape.name, shape.values)
    if (shape.kind === 'list') return new GraphQLList(this.output({ name: '', shape: shape.item, optional: false }))
    return memo(this.outputs, shape.name, () => {
      const fields = Object.fromEntries(shape.fields.map((field) => [field.name, { type: this.output(field) }]))
      return new GraphQLObjectType({ name: shape.name, fields })
    })
  }

  private enumeration(name: string, values: readonly string[]): InstanceType<Library['GraphQLEnumType']> {
    return memo(
      this.enums,
      name,
      () => new this.library.GraphQLEnumType({ name, values: Object.fromEntries(values.map((value) => [value, { value }])) }),
    )
  }

  private scalar(name: ScalarName): InstanceType<Library['GraphQLScalarType']> {
    const { GraphQLString, GraphQLBoolean, GraphQLInt, GraphQLFloat, GraphQLScalarType } = this.library
    return memo(this.scalars, name, () => {
      if (name === 'String') return GraphQLString
      if (name === 'Boolean') return GraphQLBoolean
      if (name === 'Int') return GraphQLInt
      if (name === 'Float') return GraphQLFloat
      const { description, ...convert } = name === 'JSON' ? ANY : SCALARS[name]!
      return new GraphQLScalarType({
        name,
        description,
        serialize: (value) => convert.write(value),
        parseValue: (value) => convert.read(value),
      })
    })
  }
}

function memo<T>(known: Map<string, T>, name: string, make: () => T): T {
  const before = known.get(name)
  if (before !== undefined) return before
  const made = make()
  known.set(name, made)
  return made
}
