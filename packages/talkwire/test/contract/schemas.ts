/** What the tests of contracts share. */
import fc from 'fast-check'
import type { JsonSchema } from '../../src/contract/json-schema.js'

const scalar: fc.Arbitrary<JsonSchema> = fc.oneof(
  fc.record(
    {
      type: fc.constant('string'),
      minLength: fc.nat(5),
      maxLength: fc.nat(9),
      pattern: fc.constantFrom('^a', 'b$'),
      format: fc.constant('email'),
    },
    { requiredKeys: ['type'] },
  ),
  fc.record(
    {
      type: fc.constantFrom('number', 'integer'),
      minimum: fc.integer(),
      exclusiveMaximum: fc.integer(),
      multipleOf: fc.integer({ min: 1, max: 9 }),
    },
    { requiredKeys: ['type'] },
  ),
  fc.record({ type: fc.constantFrom('boolean', 'null') }),
  fc.record({
    enum: fc.uniqueArray(fc.oneof(fc.string({ maxLength: 3 }), fc.integer(), fc.constant(null)), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ const: fc.oneof(fc.string({ maxLength: 3 }), fc.integer(), fc.boolean()) }),
  fc.record({
    type: fc.uniqueArray(fc.constantFrom('string', 'number', 'null', 'boolean', 'object'), { minLength: 1 }),
    minLength: fc.nat(3),
  }),
  fc.record({ 'x-talkwire': fc.constantFrom('date', 'bigint', 'undescribed', 'undefined') }),
  fc.record({ $ref: fc.constantFrom('#', '#/$defs/one', '#/$defs/two', '#/nowhere') }),
  fc.record({ 'x-unknown': fc.jsonValue({ maxDepth: 1 }) }),
  fc.constant({}),
  fc.constant({ not: {} }),
)
const name = fc.oneof(fc.constantFrom('a', 'b', 'kind', 'constructor', 'toString', '__proto__'), fc.string({ minLength: 1, maxLength: 4 }))

const { schema } = fc.letrec<{ schema: JsonSchema }>((tie) => ({
  schema: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    scalar,
    fc
      .record(
        {
          type: fc.constant('object'),
          properties: fc.dictionary(name, tie('schema'), { maxKeys: 4 }),
          additionalProperties: fc.oneof(fc.boolean(), tie('schema')),
        },
        { requiredKeys: ['type', 'properties'] },
      )
      .chain((object) => fc.subarray(Object.keys(object.properties)).map((required): JsonSchema => ({ ...object, required }))),
    fc.record(
      { type: fc.constant('array'), items: tie('schema'), prefixItems: fc.array(tie('schema'), { maxLength: 2 }), minItems: fc.nat(3) },
      { requiredKeys: ['type'] },
    ),
    fc.record({ anyOf: fc.array(tie('schema'), { maxLength: 3 }) }),
    fc.record({ oneOf: fc.array(tie('schema'), { minLength: 1, maxLength: 3 }) }),
    fc.record({ allOf: fc.array(tie('schema'), { minLength: 1, maxLength: 2 }) }),
    fc.record({
      type: fc.constant('object'),
      propertyNames: tie('schema'),
      patternProperties: fc.dictionary(name, tie('schema'), { maxKeys: 2 }),
    }),
  ),
}))

/** Whole documents, with definitions that refer to each other, sensible or not. */
export const anySchema: fc.Arbitrary<JsonSchema> = fc
  .record({ root: schema, one: schema, two: schema })
  .map(({ root, one, two }) => JSON.parse(JSON.stringify({ ...root, $defs: { one, two } })) as JsonSchema)

/** The same value, its keys in another order, at every depth; `swap` decides. */
export function shuffled(value: unknown, swap: () => boolean): unknown {
  if (Array.isArray(value)) return value.map((one) => shuffled(one, swap))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([key, one]): [string, unknown] => [key, shuffled(one, swap)])
  return Object.fromEntries(swap() ? entries.reverse() : entries)
}
