/** One text that is equal when two peers mean the same contract. */
import { createHash } from 'node:crypto'
import { canonicalJson, canonicalSchema } from './canonical.js'
import { isContract, type Contract } from './contract.js'
import { jsonSchema, type ContractDescription, type MethodDescription, type ValueDescription } from './json-schema.js'
import type { JsonSchema } from './schema-walk.js'

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
    events: mapValues(events, ({ payload }) => document(payload)),
  }
  return createHash('sha256').update(canonicalJson(canonical)).digest('hex')
}

const canonicalMethod = ({ input, output, errors, idempotent, oneway }: MethodDescription): unknown => ({
  input: canonicalValue(input),
  output: canonicalValue(output),
  errors: mapValues(errors, document),
  idempotent,
  oneway,
})

const canonicalValue = (value: ValueDescription | null): unknown => value && { ...value, schema: document(value.schema) }

const document = (schema: JsonSchema): unknown => canonicalSchema(schema, schema)
const mapValues = <T>(record: Readonly<Record<string, T>>, change: (value: T) => unknown): Record<string, unknown> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]))
