/** Where the schemas of a document stand that refer to each other. */
import type { JsonSchema } from './json-schema.js'
import { isObject, mapSubschemas, resolveRef, type Subschema } from './schema-walk.js'

/** Puts schemas into a document that has `components`, as OpenRPC and OpenAPI do. */
export interface Placer {
  readonly schemas: Record<string, Subschema>
  schema(schema: JsonSchema, name: string): Subschema
  resolve(ref: string): Subschema | undefined
}

/** A schema with references moves to `components`: inside the document `#` is no longer the schema itself. */
export function placer(): Placer {
  const schemas: Record<string, Subschema> = {}
  return {
    schemas,
    schema(schema, name) {
      let refers = false
      const key = freeKey(schemas, name)
      const rewrite = (inner: Subschema): Subschema => {
        if (!isObject(inner)) return inner
        const copy = mapSubschemas(inner, rewrite)
        if (typeof inner['$ref'] !== 'string' || !inner['$ref'].startsWith('#')) return copy
        refers = true
        return { ...copy, $ref: `#/components/schemas/${key}${inner['$ref'].slice(1)}` }
      }
      const rewritten = rewrite(schema)
      if (!refers) return rewritten
      schemas[key] = rewritten
      return { $ref: `#/components/schemas/${key}` }
    },
    resolve: (ref) => resolveRef({ components: { schemas } }, ref),
  }
}

/** Component names are letters, digits, `.`, `-`, `_`. */
function freeKey(schemas: Readonly<Record<string, unknown>>, name: string): string {
  const key = name.replace(/[^A-Za-z0-9._-]/g, '_')
  let candidate = key
  for (let number = 2; Object.hasOwn(schemas, candidate); number++) candidate = `${key}_${number}`
  return candidate
}
