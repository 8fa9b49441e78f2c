/** A schema out of a larger document, with what it refers to beside it: outside of the document its references would lead nowhere. */
import { isObject, mapSubschemas, MAX_SCHEMA_DEPTH, resolveRef, type JsonSchema, type Subschema } from './schema-walk.js'

/** References that lead out of the document become `undescribed`: anything. */
export function standalone(schema: Subschema, document: JsonSchema): JsonSchema {
  const names = new Map<string, string>()
  const $defs: Record<string, Subschema> = {}
  const nameOf = (ref: string): string => {
    const known = names.get(ref)
    if (known !== undefined) return known
    const name = freeName($defs, ref)
    names.set(ref, name)
    $defs[name] = true
    $defs[name] = moved(target(document, ref), 0)
    return name
  }
  const moved = (inner: Subschema, depth: number): Subschema => {
    if (!isObject(inner) || depth > MAX_SCHEMA_DEPTH) return inner
    const copy = mapSubschemas(inner, (each) => moved(each, depth + 1))
    return typeof inner['$ref'] === 'string' ? { ...copy, $ref: `#/$defs/${nameOf(inner['$ref'])}` } : copy
  }
  const own = moved(schema, 0)
  const object: JsonSchema = isObject(own) ? own : own ? {} : { not: {} }
  return names.size > 0 ? { ...object, $defs: { ...(isObject(object['$defs']) && object['$defs']), ...$defs } } : object
}

function target(document: JsonSchema, ref: string): Subschema {
  return resolveRef(document, ref) ?? { 'x-talkwire': 'undescribed', $comment: `${ref} is not in the document` }
}

function freeName(taken: Readonly<Record<string, unknown>>, ref: string): string {
  const last = ref.slice(ref.lastIndexOf('/') + 1).replaceAll(/[^A-Za-z0-9._-]/g, '_') || 'schema'
  let name = last
  for (let number = 2; Object.hasOwn(taken, name); number++) name = `${last}_${number}`
  return name
}
