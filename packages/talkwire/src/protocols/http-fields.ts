/** The input of a method as the query of a URL: `?account=savings&limit=5`. What a text means follows from the input's JSON Schema. */
import type { Rpc } from '../contract/contract.js'
import { describeMethod } from '../contract/json-schema.js'
import { isObject, referred, resolveRef, type JsonSchema, type Subschema } from '../contract/schema-walk.js'
import { TalkwireError } from '../error.js'
import { paramsOf, type Service } from '../session/service.js'

export interface Fields {
  /** Params from a query. Throws INVALID_INPUT. */
  read(query: string): unknown
  /** The query of an input; undefined for what has no place in one. */
  write(input: unknown): string | undefined
}

/** An input that is no object has this name. */
export const INPUT = 'input'

export async function fieldsOf({ contract, methods }: Service): Promise<Map<string, Fields>> {
  const all = new Map<string, Fields>()
  for (const name of methods.keys()) {
    const member = contract?.members[name]
    all.set(name, await createFields(member?.kind === 'rpc' ? member : undefined))
  }
  return all
}

export async function createFields(member: Rpc | undefined): Promise<Fields> {
  const input = member && (await describeMethod(member)).input
  if (!input || input.stream) return { read: () => undefined, write: (value) => (value === undefined ? '' : undefined) }
  const { schema } = input
  const shape = resolve(schema, schema)
  const byName = isObject(shape) && (shape['type'] === 'object' || isObject(shape['properties']))
  const kindOf = (name: string): Subschema => (byName ? propertyOf(shape, schema, name) : shape)
  return {
    read(query) {
      const texts = new Map<string, string[]>()
      for (const [name, text] of new URLSearchParams(query)) texts.set(name, [...(texts.get(name) ?? []), text])
      if (!byName) return texts.has(INPUT) ? [valueOf(texts.get(INPUT)!, shape, schema, INPUT)] : undefined
      if (texts.has('__proto__')) throw new TalkwireError('FORBIDDEN_KEY', 'a field cannot be named __proto__')
      return paramsOf(Object.fromEntries([...texts].map(([name, values]) => [name, valueOf(values, kindOf(name), schema, name)])))
    },
    write(value) {
      if (value === undefined) return ''
      const entries = byName ? Object.entries(value as object) : [[INPUT, value] as const]
      const query = new URLSearchParams()
      for (const [name, item] of entries) {
        if (item === undefined) continue
        const texts = textsOf(item, kindOf(name))
        if (!texts) return undefined
        for (const text of texts) query.append(name, text)
      }
      return query.toString()
    },
  }
}

const resolve = (schema: Subschema, root: JsonSchema): Subschema => referred(schema, (ref) => resolveRef(root, ref))

function propertyOf(shape: Subschema, root: JsonSchema, name: string): Subschema {
  const properties = isObject(shape) ? shape['properties'] : undefined
  return isObject(properties) && Object.hasOwn(properties, name) ? resolve(properties[name] as Subschema, root) : true
}

function typesOf(schema: Subschema): readonly unknown[] {
  if (!isObject(schema)) return []
  if ('const' in schema) return [typeof schema['const']]
  const enumerated = schema['enum']
  if (Array.isArray(enumerated)) return enumerated.map((value) => typeof value)
  const union = [schema['anyOf'], schema['oneOf']].find(Array.isArray)
  return union ? union.flatMap((one) => typesOf(one as Subschema)) : [schema['type'] ?? []].flat()
}

function valueOf(texts: readonly string[], schema: Subschema, root: JsonSchema, name: string): unknown {
  const types = typesOf(schema)
  if (types.includes('array') && isObject(schema)) {
    const items = resolve((schema['items'] as Subschema | undefined) ?? true, root)
    return texts.map((text) => valueOf([text], items, root, name))
  }
  const text = texts.at(-1)!
  if ((types.includes('number') || types.includes('integer')) && text.trim() !== '' && Number.isFinite(Number(text))) return Number(text)
  if (types.includes('boolean') && (text === 'true' || text === 'false')) return text === 'true'
  if (types.includes('null') && text === '') return null
  if (types.includes('object')) throw new TalkwireError('INVALID_INPUT', `"${name}" is an object, and has no place in a URL; POST it`)
  return text
}

/** Undefined for what would not come back as it was. */
function textsOf(value: unknown, schema: Subschema): string[] | undefined {
  if (Array.isArray(value)) {
    const texts = value.map((item) => textsOf(item, true)?.[0])
    return value.length > 0 && texts.every((text) => text !== undefined) && typesOf(schema).includes('array') ? texts : undefined
  }
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? [String(value)] : undefined
}
