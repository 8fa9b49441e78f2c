/** Texts and schemas that are equal when they mean the same. */
import { isObject, mapSubschemas, resolveRef, withoutAnnotations, type JsonSchema, type Subschema } from './schema-walk.js'

/** JSON with sorted keys and no white space; equal for equal values. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value) ?? 'null'
  const members = Object.keys(value)
    .filter((key) => value[key] !== undefined)
    .sort()
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key])}`).join(',')}}`
}

/** Keywords whose arrays are sets. */
const SETS = new Set(['required', 'enum', 'type', 'anyOf', 'oneOf', 'allOf'])

/**
 * A schema of the document `root` without annotations and order. Definitions get numbers in the order in which a
 * sorted walk meets them: libraries name them by the order of writing.
 */
export function canonicalSchema(schema: Subschema, root: JsonSchema): unknown {
  const numbers = new Map<string, number>()
  const definitions: unknown[] = []
  const rename = (part: Subschema): Subschema => {
    if (!isObject(part)) return part
    const renamed = mapSubschemas(part, rename)
    return typeof part['$ref'] === 'string' ? { ...renamed, $ref: numberOf(part['$ref']) } : renamed
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
  return { schema: rename(strip(schema)), definitions }
}

/** Without annotations, with every set and every object in the order of its text. */
function strip(schema: Subschema): Subschema {
  if (!isObject(schema)) return schema
  const inner = mapSubschemas(withoutAnnotations(schema), strip)
  return Object.fromEntries(
    Object.keys(inner)
      .sort()
      .map((key) => [key, sortKeyword(key, inner[key])]),
  )
}

function sortKeyword(key: string, value: unknown): unknown {
  if (SETS.has(key) && Array.isArray(value)) return [...value].sort((a, b) => compareText(sortText(a), sortText(b)))
  if (isObject(value) && (key === 'properties' || key === 'patternProperties' || key === 'dependentSchemas'))
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => compareText(a, b)))
  return value
}

const sortText = (value: unknown): string => canonicalJson(value).replace(/"\$ref":"[^"]*"/g, '"$ref":""')
const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
