/** JSON Schema in the words of a TypeScript reader, as short as can be. */
import { clean } from './output.js'
import type { Method, Schema } from './target.js'

type Unknown = Readonly<Record<string, unknown>>
const isObject = (value: unknown): value is Unknown => typeof value === 'object' && value !== null && !Array.isArray(value)
const DEPTH = 6
const WORDS: Readonly<Record<string, string>> = {
  integer: 'integer',
  number: 'number',
  string: 'string',
  boolean: 'boolean',
  null: 'null',
  object: 'object',
  array: 'array',
}

/** `{ account: string, amount: number }`; `any` for what is not known. */
export function typeText(schema: unknown, document: unknown, depth = DEPTH): string {
  if (schema === false) return 'never'
  if (!isObject(schema)) return 'any'
  if (depth === 0) return '…'
  const inner = (of: unknown): string => typeText(of, document, depth - 1)
  if (typeof schema['$ref'] === 'string') return inner(resolve(document, schema['$ref']))
  if (typeof schema['x-talkwire'] === 'string' && schema['x-talkwire'] !== 'undescribed') return clean(schema['x-talkwire'])
  if ('const' in schema) return clean(JSON.stringify(schema['const']))
  const { enum: values, anyOf, oneOf, type } = schema
  if (Array.isArray(values)) return values.map((value) => clean(JSON.stringify(value))).join(' | ')
  const union = [anyOf, oneOf].find(Array.isArray)
  if (union) return [...new Set(union.map(inner))].join(' | ')
  if (Array.isArray(type)) return type.map((each) => inner({ ...schema, type: each as unknown })).join(' | ')
  if (type === 'array') return arrayText(schema, inner)
  if (isObject(schema['properties'])) return objectText(schema, inner)
  if (type === 'object' && isObject(schema['additionalProperties'])) return `{ [name]: ${inner(schema['additionalProperties'])} }`
  return typeof type === 'string' && Object.hasOwn(WORDS, type) ? WORDS[type]! : 'any'
}

function arrayText(schema: Unknown, inner: (of: unknown) => string): string {
  if (Array.isArray(schema['prefixItems'])) return `[${schema['prefixItems'].map(inner).join(', ')}]`
  const item = inner(schema['items'])
  return item.includes(' ') && !item.startsWith('{') ? `(${item})[]` : `${item}[]`
}

function objectText(schema: Unknown, inner: (of: unknown) => string): string {
  const required = Array.isArray(schema['required']) ? (schema['required'] as unknown[]) : []
  const members = Object.entries(schema['properties'] as Unknown).map(
    ([name, of]) => `${clean(name)}${required.includes(name) ? '' : '?'}: ${inner(of)}`,
  )
  return members.length === 0 ? '{}' : `{ ${members.join(', ')} }`
}

function resolve(document: unknown, ref: string): unknown {
  let at: unknown = document
  for (const part of ref.replace(/^#\/?/, '').split('/').filter(Boolean)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined
  }
  return at
}

/** One line for a method: what goes in and what comes out. */
export function signature(method: Method, document: unknown): string {
  const { contract, name, params, result, streams } = method
  if (!contract) {
    const inputs = params.map(
      (param) => `${clean(param.name)}${known(param.schema) ? `${param.required ? '' : '?'}: ${typeText(param.schema, document)}` : ''}`,
    )
    const output = streams ? ' → stream' : known(result) ? ` → ${typeText(result, document)}` : ''
    return `${clean(name)}(${inputs.join(', ')})${output}`
  }
  const { input, output, oneway } = contract
  const value = (of: typeof input): string =>
    of ? `${of.stream ? 'stream of ' : ''}${typeText(of.schema, document)}${of.optional ? '?' : ''}` : ''
  const marks = [contract.idempotent && 'idempotent', oneway && 'oneway'].filter((mark) => mark !== false)
  return `${clean(name)}(${value(input)})${output ? ` → ${value(output)}` : ''}${marks.length > 0 ? `  [${marks.join(', ')}]` : ''}`
}

const known = (schema: Schema | undefined): boolean => isObject(schema) && Object.keys(schema).length > 0
