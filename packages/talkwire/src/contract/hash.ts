/** One text that is equal when two peers mean the same contract. */
import { createHash } from 'node:crypto'
import { isContract, type Contract } from './contract.js'
import { jsonSchema, type ContractDescription, type MethodDescription, type ValueDescription } from './json-schema.js'
import { ANNOTATIONS, isObject, mapSubschemas, resolveRef, type JsonSchema, type Subschema } from './schema-walk.js'

/**
 * SHA-256 in hex of what may travel. Titles, descriptions, examples, defaults and the order in which anything is
 * written do not change it, with one exception: types that refer to each other, listed in another order.
 */
export async function contractHash(contract: Contract | ContractDescription): Promise<string> {
  const description = isContract(contract) ? await jsonSchema(contract) : contract
  const { id, methods, events } = description
  const canonical = {
    id,
    methods: mapValues(methods, canonicalMethod),
    events: mapValues(events, ({ payload }) => canonicalSchema(payload)),
  }
  return createHash('sha256').update(canonicalJson(canonical)).digest('hex')
}

/** JSON with sorted keys and no white space; equal for equal values. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value) ?? 'null'
  const members = Object.keys(value).filter((key) => value[key] !== undefined).sort()
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`).join(',')}}`
}

const canonicalMethod = ({ input, output, errors, idempotent, oneway }: MethodDescription): unknown =>
  ({ input: canonicalValue(input), output: canonicalValue(output), errors: mapValues(errors, canonicalSchema), idempotent, oneway })

const canonicalValue = (value: ValueDescription | null): unknown => value && { ...value, schema: canonicalSchema(value.schema) }

/** Keywords whose arrays are sets. */
const SETS = new Set(['required', 'enum', 'type', 'anyOf', 'oneOf', 'allOf'])

/**
 * Definitions get numbers in the order in which a sorted walk meets them: libraries name them by the order of writing.
 */
function canonicalSchema(root: JsonSchema): unknown {
  const numbers = new Map<string, number>()
  const definitions: unknown[] = []
  const rename = (schema: Subschema): Subschema => {
    if (!isObject(schema)) return schema
    const renamed = mapSubschemas(schema, rename)
    return typeof schema['$ref'] === 'string' ? { ...renamed, $ref: numberOf(schema['$ref']) } : renamed
  }
  const numberOf = (ref: string): number | string => {
    const known = numbers.get(ref)
    if (known !== undefined) return known
    const target = resolveRef(root, ref)
    if (target === undefined) return ref
    const number = numbers.size
    numbers.set(ref, number)
    definitions[number] = rename(strip(target))
    return number
  }
  return { schema: rename(strip(root)), definitions }
}

/** Without annotations, with every set and every object in the order of its text. */
function strip(schema: Subschema): Subschema {
  if (!isObject(schema)) return schema
  const inner = mapSubschemas(withoutAnnotations(schema), strip)
  return Object.fromEntries(Object.keys(inner).sort().map((key) => [key, sortKeyword(key, inner[key])]))
}

const withoutAnnotations = (schema: JsonSchema): JsonSchema => Object.fromEntries(Object.entries(schema).filter(([key]) => !ANNOTATIONS.has(key)))

function sortKeyword(key: string, value: unknown): unknown {
  if (SETS.has(key) && Array.isArray(value)) return [...value].sort((a, b) => compareText(sortText(a), sortText(b)))
  if (isObject(value) && (key === 'properties' || key === 'patternProperties' || key === 'dependentSchemas')) return Object.fromEntries(Object.entries(value).sort(([a], [b]) => compareText(a, b)))
  return value
}

const sortText = (value: unknown): string => canonicalJson(value).replace(/"\$ref":"[^"]*"/g, '"$ref":""')
const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
const mapValues = <T>(record: Readonly<Record<string, T>>, change: (value: T) => unknown): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]))
